"""The notebooks: each runs from top to bottom, opens in Jupyter, and holds no output of somebody's machine."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))
PRINTED = {
    "find_the_bug": "the cost is a mean over 32 examples",
    "network_by_hand": "right: equal to the reference's gradient",
    "your_op_in_flax_and_equinox": "right: the one rule inside has its plain function's gradient",
}


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem, marks=[] if path.stem == "find_the_bug"
                                               else pytest.mark.exhaustive) for path in NOTEBOOKS])
def test_from_top_to_bottom(path, capsys):
    if "flax" in path.stem:
        pytest.importorskip("flax")
        pytest.importorskip("equinox")
    names = {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
    assert PRINTED[path.stem] in capsys.readouterr().out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_file(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
    try:
        import nbformat
    except ImportError:
        return
    nbformat.validate(nbformat.from_dict(notebook))


def test_each_notebook_is_named_in_the_documentation():
    page = (Path(__file__).parent.parent / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 3 and all(f"`{path.name}`" in page for path in NOTEBOOKS)
