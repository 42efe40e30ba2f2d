"""Elements that are wrong only in that they take another slope of a kink: relu at 0, a tie in a max.

At a kink φ has two slopes along a coordinate, from above and from below; each number between them is a
subgradient, and none is wrong.
"""

import numpy as np

from jaxnn.gradients.leaf import THRESHOLD, Leaf, as_wide
from jaxnn.gradients.routes import Candidate, one_sided_slopes

__all__ = ["excuse_kinks"]

MOST = 64  # elements of a leaf that are looked at


def excuse_kinks(it: Candidate, rows: list[Leaf]) -> list[Leaf]:
    """The rows with those leaves excused whose wrong elements all lie at kinks, between their slopes."""
    notes: dict[str, str] = {}
    for i, wanted in enumerate(it.problem.wanted):
        here = [row for row in rows if row.path == wanted.path and not row.ok and row.errors is not None
                and row.route in ("lifted", "explicit")]
        if here:
            note = _at_kinks(it, i, here)
            if note:
                notes[wanted.path] = note
    return [row._replace(excused=True, note=notes[row.path]) if row.path in notes and not row.ok else row
            for row in rows]


def _at_kinks(it: Candidate, i: int, rows: list[Leaf]) -> str:
    wanted = it.problem.wanted[i]
    limit = THRESHOLD * max(1.0, wanted.noise)
    places = np.argwhere(np.max([row.errors for row in rows], axis=0) > limit)
    if len(places) > MOST:
        return ""
    said = ""
    for place in map(tuple, places):
        below, above = one_sided_slopes(it, i, place)
        low, high = min(below, above), max(below, above)
        slack = limit * wanted.unit + 1e-5 * max(abs(low), abs(high))
        values = [wanted.value[place], *(_value(it, row.route, i)[place] for row in rows)]
        if high - low <= 2 * slack or any(v < low - slack or v > high + slack for v in values):
            return ""
        if not said:
            said = (f"kinks at {len(places)} of {wanted.value.size:,} elements, where what lies between the "
                    f"slopes is a subgradient: at {[int(k) for k in place]} from {low:.4g} to {high:.4g}, "
                    f"f takes {values[-1]:.4g}, the reference {values[0]:.4g}")
    return said


def _value(it: Candidate, route: str, i: int) -> np.ndarray:
    return as_wide((it.lifted if route == "lifted" else it.explicit)[i])
