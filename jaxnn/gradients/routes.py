"""The routes by which a gradient is reached, each compared with the reference's by itself.

    explicit             backward(cache, dy), the function as written; of a jax.custom_vjp too
    lifted               J_fᵀ dy by jax.vjp: the rule as JAX applies it
    float64              the same in float64 on both sides, where a wrong element has nowhere to hide
    forward              <dy, J_f t> = <Jᵀ dy, t> by jax.jvp, t a direction of one leaf
    finite differences   of f's own value, along directions of one leaf (jaxnn.gradients.differences)
    taylor               the order at which the remainder falls with the step: 2 if right, 1 if not
    second order         d/ds J_f(x + s t)ᵀ dy, a product with the Hessian of φ = <dy, f>
"""

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.differences import Along, norm
from jaxnn.gradients.leaf import THRESHOLD, Leaf, as_wide, compare_leaf
from jaxnn.gradients.problem import pair

__all__ = ["ROUTES", "by_float64", "by_forward_mode", "by_second_order"]

ROUTES = ("explicit", "lifted", "float64", "forward", "finite differences", "taylor", "second order")


def by_forward_mode(it: Candidate, directions: int) -> list[Leaf]:
    """For each leaf the worst of several directions t: <dy, J_f t> beside the reference's <Jᵀ dy, t>."""
    problem, rows = it.problem, []
    for i, wanted in enumerate(problem.wanted):
        worst = Along(wanted, "forward")
        for d in range(directions if wanted.value.size else 0):
            tangents = problem.tangents(d, only=i)
            t = as_wide(tangents[i])
            pushed = [as_wide(leaf) for leaf in it.side.push_forward(problem.moving, tangents)]
            got = sum(float(pair(as_wide(a), b)) for a, b in zip(problem.dy, pushed, strict=True))
            want = float(pair(wanted.finite, t))
            # Each element of the gradient and of J t may be off by a unit, by itself.
            unit = wanted.unit * norm(t) + sum(
                float(jnp.finfo(a.dtype).eps) * np.abs(b).max(initial=0) * norm(as_wide(a))
                for a, b in zip(problem.dy, pushed, strict=True))
            worst.see(got, want, unit, wanted.noise)
        rows.append(worst.leaf(problem.moving[i].dtype))
    return rows


def by_float64(it: Candidate) -> list[Leaf]:
    """f's gradient beside the reference's, both in float64; none where one of them is bound to less.

    A gradient that is only approximate, as those of special functions are, differs at nearly all elements,
    by less than a unit of the arguments' own dtype, and is excused.
    """
    problem = it.problem
    narrow = [w for w in problem.wanted if w.eps > 1e-15]
    if not narrow or problem.wanted64 is None or it.lifted64 is None or not it.is_wide:
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
