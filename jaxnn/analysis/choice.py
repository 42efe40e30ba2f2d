"""The choice among models: one measure to optimise, and limits that the others need only satisfy.

    best = argmin over the models m with measure_j(m) <= limit_j for each limit j of measure(m)

The Pareto front are the models that no other one beats in all measures: whatever the limits, the best is one of these.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.checks import expect, is_integer, is_number

__all__ = ["Choice", "Latency", "choose", "latency", "pareto"]


class Choice(NamedTuple):
    """The best model within the limits. `print` shows why."""

    name: str | None
    """None where no model is within the limits."""
    feasible: tuple[str, ...]
    """The models within the limits, the best first."""
    refused: dict[str, str]
    """For each other model which limits it exceeds, in words."""
    nearest: str | None
    """Where no model is within the limits, the one whose worst excess, as a multiple of the limit, is least."""

    def __str__(self) -> str:
        head = self.name if self.name is not None else f"none within the limits; the nearest is {self.nearest}"
        return "\n".join([head, *(f"not {name}: {why}" for name, why in self.refused.items())])


class Latency(NamedTuple):
    """Seconds of one call."""

    seconds: float
    """The median."""
    interval: tuple[float, float]
    """Of 95 %, of the median: two of the measured times, by their ranks."""
    p95: float
    """What 95 % of the calls stay below."""


def choose(models: Mapping[str, Mapping[str, float]], optimize: str, limits: Mapping[str, float] | None = None, *,
           larger_is_better: Collection[str] = ()) -> Choice:
    """The model that is best by one measure among those within the limits of the others.

    Args:
      models: for each its measures, {"small": {"error": 0.03, "seconds": 2e-4}}; NaN counts as worse than any limit.
      optimize: the measure that should be as good as possible; of equals, the first is taken.
      limits: for each measure that need only be good enough, what is: at most this, or at least, where larger is
        better.
      larger_is_better: the measures for which that holds, such as accuracy.
    Raises:
      InputError: a measure is missing from a model, or a limit is no number.

    >>> models = {"small": {"error": 0.06, "seconds": 0.01}, "large": {"error": 0.02, "seconds": 0.9}}
    >>> print(choose(models, "error", {"seconds": 0.1}))
    small
    not large: seconds 0.9 is above 0.1
    """
    who = "choose"
    limits = dict(limits or {})
    for name, limit in limits.items():
        expect(is_number(limit), who, f"a number as the limit of {name!r}", repr(limit))
    expect(optimize not in limits, who, f"a limit on other measures than {optimize!r}, which is optimized",
           f"limits on {', '.join(limits)}")
    sign = _signed(who, models, (optimize, *limits), larger_is_better)
    order = sorted(models, key=lambda m: _bad(sign[optimize] * models[m][optimize]))
    excess: dict[str, float] = {}
    refused: dict[str, str] = {}
    for m in order:
        over = {name: _bad(sign[name] * (models[m][name] - limit)) for name, limit in limits.items()}
        if math.isnan(models[m][optimize]):
            over[optimize] = math.inf
        worst = {name: amount for name, amount in over.items() if amount > 0}
        if worst:
            excess[m] = max(amount / (abs(limits.get(name, 1)) or 1) for name, amount in worst.items())
            refused[m] = "; ".join(
                f"{name} {models[m][name]:.4g} is {'above' if sign[name] > 0 else 'below'} {limits[name]:.4g}"
                if name in limits else f"{name} is not known" for name in worst)
    feasible = tuple(m for m in order if m not in refused)
    nearest = min(excess, key=excess.__getitem__) if not feasible else None
    return Choice(feasible[0] if feasible else None, feasible, refused, nearest)


def pareto(models: Mapping[str, Mapping[str, float]], measures: Collection[str], *,
           larger_is_better: Collection[str] = ()) -> tuple[str, ...]:
    """The models that no other one beats: at least as good in all of the measures and better in one. Sorted by the
    first measure. A model with a NaN is on no front.

    >>> pareto({"a": {"error": 1, "seconds": 3}, "b": {"error": 2, "seconds": 2}, "c": {"error": 3, "seconds": 2}},
    ...        ["error", "seconds"])
    ('a', 'b')
    """
    measures = tuple(measures)
    expect(len(measures) >= 1, "pareto", "at least one measure", "none")
    sign = _signed("pareto", models, measures, larger_is_better)
    at = {m: np.array([sign[name] * values[name] for name in measures], float) for m, values in models.items()}
    at = {m: v for m, v in at.items() if not np.isnan(v).any()}
    front = [m for m, v in at.items()
             if not any((w <= v).all() and (w < v).any() for w in at.values())]
    return tuple(sorted(front, key=lambda m: tuple(at[m])))


def latency(call: Callable, *args: Any, repeats: int = 50) -> Latency:
    """The seconds of call(*args) until its arrays are there, after one call that compiles.

    The median is that of this machine under its load at this time; the interval is about chance between calls alone.

    Args:
      repeats: at least 6, so that the interval has its 95 %.
    """
    expect(callable(call), "latency", "a function", type(call).__name__)
    expect(is_integer(repeats, 6), "latency", "repeats, an integer of at least 6", repr(repeats))
    jax.block_until_ready(call(*args))
    seconds = np.empty(repeats)
    for i in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call(*args))
        seconds[i] = time.perf_counter() - begin
    seconds.sort()
    low, high = _ranks(repeats)
    return Latency(float(np.median(seconds)), (float(seconds[low]), float(seconds[high])),
                   float(np.quantile(seconds, 0.95)))


def _ranks(n: int) -> tuple[int, int]:
    """Places r and n - 1 - r of sorted values between which the true median is with 95 %: the number of values below
    that median is binomial with n and 1/2, and r is the largest with P(number <= r) <= 0.025."""
    below, total = 0, 2**n
    r = -1
    while 40 * (below + math.comb(n, r + 1)) <= total:
        r += 1
        below += math.comb(n, r)
    return r, n - 1 - r


def _bad(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _signed(who: str, models: Any, measures: Collection[str], larger_is_better: Collection[str]) -> dict[str, int]:
    expect(isinstance(models, Mapping) and len(models) > 0, who, "models, {name: {measure: number}}, at least one",
           type(models).__name__ if not isinstance(models, Mapping) else "none")
    expect(not isinstance(larger_is_better, str), who, "larger_is_better, a list of measures", repr(larger_is_better))
    for m, values in models.items():
        missing = [name for name in measures if name not in values]
        expect(not missing, who, f"{', '.join(measures)} of each model", f"{m!r} without {', '.join(missing)}")
    return {name: -1 if name in larger_is_better else 1 for name in measures}
