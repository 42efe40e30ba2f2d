"""Properties that a right gradient has wherever its reference has them.

    value        f(x) = reference(x)
    twice        the same result twice
    linear       g(a dy + b dy') = a g(dy) + b g(dy')
    cache        pulling back again, after f ran at other arguments, gives the same
    elsewhere    g equals the reference's at other arguments too
    micro-batches, order, padding    of a function of a batch: parts sum to the whole, examples that are
                 permuted permute, examples with no cotangent change nothing

The last three hold only where examples do not mix; whether they should is asked of the reference.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import THRESHOLD, as_wide, difference, largest
from jaxnn.gradients.problem import Problem, Side, one_line
from jaxnn.gradients.report import Law
from jaxnn.hand_derived import Op

__all__ = ["gradient_laws"]


def gradient_laws(it: Candidate) -> tuple[Law, ...]:
    laws = (same_value(it), same_twice(it), linear(it), reads_only_its_cache(it), right_elsewhere(it))
    return (*laws, *of_a_batch(it))


def same_value(it: Candidate) -> Law:
    name, problem = "f(x) is the reference's value", it.problem
    for where, moving in (("", problem.moving), (" at other arguments", problem.elsewhere)):
        if where and problem.reference_elsewhere is None:
            continue
        there = [as_wide(leaf) for leaf in problem.reference.value(moving)]
        for wanted, y, got in zip(problem.value, there, it.side.value(moving), strict=True):
            want = y if where else wanted.finite
            off = np.where(np.isfinite(want), difference(as_wide(got), want), 0)
            error = float(off.max(initial=0)) / (wanted.eps * max(wanted.scale, largest(want)) or 1.0)
            # 4: the noise was measured at the first arguments.
            if error > (4 if where else 1) * THRESHOLD * max(1.0, wanted.noise):
                return Law(name, False, f"{wanted.path or 'y'} differs by {error:.3g} units{where}")
    return Law(name, True)


def same_twice(it: Candidate) -> Law:
    name = "twice the same result"
    once = it.lifted
    again = it.side.pull_back(it.problem.moving, it.problem.dy)
    return _bitwise(name, it.problem.paths, once, again)


def linear(it: Candidate) -> Law:
    """g(a dy + b dy') = a g(dy) + b g(dy'), also where dy is large; of an explicit backward as well."""
    name, problem = "linear in dy", it.problem
    rng = np.random.default_rng((problem.seed, 3))
    other = [jnp.asarray(d * rng.standard_normal(d.shape), d.dtype) for d in problem.dy]
    programs: list[tuple[str, Callable]] = [("lifted", it.side.pull_back)]
    if isinstance(it.f, Op):
        programs.append(("explicit", jax.jit(it.walk_back)))
    for route, program in programs:
        at_dy, at_other = (program(problem.moving, dy) for dy in (problem.dy, other))
        # Not larger: float16 ends at 65,504, and a loop that stops at an absolute error would not stop.
        for p, q, sum_ in ((1, 2, "dy + 2 dy'"), (8, -3, "8 dy - 3 dy'")):
            both = [(p * d + q * o).astype(d.dtype) for d, o in zip(problem.dy, other, strict=True)]
            at_both = program(problem.moving, both)
            for i, wanted in enumerate(problem.wanted):
                a, b, c = (as_wide(g[i]) for g in (at_both, at_dy, at_other))
                if not a.size or not np.isfinite(b).all():
                    continue
                scale = max(p * largest(b), abs(q) * largest(c), largest(a), wanted.scale)
                error = difference(a, p * b + q * c).max() / (wanted.eps * scale)
                if error > 4 * THRESHOLD * max(1.0, wanted.noise):
                    return Law(name, False, f"{route} {wanted.path}: g({sum_}) is off by {error:.3g} units")
    return Law(name, True)


def reads_only_its_cache(it: Candidate) -> Law:
    """A pull-back is used, f is run and differentiated at other arguments, and it is used again."""
    name, problem = "reads only its cache", it.problem
    y, pull = jax.vjp(it.side.outputs, problem.moving)
    dy = [d.astype(leaf.dtype) for d, leaf in zip(problem.dy, y, strict=True)]
    (before,) = pull(dy)
    if problem.reference_elsewhere is None:
        return Law(name, None, "the reference does not run at other arguments")
    jax.vjp(it.side.outputs, problem.elsewhere)[1](dy)
    (after,) = pull(dy)
    return _bitwise(name, problem.paths, before, after)


def right_elsewhere(it: Candidate) -> Law:
    """A backward that closes over an array is right for that array alone."""
    name, problem = "right at other arguments", it.problem
    want = problem.reference_elsewhere
    if want is None:
        return Law(name, None, "the reference does not run there")
    got = it.side.pull_back(problem.elsewhere, problem.dy)
    here = {w.path: g for w, g in zip(problem.wanted, it.lifted, strict=True)}
    for wanted, a, b in zip(problem.wanted, map(as_wide, got), map(as_wide, want), strict=True):
        limit = THRESHOLD * max(1.0, wanted.noise)
        scale = max(largest(b), wanted.scale)
        error = difference(a, b).max(initial=0) / (wanted.eps * scale or 1.0)
        wrong_here = difference(as_wide(here[wanted.path]), wanted.value).max(initial=0) > limit * wanted.unit
        # 4: the noise was measured at the first arguments.
        if error > 4 * limit and not wrong_here:
            return Law(name, False, f"{wanted.path} is off by {error:.3g} units there: does backward hold an "
                       "array that is not in its cache?")
    return Law(name, True)


def of_a_batch(it: Candidate) -> Iterator[Law]:
    """Micro-batches, order and padding, where a batch can be seen."""
    batch = _Batch.of(it.problem)
    if batch is None or not all(np.isfinite(wanted.value).all() for wanted in it.problem.wanted):
        return
    n = batch.size
    order = np.random.default_rng(it.problem.seed).permutation(n)
    half = [np.arange(n // 2), np.arange(n // 2, n)]
    laws: list[tuple[str, Sequence[np.ndarray], bool]] = [
        ("micro-batches sum to the batch", half, False), ("permuting examples permutes", [order], False),
        ("padding changes nothing", [np.arange(n)], True)]
    for name, parts, pad in laws:
        try:
            if batch.breaks(it.problem.reference.name, it.problem.callable, parts, pad) is not None:
                yield Law(name, None, "the reference mixes examples")
                continue
            broken = batch.breaks("f", it.f, parts, pad)
        except Exception as error:
            yield Law(name, None, f"raises {one_line(error)}")
            continue
        yield Law(name, broken is None, broken or "")


class _Batch:
    """A problem whose value and some of whose arguments have a leading axis of the same size."""

    def __init__(self, problem: Problem, size: int, in_batch: list[bool]):
        self.problem, self.size, self.in_batch = problem, size, in_batch

    @classmethod
    def of(cls, problem: Problem) -> "_Batch | None":
        sizes = {out.shape[:1] for out in problem.outputs}
        size = next(iter(sizes))
        if len(sizes) != 1 or not size or size[0] < 2:
            return None
        by_argument: dict[str, bool] = {}
        for path, leaf in zip(problem.all_paths, problem.leaves, strict=True):
            name = path.split("/")[0]
            fits = hasattr(leaf, "shape") and leaf.shape[:1] == size
            by_argument[name] = by_argument.get(name, True) and fits
        in_batch = [by_argument[path.split("/")[0]] for path in problem.all_paths]
        return cls(problem, size[0], in_batch) if any(in_batch[i] for i in problem.smooth) else None

    def breaks(self, who: str, f: Callable, parts: Sequence[np.ndarray], pad: bool) -> str | None:
        """How the gradient put together from parts of the batch differs from the whole's; None if not."""
        problem = self.problem
        whole = Side(who, problem.function_of(f)).pull_back(problem.moving, problem.dy)
        pieces = [self._gradient(f, part, pad) for part in parts]
        for k, (i, wanted) in enumerate(zip(problem.smooth, problem.wanted, strict=True)):
            each = [as_wide(piece[k]) for piece in pieces]
            if self.in_batch[i]:
                joined = np.zeros_like(as_wide(whole[k]))
                for part, piece in zip(parts, each, strict=True):
                    joined[part] = piece[:len(part)]
                    if np.any(piece[len(part):]):
                        return f"{wanted.path} has a gradient at an example that has no cotangent"
            else:
                joined = np.sum(each, axis=0)
            error = difference(joined, as_wide(whole[k])).max(initial=0) / wanted.unit
            if error > 4 * THRESHOLD * max(1.0, wanted.noise):
                return f"{wanted.path} is off by {error:.3g} units"
        return None

    def _gradient(self, f: Callable, part: np.ndarray, pad: bool) -> list[Any]:
        problem = self.problem

        def take(x: Any) -> Any:
            rows = x[part]
            return jnp.concatenate([rows, jnp.zeros_like(rows[:2])]) if pad else rows

        leaves = [take(leaf) if b else leaf for leaf, b in zip(problem.leaves, self.in_batch, strict=True)]
        here = Problem(problem.callable, jax.tree.unflatten(problem.tree, leaves), problem.static,
                       names=problem.names, seed=problem.seed, hold=problem.hold, only=problem.only)
        return Side("part", here.function_of(f)).pull_back(here.moving, [take(d) for d in problem.dy])


def _bitwise(name: str, paths: list[str], once: list[Any], again: list[Any]) -> Law:
    for path, a, b in zip(paths, once, again, strict=True):
        if not np.array_equal(as_wide(a), as_wide(b), equal_nan=True):
            return Law(name, False, f"{path} differs by up to {difference(as_wide(a), as_wide(b)).max():.3g}")
    return Law(name, True)
