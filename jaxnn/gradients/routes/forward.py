"""Forward mode: <dy, J_f t> beside the reference's <Jᵀ dy, t>, t a direction of one leaf, or of many together."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Leaf, as_wide
from jaxnn.gradients.programs import pair
from jaxnn.gradients.routes.groups import Direction, by_groups
from jaxnn.gradients.routes.slope import NO_SLOPE, Slope, compare_slopes, norm, slope_leaf, worst_slope

__all__ = ["by_forward_mode"]


def by_forward_mode(candidate: Candidate, directions: int) -> list[Leaf]:
    """For each leaf the worst of several directions."""
    problem = candidate.problem

    def rows(group: tuple[int, ...]) -> dict[int, Leaf]:
        n = 1 if len(group) > 1 else directions
        moves = any(problem.gradient[i].value.size for i in group)
        worst = worst_slope(_slope(candidate, Direction(problem, group, seed))
                            for seed in range(n if moves else 0))
        return {i: slope_leaf(problem.gradient[i], "forward", worst, problem.moving[i].dtype) for i in group}

    leaves = by_groups(candidate, rows)
    return [leaves[i] for i in range(len(problem.paths))]


def _slope(candidate: Candidate, direction: Direction) -> Slope:
    """Along one direction."""
    problem = candidate.problem
    pushed = [as_wide(leaf) for leaf in candidate.programs.run(
        "forward", problem.moving, problem.dy, direction.tangents)]
    value = sum(float(pair(as_wide(d), dt)) for d, dt in zip(problem.dy, pushed, strict=True))
    if not np.isfinite(value) and not all(np.isfinite(problem.gradient[i].finite).all() for i in direction.group):
        return NO_SLOPE  # an infinite derivative times the tangent 0 is NaN
    # Each element of the gradient and of J t may be off by a unit, by itself.
    unit = direction.unit + sum(_rounding(d, dt) for d, dt in zip(problem.dy, pushed, strict=True))
    reference = direction.along([leaf.finite for leaf in problem.gradient])
    return compare_slopes(value, reference, unit, direction.noise)


def _rounding(d: Any, dt: np.ndarray) -> float:
    return float(jnp.finfo(d.dtype).eps) * float(np.abs(dt).max(initial=0)) * norm(as_wide(d))
