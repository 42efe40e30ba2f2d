"""Finite differences of a function's own value, and the order at which its Taylor remainders fall."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import THRESHOLD, Excuse, Leaf, as_wide, compare_leaf, difference, largest
from jaxnn.gradients.routes.groups import Direction, by_groups
from jaxnn.gradients.routes.ladder import Order, coordinate, ladder
from jaxnn.gradients.routes.slope import Slope, compare_slopes, slope_leaf, worst_slope
from jaxnn.gradients.routes.special import with_special

__all__ = ["along_coordinates", "along_directions"]

LEAST_ORDER = 1.5  # halfway between that of a right gradient, 2, and of a wrong one, 1
NOT_FINITE = "the value is not finite near the arguments: finite differences say nothing"
NO_GRADIENT = "the reference has a gradient at no element: there is no direction to compare along"
REFERENCE_DISAGREES = ("the reference's own gradient disagrees with finite differences of its value: it holds "
                       "something fixed (stop_gradient), or has a kink here")


def along_directions(candidate: Candidate, directions: int, routes: Sequence[str]) -> list[Leaf]:
    """Finite differences of f's value, and its Taylor remainders, along directions of each leaf, or of many leaves
    together."""
    gradients = _gradients(candidate)

    def rows(group: tuple[int, ...]) -> dict[int, list[Leaf]]:
        worst, order, note = _along_directions_of(candidate, group, directions, gradients, "taylor" in routes)
        return {i: list(_rows_of(candidate, i, routes, worst, order, note)) for i in group}

    found = by_groups(candidate, rows)
    leaves = [leaf for i in range(len(found)) for leaf in found[i]]
    return with_special(candidate, gradients[0], leaves) if "finite differences" in routes else leaves


def _rows_of(candidate: Candidate, i: int, routes: Sequence[str], worst: Slope, order: Order,
             note: str) -> Iterator[Leaf]:
    reference = candidate.problem.gradient[i]
    excuse, dtype = Excuse.HELD if note else None, candidate.problem.moving[i].dtype
    if "finite differences" in routes:
        yield slope_leaf(reference, "finite differences", worst, dtype)._replace(note=note, excuse=excuse)
    if "taylor" in routes and candidate.runs_in_float64:
        error = 0.0 if order.order >= LEAST_ORDER else order.units
        yield Leaf(reference.path, "taylor", reference.value.shape, error, 0.0, (), order.order, 2.0,
                   dtype="float64", note=note, excuse=excuse)


def _along_directions_of(candidate: Candidate, group: tuple[int, ...], directions: int,
                         gradients: tuple[list[np.ndarray], list[np.ndarray]],
                         with_taylor: bool) -> tuple[Slope, Order, str]:
    """The worst slope of a group of leaves, the lowest order of its remainders, and why they do not count, if they do
    not.

    What the reference holds fixed (`stop_gradient`) moves under finite differences all the same. So where f
    looks wrong, the reference's own gradient is put to the same test.
    """
    problem = candidate.problem
    value, best = gradients
    slopes, orders, notes = [], [Order(np.inf, 0.0)], set()
    moves = any(problem.gradient[i].value.size for i in group)
    n = 1 if len(group) > 1 else directions
    for seed in range(n if moves else 0):
        direction = Direction(problem, group, seed)
        if direction.is_zero:
            notes.add(NO_GRADIENT)
            break
        steps = ladder(candidate, candidate.programs, group, direction.tangents)
        if not np.isfinite(steps.slope):
            notes.add(NOT_FINITE)
            continue
        unit = direction.unit
        noise = max(direction.noise, steps.doubt / unit)
        slopes.append(compare_slopes(direction.along(value), steps.slope, unit, noise))
        if with_taylor and candidate.lifted64 is not None:
            orders.append(steps.order(direction.along(candidate.lifted64), unit))
        if orders[-1].order < LEAST_ORDER or not worst_slope(slopes).ok:
            steps, slope = ladder(candidate, problem.programs, group, direction.tangents), direction.along(best)
            error = abs(steps.slope - slope) / unit
            is_right = error <= THRESHOLD * max(1.0, noise, steps.doubt / unit)
            # The remainder that a slope in lower precision leaves is its rounding, which is of first order.
            is_held = problem.exact is not None and steps.order(slope, unit).order < LEAST_ORDER
            if not is_right or is_held:
                notes.add(REFERENCE_DISAGREES)
    return worst_slope(slopes), min(orders), "; ".join(sorted(notes))


def along_coordinates(candidate: Candidate, most: int) -> list[Leaf]:
    """Finite differences along every coordinate; a leaf of more than `most` is left out, with a note."""
    problem, leaves = candidate.problem, []
    value, best = _gradients(candidate)
    for i, reference in enumerate(problem.gradient):
        size, shape = reference.value.size, reference.value.shape
        if size > most:
            leaves.append(Leaf(
                reference.path, "every coordinate", shape, 0.0, 0.0, (), np.nan, np.nan, excuse=Excuse.NOT_RUN,
                note=f"has {size:,} coordinates, more than {most:,}: not run"))
            continue
        steps = [ladder(candidate, candidate.programs, (i,), coordinate(candidate, i, element))
                 for element in np.ndindex(shape)]
        doubt = float(np.asarray([s.doubt for s in steps]).max(initial=0.0))
        noise = max(reference.noise, doubt / reference.unit)
        slopes = np.asarray([s.slope for s in steps], np.float64).reshape(shape)
        numeric = reference._replace(value=slopes, exact=None, noise=noise)
        is_held = largest(difference(best[i], slopes)) / reference.unit > numeric.limit
        leaf = compare_leaf(numeric, "every coordinate", value[i])
        leaves.append(leaf._replace(excuse=Excuse.HELD if is_held else None, dtype=str(problem.moving[i].dtype)))
    return leaves


def _gradients(candidate: Candidate) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """f's gradient and the reference's best, which finite differences are compared with.

    f's as it comes; but where the function is another one in float64, in which the differences are taken,
    both in float64.
    """
    problem = candidate.problem
    if problem.differs_in_float64 and candidate.lifted64 is not None:
        assert problem.pulled_back64 is not None
        return candidate.lifted64, problem.pulled_back64
    return ([as_wide(leaf) for leaf in candidate.lifted],
            problem.exact or [leaf.value for leaf in problem.gradient])
