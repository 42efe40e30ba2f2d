"""Whatever the caller's functions return, and whatever becomes of the disk: no step that was taken is lost."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ops
from jaxnn.checks import InputError
from jaxnn.data import Batches
from jaxnn.layers import Dense, Sequential
from jaxnn.training import (
    Diverged,
    Failed,
    Interrupted,
    SaveFailed,
    checkpoint,
    dry_run,
    evaluate,
    fit,
    make_step,
    overfit_one_batch,
    read_lines,
    start,
)
from jaxnn.training.history import NotSaved

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
NET, OPTIMIZER = Sequential(Dense(2)), optax.adam(0.02)
STEP = make_step(NET, ops.softmax_cross_entropy, OPTIMIZER)
BATCHES = Batches(X, Y, 10)


def begin(seed=0):
    return start(NET, OPTIMIZER, (3,), jax.random.key(seed))


def train(steps=6, train_state=None, batches=BATCHES, **options):
    return fit(begin() if train_state is None else train_state, STEP, batches, steps=steps,
               **{"every": 2, "progress": False} | options)


@pytest.fixture(scope="module")
def after_six():
    return train()[0]


def series(*values):
    """Metrics with these values, one after another."""
    remaining = iter(values)
    return lambda params, state: {"error": next(remaining)}


def full_disk(*args, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


def at_step(number, act):
    """Batches that do something before this step, once."""
    done = []

    def batches(s):
        if s == number and not done:
            done.append(act())
        return BATCHES(s)

    for name in ("seed", "batch_size", "n_examples"):
        setattr(batches, name, getattr(BATCHES, name))
    return batches


# What metrics return.


@pytest.mark.parametrize(("goal", "values", "best"), [
    ("min", [np.inf, np.inf, np.inf, np.nan], np.inf), ("max", [np.inf, 1.0, -np.inf, np.nan], np.inf),
    ("max", [-np.inf, np.nan, np.float32(0.1), np.float16(0.25)], 0.25), ("max", [1, 2**70, 2**70 + 1, 3], 2**70 + 1),
    ("min", [True, np.bool_(True), np.bool_(False), True], False),
    ("max", [np.int64(3), np.uint8(255), jnp.bfloat16(1.5), jnp.float32(2)], 255)])
def test_any_number_is_kept_as_it_is(tmp_path, goal, values, best):
    _, history = train(metrics=series(*values), watch="error", goal=goal, directory=tmp_path)
    expected = [v if isinstance(v, int) else np.asarray(v).item() for v in values]
    for found in (history.records, read_lines(tmp_path / "metrics.jsonl")):
        assert repr([r["error"] for r in found]) == repr(expected)
    json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1], parse_constant=pytest.fail)
    assert history.best.value == best and type(history.best.value) is type(best)
    _, again = train(metrics=series(), watch="error", goal=goal, directory=tmp_path)
    assert again.best.value == best and type(again.best.value) is type(best)
    assert repr(again.records) == repr(history.records)
    assert again.column("error").dtype == float


@pytest.mark.parametrize(("value", "words"), [
    ("0.3", "'error' is '0.3', not a number"), (b"1", "not a number"), (None, "'error' is None, not a number"),
    (1j, "'error' is 1j, not a number"), (10**400, "an integer beyond the range of float64"), ([], "array of shape"),
    (np.longdouble(1) / 3, "which float64 rounds"), (np.datetime64("2020"), "not a number"),
    (object(), "not a number")])
def test_a_metric_that_turns_to_something_else_loses_nothing(tmp_path, value, words):
    with pytest.raises(Failed, match=f"metrics raised at step 4: .*{words}.*; the train state is saved in") as caught:
        train(metrics=series(0.5, 0.4, value), watch="error", directory=tmp_path)
    assert int(caught.value.train_state.step) == 4 and checkpoint.steps_in(tmp_path)[-1] == 4
    assert caught.value.history.best.value == 0.4
    with pytest.raises(ValueError, match=words):
        train(metrics=series(value))


@pytest.mark.parametrize("found", [{1: 0.5}, [("error", 1)], None, {"error": 1, "step": 2}])
def test_metrics_that_are_no_names_and_numbers(tmp_path, found):
    results = iter([{"error": 1.0}, found])
    with pytest.raises(Failed, match="metrics raised at step 2") as caught:
        train(metrics=lambda p, s: next(results), directory=tmp_path)
    assert int(caught.value.train_state.step) == 2


def test_a_misspelt_watch_of_a_run_that_goes_on_is_refused_at_once(tmp_path):
    train(4, metrics=lambda p, s: {"error": 0.5}, watch="error", directory=tmp_path)
    with pytest.warns(NotSaved, match="'eror' is watched"), pytest.raises(InputError, match="no 'eror', which is to"):
        train(6, metrics=lambda p, s: {"error": 0.5}, watch="eror", directory=tmp_path)
    _, history = train(6, metrics=lambda p, s: {"error": 0.5}, watch="error", directory=tmp_path)
    assert history.best.step == 0


def test_batches_that_go_wrong_later_lose_nothing(tmp_path):
    for i, bad in enumerate(((X[:4], Y[:3]), (X[:4],), None, (X[:4, :2], Y[:4]))):
        with pytest.raises(Failed, match=r"at step 3: .*; the train state is saved in") as caught:
            train(batches=lambda s, bad=bad: bad if s == 3 else BATCHES(s), directory=tmp_path / str(i))
        assert int(caught.value.train_state.step) == 3
        assert checkpoint.steps_in(tmp_path / str(i))[-1] == 3


def test_a_program_that_cannot_be_started(tmp_path, monkeypatch):
    calls, real = [], STEP._program

    def program(*args):
        calls.append(args)
        if len(calls) > 3:
            raise RuntimeError("out of memory")
        return real(*args)

    monkeypatch.setattr(STEP, "_program", program)
    with pytest.raises(Failed, match=r"training failed at step 3: RuntimeError: out of memory; .* saved in") as caught:
        train(directory=tmp_path)
    assert int(caught.value.train_state.step) == 3 and checkpoint.steps_in(tmp_path)[-1] == 3


def test_a_step_that_fails_as_it_runs_takes_the_state_with_it_and_the_message_tells(tmp_path):
    calls = []

    def check(y):
        calls.append(y)
        if len(calls) > 3:
            raise ZeroDivisionError("the callback failed")
        return y

    @jax.custom_jvp
    def checked(y):
        return jax.pure_callback(check, y, y, vmap_method="expand_dims")

    checked.defjvp(lambda primals, tangents: (checked(*primals), *tangents))
    step = make_step(NET, lambda y, label: ops.softmax_cross_entropy(checked(y), label), OPTIMIZER,
                     gradients="autodiff")
    with pytest.raises(Failed, match=r"(?s)callback failed.*taken the train state with it, and started again, it"):
        fit(begin(), step, BATCHES, steps=6, every=2, progress=False, directory=tmp_path)
    assert checkpoint.steps_in(tmp_path) == [2]
    calls.clear()
    state, _ = fit(begin(), step, BATCHES, steps=4, every=2, progress=False, directory=tmp_path)
    assert int(state.step) == 4


def test_a_function_that_ends_the_process(tmp_path):
    with pytest.raises(SystemExit) as caught:
        train(batches=at_step(3, lambda: sys.exit(5)), directory=tmp_path)
    assert caught.value.code == 5 and checkpoint.steps_in(tmp_path)[-1] == 3


# The disk is full.


def test_a_full_disk_at_the_end_keeps_the_state_in_the_error(tmp_path, monkeypatch, after_six):
    monkeypatch.setattr(checkpoint.os, "fsync", full_disk)
    words = r"training is done, at step 6; the train state is in this error, and could not be saved in .*No space left"
    with pytest.raises(SaveFailed, match=words) as caught:
        train(directory=tmp_path, save_every=100)
    chex.assert_trees_all_equal(caught.value.train_state, after_six)
    assert caught.value.history.records[-1]["step"] == 6 and isinstance(caught.value, OSError)
    assert not (tmp_path / "lock").exists()


def test_a_full_disk_at_a_signal_keeps_the_status_and_the_state(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint.os, "fsync", full_disk)
    with pytest.raises(Interrupted) as caught:
        train(batches=at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM)), directory=tmp_path, save_every=100,
              progress=True)
    assert (caught.value.code, int(caught.value.train_state.step), caught.value.is_saved) == (143, 4, False)
    shown = capsys.readouterr()
    assert "SIGTERM at step 4: not saved in" in shown.err and "No space left" in shown.err
    assert "stopped at step 4; not saved in" in shown.out


@pytest.mark.filterwarnings("ignore::jaxnn.training.NotApplied")
def test_a_full_disk_at_divergence_and_where_batches_raise(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.os, "fsync", full_disk)
    words = "2 steps in a row were not finite; the last good train state is in this error, and could not be saved in"
    with pytest.raises(Diverged, match=words) as caught:
        train(batches=lambda s: (X[:10] * np.nan, Y[:10]) if s > 2 else BATCHES(s), directory=tmp_path, max_skipped=2,
              save_every=100)
    assert np.isfinite(caught.value.train_state.params["dense1"]["weight"]).all()

    def broken():
        raise KeyError("name")

    words = "batches raised at step 3: KeyError: 'name'; the train state is in this error"
    with pytest.raises(Failed, match=words) as e:
        train(batches=at_step(3, broken), directory=tmp_path / "b", save_every=100)
    assert int(e.value.train_state.step) == 3


def test_a_signal_that_the_process_ignores_stays_ignored(tmp_path, after_six):
    """As Ctrl-C is in what a shell runs in the background, and SIGHUP under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        before = signal.signal(number, signal.SIG_IGN)
        try:
            state, _ = train(batches=at_step(3, lambda number=number: os.kill(os.getpid(), number)),
                             directory=tmp_path / str(number))
            assert signal.getsignal(number) is signal.SIG_IGN
        finally:
            signal.signal(number, before)
        chex.assert_trees_all_equal(state, after_six)


def test_a_signal_while_the_end_is_saved(tmp_path, monkeypatch):
    real = checkpoint.save
    for at, number in ((1, signal.SIGTERM), (2, signal.SIGINT)):
        def save(directory, step, *args, number=number, **keywords):
            if step == 6:
                os.kill(os.getpid(), number)
            return real(directory, step, *args, **keywords)

        monkeypatch.setattr(checkpoint, "save", save)
        with pytest.raises(Interrupted) as caught:
            train(directory=tmp_path / str(at))
        assert caught.value.code == 128 + number and int(caught.value.train_state.step) == 6
    batches = at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(batches=batches, directory=tmp_path / "last")
    assert checkpoint.steps_in(tmp_path / "last")[-1] == 6


def test_an_error_beside_a_signal_tells_of_it(tmp_path):
    def both():
        os.kill(os.getpid(), signal.SIGTERM)
        raise KeyError("name")

    with pytest.raises(Failed) as caught:
        train(batches=at_step(3, both), directory=tmp_path)
    assert caught.value.__notes__ == ["SIGTERM came too: the exit status is that of this error"]


# TensorBoard, and the terminal.


class Failing:
    """A writer whose disk is full."""

    def __init__(self, directory):
        Path(directory).mkdir(exist_ok=True)

    add_scalar = flush = close = full_disk


def test_a_write_for_tensorboard_that_fails_is_a_warning(tmp_path, monkeypatch, after_six):
    module = type("tensorboardX", (), {"SummaryWriter": Failing})
    monkeypatch.setattr("jaxnn.training.log.import_extra", lambda *names: module)
    with pytest.warns(NotSaved, match=r"(written for TensorBoard|be closed) .*No space left"):
        state, history = train(directory=tmp_path, tensorboard=True)
    chex.assert_trees_all_equal(state, after_six)
    assert [r["step"] for r in history.records] == [0, 2, 4, 6]
    # An error on its way is not replaced by the one of closing.
    with pytest.warns(NotSaved), pytest.raises(Failed, match="metrics raised") as caught:
        train(metrics=series(1.0, 2.0), directory=tmp_path / "b", tensorboard=True)
    assert "TensorBoard could not be closed" in caught.value.__notes__[0]


def test_a_terminal_that_is_gone(tmp_path, monkeypatch, after_six):
    class Gone:
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

        def flush(self):
            pass

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdout", Gone())
    state, _ = train(progress=True, directory=tmp_path)
    chex.assert_trees_all_equal(state, after_six)


@pytest.mark.parametrize("kind", ["closed", "none"])
def test_no_terminal_at_all(monkeypatch, after_six, kind):
    stream = None if kind == "none" else io.StringIO()
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    chex.assert_trees_all_equal(train(progress=True)[0], after_six)


# Arguments.


@pytest.mark.parametrize("call", [
    lambda old: STEP(old, X, Y), lambda old: STEP.many(old, X[None], Y[None]), lambda old: train(train_state=old),
    lambda old: STEP.cost_and_gradient(old, X, Y), lambda old: dry_run(old, STEP, BATCHES),
    lambda old: overfit_one_batch(old, STEP, X, Y), lambda old: evaluate(NET, old.params, old.state, X),
    lambda old: checkpoint.save("nowhere", 1, old),
], ids=["step", "step.many", "fit", "cost_and_gradient", "dry_run", "overfit_one_batch", "evaluate", "save"])
@pytest.mark.filterwarnings("ignore::jaxnn.training.Retraced")
def test_a_train_state_that_a_step_has_taken_over(call):
    old = begin()
    STEP(old, *BATCHES(0))
    words = (r"that no step has taken over; got one whose '.*dense1/bias' is deleted; use the train state that the "
             "step returned, or copy the one")
    with pytest.raises(InputError, match=words):
        call(old)


@pytest.mark.parametrize("options", [{"resume": "no"}, {"resume": 0}, {"tensorboard": None}, {"progress": "yes"},
                                     {"other_versions": 1}])
def test_what_is_neither_true_nor_false(options):
    with pytest.raises(InputError, match=f"{next(iter(options))}, True or False; got"):
        train(**options)


def test_a_column_that_no_record_has():
    _, history = train(2)
    with pytest.raises(InputError, match=r"column expects one of .*cost.*; got 'cots'"):
        history.column("cots")
    np.testing.assert_array_equal(np.isnan(history.column("cost")), history.column("step") == 0)


def test_numpy_leaves_in_the_train_state(after_six):
    train_state = begin()
    state = jax.tree.map(np.asarray, train_state._replace(key=None))._replace(key=train_state.key)
    kept = jax.tree.map(np.copy, state.params)
    ended, history = train(train_state=state, metrics=series(3, 2, 1, 0), watch="error")
    chex.assert_trees_all_equal(ended, after_six)
    chex.assert_trees_all_equal(state.params, kept)
    assert history.best.step == 6


@pytest.mark.exhaustive
@pytest.mark.parametrize(("number", "shown"), [
    (signal.SIGTERM, 143), *(pytest.param(*other, marks=pytest.mark.exhaustive)
                             for other in ((signal.SIGINT, 130), (signal.SIGHUP, 129)))])
def test_the_status_of_the_process(tmp_path, number, shown):
    program = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        from tests.training.test_durability import train, at_step
        train(batches=at_step(3, lambda: os.kill(os.getpid(), {int(number)})), directory=sys.argv[1])
    """)
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                           check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ended.returncode == shown, ended.stderr
    assert checkpoint.steps_in(tmp_path)[-1] == 4
