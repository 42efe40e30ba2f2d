"""Gradient comparison: is a backward pass right, and where is it not?"""

from jaxnn.gradients.compare import GradientReport, Leaf, compare_gradients
