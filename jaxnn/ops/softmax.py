"""Softmax and its logarithm, over one axis.

    p_i = e^{x_i} / Σ_j e^{x_j}        log p_i = x_i - log Σ_j e^{x_j}

The largest x is subtracted first, which changes neither and keeps every exponential in [0, 1].
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_float, is_integer
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide

__all__ = ["log_softmax", "softmax"]


@hand_derived
def softmax(x: Any, *, axis: int = -1) -> Any:
    """p = e^x / Σ e^x.

    Args:
      x: any shape of at least one axis, in nats.
      axis: of the classes, of which there is at least one; over the others nothing is summed.
    Returns:
      p, of the shape of x.
    Raises:
      InputError: x is not of floating-point numbers, or has no such axis.

    >>> softmax(jnp.array([[0.0, 0.0], [-jnp.inf, 7.0]])).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    _expect_logits(softmax.name, x, axis)
    e = jnp.exp(wide(x) - _largest(wide(x), axis))
    p = (e / jnp.sum(e, axis, keepdims=True)).astype(x.dtype)
    return p, (p, Static(axis))


@softmax.defbackward
def softmax_backward(cache: Any, dy: Any) -> Any:
    """∂p_i/∂x_j = p_i (δ_ij - p_j), so dx_j = Σ_i dy_i p_i (δ_ij - p_j) = p_j (dy_j - Σ_i dy_i p_i).

    Source: Bridle (1990).
    """
    p, axis = cache
    p, d = wide(p), wide(dy)
    return ((p * (d - jnp.sum(d * p, axis.value, keepdims=True))).astype(dy.dtype),)


@hand_derived
def log_softmax(x: Any, *, axis: int = -1) -> Any:
    """log p = x - log Σ e^x, in nats; x and axis as for `softmax`.

    >>> jnp.exp(log_softmax(jnp.array([3.0, 3.0]))).tolist()
    [0.5, 0.5]
    """
    _expect_logits(log_softmax.name, x, axis)
    shifted = wide(x) - _largest(wide(x), axis)
    log_p = shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis, keepdims=True))
    # Kept in float32 at least: e to a log p of -9 that is rounded to bfloat16 would be off by 2 %.
    return log_p.astype(x.dtype), (log_p, Static(axis))


@log_softmax.defbackward
def log_softmax_backward(cache: Any, dy: Any) -> Any:
    """∂log p_i/∂x_j = δ_ij - p_j, so dx_j = dy_j - p_j Σ_i dy_i."""
    log_p, axis = cache
    d = wide(dy)
    return ((d - jnp.exp(log_p) * jnp.sum(d, axis.value, keepdims=True)).astype(dy.dtype),)


def _largest(x: Any, axis: int) -> Any:
    return lax.stop_gradient(jnp.max(x, axis, keepdims=True))


def _expect_logits(who: str, x: Any, axis: int) -> None:
    expect_float(who, "x", x)
    rank = jnp.ndim(x)
    expect(is_integer(axis) and (-rank <= axis < rank or (rank == 0 and axis == -1)), who,
           f"axis, an integer in {-rank} .. {rank - 1}", repr(axis))
    expect(rank >= 1 and x.shape[axis] >= 1, who,
           "x of shape (..., n_classes)" if axis == -1 else f"x of at least one class along axis {axis}",
           str(jnp.shape(x)))
