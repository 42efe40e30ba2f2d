"""jaxnn: neural networks from first principles, with every backward pass derived by hand."""

from jaxnn import initializers
from jaxnn.checks import InputError
from jaxnn.gradients import GradientReport, compare_gradients
from jaxnn.hand_derived import HandDerived, Op, Static, by_autodiff, hand_derived
from jaxnn.inside import clipped_gradient_sum, look_inside, per_example
from jaxnn.layers import *
from jaxnn.network import Network, network
from jaxnn.ops import *

__version__ = "0.1.0"
