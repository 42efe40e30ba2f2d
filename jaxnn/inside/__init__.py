"""Inside a network's backward pass: the cache and the cotangent of each op, and the gradients of single examples."""

from jaxnn.inside.factors import factor_rule
from jaxnn.inside.look import look_inside
from jaxnn.inside.per_example import Clipped, PerExample, clipped_gradient_sum, per_example
from jaxnn.inside.report import Bad, Inside, InsideRow, Numbers
