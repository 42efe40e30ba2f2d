"""Which steps of a padded sequence count."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, expect_integers, is_integer, known

__all__ = ["length_mask"]


def length_mask(lengths: Any, length: int) -> jax.Array:
    """(..., length) of bool, True where a step counts.

    Args:
      lengths: integers (...); one that is larger than `length` or negative is refused where its value is
        known: under `jit` it is not, and one that is too large counts as `length`.
      length: how many steps the array has.
    Raises:
      InputError: lengths are no integers, or out of range.

    >>> length_mask(jnp.array([2, 0]), 3).tolist()
    [[True, True, False], [False, False, False]]
    """
    who = "length_mask"
    expect_integers(who, "lengths", lengths)
    expect(is_integer(length, 0), who, "length, an integer >= 0", repr(length))
    values = known(lengths)
    if values is not None and values.size:
        expect(bool(values.min() >= 0 and values.max() <= length), who, f"lengths in 0 .. {length}",
               f"values from {values.min()} to {values.max()}", "cut the sequence, or pad it to more steps")
    lengths = jnp.asarray(lengths)
    if jnp.iinfo(lengths.dtype).bits < 32:  # 200 places are more than an int8 holds
        lengths = lengths.astype(jnp.int32)
    return jnp.arange(length) < lengths[..., None]
