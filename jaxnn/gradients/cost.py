"""What a gradient costs beside its reference's: time, memory, operations, the cache, tracing, compiling.

Milliseconds differ from machine to machine and from minute to minute; ratios carry over if the programs
take turns. So each round runs every program once.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from jaxnn.gradients.problem import Problem, Side
from jaxnn.gradients.report import Cost

__all__ = ["gradient_costs", "take_turns", "temporaries"]


def take_turns(programs: Sequence[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Seconds of each program in each round, after a round that is not counted."""
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(rounds + 1):
        for program, seconds in zip(programs, times, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(program())
            if turn > 0:
                seconds.append(time.perf_counter() - begin)
    return times


def temporaries(compiled: Any) -> int | None:
    """Bytes of temporaries, where the backend tells."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes


def gradient_costs(f: Callable, problem: Problem, rounds: int = 7) -> tuple[Cost, ...]:
    """f and its reference: the gradient, forward and backward pass together."""
    moving, dy = problem.moving, problem.dy
    sides = [Side("f", problem.function_of(f)), Side("the reference", problem.function_of(problem.callable))]
    programs: list[Callable] = []
    traced, compiled_in, memory, flops, kept = [], [], [], [], []
    for side in sides:
        begin = time.perf_counter()
        lowered = side.pull_back.lower(moving, dy)
        middle = time.perf_counter()
        compiled = lowered.compile()
        traced.append(middle - begin)
        compiled_in.append(time.perf_counter() - middle)
        programs.append(lambda compiled=compiled: compiled(moving, dy))
        memory.append(temporaries(compiled))
        flops.append((compiled.cost_analysis() or {}).get("flops"))
        kept.append(_kept(side, moving))
    times = take_turns(programs, rounds)
    medians = [statistics.median(seconds) for seconds in times]
    # Each round has its own ratio: what slows a round down slows both of its sides.
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    pairs: list[tuple[str, Any, str]] = [
        ("time", (ratio * medians[1], medians[1]), "s"), ("temporary memory", memory, "B"),
        ("operations", flops, "FLOP"), ("kept for backward", kept, "B"), ("tracing", traced, "s"),
        ("compiling", compiled_in, "s")]
    return tuple(Cost(what, ours, theirs, unit) for what, (ours, theirs), unit in pairs)


def _kept(side: Side, moving: list[Any]) -> int:
    """Bytes that the compiled forward pass hands to the backward pass, beside the arguments themselves."""
    jaxpr = jax.make_jaxpr(lambda moving: jax.vjp(side.outputs, moving)[1])(moving).jaxpr
    kept = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)} - set(jaxpr.invars)
    return sum(v.aval.size * v.aval.dtype.itemsize for v in kept)
