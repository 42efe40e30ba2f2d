"""The pytest plugin: a fixture `gradients`, which compares a gradient with its reference's and asserts.

    def test_my_rule(gradients):
        gradients(my_rule, x, reference=plain)      # called as jaxnn.compare_gradients is

    pytest --gradients-dtypes=float32,bfloat16 --gradients-under=jit,vmap

pytest imports every installed plugin when it starts, in whatever project it is run. So this module is
installed beside the package and not in it: importing it imports neither jaxnn nor JAX, and a conftest.py
may still say how JAX is to start. JAX is imported by the first test that asks for the fixture.
"""

import contextlib
import difflib
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

# Those of jaxnn.gradients, which cannot be asked without importing JAX; a test holds them equal.
CHOICES = {
    "dtypes": ("float64", "float32", "bfloat16", "float16"),
    "under": ("eager", "jit", "vmap", "grad of vmap", "scan", "checkpoint", "sharded"),
}
NOUNS = {"dtypes": "dtypes", "under": "transformations"}
PREPOSITIONS = {"dtypes": "in", "under": "under"}
DEVICES = 8  # virtual ones of the CPU, for `sharded`, which needs more than one

_DEFAULTS = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gradients", "the fixture gradients, of jaxnn")
    for setting, names in CHOICES.items():
        help = (f"{NOUNS[setting]} that every gradients(...) is repeated {PREPOSITIONS[setting]}, unless it says "
                f"{setting}= itself: some of {'; '.join(names)}; or all")
        if "sharded" in names:
            help += f". sharded runs on {DEVICES} virtual devices of the CPU"
        group.addoption(f"--gradients-{setting}", metavar="NAME[,NAME...]", default=None, help=help)
        parser.addini(f"gradients_{setting}", f"{help} (a list, or with commas)", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    defaults: dict[str, Any] = {}
    for setting in CHOICES:
        option, ini = f"--gradients-{setting}", f"gradients_{setting}"
        text = config.getoption(option)
        names = chosen(setting, text, option) if text is not None else chosen(
            setting, ",".join(config.getini(ini)), ini)
        if names:
            defaults[setting] = names
    config.stash[_DEFAULTS] = defaults
    if "sharded" in defaults.get("under", ()):
        make_devices()


def pytest_report_header(config: pytest.Config) -> list[str]:
    defaults = config.stash[_DEFAULTS]
    if not defaults:
        return []
    return ["gradients: " + "; ".join(
        f"{setting} {', '.join(map(repr, names))}" for setting, names in defaults.items())]


@pytest.fixture(scope="session")
def gradients(pytestconfig: pytest.Config) -> Callable[..., Any]:
    """Compares a function's gradient with its reference's; fails with what is wrong, and why.

    `gradients(f, *args, reference=None, under=(), dtypes=(), ..., **static)`, as `jaxnn.compare_gradients`,
    whose report it returns. The options --gradients-dtypes and --gradients-under are its defaults.
    """
    from jaxnn.checks import InputError
    from jaxnn.testing import assert_gradients_match

    def compare(f: Callable, *args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            return assert_gradients_match(f, *args, **(pytestconfig.stash[_DEFAULTS] | options))
        except InputError as error:
            raise error.with_traceback(None)  # noqa: B904  # the message says it all; what caused it stays

    return compare


def chosen(setting: str, text: str, source: str) -> tuple[str, ...]:
    """The names in a text, separated by commas.

    Raises:
      pytest.UsageError: one of them is unknown; the nearest is proposed.
    """
    known = CHOICES[setting]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (*known, "all"):
            near = difflib.get_close_matches(name, known, n=1)
            todo = f"; did you mean {near[0]!r}?" if near else ""
            raise pytest.UsageError(f"{source} expects {NOUNS[setting]} among {', '.join(map(repr, known))}, or "
                                    f"'all'; got {name!r}{todo}")
    return known if "all" in names else tuple(dict.fromkeys(names))


def make_devices() -> None:
    """Makes several devices of the CPU, unless the user has said how many, or JAX has already started."""
    if "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(DEVICES))
    jax = sys.modules.get("jax")  # a conftest.py may have imported it
    if jax is not None and jax.config.jax_num_cpu_devices == -1:
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", int(os.environ["JAX_NUM_CPU_DEVICES"]))
