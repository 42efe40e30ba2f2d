"""The evidence for a diagnosis: a wrong leaf, its right value, and the reference at other arguments."""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.leaf import THRESHOLD, as_wide, difference, largest
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.programs import precision

__all__ = ["Budget", "Evidence", "Reason", "axes_of", "output_name", "shifted"]


class Reason(NamedTuple):
    kind: str
    words: str


class Budget:
    """How often the reference, or f, may be asked anew to find reasons: a large function takes long each time, and
    has many arguments that could be another's."""

    def __init__(self, runs: float):
        self.left = runs

    def take(self, runs: int = 1) -> bool:
        """Whether there are so many runs left, which count as made."""
        is_left = self.left >= runs
        self.left = self.left - runs if is_left else 0
        return is_left


class Evidence:
    """Leaf number i of a problem, for which f gives `value` instead of `reference`.

    numbers: those that f was made with, by name.
    loop: f's gradient by the steps of a loop, a `loops.Loop`; None where f cannot be asked again.
    in_float64: whether f's value, and what is asked of the reference, is in float64.
    budget: of the runs that the search for all reasons may take.
    """

    def __init__(self, problem: Problem, i: int, value: Any, numbers: dict[str, float], in_float64: bool = False,
                 loop: Any = None, budget: Budget | None = None):
        self.loop, self.budget = loop, budget or Budget(math.inf)
        self.problem, self.i, self.numbers, self.in_float64 = problem, i, numbers, in_float64
        self.leaf = (problem.gradient64 or problem.gradient)[i] if in_float64 else problem.gradient[i]
        self.path, self.value, self.reference = self.leaf.path, as_wide(value), self.leaf.value
        self.dtype = problem.moving[i].dtype

    def equal(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether a is b but for rounding: that of f, of the reference, and of one more operation."""
        if a.shape != b.shape:
            return False
        scale = max(largest(a), largest(b), 0.0)
        unit = self.leaf.eps * max(scale, self.leaf.scale * scale / max(largest(self.reference), 1e-300))
        return bool(np.all(difference(a, b) <= THRESHOLD * max(1.0, self.leaf.noise) * unit))

    def is_wrong(self, a: np.ndarray) -> bool:
        """Whether a is not the reference's leaf: a hypothesis that changes nothing explains nothing."""
        return not self.equal(a, self.reference)

    def fits(self, hypothesis: np.ndarray | None) -> bool:
        """Whether f's leaf is what a hypothesis predicts; None is no prediction."""
        return hypothesis is not None and self.equal(hypothesis, self.value) and self.is_wrong(hypothesis)

    @functools.cached_property
    def wrong(self) -> np.ndarray:
        """Where f's value is not the reference's, elementwise."""
        return difference(self.value, self.reference) > self.leaf.limit * self.leaf.unit

    def reference_at(self, moving: list[Any] | None = None, dy: list[Any] | None = None) -> np.ndarray | None:
        """The reference's leaf at other arguments, or for another cotangent; None where the reference fails there, or
        has been asked too often."""
        problem = self.problem
        if not self.budget.take():
            return None
        try:
            with precision(self.in_float64):
                own = problem.wide if self.in_float64 else (problem.moving, problem.dy)
                inputs = [leaves if other is None else [b if a is b else jnp.asarray(as_wide(a), b.dtype)
                                                        for a, b in zip(other, leaves, strict=True)]
                          for other, leaves in zip((moving, dy), own, strict=True)]
                return as_wide(problem.programs.pull_back(*inputs)[self.i])
        except Exception:
            return None

    @functools.cached_property
    def y(self) -> list[np.ndarray]:
        """The reference's value."""
        problem = self.problem
        exact = problem.value64 if self.in_float64 else None
        return exact or [leaf.value for leaf in problem.value]

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """What a gradient may have been multiplied with, or be short of: by name."""
        problem = self.problem
        for path, leaf in zip(problem.paths, problem.moving, strict=True):
            yield path, as_wide(leaf)
        for out, y, dy in zip(problem.outputs, self.y, problem.dy, strict=True):
            yield output_name("y", out.path, "/"), y
            yield output_name("dy", out.path, "/"), as_wide(dy)

    def sizes(self) -> Iterator[tuple[int, str]]:
        """The sizes of axes and of arrays, with a name: the batch first, which means are taken over."""
        problem = self.problem
        arguments = [(path, leaf.shape) for path, leaf in zip(problem.leaf_paths, problem.leaves, strict=True)
                     if hasattr(leaf, "shape")]
        outputs = [(output_name("y", out.path, "/"), out.shape) for out in problem.outputs]
        shapes = [*outputs, *reversed(arguments)]  # params come first among the arguments, the batch last
        for axis in range(max((len(shape) for _, shape in shapes), default=0)):
            for name, shape in shapes:
                if axis < len(shape) and shape[axis] > 1:
                    yield shape[axis], f"the size of axis {axis} of {name}"
        for name, shape in shapes:
            for n_axes in range(2, len(shape) + 1):
                yield math.prod(shape[:n_axes]), f"the number of elements of {name}" if n_axes == len(
                    shape) else f"the size of the first {n_axes} axes of {name}"

    def growth(self, n: int) -> int | None:
        """By which factor, 1 or 2, a scalar value grows if the n examples are given twice; None if by neither."""
        problem = self.problem
        if any(y.size != 1 for y in self.y):
            return None

        def twice(leaf: Any) -> Any:
            is_batch = hasattr(leaf, "shape") and leaf.ndim and leaf.shape[0] == n
            return jnp.concatenate([leaf, leaf]) if is_batch else leaf

        try:
            args = jax.tree.unflatten(problem.tree, list(map(twice, problem.leaves)))
            y = problem.reference(*args, **problem.static)
            doubled = [as_wide(leaf) for leaf in jax.tree.leaves(y) if hasattr(leaf, "dtype")]
        except Exception:
            return None
        return next((factor for factor in (1, 2) if len(doubled) == len(self.y) and all(
            np.allclose(a, factor * b, rtol=1e-3) for a, b in zip(doubled, self.y, strict=True))), None)


def output_name(name: str, path: str, joint: str = " of ") -> str:
    """The name of an output, or of its cotangent; with its path where there are several."""
    return f"{name}{joint}{path}" if path else name


def axes_of(array: np.ndarray, most: int = 4) -> Iterator[tuple[int, ...]]:
    """The non-empty sets of axes that have more than one element, small ones first."""
    axes = [a for a in range(min(array.ndim, most)) if array.shape[a] > 1]
    for n in range(1, len(axes) + 1):
        yield from itertools.combinations(axes, n)


def shifted(x: np.ndarray, axis: int, by: int) -> np.ndarray:
    """x moved along an axis by one place, zeros coming in."""
    moved = np.roll(x, by, axis)
    np.moveaxis(moved, axis, 0)[0 if by > 0 else -1] = 0
    return moved
