"""The correlation of x with a kernel, and its two transposes: the three products of which convolution is made.

    correlate         y_po  = Σ_kc K_kco x_{ps + kd - l, c}                    bilinear in x and K
    spread            x̄_ic  = Σ_{p, k: ps + kd - l = i} Σ_o K_kco y_po         its transpose in x
    correlate_kernel  K̄_kco = Σ_p x_{ps + kd - l, c} y_po                      its transpose in K

s stride, d dilation, l padding at the low side; p runs over the places of y, k over the taps of the kernel; x is 0
outside of itself. With groups, a channel out o sums over the channels in c of its own group alone.

A convolution is `correlate`, with the cotangents `spread` and `correlate_kernel`; a transposed convolution is
`spread`, with the cotangents `correlate` and `correlate_kernel`.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnn.ops import columns

__all__ = ["Geometry", "correlate", "correlate_kernel", "size_out", "spread"]

# The shifted products of a depthwise convolution are written out one by one; beyond so many taps each channel is a
# convolution of its own, as each group is elsewhere.
MOST_TAPS = 128


class Geometry(NamedTuple):
    """How the taps of a kernel lie on x; each field but groups has one entry for each spatial axis."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    """(low, high); a negative one crops x."""
    groups: int = 1

    @property
    def rank(self) -> int:
        return len(self.stride)


def size_out(n: int, window: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    """How many windows fit along one axis of n places."""
    return (n + sum(pads) - (window - 1) * dilation - 1) // stride + 1


def correlate(x: Any, kernel: Any, geometry: Geometry) -> Any:
    """y_po = Σ_kc K_kco x_{ps + kd - l, c}.

    Args:
      x: (..., n_in).
      kernel: (..., n_in / groups, n_out).
      geometry: of the windows.
    Returns:
      (..., n_out).
    """
    if _is_depthwise(kernel, geometry):
        return _depthwise(x, kernel, geometry)
    if geometry.groups > 1:
        return _by_group(correlate, (x, kernel), geometry)
    b = _n_columns(kernel) if _is_dense(geometry) else 1
    if b > 1:
        return _by_columns(x, kernel, geometry, b)
    n, k, _ = _letters(geometry.rank)
    x, pads = _cropped(x, geometry.pads)
    return lax.conv_general_dilated(x[None], kernel, geometry.stride, pads, rhs_dilation=geometry.dilation,
                                    dimension_numbers=(n, k, n))[0]


def spread(y: Any, kernel: Any, geometry: Geometry, size: tuple[int, ...]) -> Any:
    """x̄_ic = Σ_{p, k: ps + kd - l = i} Σ_o K_kco y_po: each y lays the kernel, times itself, where its window was.

    With q = i - kd + l the place on y's axis when its elements stand s apart (0 between them), k = K - 1 - j makes

        x̄_ic = Σ_jo K_{K-1-j, c, o} y_{(i + l - (K-1)d + jd) / s, o}

    a correlation of y, its elements s apart, with the kernel reversed, its channels in and out exchanged, and the
    padding (K-1)d - l at the low side: this is the flip.

    Args:
      y: (..., n_out).
      kernel: (..., n_in / groups, n_out).
      geometry: of the windows.
      size: of x along its spatial axes.
    Returns:
      (*size, n_in).
    """
    space = range(geometry.rank)
    if geometry.groups > 1 and not _is_depthwise(kernel, geometry):
        return _by_group(lambda y, kernel, g: spread(y, kernel, g, size), (y, kernel), geometry)
    reach = [(y.shape[a] - 1) * geometry.stride[a] + 1 for a in space]  # of y with its elements s apart
    span = [(kernel.shape[a] - 1) * geometry.dilation[a] for a in space]
    low = [span[a] - geometry.pads[a][0] for a in space]
    pads = tuple((low[a], size[a] + span[a] - reach[a] - low[a]) for a in space)
    reversed_kernel = lax.rev(kernel, tuple(space))
    if _is_depthwise(kernel, geometry):
        return _depthwise_spread(y, reversed_kernel, geometry, pads)
    if _is_dense(geometry) and set(geometry.stride) == {1}:
        exchanged = jnp.swapaxes(reversed_kernel, -1, -2)
        b = _n_columns(exchanged)
        if b > 1:
            return _by_columns(y, exchanged, geometry._replace(pads=pads), b)
    n, k, _ = _letters(geometry.rank)
    if set(geometry.stride) == {1}:
        y, pads = _cropped(y, pads)
    return lax.conv_general_dilated(
        y[None], reversed_kernel, (1,) * geometry.rank, pads, lhs_dilation=geometry.stride,
        rhs_dilation=geometry.dilation, dimension_numbers=(n, k.replace("IO", "OI"), n))[0]


def correlate_kernel(x: Any, y: Any, geometry: Geometry, window: tuple[int, ...]) -> Any:
    """K̄_kco = Σ_p x_{ps + kd - l, c} y_po: x slid over by y, whose elements stand s apart, in steps of d.

    Args:
      x: (..., n_in).
      y: (..., n_out).
      geometry: of the windows.
      window: the kernel's size along its spatial axes.
    Returns:
      (*window, n_in / groups, n_out).
    """
    if geometry.groups == x.shape[-1] and math.prod(window) <= MOST_TAPS and geometry.groups > 1:
        return _depthwise_kernel(x, y, geometry, window)
    if geometry.groups > 1:
        return _by_group(lambda x, y, g: correlate_kernel(x, y, g, window), (x, y), geometry)
    b = columns.n_columns_kernel(x.shape[-1], y.shape[-1], window[-1]) if _is_dense(geometry) else 1
    if b > 1:
        n, t = math.ceil(y.shape[-2] / b), columns.n_taps(window[-1], b)
        blocks = columns.to_columns(x, b, geometry.pads[-1][0], n + t - 1), columns.to_columns(y, b, 0, n)
        by_columns = _correlate_kernel(*blocks, _in_blocks(geometry), (*window[:-1], t))
        return columns.kernel_from_columns(by_columns, b, window[-1])
    return _correlate_kernel(x, y, geometry, window)


def _correlate_kernel(x: Any, y: Any, geometry: Geometry, window: tuple[int, ...]) -> Any:
    space = range(geometry.rank)
    reach = [(y.shape[a] - 1) * geometry.stride[a] + 1 for a in space]
    low = [geometry.pads[a][0] for a in space]
    pads = tuple((low[a], (window[a] - 1) * geometry.dilation[a] + reach[a] - x.shape[a] - low[a]) for a in space)
    x, pads = _cropped(x, pads)
    return lax.conv_general_dilated(x[None], y[None], geometry.dilation, pads, rhs_dilation=geometry.stride,
                                    dimension_numbers=_letters(geometry.rank)[2])


def _cropped(x: Any, pads: tuple[tuple[int, int], ...]) -> tuple[Any, tuple[tuple[int, int], ...]]:
    """(x without what a negative padding takes away, the paddings that are left, none of them negative).

    XLA could crop, and its convolution does, but on CPU that of jaxlib 0.10 reads beyond its input for some negative
    paddings at the low side, as -1 before and 1 behind: numbers of any size, which differ from call to call.
    """
    left = []
    for axis, (low, high) in enumerate(pads):
        if low < 0 or high < 0:
            n = x.shape[axis]
            start = min(max(-low, 0), n)
            stop = max(n - max(-high, 0), start)
            x = lax.slice_in_dim(x, start, stop, axis=axis)
            low, high = low + start, high + n - stop
            if start == stop:  # padding alone, of which the other side may have taken a part
                low, high = 0, low + high
        left.append((low, high))
    return x, tuple(left)


def _by_columns(x: Any, kernel: Any, geometry: Geometry, b: int) -> Any:
    """b places of y at a time along the last axis, whose stride and dilation are 1."""
    window, (low, high) = kernel.shape[-3], geometry.pads[-1]
    width = size_out(x.shape[-2], window, 1, 1, (low, high))
    n = math.ceil(width / b)
    blocks, pads = _cropped(columns.to_columns(x, b, low, n + columns.n_taps(window, b) - 1),
                            _in_blocks(geometry).pads)
    letters, k, _ = _letters(geometry.rank)
    y = lax.conv_general_dilated(
        blocks[None], columns.kernel_in_columns(kernel, b), geometry.stride, pads,
        rhs_dilation=geometry.dilation, dimension_numbers=(letters, k, letters))[0]
    return columns.from_columns(y, b, width)


def _n_columns(kernel: Any) -> int:
    window, n_in, n_out = kernel.shape[-3:]
    return columns.n_columns(n_in, n_out, window)


def _in_blocks(geometry: Geometry) -> Geometry:
    return geometry._replace(pads=(*geometry.pads[:-1], (0, 0)))


def _is_dense(geometry: Geometry) -> bool:
    """Whether windows and taps stand side by side along the last axis."""
    return geometry.groups == 1 and geometry.stride[-1] == geometry.dilation[-1] == 1


def _by_group(product: Callable, arrays: tuple[Any, Any], geometry: Geometry) -> Any:
    """One product for each group: on CPU, XLA's own grouped convolution is a loop over single numbers."""
    alone = geometry._replace(groups=1)
    parts = zip(*(jnp.split(array, geometry.groups, -1) for array in arrays), strict=True)
    return jnp.concatenate([product(*part, alone) for part in parts], -1)


def _is_depthwise(kernel: Any, geometry: Geometry) -> bool:
    return kernel.shape[-2] == 1 and geometry.groups > 1 and math.prod(kernel.shape[:-2]) <= MOST_TAPS


def _depthwise(x: Any, kernel: Any, geometry: Geometry) -> Any:
    """Each channel has kernels of its own, so there is no product of matrices, and the taps are summed one by one."""
    out = [size_out(*axis) for axis in zip(x.shape[:-1], kernel.shape[:-2], *geometry[:3], strict=True)]
    y: Any = 0
    for tap, x_k in _taps(x, kernel.shape[:-2], out, geometry):
        y = y + x_k[..., None] * kernel[tap].reshape(x.shape[-1], -1)
    return y.reshape(*out, kernel.shape[-1])


def _depthwise_spread(y: Any, kernel: Any, geometry: Geometry, pads: tuple[tuple[int, int], ...]) -> Any:
    apart = lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, s - 1) for s in geometry.stride] + [(0, 0, 0)])
    unit = Geometry((1,) * geometry.rank, geometry.dilation, pads, geometry.groups)
    out = [size_out(*axis) for axis in zip(apart.shape[:-1], kernel.shape[:-2], *unit[:3], strict=True)]
    x: Any = 0
    for tap, y_k in _taps(apart, kernel.shape[:-2], out, unit):
        x = x + jnp.sum(y_k.reshape(*out, geometry.groups, -1) * kernel[tap].reshape(geometry.groups, -1), -1)
    return x


def _depthwise_kernel(x: Any, y: Any, geometry: Geometry, window: tuple[int, ...]) -> Any:
    out, channels = y.shape[:-1], y.shape[-1]
    y = y.reshape(*out, x.shape[-1], -1)
    taps = [jnp.sum(x_k[..., None] * y, tuple(range(len(out)))).reshape(1, channels)
            for _, x_k in _taps(x, window, out, geometry)]
    return jnp.stack(taps).reshape(*window, 1, channels)


def _taps(x: Any, window: Any, out: Any, geometry: Geometry) -> Any:
    """For each tap k of the kernel, the x that the windows have there: x_{ps + kd - l}, (*out, channels)."""
    x = lax.pad(x, jnp.zeros((), x.dtype), [(*p, 0) for p in geometry.pads] + [(0, 0, 0)])
    for tap in itertools.product(*map(range, window)):
        start = [k * d for k, d in zip(tap, geometry.dilation, strict=True)]
        stop = [a + (m - 1) * s + 1 for a, m, s in zip(start, out, geometry.stride, strict=True)]
        yield tap, lax.slice(x, [*start, 0], [*stop, x.shape[-1]], [*geometry.stride, 1])


def _letters(rank: int) -> tuple[str, str, tuple[str, str, str]]:
    """JAX's names of the axes: of x and y, of the kernel, and of the convolution that gives K̄.

    In the last the channels of x are the batch, the one example is the channel to sum over, and y is the kernel.
    """
    space = "DHW"[3 - rank:]
    return f"N{space}C", f"{space}IO", (f"C{space}N", f"I{space}O", f"{space}NC")
