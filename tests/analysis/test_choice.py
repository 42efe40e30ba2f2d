"""Choices under limits, single numbers, learning curves and calibration."""

import math

import jax
import numpy as np
import pytest

from jaxnn.analysis import (
    calibration,
    choose,
    fit_power_law,
    fit_temperature,
    latency,
    pareto,
    precision_recall,
    single_number,
)
from jaxnn.analysis.choice import _ranks
from jaxnn.checks import InputError

# The course's table: accuracies and running times of three classifiers.
MODELS = {"A": {"accuracy": 0.90, "milliseconds": 80.0}, "B": {"accuracy": 0.92, "milliseconds": 95.0},
          "C": {"accuracy": 0.95, "milliseconds": 1500.0}}


def test_the_courses_classifiers():
    larger = ("accuracy",)
    choice = choose(MODELS, "accuracy", {"milliseconds": 100}, larger_is_better=larger)
    assert choice.name == "B" and choice.feasible == ("B", "A")
    assert choice.refused == {"C": "milliseconds 1500 is above 100"}
    assert choose(MODELS, "milliseconds", {"accuracy": 0.91}, larger_is_better=larger).name == "B"
    assert choose(MODELS, "accuracy", larger_is_better=larger).name == "C"
    none = choose(MODELS, "accuracy", {"milliseconds": 50}, larger_is_better=larger)
    assert none.name is None and none.nearest == "A"
    assert str(none).startswith("none within the limits; the nearest is A")
    assert choose({"x": {"e": math.nan}, "y": {"e": 1.0}}, "e").name == "y"
    assert choose({"x": {"e": 0.0, "t": math.nan}, "y": {"e": 1.0, "t": 1.0}}, "e", {"t": 2.0}).name == "y"


def test_pareto_front_by_all_pairs():
    rng = np.random.default_rng(0)
    points = rng.integers(6, size=(30, 3))
    models = {str(i): dict(zip("abc", p.tolist(), strict=True)) for i, p in enumerate(points)}
    front = pareto(models, "abc", larger_is_better=("c",))
    signed = points * [1, 1, -1]
    for i, p in enumerate(signed):
        beaten = any((q <= p).all() and (q != p).any() for q in signed)
        assert (str(i) in front) is not beaten
    assert pareto(MODELS, ("milliseconds", "accuracy"), larger_is_better=("accuracy",)) == ("A", "B", "C")


def test_choice_refusals():
    with pytest.raises(InputError, match="expects milliseconds of each model; got 'D' without milliseconds"):
        choose(MODELS | {"D": {}}, "milliseconds")
    with pytest.raises(InputError, match="a limit on other measures than 'accuracy', which is optimized"):
        choose(MODELS, "accuracy", {"accuracy": 1})
    with pytest.raises(InputError, match="larger_is_better, a list of measures; got 'accuracy'"):
        choose(MODELS, "accuracy", larger_is_better="accuracy")


def test_latency_and_its_ranks():
    import time

    from scipy import stats

    found = latency(lambda: time.sleep(0.002), repeats=10)
    assert 0.002 <= found.interval[0] <= found.seconds <= found.interval[1] and found.seconds <= found.p95
    for n in (6, 10, 51):
        r, high = _ranks(n)
        assert high == n - 1 - r
        assert stats.binom.cdf(r, n, 0.5) <= 0.025 < stats.binom.cdf(r + 1, n, 0.5)


def test_precision_and_recall():
    labels, predictions = np.array([1, 1, 1, 0, 0, 2]), np.array([1, 1, 0, 1, 0, 0])
    scores = precision_recall(predictions, labels)
    assert (scores[1].precision, scores[1].recall, scores[1].n) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert scores[1].f1 == pytest.approx(2 * 2 / (3 + 3))
    low, high = scores[1].f1_interval
    assert low < scores[1].f1 < high
    assert math.isnan(scores[2].precision) and scores[2].precision_interval == (0.0, 1.0) and scores[2].recall == 0


def test_single_numbers():
    errors = {"us": 0.03, "china": 0.07, "india": 0.05, "other": 0.09}  # the course's table
    assert single_number(errors) == pytest.approx(0.06)
    assert single_number(errors, weights={"us": 1, "china": 0, "india": 0, "other": 0}) == 0.03
    assert single_number({"p": 0.98, "r": 0.85}, "harmonic") == pytest.approx(0.9104, abs=1e-4)
    assert single_number({"p": 0.0, "r": 1.0}, "harmonic") == 0
    assert single_number(errors, "worst") == 0.03
    with pytest.raises(InputError, match="kind, one of mean, harmonic, worst; got 'median'"):
        single_number(errors, "median")
    with pytest.raises(InputError, match="weights of us, china, india, other"):
        single_number(errors, weights={"us": 1})


def test_a_power_law_is_found_again():
    """Beside SciPy's curve_fit; and, of 100 noisy curves, the interval far beyond the sizes holds the truth."""
    from scipy.optimize import curve_fit

    n = np.array([50, 100, 200, 400, 800, 1600.0])
    truth = 1.5 * n**-0.6 + 0.02
    rng = np.random.default_rng(0)
    noisy = truth + 0.002 * rng.standard_normal(6)
    law = fit_power_law(n, noisy, np.full(6, 0.002))
    expected, covariance = curve_fit(lambda n, a, b, c: a * n**-b + c, n, noisy, (1, 0.5, 0.01), np.full(6, 0.002),
                                     absolute_sigma=True)
    np.testing.assert_allclose((law.a, law.b, law.c), expected, rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(law.covariance[1, 1]), np.sqrt(covariance[1, 1]), rtol=1e-3)
    held = 0
    for _ in range(100):
        low, high = fit_power_law(n, truth + 0.002 * rng.standard_normal(6), np.full(6, 0.002)).interval(6400)
        held += low <= 1.5 * 6400**-0.6 + 0.02 <= high
    assert held >= 88
    assert law.at(law.needed(0.1)) == pytest.approx(0.1) and law.needed(law.c / 2) == math.inf
    fixed = fit_power_law(n, truth, floor=0.02)
    assert (fixed.a, fixed.b) == pytest.approx((1.5, 0.6), rel=1e-4) and fixed.needed(0.02) == math.inf
    low, high = fit_power_law(n[:3], truth[:3]).interval(1000.0)
    assert (low, high) == (0, math.inf), "three numbers through three points leave nothing to judge by"
    with pytest.raises(InputError, match="at least three different ones"):
        fit_power_law([1, 2], [0.1, 0.2])
    with pytest.raises(InputError, match="a deviation of 0 would let no other point count"):
        fit_power_law([1, 2, 3], [0.1, 0.2, 0.3], [0, 1, 1])


def test_calibration():
    """Of labels drawn from the probabilities themselves it is good; of logits made three times too large it is bad, and
    the temperature is three."""
    from sklearn.metrics import brier_score_loss

    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 4)) * 1.5
    p = np.asarray(jax.nn.softmax(z))
    labels = (rng.random((4000, 1)) > p.cumsum(1)).sum(1).clip(max=3)
    good, bad = calibration(p, labels), calibration(np.asarray(jax.nn.softmax(3 * z)), labels)
    assert good.ece < 0.03 and bad.ece > 0.15
    low, high = good.overconfidence_interval
    assert low < good.overconfidence < high < bad.overconfidence_interval[0] and abs(good.overconfidence) < 0.02
    assert all(row.interval[0] < row.accuracy < row.interval[1] for row in good.bins if row.n > 20)
    assert sum(row.n for row in good.bins) == 4000
    assert good.log_loss == pytest.approx(-np.log(p[np.arange(4000), labels]).mean(), rel=1e-5)
    assert good.brier == pytest.approx(brier_score_loss(np.eye(4)[labels].ravel(), p.ravel()) * 4, rel=1e-5)
    assert fit_temperature(3 * z, labels) == pytest.approx(3 * fit_temperature(z, labels), rel=1e-4)
    assert fit_temperature(z, labels) == pytest.approx(1, abs=0.08)


def test_calibration_refusals():
    with pytest.raises(InputError, match=r"rows that sum to 1; got rows that sum to 0 .. 3; take the softmax"):
        calibration([[1.0, 2.0], [0.0, 0.0]], [0, 1])
    with pytest.raises(InputError, match="at least one example that is wrong; got 2 that are right"):
        fit_temperature([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    with pytest.raises(InputError, match=r"labels, \(2,\) integers in 0 .. 1"):
        fit_temperature([[1.0, 0.0], [0.0, 1.0]], [0, 2])
