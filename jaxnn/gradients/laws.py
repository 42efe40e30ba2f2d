"""Properties that a right gradient has wherever its reference has them.

    value        f(x) = reference(x)
    twice        the same result twice
    linear       g(a dy + b dy') = a g(dy) + b g(dy')
    cache        pulling back again, after f ran at other arguments, gives the same
    elsewhere    g equals the reference's at other arguments too

Those of a function of a batch are in `batch_laws`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.batch_laws import laws_of_a_batch
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import as_wide, difference, largest
from jaxnn.gradients.report import Law
from jaxnn.hand_derived import Op

__all__ = ["gradient_laws"]

# Away from the arguments at which the noise was measured, the noise may be larger.
SLACK = 4


def gradient_laws(candidate: Candidate) -> tuple[Law, ...]:
    laws = (same_value, same_twice, linear, reads_only_its_cache, right_elsewhere)
    return (*(law(candidate) for law in laws), *laws_of_a_batch(candidate))


def same_value(candidate: Candidate) -> Law:
    name, problem = "f(x) is the reference's value", candidate.problem
    values = [leaf.finite for leaf in problem.value]
    broken = _differing_value(candidate, problem.moving, values, 1)
    if broken is None and problem.gradient_elsewhere is not None:
        values = list(map(as_wide, problem.programs.value(problem.elsewhere)))
        broken = _differing_value(candidate, problem.elsewhere, values, SLACK)
        broken = broken and f"{broken} at other arguments"
    return Law(name, broken is None, broken or "")


def _differing_value(candidate: Candidate, moving: list, values: list[np.ndarray], slack: float) -> str | None:
    """By how much f's value differs from the reference's values there; None if by no more than rounding."""
    for leaf, a, b in zip(candidate.problem.value, candidate.programs.value(moving), values, strict=True):
        errors = np.where(np.isfinite(b), difference(as_wide(a), b), 0)
        error = float(errors.max(initial=0)) / (leaf.eps * max(leaf.scale, largest(b)) or 1.0)
        if error > slack * leaf.limit:
            return f"{leaf.path or 'y'} differs by {error:.3g} units"
    return None


def same_twice(candidate: Candidate) -> Law:
    problem = candidate.problem
    again = candidate.programs.pull_back(problem.moving, problem.dy)
    return _bitwise("twice the same result", problem.paths, candidate.lifted, again)


def linear(candidate: Candidate) -> Law:
    """g(a dy + b dy') = a g(dy) + b g(dy'), also where dy is large; of an explicit backward as well."""
    programs: list[tuple[str, Callable]] = [("lifted", candidate.programs.pull_back)]
    if isinstance(candidate.f, Op):
        programs.append(("explicit", candidate.explicit_pull_back))
    broken = next((f"{route} {words}" for route, program in programs
                   if (words := _not_linear(candidate, program)) is not None), None)
    return Law("linear in dy", broken is None, broken or "")


def _not_linear(candidate: Candidate, pull_back: Callable) -> str | None:
    problem = candidate.problem
    rng = np.random.default_rng((problem.seed, 3))
    other = [jnp.asarray(d * rng.standard_normal(d.shape), d.dtype) for d in problem.dy]
    of_dy, of_other = (list(map(as_wide, pull_back(problem.moving, dy))) for dy in (problem.dy, other))
    # Not larger: float16 ends at 65,504, and a loop that stops at an absolute error would not stop.
    for p, q, sum_ in ((1, 2, "dy + 2 dy'"), (8, -3, "8 dy - 3 dy'")):
        dy = [(p * d + q * o).astype(d.dtype) for d, o in zip(problem.dy, other, strict=True)]
        of_sum = list(map(as_wide, pull_back(problem.moving, dy)))
        for leaf, a, b, c in zip(problem.gradient, of_sum, of_dy, of_other, strict=True):
            if not a.size or not np.isfinite(b).all():
                continue
            scale = max(p * largest(b), abs(q) * largest(c), largest(a), leaf.scale)
            error = difference(a, p * b + q * c).max() / (leaf.eps * scale)
            if error > SLACK * leaf.limit:
                return f"{leaf.path}: g({sum_}) is off by {error:.3g} units"
    return None


def reads_only_its_cache(candidate: Candidate) -> Law:
    """A pull-back is used, f is run and differentiated at other arguments, and the pull-back is used again.

    Op by op: compiled, f would run but once.
    """
    name, problem = "reads only its cache", candidate.problem
    y, pull = jax.vjp(candidate.programs.outputs, problem.moving)
    dy = [d.astype(leaf.dtype) for d, leaf in zip(problem.dy, y, strict=True)]
    (before,) = pull(dy)
    if problem.gradient_elsewhere is None:
        return Law(name, None, "the reference does not run at other arguments")
    jax.vjp(candidate.programs.outputs, problem.elsewhere)[1](dy)
    (after,) = pull(dy)
    return _bitwise(name, problem.paths, before, after)


def right_elsewhere(candidate: Candidate) -> Law:
    """A backward that closes over an array is right for that array alone."""
    name, problem = "right at other arguments", candidate.problem
    references = problem.gradient_elsewhere
    if references is None:
        return Law(name, None, "the reference does not run there")
    values = candidate.programs.pull_back(problem.elsewhere, problem.dy)
    for leaf, value, reference, first in zip(problem.gradient, values, references, candidate.lifted, strict=True):
        a, b = as_wide(value), as_wide(reference)
        errors = np.where(np.isnan(b), 0, difference(a, b))  # where the reference has no gradient, there is no verdict
        error = float(errors.max(initial=0)) / (leaf.eps * max(largest(b), leaf.scale) or 1.0)
        errors = np.where(np.isfinite(leaf.finite), difference(as_wide(first), leaf.finite), 0)
        is_right_first = errors.max(initial=0) <= leaf.limit * leaf.unit
        if error > SLACK * leaf.limit and is_right_first:
            why = ("does backward hold an array that is not in its cache?" if np.isfinite(leaf.finite).any() else
                   "at the arguments themselves the reference has no gradient")
            return Law(name, False, f"{leaf.path} is off by {error:.3g} units there: {why}")
    return Law(name, True)


def _bitwise(name: str, paths: list[str], once: list, again: list) -> Law:
    for path, a, b in zip(paths, map(as_wide, once), map(as_wide, again), strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            return Law(name, False, f"{path} differs by up to {difference(a, b).max():.3g}")
    return Law(name, True)
