"""Inside a network's backward pass: what each layer keeps and is given, and what single examples pull at."""

from jaxnn.gradients.inside.factors import factor_rule
from jaxnn.gradients.inside.look import look_inside
from jaxnn.gradients.inside.per_example import Clipped, PerExample, clipped_gradient_sum, per_example
from jaxnn.gradients.inside.report import Bad, Inside, InsideRow, Numbers
