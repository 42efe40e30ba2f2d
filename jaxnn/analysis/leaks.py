"""Leaks between the parts of a split: examples that are in two parts, exactly or nearly, and groups that are in two.

    similarity of x and x' = <u, u'>    u = (x - mean(x)) / ‖x - mean(x)‖

which is 1 for a copy, a brighter copy, or one of more contrast. How near is too near depends on the data: two pictures
of the digit 1 are alike by themselves. The report has the similarities, so that one may look at the pairs.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_numpy, expect, is_number

__all__ = ["Leak", "Leaks", "find_leaks"]


class Leak(NamedTuple):
    """An example of one part and its like in another."""

    parts: tuple[str, str]
    examples: tuple[int, int]
    """Their places in x."""
    similarity: float
    """1 for equal examples; else in [-1, 1]."""
    is_exact: bool


class Leaks(NamedTuple):
    """What two parts of a split share. `print` shows it in sentences."""

    leaks: tuple[Leak, ...]
    """The exact ones first, then the nearest. Of an example, its nearest in each other part."""
    groups: dict[tuple[str, str], tuple[Any, ...]]
    """Of each two parts the groups that are in both, where there are any."""
    sizes: dict[str, int]

    def of(self, part: str) -> np.ndarray:
        """The examples of this part that have their like in another: sorted places, to be left out or moved."""
        expect(part in self.sizes, "Leaks.of", f"one of {', '.join(self.sizes)}", repr(part))
        return np.array(sorted({i for leak in self.leaks for name, i in zip(leak.parts, leak.examples, strict=True)
                                if name == part}), np.int64)

    def __str__(self) -> str:
        lines = []
        names = list(self.sizes)
        for i, a in enumerate(names):
            for b in names[i + 1:]:
                found = [leak for leak in self.leaks if leak.parts == (a, b)]
                exact = sum(leak.is_exact for leak in found)
                if found:
                    n = len({leak.examples[1] for leak in found})
                    lines.append(f"{a} and {b}: {n} of {self.sizes[b]} examples of {b} are in {a} too, in {len(found)} "
                                 f"pairs, {exact} exact and {len(found) - exact} near")
                if groups := self.groups.get((a, b)):
                    shown = ", ".join(map(str, groups[:5])) + (" ..." if len(groups) > 5 else "")
                    lines.append(f"{a} and {b}: {len(groups)} groups are in both: {shown}; use split_groups")
        return "\n".join(lines) or f"no leak between {', '.join(names)}"


def find_leaks(x: Any, parts: Mapping[str, Any], *, groups: Any = None, near: float | None = 0.99) -> Leaks:
    """Exact and near duplicates across the parts of a split, and groups in two parts.

    Args:
      x: (n, ...) numbers: all examples.
      parts: {name: places in x}, such as `split(...)._asdict()`; at least two, none of them empty.
      groups: (n,) the group of each example, or None.
      near: the least similarity that is reported, in (0, 1]; None reports equal examples alone.
    Raises:
      InputError: an argument is not as above; a place is in two parts.
    The similarities are matrix products in blocks: n_a n_b n_features multiply-adds for each two parts.

    >>> x = np.array([[0.0, 1.0, 5.0], [4.0, 0.0, 1.0], [0.0, 1.0, 5.0], [0.0, 2.0, 10.1]])
    >>> print(find_leaks(x, {"train": [0, 1], "test": [2, 3]}))
    train and test: 2 of 2 examples of test are in train too, in 2 pairs, 1 exact and 1 near
    """
    who = "find_leaks"
    x = as_numpy(who, "x", x)
    expect(x.ndim >= 2 and x.dtype.kind in "biuf" and x.size > 0, who, "x, (n, ...) numbers",
           f"{x.dtype} of shape {x.shape}")
    expect(near is None or (is_number(near) and 0 < near <= 1), who, "near in (0, 1], or None", repr(near))
    expect(isinstance(parts, Mapping) and len(parts) >= 2, who, "parts, {name: places}, at least two",
           f"{len(parts)} parts" if isinstance(parts, Mapping) else type(parts).__name__)
    places = {str(name): as_numpy(who, f"parts[{name!r}]", which) for name, which in parts.items()}
    for name, which in places.items():
        fits = which.ndim == 1 and which.dtype.kind in "iu" and len(which) > 0
        expect(fits and which.min() >= 0 and which.max() < len(x), who,
               f"parts[{name!r}], places in 0 .. {len(x) - 1}, at least one", f"{which.dtype} of shape {which.shape}")
    names = list(places)
    rows = np.ascontiguousarray(x.reshape(len(x), -1))
    units = None if near is None else _units(rows)
    leaks, shared = [], {}
    for i, a in enumerate(names):
        for b in names[i + 1:]:
            both = np.intersect1d(places[a], places[b])
            expect(len(both) == 0, who, f"parts without a common place, {a!r} and {b!r}",
                   f"{len(both)} places in both, such as {both[:1].tolist()}", "deal each example to one part")
            leaks += _between(rows, units, a, b, places[a], places[b], near)
            if groups is not None:
                groups = as_numpy(who, "groups", groups)
                expect(groups.shape == (len(x),), who, f"groups of shape ({len(x)},)", str(groups.shape))
                in_both = np.intersect1d(groups[places[a]], groups[places[b]])
                if len(in_both):
                    shared[a, b] = tuple(in_both.tolist())
    leaks.sort(key=lambda leak: (not leak.is_exact, -leak.similarity, leak.examples))
    return Leaks(tuple(leaks), shared, {name: len(which) for name, which in places.items()})


def _units(rows: np.ndarray) -> np.ndarray:
    """(n, n_features) float32 of length 1 about their own mean; a constant example is all 0, like none."""
    centred = rows - rows.mean(1, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # Of a constant row, rounding leaves a mean that is off in the last digit.
    constant = (rows.max(1) == rows.min(1))[:, None]
    return np.where(constant, 0, centred / np.where(constant, 1, length)).astype(np.float32)


def _between(rows: np.ndarray, units: np.ndarray | None, a: str, b: str, of_a: np.ndarray, of_b: np.ndarray,
             near: float | None) -> list[Leak]:
    """For each example of b that is like one of a: its equal, or its nearest."""
    first = {}
    for i in of_a[::-1]:
        first[rows[i].tobytes()] = int(i)
    found = {int(j): Leak((a, b), (first[key], int(j)), 1.0, True) for j in of_b
             if (key := rows[j].tobytes()) in first}
    if units is not None and near is not None:
        for block in np.array_split(of_b, max(1, len(of_b) * len(of_a) // 4_000_000)):
            similar = units[block] @ units[of_a].T
            best = similar.argmax(1)
            for j, k, value in zip(block, best, similar[np.arange(len(block)), best], strict=True):
                if value >= near and int(j) not in found:
                    found[int(j)] = Leak((a, b), (int(of_a[k]), int(j)), min(float(value), 1.0), False)
    return list(found.values())
