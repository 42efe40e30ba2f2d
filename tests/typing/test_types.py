"""The types that a user sees: the package is marked as typed, and type checkers accept a user's file."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import jaxnn

EXAMPLE = Path(__file__).parent / "user_example.py"
CHECKERS = {
    "mypy": ["--follow-imports=silent", "--python-version=3.11"],
    "pyright": [f"--pythonpath={sys.executable}"],
}


def test_the_package_is_marked_as_typed():
    assert (Path(jaxnn.__file__).parent / "py.typed").is_file()


def test_the_example_runs():
    specification = importlib.util.spec_from_file_location("user_example", EXAMPLE)
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    assert example.name_of(example.square) == "square"
    assert example.train() > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_accept_the_example(checker):
    """Exhaustive: a type checker reads all of jaxnn and JAX, for ten seconds and more."""
    pytest.importorskip(checker)
    done = subprocess.run([sys.executable, "-m", checker, *CHECKERS[checker], str(EXAMPLE)], capture_output=True,
                          text=True, check=False, cwd=EXAMPLE.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.exhaustive
def test_a_wrong_use_is_found(tmp_path):
    """Exhaustive, as above: types are no formality."""
    pytest.importorskip("mypy")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from jaxnn import compare_gradients, relu\nreport = compare_gradients(relu, 1.0)\nreport.okay\n")
    done = subprocess.run([sys.executable, "-m", "mypy", "--follow-imports=silent", str(wrong)], capture_output=True,
                          text=True, check=False, cwd=EXAMPLE.parents[2])
    assert done.returncode == 1 and '"GradientReport" has no attribute "okay"' in done.stdout
