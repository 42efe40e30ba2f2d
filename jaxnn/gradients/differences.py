"""Finite differences of a function's own value, and the remainders of its Taylor expansion.

    slope        (φ(x + h t) - φ(x - h t)) / 2h         φ(x) = <dy, f(x)>
    remainder    φ(x + h t) - φ(x) - h <g, t>           falls as h² if g is the gradient, else as h

They are taken in float64, at steps h from a tenth to 1e-7 of the argument's size. Where the error, which
falls as h², is overtaken by rounding, which rises as 1/h, is found out and not assumed: the slopes that
differ least from their neighbour are taken, and by how much they differ is their doubt.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import THRESHOLD, Leaf, Wanted, as_wide, compare_leaf, difference, largest
from jaxnn.gradients.problem import Side, pair, precision

__all__ = ["Along", "along_coordinates", "along_directions", "norm", "slopes"]

STEPS = 10.0 ** -np.arange(1, 8)
LEAST_ORDER = 1.5  # halfway between that of a right gradient, 2, and of a wrong one, 1


def along_directions(it: Candidate, directions: int, routes: tuple[str, ...]) -> list[Leaf]:
    """Finite differences of f's value, and its Taylor remainders, along directions of each leaf.

    What the reference holds fixed (`stop_gradient`) moves under finite differences all the same: a leaf
    where the reference's own gradient fails those of the reference's own value is excused.
    """
    problem, rows = it.problem, []
    got, true = _gradients(it)
    for i, wanted in enumerate(problem.wanted):
        worst, order, notes = Along(wanted, "finite differences"), _Order(np.inf, 0.0), set()
        for d in range(directions if wanted.value.size else 0):
            tangents = problem.tangents(d, only=i)
            t, seen = as_wide(tangents[i]), _ladder(it, it.side, i, tangents)
            if not np.isfinite(seen.slope):
                notes.add("the value is not finite near the arguments: finite differences say nothing")
                continue
            unit = wanted.unit * norm(t)
            noise = max(wanted.noise, seen.doubt / unit)
            worst.see(float(pair(got[i], t)), seen.slope, unit, noise)
            here = seen.order(float(pair(it.lifted64[i], t)), unit) if it.lifted64 is not None else order
            order = min(order, here)
            if here.order < LEAST_ORDER or not worst.ok:
                own, slope = _ladder(it, problem.reference, i, tangents), float(pair(true[i], t))
                off = abs(own.slope - slope) / unit
                if not off <= THRESHOLD * max(1.0, noise, own.doubt / unit) or (
                        own.order(slope, unit).order < LEAST_ORDER):
                    notes.add("the reference's own gradient disagrees with finite differences of its "
                              "value: it holds something fixed (stop_gradient), or has a kink here")
        note = "; ".join(sorted(notes))
        if "finite differences" in routes:
            rows.append(worst.leaf(problem.moving[i].dtype)._replace(note=note, excused=bool(notes)))
        if "taylor" in routes and it.lifted64 is not None:
            right = order.order >= LEAST_ORDER
            rows.append(Leaf(wanted.path, "taylor", wanted.value.shape, 0.0 if right else order.units, 0.0,
                             (), order.order, 2.0, dtype="float64", note=note, excused=bool(notes)))
    return rows


def along_coordinates(it: Candidate, most: int) -> list[Leaf]:
    """Finite differences along every coordinate; a leaf of more than `most` is left out, and said to be."""
    problem, rows = it.problem, []
    got, true = _gradients(it)
    for i, wanted in enumerate(problem.wanted):
        size, shape = wanted.value.size, wanted.value.shape
        if size > most:
            rows.append(Leaf(wanted.path, "every coordinate", shape, 0.0, 0.0, (), np.nan, np.nan,
                             excused=True, note=f"has {size:,} coordinates, more than {most:,}: not run"))
            continue
        found, doubts = np.zeros(size), np.zeros(size)
        for k in range(size):
            seen = _ladder(it, it.side, i, _coordinate(it, i, np.unravel_index(k, shape)))
            found[k], doubts[k] = seen.slope, seen.doubt
        noise = max(wanted.noise, float(doubts.max(initial=0.0)) / wanted.unit)
        numeric = wanted._replace(value=found.reshape(shape), exact=None, noise=noise)
        excused = largest(difference(true[i], numeric.value)) / wanted.unit > THRESHOLD * max(1.0, noise)
        rows.append(compare_leaf(numeric, "every coordinate", got[i])._replace(
            excused=excused, dtype=str(problem.moving[i].dtype)))
    return rows


def slopes(it: Candidate, leaf: int, places: list[tuple[int, ...]]) -> tuple[float, float] | None:
    """The slopes of φ from below and from above, along the coordinates of some elements together.

    None where they are not finite, or still change with the step: that is curvature, no kink.
    """
    x = as_wide(it.problem.moving[leaf])
    size = float(max(abs(x[place]) for place in places)) or None
    up, down, steps, _ = _moved(it, it.side, leaf, _coordinate(it, leaf, *places), size)
    k = 3 if it.lifted64 is not None else 1
    jumps = [(-down[j] / steps[j], up[j] / steps[j]) for j in (k, k + 1)]
    if not np.all(np.isfinite(jumps)):
        return None
    (below, above), (nearer_below, nearer_above) = jumps
    jump, nearer = above - below, nearer_above - nearer_below
    settled = abs(jump - nearer) <= 0.1 * abs(nearer) + 1e-3 * max(abs(nearer_below), abs(nearer_above))
    return (float(nearer_below), float(nearer_above)) if settled else None


def _coordinate(it: Candidate, leaf: int, *places: tuple) -> list[Any]:
    tangents = [jnp.zeros_like(m) for m in it.problem.moving]
    for place in places:
        tangents[leaf] = tangents[leaf].at[place].set(1)
    return tangents


def _gradients(it: Candidate) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """f's gradient and the reference's best, which finite differences are compared with.

    f's as it came; but where the function is another one in float64, in which the differences are taken,
    both in float64.
    """
    problem = it.problem
    if problem.oracle is None and problem.in_other_precision is not None and it.lifted64 is not None:
        return it.lifted64, problem.in_other_precision
    return ([as_wide(leaf) for leaf in it.lifted],
            problem.oracle or [wanted.value for wanted in problem.wanted])


class Along:
    """The worst of several comparisons of a leaf along a direction."""

    def __init__(self, wanted: Wanted, route: str):
        self.wanted, self.route = wanted, route
        self.worst = (0.0, 0.0, np.nan, np.nan)  # error, noise, value, reference

    def see(self, got: float, want: float, unit: float, noise: float) -> None:
        if np.isfinite(got) and not np.isfinite(want):
            return  # the reference has no gradient there: nothing can be said
        error = abs(got - want) / unit if np.isfinite(got) and np.isfinite(want) else (
            0.0 if got == want or (np.isnan(got) and np.isnan(want)) else np.inf)
        if error / max(1.0, noise) >= self.worst[0] / max(1.0, self.worst[1]):
            self.worst = (error, noise, got, want)

    @property
    def ok(self) -> bool:
        return self.worst[0] <= THRESHOLD * max(1.0, self.worst[1])

    def leaf(self, dtype: Any) -> Leaf:
        error, noise, got, want = self.worst
        return Leaf(self.wanted.path, self.route, self.wanted.value.shape, error, noise, (), got, want,
                    exact=error == 0, dtype=jnp.dtype(dtype).name)


class _Order(NamedTuple):
    """The order at which the Taylor remainder falls, and its part that falls as h, in units."""

    order: float
    units: float


class _Ladder(NamedTuple):
    """What is seen of φ along one direction."""

    up: np.ndarray  # φ(x + h t) - φ(x) at each step
    steps: np.ndarray
    floor: float  # what rounding may make of it
    slope: float
    doubt: float

    def order(self, slope: float, unit: float) -> _Order:
        if not np.isfinite(slope):
            return _Order(-np.inf, np.inf)
        rest = np.abs(self.up - self.steps * slope)
        inside = np.isfinite(rest)  # steps that leave the domain, of a logarithm say, are left out
        rest, steps = rest[inside], self.steps[inside]
        seen = np.flatnonzero(rest > self.floor)
        if not len(seen) or len(rest) < 2:
            return _Order(np.inf, 0.0)
        last = seen[-1]  # the smallest step whose remainder is more than rounding
        below, above = (last - 1, last) if last == len(rest) - 1 else (last, last + 1)
        order = np.log10(rest[below] / max(rest[above], rest[below] * 1e-9))  # steps fall by tens
        return _Order(float(order), float(rest[last] / steps[last] / unit))


def _ladder(it: Candidate, side: Side, leaf: int, tangents: list[Any]) -> _Ladder:
    up, down, steps, rounding = _moved(it, side, leaf, tangents)
    both = (up - down) / (2 * steps)
    doubts = np.abs(np.diff(both)) + rounding / steps[:-1]
    best = int(np.argmin(np.where(np.isfinite(doubts), doubts, np.inf)))
    # The second difference at the smallest step is hardly more than rounding. A hundred times it, so that
    # the next step, where a right remainder is a hundredth, can still be told from it.
    second = abs(up[-1] + down[-1])
    floor = 1e3 * rounding + (100 * second if np.isfinite(second) else 0.0)
    return _Ladder(up, steps, floor, float(both[best]), float(doubts[best]))


def _moved(it: Candidate, side: Side, leaf: int, tangents: list[Any],
           size: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """<dy, f(x ± h t) - f(x)> at each step h, the steps, and what rounding f(x) may make of it.

    size: of the steps; that of a typical element, if it is not given.
    """
    problem = it.problem
    if size is None:
        size = norm(as_wide(problem.moving[leaf])) / np.sqrt(problem.moving[leaf].size)
    steps = STEPS * (size if np.isfinite(size) and size > 0 else 1.0)
    in_float64 = it.lifted64 is not None
    with precision(in_float64):
        moving, dy = problem.wide if in_float64 else (problem.moving, problem.dy)
        dy = [jnp.zeros_like(d) if out.path in problem.held else d
              for d, out in zip(dy, problem.outputs, strict=True)]
        both_ways = jnp.asarray(np.concatenate([steps, -steps]))
        changes, rounding = side.changes(moving, dy, tangents, both_ways)
        changes, rounding = np.asarray(changes, np.float64), float(rounding)
    if in_float64 and not it.is_wide:  # float32, or less, is in there somewhere
        rounding *= float(np.finfo(np.float32).eps / np.finfo(np.float64).eps)
    with np.errstate(invalid="ignore"):
        up, down = np.split(changes, 2)
    return up, down, steps, rounding


def norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x.ravel()))
