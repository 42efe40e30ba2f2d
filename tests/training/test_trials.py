"""Short trials before a long run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ops
from jaxnn.data import Batches
from jaxnn.layers import Dense, Sequential
from jaxnn.training import make_step, start
from jaxnn.training.trials import dry_run, learning_rate_range, overfit_one_batch

NET = Sequential(Dense(32), ops.relu, Dense(2))
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 4)).astype(np.float32), RNG.integers(0, 2, 64)
BATCHES = Batches(X, Y, 32)
OPTIMIZER = optax.adam(0.02)
STEP = make_step(NET, ops.softmax_cross_entropy, OPTIMIZER)


def begin():
    return start(NET, OPTIMIZER, (4,), jax.random.key(0))


def test_dry_run():
    state, measured = begin(), []
    told = dry_run(state, STEP, BATCHES, metrics=lambda p, s: measured.append(p))
    assert len(measured) == 1 and int(state.step) == 0
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state)), "the state is the caller's still"
    assert told.n_parameters == 4 * 32 + 32 + 32 * 2 + 2
    assert told.unmoved == []
    expected, costs = begin(), []
    for s in range(2):
        expected, info = STEP(expected, *BATCHES(s))
        costs.append(float(info.cost))
    assert list(told.costs) == costs


def test_dry_run_names_what_does_not_move_and_what_is_not_finite():
    frozen = optax.multi_transform({"train": optax.sgd(0.1), "freeze": optax.set_to_zero()},
                                   {"dense1": "freeze", "dense2": "train"})
    step = make_step(NET, ops.softmax_cross_entropy, frozen)
    told = dry_run(start(NET, frozen, (4,), jax.random.key(0)), step, BATCHES)
    assert told.unmoved == ["dense1/bias", "dense1/weight"]
    with pytest.raises(FloatingPointError, match="step 0 is not finite: cost nan"):
        dry_run(begin(), STEP, lambda s: (X[:32] * np.nan, Y[:32]))


def test_overfit_one_batch():
    state = begin()
    costs = overfit_one_batch(state, STEP, X[:32], Y[:32])
    assert costs[-1] < 0.01 < costs[-2]
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    contradictory = overfit_one_batch(begin(), STEP, np.zeros((32, 4), np.float32), Y[:32], steps=50)
    assert len(contradictory) == 50 and contradictory[-1] > 0.5, "equal examples with different labels"


def test_learning_rate_range():
    found = learning_rate_range(NET, ops.softmax_cross_entropy, optax.sgd, BATCHES, (4,), jax.random.key(0),
                                low=1e-4, high=1e4, steps=60)
    assert 1e-3 < found.steepest < found.diverges <= 1e4
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e8) / 59)
    assert found.costs[-1] > 4 * found.costs.min() or not np.isfinite(found.costs[-1])
    assert found.plot().axes[0].get_xlabel() == "learning rate"
    # Its costs are those of training with that schedule.
    state = start(NET, optax.sgd(0.0), (4,), jax.random.key(0))
    for s in range(3):
        optimizer = optax.sgd(float(found.rates[s]))
        state = state._replace(opt_state=optimizer.init(state.params))
        state, info = make_step(NET, ops.softmax_cross_entropy, optimizer)(state, *BATCHES(s))
        np.testing.assert_allclose(info.cost, found.costs[s], rtol=1e-5)


def test_a_rate_that_never_diverges():
    found = learning_rate_range(NET, ops.softmax_cross_entropy, optax.sgd, BATCHES, (4,), jax.random.key(0),
                                low=1e-6, high=1e-2, steps=20)
    assert found.diverges == np.inf and len(found.costs) == 20


def test_refused():
    with pytest.raises(ValueError, match=r"0 < low < high and at least 10 steps; got 1\.0, 0\.1, 100"):
        learning_rate_range(NET, ops.softmax_cross_entropy, optax.sgd, BATCHES, (4,), jax.random.key(0), low=1.0,
                            high=0.1)
    with pytest.raises(ValueError, match="steps, a positive integer, and below, a number > 0"):
        overfit_one_batch(begin(), STEP, jnp.zeros((2, 4)), Y[:2], steps=0)
