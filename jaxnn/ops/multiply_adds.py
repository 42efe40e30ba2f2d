"""The multiply-adds of ops whose products are written as sums of shifted arrays, or are none of learnt numbers."""

import math
from typing import Any

from jaxnn.explicit.multiply_adds import RULES
from jaxnn.ops.average_pool import adaptive_average_pool
from jaxnn.ops.conv import conv, conv_transpose
from jaxnn.ops.resize import resize

__all__: list[str] = []


def of_conv(params: Any, x: Any, *, value: Any, **static: Any) -> int:
    """The kernel at each place of y, depthwise or not."""
    return math.prod(value.shape[:-1]) * math.prod(params["kernel"].shape)


def of_conv_transpose(params: Any, x: Any, *, value: Any, **static: Any) -> int:
    """The kernel at each place of x."""
    return math.prod(x.shape[:-1]) * math.prod(params["kernel"].shape)


def of_means(x: Any, *, value: Any, **static: Any) -> int:
    """None: matrices that take means and blend neighbours are how these ops are written, and not what they learn."""
    return 0


RULES |= {conv: of_conv, conv_transpose: of_conv_transpose, adaptive_average_pool: of_means, resize: of_means}
