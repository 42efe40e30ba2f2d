"""The distance of two vectors, of the two kinds on which losses and thresholds stand, and its slope.

    "squared"      D = ‖a - b‖²      ∂D/∂a = 2 (a - b)            = -∂D/∂b
    "euclidean"    D = ‖a - b‖       ∂D/∂a = (a - b) / ‖a - b‖    = -∂D/∂b, and 0 where a = b

The difference is taken before it is squared: ‖a‖² - 2 a·b + ‖b‖² would lose the distance of neighbours to rounding.
"""

from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect
from jaxnn.ops.unit import length_of

__all__ = ["DISTANCES", "distance_of", "expect_distance", "slope_of"]

DISTANCES = ("squared", "euclidean")


def distance_of(difference: Any, kind: str) -> Any:
    """D, (...), of a - b (..., features) in at least float32."""
    if kind == "squared":
        return jnp.sum(difference * difference, -1)
    return length_of(difference)[..., 0]


def slope_of(difference: Any, kind: str) -> Any:
    """∂D/∂a, (..., features)."""
    if kind == "squared":
        return 2 * difference
    length = length_of(difference)
    # At a = b, where no direction is one, 0 is taken.
    return jnp.where(length > 0, difference / jnp.where(length > 0, length, 1), 0 * difference)


def expect_distance(who: str, distance: Any) -> None:
    is_known = isinstance(distance, str) and distance in DISTANCES
    expect(is_known, who, "distance 'squared' or 'euclidean'", repr(distance),
           "a margin on a squared distance is no margin on the distance")
