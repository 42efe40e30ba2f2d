"""The loop: what it returns, prints and saves, and that ending early loses nothing."""

import json
import os
import signal

import chex
import jax
import numpy as np
import pytest

from jaxnn import ops
from jaxnn.data import Batches
from jaxnn.layers import BatchNorm, Dense, Dropout, Sequential
from jaxnn.training import Failed, Interrupted, checkpoint, fit, load, make_step, read_lines, start
from jaxnn.training.history import NotApplied, NotSaved
from tests.training.small_run import NET, OPTIMIZER, STEP, X, Y, begin, error, poisoned, train


@pytest.fixture(scope="module")
def whole():
    """By a step of its own, so that compiling it takes time, whatever other files have trained."""
    return train(step=make_step(NET, ops.softmax_cross_entropy, OPTIMIZER))


def without_times(records):
    return [{k: v for k, v in r.items() if "second" not in k} for r in records]


def test_history(whole):
    state, history = whole
    assert int(state.step) == 30
    assert [r["step"] for r in history.records] == [0, 10, 20, 30]
    assert "cost" not in history.records[0], "nothing was trained before it"
    assert history.records[3]["cost"] < history.records[1]["cost"]
    np.testing.assert_array_equal(np.isnan(history.column("cost")), [True, False, False, False])
    assert history.records[1]["compile_seconds"] > 0 and history.records[1]["examples_per_second"] > 0
    assert (history.stopped, history.skipped, history.best) == ("steps", 0, None)


def test_curves_hold_what_was_measured(whole):
    _, history = whole
    np.testing.assert_array_equal(history.curve("cost")[0], [10, 20, 30])
    np.testing.assert_array_equal(history.curve("cost")[1], history.column("cost")[1:])
    np.testing.assert_array_equal(history.curve("error")[0], [0, 10, 20, 30])
    with pytest.warns(NotApplied):
        _, poor = train(20, batches=poisoned(range(10)), max_skipped=100)
    assert np.isnan(poor.curve("cost")[1]).tolist() == [True, False], "none of the first ten was applied"
    with pytest.raises(ValueError, match=r"curve expects one of .*; got 'cots'"):
        history.curve("cots")


def test_by_hand(whole):
    """It is the steps, one after another, and the mean cost of those since the last record."""
    state, batches, costs = begin(), Batches(X, Y, 32), []
    for s in range(30):
        state, info = STEP(state, *batches(s))
        costs.append(float(info.cost))
    chex.assert_trees_all_equal(state, whole[0])
    assert [r.get("cost") for r in whole[1].records[1:]] == [np.mean(costs[i:i + 10]) for i in (0, 10, 20)]


def test_batches_by_any_function(whole):
    state, history = train(batches=lambda s: Batches(X, Y, 32)(s))
    chex.assert_trees_all_equal(state, whole[0])
    assert without_times(history.records) == without_times(whole[1].records)


def test_several_steps_in_a_dispatch(whole, tmp_path):
    """Another program, so the last bits may differ; gone on with, it is the same to the last bit."""
    state, history = train(steps_per_dispatch=5)
    np.testing.assert_allclose(history.column("cost")[1:], whole[1].column("cost")[1:], rtol=1e-5)
    train(20, steps_per_dispatch=5, directory=tmp_path)
    again, _ = train(steps_per_dispatch=5, directory=tmp_path)
    chex.assert_trees_all_equal(again, state)


def ragged(s):
    """Batches of 32, 32 and 26, epoch after epoch."""
    rows = slice(32 * (s % 3), 32 * (s % 3) + 32)
    return X[rows], Y[rows]


@pytest.mark.exhaustive
def test_batches_that_are_not_full_are_compiled_once_also_when_gone_on_with(tmp_path):
    net = Sequential(Dense(8), ops.relu, Dropout(0.1), Dense(2))
    ends = []
    for stops in ((12,), (5, 12)):
        step = make_step(net, ops.softmax_cross_entropy, OPTIMIZER, accumulate=2)
        for stop in stops:  # gone on with at step 5, the first batch it sees has 26
            state, _ = fit(start(net, OPTIMIZER, (4,), jax.random.key(0)), step, ragged, steps=stop, every=5,
                           progress=False, directory=tmp_path / str(len(stops)))
        ends.append(state)
        assert len(step.traces) == 1
    chex.assert_trees_all_equal(*ends)
    many, _ = fit(start(net, OPTIMIZER, (4,), jax.random.key(0)), step, ragged, steps=12, every=3, progress=False,
                  steps_per_dispatch=3)
    chex.assert_trees_all_close(many.params, ends[0].params, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at", [10, 17, 20])
def test_gone_on_with(whole, tmp_path, at):
    """From a checkpoint, and from one between two records: the same state and the same records."""
    train(at, directory=tmp_path, save_every=7, watch="error")
    state, history = train(directory=tmp_path, save_every=7, watch="error")
    chex.assert_trees_all_equal(state, whole[0])
    mine = {r["step"]: r for r in without_times(history.records)}
    for record in without_times(whole[1].records):
        if record["step"] != 20 or at != 17:  # the mean cost of a window that a record at its end has cut
            assert mine[record["step"]] == record
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == history.records
    again, _ = train(directory=tmp_path, save_every=7, watch="error")
    chex.assert_trees_all_equal(again, state)  # a run that is done stays as it is


def test_going_on_from_the_one_before(whole, tmp_path):
    """The newest checkpoint is damaged and the log's last line torn."""
    train(20, directory=tmp_path)
    next((tmp_path / "step_00000020").glob("*.bin")).write_bytes(b"")
    with open(tmp_path / "metrics.jsonl", "a") as log:
        log.write('{"step": 20, "co')
    with pytest.warns(checkpoint.DamagedCheckpoint, match="step 10 is loaded instead"):
        state, history = train(directory=tmp_path)
    chex.assert_trees_all_equal(state, whole[0])
    assert without_times(history.records) == without_times(whole[1].records)
    assert [r["step"] for r in read_lines(tmp_path / "metrics.jsonl")] == [0, 10, 20, 30]


def test_the_best_is_kept_and_patience_ends(tmp_path):
    values = iter([5.0, 3.0, 4.0, 3.5, 9.0, 1.0])
    _, history = train(100, metrics=lambda p, s: {"error": next(values)}, watch="error", patience=3,
                       directory=tmp_path)
    assert (history.stopped, history.best.step, history.best.value) == ("patience", 10, 3.0)
    assert history.records[-1]["step"] == 40
    kept = load(tmp_path / "best", (history.best.params, history.best.state))
    assert kept.step == 10 and kept.extra == {"value": 3.0}
    after_ten, _ = train(10)
    chex.assert_trees_all_equal(kept.tree[0], after_ten.params)


def test_out_of_patience_it_stays_so(tmp_path):
    options = {"metrics": lambda p, s: {"error": 1.0}, "watch": "error", "patience": 1, "directory": tmp_path}
    for _ in range(2):
        state, history = train(100, **options)
        assert (int(state.step), history.stopped) == (10, "patience")


def test_another_measure_has_a_best_of_its_own(tmp_path):
    both = lambda p, s: {"error": 0.01, "loss": 5.0}  # noqa: E731
    train(10, metrics=both, watch="error", directory=tmp_path)
    with pytest.warns(NotSaved, match="'loss' is watched in place of 'error': the search for the best starts anew"):
        _, history = train(20, metrics=both, watch="loss", directory=tmp_path)
    assert (history.best.step, history.best.value) == (20, 5.0)


def test_another_model_or_other_batches_of_the_same_shapes(tmp_path):
    train(10, directory=tmp_path)
    other = Sequential(Dense(8), BatchNorm(), ops.tanh, Dropout(0.1), Dense(2))
    with pytest.raises(ValueError, match=r"layer was 'Sequential\(.*relu.*, is 'Sequential\(.*tanh"):
        train(step=make_step(other, ops.softmax_cross_entropy, OPTIMIZER), directory=tmp_path)
    with pytest.raises(ValueError, match="seed was 0, is 9"):
        train(batches=Batches(X, Y, 32, seed=9), directory=tmp_path)


def test_what_lies_behind_a_damaged_checkpoint_is_set_aside(tmp_path):
    train(30, directory=tmp_path)
    for step in (20, 30):
        (tmp_path / f"step_000000{step}" / "manifest.json").unlink()
    with pytest.warns(checkpoint.DamagedCheckpoint, match="step 10 is loaded instead"):
        train(40, directory=tmp_path, keep=2)
    assert checkpoint.steps_in(tmp_path) == [30, 40] and load(tmp_path, step=30).step == 30
    assert {p.name for p in tmp_path.glob("damaged_*")} == {"damaged_step_00000020", "damaged_step_00000030"}


def test_batches_that_raise_lose_nothing(tmp_path):
    def broken(s):
        if s == 13:
            raise OSError("the file is gone")
        return Batches(X, Y, 32)(s)

    with pytest.raises(Failed, match="batches raised at step 13: OSError: the file is gone; the train") as caught:
        train(batches=broken, directory=tmp_path)
    assert int(caught.value.train_state.step) == 13 and checkpoint.steps_in(tmp_path)[-1] == 13
    assert len(caught.value.history.records) == 2


def test_the_best_survives_going_on(tmp_path):
    values = iter([1.0, 3.0, 9.0, 2.0, 8.0])
    options = {"metrics": lambda p, s: {"accuracy": next(values)}, "watch": "accuracy", "goal": "max",
               "directory": tmp_path}
    train(20, **options)
    _, history = train(40, **options)
    assert (history.best.step, history.best.value) == (20, 9.0)


def test_a_metric_that_is_no_number_is_never_the_best(tmp_path):
    values = iter([np.nan, 2.0, np.nan, np.nan, 1.0])
    _, history = train(100, metrics=lambda p, s: {"error": next(values)}, watch="error", patience=2,
                       directory=tmp_path)
    assert (history.best.step, history.stopped, history.records[-1]["step"]) == (10, "patience", 30)


def test_a_damaged_best_is_looked_for_anew(tmp_path):
    train(20, watch="error", directory=tmp_path)
    for path in (tmp_path / "best").glob("*/*.bin"):
        path.write_bytes(b"")
    with pytest.warns(checkpoint.DamagedCheckpoint, match="the best so far is lost, and the search for one starts"):
        _, history = train(30, watch="error", directory=tmp_path)
    assert history.best.step == 30


@pytest.fixture
def hangup_by_default():
    """Under nohup SIGHUP is ignored, and stays so in training."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_by_default")
def test_ctrl_c_sigterm_and_sighup_save_and_end_quietly(whole, tmp_path):
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)):
        def batches(s, number=number, sent=[]):  # noqa: B006
            if s == 13 and not sent:
                sent.append(os.kill(os.getpid(), number))
            return Batches(X, Y, 32)(s)

        directory = tmp_path / str(status)
        with pytest.raises(Interrupted) as caught:
            train(batches=batches, directory=directory)
        assert caught.value.code == status
        assert int(caught.value.train_state.step) == 14 and checkpoint.steps_in(directory)[-1] == 14
        state, _ = train(batches=batches, directory=directory)
        chex.assert_trees_all_equal(state, whole[0])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_write_that_fails_is_warned_of_and_tried_again(tmp_path, monkeypatch):
    real, failing = os.fsync, iter([OSError(28, "No space left on device")] + [None] * 10**6)

    def fsync(file):
        trouble = next(failing)
        if trouble:
            raise trouble
        return real(file)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    with pytest.warns(NotSaved, match="step 10 could not be saved .*No space left.*training continues"):
        train(directory=tmp_path)
    assert checkpoint.steps_in(tmp_path) == [20, 30]

    monkeypatch.setattr(checkpoint.os, "fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.warns(NotSaved), pytest.raises(OSError, match="No space left"):
        train(40, directory=tmp_path, save_every=5)
    monkeypatch.undo()
    assert load(tmp_path, begin()).step == 30, "the last must be saved, or it is an error; the old one is there"


def test_a_metric_that_raises(tmp_path):
    def broken(params, state):
        raise ZeroDivisionError("no dev examples")

    with pytest.raises(ValueError, match="measured before the first step too; got ZeroDivisionError: no dev examples"):
        train(metrics=broken)
    with pytest.raises(ValueError, match=r"'error' is an array of shape \(2,\), not a number"):
        train(metrics=lambda p, s: {"error": np.ones(2)})
    calls = iter(range(10))
    later = lambda p, s: error(p, s) if next(calls) < 1 else broken(p, s)  # noqa: E731
    words = "metrics raised at step 10: ZeroDivisionError: no dev examples; the train state is saved in"
    with pytest.raises(Failed, match=words):
        train(metrics=later, directory=tmp_path)
    assert checkpoint.steps_in(tmp_path) == [10]


def test_lines(capsys):
    train(progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step  0/30   error 0.")
    first = next(line for line in lines if line.startswith("step 10/30"))
    for part in ("cost 0.", "gradient norm ", "error 0.", " examples/s   0:0"):
        assert part in first
    assert lines[-1].startswith("step 30/30") and "left" not in lines[-1]


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    train(20, directory=tmp_path, tensorboard=True)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"gradient_norm" in events.read_bytes()
