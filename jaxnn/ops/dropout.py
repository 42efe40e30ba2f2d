"""Inverted dropout: each element is dropped with probability `rate`, the others are scaled up.

    y = x m / (1 - rate)    m ~ Bernoulli(1 - rate), so that E[y] = x

`rate` is the fraction dropped; the course's keep_prob is 1 - rate. With `shared` axes m is the same along them: whole
channels are dropped (spatial dropout), or the whole of x (stochastic depth).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, expect_float, expect_key, is_integer, is_number
from jaxnn.hand_derived import Static, hand_derived

__all__ = ["dropout"]


@hand_derived
def dropout(x: Any, key: Any, *, rate: float, shared: int | Sequence[int] | None = ()) -> Any:
    """y = x m / (1 - rate). For training only.

    Args:
      x: any shape.
      key: a PRNG key, from which the mask m is drawn.
      rate: the fraction dropped, in [0, 1).
      shared: axes along which all elements are dropped or kept together: (0, 1) of a picture for spatial dropout,
        None for all axes, stochastic depth.
    Returns:
      y, of the shape of x.
    Raises:
      InputError: x is not of floating-point numbers, the key is none, or rate is out of range.

    >>> jnp.unique(dropout(jnp.ones(100), jax.random.key(0), rate=0.5)).tolist()
    [0.0, 2.0]
    """
    expect_float(dropout.name, "x", x)
    expect(is_number(rate, 0) and rate < 1, dropout.name, "rate, the fraction dropped, in [0, 1)", repr(rate))
    expect_key(dropout.name, key)
    rank = jnp.ndim(x)
    axes = tuple(range(rank)) if shared is None else shared if isinstance(shared, tuple | list) else (shared,)
    expect(all(is_integer(a) and -rank <= a < rank for a in axes), dropout.name,
           f"shared, axes of x of shape {jnp.shape(x)} or None for all", repr(shared))
    together = {a % rank for a in axes}
    shape = tuple(1 if a in together else n for a, n in enumerate(jnp.shape(x)))
    # In float32 always: a mask drawn in float64 would be another one.
    kept = jax.random.bernoulli(key, jnp.float32(1 - rate), shape)
    return jnp.where(kept, x / (1 - rate), 0), (kept, Static(rate))


@dropout.defbackward
def dropout_backward(cache: Any, dy: Any) -> Any:
    """y is linear in x with slope m / (1 - rate): the same elements are dropped and scaled.

    Source: Srivastava et al. (2014), section 4; scaled in training instead of at test time. Tompson et al. (2015) for
      whole channels; Huang et al. (2016) for whole branches.
    """
    kept, rate = cache
    return jnp.where(kept, dy / (1 - rate.value), 0), None
