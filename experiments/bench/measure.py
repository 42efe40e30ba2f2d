"""Times and memory of two or more programs that should do the same, side by side in one run.

Milliseconds differ from machine to machine and minute to minute; ratios carry over if the programs
take turns. So each round runs every side once, and a side is its median over the rounds.
"""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxnn.gradients.cost import take_turns, temporaries

__all__ = ["Case", "Row", "Side", "classes", "measure", "normal", "of_gradient", "of_pull_back"]


class Side(NamedTuple):
    """A compiled program. Bytes: temporaries of the program, and what the forward pass kept for it."""

    name: str
    call: Callable[[], Any]
    temporary: int | None = None
    kept: int | None = None


class Case(NamedTuple):
    """What is measured. Ratios are to the first side; `limit` is the most the last side's may be."""

    name: str
    what: str
    sides: Callable[[], list[Side]]
    limit: float | None = None


class Row(NamedTuple):
    case: str
    side: str
    milliseconds: float
    ratio: float
    temporary: int | None
    kept: int | None


def measure(case: Case, rounds: int) -> list[Row]:
    """One row for each side, after a round that is not counted."""
    sides = case.sides()
    times = take_turns([side.call for side in sides], rounds)
    medians = [1e3 * statistics.median(seconds) for seconds in times]
    # Each round has its own ratio: what slows a whole round down slows both sides.
    ratios = [statistics.median(b / a for a, b in zip(times[0], seconds, strict=True)) for seconds in times]
    return [Row(case.name, side.name, ms, ratio, side.temporary, side.kept)
            for side, ms, ratio in zip(sides, medians, ratios, strict=True)]


def of_gradient(name: str, cost: Callable, *args: Any, argnums: Any = 0) -> Side:
    """The gradient of a cost, forward and backward pass together."""
    compiled = jax.jit(jax.grad(cost, argnums)).lower(*args).compile()
    return Side(name, lambda: compiled(*args), temporaries(compiled))


def of_pull_back(name: str, f: Callable, dy: Any, *args: Any) -> Side:
    """The backward pass alone, from what the forward pass kept."""
    pull_back = jax.jit(lambda *args: jax.vjp(f, *args)[1])(*args)
    compiled = jax.jit(lambda pull_back, dy: pull_back(dy)).lower(pull_back, dy).compile()
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pull_back))
    return Side(name, lambda: compiled(pull_back, dy), temporaries(compiled), kept)


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def classes(seed: int, n: int, n_classes: int) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (n,), 0, n_classes)
