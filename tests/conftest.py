"""Settings for the whole run: devices, the compiler, how much memory a worker may hold, which tests are left out."""

import contextlib
import ctypes
import functools
import gc
import os
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxnn.hand_derived import HandDerived
from tests.compare import QUICKLY

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

# These files see the compiler that users have: they look at programs and their memory, do what a user does, or train
# until it counts how fast a program runs. All others are about values and verdicts alone, and compiled in half of the
# time (tests.compare.QUICKLY); what looks at a program there asks for AS_USERS_COMPILE.
AS_USERS = (
    "experiments/test_bench.py", "experiments/test_runs.py", "experiments/test_understanding_whole.py",
    "test_compiler_options.py", "test_docs.py", "test_hand_derived_hlo.py", "test_lowering.py", "test_notebooks.py",
    "test_readme.py", "training/test_rows.py")

# What takes a gigabyte more (networks of fifty layers and all derivatives of an op while XLA compiles, CIFAR and the
# spoken digits whole): first, while a worker holds little. Later it holds what other files have imported.
FIRST = ("models/test_twins.py", "layers/test_folding.py", "data/test_image_classes.py", "experiments/test_speech.py",
         "test_hand_derived_transformations.py")

for of_tests in (*AS_USERS, *FIRST):
    assert (HERE / of_tests).is_file(), f"{of_tests} has another name now"

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
def _compiler_of_one_file(request):
    """A program belongs to the compiler that made it: none is left for a file that is compiled otherwise."""
    inside = request.path.relative_to(HERE)
    quickly = not any(map(inside.match, AS_USERS))
    if quickly is not _HELD.quickly:
        drop_programs()
        _HELD.quickly = quickly
    with compiled_quickly() if quickly else contextlib.nullcontext():
        yield
    drop_caches(request.module)  # the results of a training, say


MUCH, MORE = 1.0, 0.12  # GB: what a worker holds when it drops its programs, and what it has gained since it last did


class _HELD:  # by this process
    quickly: bool | None = None
    after_dropping = 0.0


class ProgramsOfOneTest:
    """Tests share programs until the worker holds much: together they take gigabytes. A plugin, since a fixture here
    does not reach the doctests of the package."""

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self):
        if resident_memory() > max(MUCH, _HELD.after_dropping + MORE):
            drop_programs()
            _HELD.after_dropping = resident_memory()


def pytest_configure(config):
    config.pluginmanager.register(ProgramsOfOneTest())


def resident_memory() -> float:
    """What this process holds, in GB; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def drop_caches(module: Any) -> None:
    """What the functions of one module keep, and the ops in it."""
    for value in vars(module).values():
        if isinstance(value, HandDerived) and hasattr(value, "_lifted"):
            value._lifted.cache_clear()
        elif isinstance(value, functools._lru_cache_wrapper) and value.__module__ == module.__name__:
            value.cache_clear()  # its own alone: `over_time`, say, gives one op for one cell


def drop_programs() -> None:
    """Everything that JAX and the ops hold."""
    for name in ("jaxnn.ops", "jaxnn.explicit.call", "jaxnn.inside.look", "jaxnn.inside.per_example"):
        if name in sys.modules:
            drop_caches(sys.modules[name])
    for case in getattr(sys.modules.get("experiments.catalogue"), "CASES", ()):
        getattr(case.op, "_recordings", {}).clear()
    jax.clear_caches()
    give_back_memory()


def give_back_memory() -> None:
    """What nothing refers to goes back to the system; the C library keeps it unless asked."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
    """QUICKLY for each program compiled inside. JAX takes such options for one jit, or for a whole process by
    XLA_FLAGS, and not for a while, so its private function is given them; where there is none, they are left out."""
    compiler = sys.modules.get("jax._src.compiler")
    options = getattr(compiler, "get_compile_options", None)
    if options is None:
        yield
        return

    def quick_options(*args: Any, env_options_overrides: Any = None, **rest: Any) -> Any:
        return options(*args, env_options_overrides=QUICKLY | (env_options_overrides or {}), **rest)

    compiler.get_compile_options = quick_options
    try:
        yield
    finally:
        compiler.get_compile_options = options


# The options, and what is said at the end.


def pytest_addoption(parser):
    parser.addoption("--exhaustive", action="store_true",
                     help="also what is marked `exhaustive`, and every case of what is marked `sampled`")
    parser.addoption("--most-memory", type=float, metavar="GB",
                     help="the run fails if a worker's peak exceeds so many gigabytes")


def pytest_collection_finish():
    """What importing and collecting made stays for the whole run: the garbage collector need not visit it again and
    again. And it looks more seldom: tracing makes millions of small objects, nearly all of which go by themselves."""
    give_back_memory()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--exhaustive"):
        items.sort(key=lambda item: not any(map(item.path.match, FIRST)))
        return
    left_out = {item for item in items if item.get_closest_marker("exhaustive")}
    left_out |= not_sampled([item for item in items if item not in left_out])
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def not_sampled(items: list) -> set:
    """Of each `sampled` test, all cases but every third, of which there is one at least; which ones, its name decides,
    so that of two tests with the same cases one runs what the other does not."""
    cases: dict[str, list] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            cases.setdefault(item.nodeid.split("[")[0], []).append(item)
    return {case for name, of_name in cases.items() for i, case in enumerate(of_name)
            if i % 3 != zlib.crc32(name.encode()) % min(3, len(of_name))}


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
