"""The reasons for all wrong leaves: every hypothesis in turn, the first that fits is named."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Leaf
from jaxnn.gradients.reasons.arrangement import another_leaf, rearranged
from jaxnn.gradients.reasons.averages import averaged
from jaxnn.gradients.reasons.elements import coarse, first_only, not_finite, nothing, place, some_elements
from jaxnn.gradients.reasons.evidence import Budget, Evidence
from jaxnn.gradients.reasons.inputs import at_another_argument, at_another_cotangent, unused_argument
from jaxnn.gradients.reasons.loops import Loop, inside_a_loop
from jaxnn.gradients.reasons.products import lacks_a_factor, lacks_a_term
from jaxnn.gradients.reasons.scale import sign_or_size
from jaxnn.gradients.reasons.shape import wrong_shape
from jaxnn.gradients.report import Finding
from jaxnn.gradients.routes import PASSES
from jaxnn.network import Network

__all__ = ["diagnose", "diagnose_all"]

HYPOTHESES = (wrong_shape, not_finite, nothing, sign_or_size, another_leaf, rearranged, some_elements,
              averaged, coarse, at_another_cotangent, at_another_argument, inside_a_loop, lacks_a_factor, lacks_a_term,
              unused_argument, first_only, place)

MOST_RUNS = 200  # of a large reference, to find reasons


def diagnose_all(candidate: Candidate, leaves: Sequence[Leaf]) -> Iterator[Finding]:
    """The reason for each leaf that is wrong by a route that yields all of it."""
    loops: dict[str, Loop] = {}
    budget = Budget(MOST_RUNS if candidate.problem.is_large else math.inf)
    for i, path in enumerate(candidate.problem.paths):
        wrong = [leaf.route for leaf in leaves if leaf.path == path and not leaf.ok and leaf.route in PASSES
                 and leaf.judge == "reference"]
        if wrong:
            route = wrong[0]
            if route != "float64" and route not in loops:
                loops[route] = Loop(candidate.problem, functools.partial(_pull_back, candidate, route), budget)
            yield diagnose(Evidence(candidate.problem, i, candidate.gradient(route)[i],
                                    numbers_of(candidate.f, candidate.problem.static), route == "float64",
                                    loops.get(route), budget))


def _pull_back(candidate: Candidate, route: str, moving: list[Any], dy: list[Any]) -> list[Any]:
    """f's gradient by a route, at other arguments and another cotangent."""
    found = candidate.programs.run(route, moving, dy)
    return found[1] if route == "lifted" else found


def diagnose(evidence: Evidence) -> Finding:
    """The first hypothesis that explains the whole leaf; failing that, where the leaf differs."""
    reasons = itertools.chain.from_iterable(hypothesis(evidence) for hypothesis in HYPOTHESES)
    kind, words = next(reasons)
    if kind == "unexplained" and not evidence.budget.left:
        words += f", though not all were tried: each takes a run of a large function, and {MOST_RUNS} were made"
    return Finding(evidence.path, kind, words)


def numbers_of(f: Any, static: dict[str, Any]) -> dict[str, float]:
    """The numbers a function was made with, by name: static keywords, hyperparameters of the ops inside."""
    numbers: dict[str, float] = {}
    for name, number in itertools.chain(_named_numbers(static, ""), _named_numbers(f, "")):
        numbers.setdefault(name, number)
    return numbers


def _named_numbers(x: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(x, bool):
        return
    if isinstance(x, int | float):
        yield name, float(x)
    elif isinstance(x, dict):
        for key, value in x.items():
            yield from _named_numbers(value, str(key))
    elif isinstance(x, tuple | list):
        for item in x:
            is_named = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
            yield from _named_numbers(item[1], item[0]) if is_named else _named_numbers(item, name)
    elif isinstance(x, functools.partial):
        yield from _named_numbers(x.keywords, name)
        yield from _named_numbers(x.func, name)
    elif isinstance(x, Network):
        yield from _named_numbers(x.function, name)
    elif isinstance(parts := getattr(x, "parts", None), dict):  # of a container of layers
        yield from _named_numbers(parts, name)
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        for field in dataclasses.fields(x):
            yield from _named_numbers(getattr(x, field.name), field.name)
