"""Properties that a right gradient has wherever its reference has them.

    value        f(x) = reference(x)
    twice        the same result twice
    linear       g(a dy + b dy') = a g(dy) + b g(dy')
    cache        pulling back again, after f ran at other arguments, gives the same
    elsewhere    g equals the reference's at other arguments too

Those of a function of a batch are in `batch_laws`.
"""

import time
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxnn.gradients.batch_laws import laws_of_a_batch
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import as_wide, difference, largest
from jaxnn.gradients.programs import hides_something
from jaxnn.gradients.report import Law
from jaxnn.gradients.timing import note
from jaxnn.gradients.trees import to_device
from jaxnn.hand_derived import Op

__all__ = ["gradient_laws"]

# Away from the arguments at which the noise was measured, the noise may be larger.
SLACK = 4


def gradient_laws(candidate: Candidate) -> tuple[Law, ...]:
    laws = (same_value, same_twice, linear, reads_only_its_cache, right_elsewhere)
    return (*(law(candidate) for law in laws), *laws_of_a_batch(candidate))


def same_value(candidate: Candidate) -> Law:
    name, problem = "f(x) is the reference's value", candidate.problem
    broken = _differing_value(candidate, candidate.value, [leaf.finite for leaf in problem.value], 1)
    if broken is None and problem.both_elsewhere is not None:
        values = list(map(as_wide, problem.both_elsewhere[0]))
        of_f = candidate.programs.both(problem.elsewhere, problem.dy)[0]
        broken = _differing_value(candidate, of_f, values, SLACK)
        if broken is not None:
            broken = None if problem.is_refused_elsewhere else f"{broken} at other arguments"
    return Law(name, broken is None, broken or "")


def _differing_value(candidate: Candidate, of_f: list, values: list[np.ndarray], slack: float) -> str | None:
    """By how much f's value differs from the reference's values; None if by no more than rounding."""
    for leaf, a, b in zip(candidate.problem.value, of_f, values, strict=True):
        errors = np.where(np.isfinite(b), difference(as_wide(a), b), 0)
        error = float(errors.max(initial=0)) / (leaf.eps * max(leaf.scale, largest(b)) or 1.0)
        if error > slack * leaf.limit:
            return f"{leaf.path or 'y'} differs by {error:.3g} units"
    return None


def same_twice(candidate: Candidate) -> Law:
    problem = candidate.problem
    _, again = candidate.programs.run("lifted", problem.moving, problem.dy, anew=True)
    return _bitwise("twice the same result", problem.paths, candidate.lifted, again)


def linear(candidate: Candidate) -> Law:
    """g(a dy + b dy') = a g(dy) + b g(dy'), also where dy is large; of an explicit backward as well."""
    problem, routes = candidate.problem, ("lifted", *(("explicit",) if isinstance(candidate.f, Op) else ()))
    rng = np.random.default_rng((problem.seed, 3))
    other = [to_device(as_wide(d) * rng.standard_normal(d.shape), d.dtype) for d in problem.dy]
    of_dy, of_other = (_pulled_back(candidate, routes, dy) for dy in (problem.dy, other))
    # Not larger: float16 ends at 65,504, and a loop that stops at an absolute error would not stop.
    for p, q, sum_ in ((1, 2, "dy + 2 dy'"), (8, -3, "8 dy - 3 dy'")):
        dy = [to_device(p * as_wide(d) + q * as_wide(o), d.dtype) for d, o in zip(problem.dy, other, strict=True)]
        of_sum = _pulled_back(candidate, routes, dy)
        for route in routes:
            for leaf, a, b, c in zip(problem.gradient, of_sum[route], of_dy[route], of_other[route], strict=True):
                if not a.size or not np.isfinite(b).all():
                    continue
                scale = max(p * largest(b), abs(q) * largest(c), largest(a), leaf.scale)
                error = difference(a, p * b + q * c).max() / (leaf.eps * (scale or 1.0))
                if error > SLACK * leaf.limit:
                    return Law("linear in dy", False, f"{route} {leaf.path}: g({sum_}) is off by {error:.3g} units")
    return Law("linear in dy", True)


def _pulled_back(candidate: Candidate, routes: tuple[str, ...], dy: list[Any]) -> dict[str, list[np.ndarray]]:
    """The gradient at a cotangent by each route."""
    found = candidate.programs.run_all(routes, candidate.problem.moving, dy)
    return {route: list(map(as_wide, value[1] if route == "lifted" else value)) for route, value in found.items()}


def reads_only_its_cache(candidate: Candidate) -> Law:
    """A pull-back is made, f is run and differentiated at other arguments, and then the pull-back is used.

    Read off the trace: of those other arguments the result may not depend. What JAX does not see into may keep numbers
    of its own, and is run, op by op. Where neither that nor a `jax.custom_vjp` is in f, there is nothing to read: the
    rule of a `jax.custom_jvp`, an op's too, runs whole when f is differentiated.
    """
    name, problem, programs = "reads only its cache", candidate.problem, candidate.programs
    if problem.both_elsewhere is None:
        return Law(name, None, "the reference does not run at other arguments")
    if not programs.has_late_rules(problem.moving):
        return Law(name, True)

    def pulled_back_later(elsewhere: list, moving: list, dy: list) -> list:
        y, pull = jax.vjp(programs.traced, moving)
        jax.vjp(programs.traced, elsewhere)[1]([d.astype(leaf.dtype) for d, leaf in zip(dy, y, strict=True)])
        return pull([d.astype(leaf.dtype) for d, leaf in zip(dy, y, strict=True)])[0]

    begin = time.perf_counter()
    jaxpr = jax.make_jaxpr(pulled_back_later)(problem.elsewhere, problem.moving, problem.dy).jaxpr
    read = _read_by_each(jaxpr)
    note(tracing=time.perf_counter() - begin)
    if not hides_something(jaxpr):
        others = set(jaxpr.invars[:len(problem.elsewhere)])
        broken = next((path for path, inputs in zip(problem.paths, read, strict=True) if inputs & others), None)
        return Law(name, broken is None, (broken and f"{broken} depends on the arguments of a later call") or "")
    y, pull = jax.vjp(programs.outputs, problem.moving)
    dy = [d.astype(leaf.dtype) for d, leaf in zip(problem.dy, y, strict=True)]
    (before,) = pull(dy)
    jax.vjp(programs.outputs, problem.elsewhere)[1](dy)
    (after,) = pull(dy)
    return _bitwise(name, problem.paths, before, after)


def _read_by_each(jaxpr: Any) -> list[set]:
    """The inputs of a jaxpr that each of its outputs is computed from."""
    reads: dict[Any, frozenset] = {var: frozenset([var]) for var in jaxpr.invars}
    for eqn in jaxpr.eqns:
        inputs = frozenset().union(*(reads.get(v, frozenset()) for v in eqn.invars if not isinstance(v, core.Literal)))
        reads |= dict.fromkeys(eqn.outvars, inputs)
    return [set() if isinstance(v, core.Literal) else set(reads.get(v, ())) for v in jaxpr.outvars]


def right_elsewhere(candidate: Candidate) -> Law:
    """A backward that closes over an array is right for that array alone."""
    name, problem = "right at other arguments", candidate.problem
    if problem.both_elsewhere is None:
        return Law(name, None, "the reference does not run there")
    references = problem.both_elsewhere[1]
    values = candidate.programs.pull_back(problem.elsewhere, problem.dy)
    for leaf, value, reference, first in zip(problem.gradient, values, references, candidate.lifted, strict=True):
        a, b = as_wide(value), as_wide(reference)
        errors = np.where(np.isnan(b), 0, difference(a, b))  # where the reference has no gradient, there is no verdict
        error = float(errors.max(initial=0)) / (leaf.eps * max(largest(b), leaf.scale) or 1.0)
        errors = np.where(np.isfinite(leaf.finite), difference(as_wide(first), leaf.finite), 0)
        is_right_first = errors.max(initial=0) <= leaf.limit * leaf.unit
        if error > SLACK * leaf.limit and is_right_first:
            if problem.is_refused_elsewhere:
                return Law(name, None, "the reference does not run there")
            why = ("does backward hold an array that is not in its cache?" if np.isfinite(leaf.finite).any() else
                   "at the arguments themselves the reference has no gradient")
            return Law(name, False, f"{leaf.path} is off by {error:.3g} units there: {why}")
    return Law(name, True)


def _bitwise(name: str, paths: list[str], once: list, again: list) -> Law:
    for path, a, b in zip(paths, map(as_wide, once), map(as_wide, again), strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            return Law(name, False, f"{path} differs by up to {difference(a, b).max():.3g}")
    return Law(name, True)
