"""The routes that yield every element: the passes as written and as lifted, float64, the second derivative."""

from typing import Any

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Excuse, Leaf, ReferenceLeaf, compare_leaf

__all__ = ["by_float64", "by_pass", "by_second_order"]


def by_pass(candidate: Candidate, route: str) -> list[Leaf]:
    """The gradient as one of the routes "explicit" and "lifted" yields it."""
    return [compare_leaf(leaf, route, value)
            for leaf, value in zip(candidate.problem.gradient, candidate.gradient(route), strict=True)]


def by_float64(candidate: Candidate) -> list[Leaf]:
    """f's gradient beside the reference's, both in float64; none where one of them is bound to less."""
    problem = candidate.problem
    is_narrow = any(leaf.eps > 1e-15 for leaf in problem.gradient)
    if not is_narrow or problem.gradient64 is None or candidate.lifted64 is None or not candidate.widths.all_wide:
        return []
    return [_excuse_approximation(compare_leaf(wide, "float64", value), wide, narrow) for wide, narrow, value in zip(
        problem.gradient64, problem.gradient, candidate.lifted64, strict=True)]


def _excuse_approximation(leaf: Leaf, wide: ReferenceLeaf, narrow: ReferenceLeaf) -> Leaf:
    """A gradient that is only approximate, as those of special functions are, differs at nearly all elements, by
    less than a unit of the arguments' own dtype, and is excused."""
    if leaf.ok or leaf.errors is None:
        return leaf
    is_wrong, error = leaf.errors > wide.limit, leaf.error * wide.eps
    if error > narrow.eps or 2 * np.count_nonzero(is_wrong) <= is_wrong.size:
        return leaf
    return leaf._replace(excuse=Excuse.APPROXIMATION, note=(
        f"an approximation: in float64 it is off by {error:.1e} of the largest element, which is less than a "
        "rounding of its own dtype"))


def by_second_order(candidate: Candidate) -> list[Leaf]:
    """The product of φ's Hessian with one direction of all leaves.

    The reference's is taken by differences of its gradient in float64; only where f differs from that, the reference is
    differentiated a second time.
    """
    problem = candidate.problem
    product = candidate.programs.run("second order", problem.moving, problem.dy, problem.direction(0))
    if (references := problem.second_order_by_differences) is not None:
        leaves = _beside(references, product)
        if all(leaf.ok for leaf in leaves):
            return leaves
    return _beside(problem.second_order, product)


def _beside(references: list[ReferenceLeaf], product: list[Any]) -> list[Leaf]:
    return [compare_leaf(leaf, "second order", value) for leaf, value in zip(references, product, strict=True)]
