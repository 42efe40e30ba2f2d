"""Elements that are wrong only in that they take another slope of a kink: relu at 0, a tie in a max.

At a kink φ has two slopes along a coordinate, from below and from above; each number between them is a
subgradient. Elements that are tied, as in a max, have to agree: where φ has no kink along two of them
together, their gradients add up to its slope.
"""

import itertools

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Excuse, Leaf, as_wide
from jaxnn.gradients.routes.ladder import sided_slopes

__all__ = ["excuse_kinks"]

Element = tuple[int, ...]

MOST = 64  # wrong elements of a leaf whose slopes are taken
MOST_TIED = 12  # wrong elements whose slopes are taken in pairs


def excuse_kinks(candidate: Candidate, leaves: list[Leaf]) -> list[Leaf]:
    """The leaves, those excused whose wrong elements all lie at kinks, and are subgradients."""
    notes: dict[str, str] = {}
    for i, path in enumerate(candidate.problem.paths):
        wrong = [leaf for leaf in leaves if leaf.path == path and not leaf.ok and leaf.errors is not None
                 and leaf.route in ("lifted", "explicit")]
        if wrong and (note := _note_on_kinks(candidate, i, wrong)):
            notes[path] = note
    return [leaf._replace(excuse=Excuse.KINK, note=notes[leaf.path]) if leaf.path in notes and not leaf.ok else leaf
            for leaf in leaves]


def _note_on_kinks(candidate: Candidate, i: int, wrong: list[Leaf]) -> str | None:
    """The note on leaf number i if all its wrong elements are subgradients at kinks; None if they are not."""
    reference = candidate.problem.gradient[i]
    errors = np.max([leaf.errors for leaf in wrong], axis=0)
    elements = [tuple(map(int, element)) for element in np.argwhere(errors > reference.limit)]
    if not 0 < len(elements) <= MOST:
        return None
    values = [as_wide(candidate.gradient(leaf.route)[i]) for leaf in wrong]
    rounding = reference.limit * reference.unit
    slopes = []
    for element in elements:
        slope = _kink(candidate, i, element, [reference.value, *values], rounding)
        if slope is None:
            return None
        slopes.append(slope)
    groups = [elements, *map(list, itertools.combinations(elements[:MOST_TIED], 2))]
    if not all(_add_up(candidate, i, group, values, rounding) for group in groups):
        return None
    first, (low, high) = elements[0], slopes[0]
    return (f"kinks at {len(elements)} of {reference.value.size:,} elements, where what lies between the slopes "
            f"is a subgradient: at {list(first)} from {low:.4g} to {high:.4g}, f takes {values[-1][first]:.4g}, "
            f"the reference {reference.value[first]:.4g}")


def _kink(candidate: Candidate, i: int, element: Element, values: list[np.ndarray],
          rounding: float) -> tuple[float, float] | None:
    """The slopes of the kink at an element, if there is one and all values lie between them."""
    slopes = sided_slopes(candidate, i, [element])
    if slopes is None:
        return None
    low, high = slopes.range
    slack = rounding + slopes.doubt + 1e-5 * max(abs(low), abs(high))
    is_kink = high - low > 2 * slack
    are_between = all(low - slack <= value[element] <= high + slack for value in values)
    return (low, high) if is_kink and are_between else None


def _add_up(candidate: Candidate, i: int, elements: list[Element], values: list[np.ndarray],
            rounding: float) -> bool:
    """Whether the gradients of some elements add up, if φ has a slope along all of them together."""
    slopes = sided_slopes(candidate, i, elements) if len(elements) > 1 else None
    if slopes is None:
        return True
    below, above, doubt = slopes
    slack = len(elements) * rounding + doubt + 1e-5 * max(abs(below), abs(above))
    has_kink = abs(above - below) > 2 * slack
    return has_kink or all(abs(sum(value[element] for element in elements) - above) <= slack for value in values)
