"""Resizing a picture: nearest and bilinear, with both conventions of where the corners are; pixel shuffle.

Element p of an axis of m lies, on the axis of n that is resized, at

    u_p = (p + 1/2) n / m - 1/2        the pixels' areas cover the same picture: "half_pixel"
    u_p = p (n - 1) / (m - 1)          the first and the last pixel stay where they are: "corners"
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_float, expect_shape, is_integer
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.axis_maps import map_axes
from jaxnn.ops.window import per_axis

__all__ = ["pixel_shuffle", "pixel_unshuffle", "resize"]

METHODS = ("nearest", "bilinear")
ALIGNMENTS = ("half_pixel", "corners")


@hand_derived
def resize(x: Any, *, size: int | Sequence[int], method: str = "bilinear", align: str = "half_pixel") -> Any:
    """y_p = Σ_i A_pi x_i along each axis: what lies at u_p, or a mixture of the two elements beside it.

    Args:
      x: (height, width, channels), one to three spatial axes.
      size: the new one, for each axis or for all.
      method: "bilinear": ⌊u⌋ and ⌊u⌋ + 1 in proportion, the rim repeated; in three dimensions it is trilinear.
        "nearest": the element at ⌊u + 1/2⌋; halves go up.
      align: "half_pixel", as PyTorch's align_corners=False, Keras and Pillow without its antialiasing; "corners", as
        PyTorch's align_corners=True.
    Returns:
      (*size, channels).
    Raises:
      InputError: a shape, size or word does not fit.
    Source: the conventions are PyTorch's; "nearest" with "half_pixel" is its "nearest-exact".

    >>> resize(jnp.array([[0.0], [4.0]]), size=4).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    >>> resize(jnp.array([[0.0], [4.0]]), size=3, align="corners").ravel().tolist()
    [0.0, 2.0, 4.0]
    """
    expect_float(resize.name, "x", x)
    rank = jnp.ndim(x) - 1
    expect(1 <= rank <= 3 and 0 not in x.shape[:-1], resize.name, "x of one to three spatial axes and channels",
           str(jnp.shape(x)))
    for name, word, words in (("method", method, METHODS), ("align", align, ALIGNMENTS)):
        expect(word in words, resize.name, f"{name}, one of {', '.join(words)}", repr(word))
    plan = tuple((n, m, method, align) for n, m in zip(x.shape, per_axis(resize.name, "size", size, rank)))
    return map_axes(x, [_weights(*axis) for axis in plan]), Static(plan)


@resize.defbackward
def resize_backward(plan: Any, dy: Any) -> Any:
    """Along one axis y = A x, so dx = Aᵀ dy: each element gets back its share of all that it went into.

    Args:
      plan: of each axis its sizes before and after, method and alignment.
      dy: (*size, channels).
    """
    return (map_axes(dy, [_weights(*axis).T for axis in plan.value]),)


@functools.lru_cache(maxsize=256)
def _weights(n: int, m: int, method: str, align: str) -> np.ndarray:
    """A, (m, n)."""
    p = np.arange(m)
    u = (p + 0.5) * n / m - 0.5 if align == "half_pixel" else p * ((n - 1) / max(m - 1, 1))
    if method == "nearest":
        low, share = np.floor(u + 0.5), np.zeros(m)
    else:
        u = np.clip(u, 0, n - 1)
        low = np.floor(u)
        share = u - low
    A = np.zeros((m, n))
    low = np.clip(low.astype(int), 0, n - 1)
    np.add.at(A, (p, low), 1 - share)
    np.add.at(A, (p, np.minimum(low + 1, n - 1)), share)
    return A


@hand_derived
def pixel_shuffle(x: Any, *, factor: int) -> Any:
    """y_{hr + i, wr + j, c} = x_{h, w, c r² + i r + j}: channels become pixels. r is the factor.

    Args:
      x: (height, width, channels r²).
      factor: r; the channels of one pixel of y lie together, as in PyTorch.
    Returns:
      (height r, width r, channels).
    Raises:
      InputError: r² does not divide the channels.

    >>> pixel_shuffle(jnp.array([[[1.0, 2.0, 3.0, 4.0]]]), factor=2)[..., 0].tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    r = _factor(pixel_shuffle.name, x, factor)
    expect(x.shape[-1] % r**2 == 0, pixel_shuffle.name, f"a factor whose square, {r}², divides the channels",
           str(x.shape[-1]))
    return _shuffled(x, r), Static(r)


@pixel_shuffle.defbackward
def pixel_shuffle_backward(factor: Any, dy: Any) -> Any:
    """A renaming of the elements; `pixel_unshuffle` renames them back.

    Source: Shi et al. (2016), eq. 4.
    """
    return (_unshuffled(dy, factor.value),)


@hand_derived
def pixel_unshuffle(x: Any, *, factor: int) -> Any:
    """y_{h, w, c r² + i r + j} = x_{hr + i, wr + j, c}: pixels become channels, the inverse of `pixel_shuffle`.

    Args:
      x: (height, width, channels), r a divisor of height and width.
      factor: r.
    Returns:
      (height / r, width / r, channels r²).
    Raises:
      InputError: r does not divide the sizes.

    >>> pixel_unshuffle(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]), factor=2).ravel().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    r = _factor(pixel_unshuffle.name, x, factor)
    expect(x.shape[0] % r == 0 and x.shape[1] % r == 0, pixel_unshuffle.name,
           f"a factor, {r}, that divides height and width", str(jnp.shape(x)))
    return _unshuffled(x, r), Static(r)


@pixel_unshuffle.defbackward
def pixel_unshuffle_backward(factor: Any, dy: Any) -> Any:
    """A renaming of the elements; `pixel_shuffle` renames them back."""
    return (_shuffled(dy, factor.value),)


def _factor(who: str, x: Any, factor: int) -> int:
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("height", "width", "channels"))
    expect(is_integer(factor, 1), who, "factor, a positive integer", repr(factor))
    return int(factor)


def _shuffled(x: Any, r: int) -> Any:
    h, w, c = x.shape
    return jnp.reshape(jnp.transpose(jnp.reshape(x, (h, w, c // r**2, r, r)), (0, 3, 1, 4, 2)),
                       (h * r, w * r, c // r**2))


def _unshuffled(x: Any, r: int) -> Any:
    h, w, c = x.shape
    return jnp.reshape(jnp.transpose(jnp.reshape(x, (h // r, r, w // r, r, c)), (0, 2, 4, 1, 3)),
                       (h // r, w // r, c * r**2))
