"""Max pooling: y = the largest x in each window, channel by channel.

    y_p = max_k x_{p s + k}    p output position, s stride, k = 0 .. window - 1 along each axis

The maximum over a box is the maximum along one axis, then along the next, so the axes are pooled one
after another, the last first: `window` steps for each axis in place of their product. Among equal
values the first wins, rows before columns, as it does when the window is read in order.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import expect, expect_float, expect_shape
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide
from jaxnn.ops.window import per_axis, resolve_padding

__all__ = ["max_pool"]


@hand_derived
def max_pool(x: Any, *, window: int | Sequence[int] = (2, 2), stride: int | Sequence[int] | None = None,
             padding: Any = "VALID") -> Any:
    """y_p = max over the window at p.

    Args:
      x: (height, width, channels); in general one to three spatial axes, then channels.
      window: its size along each axis; one integer stands for all the spatial axes that x has, so that a
        batch of pictures, which belongs under `jax.vmap`, would be taken for a volume.
      stride: from window to window; None for the window's own size, so that windows tile.
      padding: as in `conv`; what is padded never is the maximum.
    Returns:
      (n_out, ..., channels). NaN in a window makes its maximum NaN.
    Raises:
      InputError: a shape, size or padding does not fit, or a window holds nothing but padding.

    >>> max_pool(jnp.array([[1.0], [3.0], [2.0], [0.0]]), window=2).tolist()
    [[3.0], [2.0]]
    """
    expect_float(max_pool.name, "x", x)
    rank = len(window) if isinstance(window, tuple) else min(max(jnp.ndim(x) - 1, 1), 3)
    expect(1 <= rank <= 3, max_pool.name, "window to be one to three sizes", repr(window))
    window = per_axis(max_pool.name, "window", window, rank)
    stride = window if stride is None else per_axis(max_pool.name, "stride", stride, rank)
    expect_shape(max_pool.name, "x", x, (*("depth", "height", "width")[3 - rank:], "channels"))
    pads = resolve_padding(max_pool.name, padding, x.shape[:-1], window, stride)
    expect(all(low < w and high < w for w, (low, high) in zip(window, pads, strict=True)), max_pool.name,
           f"padding smaller than the window {window}", str(pads))
    winners, y = [], x
    for axis in reversed(range(rank)):
        y, winner = _pool_axis(y, axis, window[axis], stride[axis], pads[axis])
        # Kept as they are: XLA would find the winners anew for every place that reads them.
        winners.append(lax.optimization_barrier(winner))
    geometry = tuple(zip(x.shape[:-1], window, stride, pads, strict=True))
    return y, (tuple(winners), Static(geometry))


@max_pool.defbackward
def max_pool_backward(cache: Any, dy: Any) -> Any:
    """Each window's maximum is one of its elements, so dy goes to that element, and nothing elsewhere:

        dx_i = Σ_p dy_p [i is the first maximum of window p]

    The axes are walked in the order opposite to forward's. Along one axis, with k_p the winner of
    window p, dx_i = Σ_p dy_p [k_p = i - p s] = Σ_k (dy_p where k_p = k, laid at the places p s + k).

    Args:
      cache: for each axis, the last first, the winners k_p as small integers; the geometry.
      dy: (n_out, ..., channels).
    Returns:
      (dx,) of the shape of x.
    Source: Weng, Ahuja & Huang (1992); Ranzato et al. (2007).
    """
    winners, geometry = cache
    # Where windows overlap, an element may win in many of them.
    dx = wide(dy) if any(window > stride for _, window, stride, _ in geometry.value) else dy
    for axis, winner in zip(range(len(winners)), reversed(winners), strict=True):
        dx = _unpool_axis(dx, winner, axis, *geometry.value[axis])
    return (dx.astype(dy.dtype),)


def _pool_axis(x: Any, axis: int, window: int, stride: int, pads: tuple[int, int]) -> tuple[Any, Any]:
    """The maximum along one axis, and which element of the window it was."""
    if pads != (0, 0):
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (*pads, 0)
        x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), config)
    n_out = (x.shape[axis] - window) // stride + 1

    def element(k: int) -> Any:
        return lax.slice_in_dim(x, k, k + (n_out - 1) * stride + 1, stride, axis)

    # A window that begins in the padding has its first element where the padding ends: should all be
    # -inf, that one is the first maximum.
    first = np.maximum(pads[0] - stride * np.arange(n_out), 0).astype(np.uint8 if window < 256 else np.int32)
    best = element(0)
    winner = jnp.broadcast_to(jnp.expand_dims(first, range(1, x.ndim - axis)), best.shape)
    for k in range(1, window):
        x_k = element(k)
        wins = (x_k > best) | (x_k != x_k)
        best = jnp.where(wins, x_k, best)
        winner = jnp.where(wins, jnp.asarray(k, winner.dtype), winner)
    return best, winner


def _unpool_axis(dy: Any, winner: Any, axis: int, n: int, window: int, stride: int,
                 pads: tuple[int, int]) -> Any:
    n_out, zero = dy.shape[axis], jnp.zeros((), dy.dtype)
    if window == stride and pads == (0, 0):  # windows tile: one pass, no sum
        offsets = jnp.expand_dims(jnp.arange(window, dtype=winner.dtype), range(1, dy.ndim - axis))
        wins = jnp.expand_dims(winner, axis + 1) == offsets
        spread = jnp.where(wins, jnp.expand_dims(dy, axis + 1), zero)
        tiled = spread.reshape(*dy.shape[:axis], n_out * window, *dy.shape[axis + 1:])
        return _laid(tiled, axis, zero, 0, 1, n)
    # Laid from place k - low on with stride - 1 zeros between.
    laid = [_laid(jnp.where(winner == k, dy, zero), axis, zero, k - pads[0], stride, n)
            for k in range(window)]
    return sum(laid[1:], laid[0])


def _laid(x: Any, axis: int, zero: Any, first: int, stride: int, n: int) -> Any:
    """x along an axis of n zeros, from place `first` on, `stride` apart; what falls outside is cropped."""
    reach = (x.shape[axis] - 1) * stride + 1
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (first, n - first - reach, stride - 1)
    return lax.pad(x, zero, config)
