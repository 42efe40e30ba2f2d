"""Elements that are wrong only in that they take another slope of a kink: relu at 0, a tie in a max.

At a kink φ has two slopes along a coordinate, from below and from above; each number between them is a
subgradient. Elements that are tied, as in a max, have to agree: where φ has no kink along two of them
together, their gradients add up to its slope.
"""

import itertools

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.differences import slopes
from jaxnn.gradients.leaf import THRESHOLD, Leaf, as_wide

__all__ = ["excuse_kinks"]

MOST = 64  # elements of a leaf that are looked at
MOST_TIED = 12  # elements whose pairs are


def excuse_kinks(it: Candidate, rows: list[Leaf]) -> list[Leaf]:
    """The rows with those leaves excused whose wrong elements all lie at kinks, and are subgradients."""
    notes: dict[str, str] = {}
    for i, wanted in enumerate(it.problem.wanted):
        here = [row for row in rows if row.path == wanted.path and not row.ok and row.errors is not None
                and row.route in ("lifted", "explicit")]
        if here and (note := _at_kinks(it, i, here)):
            notes[wanted.path] = note
    return [row._replace(excused=True, note=notes[row.path]) if row.path in notes and not row.ok else row
            for row in rows]


def _at_kinks(it: Candidate, i: int, rows: list[Leaf]) -> str:
    wanted = it.problem.wanted[i]
    limit = THRESHOLD * max(1.0, wanted.noise)
    worst = np.max([row.errors for row in rows], axis=0)
    places = [tuple(map(int, place)) for place in np.argwhere(worst > limit)]
    if not 0 < len(places) <= MOST:
        return ""
    values = [wanted.value, *(as_wide(getattr(it, row.route)[i]) for row in rows)]
    said = ""
    for place in places:
        found = slopes(it, i, [place])
        if found is None:
            return ""
        low, high = sorted(found)
        slack = limit * wanted.unit + 1e-5 * max(abs(low), abs(high))
        if not (high - low > 2 * slack and all(low - slack <= v[place] <= high + slack for v in values)):
            return ""
        said = said or (
            f"kinks at {len(places)} of {wanted.value.size:,} elements, where what lies between the slopes "
            f"is a subgradient: at {list(place)} from {low:.4g} to {high:.4g}, f takes "
            f"{values[-1][place]:.4g}, the reference {values[0][place]:.4g}")
    groups = [places, *(map(list, itertools.combinations(places[:MOST_TIED], 2)))]
    return said if all(_agree(it, i, group, values[1:], limit * wanted.unit) for group in groups) else ""


def _agree(it: Candidate, i: int, places: list[tuple[int, ...]], values: list[np.ndarray],
           slack: float) -> bool:
    """Whether the gradients of some elements add up, if φ has a slope along all of them together."""
    found = slopes(it, i, places) if len(places) > 1 else None
    if found is None:
        return True
    below, above = found
    slack = len(places) * slack + 1e-5 * max(abs(below), abs(above))
    has_kink = abs(above - below) > 2 * slack
    return has_kink or all(abs(sum(v[place] for place in places) - above) <= slack for v in values)
