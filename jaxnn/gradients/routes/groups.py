"""Leaves that move together along a direction.

A slope along a direction of one leaf judges that leaf. In a large tree all leaves move together, each by a random
direction of its own: an error in one of them shows in the sum, since random numbers do not cancel it. Where the sum is
wrong, the leaves are divided until those that are wrong are found.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Leaf, as_wide, compare_leaf
from jaxnn.gradients.problem import MOST_ALONE, Problem
from jaxnn.gradients.routes.slope import along, norm

__all__ = ["Direction", "by_groups"]

Group = tuple[int, ...]


class Direction:
    """A random direction of some leaves, by their numbers."""

    def __init__(self, problem: Problem, group: Group, seed: int):
        self.problem, self.group = problem, group
        if len(group) == len(problem.moving):
            self.tangents = problem.direction(seed) if len(group) > 1 else problem.tangents(seed, only=0)
        elif len(group) == 1:
            self.tangents = problem.tangents(seed, only=group[0])
        else:
            self.tangents = [t if i in group else np.zeros(t.shape, t.dtype)
                             for i, t in enumerate(problem.direction(seed))]

    @functools.cached_property
    def wide(self) -> list[np.ndarray]:
        return [as_wide(t) for t in self.tangents]

    @property
    def is_zero(self) -> bool:
        return not any(self.wide[i].any() for i in self.group)

    def along(self, gradient: list[np.ndarray]) -> float:
        """<gradient, t>."""
        return sum(along(gradient[i], self.wide[i]) for i in self.group)

    @property
    def unit(self) -> float:
        return sum(self.problem.gradient[i].unit * norm(self.wide[i]) for i in self.group)

    @property
    def noise(self) -> float:
        return max(self.problem.gradient[i].noise for i in self.group)


def by_groups(candidate: Candidate, rows: Callable[[Group], dict[int, Any]]) -> dict[int, Any]:
    """{leaf's number: its row, or rows}, of groups that are as large as they can be. rows: those of a group."""
    everything = tuple(range(len(candidate.problem.moving)))
    if not candidate.problem.together:
        return {i: row for i in everything for _, row in rows((i,)).items()}
    found = rows(everything)
    if _are_right(found):
        return found
    wrong = tuple(i for i in everything if _is_wrong(candidate, i))
    right = tuple(i for i in everything if i not in wrong)
    return (_divided(wrong, rows, MOST_ALONE) if wrong else {}) | (_divided(right, rows) if right else {})


def _divided(group: Group, rows: Callable[[Group], dict[int, Any]], most: int | None = None) -> dict[int, Any]:
    """The rows of a group; of its halves, and so on, where it is wrong. Leaves that are known to be wrong, if they are
    more than `most`, need not be told from one another."""
    found = rows(group)
    if _are_right(found) or len(group) == 1 or (most is not None and len(group) > most):
        return found
    middle = len(group) // 2
    return _divided(group[:middle], rows, most) | _divided(group[middle:], rows, most)


def _are_right(found: dict[int, Any]) -> bool:
    rows = [row for value in found.values() for row in (value if isinstance(value, list) else [value])]
    return all(row.ok and not row.excused for row in rows)


def _is_wrong(candidate: Candidate, i: int) -> bool:
    """Whether the rule as JAX applies it is wrong at a leaf."""
    leaf: Leaf = compare_leaf(candidate.problem.gradient[i], "lifted", candidate.lifted[i])
    return not leaf.ok
