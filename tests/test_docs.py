"""The documentation: every block of Python runs, page by page; generated pages and the table of errors are whole."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from docs import measure, pages
from experiments.__main__ import EXPERIMENTS
from experiments.gallery import uses

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))
         if not {"generated", "_build"} & set(path.parts)}
BLOCKS = {place: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for place, text in PAGES.items()}
PRINTED = {
    "getting_started.md": "right: equal to the reference's gradient",
    "guides/write_an_op.md": "backward of 'double' is not linear in dy: in the cotangent of 'x' it adds a term",
    "guides/compare.md": "64 being the size of axis 0 of x: the cost is a mean over 64 examples",
    "guides/layers.md": "bytes of cache",
    "guides/cells.md": "right: equal to the reference's gradient",
    "guides/models.md": "61,706",
    "guides/train.md": "step 200/200",
    "guides/inside.md": "the cotangent vanishes",
}
# Imports and compiles four libraries; looks into four networks.
LONG = ("guides/from_other_libraries.md", "guides/inside.md")
ELSEWHERE = ("torch", "flax", "keras")
TABLE = json.loads(measure.TABLE.read_text(encoding="utf-8"))["ops"]


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras, as it begins
@pytest.mark.parametrize("place", [pytest.param(place, marks=[pytest.mark.exhaustive] if place in LONG else [])
                                   for place, blocks in BLOCKS.items() if blocks])
def test_python_blocks(place, capsys, tmp_path, monkeypatch):
    """As a reader would type a page, from top to bottom, in one session."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    names = {}
    for block in BLOCKS[place]:
        try:
            exec(compile(block, f"docs/{place}", "exec"), names)
        except ModuleNotFoundError as error:  # PyTorch, Flax and Keras are extras
            if (error.name or "").partition(".")[0] not in ELSEWHERE:
                raise
    assert PRINTED.get(place, "") in capsys.readouterr().out
    if place == "guides/from_other_libraries.md":
        for other in ELSEWHERE:
            if f"{other}_logits" in names:
                np.testing.assert_allclose(names[f"{other}_logits"], names["our_logits"], atol=2e-6)
            if f"{other}_grad" in names:
                np.testing.assert_allclose(names[f"{other}_grad"], names["our_grad"], atol=2e-6)
    if "test_rms_norm" in names:
        from jaxnn.testing import assert_gradients_match
        names["test_rms_norm"](assert_gradients_match)


@pytest.fixture(scope="module")
def folder_of_pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "generated"
    pages.write_pages(folder)
    return folder


def test_links_between_pages_lead_somewhere(folder_of_pages):
    generated = {f"generated/{path.relative_to(folder_of_pages)}": path.read_text(encoding="utf-8")
                 for path in folder_of_pages.rglob("*.md")}
    whole = PAGES | generated
    for place, text in whole.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)):
            target, _, anchor = link.partition("#")
            if "://" in link:
                continue
            parts = [*Path(place).parent.parts, *Path(target).parts] if target else list(Path(place).parts)
            folder: list[str] = []
            for part in parts:
                folder = folder[:-1] if part == ".." else [*folder, part]
            name = "/".join(folder)
            if target.startswith("../") and name.startswith("jaxnn/"):  # from docs up to the code
                assert ((DOCS / place).parent / target).resolve().is_file(), f"{place}: {link}"
                continue
            # Where the documentation is not built, as on a forge, there are no generated pages.
            assert name in (PAGES if place in PAGES else whole), f"{place}: {link}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", whole[name], re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_each_op_layer_and_experiment_has_its_place(folder_of_pages):
    assert {path.stem for path in (folder_of_pages / "ops").iterdir()} == set(uses.all_ops())
    index = (folder_of_pages / "ops.md").read_text(encoding="utf-8")
    assert all(f"(ops/{name}.md)" in index for name in uses.all_ops()) and "## More" not in index
    experiments = (folder_of_pages / "experiments.md").read_text(encoding="utf-8")
    assert all(f"\n### {name}\n" in experiments for name in EXPERIMENTS)
    layers = (folder_of_pages / "reference" / "layers.md").read_text(encoding="utf-8")
    assert all(f"\n## {name}\n" in layers for name in uses.all_layers())
    page = (folder_of_pages / "ops" / "batch_norm.md").read_text(encoding="utf-8")
    for part in ("Ioffe", "<math", "| float32 |", "python -m experiments run batch-norm", "`BatchNorm`"):
        assert part in page


def test_each_package_has_its_page():
    packages = {f"jaxnn.{path.parent.name}" for path in (DOCS.parent / "jaxnn").glob("*/__init__.py")}
    assert packages - set(pages.MODULES) == {"jaxnn.explicit", "jaxnn.ops"}  # public in `jaxnn`, and page by page


@pytest.mark.exhaustive
def test_the_build_has_no_warning(tmp_path):
    """By Sphinx, in a process of its own, for a minute."""
    for tool in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(tool)
    built = subprocess.run([sys.executable, "-m", "sphinx", "-W", "-q", str(DOCS), str(tmp_path)], text=True,
                           capture_output=True, cwd=DOCS.parent)
    assert (built.returncode, built.stderr) == (0, "")
    assert list(tmp_path.rglob("batch_norm.html"))


def test_the_table_of_measurements_is_fresh():
    """After a change of an op's code: python -m docs.measure NAME."""
    stale = [name for name in uses.all_ops() if TABLE.get(name, {}).get("fingerprint") != measure.fingerprint(name)]
    assert not stale, f"measure these again: python -m docs.measure {' '.join(stale)}"
    assert set(TABLE) == set(uses.all_ops())
    for name, entry in TABLE.items():
        assert set(entry["errors"]) == set(measure.DTYPES.values()), name
        assert set(entry["cost"]) == set(measure.SIZES), name


@pytest.mark.parametrize("name", ["silu", "dense"])
def test_errors_are_measured_again(name):
    again = measure.errors(measure.cases()[name])
    for dtype, of in TABLE[name]["errors"].items():
        assert again[dtype]["ours"] == pytest.approx(of["ours"], abs=1.0)


def test_a_change_of_the_code_changes_the_fingerprint():
    def forward(x):
        """Says one thing."""
        return x + 1, None

    first = measure._code(forward)

    def forward(x):
        """Says another."""

        return x + 1, None  # with a remark

    second = measure._code(forward)

    def forward(x):
        return x + 2, None

    assert first == second != measure._code(forward)


def test_unknown_ops_are_refused(capsys):
    assert measure.main(["dens"]) == 2
    assert "expected names of ops of the catalogue; got dens" in capsys.readouterr().err
