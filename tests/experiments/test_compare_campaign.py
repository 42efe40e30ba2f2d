"""A campaign that is interrupted goes on where it stopped, and its tables are those of an uninterrupted one."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from experiments.compare import campaign, finished, mutation
from experiments.compare.checkers import ACCEPTED, FOUND

OPS = ["relu", "tanh", "silu", "dense"]
TABLES = ("mutants.txt", "mutants.md", "mutants.json")


def made_up(op, size, checkers):
    """An outcome with numbers of its own for each op and size, in no time."""
    n = OPS.index(op) + 10 * len(size)
    kinds = {f"x: {i}": f"gradient: {i % 3}" for i in range(n)}
    verdicts = {name: {m: ACCEPTED if i % 7 == 0 else FOUND for i, m in enumerate(kinds)} for name in checkers}
    return campaign.Outcome(op, size, kinds, ["x: same"], [], verdicts, dict.fromkeys(checkers, ACCEPTED),
                            dict.fromkeys(checkers, 0.25 * n))


def start(out, *more, ops=OPS):
    """The command, at two sizes; its exit status."""
    return mutation.mutation(["--ops", ",".join(ops), "--sizes", "small,medium", "--checkers", "jaxnn,chex",
                              "--out", str(out), *more])


def tables(out):
    return [(out / name).read_text() for name in TABLES]


def refusal(capsys, out, *more):
    with pytest.raises(SystemExit) as stop:
        start(out, *more)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def judged(monkeypatch):
    """Made-up outcomes in place of the checkers; which ops were judged, at which size."""
    calls = []

    def outcome_of(op, size, checkers):
        calls.append((op, size))
        return made_up(op, size, checkers)

    monkeypatch.setattr(campaign, "outcome_of", outcome_of)
    return calls


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_gone_on_with(tmp_path, judged, monkeypatch, capsys, number):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert start(whole) == 0
    assert judged == [(op, size) for size in ("small", "medium") for op in OPS]
    judged.clear()
    undisturbed = campaign.outcome_of

    def interrupted(op, size, checkers):
        if (op, size) == ("silu", "small"):
            os.kill(os.getpid(), number)
        return undisturbed(op, size, checkers)

    before = signal.getsignal(number)
    monkeypatch.setattr(campaign, "outcome_of", interrupted)
    assert start(parts) == 130
    assert signal.getsignal(number) is before
    assert "interrupted; 2 of 8 are finished; the same command goes on from there" in capsys.readouterr().out
    assert "2 of 8 done" in (parts / "mutants.txt").read_text()
    monkeypatch.setattr(campaign, "outcome_of", undisturbed)
    judged.clear()
    assert start(parts) == 0
    assert capsys.readouterr().out.startswith("2 of 8 are finished already")
    assert len(judged) == 6 and not {("relu", "small"), ("tanh", "small")} & set(judged)
    assert tables(parts) == tables(whole)


def test_more_ops_are_added_to_the_finished_ones(tmp_path, judged):
    assert start(tmp_path / "whole") == 0
    assert start(tmp_path / "parts", ops=OPS[2:]) == 0
    judged.clear()
    assert start(tmp_path / "parts") == 0
    assert {op for op, _ in judged} == set(OPS[:2])
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


@pytest.mark.exhaustive
def test_in_two_processes_an_interruption_ends_both(tmp_path, monkeypatch, capfd):
    keep = finished.Finished.add

    def kept_and_interrupted(self, outcome):
        keep(self, outcome)
        os.kill(os.getpid(), signal.SIGINT)

    others = multiprocessing.active_children()
    monkeypatch.setattr(finished.Finished, "add", kept_and_interrupted)
    assert mutation.mutation(["--ops", "relu,tanh,dense", "--sizes", "small", "--checkers", "jaxnn-function",
                              "--jobs", "2", "--out", str(tmp_path)]) == 130
    printed = capfd.readouterr()
    assert "interrupted; 1 of 3 are finished" in printed.out and "Traceback" not in printed.err
    # The pool's own thread waits for the same processes, and may be the one that learns of an end: a moment later.
    end = time.monotonic() + 10
    while multiprocessing.active_children() != others and time.monotonic() < end:
        time.sleep(0.01)
    assert multiprocessing.active_children() == others
    (file,) = (tmp_path / "outcomes").glob("*.small.json")
    outcome = campaign.Outcome(**json.loads(file.read_text()))
    assert len(outcome.kinds) > 25 and set(outcome.verdicts["jaxnn-function"].values()) == {FOUND}


def test_outcomes_of_another_source_are_refused_until_asked(tmp_path, judged, monkeypatch, capsys):
    assert start(tmp_path) == 0
    sources = finished._source()
    assert {"jaxnn/ops/dense.py", "experiments/catalogue.py", "experiments/compare/checkers.py"} <= set(sources)
    monkeypatch.setattr(finished, "_source", lambda: sources | {"jaxnn/ops/dense.py": "0"})
    words = refusal(capsys, tmp_path)
    assert "others: another jaxnn/ops/dense.py; begin anew with --anew, or name another --out" in words
    judged.clear()
    assert start(tmp_path, "--anew", ops=["dense"]) == 0
    assert judged == [("dense", "small"), ("dense", "medium")]
    assert len(list((tmp_path / "outcomes").glob("*.*.json"))) == 2  # the other ops' are gone
    assert start(tmp_path) == 0


def test_outcomes_of_other_settings_are_refused_by_name(tmp_path, judged, monkeypatch, capsys):
    assert start(tmp_path) == 0
    assert "checkers ['jaxnn', 'chex'], and not ['jaxnn']" in refusal(capsys, tmp_path, "--checkers", "jaxnn")
    monkeypatch.setattr(finished, "versions", lambda: {"jax": "9.9", "python": "3"})
    assert "and not 9.9" in refusal(capsys, tmp_path)
    (tmp_path / "outcomes" / "settings.json").write_text("{")
    assert "their settings.json is missing or damaged" in refusal(capsys, tmp_path)
    assert len(list((tmp_path / "outcomes").glob("*.*.json"))) == 8


@pytest.mark.parametrize("text", ["", '{"op": "relu"', "[]", '{"op": "relu"}', None])
def test_a_damaged_outcome_is_judged_again(tmp_path, judged, capsys, text):
    assert start(tmp_path) == 0
    before = tables(tmp_path)
    file = tmp_path / "outcomes" / "relu.small.json"
    file.write_text((tmp_path / "outcomes" / "tanh.small.json").read_text() if text is None else text)
    judged.clear()
    assert start(tmp_path) == 0
    assert judged == [("relu", "small")]
    assert "relu.small.json is damaged: relu, small is judged again" in capsys.readouterr().out
    assert tables(tmp_path) == before


def test_an_exception_ends_its_op_only(tmp_path, judged, monkeypatch, capsys):
    undisturbed = campaign.outcome_of

    def failing(op, size, checkers):
        if op == "tanh":
            raise FloatingPointError("the checker itself fails\nin two lines")
        return undisturbed(op, size, checkers)

    monkeypatch.setattr(campaign, "outcome_of", failing)
    assert start(tmp_path) == 1
    assert "tanh, small: not judged: FloatingPointError: the checker itself fails\n" in capsys.readouterr().out
    assert "6 of 8 done" in (tmp_path / "mutants.txt").read_text()
    monkeypatch.setattr(campaign, "outcome_of", undisturbed)
    judged.clear()
    assert start(tmp_path) == 0
    assert judged == [("tanh", "small"), ("tanh", "medium")]


def test_a_file_is_whole_or_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    finished.write_whole(file, "old")

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finished.write_whole(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert file.read_text() == "old\n"
