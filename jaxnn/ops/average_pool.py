"""Pooling by sums: the average of each window, its norm, the average of the whole or of a given number of parts.

    y_p = Σ_k x_{p s + k} / n_p        n_p how many elements of window p count

The sum over a box is the sum along one axis, then along the next, and n_p is a product in the same way.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import expect, expect_bool, expect_float, expect_shape
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.axis_maps import map_axes
from jaxnn.ops.dtypes import wide
from jaxnn.ops.window import Window, lay, per_axis, taps, windows

__all__ = ["adaptive_average_pool", "average_pool", "global_average_pool", "l2_pool"]


@hand_derived
def average_pool(x: Any, *, window: int | Sequence[int] = (2, 2), stride: int | Sequence[int] | None = None,
                 padding: Any = "VALID", ceil: bool = False, count_padding: bool = False) -> Any:
    """y_p = the mean of the window at p.

    Args:
      x: (height, width, channels); in general one to three spatial axes, then channels.
      window, stride, padding, ceil: as of `max_pool`.
      count_padding: whether the zeros of the padding count in the mean, as they do in PyTorch unless told otherwise;
        in Keras they do not. What hangs over by `ceil` never counts.
    Returns:
      (n_out, ..., channels).
    Raises:
      InputError: a shape, size or padding does not fit, or a window holds nothing but padding.

    >>> average_pool(jnp.array([[1.0], [3.0], [5.0], [0.0]]), window=2).tolist()
    [[2.0], [2.5]]
    """
    who = average_pool.name
    expect_bool(who, "count_padding", count_padding)
    axes = windows(who, x, window, stride, padding, ceil=ceil)
    # Without `ceil`: the padding that was asked for.
    asked = windows(who, x, window, stride, padding) if ceil else axes
    counts = [_counts(axis, plain.pads if count_padding else (0, 0)) for axis, plain in zip(axes, asked, strict=True)]
    static = Static(tuple((axis, tuple(n)) for axis, n in zip(axes, counts, strict=True)))
    y = _sum_windows(wide(x), axes) / _product(counts)
    return y.astype(x.dtype), static


@average_pool.defbackward
def average_pool_backward(cache: Any, dy: Any) -> Any:
    """Each window gives every one of its elements its share: dx_i = Σ_{p: i in window p} dy_p / n_p.

    Args:
      cache: the windows along each axis and how many of their elements count.
      dy: (n_out, ..., channels).
    Source: LeCun et al. (1989), whose subsampling it is.
    """
    axes, counts = zip(*cache.value, strict=True)
    return (_spread_windows(wide(dy) / _product([np.array(n) for n in counts]), axes).astype(dy.dtype),)


@hand_derived
def l2_pool(x: Any, *, window: int | Sequence[int] = (2, 2), stride: int | Sequence[int] | None = None,
            padding: Any = "VALID", ceil: bool = False) -> Any:
    """y_p = √(Σ_k x²_{p s + k}), the norm of the window at p.

    Args: as for `average_pool`.
    Returns:
      (n_out, ..., channels), at least 0.

    >>> l2_pool(jnp.array([[3.0], [4.0]]), window=2).tolist()
    [[5.0]]
    """
    axes = windows(l2_pool.name, x, window, stride, padding, ceil=ceil)
    # In units of the largest element no square overflows; NaN and inf are kept where they are.
    largest = lax.stop_gradient(jnp.max(jnp.abs(wide(x)), initial=0))
    largest = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    scaled = wide(x) / largest
    squares = _sum_windows(scaled * scaled, axes)
    y = largest * jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0 * squares)
    return y.astype(x.dtype), (x, y, Static(axes))


@l2_pool.defbackward
def l2_pool_backward(cache: Any, dy: Any) -> Any:
    """y² = Σ x² gives y dy = Σ x dx, so dx_i = x_i Σ_{p: i in window p} dy_p / y_p.

    Where y_p = 0 the norm has no derivative; 0 is taken.

    Args:
      cache: x, y in at least float32, and the windows along each axis.
      dy: (n_out, ..., channels).
    Source: Sermanet, Chintala & LeCun (2012).
    """
    x, y, axes = cache
    share = jnp.where(y > 0, wide(dy) / jnp.where(y > 0, y, 1), 0)
    return ((wide(x) * _spread_windows(share, axes.value)).astype(x.dtype),)


@hand_derived
def global_average_pool(x: Any) -> Any:
    """y = the mean of each channel.

    Args:
      x: (..., channels), at least one element of each channel.
    Returns:
      (channels,).
    Raises:
      InputError: a shape does not fit, or there is nothing to take the mean of.

    >>> global_average_pool(jnp.array([[1.0, 5.0], [3.0, 2.0]])).tolist()
    [2.0, 3.5]
    """
    who = global_average_pool.name
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 1) + ("channels",))
    expect(0 not in jnp.shape(x)[:-1], who, "at least one element of each channel", f"x of shape {jnp.shape(x)}")
    return jnp.mean(wide(x), tuple(range(x.ndim - 1))).astype(x.dtype), Static(x.shape)


@global_average_pool.defbackward
def global_average_pool_backward(shape: Any, dy: Any) -> Any:
    """Each of the n elements of a channel has the share 1/n: dx_i = dy / n.

    Source: Lin, Chen & Yan (2014).
    """
    n = math.prod(shape.value[:-1])
    return (jnp.broadcast_to((wide(dy) / n).astype(dy.dtype), shape.value),)


@hand_derived
def adaptive_average_pool(x: Any, *, size: int | Sequence[int]) -> Any:
    """y_p = the mean of part p, of `size` parts along each axis: from ⌊p n / m⌋ to ⌈(p + 1) n / m⌉, as PyTorch has it.

    Args:
      x: (height, width, channels), one to three spatial axes.
      size: m, how many parts, for each axis or for all; there may be more than n.
    Returns:
      (*size, channels).
    Raises:
      InputError: a shape or size does not fit.

    >>> adaptive_average_pool(jnp.array([[1.0], [2.0], [6.0]]), size=2).tolist()
    [[1.5], [4.0]]
    """
    who = adaptive_average_pool.name
    expect_float(who, "x", x)
    rank = jnp.ndim(x) - 1
    expect(1 <= rank <= 3 and 0 not in x.shape[:-1], who, "x of one to three spatial axes and channels",
           str(jnp.shape(x)))
    sizes = tuple(zip(x.shape[:-1], per_axis(who, "size", size, rank), strict=True))
    return map_axes(x, [_parts(n, m) for n, m in sizes]), Static(sizes)


@adaptive_average_pool.defbackward
def adaptive_average_pool_backward(sizes: Any, dy: Any) -> Any:
    """Along one axis y = A x, row p of A having 1/n_p where part p is; so dx = Aᵀ dy, axis by axis."""
    return (map_axes(dy, [_parts(n, m).T for n, m in sizes.value]),)


@functools.lru_cache(maxsize=256)
def _parts(n: int, m: int) -> np.ndarray:
    """A, (m, n)."""
    places = np.arange(n)
    start, stop = np.arange(m)[:, None] * n // m, -(-(np.arange(m)[:, None] + 1) * n // m)
    inside = (places >= start) & (places < stop)
    return inside / inside.sum(1, keepdims=True)


def _sum_windows(x: Any, axes: Sequence[Window]) -> Any:
    for axis, window in enumerate(axes):
        x = functools.reduce(lambda a, b: a + b, taps(x, axis, window))
    return x


def _spread_windows(dy: Any, axes: Sequence[Window]) -> Any:
    """The transpose of `_sum_windows`."""
    for axis, window in enumerate(axes):
        dy = lay([dy] * window.size, axis, window)
    return dy


def _counts(window: Window, pads: tuple[int, int]) -> np.ndarray:
    """How many taps of each window lie on the axis, with so much of its padding."""
    places = window.places()
    return ((places >= -pads[0]) & (places < window.n + pads[1])).sum(1)


def _product(counts: Sequence[np.ndarray]) -> np.ndarray:
    """(n_out, ..., 1): of the counts along each axis."""
    return functools.reduce(np.multiply.outer, counts)[..., None].astype(np.float32)
