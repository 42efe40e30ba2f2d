"""Intervals beside SciPy's, published examples, and how often they hold the truth."""

import numpy as np
import pytest

from jaxnn.analysis import intervals
from jaxnn.checks import InputError


def test_fractions_and_means():
    """Wilson's and Student's, against SciPy's."""
    from scipy import stats

    for right, n in ((0, 7), (7, 7), (113, 120), (1, 2)):
        expected = stats.binomtest(right, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(intervals.of_fraction(right, n), (expected.low, expected.high), atol=1e-6)
    for n in (2, 4, 6, 9, 30):
        values = np.random.default_rng(n).normal(size=n)
        expected = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
        np.testing.assert_allclose(intervals.of_mean(values), expected, rtol=5e-3)
    assert intervals.of_mean([1.0]) == (-np.inf, np.inf)


def test_differences_of_fractions():
    """Newcombe's examples, in his table II: 56/70 - 48/80 and 9/10 - 3/10, method 10."""
    np.testing.assert_allclose(intervals.of_difference((56, 70), (48, 80)), (0.0524, 0.3339), atol=6e-5)
    np.testing.assert_allclose(intervals.of_difference((9, 10), (3, 10)), (0.1705, 0.8090), atol=6e-5)


def test_intervals_hold_the_truth_as_often_as_they_should():
    """Of 600 draws, about 95 % of the intervals hold it: between 92 and 98 %."""
    rng = np.random.default_rng(0)
    held = {"difference": 0, "paired": 0, "ratio": 0}
    for _ in range(600):
        a, b = rng.random(150) < 0.2, rng.random(90) < 0.1
        low, high = intervals.of_difference((int(a.sum()), 150), (int(b.sum()), 90))
        held["difference"] += low <= 0.1 <= high
        hard = rng.random(200) < 0.1  # wrong for both
        first, second = hard | (rng.random(200) < 0.1), hard | (rng.random(200) < 0.05)
        low, high = intervals.of_paired_difference(first, second)
        held["paired"] += low <= 0.9 * 0.05 <= high
        wholes = rng.exponential(size=100)
        low, high = intervals.of_ratio(wholes * (rng.random(100) < 0.3), wholes)
        held["ratio"] += low <= 0.3 <= high
    for kind, n in held.items():
        assert 0.92 < n / 600 < 0.98, kind


def test_pairing_makes_an_interval_narrower():
    wrong = np.random.default_rng(1).random(500) < 0.2
    other = wrong.copy()
    other[np.flatnonzero(wrong)[:20]] = False
    low, high = intervals.of_paired_difference(wrong, other)
    alone = intervals.of_difference((int(wrong.sum()), 500), (int(other.sum()), 500))
    assert alone[0] < 0 < low < 0.04 < high < alone[1]


def test_refusals():
    with pytest.raises(InputError, match=r"of_fraction expects 0 <= n_right <= n, n >= 1; got 3 of 2"):
        intervals.of_fraction(3, 2)
    with pytest.raises(InputError, match=r"expects a, \(n,\) bools, n >= 1; got int64 of shape \(2,\)"):
        intervals.of_paired_difference(np.array([0, 1]), np.array([True, False]))
    with pytest.raises(InputError, match=r"wholes with a sum above 0; got a sum of 0"):
        intervals.of_ratio([1, 1], [0, 0])


def test_words():
    assert intervals.shown(0.9417, (0.884, 0.972)) == "94.17 % (88.4 to 97.2)"
    assert intervals.shown_points(0.031, (-0.002, 0.064)) == "+3.10 points (-0.2 to +6.4)"
