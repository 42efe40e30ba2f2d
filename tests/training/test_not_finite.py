"""Steps that are not finite: nothing is changed, the message names what is at fault, and too many in a row end it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ops
from jaxnn.data import Batches
from jaxnn.layers import Dense, Sequential
from jaxnn.training import Diverged, NotApplied, checkpoint, load, loss_scaled, make_step, start, start_from
from tests.training.small_run import NET, OPTIMIZER, STEP, X, Y, begin, poisoned, train


def test_a_step_that_is_not_finite_changes_nothing_and_is_told(capsys):
    state, history = train(12, batches=poisoned({5}), progress=True)
    assert history.skipped == 1 and int(state.step) == 12
    said = capsys.readouterr().out
    name = Batches(X, Y, 32).indices(5)[3]
    assert f"step 5 was not applied: cost nan, ‖gradient‖ nan; x is not finite in 1 of the batch's 32 examples, " \
           f"number {name} of the set; first not finite: 1 NaN of 128 in x; the first layer to give such a value " \
           f"is 'dense1' (dense)" in said
    assert np.isfinite(history.column("cost")[1:]).all(), "the mean is over the steps that were applied"
    expected = begin()
    for s in range(12):
        if s == 5:
            expected = expected._replace(step=expected.step + 1)
        else:
            expected, _ = STEP(expected, *Batches(X, Y, 32)(s))
    chex.assert_trees_all_equal(state, expected)


@pytest.mark.parametrize("many", [1, 5])
def test_steps_that_were_not_applied_are_a_warning_where_there_is_no_progress(many):
    """One at the first record after them, and one at the end; where there are lines of progress, these tell."""
    with pytest.warns(NotApplied) as found:
        train(40, batches=poisoned({3, 14, 15, 16}), metrics=None, steps_per_dispatch=many)
    first, last = (str(warning.message) for warning in found)
    number = Batches(X, Y, 32).indices(3)[3]
    cause = ("not applied, because cost, gradient or update is not finite; the first, step 3: cost nan, ‖gradient‖ "
             f"nan; x is not finite in 1 of the batch's 32 examples, number {number} of the set; ")
    assert first.startswith(f"1 of 10 steps was {cause}") and last.startswith(f"4 of 40 steps were {cause}")
    train(20, batches=poisoned({3}), metrics=None, steps_per_dispatch=many, progress=True)  # a warning would raise


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore::jaxnn.training.NotApplied")
@pytest.mark.parametrize("many", [1, 5])
def test_too_many_in_a_row_end_it_with_the_last_good_state_saved(tmp_path, many):
    with pytest.raises(Diverged, match="4 steps in a row were not finite; the last good train state is") as caught:
        train(batches=poisoned(range(7, 30)), directory=tmp_path, max_skipped=4, steps_per_dispatch=many)
    good = begin()
    for s in range(7):
        good, _ = STEP(good, *Batches(X, Y, 32)(s))
    saved = load(tmp_path, good).tree
    chex.assert_trees_all_equal(saved.params, good.params)
    assert caught.value.history.skipped == 4
    with pytest.raises(Diverged):  # started again it does not run on through what is bad
        train(60, batches=poisoned(range(7, 60)), directory=tmp_path, max_skipped=4, steps_per_dispatch=many)
    assert checkpoint.steps_in(tmp_path)[-1] < 40


def test_the_layer_that_went_bad_first_is_named():
    net = Sequential(Dense(4), Dense(4), ops.relu, Dense(2))
    state, step = start(net, OPTIMIZER, (4,), jax.random.key(0)), make_step(net, ops.softmax_cross_entropy, OPTIMIZER)
    second = state.params["dense2"]
    params = {**state.params, "dense2": {**second, "bias": second["bias"].at[2].set(np.inf)}}
    with pytest.raises(Diverged, match=r"parameter 'dense2/bias' is not finite; first not finite: 'dense2' \(dense\)"):
        train(step=step, train_state=state._replace(params=params), metrics=None, max_skipped=2)


def test_a_label_that_is_no_class_is_named():
    """Inside of a compiled step the loss cannot refuse it: its cost is NaN there. (The labels of the batch with which
    the step is traced are seen, hence a good one first.)"""
    labels = Y.copy()
    labels[[7, 50]] = 2
    batches = Batches(X, labels, 32)
    number = next(s for s in range(9) if 7 in batches.indices(s))
    good = next(s for s in range(9) if not {7, 50} & set(batches.indices(s)))
    words = (r"step \d was not applied.*the labels of [12] of the batch's 32 examples are refused, number .*\b7\b.* of "
             r"the set: softmax_cross_entropy expects labels in 0 .. 1; got values from 2 to 2; count classes from 0")
    with pytest.raises(Diverged, match=words):
        train(batches=Fixed(batches, number, first=good), max_skipped=2)


class Fixed:
    """One batch of a set, at every step but the first."""

    def __init__(self, batches, number, first):
        self.batches, self.number, self.first = batches, number, first

    def __call__(self, step):
        return self.batches(self.number if step else self.first)

    def indices(self, step):
        return self.batches.indices(self.number if step else self.first)


def test_a_loss_without_a_slope(capsys):
    """The step's own number, and that of the newest parameters, count alike."""
    def distance(y, label):
        return jnp.linalg.norm(y - label)

    def scaled(params, state, x, key, *, train):
        return params * x, state

    step, zeros = make_step(scaled, distance, optax.sgd(0.1)), X * 0
    train(5, step=step, train_state=start_from(jnp.ones(()), {}, optax.sgd(0.1), jax.random.key(0)), metrics=None,
          batches=lambda s: (zeros[:8], zeros[:8]), progress=True)
    words = capsys.readouterr().out
    assert "step 0 was not applied: cost 0, ‖gradient‖ nan; every number in the batch is finite; first not finite: " \
           "32 NaN of 32 in the loss's gradient ∂L/∂y, while every layer's value is finite: look at the loss, and " \
           "its slope there; looked for with the newest parameters, those after step 1\n" in words


def test_a_learning_rate_that_becomes_nan():
    schedule = optax.join_schedules([optax.constant_schedule(0.1), optax.constant_schedule(float("nan"))], [3])
    optimizer = optax.sgd(schedule)
    step = make_step(NET, ops.softmax_cross_entropy, optimizer)
    with pytest.raises(Diverged, match="look at the optimizer, and its learning rate"):
        train(step=step, train_state=start(NET, optimizer, (4,), jax.random.key(0)), max_skipped=2)


def test_a_loss_scale_that_overflows_is_lowered_and_no_fault(capsys):
    net, optimizer = Sequential(Dense(8), ops.relu, Dense(2)), loss_scaled(optax.adam(0.02), 2.0**24)
    step = make_step(net, ops.softmax_cross_entropy, optimizer, precision="float16")
    train_state = start(net, optimizer, (4,), jax.random.key(0))
    _, history = train(step=step, train_state=train_state, metrics=None, progress=True)
    assert 0 < history.skipped < 10
    assert "the loss scale is lowered to" in capsys.readouterr().out
    assert history.records[-1]["cost"] < 0.69
