"""The pytest plugin, each time in a pytest of its own, as in a stranger's project."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import jaxnn
from jaxnn.gradients import CONDITIONS, DTYPES
from jaxnn.pytest_plugin import jaxnn_pytest

ROOT = Path(jaxnn.__file__).parent.parent
GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "test_your_backward.md"

RULES = """
import jax, jax.numpy as jnp

def plain(scale, x):
    return scale * x * x

def made(backward):
    f = jax.custom_vjp(plain)
    f.defvjp(lambda scale, x: (plain(scale, x), (scale, x)), backward)
    return f

right = made(lambda c, dy: (dy * c[1] ** 2, 2 * c[0] * c[1] * dy))
wrong = made(lambda c, dy: (dy * c[1] ** 2, c[0] * c[1] * dy))
args = jnp.arange(1.0, 5.0), jnp.linspace(-1.0, 2.0, 4)
quick = {"reference": plain, "laws": False, "routes": "lifted"}
"""


def run(where: Path, *options: str, **env: str) -> subprocess.CompletedProcess:
    """pytest in a directory, with the plugin whether jaxnn is installed or not."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "jaxnn_pytest", "-p", "no:cacheprovider", *options], cwd=where,
        env=environment() | env, capture_output=True, text=True, encoding="utf-8", timeout=300)


def environment() -> dict[str, str]:
    """This process's, without what its own session has set."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "JAX_NUM_CPU", "JAX_ENABLE_X64"))}
    # The compiled programs are kept where this session keeps its own.
    kept |= {"JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
             "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "jaxnn" / "pytest_plugin")])}


@pytest.fixture
def project(tmp_path):
    """A directory with rules to be tested; write(name=text) adds files."""
    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text)
        return tmp_path

    write(rules__py=RULES)
    return write


def test_a_right_rule_passes_and_a_wrong_one_fails_with_the_reason(project):
    done = run(project(test_it__py="""
from rules import *

def test_right(gradients):
    report = gradients(right, *args, **quick)
    assert report.ok and {leaf.path for leaf in report.leaves} == {"scale", "x"}

def test_wrong(gradients):
    gradients(wrong, *args, **quick)

def test_not_to_be_compared(gradients):
    gradients(right, args[0], **quick)
"""))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 1 passed" in done.stdout
    verdict, reason, *others = re.findall(r"^E +(\S.*)$", done.stdout, re.MULTILINE)
    assert re.fullmatch(r"AssertionError: WRONG at x\[\d\]: \S+, reference \S+ \(\w+, .+ units\)", verdict)
    assert reason == "exactly half the reference"
    assert "InputError: compare_gradients expects a reference that can be called with these" in others[-1]
    # Where the test calls it, and no deeper; and what is right is not shown.
    for hidden in ("testing.py", "def compare_gradients", "scale["):
        assert hidden not in done.stdout


@pytest.mark.exhaustive
def test_a_whole_model_rule_by_rule(project):
    done = run(project(test_it__py="""
from rules import *

def model(rule):
    return lambda scale, x: jax.vmap(lambda x: jax.nn.relu(rule(scale, x)))(jnp.stack([x, -x])).sum()

def test_right(gradients):
    report = gradients(model(right), *args, by="rule")
    assert [rule.name for rule in report.rules] == ["plain", "relu"]
    assert report.compared == 2

def test_wrong(gradients):
    gradients(model(wrong), *args, by="rule")
"""))
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert re.search(r"E +WRONG: plain at test_it\.py:5 in <lambda>", done.stdout)
    assert re.search(r"E +args\[1\]: exactly 1/2 of the reference", done.stdout)



def test_options_are_the_defaults_of_every_call(project):
    done = run(project(test_it__py="""
from rules import *

def conditions(report):
    return {(leaf.under, leaf.dtype) for leaf in report.under}

def test_default(gradients):
    report = gradients(right, *args, **quick)
    assert conditions(report) == {("scan", "bfloat16"), ("grad of vmap", "bfloat16")}

def test_own(gradients):
    assert conditions(gradients(right, *args, **quick, under="jit", dtypes="float16")) == {("jit", "float16")}
"""), "--gradients-under=scan,grad of vmap", "--gradients-dtypes=bfloat16")
    assert done.returncode == 0, done.stdout + done.stderr


INI = "[pytest]\ngradients_under = scan, grad of vmap\ngradients_dtypes = bfloat16\n"


@pytest.mark.sampled
@pytest.mark.parametrize(("files", "options", "said"), [
    ({}, [], ""),
    ({}, ["--gradients-under=all"], f"under {', '.join(map(repr, CONDITIONS))}"),
    ({"pytest__ini": INI}, [], "dtypes 'bfloat16'; under 'scan', 'grad of vmap'"),
    ({"pyproject__toml": '[tool.pytest.ini_options]\ngradients_under = ["scan", "grad of vmap"]\n'},
     ["--gradients-dtypes", "float16,float32"], "dtypes 'float16', 'float32'; under 'scan', 'grad of vmap'"),
    ({"pytest__ini": INI}, ["--gradients-under=eager"], "dtypes 'bfloat16'; under 'eager'"),
    ({"pytest__ini": INI}, ["--gradients-under=", "--gradients-dtypes="], ""),
], ids=["none", "all", "pytest.ini", "pyproject.toml and an option", "option over ini", "empty options"])
def test_where_options_come_from(project, files, options, said):
    done = run(project(**files, test_it__py="def test_it(): pass"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^gradients: (.*)$", done.stdout, re.MULTILINE) == [said] * bool(said)


@pytest.mark.exhaustive
def test_sharded_has_several_devices(project):
    done = run(project(test_it__py="""
from rules import *

def test_it(gradients):
    assert {leaf.under for leaf in gradients(right, *args, **quick).under} == {"sharded"}
    assert jax.device_count() == 8
"""), "--gradients-under=sharded", JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.exhaustive
def test_sharded_on_one_device_warns(project):
    done = run(project(test_it__py="""
from rules import *

def test_it(gradients):
    gradients(right, *args, **quick, under="sharded")
"""), JAX_PLATFORMS="cpu")
    assert "UserWarning" in done.stdout and "sharded: not run, there is one device" in done.stdout


@pytest.mark.parametrize(("files", "options", "said"), [
    ({}, ["--gradients-dtypes=float31"], "--gradients-dtypes expects dtypes among 'float64', 'float32', "
     "'bfloat16', 'float16', or 'all'; got 'float31'; did you mean 'float32'?"),
    ({}, ["--gradients-under=jit,vmpa"], "or 'all'; got 'vmpa'; did you mean 'vmap'?"),
    ({"pytest__ini": "[pytest]\ngradients_under = sideways\n"}, [],
     "gradients_under expects transformations among 'eager', 'jit', 'vmap', 'grad of vmap', 'scan', "
     "'checkpoint', 'sharded', or 'all'; got 'sideways'\n"),
])
def test_an_unknown_name_is_refused_before_anything_runs(project, files, options, said):
    done = run(project(**files, test_it__py="def test_it(): pass"), *options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_starting_pytest_imports_no_jax_and_a_conftest_may_still_set_it_up(project):
    without = "import sys\nassert not {'jax', 'jaxnn'} & set(sys.modules)\n"
    done = run(project(
        conftest__py=f"{without}import os\nos.environ['JAX_ENABLE_X64'] = '1'\n",
        test_it__py=f"""
{without}
def test_trivial():
    assert 'jax' not in sys.modules

def test_it(gradients):
    from rules import jnp, plain, right
    report = gradients(right, jnp.ones(3), jnp.ones(3), reference=plain, laws=False, routes="lifted")
    assert report.worst.dtype == "float64"
"""), "--gradients-dtypes=float32")
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_and_fixtures(project):
    where = project(test_it__py="def test_it(): pass")
    shown = " ".join(run(where, "--help").stdout.split())
    assert "--gradients-dtypes=NAME[,NAME...] dtypes that every gradients(...) is repeated in" in shown
    assert "gradients_under (linelist): transformations that every gradients(...) is repeated under" in shown
    assert "gradients [session scope]" in run(where, "--fixtures").stdout


def test_the_names_are_those_of_the_comparison():
    assert jaxnn_pytest.CHOICES == {"dtypes": DTYPES, "under": CONDITIONS}


@pytest.mark.parametrize(("text", "names"), [
    ("jit", ("jit",)), ("jit,vmap", ("jit", "vmap")), (" vmap , scan,grad of vmap, scan", (
        "vmap", "scan", "grad of vmap")), ("", ()), ("jit,all", CONDITIONS),
])
def test_names_are_separated_by_commas(text, names):
    assert jaxnn_pytest.chosen("under", text, "--gradients-under") == names


@pytest.mark.exhaustive
def test_the_guides_test_file_passes_and_fails_as_it_says(tmp_path):
    text = GUIDE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(# test_rms_norm.py\n.*?)```", text, re.DOTALL)
    (changed, failure) = re.search(
        r"If the last line of the backward pass were `([^`]+)`.*?```text\n(.*?)```", text, re.DOTALL).groups()
    (tmp_path / "test_rms_norm.py").write_text(example)
    right = "    return dy * n, r * (dn - n * jnp.mean(dn * n))\n"
    assert right in example
    (tmp_path / "test_wrong.py").write_text(example.replace(right, f"    {changed}\n"))
    done = run(tmp_path, "-v")
    assert "test_rms_norm.py::test_rms_norm PASSED" in done.stdout, done.stdout + done.stderr
    assert "test_wrong.py::test_rms_norm FAILED" in done.stdout
    shown = "".join(f"{line[8:]}\n" for line in done.stdout.splitlines() if line.startswith("E "))
    numbers = re.compile(r"-?\b\d[\d.,e+-]*\d")  # their last digits are the machine's
    shown, failure = (numbers.sub("#", text).replace("also by lifted, ", "also by ") for text in (
        shown, failure))
    assert shown == failure
    # The command below it.
    command = re.search(r"python -m (jaxnn\.gradients test_rms_norm:.*)", text)[1]
    done = subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=tmp_path, capture_output=True,
                          env=environment(), text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "right: " in done.stdout
    assert (tmp_path / "error.png").stat().st_size > 0
