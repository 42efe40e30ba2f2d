"""What a gradient costs beside its reference's: time, memory, operations, the cache, tracing, compiling.

Milliseconds differ from machine to machine and from minute to minute; ratios carry over if the programs
take turns. So each round runs every program once.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.programs import Programs
from jaxnn.gradients.report import Cost

__all__ = ["gradient_costs", "kept", "take_turns", "temporaries"]


def take_turns(programs: Sequence[Callable[[], Any]], rounds: int, pause: float = 0) -> list[list[float]]:
    """Seconds of each program in each round, after a round that is not counted; pause: seconds before each."""
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(rounds + 1):
        for program, seconds in zip(programs, times, strict=True):
            time.sleep(pause)
            begin = time.perf_counter()
            jax.block_until_ready(program())
            if turn > 0:
                seconds.append(time.perf_counter() - begin)
    return times


def temporaries(compiled: Any) -> int | None:
    """Bytes of temporaries, where the backend reports them."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes


def gradient_costs(candidate: Candidate, rounds: int = 7) -> tuple[Cost, ...]:
    """f and its reference: the gradient, forward and backward pass together."""
    problem = candidate.problem
    inputs = problem.moving, problem.dy
    f, reference = (_measure(programs, *inputs) for programs in (candidate.programs, problem.programs))
    times = take_turns([lambda: f.program(*inputs), lambda: reference.program(*inputs)], rounds)
    # Each round has its own ratio: what slows a round down slows both of its programs.
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    seconds = statistics.median(times[1])
    return (Cost("time", ratio * seconds, seconds, "s"),
            Cost("temporary memory", f.memory, reference.memory, "B"),
            Cost("operations", f.operations, reference.operations, "FLOP"),
            Cost("kept for backward", f.kept, reference.kept, "B"),
            Cost("tracing", f.tracing, reference.tracing, "s"),
            Cost("compiling", f.compiling, reference.compiling, "s"))


class _Measured(NamedTuple):
    """A compiled gradient: its seconds of tracing and compiling, its bytes, its operations."""

    program: Callable
    tracing: float
    compiling: float
    memory: int | None
    operations: float | None
    kept: int


def _measure(programs: Programs, moving: list[Any], dy: list[Any]) -> _Measured:
    """Traced and compiled anew, as a user would compile it, since how long that takes is what is measured."""
    begin = time.perf_counter()
    lowered = jax.jit(type(programs)(programs.outputs).pulled_back).lower(moving, dy)
    middle = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()
    operations = (compiled.cost_analysis() or {}).get("flops")
    return _Measured(compiled, middle - begin, end - middle, temporaries(compiled), operations,
                     kept(programs, moving))


def kept(programs: Programs, moving: list[Any]) -> int:
    """Bytes that the compiled forward pass hands to the backward pass, beside the arguments themselves."""
    jaxpr = jax.make_jaxpr(lambda moving: jax.vjp(programs.outputs, moving)[1])(moving).jaxpr
    residuals = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)} - set(jaxpr.invars)
    return sum(v.aval.size * v.aval.dtype.itemsize for v in residuals)
