"""The transformations under which a gradient is compared, each applied alike to f and to its reference.

    eager        op by op, without jit
    jit          compiled
    vmap         the gradient of each of several examples, by vmap(grad)
    grad of vmap the gradient of a batch: Σ_b <dy_b, f(params, x_b)>, the first argument shared
    scan         the gradient of a loop that calls f once for each example
    checkpoint   forward recomputed for the backward pass
    sharded      the batch's gradient with the examples spread over all devices
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnn.gradients.leaf import Leaf, Wanted, as_wide, compare_leaf, largest
from jaxnn.gradients.problem import Problem, Side, one_line, pair, precision

__all__ = ["CONDITIONS", "DTYPES", "cast", "under_conditions"]

CONDITIONS = ("eager", "jit", "vmap", "grad of vmap", "scan", "checkpoint", "sharded")
DTYPES = ("float64", "float32", "bfloat16", "float16")


def under_conditions(f: Callable, problem: Problem, conditions: Sequence[str],
                     dtypes: Sequence[str]) -> tuple[list[Leaf], list[str], list[str]]:
    """The worst of each leaf under each condition in each dtype, with failures and notes.

    What the reference itself cannot do is a note, what f alone cannot do is a failure.
    """
    rows: list[Leaf] = []
    failures: list[str] = []
    notes: list[str] = []
    for dtype in dtypes:
        with precision(dtype == "float64"):
            try:
                here = cast(problem, dtype)
                wanted = here.wanted
            except Exception as error:
                notes.append(f"in {dtype} the reference raises {one_line(error.__cause__ or error)}")
                continue
            sides = Side("the reference", here.function_of(problem.callable)), Side("f", here.function_of(f))
            for name in conditions:
                if name == "sharded" and jax.device_count() == 1:
                    notes.append("sharded: not run, there is one device; "
                                 "jax.config.update('jax_num_cpu_devices', 8) makes eight of the CPU's")
                    continue
                try:
                    want = _GRADIENTS[name](here, sides[0])
                except Exception as error:
                    notes.append(f"under {name} in {dtype} the reference raises {one_line(error)}")
                    continue
                try:
                    got = _GRADIENTS[name](here, sides[1])
                except Exception as error:
                    failures.append(f"under {name} in {dtype} f raises {one_line(error)}")
                    continue
                rows += [compare_leaf(_beside(w, b), "lifted", a, under=name)
                         for w, a, b in zip(wanted, got, want, strict=True)]
    return rows, list(dict.fromkeys(failures)), list(dict.fromkeys(notes))


def cast(problem: Problem, dtype: str) -> Problem:
    """The same problem with its floating-point leaves in another dtype; complex ones as near as there are."""
    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            return leaf.astype(jnp.complex128 if dtype == "float64" else jnp.complex64)
        return leaf.astype(dtype)

    args = jax.tree.unflatten(problem.tree, list(map(one, problem.leaves)))
    return Problem(problem.callable, args, problem.static, names=problem.names, seed=problem.seed,
                   hold=problem.hold, only=problem.only)


def _beside(wanted: Wanted, value: Any) -> Wanted:
    """What a transformed reference yields; its unit and noise are those of the plain one."""
    wide = as_wide(value)
    is_zero = wanted.scale > 2 * largest(wanted.value)  # but for rounding
    return wanted._replace(value=wide, exact=None, scale=max(wanted.scale if is_zero else 0.0, largest(wide)))


# Each: (problem, side) -> one gradient for each moving leaf.

EXAMPLES = 4  # of those batches that are made up here


def _compiled(f: Callable) -> Callable:
    """f compiled without XLA's expensive passes: these programs are compiled to be run once."""
    quickly = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(f, compiler_options=quickly if jax.default_backend() == "cpu" else None)


def _eager(problem: Problem, side: Side) -> list[Any]:
    return side.pulled_back(problem.moving, problem.dy)


def _jit(problem: Problem, side: Side) -> list[Any]:
    return _compiled(side.pulled_back)(problem.moving, problem.dy)


def _checkpoint(problem: Problem, side: Side) -> list[Any]:
    return _compiled(Side(side.name, jax.checkpoint(side.outputs)).pulled_back)(problem.moving, problem.dy)


def _each(problem: Problem, side: Side) -> list[Any]:
    moving, dy = _batch(problem, [0] * len(problem.moving), EXAMPLES)
    return _compiled(jax.vmap(side.pulled_back))(moving, dy)


def _batched(problem: Problem, side: Side) -> list[Any]:
    axes = _shared_first(problem)
    moving, dy = _batch(problem, axes, EXAMPLES)
    return _grad_of_batch(side, axes)(moving, dy)


def _scan(problem: Problem, side: Side) -> list[Any]:
    axes = _shared_first(problem)
    moving, dy = _batch(problem, axes, EXAMPLES)

    def total(moving: list[Any]) -> Any:
        slices = [m for m, axis in zip(moving, axes, strict=True) if axis == 0]

        def step(sum_: Any, example: Any) -> Any:
            here, dy_b = iter(example[0]), example[1]
            y = side.outputs([next(here) if axis == 0 else m for m, axis in zip(moving, axes, strict=True)])
            return sum_ + _paired(dy_b, y), None

        return lax.scan(step, jnp.zeros(()), (slices, dy))[0]

    return _compiled(jax.grad(total))(moving)


def _sharded(problem: Problem, side: Side) -> list[Any]:
    n = jax.device_count()
    axes = _shared_first(problem)
    moving, dy = _batch(problem, axes, n)
    mesh = jax.make_mesh((n,), ("examples",), axis_types=(AxisType.Auto,))
    spread, copied = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("examples",), ()))
    moving = [jax.device_put(m, copied if axis is None else spread)
              for m, axis in zip(moving, axes, strict=True)]
    return _grad_of_batch(side, axes)(moving, [jax.device_put(d, spread) for d in dy])


_GRADIENTS: dict[str, Callable[[Problem, Side], list[Any]]] = {
    "eager": _eager, "jit": _jit, "vmap": _each, "grad of vmap": _batched, "scan": _scan,
    "checkpoint": _checkpoint, "sharded": _sharded}


def _grad_of_batch(side: Side, axes: list[int | None]) -> Callable:
    def total(moving: list[Any], dy: list[Any]) -> Any:
        y = jax.vmap(side.outputs, in_axes=(axes,))(moving)
        return _paired(dy, y)

    return _compiled(jax.grad(total))


def _paired(dy: list[Any], y: list[Any]) -> Any:
    """<dy, y> in at least float32, so that it is no rounding of the total that is compared."""
    return sum(pair(d.astype(leaf.dtype), leaf).astype(jnp.promote_types(leaf.real.dtype, jnp.float32))
               for d, leaf in zip(dy, y, strict=True))


def _shared_first(problem: Problem) -> list[int | None]:
    """The first argument's leaves are shared, as weights are, if others move too."""
    first = [path.split("/")[0] for path in problem.paths]
    return [None if name == first[0] and len(set(first)) > 1 else 0 for name in first]


def _batch(problem: Problem, axes: Sequence[int | None], n: int) -> tuple[list[Any], list[Any]]:
    """Examples near the arguments, each with its own cotangent."""
    rng = np.random.default_rng((problem.seed, n))

    def examples(x: Any, spread: float) -> Any:
        noise = rng.standard_normal((n, *x.shape))
        noise[0] = 0  # the first is the problem's own
        return (x[None] * (1 + spread * noise)).astype(x.dtype)

    moving = [m if axis is None else examples(m, 0.1) for m, axis in zip(problem.moving, axes, strict=True)]
    return moving, [examples(d, 1.0) for d in problem.dy]

