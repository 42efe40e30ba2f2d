"""Where an error comes from, by the gaps between the errors on sets that differ in one thing each."""

import math
from typing import NamedTuple

from experiments.shared.run import percent
from jaxnn.checks import expect

__all__ = ["Verdict", "diagnose"]

REMEDIES = {
    "bias": "a larger network, longer training, another architecture",
    "variance": "more data, regularisation, a smaller network",
    "mismatch": "training data that are more like those of the dev set",
}


class Verdict(NamedTuple):
    """name: such as "high variance". gaps: by what they are a gap in. text: a sentence with remedies."""

    name: str
    gaps: dict[str, float]
    text: str


def diagnose(train_error: float, dev_error: float, bayes_error: float = 0.0,
             train_dev_error: float | None = None, *, tolerated: float = 0.01) -> Verdict:
    """The gaps between the errors, and which of them are to be worked on.

        bias (avoidable) = train - bayes      variance = train_dev - train      mismatch = dev - train_dev

    A gap is high when it is more than `tolerated` and at least half of the largest: to close a smaller
    one first would gain little. Without a train-dev set, training examples held out of the training, the
    dev set takes its place, and there is no third gap.

    Args:
      train_error, dev_error, train_dev_error: fractions of examples, in [0, 1].
      bayes_error: the error that cannot be avoided, or that of people, which is near it.
    Raises:
      InputError: an error is no fraction.

    >>> diagnose(0.002, 0.061).text.partition(": more")[0]
    'high variance: dev error 6.10 % is 5.90 points over train error 0.20 %'
    """
    errors = {"bayes": bayes_error, "train": train_error}
    if train_dev_error is not None:
        errors["train-dev"] = train_dev_error
    errors["dev"] = dev_error
    for name, error in errors.items():
        expect(isinstance(error, int | float) and math.isfinite(error) and 0 <= error <= 1, "diagnose",
               f"{name} error as a fraction, in [0, 1]", repr(error))
    names = list(errors)
    pairs = dict(zip(REMEDIES, zip(names[1:], names[:-1], strict=True), strict=False))
    gaps = {kind: errors[upper] - errors[lower] for kind, (upper, lower) in pairs.items()}
    high = [kind for kind, gap in gaps.items() if gap > tolerated + 1e-9 and gap >= max(gaps.values()) / 2]
    if high:
        name = "high " + " and ".join(high)
        reasons = [f"{upper} error {percent(errors[upper])} is {100 * gaps[kind]:.2f} points over "
                   f"{lower} error {percent(errors[lower])}: {REMEDIES[kind]}"
                   for kind, (upper, lower) in pairs.items() if kind in high]
        text = f"{name}: {'; '.join(reasons)}"
    else:
        name = "low bias and variance"
        text = f"{name}: no gap is more than {100 * tolerated:g} points"
    if gaps["bias"] < -tolerated:
        text += (f"; train error {percent(train_error)} is below bayes error {percent(bayes_error)}: "
                 "that estimate is too high, or the training examples are known by heart")
    return Verdict(name, gaps, text)
