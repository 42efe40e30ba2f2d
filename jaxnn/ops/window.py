"""Where a sliding window starts, along one axis: shared by convolution and pooling.

    n_out = (n + low + high - span) // stride + 1        span = (window - 1) dilation + 1

Along one axis a window is a `Window`; `taps` reads x where the windows lie and `lay` is its transpose.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import expect, expect_bool, expect_float, expect_shape, is_integer

__all__ = ["Window", "expect_padding", "lay", "per_axis", "resolve_cropping", "resolve_padding", "taps", "windows"]


class Window(NamedTuple):
    """How windows lie along one axis."""

    n: int
    """Places on the axis."""
    size: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    """(low, high)."""

    @property
    def n_out(self) -> int:
        return (self.n + sum(self.pads) - (self.size - 1) * self.dilation - 1) // self.stride + 1

    @property
    def tiles(self) -> bool:
        """Whether the windows stand one beside the other, and nothing is padded."""
        return self.size == self.stride and self.dilation == 1 and self.pads == (0, 0)

    def places(self) -> np.ndarray:
        """(n_out, size): the place on the axis of each tap of each window; below 0 and from n on it is padding."""
        start = self.stride * np.arange(self.n_out)[:, None] - self.pads[0]
        return start + self.dilation * np.arange(self.size)


def windows(who: str, x: Any, window: Any, stride: Any, padding: Any, dilation: Any = 1, *,
            ceil: bool = False) -> tuple[Window, ...]:
    """The windows of pooling, for each spatial axis of x.

    Args:
      who: the op's name, for the message.
      x: (depth, height, width, channels), or with fewer spatial axes.
      window: a size for each axis, or one for all the spatial axes that x has.
      stride: from window to window; None for the window's own size.
      padding: as for `resolve_padding`.
      dilation: from one tap of a window to the next.
      ceil: whether a last window that hangs over is made; one that would begin behind x is not.
    Raises:
      InputError: a shape, size or padding does not fit, or a window holds nothing but padding.
    """
    expect_float(who, "x", x)
    rank = len(window) if isinstance(window, tuple | list) else min(max(jnp.ndim(x) - 1, 1), 3)
    expect(1 <= rank <= 3, who, "window to be one to three sizes", repr(window))
    window = per_axis(who, "window", window, rank)
    stride = window if stride is None else per_axis(who, "stride", stride, rank)
    dilation = per_axis(who, "dilation", dilation, rank)
    expect_bool(who, "ceil", ceil)
    expect_shape(who, "x", x, (*("depth", "height", "width")[3 - rank:], "channels"))
    span = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
    pads = resolve_padding(who, padding, x.shape[:-1], span, stride)
    expect(all(low < w and high < w for w, (low, high) in zip(span, pads, strict=True)), who,
           f"padding smaller than the window {tuple(span)}", str(pads))
    if ceil:
        pads = tuple((low, _hanging(n, low, high, w, s))
                     for n, (low, high), w, s in zip(x.shape, pads, span, stride))
    found = tuple(map(Window, x.shape[:-1], window, stride, dilation, pads))
    for axis in found:
        inside = (axis.places() >= 0) & (axis.places() < axis.n)
        expect(bool(inside.any(1).all()), who, "windows that hold an element of x each",
               f"a window {axis.size}, stride {axis.stride}, dilation {axis.dilation} and padding {axis.pads} "
               f"along an axis of {axis.n}")
    return found


def _hanging(n: int, low: int, high: int, span: int, stride: int) -> int:
    """The padding at the high side under which the last window that hangs over is whole."""
    n_out = -(-(n + low + high - span) // stride) + 1
    if (n_out - 1) * stride >= n + low:
        n_out -= 1
    return (n_out - 1) * stride + span - n - low


def taps(x: Any, axis: int, window: Window, fill: float = 0) -> list[Any]:
    """For each tap k of the windows, the x they have there: x_{p s + k d - low} along the axis, `fill` outside of x."""
    if window.pads != (0, 0):
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (*window.pads, 0)
        x = lax.pad(x, jnp.asarray(fill, x.dtype), config)
    starts = [k * window.dilation for k in range(window.size)]
    reach = (window.n_out - 1) * window.stride + 1
    return [lax.slice_in_dim(x, start, start + reach, window.stride, axis) for start in starts]


def lay(parts: list[Any], axis: int, window: Window) -> Any:
    """The transpose of `taps`: Σ_k of parts_k, whose element p lies at the place p s + k d - low of the axis."""
    reach = (window.n_out - 1) * window.stride + 1
    total: Any = None
    for k, part in enumerate(parts):
        first = k * window.dilation - window.pads[0]
        config = [(0, 0, 0)] * part.ndim
        config[axis] = (first, window.n - first - reach, window.stride - 1)  # what falls outside is cropped
        laid = lax.pad(part, jnp.zeros((), part.dtype), config)
        total = laid if total is None else total + laid
    return total


MOST_ZEROS = 2**26
"""More padding than this is a slip of the pen, and may take all of the machine's memory."""


def per_axis(who: str, name: str, value: Any, rank: int | None) -> tuple[int, ...]:
    """A size for each spatial axis, all positive; one integer stands for all. Without a rank any number of axes fits,
    and one integer is (n,)."""
    sizes: tuple[Any, ...] = tuple(value) if isinstance(value, tuple | list) else (value,) * (rank or 1)
    fits = (len(sizes) == rank or (rank is None and 1 <= len(sizes) <= 3)) and all(is_integer(n, 1) for n in sizes)
    expect(fits, who, f"{name} to be a positive integer, or {rank or 'one to three'} of them", repr(value))
    return tuple(int(n) for n in sizes)


WORDS = ("VALID", "SAME", "SAME_LOWER", "CAUSAL")


def expect_padding(who: str, padding: Any, rank: int | None = None, *, crops: bool = False,
                   words: Sequence[str] = WORDS) -> Any:
    """The padding's word in capitals, or (low, high) for each of so many axes, one to three without a rank.

    Raises:
      InputError: it is none of these. Only where it `crops` may it be negative.
    """
    if isinstance(padding, str) and padding.upper() in words:
        return padding.upper()
    each = padding if isinstance(padding, tuple | list) else (padding,) * (rank or 1)
    pairs = [p if isinstance(p, tuple | list) else (p, p) for p in each]
    least = -math.inf if crops else 0
    fits = (len(pairs) == rank or (rank is None and 1 <= len(pairs) <= 3)) and all(
        len(p) == 2 and all(is_integer(n, least) for n in p) for p in pairs)
    expect(fits, who, f"padding to be {', '.join(map(repr, words))}, a size{'' if crops else ' >= 0'}, or one or a "
           f"pair for each of {rank or 'one to three'} axes", repr(padding))
    return tuple((int(low), int(high)) for low, high in pairs)


def resolve_padding(who: str, padding: Any, sizes: Sequence[int], window: Sequence[int], stride: Sequence[int], *,
                    crops: bool = False) -> tuple[tuple[int, int], ...]:
    """(low, high) for each spatial axis.

    Args:
      padding: "VALID" for none; "SAME" for n_out = ceil(n / stride), the odd one at the high side, or
        "SAME_LOWER", the odd one at the low side; "CAUSAL" for window - 1 at the low side; an integer on every side;
        or an integer or (low, high) for each axis. Words are understood in capitals or not.
      crops: whether a negative one crops x.
    Raises:
      InputError: it is none of these, or the window fits nowhere, or there would be more than `MOST_ZEROS`.
    """
    given = expect_padding(who, padding, len(sizes), crops=crops)
    if given == "VALID":
        pads: tuple[tuple[int, int], ...] = ((0, 0),) * len(sizes)
    elif given in ("SAME", "SAME_LOWER"):
        pads = _halves([max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in zip(sizes, window, stride, strict=True)],
                       given)
    elif given == "CAUSAL":
        pads = tuple((w - 1, 0) for w in window)
    else:
        pads = given
    zeros = math.prod(n + max(low, 0) + max(high, 0) for n, (low, high) in zip(sizes, pads)) - math.prod(sizes)
    expect(zeros <= MOST_ZEROS, who, f"padding of at most {MOST_ZEROS:,} places around x", f"{repr(padding)[:100]}, "
           f"which makes {zeros:,} of {math.prod(sizes):,}")
    for n, w, (low, high) in zip(sizes, window, pads, strict=True):
        expect(n + low + high >= w and n + low > 0 and n + high > 0, who,
               f"x, padded, to be at least the window {tuple(window)}", f"{tuple(sizes)} with padding {pads}",
               "use a larger x, a smaller window or padding='SAME'")
    return pads


def resolve_cropping(who: str, padding: Any, window: Sequence[int],
                     stride: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(low, high) that a transposed convolution crops from y, for each spatial axis; a negative one adds zeros.

    Args:
      padding: "VALID" for none; "SAME" for n_out = n stride, the odd one at the high side, or "SAME_LOWER", the odd
        one at the low side; or in numbers as for `resolve_padding`.
    """
    given = expect_padding(who, padding, len(window), crops=True, words=WORDS[:3])
    if given == "VALID":
        return ((0, 0),) * len(window)
    if given in ("SAME", "SAME_LOWER"):
        totals = [w - s for w, s in zip(window, stride, strict=True)]
        # A kernel smaller than its stride leaves gaps, the last of them at the high side.
        return tuple((0, t) if t < 0 else _halves([t], given)[0] for t in totals)
    pads: tuple[tuple[int, int], ...] = given
    return pads


def _halves(totals: Sequence[int], word: str) -> tuple[tuple[int, int], ...]:
    halves = [(total // 2, total - total // 2) for total in totals]
    return tuple((high, low) if word == "SAME_LOWER" else (low, high) for low, high in halves)
