"""Where an error comes from, by the gaps between the errors on sets that differ in one thing each."""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

from jaxnn.analysis import intervals
from jaxnn.checks import expect, is_integer

__all__ = ["Verdict", "diagnose"]

REMEDIES = {
    "bias": "a larger network, longer training, another architecture",
    "variance": "more data, regularisation, a smaller network",
    "mismatch": "training data that are more like those of the dev set",
    "overfitting to dev": "a larger dev set, and a new one for the next choices",
}


class Verdict(NamedTuple):
    """name: such as "high variance". gaps: by what they are a gap in. text: a sentence with remedies. intervals: of
    each gap, where the sizes of its two sets are known."""

    name: str
    gaps: dict[str, float]
    text: str
    intervals: dict[str, tuple[float, float]]


def diagnose(train_error: float, dev_error: float, bayes_error: float = 0.0,
             train_dev_error: float | None = None, test_error: float | None = None, *, tolerated: float = 0.01,
             sizes: Mapping[str, int] | None = None) -> Verdict:
    """The gaps between the errors, and which of them are to be worked on.

        bias (avoidable) = train - bayes      variance = train_dev - train      mismatch = dev - train_dev
        overfitting to dev = test - dev

    A gap is high when it is more than `tolerated` and at least half of the largest: to close a smaller
    one first would gain little. Without a train-dev set, training examples held out of the training, the
    dev set takes its place, and there is no mismatch to tell from variance.

    Args:
      train_error, dev_error, train_dev_error, test_error: fractions of examples, in [0, 1].
      bayes_error: the error that cannot be avoided, or that of people, which is near it.
      sizes: how many examples "train", "train-dev", "dev" and "test" have, as far as known. A gap whose interval of
        95 % holds 0 may be chance, and the text says so.
    Raises:
      InputError: an error is no fraction, or a size is no positive integer or of an unknown set.

    >>> diagnose(0.002, 0.061).text.partition(": more")[0]
    'high variance: dev error 6.10 % is 5.90 points over train error 0.20 %'
    """
    errors = {"bayes": bayes_error, "train": train_error}
    if train_dev_error is not None:
        errors["train-dev"] = train_dev_error
    errors["dev"] = dev_error
    if test_error is not None:
        errors["test"] = test_error
    for name, error in errors.items():
        expect(isinstance(error, int | float) and math.isfinite(error) and 0 <= error <= 1, "diagnose",
               f"{name} error as a fraction, in [0, 1]", repr(error))
    sizes = dict(sizes or {})
    for name, n in sizes.items():
        expect(name in errors and name != "bayes" and is_integer(n, 1), "diagnose",
               f"sizes of {', '.join(list(errors)[1:])}, positive integers", f"{name!r}: {n!r}")

    kinds = {"train": "bias", "train-dev": "variance", "dev": "variance" if train_dev_error is None else "mismatch",
             "test": "overfitting to dev"}
    names = list(errors)
    pairs = {kinds[upper]: (upper, lower) for lower, upper in itertools.pairwise(names)}
    gaps = {kind: errors[upper] - errors[lower] for kind, (upper, lower) in pairs.items()}
    ends = {kind: _interval(errors, sizes, *pair) for kind, pair in pairs.items()
            if pair[0] in sizes and (pair[1] in sizes or pair[1] == "bayes")}
    high = [kind for kind, gap in gaps.items() if gap > tolerated + 1e-9 and gap >= max(gaps.values()) / 2]
    if high:
        name = "high " + " and ".join(high)
        text = f"{name}: " + "; ".join(_reason(errors, gaps, ends, kind, *pairs[kind]) for kind in high)
    else:
        name = "low bias and variance"
        text = f"{name}: no gap is more than {100 * tolerated:g} points"
    if gaps["bias"] < -tolerated:
        text += (f"; train error {_percent(train_error)} is below bayes error {_percent(bayes_error)}: "
                 "that estimate is too high, or the training examples are known by heart")
    return Verdict(name, gaps, text, ends)


def _interval(errors: dict[str, float], sizes: dict[str, int], upper: str, lower: str) -> tuple[float, float]:
    n = sizes[upper]
    count = round(errors[upper] * n)
    if lower == "bayes":  # a constant
        low, high = intervals.of_fraction(count, n)
        return low - errors[lower], high - errors[lower]
    return intervals.of_difference((count, n), (round(errors[lower] * sizes[lower]), sizes[lower]))


def _reason(errors: dict[str, float], gaps: dict[str, float], ends: dict[str, tuple[float, float]], kind: str,
            upper: str, lower: str) -> str:
    text = (f"{upper} error {_percent(errors[upper])} is {100 * gaps[kind]:.2f} points over {lower} error "
            f"{_percent(errors[lower])}")
    if kind in ends and ends[kind][0] <= 0:
        low, high = ends[kind]
        text += f" (95 %: {100 * low:.2f} to {100 * high:.2f} points, so it may be chance: measure on more examples)"
    return f"{text}: {REMEDIES[kind]}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
