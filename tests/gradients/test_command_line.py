"""`python -m jaxnn.gradients`: what it prints, writes and returns, and what it refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxnn.gradients.__main__ import main
from jaxnn.gradients.conditions import CONDITIONS, DTYPES
from jaxnn.gradients.options import make_devices
from tests.test_pytest_plugin import environment

RULES = """
import jax

def plain(x, *, rate=1.0):
    return x * jax.nn.sigmoid(rate * x)

def made(factor):
    f = jax.custom_vjp(lambda x: plain(x))
    def backward(x, dy):
        s = jax.nn.sigmoid(x)
        return (factor * dy * s * (1 + x * (1 - s)),)
    f.defvjp(lambda x: (plain(x), x), backward)
    return f

class Rules:
    right = staticmethod(made(1))
    wrong = staticmethod(made(0.5))

right, wrong = Rules.right, Rules.wrong
number = 3
"""
FORM = "the function expects MODULE:NAME"
MODULE = "the function expects a module that can be imported"
NAME = "the function expects a name in"
SWISH = ["--reference", "swish_rules:plain", "--args", "f32[5]"]


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory of a user's, with a module in it; the current one."""
    (tmp_path / "swish_rules.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("swish_", "broken_", "package_")):
            del sys.modules[name]


@pytest.mark.usefixtures("directory")
def test_a_right_gradient(capsys):
    assert main(["swish_rules:Rules.right", *SWISH, "--dtypes=bfloat16", "--under", "scan,grad of vmap"]) == 0
    shown = capsys.readouterr().out
    assert "\nright: equal to the reference's gradient" in shown
    assert re.search(r"^under +bfloat16$", shown, re.MULTILINE)
    assert re.search(r"^scan .*\n^grad of vmap ", shown, re.MULTILINE)


def test_a_wrong_gradient_and_its_files(directory, capsys):
    files = ["--json", "a.json", "--markdown", "a.md", "--plot", "a.png"]
    assert main(["swish_rules:wrong", *SWISH, *files]) == 1
    shown = capsys.readouterr().out
    assert "exactly half the reference" in shown
    assert shown.splitlines()[-1].startswith("WRONG at x[")
    assert json.loads((directory / "a.json").read_text(encoding="utf-8"))["ok"] is False
    assert (directory / "a.md").read_text(encoding="utf-8").startswith("## ")
    assert (directory / "a.png").read_bytes().startswith(b"\x89PNG")


def test_an_op_brings_its_reference_and_static_arguments_reach_both(capsys):
    assert main(["jaxnn.ops:leaky_relu", "--args", "f32[5]", "--static", "slope=0.3", "--seed", "2", "--cost",
                 "--every-coordinate"]) == 0
    shown = capsys.readouterr().out
    assert "every coord." in shown
    assert re.search(r"^time +\S+ ms", shown, re.MULTILINE)


@pytest.mark.usefixtures("directory")
def test_a_static_argument_may_have_the_name_of_an_option(capsys):
    Path("swish_named.py").write_text("def f(x, *, seed, under): return seed * x * (under == 'a word')\n")
    named = ["swish_named:f", "--reference", "swish_named:f", "--args", "f32[2]", "--static", "seed=3"]
    assert main([*named, "under=a word"]) == 0
    assert main(named) == 2
    assert "missing 1 required keyword-only argument: 'under'" in capsys.readouterr().err


def test_as_a_command_with_several_devices(directory):
    command = [sys.executable, "-m", "jaxnn.gradients", "swish_rules:right", *SWISH, "--under=sharded"]
    done = subprocess.run(command, cwd=directory, env=environment() | {"JAX_PLATFORMS": "cpu"}, timeout=300,
                          capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^sharded +\d", done.stdout, re.MULTILINE)
    assert "not run" not in done.stdout


def test_devices_are_left_as_they_are_once_jax_has_started():
    n = jax.device_count()
    make_devices()
    assert jax.device_count() == n


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(("argv", "message"), [
    (["swish_rules"], f"{FORM}; got 'swish_rules'; for example my_module:my_function"),
    ([":right"], f"{FORM}; got ':right'; for example my_module:my_function"),
    (["./swish:right"], f"{FORM}; got './swish:right'; for example my_module:my_function"),
    (["swish_rule:right"], f"{MODULE}; got 'swish_rule'; did you mean 'swish_rules'?"),
    (["swish_rules.py:right"], f"{MODULE}; got 'swish_rules.py'; did you mean 'swish_rules'?"),
    (["zzz.qqq:right"], f"{MODULE}; got 'zzz.qqq'; is it in {{directory}}, or installed?"),
    (["broken_module:f"], f"{MODULE}; importing 'broken_module' raised ZeroDivisionError: division by zero "
     "({directory}/broken_module.py, line 2)"),
    (["broken_import:f"], f"{MODULE}; importing 'broken_import' raised ModuleNotFoundError: No module named "
     "'no_such_thing' ({directory}/broken_import.py, line 1)"),
    (["swish_rules:rihgt"], f"{NAME} 'swish_rules'; got 'rihgt'; did you mean 'right'?"),
    (["swish_rules:Rules.rong"], f"{NAME} 'swish_rules.Rules'; got 'rong'; did you mean 'wrong'?"),
    (["swish_rules:zzz"], f"{NAME} 'swish_rules'; got 'zzz'; it has Rules, jax, made, number, plain, "
     "right, wrong"),
    (["swish_rules:number"], "the function expects a callable; got swish_rules:number, which is of type int"),
    (["swish_rules:plain"], "--reference expects MODULE:NAME, the plain function that swish_rules:plain is "
     "compared with; got none; an op, a function of ops and a jax.custom_vjp bring their own"),
    (["swish_rules:right", "--reference", "swish_rules:plane"],
     "--reference expects a name in 'swish_rules'; got 'plane'; did you mean 'plain'?"),
])
def test_what_names_no_function(capsys, directory, argv, message):
    (directory / "broken_module.py").write_text("x = 0\ny = 1 / x\n")
    (directory / "broken_import.py").write_text("import no_such_thing\n")
    assert main([*argv, "--args", "f32[3]"]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: {message.format(directory=directory)}\n"
    assert printed.out == ""


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(("options", "message"), [
    (["--args", "f32[3"], "arguments at character 6 of 'f32[3' expect ',' or ']' after a size; got the end; "
     "for example f32[64,128]"),
    (["--under", "jit,vmpa"], f"--under expects transformations among {', '.join(map(repr, CONDITIONS))}, or "
     "'all'; got 'vmpa'; did you mean 'vmap'?"),
    (["--dtype", "float31"], f"--dtypes expects dtypes among {', '.join(map(repr, DTYPES))}, or 'all'; got "
     "'float31'; did you mean 'float32'?"),
    (["--seed", "-1"], "--seed expects an integer at least 0; got '-1'"),
    (["--seed", "one"], "--seed expects an integer at least 0; got 'one'"),
    (["--static", "rate"], "--static expects NAME=VALUE; got 'rate'; for example --static stride=2"),
    (["--plot", "error.bmp"], "--plot expects a file named .png, .pdf, .svg, .jpg; got error.bmp"),
    (["--plot", "no/error.png"], "--plot expects a file that can be written; got no/error.png; there is no "
     "directory no"),
    (["--json", "."], "--json expects a file that can be written; got .; it is a directory"),
])
def test_an_option_without_sense(capsys, options, message):
    assert main(["swish_rules:right", *SWISH, *options]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.usefixtures("directory")
def test_arguments_that_do_not_fit(capsys):
    assert main(["swish_rules:right", "--reference", "swish_rules:plain", "--args", "f32[5] f32[5]"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: compare_gradients expects a reference that can be called with these")


def test_help_describes_arguments_and_exit_status(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "f32[64,128] f32[128]" in shown
    assert ("exit status: 0 the gradient is right, 1 it is wrong or nothing judges it, 2 nothing could be compared"
            in shown)
    assert "python -m jaxnn.gradients audit MODULE:NAME --args TEXT" in shown
    assert ", ".join(CONDITIONS) + "; or all" in " ".join(shown.split())
    with pytest.raises(SystemExit) as stop:
        main(["audit", "--help"])
    assert stop.value.code == 0 and "usage: python -m jaxnn.gradients audit" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["swish_rules:right"], ["swish_rules:right", *SWISH, "--undr", "jit"]])
def test_usage(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: python -m jaxnn.gradients" in capsys.readouterr().err


def test_every_description_in_the_help_can_be_read():
    """The help's examples are descriptions that `parse` takes."""
    from jaxnn.gradients.__main__ import ARGUMENTS
    from jaxnn.gradients.arguments import parse

    lines = re.findall(r"^  (.+?)(?: {3,}.*)?$", ARGUMENTS, re.MULTILINE)
    assert len(lines) >= 7
    for line in lines:
        assert parse(line)


@pytest.mark.usefixtures("directory")
def test_an_audit(capsys):
    Path("swish_model.py").write_text(
        "import jax\nfrom swish_rules import right, wrong\n"
        "def model(x, *, scale):\n    return jax.vmap(jax.jit(wrong))(right(scale * x))\n")
    command = ["audit", "swish_model:model", "--args", "f32[3,5]", "--static", "scale=2.0"]
    assert main([*command, "--json", "a.json", "--markdown", "a.md"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("swish_model:model: each rule inside beside its plain function")
    assert "exactly half the reference" in shown
    assert "WRONG: <lambda> at swish_model.py:4 in model" in shown
    assert json.loads(Path("a.json").read_text(encoding="utf-8"))["ok"] is False
    assert Path("a.md").read_text(encoding="utf-8").startswith("## swish_model:model")
    assert main(["audit", "swish_rules:right", "--args", "f32[5]"]) == 0
    assert main([*command, "--seed", "x"]) == 2
    assert "--seed expects an integer at least 0; got 'x'" in capsys.readouterr().err
    assert main(["audit", "swish_model:model", "--args", "f32[3,5]"]) == 2
    assert "expects a function that can be traced and run at these arguments" in capsys.readouterr().err
