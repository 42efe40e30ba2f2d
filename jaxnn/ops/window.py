"""Where a sliding window starts, along one axis: shared by convolution and pooling.

    n_out = (n + low + high - window) // stride + 1
"""

import math
from collections.abc import Sequence
from typing import Any

from jaxnn.checks import expect, is_integer

__all__ = ["expect_padding", "per_axis", "resolve_padding"]


MOST_ZEROS = 2**26
"""More padding than this is a slip of the pen, and may take all of the machine's memory."""


def per_axis(who: str, name: str, value: Any, rank: int | None) -> tuple[int, ...]:
    """A size for each spatial axis, all positive; one integer stands for all. Without a rank any number of axes fits,
    and one integer is (n,)."""
    sizes: tuple[Any, ...] = tuple(value) if isinstance(value, tuple | list) else (value,) * (rank or 1)
    fits = (len(sizes) == rank or (rank is None and 1 <= len(sizes) <= 3)) and all(is_integer(n, 1) for n in sizes)
    expect(fits, who, f"{name} to be a positive integer, or {rank or 'one to three'} of them", repr(value))
    return tuple(int(n) for n in sizes)


def expect_padding(who: str, padding: Any, rank: int | None = None) -> None:
    """Refuses what is no padding of so many axes, or, without a rank, of one to three."""
    if isinstance(padding, str) and padding.upper() in ("VALID", "SAME", "SAME_LOWER"):
        return
    each = padding if isinstance(padding, tuple | list) else (padding,) * (rank or 1)
    pairs = [p if isinstance(p, tuple | list) else (p, p) for p in each]
    fits = (len(pairs) == rank or (rank is None and 1 <= len(pairs) <= 3)) and all(
        len(p) == 2 and all(is_integer(n, 0) for n in p) for p in pairs)
    expect(fits, who, "padding to be 'VALID', 'SAME', 'SAME_LOWER', a size >= 0, or one or a pair for each of "
           f"{rank or 'one to three'} axes", repr(padding))


def resolve_padding(who: str, padding: Any, sizes: Sequence[int], window: Sequence[int],
                    stride: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(low, high) for each spatial axis.

    Args:
      padding: "VALID" for none; "SAME" for n_out = ceil(n / stride), the odd one at the high side, or
        "SAME_LOWER", the odd one at the low side; an integer on every side; or an integer or (low, high)
        for each axis. Words are understood in capitals or not.
    Raises:
      InputError: it is none of these, or the window fits nowhere, or there would be more than `MOST_ZEROS`.
    """
    rank, word = len(sizes), padding.upper() if isinstance(padding, str) else None
    expect_padding(who, padding, rank)
    if word == "VALID":
        pads = ((0, 0),) * rank
    elif word in ("SAME", "SAME_LOWER"):
        totals = [max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in zip(sizes, window, stride, strict=True)]
        halves = [(total // 2, total - total // 2) for total in totals]
        pads = tuple((high, low) if word == "SAME_LOWER" else (low, high) for low, high in halves)
    else:
        each = padding if isinstance(padding, tuple | list) else (padding,) * rank
        pairs = [p if isinstance(p, tuple | list) else (p, p) for p in each]
        pads = tuple((int(low), int(high)) for low, high in pairs)
    zeros = math.prod(n + low + high for n, (low, high) in zip(sizes, pads, strict=True)) - math.prod(sizes)
    expect(zeros <= MOST_ZEROS, who, f"padding of at most {MOST_ZEROS:,} places around x", f"{repr(padding)[:100]}, "
           f"which makes {zeros:,} of {math.prod(sizes):,}")
    for n, w, (low, high) in zip(sizes, window, pads, strict=True):
        expect(n + low + high >= w, who, f"x, padded, to be at least the window {tuple(window)}",
               f"{tuple(sizes)} with padding {pads}", "use a smaller window or padding='SAME'")
    return pads
