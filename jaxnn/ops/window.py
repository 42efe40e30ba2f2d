"""Where a sliding window starts, along one axis: shared by convolution and pooling.

    n_out = (n + low + high - window) // stride + 1
"""

from collections.abc import Sequence
from typing import Any

from jaxnn.checks import expect

__all__ = ["per_axis", "resolve_padding"]

Padding = str | int | Sequence[int | tuple[int, int]]


def per_axis(who: str, name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """A size for each spatial axis, all positive; one integer stands for all."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    expect(len(sizes) == rank and all(isinstance(n, int) and n > 0 for n in sizes), who,
           f"{name} to be a positive integer, or {rank} of them", repr(value))
    return sizes


def resolve_padding(who: str, padding: Any, sizes: Sequence[int], window: Sequence[int],
                    stride: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(low, high) for each spatial axis.

    Args:
      padding: "VALID" for none; "SAME" for n_out = ceil(n / stride), the odd one at the end; an
        integer on every side; or an integer or (low, high) for each axis.
    Raises:
      InputError: it is none of these, or the window fits nowhere.
    """
    rank = len(sizes)
    if padding == "VALID":
        pads = ((0, 0),) * rank
    elif padding == "SAME":
        short = [max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in zip(sizes, window, stride, strict=True)]
        pads = tuple((total // 2, total - total // 2) for total in short)
    else:
        each = (padding,) * rank if isinstance(padding, int) else padding
        is_pads = isinstance(each, tuple | list) and len(each) == rank
        pads = tuple((p, p) if isinstance(p, int) else tuple(p) for p in each) if is_pads else ()
        fits = is_pads and all(len(p) == 2 and min(p) >= 0 for p in pads)
        expect(fits, who, "padding to be 'VALID', 'SAME', a size >= 0, or one or a pair for each of "
               f"{rank} axes", repr(padding))
    for n, w, (low, high) in zip(sizes, window, pads, strict=True):
        expect(n + low + high >= w, who, f"x, padded, to be at least the window {tuple(window)}",
               f"{tuple(sizes)} with padding {pads}", "use a smaller window or padding='SAME'")
    return pads
