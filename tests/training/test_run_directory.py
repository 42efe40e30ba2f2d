"""The directory of a run: removed, shared, moved away from, or holding something else."""

import json
import multiprocessing
import os
import shutil
import signal
import warnings

import chex
import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.data import Batches
from jaxnn.training import SaveFailed, checkpoint, load, read_lines
from jaxnn.training.history import NotSaved
from jaxnn.training.lock import Lock
from tests.training.test_durability import X, Y, at_step, begin, series, train


@pytest.fixture(scope="module")
def after_six():
    return train()[0]


# What becomes of the directory.


def test_a_directory_removed_while_training_is_made_anew_whole(tmp_path, after_six):
    run = tmp_path / "run"
    options = {"metrics": series(3.0, 1.0, 2.0, 2.5), "watch": "error", "directory": run}
    with pytest.warns(NotSaved, match=r"all, best, metrics.jsonl of .* was removed while training"):
        state, history = train(batches=at_step(3, lambda: shutil.rmtree(run)), **options)
    chex.assert_trees_all_equal(state, after_six)
    assert checkpoint.steps_in(run) == [4, 6] and checkpoint.steps_in(run / "best") == [2]
    assert read_lines(run / "metrics.jsonl") == history.records and len(history.records) == 4
    assert not (run / "lock").exists()
    again, found = train(**options)
    chex.assert_trees_all_equal(again, state)
    assert found.best.value == 1.0


def test_a_directory_removed_before_the_first_step(tmp_path):
    run = tmp_path / "run"
    remove = iter([shutil.rmtree, lambda path: None])

    def metrics(params, state):
        next(remove)(run)
        return {"error": 1.0}

    with pytest.warns(NotSaved, match="was removed while training"):
        train(2, metrics=metrics, directory=run)
    assert [r["step"] for r in read_lines(run / "metrics.jsonl")] == [0, 2]


@pytest.mark.parametrize("name", ["best", "metrics.jsonl", "lock"])
def test_a_part_removed_while_training(tmp_path, name):
    def remove():
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotSaved)
        _, history = train(batches=at_step(3, remove), metrics=series(3.0, 1.0, 2.0, 2.5), watch="error",
                           directory=tmp_path)
    assert checkpoint.steps_in(tmp_path / "best")[-1] == 2
    assert read_lines(tmp_path / "metrics.jsonl") == history.records
    assert sorted(os.listdir(tmp_path)) == ["best", "metrics.jsonl", *(f"step_0000000{s}" for s in (2, 4, 6))]


@pytest.mark.parametrize("kind", ["none", "file", "link"])
def test_without_its_best_a_run_goes_on(tmp_path, kind):
    options = {"watch": "error", "directory": tmp_path}
    train(4, metrics=series(1.0, 2.0, 3.0), **options)
    best = tmp_path / "best"
    shutil.rmtree(best)
    if kind == "file":
        best.write_text("x")
    elif kind == "link":
        best.symlink_to(tmp_path / "nowhere")
    with pytest.warns(checkpoint.DamagedCheckpoint, match="the best so far is lost, and the search for one starts"):
        state, history = train(6, metrics=series(9.0), **options)
    assert history.best.value == 9.0 and load(best).step == 6
    again, _ = train(6, metrics=series(), **options)
    chex.assert_trees_all_equal(again, state)


def test_a_relative_directory_is_one_place(tmp_path, monkeypatch, after_six):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    state, _ = train(batches=at_step(3, lambda: os.chdir("elsewhere")), directory="run", metrics=series(4, 3, 2, 1),
                     watch="error")
    chex.assert_trees_all_equal(state, after_six)
    assert os.listdir(tmp_path / "elsewhere") == [] and checkpoint.steps_in(tmp_path / "run") == [2, 4, 6]


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, after_six):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InputError, match="got run, relative to a working directory that is gone"):
        train(directory="run")
    chex.assert_trees_all_equal(train(directory=tmp_path / "run")[0], after_six)


def test_a_directory_whose_name_cannot_be(tmp_path):
    for name, words in ((f"{tmp_path}/a\0b", "text or a path"), (tmp_path / ("a" * 300), "name too long")):
        with pytest.raises(InputError, match=f"(?i)fit expects directory, {words}|prepare expects .*{words}"):
            train(directory=name)


def test_a_log_that_cannot_be_written_keeps_no_checkpoint_from_being_saved(tmp_path, after_six):
    log = tmp_path / "metrics.jsonl"

    def replace():
        log.unlink()
        log.mkdir()

    with pytest.warns(NotSaved, match="metrics.jsonl was removed while training, and could not be written anew"):
        state, history = train(batches=at_step(3, replace), directory=tmp_path)
    chex.assert_trees_all_equal(state, after_six)
    assert checkpoint.steps_in(tmp_path) == [2, 4, 6] and len(history.records) == 4
    assert not list(tmp_path.glob("*.writing"))


# Two runs in a directory.


def test_a_second_run_in_a_directory_is_refused_by_name(tmp_path, after_six):
    def second():
        with pytest.raises(InputError, match=f"that no other run uses; got .*, used by process {os.getpid()} on "):
            train(directory=tmp_path)

    state, _ = train(batches=at_step(3, second), directory=tmp_path)
    chex.assert_trees_all_equal(state, after_six)
    assert not (tmp_path / "lock").exists()
    train(directory=tmp_path)


def test_another_run_in_the_place_of_a_removed_one_is_left_alone(tmp_path):
    run, other = tmp_path / "run", Lock(tmp_path / "run")

    def replace():
        shutil.rmtree(run)
        run.mkdir()
        other.take()

    with pytest.warns(NotSaved, match=r"step 4 could not be saved .*no other run uses"), \
            pytest.raises(SaveFailed, match="in this error, and could not be saved") as caught:
        train(batches=at_step(3, replace), directory=run)
    assert int(caught.value.train_state.step) == 6 and os.listdir(run) == ["lock"] and other.is_held()
    other.release()


def hold(directory, taken):
    Lock(directory).take()
    taken.set()
    signal.pause()


def test_a_lock_of_a_process_that_was_killed_is_not_in_the_way(tmp_path):
    context = multiprocessing.get_context("spawn")
    taken = context.Event()
    process = context.Process(target=hold, args=(tmp_path, taken))
    process.start()
    assert taken.wait(60)
    with pytest.raises(InputError, match=f"used by process {process.pid} on .*wait for its end"):
        Lock(tmp_path).take()
    process.kill()
    process.join()
    lock = Lock(tmp_path)
    lock.take()
    assert lock.is_held() and json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    lock.release()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("holder", "is_refused"), [
    ({"host": "here", "process": 2**22 + 1}, False), ({"host": "elsewhere", "process": 2**22 + 1}, True),
    ({"host": "here", "process": 1}, True)])
@pytest.mark.parametrize("has_locks", [None, False])
def test_where_locks_do_not_tell_the_process_and_its_host_do(tmp_path, monkeypatch, holder, is_refused, has_locks):
    """None: the file system has no locks; False: another process holds it, of the run in the file or forked by it."""
    monkeypatch.setattr("jaxnn.training.lock.socket.gethostname", lambda: "here")
    first = has_locks
    monkeypatch.setattr("jaxnn.training.lock._lock", lambda file: first if os.fstat(file).st_size else True)
    (tmp_path / "lock").write_text(json.dumps(holder))
    lock = Lock(tmp_path)
    if is_refused:
        with pytest.raises(InputError, match=f"process {holder['process']} on {holder['host']}.*remove .*lock"):
            lock.take()
    else:
        lock.take()
        assert lock.is_held()
        lock.release()


@pytest.mark.parametrize("kind", ["directory", "link", "loop"])
def test_what_is_no_lock_file_is_refused_and_left_alone(tmp_path, kind):
    path, other = tmp_path / "lock", tmp_path / "other"
    path.mkdir() if kind == "directory" else path.symlink_to(other if kind == "link" else path)
    with pytest.raises(InputError, match=r"a file as .*lock, or none; got something else .*move it away"):
        train(directory=tmp_path)
    assert os.listdir(tmp_path) == ["lock"], "the link was not followed"


@pytest.mark.parametrize("text", ["", "x", "[]", '{"host": "a", "process": 1e400}', "[" * 100_000])
def test_a_lock_file_of_anything_that_nobody_holds(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    lock = Lock(tmp_path)
    lock.take()
    assert lock.is_held()
    lock.release()


# What a run is resumed from.


def test_another_key_is_refused(tmp_path):
    train(2, directory=tmp_path)
    with pytest.raises(InputError, match=r"the run that .* was begun with; got key was \[.*\], is \["):
        train(train_state=begin(seed=1), directory=tmp_path)
    train(directory=tmp_path)


def test_a_checkpoint_of_save_alone_is_refused_at_the_start(tmp_path):
    checkpoint.save(tmp_path, 2, begin())
    with pytest.raises(InputError, match=r"a checkpoint that fit wrote; got step 2 of .* without run, configuration, "):
        train(directory=tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["step_00000002"]


@pytest.mark.parametrize("configuration", [["rate", 0.1], "text", {1: 2}, {"a": np.inf}, {"a": np.float32(1)}, 3])
def test_a_configuration_that_cannot_be_saved_is_refused_at_the_start(tmp_path, configuration):
    with pytest.raises(InputError, match="fit expects a configuration"):
        train(configuration=configuration, directory=tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_a_configuration_hides_nothing_of_the_run(tmp_path):
    train(2, directory=tmp_path, configuration={"layer": "mine", "key": 3})
    with pytest.raises(InputError, match="seed was 0, is 1"):
        train(directory=tmp_path, configuration={"layer": "mine", "key": 3}, batches=Batches(X, Y, 10, seed=1))


@pytest.mark.parametrize("line", [b'{"step": 1e400}', b"[" * 100_000, b'{"step": true}', b'{"step": 1.5}',
                                  b"\xff", b"[1]"])
def test_a_log_with_any_line_is_read(tmp_path, line, after_six):
    train(4, directory=tmp_path)
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(line + b"\n" + log.read_bytes())
    with pytest.warns(UserWarning, match=r"line 1 of .* is no record and left out"):
        state, history = train(directory=tmp_path)
    chex.assert_trees_all_equal(state, after_six)
    assert [r["step"] for r in history.records] == [0, 2, 4, 6]


def test_what_is_no_log_is_refused_at_the_start(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"a file of records, or none; got .*which is no regular file"):
        train(directory=tmp_path)
    assert os.listdir(tmp_path) == ["metrics.jsonl"]
