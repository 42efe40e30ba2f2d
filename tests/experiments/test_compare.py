"""`python -m experiments compare`: the catalogue's ops at the command line."""

import json
import re

import pytest

from experiments.__main__ import main
from experiments.catalogue import CASES
from experiments.compare import mutation


@pytest.mark.parametrize("argv", [["compare"], ["compare", "--list"]])
def test_all_are_listed_with_their_arguments(capsys, argv):
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [case.name for case in CASES]
    for line, case in zip(lines, CASES, strict=True):
        assert case.arguments in line
    assert "huber" in {line.split()[0] for line in lines if line.endswith(", delta=0.7")}


def test_an_op(capsys, tmp_path):
    files = [str(tmp_path / name) for name in ("a.json", "a.png", "a.md")]
    assert main(["compare", "dense", "--size", "medium", "--under", "vmap", "--cost", "--json", files[0],
                 "--plot", files[1], "--markdown", files[2]]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("dense, medium: o = 12, i = 16\n")
    assert re.search(r"^params/weight +\(12,16\)", shown, re.MULTILINE)
    assert re.search(r"^vmap +\d", shown, re.MULTILINE)
    assert re.search(r"^time +\S+ ms", shown, re.MULTILINE)
    assert "\nright: equal to the reference's gradient" in shown
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["ok"] is True
    assert (tmp_path / "a.png").stat().st_size > 0 and (tmp_path / "a.md").stat().st_size > 0


@pytest.mark.parametrize(("name", "heading", "leaf"), [
    ("huber", "huber, small: n = 6, examples = 3, delta=0.7", r"\(3,6\)"),
    ("mlp", "mlp, small: i = 4, h = 6, o = 3, examples = 3", r"\(3,4\)"),
    ("batch_norm", "batch_norm, small: s = 2, c = 2, examples = 3", r"\(3,2,2,2\)"),
])
def test_a_batch(capsys, name, heading, leaf):
    assert main(["compare", name, "--batch", "3", "--seed", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{heading}\n")
    assert re.search(rf"^\w+ +{leaf}", shown, re.MULTILINE)


@pytest.mark.parametrize(("argv", "message"), [
    (["dens"], "the catalogue expects the name of an op; got 'dens'; did you mean 'dense'?"),
    (["xyzzy"], "the catalogue expects the name of an op; got 'xyzzy'; choose from sigmoid, tanh"),
    (["--cost"], "compare expects the name of an op; got none; compare --list shows them"),
    (["dense", "--size", "huge"], "dense expects a size, one of small, medium, large; got 'huge'"),
    (["dense", "--batch", "0"], "--batch expects an integer at least 1; got '0'"),
    (["dense", "--batch", "some"], "--batch expects an integer at least 1; got 'some'"),
    (["dense", "--dtype", "float33"], "--dtypes expects dtypes among 'float64', 'float32', 'bfloat16', "
     "'float16', or 'all'; got 'float33'; did you mean 'float32'?"),
    (["dense", "--seed", "x"], "--seed expects an integer at least 0; got 'x'"),
])
def test_what_is_refused(capsys, argv, message):
    assert main(["compare", *argv]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}") and printed.err.count("\n") == 1
    assert printed.out == ""


def test_mutants_are_handed_over(monkeypatch):
    given = []
    monkeypatch.setattr(mutation, "mutation", lambda argv: given.append(list(argv)) or 0)
    assert main(["compare", "--mutants", "--ops", "dense"]) == 0
    assert main(["compare", "--sizes", "small", "--mutants"]) == 0
    assert given == [["--ops", "dense"], ["--sizes", "small"]]


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in ("--list", "--mutants", "--size", "--batch", "--dtypes", "--under", "--cost", "--plot"):
        assert option in shown
