"""Properties that the gradient of a function of a batch has, if the reference's has them.

    micro-batches    the parts of the batch sum to the whole
    order            examples that are permuted permute
    padding          what stands in examples with no cotangent changes nothing

They hold only where examples do not mix; whether they should is asked of the reference. Only parts of the batch need
programs of another size: f's, and the reference's where f's do not sum to the whole.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import as_wide, difference
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.programs import Programs
from jaxnn.gradients.remark import one_line
from jaxnn.gradients.report import Law

__all__ = ["laws_of_a_batch"]


class Part(NamedTuple):
    """Some examples of a batch, by their numbers. The last `without` of them have no cotangent, and are zeros."""

    examples: np.ndarray
    without: int = 0


class Function(NamedTuple):
    """f, or the reference: the function and its programs."""

    f: Callable
    programs: Programs


MICRO_BATCHES, ORDER, PADDING = (
    "micro-batches sum to the batch", "permuting examples permutes", "padding changes nothing")
MIXES = "the reference mixes examples"


def laws_of_a_batch(candidate: Candidate) -> Iterator[Law]:
    """The laws, where there is a batch and the reference's gradient is finite."""
    problem = candidate.problem
    in_batch = leaves_in_batch(problem)
    if in_batch is None or not all(np.isfinite(leaf.value).all() for leaf in problem.gradient):
        return
    n = problem.outputs[0].shape[0]
    reference = Function(problem.reference, problem.programs)
    f = Function(candidate.f, candidate.programs)

    def law(name: str, parts: Sequence[Part], *, f_first: bool = False) -> Law:
        try:
            if not f_first and _broken(problem, in_batch, reference, parts) is not None:
                return Law(name, None, MIXES)
            broken = _broken(problem, in_batch, f, parts)
            if f_first and broken is not None and _broken(problem, in_batch, reference, parts) is not None:
                return Law(name, None, MIXES)
            return Law(name, broken is None, broken or "")
        except Exception as error:
            return Law(name, None, f"raises {one_line(error)}")

    order = law(ORDER, [Part(np.random.default_rng(problem.seed).permutation(n))])
    padding = law(PADDING, [Part(np.arange(n), without=n - n // 2)])
    if MIXES in (order.evidence, padding.evidence):
        yield Law(MICRO_BATCHES, None, MIXES)
    else:
        yield law(MICRO_BATCHES, [Part(np.arange(n // 2)), Part(np.arange(n // 2, n))], f_first=True)
    yield from (order, padding)


def leaves_in_batch(problem: Problem) -> list[bool] | None:
    """Which leaves of the arguments have the batch's axis first; None where there is no batch.

    There is one if all outputs and all leaves of an argument that moves have a first axis of one size.
    """
    sizes = {out.shape[:1] for out in problem.outputs}
    size = next(iter(sizes))
    if len(sizes) != 1 or not size or size[0] < 2:
        return None
    fits = [hasattr(leaf, "shape") and leaf.shape[:1] == size for leaf in problem.leaves]
    unfit = {number for number, fit in zip(problem.argument_numbers, fits, strict=True) if not fit}
    in_batch = [number not in unfit for number in problem.argument_numbers]
    return in_batch if any(in_batch[i] for i in problem.places) else None


def _broken(problem: Problem, in_batch: list[bool], function: Function, parts: Sequence[Part]) -> str | None:
    """How the gradient put together from parts of the batch differs from the whole's; None if it does not."""
    n_without = sum(part.without for part in parts)  # of the whole too, which has its own numbers there
    dy = [_without_the_last(d, n_without) for d in problem.dy] if n_without else problem.dy
    of_whole = function.programs.pull_back(problem.moving, dy)
    of_parts = [_gradient_of(problem, in_batch, function, part) for part in parts]
    for k, (i, leaf) in enumerate(zip(problem.places, problem.gradient, strict=True)):
        whole, pieces = as_wide(of_whole[k]), [as_wide(gradient[k]) for gradient in of_parts]
        if in_batch[i]:
            joined = np.zeros_like(whole)
            for part, piece in zip(parts, pieces, strict=True):
                joined[part.examples] = piece
                if np.any(piece[len(piece) - part.without:]):
                    return f"{leaf.path} has a gradient at an example that has no cotangent"
        else:
            joined = np.sum(pieces, axis=0)
        error = difference(joined, whole).max(initial=0) / leaf.unit
        if error > 4 * leaf.limit:
            return f"{leaf.path} is off by {error:.3g} units"
    return None


def _gradient_of(problem: Problem, in_batch: list[bool], function: Function, part: Part) -> list[Any]:
    """The gradient of a part of the batch.

    The programs of the whole batch serve here too, unless they hold an argument of the batch, labels say, fixed.
    """
    def take(x: Any) -> Any:
        if jnp.issubdtype(x.dtype, jax.dtypes.extended):  # PRNG keys
            return x[part.examples]
        return _without_the_last(np.asarray(x)[part.examples], part.without)

    leaves = [take(leaf) if batched else leaf for leaf, batched in zip(problem.leaves, in_batch, strict=True)]
    other = problem.at(leaves)
    programs = function.programs if problem.holds_the_same_as(other) else type(function.programs)(
        other.function_of(function.f))
    return programs.pull_back(other.moving, [take(d) for d in problem.dy])


def _without_the_last(x: Any, n: int) -> Any:
    """x with zeros for its last n examples; by NumPy, which compiles nothing."""
    rows = np.array(x)
    rows[len(rows) - n:] = 0
    return jax.device_put(rows)
