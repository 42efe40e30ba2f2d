"""The README's Python, section by section in one session, as a reader would type it."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    heading: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    if "```python" in text}
PRINTED = {
    "The one abstraction: an op": "backward of 'double' is not linear in dy: in the cotangent of 'x' it adds a term",
    "Comparing gradients": "64 being the size of axis 0 of x: the cost is a mean over 64 examples",
    "Layers": "bytes of cache",
    "Cells": "right: equal to the reference's gradient",
    "Training": "step 200/200",
    "Inside a backward pass": "the cotangent vanishes",
}


@pytest.fixture(scope="module")
def session():
    """The names of the session, and the sections that have run in it."""
    return {}, []


@pytest.mark.parametrize("heading", SECTIONS)
def test_python_blocks(heading, session, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, done = session
    headings = list(SECTIONS)
    for section in headings[:headings.index(heading) + 1]:
        if section not in done:  # a section reads names of those before it
            capsys.readouterr()
            for block in SECTIONS[section]:
                exec(compile(block, f"README.md, {section}", "exec"), names)
            done.append(section)
    assert PRINTED.get(heading, "") in capsys.readouterr().out


def test_the_table_of_a_network_is_what_is_printed(session, capsys, tmp_path, monkeypatch):
    test_python_blocks("A network is any function of ops", session, capsys, tmp_path, monkeypatch)
    names, _ = session
    heading = "## A network is any function of ops"
    table, = re.findall(r"```text\n(answer\n.*?)\n```", README[README.index(heading):], re.DOTALL)
    net = names["network"](names["answer"])
    _, cache = net.forward(names["weights"], names["picture"], names["question"])
    assert str(cache) == table


def test_every_experiment_exists():
    """Each experiment of the table is one that `list` names."""
    from experiments.__main__ import EXPERIMENTS

    table = re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)
    assert set(table) == set(EXPERIMENTS)


def test_every_op_layer_and_loss_is_named():
    """The lists of ops, layers and losses leave out none."""
    import jaxnn
    from jaxnn import losses
    from jaxnn.hand_derived import Op

    words = set(re.findall(r"`(\w+)[`(]", README))
    ops = {name for name in jaxnn.__all__ if isinstance(getattr(jaxnn, name), Op)}
    layers = {name for name in jaxnn.__all__ if isinstance(getattr(jaxnn, name), type)
              and issubclass(getattr(jaxnn, name), jaxnn.Layer)} - {"Layer"}
    assert not (ops | layers | set(losses.__all__)) - words
