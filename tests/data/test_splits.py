"""Laws of splitting and of standardizing, and their refusals."""

import numpy as np
import pytest

from jaxnn.data import Split, split, standardize

FRACTIONS = [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.5, 0.25, 0.25), (1 / 3, 1 / 3, 1 / 3),
             (0.01, 0.29, 0.7)]
LABELS = {
    "none": lambda n: None,
    "balanced": lambda n: np.arange(n) % 10,
    "rare": lambda n: np.where(np.arange(n) < 3, "rare", "common"),
    "a class each": lambda n: np.arange(n),
    "skewed": lambda n: np.random.RandomState(0).geometric(0.3, n),
    "with NaN": lambda n: np.where(np.arange(n) % 3, 1.0, np.nan),
}


@pytest.mark.parametrize("n", [100, 101, 569, 1797])
@pytest.mark.parametrize("fractions", FRACTIONS, ids=str)
@pytest.mark.parametrize("kind", LABELS)
def test_laws(n, fractions, kind):
    labels = LABELS[kind](n)
    parts = split(n, fractions, seed=3, labels=labels)
    # Disjoint, and they cover: together each example once.
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    for part, fraction in zip(parts, fractions, strict=True):
        assert part.dtype.kind == "i"
        assert abs(len(part) - fraction * n) < 2
        if labels is None:
            assert abs(len(part) - fraction * n) < 1
        else:
            for label in set(labels[~(labels != labels)]):
                wanted = fraction * np.sum(labels == label)
                assert abs(np.sum(labels[part] == label) - wanted) < 1 + 1e-9


def test_small_classes_leave_no_part_empty():
    """Rounded class by class alone, 10 classes of 5 would be dealt 4, 1 and 0 each."""
    parts = split(50, seed=0, labels=np.arange(50) % 10)
    assert [len(part) for part in parts] == [40, 5, 5]


def test_the_seed_is_the_split():
    labels = np.arange(200) % 3
    first, again, other = (split(200, seed=s, labels=labels) for s in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_the_split_never_changes():
    """Numbers in a report hold only while its split does."""
    parts = split(10, (0.6, 0.2, 0.2), seed=0)
    assert isinstance(parts, Split)
    assert [part.tolist() for part in parts] == [[8, 4, 9, 6, 2, 1], [7, 3], [5, 0]]


def test_examples_are_shuffled_and_classes_mixed():
    train = split(1000, seed=0, labels=np.repeat([0, 1], 500)).train
    assert 150 < np.sum(train[:400] < 500) < 250
    assert not np.array_equal(train, np.sort(train))


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1:3]
    split(100, seed=0)
    np.testing.assert_equal(np.random.get_state()[1:3], before)


@pytest.mark.parametrize("fractions", [
    (0.8, 0.1, 0.2), (0.8, 0.2, 0.0), (1.2, -0.1, -0.1), (0.8, 0.2), (0.25,) * 4,
    (float("nan"), 0.5, 0.5)], ids=str)
def test_fractions(fractions):
    with pytest.raises(ValueError) as error:
        split(100, fractions, seed=0)
    assert str(error.value) == (
        "split expects three positive fractions (train, dev, test) that sum to 1; "
        f"got {fractions}; give for example (0.8, 0.1, 0.1)")


@pytest.mark.parametrize(("n", "fractions", "part"), [
    (5, (0.8, 0.1, 0.1), "test, 0.1 of 5"),
    (4, (0.9, 0.05, 0.05), "dev, 0.05 of 4"),
    (100, (0.001, 0.5, 0.499), "train, 0.001 of 100"),
])
def test_a_part_that_would_be_empty(n, fractions, part):
    with pytest.raises(ValueError) as error:
        split(n, fractions, seed=0)
    assert str(error.value) == (f"split expects at least one example in each part; got none for "
                                f"{part} examples; add examples or raise its fraction")


@pytest.mark.parametrize("n", [-1, 0, 2])
def test_fewer_examples_than_parts(n):
    with pytest.raises(ValueError) as error:
        split(n, seed=0)
    assert str(error.value) == (
        f"split expects n_examples, at least 3, one for each part; got {n}; add examples")


@pytest.mark.parametrize("labels", [np.zeros(9), np.zeros((10, 1))])
def test_labels_of_other_examples(labels):
    with pytest.raises(ValueError) as error:
        split(10, seed=0, labels=labels)
    assert str(error.value) == (
        f"split expects labels of shape (10,), one for each example; got shape {labels.shape}; "
        "pass the labels of the examples being split")


@pytest.mark.parametrize("arguments", [{"n_examples": 10.0, "seed": 0},
                                       {"n_examples": 10, "seed": None}])
def test_sizes_and_seeds_are_integers(arguments):
    with pytest.raises(TypeError, match=r"split expects (n_examples, at least 3|seed in 0)"):
        split(**arguments)


def test_standardize_fits_on_the_training_examples_alone():
    random = np.random.RandomState(0)
    train, test = random.randn(50, 3) * [1, 10, 100] + 5, random.randn(20, 3)
    a, b = standardize(train, test)
    np.testing.assert_allclose(a.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(a.std(axis=0), 1)
    for i in range(3):  # a second route, one feature at a time
        mean = sum(train[:, i]) / 50
        std = (sum((train[:, i] - mean) ** 2) / 50) ** 0.5
        np.testing.assert_allclose(b[:, i], (test[:, i] - mean) / std)
    np.testing.assert_array_equal(standardize(train, test * 1e6)[0], a)
    assert len(standardize(train)) == 1 and len(standardize(train, test, test)) == 3


@pytest.mark.parametrize("value", [0.0, 0.1, 3.0, -1e9])
def test_constant_features_are_centred(value):
    """0.1 is the trap: the rounded mean of many differs from it, and so the deviation from 0."""
    train = np.full((7, 2), value)
    train[:, 1] = np.arange(7)
    a, b = standardize(train, np.array([[value + 2, 3.0]]))
    np.testing.assert_allclose(a[:, 0], 0, atol=1e-15)
    np.testing.assert_allclose(b, [[2, 0]], atol=1e-6)


def test_standardize_counts_and_images():
    train = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    (a,) = standardize(train)
    assert a.dtype == np.float64 and a.shape == train.shape
    np.testing.assert_allclose(a.std(axis=0), 1)


def test_standardize_refuses():
    with pytest.raises(ValueError) as error:
        standardize(np.ones((4, 3)), np.ones((4, 2)))
    assert str(error.value) == ("standardize expects features of shape (3,), as in train; "
                                "got (2,); select the same features in each part")
    with pytest.raises(ValueError, match=r"1 NaN or infinite, the first at index \(0, 0\)"):
        standardize(np.ones((4, 1)), np.array([[np.nan]]))
    with pytest.raises(ValueError, match="with B >= 1"):
        standardize(np.ones((0, 3)))
