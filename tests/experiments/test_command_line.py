"""`python -m experiments`: list, run, help, and what it refuses, in one sentence and before time is spent."""

import dataclasses
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import EXPERIMENTS, main
from experiments.gallery.course import COURSES
from experiments.shared.run import divergences, series

QUICK = ["logistic-regression", "--data", "breast-cancer", "--iterations", "2", "--sweep-iterations", "2"]


def refusal(capsys, *argv: str) -> str:
    """The message with which a command line is refused."""
    assert main(argv) != 0
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed


def test_list_has_a_name_and_a_question_on_each_line_under_its_course(capsys):
    assert main(["list"]) == 0
    *lines, advice = capsys.readouterr().out.splitlines()
    assert "run NAME --help" in advice
    assert len(lines) == len(EXPERIMENTS) + len(COURSES)
    starts, listed, number = set(), [], 0
    for line in lines:
        if line.startswith("Course "):
            number += 1
            assert line == f"Course {number}: {COURSES[number]}"
            continue
        name, question = line.split(maxsplit=1)
        assert EXPERIMENTS[name].startswith(f"experiments.course{number}.")
        assert question.endswith("?") and len(line) <= 130
        starts.add(line.index(question))
        listed.append(name)
    assert listed == list(EXPERIMENTS)
    assert len(starts) == 1, "the questions are aligned"


@pytest.mark.parametrize("argv", [["--help"], ["list", "--help"], ["run", "--help"], ["list", "-h"]])
def test_help_of_a_command_without_options(capsys, argv):
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: python -m experiments") and not shown.err


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_shows_every_knob_with_its_default(capsys, name):
    with pytest.raises(SystemExit) as stop:
        main(["run", name, "--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in ("--out", "--data-dir", "--seed"):
        assert option in shown
    assert f"(default: runs/{name})" in shown
    assert shown.count("(default: ") >= 5


def test_help_says_first_what_a_knob_is():
    """"Adam's" or "of the weights" says of what the knob is, "the course's" why; "Adam's learning rate" says what."""
    for name, module in EXPERIMENTS.items():
        for field in dataclasses.fields(importlib.import_module(module).Knobs):
            meaning = field.metadata["meaning"]
            what = re.split("[,;:]", meaning)[0]
            assert not re.match(r"(of|at|as|by|before|from|when|with|and) ", what), f"{name} {field.name}: {meaning}"
            assert not what.endswith("'s"), f"{name} {field.name}: {meaning}"
            if field.name == "seed":
                assert "seed" in what, f"{name}: {meaning}"


def test_a_run_writes_its_measures_beside_what_they_were_measured_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", *QUICK, "--seed", "3", "--sweep", "0.5", "0.25"]) == 0
    path = Path("runs", "logistic-regression", "metrics.json")
    assert str(path) in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert record["experiment"] == "logistic-regression"
    assert record["seed"] == 3
    assert record["configuration"] == {
        "seed": 3, "data": "breast-cancer", "iterations": 2, "learning_rate": 0.005, "sweep": [0.5, 0.25],
        "sweep_iterations": 2}
    assert set(record["versions"]) == {"python", "jax", "jaxlib", "optax", "numpy"}
    assert {"commit", "device"} <= set(record)
    assert record["seconds"] > 0


@pytest.mark.parametrize(("argv", "message"), [
    ([], "expected a command; got none"),
    (["trian"], "expected a command; got trian"),
    (["list", "digits"], "list expects no argument; got 'digits'"),
    (["run"], "run expects the name of an experiment first"),
    (["run", "--seed", "1"], "run expects the name of an experiment first"),
    (["run", "digit"], "run expects the name of an experiment; got 'digit'; did you mean 'digits'?"),
    (["run", "logistic"], "got 'logistic'; did you mean 'logistic-regression'?"),
    (["run", "xyzzy"], "got 'xyzzy'; choose from digits, logistic-regression"),
])
def test_a_command_line_without_sense_says_what_was_expected(capsys, argv, message):
    assert message in refusal(capsys, *argv)


@pytest.mark.parametrize(("options", "message"), [
    (["--epochs", "many"], "--epochs expects an integer at least 1; got 'many'"),
    (["--epochs", "0"], "--epochs expects an integer at least 1; got 0"),
    (["--epochs", "1.5"], "--epochs expects an integer at least 1; got '1.5'"),
    (["--learning-rate", "-1"], "--learning-rate expects a number above 0; got -1.0"),
    (["--learning-rate", "nan"], "--learning-rate expects a number above 0; got nan"),
    (["--learning-rate", "inf"], "--learning-rate expects a number above 0; got inf"),
    (["--dropout", "1"], "--dropout expects a number at least 0 below 1; got 1.0"),
    (["--hidden", "8", "0"], "--hidden expects an integer at least 1; got 0"),
    (["--seed", "-1"], "--seed expects an integer at least 0; got -1"),
])
def test_a_knob_out_of_bounds_is_named(capsys, tmp_path, options, message):
    assert refusal(capsys, "run", "digits", "--out", str(tmp_path / "new"), *options) == f"error: {message}\n"
    assert not (tmp_path / "new").exists()


def test_a_word_that_is_no_choice_is_refused_with_the_choices(capsys):
    message = refusal(capsys, "run", "logistic-regression", "--data", "dogs")
    assert message == "error: --data expects one of auto, cat, breast-cancer; got 'dogs'\n"


def test_an_unknown_knob_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "digits", "--epoch", "3"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --epoch 3" in capsys.readouterr().err


def test_out_may_not_be_a_file(capsys, tmp_path):
    file = tmp_path / "results"
    file.write_text("mine")
    message = refusal(capsys, "run", *QUICK, "--out", str(file))
    assert message == f"error: --out expects a directory; got the file {file}; name another place\n"
    assert file.read_text() == "mine"


def test_out_must_be_a_place_that_can_be_written_to(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    message = refusal(capsys, "run", *QUICK, "--out", str(tmp_path / "file" / "below"))
    assert "--out expects a directory that can be written to; got" in message


def test_a_data_directory_that_was_asked_for_must_exist(capsys, tmp_path):
    nowhere = tmp_path / "nowhere"
    message = refusal(capsys, "run", *QUICK, "--out", str(tmp_path), "--data-dir", str(nowhere))
    assert f"expects an existing directory at {nowhere}" in message


@pytest.mark.parametrize("name", ["logistic-regression", "deep-network"])
def test_missing_photographs_are_named_with_where_they_go_and_what_goes_without_them(capsys, tmp_path, name):
    message = refusal(capsys, "run", name, "--data", "cat", "--data-dir", str(tmp_path),
                   "--out", str(tmp_path / "out"))
    assert message.count("\n") == 1
    assert "c1/train_catvnoncat.h5 was expected at" in message
    assert str(tmp_path / "c1" / "train_catvnoncat.h5") in message
    assert "--data breast-cancer" in message


def test_a_damaged_file_is_refused_even_where_another_set_would_do(capsys, tmp_path):
    (tmp_path / "train_catvnoncat.h5").write_bytes(b"<html>not found</html>")
    message = refusal(capsys, "run", "logistic-regression", "--data-dir", str(tmp_path),
                   "--out", str(tmp_path / "out"))
    assert "train_catvnoncat.h5 expects an HDF5 file; got" in message


def test_a_second_run_does_not_take_the_place_of_the_first(capsys, tmp_path):
    assert main(["run", *QUICK, "--out", str(tmp_path), "--seed", "3"]) == 0
    (tmp_path / "notes.png").write_bytes(b"mine")
    first = (tmp_path / "metrics.json").read_bytes()
    message = refusal(capsys, "run", *QUICK, "--out", str(tmp_path))
    assert message == (f"error: --out expects a directory without results; got {tmp_path} with those of "
                       "logistic-regression, seed 3; name another place, or pass --overwrite to replace them\n")
    assert (tmp_path / "metrics.json").read_bytes() == first
    (tmp_path / "weights.png").write_bytes(b"old")
    assert main(["run", *QUICK, "--out", str(tmp_path), "--overwrite"]) == 0
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["seed"] == 1 and record["pictures"] == ["cost.png", "weights.png"]
    assert (tmp_path / "notes.png").read_bytes() == b"mine" and (tmp_path / "weights.png").stat().st_size > 5000
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refusal(capsys, "run", "logistic-regression", "--data", "cat", "--data-dir", str(tmp_path), "--overwrite", "--out",
            str(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, "a run that fails replaces nothing"


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", "[" * 100_000, '{"experiment": 1}'])
def test_a_metrics_file_of_anything_is_not_overwritten(capsys, tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    message = refusal(capsys, "run", *QUICK, "--out", str(tmp_path))
    assert "with a metrics.json that is none of an experiment; name another place, or pass --overwrite" in message
    assert (tmp_path / "metrics.json").read_text() == text


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "options"), [
    ("logistic-regression", ["--data", "breast-cancer", "--iterations", "50", "--sweep-iterations", "2"]),
    ("planar", ["--iterations", "20", "--sweep-iterations", "2", "--sweep", "1", "--sets", "blobs"]),
])
def test_a_learning_rate_that_is_far_too_large_is_reported(capsys, tmp_path, name, options):
    assert main(["run", name, *options, "--learning-rate", "1e9", "--out", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("diverged: ") and message.endswith("; a smaller learning rate may do\n")
    assert json.loads((tmp_path / "metrics.json").read_text())["diverged"]


def test_costs_are_recorded_densely_enough_to_draw():
    for n, last in ((1, 0), (3, 2), (101, 100), (1000, 999), (10_000, 9999), (30_000, 29_999)):
        record = series(np.arange(n))
        assert record["iteration"] == record["cost"] and record["cost"][-1] == last
        assert min(n, 100) <= len(record["cost"]) <= 202
        assert set(range(0, n, 1000)) <= set(record["iteration"])
    assert series([3.0, 1.0], "epoch", [1.5, 3.0]) == {"epoch": [1.5, 3.0], "cost": [3.0, 1.0]}


def test_what_diverged_is_told_from_what_did_not():
    fine = {"a": 1, "costs": {"one": series([0.7, 0.9, 0.1]), "two": series([0.7] * 30)}, "sweep": [1]}
    assert list(divergences(fine)) == []
    assert list(divergences({"cost": {"epoch": [0], "cost": [9e6], "start": 0.7}})) == [
        "the cost of 'cost' is 0.7 nats at first and 9e+06 at last"]
    bad = {"costs": {"one": series([0.7, np.nan, 0.1]), "two": series([0.7, 0.1, 1e9])}, "fixed": {
        "Adam": {"costs": series([1.0, np.inf], "epoch")}}}
    assert list(divergences(bad)) == ["the cost of 'one' is nan at iteration 1",
                                      "the cost of 'two' is 0.7 nats at first and 1e+09 at last",
                                      "the cost of 'fixed Adam' is inf at epoch 1"]
