"""The campaign, a small one, counts what each checker finds."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments.catalogue import find
from experiments.compare import campaign, checkers, mutant_table, mutation
from experiments.compare.checkers import ACCEPTED, CHECKERS, FOUND
from experiments.compare.point import Point
from jaxnn.gradients.mutants import mutants

SMALL = ["relu", "softmax_cross_entropy"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One run of the command with all checkers, without PyTorch's if it is missing."""
    out = tmp_path_factory.mktemp("mutants")
    assert mutation.mutation(["--ops", ",".join(SMALL), "--sizes", "small", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def record(written):
    return json.loads((written / "mutants.json").read_text())


@pytest.mark.exhaustive
def test_the_comparison_accepts_no_mutant_and_every_right_one(record):
    for name in ("jaxnn", "jaxnn-function"):
        checker = record["checkers"][name]
        assert checker["accepted_mutants"] == []
        assert checker["false_alarms"] == []
        assert checker["found"] + checker["refused"] == record["mutants"] > 60
    assert record["checkers"]["jaxnn"]["refused"] > 0
    assert record["checkers"]["jaxnn-function"]["refused"] == 0


@pytest.mark.exhaustive
def test_numerical_checkers_accept_some_at_their_defaults(record):
    for name in ("check_grads", "check_grads-loss", "chex", "chex-loss"):
        checker = record["checkers"][name]
        assert 0 < checker["accepted"] == len(checker["accepted_mutants"]) < record["mutants"] / 2
        assert {"op", "size", "mutant", "kind"} == set(checker["accepted_mutants"][0])
        assert checker["right_ones"] == len(SMALL)


@pytest.mark.exhaustive
def test_pytorch_is_among_them(record, torch):
    for name in ("gradcheck", "gradcheck-fast"):
        checker = record["checkers"][name]
        assert checker["found"] > record["mutants"] / 2
        assert checker["false_alarms"] == []


@pytest.mark.exhaustive
def test_the_tables(written, record):
    text, markdown = (written / "mutants.txt").read_text(), (written / "mutants.md").read_text()
    assert f"{record['mutants']:,} wrong backward passes of 2 ops and networks, float32" in text
    assert "accepted by jaxnn: none" in text
    assert "| checker | found, small | accepted |" in markdown
    for name in record["checkers"]:
        assert f"\n{name} " in text
        assert f"| {name} |" in markdown
    for kind in record["kinds"]:
        assert kind in text
    assert sum(record["kinds"].values()) == record["mutants"]
    assert [point["op"] for point in record["points"]] == SMALL


def test_without_pytorch_its_checkers_are_left_out(monkeypatch, capsys):
    monkeypatch.setattr(campaign, "has_torch", lambda: False)
    names = campaign.checkers_at_hand()
    assert "jaxnn" in names and not any(name.startswith("gradcheck") for name in names)
    assert "PyTorch is not installed: torch.autograd.gradcheck is left out" in capsys.readouterr().out
    assert campaign.checkers_at_hand(["chex", "jaxnn"]) == ["jaxnn", "chex"] and capsys.readouterr().out == ""


@pytest.mark.parametrize(("argv", "message"), [
    (["--sizes", "tiny"], "--sizes expects names among small, medium, large; got 'tiny'"),
    (["--sizes", ","], "--sizes expects at least one name among small, medium, large; got none"),
    (["--ops", "dens"], "expects the name of an op; got 'dens'; did you mean 'dense'?"),
    (["--checkers", "jax"], "--checkers expects names among jaxnn, jaxnn-function, check_grads"),
    (["--jobs", "0"], "--jobs expects at least one process; got 0"),
])
def test_what_is_refused(argv, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        mutation.mutation([*argv, "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_judged_is_the_mutant_itself():
    """The campaign runs the passes compiled and the mutation around them not; the numbers are the same."""
    point = Point(find("dense"), "medium")
    own = mutants(point.op, *point.args)
    assert [m.name for m in own] == [m.name for m in point.mutants]
    y, cache = point.op.forward(*point.args)
    dy = jnp.arange(1.0, y.size + 1)
    for judged, mutant in zip(point.mutants, own, strict=True):
        with jax.disable_jit():
            got = judged.backward(cache, dy)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(mutant.backward(cache, dy)), strict=True):
            assert jnp.allclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_each_checker_tells_a_right_one_from_a_grossly_wrong_one(torch):
    point = Point(find("gelu"), "small")
    wrong = next(m for m in point.mutants if m.mutation.name == "x: its sign flipped")
    for checker in CHECKERS:
        assert checker.verdict(point, point.unchanged) == ACCEPTED, checker.name
        assert checker.verdict(point, wrong) == FOUND, checker.name


def test_a_whole_jacobian_is_left_out_where_it_is_large(torch):
    point = Point(find("tanh"), "large")
    assert checkers.by_gradcheck(point, point.unchanged, fast_mode=False) == checkers.NOT_RUN
    assert checkers.by_gradcheck(point, point.unchanged, fast_mode=True) == ACCEPTED


def test_the_tables_of_an_unfinished_campaign():
    kinds = {"x: zero": "gradient: zero", "x: half": "gradient: half"}
    verdicts = {"chex": {"x: zero": FOUND, "x: half": ACCEPTED}}
    outcome = campaign.Outcome("relu", "small", kinds, [], [], verdicts, {"chex": FOUND}, {"chex": 1.0})
    text, _, record = mutant_table.report([outcome], 3)
    assert "2 wrong backward passes of 1 ops and networks, float32; 1 of 3 done" in text
    assert "false alarms of chex: relu, small" in text
    row = next(line for line in text.splitlines() if line.startswith("chex "))
    assert row.split()[:4] == ["chex", "1", "of", "2"]  # found
    checker = record["checkers"]["chex"]
    assert checker["found_beside_a_false_alarm"] == checker["accepted"] == 1
    assert checker["accepted_mutants"] == [
        {"op": "relu", "size": "small", "mutant": "x: half", "kind": "gradient: half"}]
