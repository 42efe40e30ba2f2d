"""Elements for which a rule is likely to have a case of its own: zeros, whole numbers, values that repeat.

A slope that is wrong at one such element is nearly invisible along a random direction. So f's gradient is held
against the slopes of f's value along the coordinates of some of them; in a large tree first along one direction of
all of them together, which is enough where f agrees and no kink is near.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import THRESHOLD, Leaf, as_wide
from jaxnn.gradients.routes.ladder import coordinate, ladder, sides
from jaxnn.gradients.routes.slope import along, norm

__all__ = ["special_elements", "with_special"]

MOST = {"zero": 4, "whole": 2, "repeated": 2}  # of each leaf

Elements = list[tuple[int, ...]]


def with_special(candidate: Candidate, gradient: list[np.ndarray], leaves: Sequence[Leaf]) -> list[Leaf]:
    """The leaves, with what is wrong at a special element in the row of finite differences of its leaf."""
    problem = candidate.problem
    rows = {leaf.path: leaf for leaf in leaves if leaf.route == "finite differences" and leaf.ok}
    special = {i: _of_leaf(candidate, i, gradient[i]) for i, path in enumerate(problem.paths) if path in rows}
    special = {i: elements for i, elements in special.items() if elements}
    if problem.together:
        special = _unclear(candidate, gradient, special)
    found = {problem.paths[i]: _wrong_at_special(candidate, i, gradient[i], elements, rows[problem.paths[i]])
             for i, elements in special.items()}
    return [(found.get(leaf.path) or leaf) if rows.get(leaf.path) is leaf else leaf for leaf in leaves]


def special_elements(x: np.ndarray) -> Elements:
    """Some zeros, some other whole numbers, and some values that occur more than once, each of those once."""
    values, first, counts = np.unique(x.ravel(), return_index=True, return_counts=True)
    is_finite = np.isfinite(values)
    whole = first[is_finite & (values == np.round(values)) & (values != 0)]
    repeated = first[is_finite & (counts > 1) & (values != 0)]
    chosen = [*np.flatnonzero(x.ravel() == 0)[:MOST["zero"]], *np.sort(whole)[:MOST["whole"]],
              *np.sort(repeated)[:MOST["repeated"]]]
    return [tuple(map(int, np.unravel_index(n, x.shape))) for n in dict.fromkeys(map(int, chosen))]


def _of_leaf(candidate: Candidate, i: int, value: np.ndarray) -> Elements:
    x, reference = as_wide(candidate.problem.moving[i]), candidate.problem.gradient[i]
    if np.iscomplexobj(x):
        return []
    return [e for e in special_elements(x) if np.isfinite(reference.finite[e]) and np.isfinite(value[e])]


def _unclear(candidate: Candidate, gradient: list[np.ndarray], special: dict[int, Elements]) -> dict[int, Elements]:
    """Those leaves whose special elements have to be looked at one by one: f disagrees with the slope of its value
    along all of them together, or the slope has two sides; of halves of the leaves, and so on."""
    if not special:
        return {}
    problem, weights = candidate.problem, candidate.problem.weights()
    rng = np.random.default_rng((problem.seed, 5, *special))
    tangents = [np.zeros(m.shape, m.dtype) for m in problem.moving]
    slope = unit = 0.0
    for i, elements in special.items():
        x = as_wide(problem.moving[i])
        typical = norm(x) / np.sqrt(x.size) or 1.0
        for element in elements:
            size = (abs(x[element]) or typical) * weights[i]
            tangents[i][element] = size * rng.choice([-1, 1]) * rng.uniform(0.5, 1.5)
        t = as_wide(tangents[i])
        slope, unit = slope + along(gradient[i], t), unit + problem.gradient[i].unit * norm(t)
    # Short steps: along so many coordinates a network has bends (relu) everywhere.
    found = sides(candidate, next(iter(special)), tangents, 0.01 / max(weights[i] for i in special))
    if found is not None:
        slack = THRESHOLD * max(1.0, *(problem.gradient[i].noise for i in special)) * unit
        low, high = found.range
        is_smooth = high - low <= 2 * found.doubt + slack
        if is_smooth and found.excess(slope) <= slack:
            return {}
    if len(special) == 1:
        return special
    numbers = list(special)
    middle = len(numbers) // 2
    return (_unclear(candidate, gradient, {i: special[i] for i in numbers[:middle]})
            | _unclear(candidate, gradient, {i: special[i] for i in numbers[middle:]}))


def _wrong_at_special(candidate: Candidate, i: int, value: np.ndarray, special: Elements, leaf: Leaf) -> Leaf | None:
    """The row of finite differences for a leaf that is wrong at a special element; None where it is not.

    What the reference holds fixed moves under finite differences all the same; then f disagrees with them at all other
    elements too, and nothing is said.
    """
    problem, reference = candidate.problem, candidate.problem.gradient[i]
    x = as_wide(problem.moving[i])
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


def _is_right_beside(candidate: Candidate, i: int, value: np.ndarray, special: Elements) -> bool:
    """Whether finite differences agree with f along a random direction of all elements but these."""
    reference, tangents = candidate.problem.gradient[i], candidate.problem.tangents(0, only=i)
    direction: Any = np.array(tangents[i])
    for element in special:
        direction[element] = 0
    if not direction.any():
        return False
    tangents[i], t = direction, as_wide(direction)
    steps, unit = ladder(candidate, candidate.programs, (i,), tangents), reference.unit * norm(t)
    return abs(along(value, t) - steps.slope) / unit <= THRESHOLD * max(1.0, reference.noise, steps.doubt / unit)
