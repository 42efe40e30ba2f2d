"""The value along one direction at steps of many sizes, and the slope that is read off them.

    slope        (φ(x + h t) - φ(x - h t)) / 2h         φ(x) = <dy, f(x)>
    remainder    φ(x + h t) - φ(x) - h <g, t>           falls as h² if g is the gradient, else as h

The steps h go from a tenth to 1e-7 of the argument's size, in float64 where f runs in float64; of a large function only
the four that are likely to be best are taken, the smallest in float64, the largest otherwise. Where the error,
which falls as h², is overtaken by rounding, which rises as 1/h, is measured and not assumed: the slopes that
differ least from their neighbour are taken, and by how much they differ is their doubt.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import as_wide
from jaxnn.gradients.programs import MOST_STEPS, Programs, arguments_of_changes, precision
from jaxnn.gradients.routes.slope import norm

__all__ = ["Ladder", "Order", "Sides", "coordinate", "ladder", "sided_slopes", "sides"]

STEPS = 10.0 ** -np.arange(1, MOST_STEPS // 2 + 1)


class Order(NamedTuple):
    """The order at which the Taylor remainder falls, and its part that falls as h, in units."""

    order: float
    units: float


class Sides(NamedTuple):
    """The slopes of φ along one direction, from below and from above, and how far off each may be."""

    below: float
    above: float
    doubt: float

    @property
    def range(self) -> tuple[float, float]:
        return min(self.below, self.above), max(self.below, self.above)

    def excess(self, value: float) -> float:
        """By how much a value lies beyond both slopes, and what they may be off by; 0 for a value between."""
        low, high = self.range
        return max(low - value, value - high, self.doubt) - self.doubt


class Ladder(NamedTuple):
    """φ along one direction."""

    up: np.ndarray
    """φ(x + h t) - φ(x) at each step."""
    steps: np.ndarray
    floor: float
    """The most that rounding may make of a remainder."""
    slope: float
    doubt: float

    def order(self, slope: float, unit: float) -> Order:
        """The order of the remainder that a slope leaves."""
        if not np.isfinite(slope):
            return Order(-np.inf, np.inf)
        remainders = np.abs(self.up - self.steps * slope)
        inside = np.isfinite(remainders)  # steps that leave the domain, of a logarithm say, are left out
        remainders, steps = remainders[inside], self.steps[inside]
        above_rounding = np.flatnonzero(remainders > self.floor)
        if not len(above_rounding) or len(remainders) < 2:
            return Order(np.inf, 0.0)
        last = above_rounding[-1]
        large, small = (last - 1, last) if last == len(remainders) - 1 else (last, last + 1)
        fall = remainders[large] / max(remainders[small], remainders[large] * 1e-9)
        return Order(float(np.log10(fall)), float(remainders[last] / steps[last] / unit))  # steps fall by tens


def ladder(candidate: Candidate, programs: Programs, group: tuple[int, ...], tangents: list[Any]) -> Ladder:
    """φ of f, or of the reference, along a direction of some leaves."""
    which = slice(None)
    if candidate.problem.is_large:
        which = slice(3, None) if candidate.runs_in_float64 else slice(4)
    up, down, steps, rounding = _changes(candidate, programs, group, tangents, which=which)
    slopes = (up - down) / (2 * steps)
    doubts = np.abs(np.diff(slopes)) + rounding / steps[:-1]
    best = int(np.argmin(np.where(np.isfinite(doubts), doubts, np.inf)))
    # The second difference at the smallest step is hardly more than rounding. A hundred times it, so that
    # the next step, where a right remainder is a hundredth, still differs from it.
    second = abs(up[-1] + down[-1])
    floor = 1e3 * rounding + (100 * second if np.isfinite(second) else 0.0)
    return Ladder(up, steps, floor, float(slopes[best]), float(doubts[best]))


def sided_slopes(candidate: Candidate, leaf: int, elements: list[tuple[int, ...]]) -> Sides | None:
    """The slopes of f's φ from below and from above, along the coordinates of some elements together.

    None where they are not finite, or still change with the step: that is curvature, no kink.
    """
    x = as_wide(candidate.problem.moving[leaf])
    size = float(max(abs(x[element]) for element in elements)) or None
    return sides(candidate, leaf, coordinate(candidate, leaf, *elements), size)


def sides(candidate: Candidate, leaf: int, tangents: list[Any], size: float | None = None, *,
          at_an_edge: bool = False) -> Sides | None:
    """The slopes of f's φ on both sides along a direction of one leaf; None where they are not finite, or depend on
    the step. at_an_edge: a slope on one side alone, where the function's domain ends on the other, counts as both.

    The slope at a step, s(h) = s + c h + O(h²), is freed of its part in h by two steps, of which one is a tenth of
    the other: s = (10 s(h / 10) - s(h)) / 9. Two such pairs show whether the slope depends on the step.
    """
    k = 2 if candidate.runs_in_float64 else 0
    up, down, steps, rounding = _changes(candidate, candidate.programs, (leaf,), tangents, size, slice(k, k + 3))
    slopes = np.asarray([-down / steps, up / steps])
    if at_an_edge and np.isfinite(slopes).all(1).any():
        slopes = np.where(np.isfinite(slopes).all(1, keepdims=True), slopes, slopes[::-1])
    if not np.all(np.isfinite(slopes)):
        return None
    first, second = ((10 * slopes[:, j + 1] - slopes[:, j]) / 9 for j in (0, 1))
    change, doubt = float(np.abs(second - first).max()), 4 * rounding / float(steps[2])
    if change > 0.01 * float(np.abs(second).max()) + doubt:
        return None
    return Sides(float(second[0]), float(second[1]), change + doubt)


def coordinate(candidate: Candidate, leaf: int, *elements: tuple) -> list[Any]:
    """The direction along the coordinates of some elements of a leaf together."""
    tangents = [np.zeros(m.shape, m.dtype) for m in candidate.problem.moving]
    for element in elements:
        tangents[leaf][element] = 1
    return tangents


def _typical(x: Any) -> float:
    """The root of the mean square of an array's elements."""
    return norm(as_wide(x)) / np.sqrt(x.size)


def _changes(candidate: Candidate, programs: Programs, group: tuple[int, ...], tangents: list[Any],
             size: float | None = None, which: slice = slice(None),
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """<dy, f(x ± h t) - f(x)> at each step h, the steps, and what rounding f(x) may make of it.

    size: of the steps; that of a typical element, if it is not given. which: of the steps.
    """
    problem = candidate.problem
    if size is None:
        size = min((size for size in (_typical(problem.moving[i]) for i in group if problem.moving[i].size)
                    if np.isfinite(size) and size > 0), default=0.0)
    steps = STEPS[which] * (size if np.isfinite(size) and size > 0 else 1.0)
    in_float64 = candidate.runs_in_float64
    with precision(in_float64):
        moving, dy = problem.wide if in_float64 else (problem.moving, problem.dy)
        dy = [jnp.zeros_like(d) if out.path in problem.held else d
              for d, out in zip(dy, problem.outputs, strict=True)]
        both_ways = np.concatenate([steps, -steps])
        changes, rounding = programs.changes(*arguments_of_changes(moving, dy, tangents, both_ways))
        changes, rounding = np.asarray(changes, np.float64)[:2 * len(steps)], float(rounding)
    if in_float64 and not candidate.widths.moving_wide:  # float32, or less, is in there somewhere
        rounding *= float(np.finfo(np.float32).eps / np.finfo(np.float64).eps)
    with np.errstate(invalid="ignore"):
        up, down = np.split(changes, 2)
    return up, down, steps, rounding
