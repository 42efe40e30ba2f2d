"""Max pooling: y = the largest x in each window, channel by channel; its switches, and the way back by them.

    y_p = max_k x_{p s + k d}    p output position, s stride, d dilation, k = 0 .. window - 1 along each axis

The maximum over a box is the maximum along one axis, then along the next, so the axes are pooled one
after another, the last first: `window` steps for each axis in place of their product. Among equal
values the first wins, rows before columns, as it does when the window is read in order.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import expect, expect_float, expect_integers, expect_shape, known
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide
from jaxnn.ops.window import Window, lay, per_axis, taps, windows

__all__ = ["global_max_pool", "max_pool", "max_unpool", "pool_switches"]


@hand_derived
def max_pool(x: Any, *, window: int | Sequence[int] = (2, 2), stride: int | Sequence[int] | None = None,
             padding: Any = "VALID", dilation: int | Sequence[int] = 1, ceil: bool = False) -> Any:
    """y_p = max over the window at p.

    Args:
      x: (height, width, channels); in general one to three spatial axes, then channels.
      window: its size along each axis; one integer stands for all the spatial axes that x has, so that a
        batch of pictures, which belongs under `jax.vmap`, would be taken for a volume.
      stride: from window to window; None for the window's own size, so that windows tile.
      padding: as in `conv`, and never negative; what is padded never is the maximum.
      dilation: from one element of a window to the next.
      ceil: whether a last window that hangs over at the high side is made too; one that would begin behind x is not.
    Returns:
      (n_out, ..., channels), n_out as in `conv`, rounded up with `ceil`. NaN in a window makes its maximum NaN.
    Raises:
      InputError: a shape, size or padding does not fit, or a window holds nothing but padding.

    >>> max_pool(jnp.array([[1.0], [3.0], [2.0], [0.0]]), window=2).tolist()
    [[3.0], [2.0]]
    """
    axes = windows(max_pool.name, x, window, stride, padding, dilation, ceil=ceil)
    winners, y = [], x
    for axis in reversed(range(len(axes))):
        y, winner = _pool_axis(y, axis, axes[axis])
        # Kept as they are: XLA would find the winners anew for every place that reads them.
        winners.append(lax.optimization_barrier(winner))
    return y, (tuple(winners), Static(axes))


@max_pool.defbackward
def max_pool_backward(cache: Any, dy: Any) -> Any:
    """Each window's maximum is one of its elements, so dy goes to that element, and nothing elsewhere:

        dx_i = Σ_p dy_p [i is the first maximum of window p]

    The axes are walked in the order opposite to forward's. Along one axis, with k_p the winner of
    window p, dx_i = Σ_p dy_p [k_p d = i - p s] = Σ_k (dy_p where k_p = k, laid at the places p s + k d).

    Args:
      cache: for each axis, the last first, the winners k_p as small integers; the geometry.
      dy: (n_out, ..., channels).
    Returns:
      (dx,) of the shape of x.
    Source: Weng, Ahuja & Huang (1992); Ranzato et al. (2007).
    """
    winners, axes = cache
    # Where windows overlap, an element may win in many of them.
    dx = wide(dy) if any((a.size - 1) * a.dilation >= a.stride for a in axes.value) else dy
    for axis, winner in zip(range(len(winners)), reversed(winners), strict=True):
        dx = _unpool_axis(dx, winner, axis, axes.value[axis])
    return (dx.astype(dy.dtype),)


@hand_derived
def global_max_pool(x: Any) -> Any:
    """y = the largest x of each channel.

    Args:
      x: (..., channels), at least one element of each channel.
    Returns:
      (channels,). NaN in a channel makes its maximum NaN.
    Raises:
      InputError: a shape does not fit, or there is nothing to take the maximum of.

    >>> global_max_pool(jnp.array([[1.0, 5.0], [3.0, 2.0]])).tolist()
    [3.0, 5.0]
    """
    who = global_max_pool.name
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 1) + ("channels",))
    expect(0 not in jnp.shape(x)[:-1], who, "at least one element of each channel", f"x of shape {jnp.shape(x)}")
    rows = jnp.reshape(x, (-1, x.shape[-1]))
    winner = jnp.argmax(rows, 0)
    return jnp.take_along_axis(rows, winner[None], 0, mode="clip")[0], (winner, Static(x.shape))


@global_max_pool.defbackward
def global_max_pool_backward(cache: Any, dy: Any) -> Any:
    """As for `max_pool`, with one window: dx_i = dy [i is the first maximum].

    Args:
      cache: the winners (channels,), in the order of x's rows; the shape of x.
      dy: (channels,).
    Source: Oquab et al. (2015).
    """
    winner, shape = cache
    rows = jnp.arange(max(np.prod(shape.value[:-1], dtype=int), 1))[:, None]
    return (jnp.where(rows == winner, dy, 0).reshape(shape.value),)


def pool_switches(x: Any, *, window: int | Sequence[int] = (2, 2), stride: int | Sequence[int] | None = None,
                  padding: Any = "VALID", dilation: int | Sequence[int] = 1, ceil: bool = False) -> Any:
    """Where the maxima of `max_pool` are: for each window the place of its first maximum in x, rows before columns.

    Args: as of `max_pool`.
    Returns:
      (n_out, ..., channels), int32: h width + w, and so on for other numbers of axes; PyTorch's return_indices.

    >>> pool_switches(jnp.array([[1.0], [3.0], [2.0], [0.0]]), window=2).ravel().tolist()
    [1, 2]
    """
    axes = windows("pool_switches", x, window, stride, padding, dilation, ceil=ceil)
    best, place = x, jnp.zeros(x.shape, jnp.int32)
    for axis in reversed(range(len(axes))):
        of = axes[axis]
        best, winner = _pool_axis(best, axis, of)
        # The winner's place along this axis, and of what won there the place along the axes pooled before.
        starts = jnp.expand_dims(of.stride * np.arange(of.n_out) - of.pads[0], range(1, x.ndim - axis))
        at = starts + winner.astype(jnp.int32) * of.dilation
        place = jnp.take_along_axis(place, at, axis, mode="clip") + at * math.prod(x.shape[axis + 1:-1])
    return place


@hand_derived
def max_unpool(x: Any, switches: Any, *, size: int | Sequence[int]) -> Any:
    """y_i = Σ_p x_p [switch_p = i]: each x goes back to the place where its window had the maximum, 0 elsewhere.

    Args:
      x: (height, width, channels), one to three spatial axes.
      switches: of the shape of x, integers, from `pool_switches`.
      size: of y, for each spatial axis.
    Returns:
      (*size, channels). Where windows overlapped, several x may meet in one place: they are added.
    Raises:
      InputError: a shape does not fit, or a switch lies outside of y.

    >>> max_unpool(jnp.array([[3.0], [2.0]]), jnp.array([[1], [2]]), size=4).ravel().tolist()
    [0.0, 3.0, 2.0, 0.0]
    """
    who = max_unpool.name
    expect_float(who, "x", x)
    rank = jnp.ndim(x) - 1
    expect(1 <= rank <= 3, who, "x of one to three spatial axes and channels", str(jnp.shape(x)))
    expect_integers(who, "switches", switches)
    expect_shape(who, "switches", switches, x.shape)
    size = per_axis(who, "size", size, rank)
    n, values = math.prod(size), known(switches)
    if values is not None and values.size:
        expect(values.min() >= 0 and values.max() < n, who, f"switches from 0 to {n - 1}",
               f"{values.min()} to {values.max()}")
    rows = jnp.reshape(switches, (-1, x.shape[-1]))
    channels = jnp.arange(x.shape[-1])
    y = jnp.zeros((n, x.shape[-1]), wide(x).dtype)
    y = y.at[rows, channels].add(wide(x).reshape(rows.shape), mode="drop").astype(x.dtype)
    return y.reshape(*size, -1), switches


@max_unpool.defbackward
def max_unpool_backward(switches: Any, dy: Any) -> Any:
    """Each x is read in one place, so it gets what arrives there: dx_p = dy at switch_p.

    Source: Zeiler & Fergus (2014), section 2.1.
    """
    rows = jnp.reshape(dy, (-1, dy.shape[-1]))
    places = jnp.reshape(switches, (-1, dy.shape[-1]))
    return jnp.take_along_axis(rows, places, 0, mode="fill", fill_value=0).reshape(switches.shape), None


def _pool_axis(x: Any, axis: int, window: Window) -> tuple[Any, Any]:
    """The maximum along one axis, and which element of the window it was."""
    elements = taps(x, axis, window, -np.inf)
    # A window that begins in the padding has its first element where the padding ends: should all be
    # -inf, that one is the first maximum.
    first = (window.places() >= 0).argmax(1).astype(np.uint8 if window.size < 256 else np.int32)
    best = elements[0]
    winner = jnp.broadcast_to(jnp.expand_dims(first, range(1, x.ndim - axis)), best.shape)
    for k, x_k in enumerate(elements[1:], 1):
        wins = (x_k > best) | (x_k != x_k)
        best = jnp.where(wins, x_k, best)
        winner = jnp.where(wins, jnp.asarray(k, winner.dtype), winner)
    return best, winner


def _unpool_axis(dy: Any, winner: Any, axis: int, window: Window) -> Any:
    zero = jnp.zeros((), dy.dtype)
    if window.tiles:  # one pass, no sum
        offsets = jnp.expand_dims(jnp.arange(window.size, dtype=winner.dtype), range(1, dy.ndim - axis))
        wins = jnp.expand_dims(winner, axis + 1) == offsets
        spread = jnp.where(wins, jnp.expand_dims(dy, axis + 1), zero)
        tiled = spread.reshape(*dy.shape[:axis], window.n_out * window.size, *dy.shape[axis + 1:])
        config = [(0, 0, 0)] * dy.ndim
        config[axis] = (0, window.n - tiled.shape[axis], 0)
        return lax.pad(tiled, zero, config)
    return lay([jnp.where(winner == k, dy, zero) for k in range(window.size)], axis, window)
