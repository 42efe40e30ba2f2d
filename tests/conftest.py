"""Settings for the whole run: devices, the compiler, how much memory a worker may hold, which tests are left out."""

import contextlib
import ctypes
import functools
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxnn import ops
from jaxnn.explicit import call
from jaxnn.hand_derived import HandDerived
from tests.compare import PLAIN_EMITTERS

HERE = Path(__file__).parent

# The C library would keep a heap for each of XLA's threads, half a gigabyte in the end.
if sys.platform == "linux":
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(-8, 2)  # M_ARENA_MAX

# Eight virtual devices, for sharded jit and shard_map; before anything touches a device. (chex.set_n_cpu_devices
# would do so by XLA_FLAGS, which the processes that a test starts inherit.)
jax.config.update("jax_num_cpu_devices", 8)

# Most of the time goes into compiling small programs: a second run finds them in the user's cache.
if not jax.config.jax_compilation_cache_dir:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(home / "jaxnn" / "compiled_tests"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# Every test sees the compiler that users have, but for those of these files, which are about values and verdicts
# alone: they are compiled by XLA's plain emitters, in two thirds of the time (tests.compare.PLAIN_EMITTERS). A file
# that looks at HLO, memory, cost or the program of a training step does not belong here.
ABOUT_VALUES = (
    "ops/*", "detection/*", "layers/*", "models/*", "style/*", "decoding/*", "text/*",
    "gradients/*.py", "gradients/*/*.py", "inside/test_each_op.py",
    "experiments/test_compare_mutation.py", "experiments/test_mutants_sample.py", "test_axes.py", "test_network*.py",
    "test_ground_truth*", "inside/test_look*.py", "traps/*",
    "test_hand_derived.py", "test_hand_derived_dtypes.py", "test_hand_derived_refusals.py",
    "test_hand_derived_reverse_only.py", "test_hand_derived_sharding.py", "test_hand_derived_transformations.py",
    "test_linearity.py")

WITHOUT_TORCH = "PyTorch is not installed"


@pytest.fixture(scope="session")
def torch():
    """PyTorch, the second route of many values; without it the comparison is left out and counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason=WITHOUT_TORCH)


@pytest.fixture
def x64():
    """float64 for one test; the suite itself runs in JAX's default float32."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _programs_of_one_file(request):
    """A file's programs are compiled by its compiler, and dropped after its last test: together they take gigabytes."""
    inside = request.path.relative_to(HERE)
    with plain_emitters() if any(map(inside.match, ABOUT_VALUES)) else contextlib.nullcontext():
        yield
    drop_programs(request.module)


MUCH, MORE = 1.2, 0.15  # GB: what a worker holds when it drops its programs within a file, and what it has gained
_HELD = {"after dropping": 0.0}


@pytest.fixture(autouse=True)
def _programs_of_one_test():
    """Within a file the tests share programs, until the worker holds much."""
    yield
    held = resident_memory()
    if held > max(MUCH, _HELD["after dropping"] + MORE):
        drop_programs()  # and not what the file itself keeps: the results of a training, say
        _HELD["after dropping"] = resident_memory()


def resident_memory() -> float:
    """What this process holds, in GB; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def drop_programs(module: Any = None) -> None:
    """Everything that JAX, the ops and, if it is given, a test file's own caches hold."""
    for holder in (ops, call, *map(sys.modules.get, ("jaxnn.inside.look", "jaxnn.inside.per_example")), module):
        for value in () if holder is None else vars(holder).values():
            if isinstance(value, HandDerived) and hasattr(value, "_lifted"):
                value._lifted.cache_clear()
            elif isinstance(value, functools._lru_cache_wrapper) and value.__module__ == holder.__name__:
                value.cache_clear()  # its own alone: `over_time`, say, gives one op for one cell
    for case in getattr(sys.modules.get("experiments.catalogue"), "CASES", ()):
        getattr(case.op, "_recordings", {}).clear()
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":  # what the C library has been given back it keeps, unless asked
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextlib.contextmanager
def plain_emitters() -> Iterator[None]:
    """PLAIN_EMITTERS for each program compiled inside. JAX takes such options for one jit, or for a whole process by
    XLA_FLAGS, and not for a while, so its private function is given them; where there is none, they are left out."""
    compiler = sys.modules.get("jax._src.compiler")
    options = getattr(compiler, "get_compile_options", None)
    if not PLAIN_EMITTERS or options is None:
        yield
        return

    def plainly(*args: Any, env_options_overrides: Any = None, **rest: Any) -> Any:
        return options(*args, env_options_overrides=PLAIN_EMITTERS | (env_options_overrides or {}), **rest)

    compiler.get_compile_options = plainly
    try:
        yield
    finally:
        compiler.get_compile_options = options


# The options, and what is said at the end.


def pytest_addoption(parser):
    parser.addoption("--exhaustive", action="store_true",
                     help="also what is marked `exhaustive`: whole grids, all mutants, long campaigns")
    parser.addoption("--most-memory", type=float, metavar="GB",
                     help="the run fails if a worker's peak exceeds so many gigabytes")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--exhaustive"):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]


def peak_memory() -> float | None:
    """The most memory that this process held at one time, in GB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


PEAKS: dict[str, float] = {}  # by worker; "" for this process, where it runs the tests itself


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    if peak := getattr(node, "workeroutput", {}).get("peak_memory"):
        PEAKS[node.gateway.id] = peak


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    peak = peak_memory()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak_memory"] = peak
        return
    if not PEAKS and peak:
        PEAKS[""] = peak
    most = session.config.getoption("--most-memory")
    if most is not None and max(PEAKS.values(), default=0.0) > most and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    write = terminalreporter.write_line
    left_out = [report for report in terminalreporter.stats.get("skipped", ())
                if WITHOUT_TORCH in str(report.longrepr)]
    if left_out:
        files = sorted({report.nodeid.split("::")[0] for report in left_out})
        write(f"{WITHOUT_TORCH}: {len(left_out)} comparisons with it were left out, in {', '.join(files)}; "
              "install jaxnn[parity] for them")
    if PEAKS:
        write("peak memory: " + ", ".join(f"{name} {peak:.2f} GB".strip() for name, peak in sorted(PEAKS.items())))
    most = config.getoption("--most-memory")
    for name, peak in sorted(PEAKS.items()):
        if most is not None and peak > most:
            write(f"FAILED: {name or 'this process'} held {peak:.2f} GB; a worker is to hold at most {most} GB: "
                  "look for programs or arrays that a test file keeps after its last test", red=True)
