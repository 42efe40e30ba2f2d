"""A mistake inside of a loop over time: the step, the gate, the carry.

f is asked again, with a cotangent at one step t alone. In a loop that carries a state from step to step the gradient
then reaches the steps s <= t, through the carry alone where s < t. So where it is right at the steps s > k and wrong at
k, the passage of the carry from step k + 1 to step k is wrong; where it is wrong at t itself, the step is.
Gates are blocks of equal size in a stacked weight: with x zero at all other steps a weight of x has the gradient of
that step alone, and is wrong in the rows of the gate that is wrong.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxnn.gradients.leaf import as_wide, difference
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.reasons.evidence import Budget, Evidence, Reason, output_name
from jaxnn.gradients.trees import to_device

__all__ = ["Loop", "inside_a_loop"]

N_GATES = (4, 3, 2)
MOST_STEPS = 64  # of a sequence each step of which is asked for by itself
PullBack = Callable[[list[Any], list[Any]], list[Any]]


def inside_a_loop(evidence: Evidence) -> Iterator[Reason]:
    if evidence.loop is not None and evidence.loop.reason is not None:
        yield evidence.loop.reason


class Loop:
    """f's gradient, and the reference's, by the steps of a loop. pull_back: f's (moving, dy) -> its leaves; budget: of
    the runs of both."""

    def __init__(self, problem: Problem, pull_back: PullBack, budget: Budget):
        self.problem, self.pull_back, self.budget = problem, pull_back, budget

    @functools.cached_property
    def reason(self) -> Reason | None:
        """The mistake in words; None where there is no such loop, or no mistake of this kind in it."""
        try:
            return next((reason for o, i, axis in self._sequences() for backwards in (False, True)
                         if (reason := self._of_sequence(o, i, axis, backwards)) is not None), None)
        except Exception:  # an f that fails at other arguments
            return None

    def _sequences(self) -> Iterator[tuple[int, int, int]]:
        """(output, leaf, axis): sequences in and out, of one length along one axis."""
        for o, out in enumerate(self.problem.outputs):
            for i, leaf in enumerate(self.problem.moving):
                for axis in range(min(2, len(out.shape), leaf.ndim)):
                    if leaf.shape[axis] == out.shape[axis] >= 3:
                        yield o, i, axis

    def _of_sequence(self, o: int, i: int, axis: int, backwards: bool) -> Reason | None:
        n = self.problem.outputs[o].shape[axis]
        if not self.budget.take(4):  # f and the reference, for cotangents at the first and at the last step
            return None

        def place(step: int) -> int:
            return n - 1 - step if backwards else step

        def wrong_steps(t: int) -> tuple[list[int], np.ndarray, np.ndarray]:
            """At which steps the gradient is wrong, for a cotangent at step t alone; f's and the reference's."""
            moving, dy = self.problem.moving, self._alone(o, axis, place(t))
            f, reference = self._both(i, moving, dy)
            errors = np.moveaxis(difference(f, reference), axis, 0).reshape(n, -1).max(1)
            limit = self._limit(i, reference)
            order = [place(step) for step in range(n)]
            return ([step for step in range(n) if errors[order[step]] > limit],
                    np.moveaxis(f, axis, 0)[order], np.moveaxis(reference, axis, 0)[order])

        _, _, from_first = wrong_steps(0)
        last_wrong, f, reference = wrong_steps(n - 1)
        if np.any(from_first[1:]) or not np.any(reference[:-1]):
            return None  # no loop in this direction: a step reads what comes after it, or nothing of what came before
        where = f"{output_name('y', self.problem.outputs[o].path)}, {self.problem.paths[i]} (axis {axis})"
        if (gate := self._gate(o, i, axis, [place(t) for t in (0, 1, n - 1)])) is not None:
            return gate
        if not last_wrong:
            return None
        k = max(last_wrong)
        steps = range(n) if n <= MOST_STEPS else sorted({0, 1, k, min(k + 1, n - 1), n - 1})
        if own := [t for t in steps if t in wrong_steps(t)[0]]:
            _, f, reference = wrong_steps(own[0])
            wrong = difference(f[own[0]], reference[own[0]]) > self._limit(i, reference)
            if len(own) == len(steps) or wrong.size < 2 or 2 * np.count_nonzero(wrong) < wrong.size:
                return None  # elements that are wrong wherever they stand: the loop is not the reason
            which = f"step {place(own[0])} alone" if len(own) == 1 else f"{len(own)} of {len(steps)} steps"
            return Reason("step", f"it is wrong inside the step of a loop over {where}, at {which}: with a cotangent "
                          "at one step its gradient at that same step is wrong")
        how = "lost" if not np.any(f[:k + 1]) else "wrong"
        everywhere = all(t - 1 in wrong_steps(t)[0] for t in (1, n - 1))
        alone = not wrong_steps(k)[0]
        passage = "from each step to the one before it" if everywhere else (
            f"from step {place(k + 1)} to step {place(k)}" + (" alone" if alone else ""))
        return Reason("carry", f"the carry's cotangent is {how} {passage}, in the loop over {where}: with a cotangent "
                      f"at the last step alone the gradient is right at the steps after {place(k)} and {how} at "
                      f"{place(k)}")

    def _gate(self, o: int, i: int, axis: int, steps: list[int]) -> Reason | None:
        """The block of a stacked weight that alone is wrong."""
        problem = self.problem
        for t in dict.fromkeys(steps):
            x = as_wide(problem.moving[i])
            only = np.zeros_like(x)
            np.moveaxis(only, axis, 0)[t] = np.moveaxis(x, axis, 0)[t]
            moving = [to_device(only, m.dtype) if k == i else m for k, m in enumerate(problem.moving)]
            dy = self._alone(o, axis, t)
            f, reference = (list(map(as_wide, g)) for g in (
                self.pull_back(moving, dy), problem.programs.pull_back(moving, dy)))
            for k, path in enumerate(problem.paths):
                if k == i or not 1 <= f[k].ndim <= 2 or f[k].shape != reference[k].shape:
                    continue
                rows = difference(f[k], reference[k]).reshape(f[k].shape[0], -1).max(1) > self._limit(k, reference[k])
                if (block := _block(rows)) is not None:
                    number, gates = block
                    size = len(rows) // gates
                    ratio = _ratio(f[k][number * size:(number + 1) * size],
                                   reference[k][number * size:(number + 1) * size])
                    rows_of_it = f"rows {number * size} to {(number + 1) * size - 1}"
                    return Reason("gate", "it is wrong in one gate of a loop: with a cotangent and an input at step "
                                  f"{t} alone, {path} is wrong in block {number + 1} of {gates} along axis 0 "
                                  f"({rows_of_it}), {ratio}and right in the others")
        return None

    def _alone(self, o: int, axis: int, t: int) -> list[Any]:
        """dy at one step of one output."""
        alone = [np.zeros(d.shape) for d in self.problem.dy]
        np.moveaxis(alone[o], axis, 0)[t] = np.moveaxis(np.asarray(as_wide(self.problem.dy[o]).real), axis, 0)[t]
        return [to_device(a, d.dtype) for a, d in zip(alone, self.problem.dy, strict=True)]

    def _both(self, i: int, moving: list[Any], dy: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        return as_wide(self.pull_back(moving, dy)[i]), as_wide(self.problem.programs.pull_back(moving, dy)[i])

    def _limit(self, i: int, reference: np.ndarray) -> float:
        """The most that is not wrong: of the whole gradient's noise, and of what this one reaches."""
        leaf = self.problem.gradient[i]
        return 4 * leaf.limit * leaf.eps * max(float(np.abs(reference).max(initial=0)), 1e-3 * leaf.scale)


def _block(wrong: np.ndarray) -> tuple[int, int] | None:
    """(its number, how many there are) of the block that holds all wrong rows, and at least half of them wrong."""
    for n in N_GATES:
        if len(wrong) % n == 0 and len(wrong) > n:
            counts = wrong.reshape(n, -1).sum(1)
            if np.count_nonzero(counts) == 1 and 2 * counts.max() >= len(wrong) // n:
                return int(np.argmax(counts)), n
    return None


def _ratio(f: np.ndarray, reference: np.ndarray) -> str:
    """f's block as a multiple of the reference's, if it is one."""
    power = float(np.vdot(reference, reference).real)
    c = float(np.vdot(reference, f).real) / power if power else np.nan
    is_multiple = np.allclose(f, c * reference, rtol=1e-3, atol=1e-6 * power**0.5)
    return f"{c:.4g} x the reference there, " if is_multiple else ""
