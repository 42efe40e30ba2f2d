"""Elements that are wrong only in that they take another slope of a kink: relu at 0, a tie in a max.

At a kink φ has two slopes along a coordinate, from below and from above; each number between them is a
subgradient. Where several linear pieces meet, as in a max of three or in an abs of a max, one coordinate does not tell:
elements that share the corner are moved together, wrong ones and right ones, in this leaf and in others. Their
gradients have to add up to a number between the slopes of φ along all of them together, which is one number where φ
has no kink along them.

At a kink there is no second derivative: what is wrong in it there alone is excused.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Excuse, Leaf, as_wide
from jaxnn.gradients.routes.ladder import Sides, coordinate, sided_slopes, sides

__all__ = ["excuse_kinks"]

Element = tuple[int, ...]
Corner = dict[int, list[Element]]  # elements that are moved together, by the number of their leaf

MOST = 1_000  # wrong elements of a leaf whose slopes are taken
MOST_TIED = 12  # wrong elements whose slopes are taken in pairs, and with what has the same value


def excuse_kinks(candidate: Candidate, leaves: list[Leaf]) -> list[Leaf]:
    """The leaves, those excused whose wrong elements all lie at kinks, and are subgradients."""
    notes: dict[str, str] = {}
    for i, path in enumerate(candidate.problem.paths):
        own = [leaf for leaf in leaves if leaf.path == path and not leaf.ok and leaf.errors is not None]
        wrong = [leaf for leaf in own if leaf.route in ("lifted", "explicit")]
        second = [leaf for leaf in own if leaf.route == "second order"]
        if wrong and (note := _note_on_kinks(candidate, i, wrong)):
            notes[path] = note
        elif len(own) == len(second) == 1 and _are_all_kinks(candidate, i, second[0]):
            notes[path] = "kinks, where there is no second derivative"
    return [leaf._replace(excuse=Excuse.KINK, note=notes[leaf.path]) if leaf.path in notes and not leaf.ok else leaf
            for leaf in leaves]


def _note_on_kinks(candidate: Candidate, i: int, wrong: list[Leaf]) -> str | None:
    """The note on leaf number i if all its wrong elements are subgradients at kinks; None if they are not."""
    reference = candidate.problem.gradient[i]
    elements = _wrong_elements(candidate, i, wrong)
    if not 0 < len(elements) <= MOST:
        return None
    gradients = [list(map(as_wide, candidate.gradient(leaf.route))) for leaf in wrong]
    values = [gradient[i] for gradient in gradients]
    rounding = reference.limit * reference.unit
    slopes = []
    for element in elements:
        slope = _kink(candidate, i, element, [reference.value, *values], rounding)
        if slope is None:
            return None
        slopes.append(slope)
    if not all(_add_up(candidate, corner, gradients) for corner in _corners(candidate, i, elements)):
        return None
    first, (low, high) = elements[0], slopes[0]
    return (f"kinks at {len(elements)} of {reference.value.size:,} elements, where what lies between the slopes "
            f"is a subgradient: at {list(first)} from {low:.4g} to {high:.4g}, f takes {values[-1][first]:.4g}, "
            f"the reference {reference.value[first]:.4g}")


def _wrong_elements(candidate: Candidate, i: int, wrong: list[Leaf]) -> list[Element]:
    errors = np.max([leaf.errors for leaf in wrong], axis=0)
    limit = max(candidate.problem.gradient[i].limit, *(16.0 * leaf.noise for leaf in wrong))
    return [tuple(map(int, element)) for element in np.argwhere(errors > limit)]


def _are_all_kinks(candidate: Candidate, i: int, leaf: Leaf) -> bool:
    elements = _wrong_elements(candidate, i, [leaf])
    return 0 < len(elements) <= MOST and all(
        (slopes := sided_slopes(candidate, i, [element])) is not None and _has_kink(slopes, slopes.doubt)
        for element in elements)


def _corners(candidate: Candidate, i: int, elements: list[Element]) -> Iterator[Corner]:
    """The elements that may share a corner with the wrong ones: all of those; pairs of them; what has the same value
    in the leaf, at the same place in leaves of the same shape, and in all of these."""
    if len(elements) > 1:
        yield {i: elements}
    for pair in itertools.combinations(elements[:MOST_TIED], 2):
        yield {i: list(pair)}
    xs = {j: as_wide(m) for j, m in enumerate(candidate.problem.moving) if m.shape == candidate.problem.moving[i].shape}
    done = set()
    for element in elements[:MOST_TIED]:
        value = xs[i][element]
        beside: Corner = {j: [element] for j, x in xs.items() if x[element] == value}
        if len(beside) > 1:
            yield beside
        if value not in done:
            done.add(value)
            tied: Corner = {j: [tuple(map(int, e)) for e in np.argwhere(x == value)] for j, x in xs.items()}
            for corner in ({i: tied[i]}, {j: own for j, own in tied.items() if own}):
                if 1 < sum(map(len, corner.values())) <= MOST:
                    yield corner


def _kink(candidate: Candidate, i: int, element: Element, values: list[np.ndarray],
          rounding: float) -> tuple[float, float] | None:
    """The slopes of the kink at an element, if there is one and all values lie between them. Of a complex element
    there are two coordinates, a real step and an imaginary one; along each the slope is <c, t> = Re(c t)."""
    kinks = []
    for unit in ((1, 1j) if np.iscomplexobj(values[0]) else (1,)):
        tangents = coordinate(candidate, i, element)
        tangents[i] = tangents[i] * tangents[i].dtype.type(unit)
        slopes = sides(candidate, i, tangents, float(abs(as_wide(candidate.problem.moving[i])[element])) or None)
        if slopes is None:
            return None
        low, high = slopes.range
        slack = rounding + slopes.doubt + 1e-5 * max(abs(low), abs(high))
        if not all(low - slack <= (value[element] * unit).real <= high + slack for value in values):
            return None
        if high - low > 2 * slack:
            kinks.append((low, high))
    return kinks[0] if kinks else None


def _add_up(candidate: Candidate, corner: Corner, gradients: list[list[np.ndarray]]) -> bool:
    """Whether the gradients of some elements add up to a number between the slopes along all of them together."""
    problem = candidate.problem
    tangents = [np.zeros(m.shape, m.dtype) for m in problem.moving]
    for j, own in corner.items():
        tangents[j] = coordinate(candidate, j, *own)[j]
    largest = max(abs(as_wide(problem.moving[j])[element]) for j, own in corner.items() for element in own)
    slopes = sides(candidate, next(iter(corner)), tangents, float(largest) or None)
    if slopes is None:
        return True
    low, high = slopes.range
    slack = (sum(len(own) * problem.gradient[j].limit * problem.gradient[j].unit for j, own in corner.items())
             + slopes.doubt + 1e-5 * max(abs(low), abs(high)))
    sums = [sum(gradient[j][element].real for j, own in corner.items() for element in own) for gradient in gradients]
    if not _has_kink(slopes, slack):
        return all(abs(total - slopes.above) <= slack for total in sums)
    return all(low - slack <= total <= high + slack for total in sums)


def _has_kink(slopes: Sides, slack: float) -> bool:
    low, high = slopes.range
    return high - low > 2 * slack + 2e-5 * max(abs(low), abs(high))
