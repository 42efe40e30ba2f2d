"""Where a sequence's elements stand: sines and cosines to be added, rotations of queries and keys, slopes of ALiBi.

    PE_{t,2c} = sin(t ω_c)    PE_{t,2c+1} = cos(t ω_c)    ω_c = base^{-2c / d}

    rotary: each pair of features (a, b) of a query or a key at place t turns by the angle t ω_c, so that the product of
    a query and a key depends on how far they stand apart. Two conventions say which features are pairs: "halves",
    (c, c + d/2), as in GPT-NeoX and Llama's published files for transformers; "interleaved", (2c, 2c + 1), as in the
    paper and GPT-J. Weights trained with one are wrong with the other.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_float, expect_integers, expect_shape, is_integer, is_number
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide

__all__ = ["alibi_slopes", "rotary", "sinusoidal_positions"]

LAYOUTS = ("halves", "interleaved")


def sinusoidal_positions(n_places: int, n_dim: int, *, base: float = 10000.0, layout: str = "interleaved") -> Any:
    """The table PE, (n_places, n_dim), to be added to embeddings; place 0 is sin 0 = 0 and cos 0 = 1 in turn.

    The exponent counts pairs: features 2c and 2c + 1 have one frequency, base^{-2c / n_dim}. Computed in float64.

    Args:
      n_places, n_dim: positive integers; an odd n_dim ends with a sine.
      base: of the wavelengths, which go from 2π to base · 2π.
      layout: "interleaved", sine and cosine in turn, as in the paper and the course; "halves", all sines first.
    Source: Vaswani et al. (2017), section 3.5.

    >>> sinusoidal_positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    who = "sinusoidal_positions"
    expect(is_integer(n_places, 1), who, "n_places, a positive integer", repr(n_places))
    expect(is_integer(n_dim, 1), who, "n_dim, a positive integer", repr(n_dim))
    _expect_choices(who, base, layout)
    angles = _angles(np.arange(n_places), n_dim, base)
    sines, cosines = np.sin(angles), np.cos(angles)[:, :n_dim // 2]
    if layout == "halves":
        return jnp.asarray(np.concatenate([sines, cosines], 1), jnp.float32)
    table = np.empty((n_places, n_dim))
    table[:, ::2], table[:, 1::2] = sines, cosines
    return jnp.asarray(table, jnp.result_type(float))


@hand_derived
def rotary(x: Any, positions: Any = None, *, layout: str, n_heads: int = 1, base: float = 10000.0) -> Any:
    """Queries or keys x, whose features are turned pair by pair, by angles of their place: (a, b) at place t becomes

        (a', b') = (a cos tω - b sin tω, a sin tω + b cos tω)

    Args:
      x: (time, n_heads * d), d even; the heads side by side, as for `attention`.
      positions: (time,) of integers, the places; 0 .. time - 1 by default. In a step of decoding they go on from the
        cache's position.
      layout: "halves" or "interleaved", which features are a pair; it must be that of the weights.
      n_heads: of x.
      base: of the wavelengths.
    Returns:
      of the shape of x.
    Raises:
      InputError: d is odd, a shape does not fit, or the layout is not known.
    Source: Su et al. (2021), eq. 34.

    >>> jnp.round(rotary(jnp.array([[1.0, 0.0]] * 2), base=100.0, layout="halves") * 100).tolist()
    [[100.0, 0.0], [54.0, 84.0]]
    """
    who = rotary.name
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("time", "n_heads * d"), "for a batch use jax.vmap" if jnp.ndim(x) > 2 else "")
    _expect_choices(who, base, layout)
    expect(is_integer(n_heads, 1), who, "n_heads, a positive integer", repr(n_heads))
    expect(x.shape[1] > 0 and x.shape[1] % (2 * n_heads) == 0, who,
           f"x of {n_heads} heads, each of an even width", str(x.shape))
    if positions is not None:
        expect_integers(who, "positions", positions)
        expect_shape(who, "positions", positions, (x.shape[0],))
    places = np.arange(x.shape[0]) if positions is None else positions
    angles = _angles(places, x.shape[1] // n_heads, base)
    turn = jnp.cos(angles).astype(wide(x).dtype), jnp.sin(angles).astype(wide(x).dtype)
    return _turned(x, *turn, layout, n_heads), (turn, Static((layout, n_heads)))


@rotary.defbackward
def rotary_backward(cache: Any, dy: Any) -> Any:
    """A rotation's transpose is its inverse: each pair of dy turns back, by the angle -tω.

    Args:
      cache: cos tω and sin tω, (time, d / 2).
      dy: (time, n_heads * d).
    """
    (cosine, sine), static = cache
    return _turned(dy, cosine, -sine, *static.value), None


def alibi_slopes(n_heads: int) -> Any:
    """The slopes of ALiBi, (n_heads,): 2^{-8 (n + 1) / n_heads} for n = 0, 1 ... where n_heads is a power of two. Else
    those of the largest power of two below, then every second one of twice that, as the authors have it.

    Source: Press, Smith & Lewis (2022), section 3, and their published code for other numbers of heads.

    >>> alibi_slopes(2).tolist()
    [0.0625, 0.00390625]
    """
    expect(is_integer(n_heads, 1), "alibi_slopes", "n_heads, a positive integer", repr(n_heads))
    lower = 2 ** int(math.log2(n_heads))
    slopes = 2.0 ** (-8 * np.arange(1, lower + 1) / lower)
    between = 2.0 ** (-8 * np.arange(1, 2 * lower + 1, 2) / (2 * lower))
    return jnp.asarray(np.concatenate([slopes, between])[:n_heads], jnp.float32)


def _angles(places: Any, n_dim: int, base: float) -> Any:
    """(time, ⌈n_dim / 2⌉): in float64 where the places are known when the program is made."""
    frequencies = np.power(float(base), -np.arange(0, n_dim, 2) / n_dim)
    if isinstance(places, np.ndarray):
        return places[:, None] * frequencies
    return places[:, None].astype(jnp.promote_types(jnp.float32, jnp.result_type(float))) * frequencies


def _turned(x: Any, cosine: Any, sine: Any, layout: str, n_heads: int) -> Any:
    pairs = x.reshape(x.shape[0], n_heads, *((-1, 2) if layout == "interleaved" else (2, x.shape[1] // n_heads // 2)))
    axis = -1 if layout == "interleaved" else -2
    a, b = (wide(jnp.take(pairs, n, axis)) for n in (0, 1))
    c, s = cosine[:, None], sine[:, None]
    return jnp.stack([a * c - b * s, a * s + b * c], axis).reshape(x.shape).astype(x.dtype)


def _expect_choices(who: str, base: Any, layout: Any) -> None:
    expect(is_number(base) and base > 1, who, "base, a number above 1", repr(base))
    expect(isinstance(layout, str) and layout in LAYOUTS, who, "layout, 'halves' or 'interleaved'", repr(layout))
