"""Batches are a function of the seed and the step."""

import jax
import numpy as np
import pytest

from jaxnn.data import Batches

X, Y = np.arange(10, dtype=np.float32)[:, None] * [1, 1], np.arange(10)


def test_every_example_once_an_epoch_and_every_batch_full():
    batches = Batches(X, Y, 4, seed=3)
    row = np.concatenate([batches.indices(s) for s in range(5)])
    assert len(row) == 20
    assert sorted(row[:10]) == sorted(row[10:]) == list(range(10))
    assert list(row[:10]) != list(row[10:]), "each epoch has an order of its own"


def test_stateless():
    a, b = Batches(X, Y, 4, seed=3), Batches(X, Y, 4, seed=3)
    later = [a(s) for s in (7, 2, 7)]
    for (x, y), s in zip(later, (7, 2, 7), strict=True):
        np.testing.assert_array_equal(x, b(s)[0])
        np.testing.assert_array_equal(y, b.indices(s))
    assert not np.array_equal(a.indices(0), Batches(X, Y, 4, seed=4).indices(0))


def test_in_order():
    batches = Batches(X, Y, 4, shuffle=False)
    np.testing.assert_array_equal(batches.indices(2), [8, 9, 0, 1])


def test_many_steps_at_once():
    for kwargs in ({}, {"augment": lambda key, x, y: (x + jax.random.normal(key, x.shape), y)}, {"on_device": False}):
        batches = Batches(X, Y, 4, **kwargs)
        x, y = batches.many(3, 2)
        for i in range(2):
            np.testing.assert_array_equal(x[i], batches(3 + i)[0])
            np.testing.assert_array_equal(y[i], batches(3 + i)[1])


def test_augmented_anew_at_each_step_and_alike_when_repeated():
    batches = Batches(X, Y, 10, shuffle=False, augment=lambda key, x, y: (x + jax.random.normal(key, x.shape), y))
    assert not np.array_equal(batches(0)[0], batches(1)[0])
    np.testing.assert_array_equal(batches(0)[0], batches(0)[0])


def test_trees_and_counts():
    batches = Batches({"image": X, "age": Y}, (Y, Y), 4)
    x, (a, _) = batches(0)
    np.testing.assert_array_equal(x["image"][:, 0], a)
    assert (batches.steps(1), batches.steps(2), batches.epoch(5)) == (3, 5, 2.0)


def test_of_a_host_set_the_batch_stays_on_the_host():
    assert isinstance(Batches(X, Y, 4, on_device=False)(0)[0], np.ndarray)


@pytest.mark.parametrize(("arguments", "words"), [
    ((X, Y[:5], 4), "x and labels of one length"),
    ((X[:0], Y[:0], 4), "x and labels of one length, at least 1"),
    ((X, Y, 11), r"batch_size in 1 .. 10, the number of examples; got 11"),
    ((X, Y, 0), "batch_size in 1 .. 10"),
    ((X, Y, 2.0), "batch_size in 1 .. 10"),
])
def test_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Batches(*arguments)


def test_refused_later():
    with pytest.raises(ValueError, match="seed in 0"):
        Batches(X, Y, 4, seed=-1)
    with pytest.raises(ValueError, match="a step that is not negative"):
        Batches(X, Y, 4)(-1)


def test_grain_reads_ahead_and_any_step():
    pytest.importorskip("grain", reason="Grain is not installed")
    from jaxnn.data.grain_batches import GrainBatches

    batches = GrainBatches(list(zip(X, Y, strict=True)), 4, seed=1, threads=1)
    first = [batches(s)[1] for s in range(5)]
    row = np.concatenate(first)
    assert sorted(row[:10]) == sorted(row[10:]) == list(range(10))
    np.testing.assert_array_equal(batches(2)[1], first[2])
    assert batches.steps(2) == 5
    with pytest.raises(ValueError, match=r"batch_size in 1 \.\. 10"):
        GrainBatches(list(zip(X, Y, strict=True)), 11)
