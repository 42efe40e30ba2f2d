"""What a diagnosis has to go by: a wrong leaf, what it should be, and the reference to ask."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.leaf import THRESHOLD, as_wide, difference, largest
from jaxnn.gradients.problem import Problem, precision

__all__ = ["Evidence", "Reason", "axes_of", "list_of", "shifted"]

Reason = tuple[str, str]  # its kind, and its words


class Evidence:
    """Leaf number i of problem, for which `got` came instead of the reference's `want`."""

    def __init__(self, problem: Problem, i: int, got: Any, numbers: dict[str, float],
                 in_float64: bool = False):
        self.problem, self.i, self.numbers, self.in_float64 = problem, i, numbers, in_float64
        self.wanted = (problem.wanted64 or problem.wanted)[i] if in_float64 else problem.wanted[i]
        self.path, self.got, self.want = self.wanted.path, as_wide(got), self.wanted.value
        self.dtype = problem.moving[i].dtype

    def equal(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether a is b but for rounding: that of f, of the reference, and of one more operation."""
        if a.shape != b.shape:
            return False
        scale = max(largest(a), largest(b), 0.0)
        unit = self.wanted.eps * max(scale, self.wanted.scale * scale / max(largest(self.want), 1e-300))
        return bool(np.all(difference(a, b) <= THRESHOLD * max(1.0, self.wanted.noise) * unit))

    def is_wrong(self, a: np.ndarray) -> bool:
        """Whether a is not the reference's leaf: a hypothesis that changes nothing explains nothing."""
        return not self.equal(a, self.want)

    def explains(self, candidate: np.ndarray) -> bool:
        return self.equal(candidate, self.got) and self.is_wrong(candidate)

    @functools.cached_property
    def differs(self) -> np.ndarray:
        """Where got is not want, elementwise."""
        limit = THRESHOLD * max(1.0, self.wanted.noise) * self.wanted.unit
        return difference(self.got, self.want) > limit

    def reference_at(self, moving: list[Any] | None = None, dy: list[Any] | None = None) -> np.ndarray | None:
        """The reference's leaf at other arguments, or for another cotangent; None where it fails there."""
        problem = self.problem
        try:
            with precision(self.in_float64):
                here = problem.wide if self.in_float64 else (problem.moving, problem.dy)
                given = [own if x is None else [jnp.asarray(as_wide(a), b.dtype)
                                                for a, b in zip(x, own, strict=True)]
                         for x, own in zip((moving, dy), here, strict=True)]
                return as_wide(problem.reference.pull_back(*given)[self.i])
        except Exception:
            return None

    @functools.cached_property
    def y(self) -> list[np.ndarray]:
        problem = self.problem
        in_float64 = problem.in_float64(lambda moving, dy: problem.reference.value(moving))
        if self.in_float64 and in_float64 is not None:
            return in_float64
        return [as_wide(leaf) for leaf in problem.reference.value(problem.moving)]

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """What a gradient may have been multiplied with, or be short of: by name."""
        problem = self.problem
        for path, leaf in zip(problem.paths, problem.moving, strict=True):
            yield path, as_wide(leaf)
        for out, y, dy in zip(problem.outputs, self.y, problem.dy, strict=True):
            yield ("y" if not out.path else f"y/{out.path}"), y
            yield ("dy" if not out.path else f"dy/{out.path}"), as_wide(dy)

    def sizes(self) -> Iterator[tuple[int, str]]:
        """The sizes of axes and of arrays, with a name: the batch first, which means are taken over."""
        problem = self.problem
        others = [(path, leaf.shape) for path, leaf in zip(problem.all_paths, problem.leaves, strict=True)
                  if hasattr(leaf, "shape")]
        outputs = [("y" if not out.path else f"y/{out.path}", out.shape) for out in problem.outputs]
        shapes = [*outputs, *reversed(others)]  # params come first among the arguments, the batch last
        for axis in range(max((len(shape) for _, shape in shapes), default=0)):
            for name, shape in shapes:
                if axis < len(shape) and shape[axis] > 1:
                    yield shape[axis], f"the size of axis {axis} of {name}"
        for name, shape in shapes:
            for n_axes in range(2, len(shape) + 1):
                yield math.prod(shape[:n_axes]), f"the number of elements of {name}" if n_axes == len(
                    shape) else f"the size of the first {n_axes} axes of {name}"

    def repeated(self, n: int) -> str | None:
        """What becomes of a scalar value if the n examples are given twice: "same", "doubled", or None."""
        problem = self.problem
        if any(y.size != 1 for y in self.y):
            return None

        def twice(leaf: Any) -> Any:
            is_batch = hasattr(leaf, "shape") and leaf.ndim and leaf.shape[0] == n
            return jnp.concatenate([leaf, leaf]) if is_batch else leaf

        try:
            args = jax.tree.unflatten(problem.tree, list(map(twice, problem.leaves)))
            y = problem.callable(*args, **problem.static)
            again = [as_wide(leaf) for leaf in jax.tree.leaves(y) if hasattr(leaf, "dtype")]
        except Exception:
            return None
        for word, factor in (("same", 1), ("doubled", 2)):
            if len(again) == len(self.y) and all(
                    np.allclose(a, factor * b, rtol=1e-3) for a, b in zip(again, self.y, strict=True)):
                return word
        return None


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


def list_of(index: Sequence[int]) -> str:
    return str([int(i) for i in index])
