"""Ops of the catalogue, each beside what autodiff makes of the same equation.

"autodiff" is the equation of `experiments.bench.equations`, and what JAX makes of it; "reference" is the op's own
forward pass without its rule; "jaxnn" is the op. Where there is no equation of its own, "autodiff" is the reference.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

from experiments import catalogue
from experiments.bench.equations import EQUATIONS
from experiments.bench.measure import Side, normal
from experiments.catalogue import find
from jaxnn.gradients.cost import kept, temporaries
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.programs import Programs
from jaxnn.ops import embedding

__all__ = ["embedding_step", "sides"]


def sides(name: str, size: str = "large", batch: int | None = None, *, backward: bool = False,
          **sizes: Any) -> list[Side]:
    """The gradient with respect to all arguments, at a random cotangent.

    Args:
      name: of the op in the catalogue.
      size: of its arguments, one of the catalogue's.
      batch: over so many examples, the parameters shared; None for one example.
      backward: the backward pass alone, from what the forward pass kept; else both passes together.
      sizes: numbers by name, in place of those of `size`.
    Raises:
      InputError: a name, a size or a number that the catalogue refuses.
    """
    case = find(name)
    # The catalogue's chunks are small, so that small arguments have several; the op's own default is meant for speed.
    static = {option: value for option, value in case.static.items() if option != "chunk"}
    if batch is None:
        op, args = case.op, case.args(size, **sizes)
    else:
        op, args = case.over_batch(batch, size, **sizes)
    equation = EQUATIONS.get(name)
    if equation is not None and batch is not None and "examples" not in case.sizes:
        equation = _over_batch(equation, case)
    reference = functools.partial(op.reference, **static)
    named: dict[str, Callable] = {"autodiff": reference}
    if equation is not None:
        named = {"autodiff": equation, "reference": reference}
    problem = Problem(reference, args, names=op.arguments)
    named["jaxnn"] = functools.partial(op, **static)
    measured = _backward if backward else _gradient
    return [measured(side, f, problem) for side, f in named.items()]


def _over_batch(equation: Callable, case: catalogue.Case) -> Callable:
    def batch(*args: Any) -> Any:
        axes = [None if name in case.shared else 0 for name, _ in zip(case.op.arguments, args, strict=False)]
        return jax.vmap(equation, axes)(*args)

    return batch


def _gradient(name: str, f: Callable, problem: Problem) -> Side:
    programs = Programs(problem.function_of(f))
    compiled = jax.jit(programs.pulled_back).lower(problem.moving, problem.dy).compile()
    return Side(name, lambda: compiled(problem.moving, problem.dy), temporaries(compiled),
                kept(programs, problem.moving))


def _backward(name: str, f: Callable, problem: Problem) -> Side:
    programs = Programs(problem.function_of(f))
    pull_back = jax.jit(lambda moving: jax.vjp(programs.outputs, moving)[1])(problem.moving)
    compiled = jax.jit(lambda pull_back, dy: pull_back(dy)).lower(pull_back, problem.dy).compile()
    return Side(name, lambda: compiled(pull_back, problem.dy), temporaries(compiled),
                kept(programs, problem.moving))


def embedding_step(**sizes: Any) -> list[Side]:
    """One gradient-descent step on the rows that occur: by the dense gradient, and the rows alone, from the cache."""
    params, rows = find("embedding").args(**sizes)
    dy = normal(1, len(rows), params["table"].shape[1])

    def by_gradient(table: Any) -> Any:
        _, pull_back = jax.vjp(lambda table: embedding({"table": table}, rows), table)
        return table - 0.1 * pull_back(dy)[0]

    def by_rows(table: Any) -> Any:
        _, (ids, *_) = embedding.forward({"table": table}, rows)
        return table.at[ids].add(-0.1 * dy)

    def stepping(name: str, step: Callable) -> Side:
        table = params["table"] + 0  # each side's own, for a step is given its table away
        compiled = jax.jit(step, donate_argnums=0).lower(table).compile()
        latest = [table]

        def call() -> Any:
            latest[0] = compiled(latest[0])
            return latest[0]

        return Side(name, call, temporaries(compiled))

    return [stepping("dense gradient", by_gradient), stepping("rows in place", by_rows)]
