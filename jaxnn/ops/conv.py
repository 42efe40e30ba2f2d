"""Convolution (cross-correlation, as in every deep-learning library) and its transpose, in 1, 2 and 3 dimensions.

    y_po = Σ_kc K_kco x_{p s + k d - l, c} + b_o

K kernel (kernel height, kernel width, c channels in, o channels out), s stride, d dilation, l padding at the low side;
p runs over output positions, k over the kernel; x is 0 outside of itself. As many spatial axes as the kernel has.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnn.checks import Entries, expect, expect_float, expect_shape, is_integer, weights
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.correlation import Geometry, correlate, correlate_kernel, spread
from jaxnn.ops.dtypes import promoted, wide_over_batch
from jaxnn.ops.window import per_axis, resolve_cropping, resolve_padding

__all__ = ["ConvCache", "conv", "conv_transpose"]


class ConvCache(NamedTuple):
    x: Any
    """(height, width, n_in)."""
    kernel: Any
    """(height, width, n_in / groups, n_out); of a transposed convolution, see there."""
    entries: Entries
    """Of params: whether there is a bias."""
    geometry: Static
    """A Geometry: stride, dilation and (low, high) for each spatial axis; groups."""


@hand_derived
def conv(params: Any, x: Any, *, stride: int | Sequence[int] = 1, padding: Any = "SAME",
         dilation: int | Sequence[int] = 1, groups: int = 1) -> Any:
    """Convolution: the kernel times the window of x at each place p, and all channels of it together.

        y_po = Σ_kc K_kco x_{p s + k d - l, c} + b_o

    with the stride s, the dilation d and the padding l at the low side; x is 0 outside of itself. The kernel is not
    reversed: what mathematics calls cross-correlation. One to three spatial axes, as many as the kernel has.

    Args:
      params: {"kernel": (height, width, n_in / groups, n_out), "bias": (n_out,)}; "bias" may be left out or be None.
      x: (height, width, n_in), one example.
      stride: from one output position to the next, for each axis or for all.
      padding: "VALID" (none), "SAME" (n_out = ceil(n / stride), the odd zero at the high side),
        "SAME_LOWER" (the odd zero at the low side), "CAUSAL" (all at the low side, so that y_p reads no x after
        p s), an integer, or an integer or (low, high) for each axis; a negative one crops x.
      dilation: from one tap of the kernel to the next, for each axis or for all.
      groups: the channels are split into as many groups, each with kernels of its own; n_in for a depthwise
        convolution.
    Returns:
      (height out, width out, n_out), with (n + low + high - (kernel - 1) d - 1) // stride + 1 along each axis.
    Raises:
      InputError: a shape, size or padding does not fit.

    >>> conv({"kernel": jnp.ones((2, 1, 1))}, jnp.array([[1.0], [2.0], [4.0]]), padding="VALID").tolist()
    [[3.0], [6.0]]
    """
    kernel, bias, entries, (strides, dilations) = _checked(conv.name, params, x, groups, stride=stride,
                                                           dilation=dilation)
    window = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilations)]
    pads = resolve_padding(conv.name, padding, x.shape[:-1], window, strides, crops=True)
    geometry = Geometry(strides, dilations, pads, groups)
    K, b, x_ = promoted(kernel, bias, x)
    y = correlate(x_, K, geometry)
    return y if b is None else y + b, ConvCache(x, kernel, entries, Static(geometry))


@conv.defbackward
def conv_backward(cache: Any, dy: Any) -> Any:
    """Each cotangent of a convolution is a convolution.

        dK_kco = Σ_p x_{p s + k d - l, c} dy_po       x slid over by dy, whose elements stand s apart, in steps of d
        dx_ic  = Σ_{p s + k d - l = i} Σ_o K_kco dy_po
               = Σ_ko K_kco dy_{(i + l - k d)/s, o}   dy, its elements s apart, slid over by K reversed
        db_o   = Σ_p dy_po

    In dx the term is there only where s divides i + l - k d. The paddings follow from the sizes: dK has the
    kernel's, dx has x's. A negative one crops what no window reached. With groups the sum over o runs over the
    group of c. `jaxnn.ops.correlation` has the two products and why the kernel is reversed.

    Args:
      cache: a ConvCache.
      dy: (height out, width out, n_out).
    Source: LeCun et al. (1989); Dumoulin & Visin (2016), section 4, for the paddings.
    """
    geometry: Geometry = cache.geometry.value
    x, kernel, d = promoted(cache.x, cache.kernel, dy)
    dkernel = correlate_kernel(x, d, geometry, kernel.shape[:-2])
    dx = spread(d, kernel, geometry, x.shape[:-1])
    return cache.entries.fill(kernel=dkernel, bias=_bias_backward(cache, dy)), dx


@hand_derived
def conv_transpose(params: Any, x: Any, *, stride: int | Sequence[int] = 1, padding: Any = "SAME",
                   dilation: int | Sequence[int] = 1, groups: int = 1,
                   output_padding: int | Sequence[int] = 0) -> Any:
    """y_io = Σ_{p s + k d - l = i} Σ_c K_kco x_pc + b_o: each x lays the kernel, times itself, s places further on.

    It is the transpose of `conv` with the same stride, padding and dilation, and so widens what that one narrows.

    Args:
      params: {"kernel": (height, width, n_in / groups, n_out), "bias": (n_out,)}; "bias" may be left out or be None.
      x: (height, width, n_in), one example.
      stride: from one place where a kernel is laid to the next, for each axis or for all.
      padding: what is cropped from y: "SAME" for n_out = n stride, the odd place at the high side; "VALID" for
        nothing; an integer, or an integer or (low, high) for each axis, as PyTorch's padding.
      dilation: from one tap of the kernel to the next, for each axis or for all.
      groups: the channels are split into as many groups, each with kernels of its own.
      output_padding: places added at the high side, fewer than the stride: `conv` gives the same size for several
        sizes of its x, and this says for which.
    Returns:
      (height out, width out, n_out), with (n - 1) stride + (kernel - 1) d + 1 - low - high + output_padding.
    Raises:
      InputError: a shape, size or padding does not fit.

    >>> conv_transpose({"kernel": jnp.ones((2, 1, 1))}, jnp.array([[1.0], [3.0]]), stride=2).tolist()
    [[1.0], [1.0], [3.0], [3.0]]
    """
    who = conv_transpose.name
    kernel, bias, entries, (strides, dilations) = _checked(who, params, x, groups, stride=stride, dilation=dilation)
    rank = len(strides)
    more: Any = output_padding if isinstance(output_padding, tuple | list) else (output_padding,) * rank
    expect(len(more) == rank and all(is_integer(m, 0) and m < s for m, s in zip(more, strides)), who,
           f"output_padding, one for each of {rank} axes, at least 0 and below the stride {strides}",
           repr(output_padding))
    span = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilations)]
    pads = resolve_cropping(who, padding, span, strides)
    size = tuple((n - 1) * s + w - sum(p) + m for n, s, w, p, m in zip(x.shape, strides, span, pads, more))
    expect(min(size) >= 1, who, "padding that leaves a place of y", f"{pads} for a y of size {size}")
    K, b, x_ = promoted(kernel, bias, x)
    # `spread` sums over the last axis of the kernel, which is this op's n_in.
    K = _exchanged(K, groups)
    geometry = Geometry(strides, dilations, pads, groups)
    y = spread(x_, K, geometry, size)
    return y if b is None else y + b, ConvCache(x, kernel, entries, Static(geometry))


@conv_transpose.defbackward
def conv_transpose_backward(cache: Any, dy: Any) -> Any:
    """The transpose of a transposed convolution is the convolution:

        dx_pc  = Σ_ko K_kco dy_{p s + k d - l, o}
        dK_kco = Σ_p x_pc dy_{p s + k d - l, o}       dy slid over by x, whose elements stand s apart
        db_o   = Σ_i dy_io

    The kernel is not reversed: forward reversed it.

    Args:
      cache: a ConvCache.
      dy: (height out, width out, n_out).
    Source: Dumoulin & Visin (2016), section 4; Zeiler et al. (2010).
    """
    geometry: Geometry = cache.geometry.value
    x, kernel, d = promoted(cache.x, cache.kernel, dy)
    dx = correlate(d, _exchanged(kernel, geometry.groups), geometry)
    dkernel = _exchanged(correlate_kernel(d, x, geometry, kernel.shape[:-2]), geometry.groups)
    return cache.entries.fill(kernel=dkernel, bias=_bias_backward(cache, dy)), dx


def _bias_backward(cache: Any, dy: Any) -> Any:
    if "bias" not in cache.entries:
        return None
    return jnp.sum(wide_over_batch(dy, cache.x, cache.kernel), tuple(range(dy.ndim - 1)))


def _exchanged(kernel: Any, groups: int) -> Any:
    """The kernel (..., a / groups, b) as (..., b / groups, a): channels in and out exchanged within each group."""
    *window, a, b = kernel.shape
    grouped = jnp.reshape(kernel, (*window, a, groups, b // groups))
    return jnp.reshape(jnp.swapaxes(grouped, -3, -1), (*window, b // groups, groups * a))


def _checked(who: str, params: Any, x: Any, groups: int, **options: Any) -> tuple[Any, Any, Entries, Any]:
    """(kernel, bias, the Entries of params, each option for each spatial axis)."""
    kernel, bias, entries = weights(who, params, kernel="... n_in n_out", bias="n_out?")
    rank = jnp.ndim(kernel) - 2
    expect(1 <= rank <= 3, who, "kernel of shape (height, width, n_in, n_out)", str(kernel.shape))
    expect(min(kernel.shape) >= 1, who, "a kernel without an axis of size 0", str(kernel.shape))
    axes = ("depth", "height", "width")[3 - rank:]
    expect(is_integer(groups, 1) and kernel.shape[-1] % groups == 0, who,
           f"groups, a positive integer that divides n_out = {kernel.shape[-1]}", repr(groups))
    n_in = kernel.shape[-2] * groups
    expect_float(who, "x", x)
    expect_shape(who, "x", x, (*axes, n_in), _advice(x, rank, n_in))
    return kernel, bias, entries, [per_axis(who, name, value, rank) for name, value in options.items()]


def _advice(x: Any, rank: int, n_in: int) -> str:
    """Of an x whose channels come first, or that has no axis of them: (height, 1) has one, and lacks another."""
    if jnp.ndim(x) == rank and n_in == 1 and x.shape[-1] != 1:
        return f"give it an axis of channels: x[..., None] has the shape ({', '.join(map(str, (*x.shape, 1)))})"
    if jnp.ndim(x) != rank + 1 or x.shape[-1] == n_in or x.shape[0] != n_in:
        return ""
    return f"the channels come last: jnp.moveaxis(x, 0, -1) has the shape ({', '.join(map(str, (*x.shape[1:], n_in)))})"
