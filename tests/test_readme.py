"""The README's Python, in one session; what stands in the README's place in docs/ is complete."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")
        if not {"generated", "_build"} & set(path.parts)}


def test_python_blocks(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert "right: equal to the reference's gradient" in capsys.readouterr().out


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)\s#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


@pytest.mark.exhaustive
def test_the_table_of_a_network_is_what_is_printed():
    page = DOCS["compose.md"]
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "compose.md", "exec"), names)
    table, = re.findall(r"```text\n(answer\n.*?)\n```", page, re.DOTALL)
    _, cache = names["network"](names["answer"]).forward(names["weights"], names["picture"], names["question"])
    assert str(cache) == table


def test_every_experiment_exists():
    """Each experiment of the table is one that `list` names."""
    from experiments.__main__ import EXPERIMENTS

    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", DOCS["results.md"], re.MULTILINE)) == set(EXPERIMENTS)


def test_every_op_layer_and_loss_is_named():
    """The lists of ops, layers and losses leave out none."""
    import jaxnn
    from jaxnn import losses
    from jaxnn.hand_derived import Op

    words = set(re.findall(r"`(\w+)[`(]", "".join(DOCS[name] for name in ("write_an_op.md", "layers.md", "train.md"))))
    ops = {name for name in jaxnn.__all__ if isinstance(getattr(jaxnn, name), Op)}
    layers = {name for name in jaxnn.__all__ if isinstance(getattr(jaxnn, name), type)
              and issubclass(getattr(jaxnn, name), jaxnn.Layer)} - {"Layer"}
    assert not (ops | layers | set(losses.__all__)) - words
