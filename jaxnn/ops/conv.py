"""Convolution (cross-correlation, as in every deep-learning library) with stride and padding.

    y_po = Σ_kc K_kco x_{p s + k - l, c} + b_o

    K kernel (kernel height, kernel width, c channels in, o channels out), s stride, l padding at the
    low side; p runs over output positions, k over the kernel; x is 0 outside of itself. One to three
    spatial axes, as many as the kernel has.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import Entries, expect, expect_float, expect_shape, weights
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted, wide_over_batch
from jaxnn.ops.window import per_axis, resolve_padding

__all__ = ["ConvCache", "conv"]


class ConvCache(NamedTuple):
    x: Any
    """(height, width, n_in)."""
    kernel: Any
    """(height, width, n_in, n_out)."""
    entries: Entries
    """Of params: whether there is a bias."""
    geometry: Static
    """(stride, padding): a stride and (low, high) for each spatial axis."""


@hand_derived
def conv(params: Any, x: Any, *, stride: int | Sequence[int] = 1, padding: Any = "SAME") -> Any:
    """Convolution: the kernel times the window of x at each place p, and all channels of it together.

        y_po = Σ_kc K_kco x_{p s + k - l, c} + b_o

    with the stride s and the padding l at the low side; x is 0 outside of itself. The kernel is not reversed: what
    mathematics calls cross-correlation. One to three spatial axes, as many as the kernel has.

    Args:
      params: {"kernel": (height, width, n_in, n_out), "bias": (n_out,)}; "bias" may be left out or be None.
      x: (height, width, n_in), one example.
      stride: from one output position to the next, for each axis or for all.
      padding: "VALID" (none), "SAME" (n_out = ceil(n / stride), the odd zero at the high side),
        "SAME_LOWER" (the odd zero at the low side), an integer, or an integer or (low, high) for each axis.
    Returns:
      (height out, width out, n_out), with (n + low + high - kernel) // stride + 1 along each axis.
    Raises:
      InputError: a shape, size or padding does not fit.

    >>> conv({"kernel": jnp.ones((2, 1, 1))}, jnp.array([[1.0], [2.0], [4.0]]), padding="VALID").tolist()
    [[3.0], [6.0]]
    """
    kernel, bias, entries = weights(conv.name, params, kernel="... n_in n_out", bias="n_out?")
    rank = jnp.ndim(kernel) - 2
    expect(1 <= rank <= 3, conv.name, "kernel of shape (height, width, n_in, n_out)", str(kernel.shape))
    axes = ("depth", "height", "width")[3 - rank:]
    expect_float(conv.name, "x", x)
    expect_shape(conv.name, "x", x, (*axes, kernel.shape[-2]))
    stride = per_axis(conv.name, "stride", stride, rank)
    pads = resolve_padding(conv.name, padding, x.shape[:-1], kernel.shape[:rank], stride)
    n, k, _ = _letters(rank)
    K, b, x_ = promoted(kernel, bias, x)
    y = lax.conv_general_dilated(x_[None], K, stride, pads, dimension_numbers=(n, k, n))[0]
    if b is not None:
        y = y + b
    return y, ConvCache(x, kernel, entries, Static((stride, pads)))


@conv.defbackward
def conv_backward(cache: Any, dy: Any) -> Any:
    """Each cotangent of a convolution is a convolution.

        dK_kco = Σ_p x_{p s + k - l, c} dy_po       x slid over by dy, whose elements stand s apart
        dx_ic  = Σ_{p s + k - l = i} Σ_o K_kco dy_po
               = Σ_ko K_kco dy_{(i + l - k)/s, o}    dy, its elements s apart, slid over by K reversed
        db_o   = Σ_p dy_po

    In dx the term is there only where s divides i + l - k. The paddings follow from the sizes: dK has
    the kernel's, dx has x's. A negative one crops what no window reached.

    Args:
      cache: a ConvCache.
      dy: (height out, width out, n_out).
    Source: LeCun et al. (1989); Dumoulin & Visin (2016), section 4, for the paddings.
    """
    stride, pads = cache.geometry.value
    rank = len(stride)
    space = range(rank)
    x, kernel, d = promoted(cache.x, cache.kernel, dy)
    reach = [(dy.shape[a] - 1) * stride[a] + 1 for a in space]  # of dy with its elements s apart
    n, k, swapped = _letters(rank)

    to_kernel = [(pads[a][0], kernel.shape[a] + reach[a] - 1 - x.shape[a] - pads[a][0]) for a in space]
    dkernel = lax.conv_general_dilated(
        x[None], d[None], (1,) * rank, to_kernel, rhs_dilation=stride, dimension_numbers=swapped)

    low = [kernel.shape[a] - 1 - pads[a][0] for a in space]
    to_x = [(low[a], x.shape[a] + kernel.shape[a] - 1 - reach[a] - low[a]) for a in space]
    dx = lax.conv_general_dilated(
        d[None], lax.rev(kernel, tuple(space)), (1,) * rank, to_x, lhs_dilation=stride,
        dimension_numbers=(n, k.replace("IO", "OI"), n))[0]
    dbias = jnp.sum(wide_over_batch(dy, x, kernel), tuple(space)) if "bias" in cache.entries else None
    return cache.entries.fill(kernel=dkernel, bias=dbias), dx


def _letters(rank: int) -> tuple[str, str, tuple[str, str, str]]:
    """JAX's names of the axes: of x and y, of the kernel, and of the convolution that gives dK.

    In the last the channels of x are the batch, the one example is the channel to sum over, and dy is
    the kernel.
    """
    space = "DHW"[3 - rank:]
    return f"N{space}C", f"{space}IO", (f"C{space}N", f"I{space}O", f"{space}NC")
