"""A correlation of few channels along its last spatial axis, b places of y at a time.

With few channels the matrix products of a convolution are thin, and gathering what goes into them takes longer than
they do. Taken b places at a time they are b times as wide: the last axis of x is read as blocks of b places, which is
a reshape, and column j of a block of y has the kernel shifted by j:

    y_{qb+j, o} = Σ_uic K^b_{u, (i, c), (j, o)} x_{(q+u)b + i, c}        K^b_{u, (i, c), (j, o)} = K_{ub + i - j, c, o}

q runs over the blocks of y, u over the t = ceil((K + b - 1) / b) blocks that its taps lie in, i and j over the places
in a block; K is 0 outside of its taps, so t b / K times as many products are made. On CPU the first convolution of
LeNet-5 takes a third of the time, and dx of its second a half (`python -m experiments bench lenet-5`).
"""

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = ["from_columns", "kernel_from_columns", "kernel_in_columns", "n_columns", "n_columns_kernel", "n_taps",
           "to_columns"]


def n_columns(n_in: int, n_out: int, window: int) -> int:
    """b for a correlation of so many channels: 1 where the products are wide enough by themselves."""
    if window >= 3 and n_in <= 3 and n_out <= 32:
        return 4 if n_out <= 8 else 2
    return n_columns_kernel(n_in, n_out, window)


def n_columns_kernel(n_in: int, n_out: int, window: int) -> int:
    """b for the product that gives the kernel's cotangent."""
    few = n_in <= 8 and n_out <= 8 if window < 5 else n_in * n_out <= 160
    return 2 if window >= 3 and few else 1


def n_taps(window: int, b: int) -> int:
    """t, the blocks that the taps of b neighbouring windows lie in."""
    return math.ceil((window + b - 1) / b)


def to_columns(x: Any, b: int, low: int, n: int) -> Any:
    """x (..., width, c) with `low` zeros before it and n blocks in all, as (..., n, b c)."""
    pads = [(0, 0, 0)] * (x.ndim - 2) + [(low, n * b - low - x.shape[-2], 0), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), pads).reshape(*x.shape[:-2], n, b * x.shape[-1])


def from_columns(y: Any, b: int, n: int) -> Any:
    """y (..., blocks, b o) as (..., n, o): its first n places."""
    y = y.reshape(*y.shape[:-2], y.shape[-2] * b, y.shape[-1] // b)
    return lax.slice_in_dim(y, 0, n, axis=y.ndim - 2)


def kernel_in_columns(kernel: Any, b: int) -> Any:
    """K^b (..., t, b c, b o) of K (..., window, c, o)."""
    *outer, window, c, o = kernel.shape
    t = n_taps(window, b)
    shifted = [lax.pad(kernel, jnp.zeros((), kernel.dtype), [
        *((0, 0, 0) for _ in outer), (j, t * b - window - j, 0), (0, 0, 0), (0, 0, 0)]) for j in range(b)]
    return jnp.stack(shifted, -2).reshape(*outer, t, b * c, b * o)


def kernel_from_columns(kernel: Any, b: int, window: int) -> Any:
    """The transpose of `kernel_in_columns`: the sum over the columns j of what K^b has at their taps."""
    *outer, t, bc, bo = kernel.shape
    columns = kernel.reshape(*outer, t * b, bc // b, b, bo // b)
    return sum(lax.slice_in_dim(columns[..., j, :], j, j + window, axis=len(outer)) for j in range(b))
