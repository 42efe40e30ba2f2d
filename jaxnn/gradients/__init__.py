"""Gradient comparison: is a backward pass right, where is it not, why, and what does it cost?"""

from jaxnn.gradients.compare import compare_gradients, judge
from jaxnn.gradients.conditions import CONDITIONS, DTYPES
from jaxnn.gradients.leaf import THRESHOLD, Leaf
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.report import Cost, Finding, GradientReport, Law
from jaxnn.gradients.routes import ROUTES
