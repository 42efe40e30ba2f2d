"""Forward mode: <dy, J_f t> beside the reference's <Jᵀ dy, t>, t a direction of one leaf."""

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Leaf, as_wide
from jaxnn.gradients.programs import pair
from jaxnn.gradients.routes.slope import NO_SLOPE, Slope, along, compare_slopes, norm, slope_leaf, worst_slope

__all__ = ["by_forward_mode"]


def by_forward_mode(candidate: Candidate, directions: int) -> list[Leaf]:
    """For each leaf the worst of several directions."""
    problem, leaves = candidate.problem, []
    for i, reference in enumerate(problem.gradient):
        n = directions if reference.value.size else 0
        worst = worst_slope(_slope(candidate, i, seed) for seed in range(n))
        leaves.append(slope_leaf(reference, "forward", worst, problem.moving[i].dtype))
    return leaves


def _slope(candidate: Candidate, i: int, seed: int) -> Slope:
    """Along one direction of leaf i."""
    problem, reference = candidate.problem, candidate.problem.gradient[i]
    tangents = problem.tangents(seed, only=i)
    t = as_wide(tangents[i])
    pushed = [as_wide(leaf) for leaf in candidate.programs.push_forward(problem.moving, tangents)]
    value = sum(float(pair(as_wide(d), dt)) for d, dt in zip(problem.dy, pushed, strict=True))
    if not np.isfinite(value) and not np.isfinite(reference.finite).all():
        return NO_SLOPE  # an infinite derivative times the tangent 0 is NaN
    # Each element of the gradient and of J t may be off by a unit, by itself.
    unit = reference.unit * norm(t) + sum(
        float(jnp.finfo(d.dtype).eps) * np.abs(dt).max(initial=0) * norm(as_wide(d))
        for d, dt in zip(problem.dy, pushed, strict=True))
    return compare_slopes(value, along(reference.finite, t), unit, reference.noise)
