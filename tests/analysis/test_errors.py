"""Error tables, confused pairs and verdicts."""

import itertools
import math

import numpy as np
import pytest

from jaxnn.analysis import confused_pairs, diagnose, error_table, intervals, tag_columns
from jaxnn.checks import InputError


@pytest.fixture(scope="module")
def tagged():
    """wrong, tags, gradient of 300 examples, of three tags that overlap."""
    rng = np.random.default_rng(0)
    tags = {name: rng.random(300) < p for name, p in (("dark", 0.3), ("far", 0.2), ("wet", 0.1))}
    wrong = rng.random(300) < 0.1 + 0.3 * tags["dark"] + 0.4 * tags["wet"]
    return wrong, tags, rng.exponential(size=300) * (1 + 4 * wrong)


def test_each_figure_by_counting(tagged):
    wrong, tags, gradient = tagged
    table = error_table(wrong, tags, gradient)
    lists = [{name for name in tags if tags[name][i]} for i in range(300)]
    for row in table.rows:
        with_tag = [i for i in range(300) if row.tag in lists[i]]
        bad = [i for i in with_tag if wrong[i]]
        assert (row.n, row.n_wrong) == (len(with_tag), len(bad))
        assert row.error == len(bad) / len(with_tag)
        assert row.of_errors == len(bad) / wrong.sum()
        assert row.of_gradient == pytest.approx(gradient[with_tag].sum() / gradient.sum())
        assert row.ceiling == len(bad) / 300
        assert row.alone == sum(len(lists[i]) == 1 for i in bad) / 300
        for name in ("error", "of_errors", "of_gradient", "ceiling", "alone", "share"):
            low, high = getattr(row, f"{name}_interval")
            assert low < getattr(row, name) < high or getattr(row, name) == low == 0
    assert table.rows[0].error_interval == intervals.of_fraction(table.rows[0].n_wrong, table.rows[0].n)
    for (i, a), (j, b) in itertools.product(enumerate(table.rows), repeat=2):
        assert table.overlaps[i, j] == sum(a.tag in lists[k] and b.tag in lists[k] for k in np.flatnonzero(wrong))


def test_shares_are_shapley_values_and_add_up(tagged):
    """A second route: the mean, over all orders of mending, of what each tag wins when its turn comes."""
    wrong, tags, _ = tagged
    table = error_table(wrong, tags)
    won = dict.fromkeys(tags, 0.0)
    for order in itertools.permutations(tags):
        left = wrong.copy()
        for name in order:
            won[name] += (left & tags[name]).mean() / math.factorial(len(tags))
            left &= ~tags[name]
    for row in table.rows:
        assert row.share == pytest.approx(won[row.tag])
        assert row.alone <= row.share <= row.ceiling
    assert sum(row.share for row in (*table.rows, table.untagged)) == pytest.approx(wrong.mean())


def test_ceilings_one_after_another_add_up(tagged):
    wrong, tags, _ = tagged
    table = error_table(wrong, tags)
    assert table.ceilings[0].tag == table.rows[0].tag and table.ceilings[0].won == table.rows[0].ceiling
    assert sum(c.won for c in table.ceilings) + table.ceilings[-1].left == pytest.approx(wrong.mean())
    assert table.ceilings[-1].left == table.untagged.ceiling
    shown = str(table)
    assert "of the gradient" not in shown and "mended one after another: " in shown
    assert "of the gradient" in str(error_table(wrong, tags, np.ones(300)))


def test_edges():
    none_wrong = error_table(np.zeros(3, bool), {"a": np.array([True, False, False]), "b": np.zeros(3, bool)})
    assert none_wrong.ceilings == () and math.isnan(none_wrong.rows[0].of_errors)
    assert none_wrong.rows[1].error_interval == (0.0, 1.0)
    assert "b" in str(none_wrong)
    assert {k: v.tolist() for k, v in tag_columns([[], ["x", "x"]]).items()} == {"x": [False, True]}


@pytest.mark.parametrize(("arguments", "message"), [
    (([0, 1], {"a": [True, False]}), r"expects wrong, \(n,\) bools, n >= 2; got int64 of shape \(2,\); pass predict"),
    (([True, False], {}), r"expects tags, \{name: \(n,\) bools\}, at least one; got \{\}"),
    (([True, False], {"a": [True]}), r"expects tags\['a'\], \(2,\) bools, one for each example; got bool of shape"),
    (([True, False], {"a": [True, False]}, [0.0, 0.0]), r"with a sum above 0; got shape \(2,\), sum 0"),
    (([True, False], {"a": [True, False]}, [1.0, np.nan]), r"2,\) finite numbers"),
])
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        error_table(*arguments)
    with pytest.raises(InputError, match=r"a list of tags for example 0; got 'dark'; put a single tag into a list"):
        tag_columns(["dark"])


def test_confused_pairs():
    labels = np.array([0] * 4 + [1] * 4 + [2] * 2)
    predictions = np.array([0, 1, 1, 2, 1, 1, 1, 0, 2, 2])
    first, *others = confused_pairs(predictions, labels, 3)
    assert first[:4] == (0, 1, 2, 0.5) and first.of_label == 0.5
    assert [(p.label, p.prediction, p.n) for p in others] == [(0, 2, 1), (1, 0, 1)]
    assert len(confused_pairs(predictions, labels, 3, most=1)) == 1
    assert confused_pairs(labels, labels, 3) == []


# Verdicts; those of the course are among the tests of its experiment.


def test_overfitting_to_dev():
    verdict = diagnose(0.01, 0.02, 0.01, 0.015, 0.06)
    assert verdict.name == "high overfitting to dev"
    assert verdict.gaps == pytest.approx({"bias": 0, "variance": 0.005, "mismatch": 0.005, "overfitting to dev": 0.04})
    assert verdict.text.endswith("test error 6.00 % is 4.00 points over dev error 2.00 %: a larger dev set, and a new "
                                 "one for the next choices")
    assert sum(verdict.gaps.values()) == pytest.approx(0.05)


def test_a_gap_that_may_be_chance_is_called_so():
    errors = {"train_error": 0.0, "dev_error": 0.02, "test_error": 0.06}
    few = diagnose(**errors, sizes={"train": 1000, "dev": 50, "test": 50})
    assert few.intervals["overfitting to dev"] == intervals.of_difference((3, 50), (1, 50))
    assert "overfitting to dev" in few.name and "so it may be chance: measure on more examples" in few.text
    many = diagnose(**errors, sizes={"train": 1000, "dev": 5000, "test": 5000})
    assert many.intervals["overfitting to dev"][0] > 0 and "chance" not in many.text
    assert set(diagnose(**errors, sizes={"dev": 10}).intervals) == set()
    with pytest.raises(InputError, match="expects sizes of train, dev, test, positive integers; got 'train-dev': 3"):
        diagnose(**errors, sizes={"train-dev": 3})
