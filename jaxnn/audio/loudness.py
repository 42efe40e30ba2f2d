"""How loud a sound is, and sounds added up.

    level = 20 log10 √(mean x²)      decibels under a sound that is ±1 throughout ("dBFS"): 0 at most for x in [-1, 1]
    mix   = signal + g noise         with g² = mean signal² / (mean noise² 10^{snr/10})
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, expect_float, is_number, known

__all__ = ["Clipped", "at_level", "clipped", "level", "mix"]


def level(x: Any) -> jax.Array:
    """The level of a sound of any shape, decibels, (); -inf for silence.

    >>> round(float(level(jnp.array([0.1, -0.1]))), 3)
    -20.0
    """
    _expect_sound("level", "x", x)
    return 10 * jnp.log10(jnp.mean(jnp.square(x)))


def at_level(x: Any, decibels: float) -> jax.Array:
    """The sound times the factor that gives it this level. A peak may pass 1: `clipped` looks.

    Raises:
      InputError: x is silent, as no factor changes that (under `jit`, where this is not known, x is NaN then).
    Source: the course's `match_target_amplitude`, by the level of -20.
    """
    _expect_sound("at_level", "x", x)
    _expect_not_silent("at_level", "x", x)
    expect(is_number(decibels), "at_level", "decibels, a number", repr(decibels))
    return x * 10 ** ((decibels - level(x)) / 20)


def mix(signal: Any, noise: Any, decibels: Any) -> jax.Array:
    """signal + g noise, g such that the signal's level is `decibels` above the noise's: the signal-to-noise ratio.

    Args:
      signal, noise: of one shape.
      decibels: a number, or an array ().
    Raises:
      InputError: the shapes differ; or one of them is silent, for which there is no ratio (under `jit`, where this is
        not known, the result is the signal for a silent signal, and NaN for a silent noise).
    A peak may pass 1: `clipped` looks.
    """
    for name, x in (("signal", signal), ("noise", noise)):
        _expect_sound("mix", name, x)
        _expect_not_silent("mix", name, x)
    expect(jnp.shape(signal) == jnp.shape(noise), "mix", "signal and noise of one shape",
           f"{jnp.shape(signal)} and {jnp.shape(noise)}", "cut or repeat the noise")
    ratio = jnp.mean(jnp.square(signal)) / jnp.mean(jnp.square(noise))
    return signal + noise * jnp.sqrt(ratio / 10 ** (jnp.asarray(decibels, ratio.dtype) / 10))


class Clipped(NamedTuple):
    """x: the sound within [-1, 1]. n_clipped: how many samples lay outside, int32 ()."""

    x: jax.Array
    n_clipped: jax.Array


def clipped(x: Any) -> Clipped:
    """The sound with what passes ±1 cut off, as a converter does, and how much that was."""
    _expect_sound("clipped", "x", x)
    return Clipped(jnp.clip(x, -1, 1), jnp.sum(jnp.abs(x) > 1, dtype=jnp.int32))


def _expect_sound(who: str, name: str, x: Any) -> None:
    expect_float(who, name, x)
    expect(jnp.size(x) > 0, who, f"{name} of at least one sample", str(jnp.shape(x)))


def _expect_not_silent(who: str, name: str, x: Any) -> None:
    values = known(x)
    expect(values is None or bool(values.any()), who, f"{name} that is not silent", "nothing but zeros",
           "leave it out")
