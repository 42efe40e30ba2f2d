"""Times and memory of two or more programs that should do the same, side by side in one run.

Milliseconds differ from machine to machine and minute to minute; ratios carry over if the programs take turns. So each
round runs every side, and a side is its median over the rounds. What takes microseconds is run many times in a round.
"""

import math
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxnn.gradients.cost import take_turns, temporaries

__all__ = ["PRECISIONS", "Case", "Row", "Side", "classes", "measure", "normal", "of_gradient"]

SHORTEST = 1e-3  # seconds of a round: a thousand times what the clock tells apart
MOST_CALLS = 200

PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "tensorfloat32"}  # of products of float32


class Side(NamedTuple):
    """A compiled program. Bytes: temporaries of the program, and what the forward pass kept for it."""

    name: str
    call: Callable[[], Any]
    temporary: int | None = None
    kept: int | None = None


class Case(NamedTuple):
    """What is measured. Ratios are to the first side.

    limit: the most that the last side may take, in times of the first.
    limits: the same in times of other sides, by their names.
    memory: the most temporaries that the last side may have, in times of the first.
    is_step: a training step, whose sides take the dtype to compute in.
    """

    name: str
    what: str
    sides: Callable[..., list[Side]]
    limit: float | None = None
    limits: Mapping[str, float] = {}
    memory: float | None = None
    is_step: bool = False


class Row(NamedTuple):
    case: str
    side: str
    milliseconds: float
    ratio: float
    last: float
    """What the last side takes, in times of this one."""
    temporary: int | None
    kept: int | None


def measure(case: Case, rounds: int, precision: str = "float32") -> list[Row]:
    """One row for each side, after a round that is not counted. precision: of PRECISIONS; "bfloat16" for steps."""
    with jax.default_matmul_precision(PRECISIONS[precision]):
        return _measure(case.sides(dtype=precision) if precision == "bfloat16" else case.sides(), case, rounds)


def _measure(sides: list[Side], case: Case, rounds: int) -> list[Row]:
    n = calls_in_a_round(sides)
    # PyTorch's threads spin for some milliseconds after a call, and would slow the next side down.
    pause = 0.05 if "torch" in sys.modules and jax.default_backend() == "cpu" else 0
    calls = [_repeated(side.call, n) for side in sides]
    times = [[s / n for s in seconds] for seconds in take_turns(calls, rounds, pause)]
    medians = [1e3 * statistics.median(seconds) for seconds in times]
    # Each round has its own ratio: what slows a whole round down slows both sides.
    def over(one: list[float], other: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(one, other, strict=True))

    return [Row(case.name, side.name, ms, over(seconds, times[0]), over(times[-1], seconds), side.temporary, side.kept)
            for side, ms, seconds in zip(sides, medians, times, strict=True)]


def calls_in_a_round(sides: list[Side]) -> int:
    """So many that the quickest side takes SHORTEST; at most MOST_CALLS, at least one."""
    quickest = min(seconds[0] for seconds in take_turns([side.call for side in sides], 1))
    return min(MOST_CALLS, max(1, math.ceil(SHORTEST / max(quickest, 1e-9))))


def _repeated(call: Callable[[], Any], n: int) -> Callable[[], Any]:
    def calls() -> Any:
        for _ in range(n):
            y = call()
        return y

    return call if n == 1 else calls


def of_gradient(name: str, cost: Callable, *args: Any, argnums: Any = 0) -> Side:
    """The gradient of a cost, forward and backward pass together."""
    compiled = jax.jit(jax.grad(cost, argnums)).lower(*args).compile()
    return Side(name, lambda: compiled(*args), temporaries(compiled))


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def classes(seed: int, n: int, n_classes: int) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (n,), 0, n_classes)
