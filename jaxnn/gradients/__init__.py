"""Gradient comparison: is a backward pass right, where is it not, why, and what does it cost?"""

from jaxnn.gradients.compare import compare_at, compare_gradients
from jaxnn.gradients.conditions import CONDITIONS, DTYPES
from jaxnn.gradients.leaf import THRESHOLD, Excuse, Leaf
from jaxnn.gradients.problem import MOST_EQUATIONS, Problem
from jaxnn.gradients.remark import Kind, Remark
from jaxnn.gradients.report import Cost, Finding, GradientReport, Law
from jaxnn.gradients.routes import CHEAPEST, ROUTES
from jaxnn.gradients.rules.report import Rule, RulesReport
from jaxnn.gradients.timing import Time
