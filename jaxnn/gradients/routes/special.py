"""Elements for which a rule is likely to have a case of its own: zeros, whole numbers, values that repeat.

A slope that is wrong at one such element is nearly invisible along a random direction. So f's gradient is held
against the slopes of f's value along the coordinates of some of them.
"""

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import THRESHOLD, Leaf, as_wide
from jaxnn.gradients.routes.ladder import coordinate, ladder, sides
from jaxnn.gradients.routes.slope import along, norm

__all__ = ["special_elements", "wrong_at_special"]

MOST = {"zero": 4, "whole": 2, "repeated": 2}  # of each leaf


def special_elements(x: np.ndarray) -> list[tuple[int, ...]]:
    """Some zeros, some other whole numbers, and some values that occur more than once, each of those once."""
    values, first, counts = np.unique(x.ravel(), return_index=True, return_counts=True)
    is_finite = np.isfinite(values)
    whole = first[is_finite & (values == np.round(values)) & (values != 0)]
    repeated = first[is_finite & (counts > 1) & (values != 0)]
    chosen = [*np.flatnonzero(x.ravel() == 0)[:MOST["zero"]], *np.sort(whole)[:MOST["whole"]],
              *np.sort(repeated)[:MOST["repeated"]]]
    return [tuple(map(int, np.unravel_index(n, x.shape))) for n in dict.fromkeys(map(int, chosen))]


def wrong_at_special(candidate: Candidate, i: int, value: np.ndarray, leaf: Leaf) -> Leaf | None:
    """The row of finite differences for a leaf that is wrong at a special element; None where it is not.

    What the reference holds fixed moves under finite differences all the same; then f disagrees with them at all other
    elements too, and nothing is said.
    """
    problem, reference = candidate.problem, candidate.problem.gradient[i]
    x = as_wide(problem.moving[i])
    if np.iscomplexobj(x):
        return None
    special = [e for e in special_elements(x) if np.isfinite(reference.finite[e]) and np.isfinite(value[e])]
    worst: Leaf | None = None
    for element in special:
        found = sides(candidate, i, coordinate(candidate, i, element), float(abs(x[element])) or None)
        if found is None:
            continue
        error = found.excess(float(value[element])) / reference.unit
        if error > reference.limit and (worst is None or error > worst.error):
            worst = leaf._replace(
                element=element, error=error, value=float(value[element]), excuse=None,
                reference=float(np.clip(value[element], *found.range)), judge="finite differences",
                note=f"x = {x[element]:g} there: has the rule a case of its own for it?")
    return worst if worst is not None and _is_right_beside(candidate, i, value, special) else None


def _is_right_beside(candidate: Candidate, i: int, value: np.ndarray, special: list[tuple[int, ...]]) -> bool:
    """Whether finite differences agree with f along a random direction of all elements but these."""
    reference, tangents = candidate.problem.gradient[i], candidate.problem.tangents(0, only=i)
    direction = np.array(tangents[i])
    for element in special:
        direction[element] = 0
    if not direction.any():
        return False
    tangents[i], t = direction, as_wide(direction)
    steps, unit = ladder(candidate, candidate.programs, i, tangents), reference.unit * norm(t)
    return abs(along(value, t) - steps.slope) / unit <= THRESHOLD * max(1.0, reference.noise, steps.doubt / unit)
