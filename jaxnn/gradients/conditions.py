"""The transformations under which a gradient is compared, each applied alike to f and to its reference.

    eager        op by op, without jit
    jit          compiled
    vmap         the gradient of each of several examples, by vmap(grad)
    grad of vmap the gradient of a batch: Σ_b <dy_b, f(params, x_b)>, the first argument shared
    scan         the gradient of a loop that calls f once for each example
    checkpoint   forward recomputed for the backward pass
    sharded      the batch's gradient with the examples spread over all devices
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.compiling import compiled_quickly
from jaxnn.gradients.leaf import ReferenceLeaf, as_wide, compare_leaf, largest
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.programs import Programs, pair, precision
from jaxnn.gradients.remark import Attempt, Kind, Remark, attempt, one_line

__all__ = ["CONDITIONS", "DTYPES", "compare_under_conditions"]

CONDITIONS = ("eager", "jit", "vmap", "grad of vmap", "scan", "checkpoint", "sharded")
DTYPES = ("float64", "float32", "bfloat16", "float16")
ONE_DEVICE = Remark(Kind.NOT_RUN, "sharded: not run, there is one device; jax.config.update('jax_num_cpu_devices', 8) "
                    "makes eight of the CPU's")


def compare_under_conditions(candidate: Candidate, conditions: Sequence[str], dtypes: Sequence[str]) -> Attempt:
    """The worst of each leaf under each condition in each dtype, with remarks.

    What the reference itself cannot do is a note, what f alone cannot do is a failure.
    """
    attempts = [done for dtype in dtypes for done in _in_dtype(candidate, dtype, conditions)]
    return Attempt(tuple(leaf for done in attempts for leaf in done.results),
                   tuple(remark for done in attempts for remark in done.remarks))


def _in_dtype(candidate: Candidate, dtype: str, conditions: Sequence[str]) -> Iterator[Attempt]:
    with precision(dtype == "float64"):
        try:
            problem = _cast(candidate.problem, dtype)
            problem.gradient  # noqa: B018  # fails here, if the reference does not run in this dtype
        except Exception as error:
            yield Attempt(remarks=(Remark(
                Kind.NOTE, f"in {dtype} the reference raises {one_line(error.__cause__ or error)}"),))
            return
        there = candidate.at(problem)
        for name in conditions:
            if name == "sharded" and jax.device_count() == 1:
                yield Attempt(remarks=(ONE_DEVICE,))
            else:
                yield _under_condition(there, name, dtype)


def _under_condition(candidate: Candidate, name: str, dtype: str) -> Attempt:
    gradient, problem = _GRADIENTS[name], candidate.problem
    reference = attempt(lambda: gradient(problem, problem.programs),
                        f"under {name} in {dtype} the reference raises", Kind.NOTE)
    # Effects and some libraries' functions cannot be recomputed: a limit of the function, no wrong gradient.
    blame = Kind.NOTE if name == "checkpoint" else Kind.FAILURE
    if reference.remarks:
        return reference
    f = attempt(lambda: gradient(problem, candidate.programs), f"under {name} in {dtype} f raises", blame)
    if f.remarks:
        return f
    remarks = []
    for leaf, a, b in zip(problem.gradient, f.results, reference.results, strict=True):
        if n := int(np.count_nonzero(np.isfinite(as_wide(a)) & ~np.isfinite(as_wide(b)))):
            remarks.append(Remark(Kind.NOTE, f"under {name} in {dtype} the reference's gradient of {leaf.path} is not "
                                  f"finite at {n:,} elements: f is not judged there again"))
    return Attempt(tuple(
        compare_leaf(_with_value(leaf, b), "lifted", a, under=name)
        for leaf, a, b in zip(problem.gradient, f.results, reference.results, strict=True)), tuple(remarks))


def _cast(problem: Problem, dtype: str) -> Problem:
    """The same problem with its floating-point leaves in another dtype; complex ones as near as there are."""
    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        goal = dtype if not is_complex else "complex128" if dtype == "float64" else "complex64"
        return leaf if leaf.dtype == jnp.dtype(goal) else leaf.astype(goal)

    leaves = list(map(one, problem.leaves))
    is_same = all(a is b for a, b in zip(leaves, problem.leaves, strict=True))
    return problem if is_same else problem.at(leaves)


def _with_value(leaf: ReferenceLeaf, value: Any) -> ReferenceLeaf:
    """What a transformed reference yields; its unit and noise are those of the plain one."""
    wide = as_wide(value)
    is_zero = leaf.scale > 2 * largest(leaf.value)  # but for rounding
    return leaf._replace(value=wide, exact=None, scale=max(leaf.scale if is_zero else 0.0, largest(wide)))


# Each: (problem, programs) -> one gradient for each moving leaf. `eager` and `jit` are the programs themselves.

EXAMPLES = 4  # of those batches that are made up here


def _eager(problem: Problem, programs: Programs) -> list[Any]:
    return programs.pulled_back(problem.moving, problem.dy)


def _jit(problem: Problem, programs: Programs) -> list[Any]:
    return programs.pull_back(problem.moving, problem.dy)


def _checkpoint(problem: Problem, programs: Programs) -> list[Any]:
    recomputed = type(programs)(jax.checkpoint(programs.outputs))
    return compiled_quickly(recomputed.pulled_back)(problem.moving, problem.dy)


def _vmap(problem: Problem, programs: Programs) -> list[Any]:
    moving, dy = _batch(problem, [0] * len(problem.moving), EXAMPLES)
    return compiled_quickly(jax.vmap(programs.pulled_back))(moving, dy)


def _grad_of_vmap(problem: Problem, programs: Programs) -> list[Any]:
    axes = _axes(problem)
    moving, dy = _batch(problem, axes, EXAMPLES)
    return _gradient_of_batch(programs, axes)(moving, dy)


def _scan(problem: Problem, programs: Programs) -> list[Any]:
    axes = _axes(problem)
    moving, dy = _batch(problem, axes, EXAMPLES)

    def total(moving: list[Any]) -> Any:
        slices = [m for m, axis in zip(moving, axes, strict=True) if axis == 0]

        def step(sum_: Any, example: Any) -> Any:
            own, dy_b = iter(example[0]), example[1]
            y = programs.outputs([next(own) if axis == 0 else m for m, axis in zip(moving, axes, strict=True)])
            return sum_ + _paired(dy_b, y), None

        return lax.scan(step, jnp.zeros(()), (slices, dy))[0]

    return compiled_quickly(jax.grad(total))(moving)


def _sharded(problem: Problem, programs: Programs) -> list[Any]:
    n = jax.device_count()
    axes = _axes(problem)
    moving, dy = _batch(problem, axes, n)
    mesh = jax.make_mesh((n,), ("examples",), axis_types=(AxisType.Auto,))
    spread, copied = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("examples",), ()))
    moving = [jax.device_put(m, copied if axis is None else spread)
              for m, axis in zip(moving, axes, strict=True)]
    return _gradient_of_batch(programs, axes)(moving, [jax.device_put(d, spread) for d in dy])


_GRADIENTS: dict[str, Callable[[Problem, Programs], list[Any]]] = {
    "eager": _eager, "jit": _jit, "vmap": _vmap, "grad of vmap": _grad_of_vmap, "scan": _scan,
    "checkpoint": _checkpoint, "sharded": _sharded}


def _gradient_of_batch(programs: Programs, axes: list[int | None]) -> Callable:
    def total(moving: list[Any], dy: list[Any]) -> Any:
        y = jax.vmap(programs.outputs, in_axes=(axes,))(moving)
        return _paired(dy, y)

    return compiled_quickly(jax.grad(total))


def _paired(dy: list[Any], y: list[Any]) -> Any:
    """<dy, y> in at least float32, so that it is no rounding of the total that is compared."""
    return sum(pair(d.astype(leaf.dtype), leaf).astype(jnp.promote_types(leaf.real.dtype, jnp.float32))
               for d, leaf in zip(dy, y, strict=True))


def _axes(problem: Problem) -> list[int | None]:
    """The axis of the examples in each moving leaf: none in the first argument, which is shared, as weights are, if
    others move too."""
    arguments = [problem.argument_numbers[i] for i in problem.places]
    return [None if number == arguments[0] and len(set(arguments)) > 1 else 0 for number in arguments]


def _batch(problem: Problem, axes: Sequence[int | None], n: int) -> tuple[list[Any], list[Any]]:
    """Examples near the arguments, each with its own cotangent."""
    rng = np.random.default_rng((problem.seed, n))

    def examples(x: Any, spread: float) -> Any:
        noise = rng.standard_normal((n, *x.shape))
        noise[0] = 0  # the first is the problem's own
        return (x[None] * (1 + spread * noise)).astype(x.dtype)

    moving = [m if axis is None else examples(m, 0.1) for m, axis in zip(problem.moving, axes, strict=True)]
    return moving, [examples(d, 1.0) for d in problem.dy]

