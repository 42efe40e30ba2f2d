"""jaxnn: neural networks from first principles, with every backward pass derived by hand."""

from jaxnn import initializers
from jaxnn.checks import InputError
from jaxnn.compose import chain, parallel, residual
from jaxnn.gradients import (
    GradientReport,
    clipped_gradient_sum,
    compare_gradients,
    look_inside,
    per_example,
)
from jaxnn.hand_derived import HandDerived, Op, Static, hand_derived
from jaxnn.layers import *
from jaxnn.ops import *
from jaxnn.stage import bind

__version__ = "0.1.0"
