"""The wheel of this checkout: what is in the file, and that a stranger's environment runs with nothing but the wheel.

What builds or installs is exhaustive: that takes 20 s and more for each Python.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import jaxnn

ROOT = Path(__file__).parent.parent
EXAMPLE = Path(__file__).parent / "typing" / "user_example.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
PACKED = ("pyproject.toml", "README.md", "LICENSE")
# Neither the checkout nor the packages of the environment that runs the tests are to be found.
CLEAN = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}

IN_THE_ENVIRONMENT = """
import importlib.metadata, importlib.util, sys
import jaxnn, user_example
assert user_example.compare() and user_example.train() > 0
assert user_example.name_of(user_example.square) == "square"
(plugin,) = importlib.metadata.entry_points(group="pytest11")
assert importlib.util.find_spec(plugin.module), plugin
print("%d.%d" % sys.version_info[:2], importlib.metadata.version("jaxnn"), jaxnn.__file__)
"""


def run(*command: str | Path, where: Path) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], cwd=where, env=CLEAN, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def pip(python: str | Path, *words: str | Path, where: Path) -> subprocess.CompletedProcess:
    """The pip that runs the tests, at work for that Python, whose environment needs none of its own."""
    return run(sys.executable, "-m", "pip", "--python", python, *words, where=where)


def expect_success(done: subprocess.CompletedProcess, python: str | Path, where: Path, needs: str) -> None:
    """A failure is the wheel's own, unless pip does not get a package either that the wheel needs in any case."""
    if done.returncode == 0:
        return
    alone = pip(python, "install", "--quiet", "--dry-run", "--ignore-installed", needs, where=where)
    if alone.returncode:
        lines = alone.stdout.strip().splitlines() or ["no message"]
        pytest.skip(f"pip does not get {needs} for {python}: {lines[-1]}")
    pytest.fail(done.stdout)


def python_of(release: str) -> Path | None:
    """The newest Python of that release that pyenv has, or the one that runs the tests; None where there is neither."""
    pyenv = shutil.which("pyenv")
    if pyenv:
        versions = Path(run(pyenv, "root", where=ROOT).stdout.strip()) / "versions"
        found = [path for path in versions.glob(f"{release}.*/bin/python")
                 if path.parts[-3].rpartition(".")[2].isdecimal()]
        if found:
            return max(found, key=lambda path: int(path.parts[-3].rpartition(".")[2]))
    return Path(sys.executable) if release == ".".join(map(str, sys.version_info[:2])) else None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("pip", reason="pip is not installed beside the tests")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"
    shutil.copytree(ROOT / "jaxnn", copy / "jaxnn", ignore=shutil.ignore_patterns("__pycache__"))
    for name in PACKED:
        shutil.copy(ROOT / name, copy)
    done = pip(sys.executable, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, copy, where=folder)
    expect_success(done, sys.executable, folder, PROJECT["build-system"]["requires"][0])
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.exhaustive
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    """Each file of jaxnn, and of no other folder; the pytest plugin stands beside the package."""
    information = f"jaxnn-{jaxnn.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.startswith(f"{information}/")}
        about = Parser().parsestr(archive.read(f"{information}/METADATA").decode())
        assert f"{information}/licenses/LICENSE" in archive.namelist()
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "jaxnn").rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}
    assert packed == {name.removeprefix("jaxnn/pytest_plugin/") for name in sources}
    assert {name.partition("/")[0] for name in packed} == {"jaxnn", "jaxnn_pytest.py"} and "jaxnn/py.typed" in packed
    assert not [name for name in packed if re.search(r"(^|/)(tests?|experiments|docs)/|/test_|conftest", name)]
    assert about["Version"] == jaxnn.__version__ and about["Requires-Python"] == PROJECT["project"]["requires-python"]


def test_the_oldest_python_is_the_one_that_is_required():
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}" and len(PYTHONS) == len(set(PYTHONS))


@pytest.mark.exhaustive
@pytest.mark.parametrize("release", PYTHONS)
def test_a_user_runs_with_nothing_but_the_wheel(wheel, release, tmp_path):
    """In a clean environment of each Python that pyproject.toml names, outside of the checkout."""
    interpreter = python_of(release)
    if interpreter is None:
        pytest.skip(f"there is no Python {release}: pyenv install {release}")
    made = run(interpreter, "-m", "venv", "--without-pip", "environment", where=tmp_path)
    assert made.returncode == 0, made.stdout
    python = tmp_path / "environment" / "bin" / "python"
    # Files are compiled as they are imported: few of them are.
    done = pip(python, "install", "--quiet", "--no-compile", wheel, where=tmp_path)
    expect_success(done, python, tmp_path, "jax")
    shutil.copy(EXAMPLE, tmp_path)
    ran = run(python, "-c", IN_THE_ENVIRONMENT, where=tmp_path)
    assert ran.returncode == 0, ran.stdout
    python_run, version, place = ran.stdout.splitlines()[-1].split(" ", 2)
    assert (python_run, version) == (release, jaxnn.__version__)
    assert Path(place).is_relative_to(tmp_path / "environment")
