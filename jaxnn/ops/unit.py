"""Vectors of length one, and the length itself: along the last axis.

    n = ‖x‖ = √Σ x²        y = x / max(n, eps)
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_float, expect_shape, is_number
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide

__all__ = ["EPS", "l2_normalize", "length_of", "to_unit", "to_unit_backward"]

EPS = 1e-12
"""A vector that is no longer than this has no direction, and is scaled by 1 / EPS, as in PyTorch."""


@hand_derived
def l2_normalize(x: Any, *, eps: float = EPS) -> Any:
    """y = x / max(‖x‖, eps): each vector along the last axis gets the length one, if it is longer than eps.

    Args:
      x: (..., features).
      eps: the least length by which is divided, > 0, in the unit of x. Zeros stay zeros.
    Returns:
      y, of the shape of x. PyTorch's `normalize(x, dim=-1)` is equal. The square of no element overflows.
    Raises:
      InputError: x has no axis, or is not of floating-point numbers.

    >>> jnp.round(l2_normalize(jnp.array([3.0, 4.0])), 3).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    who = l2_normalize.name
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 0) + ("features",))
    expect(is_number(eps) and eps > 0, who, "a finite eps > 0", repr(eps))
    y, cache = to_unit(wide(x), eps)
    return y.astype(x.dtype), (cache, Static(jnp.dtype(x.dtype)))


@l2_normalize.defbackward
def l2_normalize_backward(cache: Any, dy: Any) -> Any:
    """Where n > eps, y_i = x_i / n with ∂n/∂x_j = x_j / n = y_j, so

        ∂y_i/∂x_j = δ_ij / n - x_i y_j / n²        dx = (dy - y (y · dy)) / n

    dy loses what points along y, because no change of length is left in y. Where n <= eps, y = x / eps and
    dx = dy / eps. At the kink n = eps the slope of the inner side is taken.

    Args:
      cache: y, max(n, eps) and where n > eps, in at least float32.
      dy: of the shape of x.
    Source: Schroff, Kalenichenko & Philbin (2015), whose embeddings are so normalized; the derivative is that of any
      quotient.
    """
    passed, dtype = cache
    return (to_unit_backward(passed, wide(dy)).astype(dtype.value),)


def to_unit(x: Any, eps: float = EPS) -> tuple[Any, Any]:
    """(y, cache) of `l2_normalize` for x in at least float32, for ops in which it is a step."""
    length = length_of(x)
    is_short = length <= eps  # NaN is not: it spreads over its vector
    divisor = jnp.where(is_short, eps, length)
    y = x / divisor
    return y, (y, divisor, ~is_short)


def to_unit_backward(cache: Any, dy: Any) -> Any:
    y, divisor, is_long = cache
    along = jnp.where(is_long, jnp.sum(y * dy, -1, keepdims=True), 0)
    return (dy - y * along) / divisor


def length_of(x: Any) -> Any:
    """‖x‖ along the last axis, (..., 1), for x in at least float32; its derivative at 0 is 0."""
    # In units of the largest element no square overflows or vanishes; NaN and inf are kept where they are.
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), -1, keepdims=True, initial=0))
    largest = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    scaled = x / largest
    square = jnp.sum(scaled * scaled, -1, keepdims=True)
    return largest * jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0 * square)
