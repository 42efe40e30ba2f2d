"""Changes of a spectrum that keep what is said: bands of time and of frequency hidden."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_float, expect_integers, expect_key, expect_shape, is_integer, known

__all__ = ["spec_augment"]


def spec_augment(key: Any, x: Any, *, time_masks: int = 1, time_width: int = 20, frequency_masks: int = 1,
                 frequency_width: int = 8, length: Any = None) -> jax.Array:
    """Hides bands of a spectrum: each of a width that is drawn evenly from 0 to the given one, at a place drawn evenly.
    Hidden values become the mean of x, so that no edge tells of a level that x does not have.

    Args:
      key: a PRNG key.
      x: (time, n_features), such as of `log_mel`.
      time_masks, frequency_masks: how many bands of each; they may overlap.
      time_width, frequency_width: the widest, in 0 .. time and 0 .. n_features.
      length: an integer () in 0 .. time, how many steps count: bands of time lie within these, and so does the mean.
        None for all.
    Returns:
      (time, n_features), of the dtype of x.
    Raises:
      InputError: an argument is not as above; of a length under `jit` only the shape and the dtype are known.
    Source: Park et al. (2019), without its warping of time.
    """
    who = "spec_augment"
    expect_key(who, key)
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("time", "n_features"), "for a batch use jax.vmap")
    for name, n, width, most in (("time", time_masks, time_width, x.shape[0]),
                                 ("frequency", frequency_masks, frequency_width, x.shape[1])):
        expect(is_integer(n, 0), who, f"{name}_masks, an integer >= 0", repr(n))
        expect(is_integer(width, 0) and width <= most, who, f"{name}_width in 0 .. {most}", repr(width))
    length = x.shape[0] if length is None else length
    expect_integers(who, "length", length)
    expect_shape(who, "length", length, (), "for a batch use jax.vmap")
    values = known(length)  # under `vmap` those of all examples
    expect(values is None or bool(np.all((values >= 0) & (values <= x.shape[0]))), who,
           f"length in 0 .. {x.shape[0]}, the steps of x", str(values))
    n_steps = jnp.asarray(length, jnp.int32)
    of_time, of_frequency = jax.random.split(key)
    hidden = (_bands(of_time, time_masks, time_width, n_steps, x.shape[0])[:, None]
              | _bands(of_frequency, frequency_masks, frequency_width, jnp.int32(x.shape[1]), x.shape[1]))
    counts = (jnp.arange(x.shape[0]) < n_steps)[:, None]
    # A sum over a spectrum is more than float16 holds.
    total = jnp.sum(jnp.where(counts, x, 0), dtype=jnp.promote_types(x.dtype, jnp.float32))
    mean = total / jnp.maximum(n_steps * x.shape[1], 1)
    return jnp.where(hidden & counts, mean.astype(x.dtype), x)


def _bands(key: Any, n: int, width: int, within: Any, size: int) -> jax.Array:
    """(size,) bool."""
    of_width, of_place = jax.random.split(key)
    widths = jnp.minimum(jax.random.randint(of_width, (n, 1), 0, width + 1), within)
    first = jnp.floor(jax.random.uniform(of_place, (n, 1)) * (within - widths + 1)).astype(jnp.int32)
    places = jnp.arange(size)
    return jnp.any((places >= first) & (places < first + widths), 0)
