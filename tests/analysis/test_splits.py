"""Splits by groups, and leaks between parts."""

import numpy as np
import pytest

from jaxnn.analysis import find_leaks, split_groups
from jaxnn.checks import InputError
from tests import course


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_together_and_parts_have_their_fractions(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(40, size=1000)
    labels = rng.integers(3, size=1000)
    for of_classes in (None, labels):
        parts = split_groups(groups, (0.6, 0.2, 0.2), seed=seed, labels=of_classes)
        assert sorted(np.concatenate(parts)) == list(range(1000))
        assert not set(groups[parts.train]) & set(groups[parts.dev])
        assert not (set(groups[parts.train]) | set(groups[parts.dev])) & set(groups[parts.test])
        for fraction, part in zip((0.6, 0.2, 0.2), parts, strict=True):
            assert abs(len(part) / 1000 - fraction) < 0.03
            if of_classes is not None:
                assert np.abs(np.bincount(labels[part]) / np.bincount(labels) - fraction).max() < 0.06
    again = split_groups(groups, (0.6, 0.2, 0.2), seed=seed, labels=labels)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_classes_that_go_with_groups_are_spread():
    """Twelve groups of one class each: without the labels a part may lack a class, with them none does."""
    groups, labels = np.repeat(np.arange(12), 10), np.repeat([0, 1], 60)
    for seed in range(5):
        parts = split_groups(groups, (0.5, 0.25, 0.25), seed=seed, labels=labels)
        assert all(np.bincount(labels[part]).tolist() == [len(part) // 2] * 2 for part in parts)


def test_each_part_has_a_group():
    parts = split_groups(np.array(["a"] * 98 + ["b", "c"]), (0.98, 0.01, 0.01), seed=0)
    assert [len(part) for part in parts] == [98, 1, 1]


def test_group_refusals():
    with pytest.raises(InputError, match="at least 3 groups, one for each part; got 2 in 4 examples; split by"):
        split_groups([0, 0, 1, 1], seed=0)
    with pytest.raises(InputError, match=r"labels of shape \(3,\) that sort; got int64 of shape \(2,\)"):
        split_groups([0, 1, 2], seed=0, labels=[0, 1])


def test_leaks_exact_near_and_by_group():
    rng = np.random.default_rng(0)
    x = rng.random((60, 5, 5)).astype(np.float32)
    x[50] = x[3]
    x[51] = 0.5 * x[4] + 0.1  # darker, of less contrast
    x[52] = x[5] + 0.02 * rng.standard_normal((5, 5))
    x[57:59] = 0.3  # without contrast: equal to each other, and near to nothing else
    parts = {"train": np.arange(40), "dev": np.arange(40, 50), "test": np.arange(50, 60)}
    groups = np.arange(60) // 2
    found = find_leaks(x, parts, groups=groups)
    assert [(leak.parts, leak.examples, leak.is_exact) for leak in found.leaks[:2]] == [
        (("train", "test"), (3, 50), True), (("train", "test"), (4, 51), False)]
    assert {leak.examples for leak in found.leaks} == {(3, 50), (4, 51), (5, 52)}
    u, v = (x[i].ravel().astype(float) for i in (5, 52))
    assert found.leaks[2].similarity == pytest.approx(np.corrcoef(u, v)[0, 1], abs=1e-6)
    assert found.of("test").tolist() == [50, 51, 52] and found.of("dev").tolist() == []
    assert found.groups == {}
    assert find_leaks(x, parts, groups=np.arange(60) // 9).groups == {("train", "dev"): (4,), ("dev", "test"): (5,)}
    assert "3 of 10 examples of test are in train too, in 3 pairs, 1 exact and 2 near" in str(found)
    assert len(find_leaks(x, parts, near=None).leaks) == 1
    assert str(find_leaks(x, {"a": [0], "b": [1]})) == "no leak between a, b"


def test_leak_refusals():
    x = np.zeros((4, 2))
    with pytest.raises(InputError, match=r"without a common place, 'a' and 'b'; got 1 places in both, such as \[1\]"):
        find_leaks(x, {"a": [0, 1], "b": [1, 2]})
    with pytest.raises(InputError, match=r"parts\['b'\], places in 0 .. 3, at least one; got int64 of shape \(1,\)"):
        find_leaks(x, {"a": [0, 1], "b": [4]})
    with pytest.raises(InputError, match=r"near in \(0, 1\], or None; got 2"):
        find_leaks(x, {"a": [0, 1], "b": [2]}, near=2)


@pytest.mark.skipif(course.data_directory() is None, reason="the course's data are not here: set JAXNN_DATA")
def test_the_courses_signs_leak():
    """Twelve of the 120 test pictures are training pictures: the number that the convnet experiment reports."""
    from jaxnn.data import load_signs

    signs = load_signs(None)
    x = np.concatenate([signs.train_x, signs.test_x])
    n = len(signs.train_x)
    found = find_leaks(x, {"train": np.arange(n), "test": np.arange(n, len(x))}, near=None)
    assert len(found.of("test")) == 12
