"""The routes by which a gradient is reached, each compared with the reference's by itself.

    explicit             backward(cache, dy), the function as written
    lifted               J_fᵀ dy by jax.vjp: the rule as JAX applies it
    float64              the same in float64 on both sides, where a wrong element has nowhere to hide
    forward              <dy, J_f t> = <Jᵀ dy, t> by jax.jvp, t a direction of one leaf
    finite differences   (φ(x + h t) - φ(x - h t)) / 2h = <Jᵀ dy, t>, φ(x) = <dy, f(x)>, in float64
    taylor               φ(x + h t) - φ(x) - h <J_fᵀ dy, t> falls as h² if the gradient is right, else as h
    second order         d/ds J_f(x + s t)ᵀ dy, a product with the Hessian of φ
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.leaf import THRESHOLD, Leaf, Wanted, as_wide, compare_leaf, difference, largest
from jaxnn.gradients.problem import Problem, Side, pair, precision
from jaxnn.hand_derived import Op

__all__ = ["ROUTES", "Candidate", "along_coordinates", "along_directions", "by_float64",
           "by_forward_mode", "by_second_order", "one_sided_slopes"]

ROUTES = ("explicit", "lifted", "float64", "forward", "finite differences", "taylor", "second order")

# In float64 the error of a central difference falls as h² until rounding takes over as 1/h; where, is
# found out and not assumed: the estimates that differ least from their neighbour are taken.
STEPS = 10.0 ** -np.arange(1, 8)
LEAST_ORDER = 1.5  # halfway between that of a right gradient, 2, and of a wrong one, 1


class Candidate:
    """What is to be judged at a problem: f, and its gradient by the routes that yield all of it."""

    def __init__(self, f: Callable, problem: Problem):
        self.f, self.problem = f, problem
        self.side = Side("f", problem.function_of(f))

    @functools.cached_property
    def lifted(self) -> list[Any]:
        """J_fᵀ dy by jax.vjp."""
        return self.side.pull_back(self.problem.moving, self.problem.dy)

    @functools.cached_property
    def lifted64(self) -> list[np.ndarray] | None:
        return self.problem.in_float64(self.side.pull_back)

    @functools.cached_property
    def explicit(self) -> list[Any]:
        """backward(cache, dy) as it comes, for the leaves that move."""
        return jax.jit(self.walk_back)(self.problem.moving, self.problem.dy)

    def walk_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        """forward, then backward: what it returns for the leaves that move, None taken as zeros."""
        problem, op = self.problem, self.f
        assert isinstance(op, Op)
        args = problem.arguments(moving)
        y, cache = op.forward(*args, **problem.static)
        cotangents = op.backward(cache, problem.cotangent(y, dy))
        if not isinstance(cotangents, tuple | list) or len(cotangents) > len(op.arguments):
            is_tuple = isinstance(cotangents, tuple | list)
            came = f"{len(cotangents)} cotangents" if is_tuple else type(cotangents).__name__
            raise TypeError(f"backward returned {came}; expected a tuple of {len(op.arguments)}, one for "
                            f"each of ({', '.join(op.arguments)})")
        leaves: list[Any] = []
        for name, arg, cotangent in zip(op.arguments, args, cotangents, strict=False):
            tree: Any = jax.tree.structure(arg)
            try:
                leaves += [None] * tree.num_leaves if cotangent is None else tree.flatten_up_to(cotangent)
            except ValueError:
                raise TypeError(f"backward returned {jax.tree.structure(cotangent)} for '{name}'; the "
                                f"argument has {tree}") from None
        leaves += [None] * (len(problem.leaves) - len(leaves))  # arguments left at their default come last
        return [jnp.zeros_like(m) if leaves[i] is None else jnp.asarray(leaves[i])
                for i, m in zip(problem.smooth, moving, strict=True)]


def by_forward_mode(it: Candidate, directions: int) -> list[Leaf]:
    """For each leaf the worst of several directions t: <dy, J_f t> beside the reference's <Jᵀ dy, t>."""
    problem, rows = it.problem, []
    for i, wanted in enumerate(problem.wanted):
        worst = _Along(wanted, "forward")
        for d in range(directions if wanted.value.size else 0):
            tangents = problem.tangents(d, only=i)
            t = as_wide(tangents[i])
            pushed = [as_wide(leaf) for leaf in it.side.push_forward(problem.moving, tangents)]
            got = sum(float(pair(as_wide(a), b)) for a, b in zip(problem.dy, pushed, strict=True))
            # Each element of the gradient and of J t may be off by a unit, by itself.
            unit = wanted.unit * _norm(t) + sum(
                float(jnp.finfo(a.dtype).eps) * np.abs(b).max(initial=0) * _norm(as_wide(a))
                for a, b in zip(problem.dy, pushed, strict=True))
            worst.see(got, float(pair(wanted.value, t)), unit, wanted.noise)
        rows.append(worst.leaf(problem.moving[i].dtype))
    return rows


def by_float64(it: Candidate) -> list[Leaf]:
    """f's gradient beside the reference's, both in float64; none where one of them is bound to less.

    A gradient that is only approximate, as those of special functions are, differs at nearly all elements,
    by less than a unit of the arguments' own dtype, and is excused.
    """
    problem = it.problem
    narrow = [w for w in problem.wanted if w.eps > 1e-15]
    if not narrow or problem.wanted64 is None or it.lifted64 is None or not problem.is_wide(it.side):
        return []
    rows = []
    for wanted, here, got in zip(problem.wanted64, problem.wanted, it.lifted64, strict=True):
        row = compare_leaf(wanted, "float64", got)
        if not row.ok and row.errors is not None:
            off = row.errors > THRESHOLD * max(1.0, row.noise)
            if row.error * wanted.eps <= here.eps and 2 * off.sum() > off.size:
                row = row._replace(excused=True, note=(
                    f"an approximation: in float64 it is off by {row.error * wanted.eps:.1e} of the largest "
                    "element, which is less than a rounding of its own dtype"))
        rows.append(row)
    return rows


def by_second_order(it: Candidate) -> list[Leaf]:
    """The product of φ's Hessian with one direction of all leaves."""
    problem = it.problem
    got = it.side.second_order(problem.moving, problem.dy, problem.tangents(0))
    return [compare_leaf(w, "second order", g) for w, g in zip(problem.second_order, got, strict=True)]


def along_directions(it: Candidate, directions: int, routes: tuple[str, ...]) -> list[Leaf]:
    """Finite differences of f's own value, and its Taylor remainders, along directions of each leaf.

    A value that the reference holds fixed (`stop_gradient`) moves under finite differences all the same:
    a leaf where the reference's own gradient fails them is excused.
    """
    problem, rows = it.problem, []
    got, true = _gradients(it)
    for i, wanted in enumerate(problem.wanted):
        worst, order, excused = _Along(wanted, "finite differences"), _Order(np.inf, 0.0), False
        for d in range(directions if wanted.value.size else 0):
            tangents = problem.tangents(d, only=i)
            t, seen = as_wide(tangents[i]), _ladder(it, i, tangents)
            unit = wanted.unit * _norm(t)
            noise = max(wanted.noise, seen.doubt / unit)
            excused |= bool(abs(seen.slope - float(pair(true[i], t))) / unit > THRESHOLD * max(1.0, noise))
            worst.see(float(pair(got[i], t)), seen.slope, unit, noise)
            if it.lifted64 is not None:
                order = min(order, seen.order(float(pair(it.lifted64[i], t)), unit))
        note = ("the reference's own gradient disagrees with finite differences of the value: it holds "
                "something fixed (stop_gradient), or has a kink here" if excused else "")
        if "finite differences" in routes:
            rows.append(worst.leaf(problem.moving[i].dtype)._replace(note=note, excused=excused))
        if "taylor" in routes and it.lifted64 is not None:
            right = order.order >= LEAST_ORDER
            rows.append(Leaf(wanted.path, "taylor", wanted.value.shape, 0.0 if right else order.units, 0.0,
                             (), order.order, 2.0, dtype="float64", note=note, excused=excused))
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
        slopes, doubts = np.zeros(size), np.zeros(size)
        tangents = [jnp.zeros_like(m) for m in problem.moving]
        for k in range(size):
            tangents[i] = jnp.zeros_like(problem.moving[i]).at[np.unravel_index(k, shape)].set(1)
            seen = _ladder(it, i, tangents)
            slopes[k], doubts[k] = seen.slope, seen.doubt
        noise = max(wanted.noise, float(doubts.max(initial=0.0)) / wanted.unit)
        numeric = wanted._replace(value=slopes.reshape(shape), exact=None, noise=noise)
        excused = largest(difference(true[i], numeric.value)) / wanted.unit > THRESHOLD * max(1.0, noise)
        rows.append(compare_leaf(numeric, "every coordinate", got[i])._replace(
            excused=excused, dtype=str(problem.moving[i].dtype)))
    return rows


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


class _Along:
    """The worst of several comparisons of a leaf along a direction."""

    def __init__(self, wanted: Wanted, route: str):
        self.wanted, self.route = wanted, route
        self.worst = (0.0, 0.0, np.nan, np.nan)  # error, noise, value, reference

    def see(self, got: float, want: float, unit: float, noise: float) -> None:
        error = abs(got - want) / unit if np.isfinite(got) and np.isfinite(want) else (
            0.0 if got == want or (np.isnan(got) and np.isnan(want)) else np.inf)
        if error / max(1.0, noise) >= self.worst[0] / max(1.0, self.worst[1]):
            self.worst = (error, noise, got, want)

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
        rest = np.abs(self.up - self.steps * slope)
        if not np.all(np.isfinite(rest)):
            return _Order(-np.inf, np.inf)
        seen = np.flatnonzero(rest > self.floor)
        if not len(seen):
            return _Order(np.inf, 0.0)
        last = seen[-1]  # the smallest step whose remainder is more than rounding
        below, above = (last - 1, last) if last == len(rest) - 1 else (last, last + 1)
        order = np.log10(rest[below] / max(rest[above], rest[below] * 1e-9))  # steps fall by tens
        return _Order(float(order), float(rest[last] / self.steps[last] / unit))


def one_sided_slopes(it: Candidate, leaf: int, place: tuple[int, ...]) -> tuple[float, float]:
    """The slopes of φ along one coordinate, from below and from above."""
    tangents = [jnp.zeros_like(m) for m in it.problem.moving]
    tangents[leaf] = tangents[leaf].at[place].set(1)
    up, down, steps, _ = _moved(it, leaf, tangents)
    k = 4 if it.lifted64 is not None else 2
    return float(-down[k] / steps[k]), float(up[k] / steps[k])


def _ladder(it: Candidate, leaf: int, tangents: list[Any]) -> _Ladder:
    up, down, steps, rounding = _moved(it, leaf, tangents)
    slopes = (up - down) / (2 * steps)
    doubts = np.abs(np.diff(slopes)) + rounding / steps[:-1]
    best = int(np.argmin(np.where(np.isfinite(doubts), doubts, np.inf)))
    # The second difference at the smallest step is hardly more than rounding. A hundred times it, so that
    # the next step, where a right remainder is a hundredth, can still be told from it.
    floor = 1e3 * rounding + 100 * abs(up[-1] + down[-1])
    return _Ladder(up, steps, floor, float(slopes[best]), float(doubts[best]))


def _moved(it: Candidate, leaf: int, tangents: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """<dy, f(x ± h t) - f(x)> at each step h, the steps, and what rounding f(x) may make of it."""
    problem = it.problem
    size = _norm(as_wide(problem.moving[leaf])) / np.sqrt(problem.moving[leaf].size)  # of a typical element
    steps = STEPS * (size if np.isfinite(size) and size > 0 else 1.0)
    in_float64 = it.lifted64 is not None
    with precision(in_float64):
        moving, dy = problem.wide if in_float64 else (problem.moving, problem.dy)
        dy = [jnp.zeros_like(d) if out.path in problem.held else d
              for d, out in zip(dy, problem.outputs, strict=True)]
        both_ways = jnp.asarray(np.concatenate([steps, -steps]))
        changes, rounding = it.side.changes(moving, dy, tangents, both_ways)
        changes, rounding = np.asarray(changes, np.float64), float(rounding)
    up, down = np.split(changes, 2)
    return up, down, steps, rounding


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x.ravel()))
