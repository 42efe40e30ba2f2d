"""Settings for the whole run, and a word on what was left out for want of an optional package."""

import os
import warnings
from importlib.metadata import version
from pathlib import Path

# Before JAX is there: the small programs of a test are compiled once and run once, so that optimising
# them, or compiling one in several threads, takes longer than it saves. The last flag chooses the plain
# emitters of XLA, which compile in two thirds of the time; later releases have no such choice. A test of what
# a program compiles to asks for the others: tests.compare.AS_USERS_COMPILE. Flags of your own stand instead.
os.environ.setdefault("XLA_FLAGS", " ".join([
    "--xla_llvm_disable_expensive_passes=true", "--xla_cpu_parallel_codegen_split_count=1",
    *["--xla_cpu_use_fusion_emitters=false"] * version("jaxlib").startswith("0.10.")]))

import jax
import pytest

# Eight virtual devices, for sharded jit and shard_map; before anything touches a device.
jax.config.update("jax_num_cpu_devices", 8)

# Most of the time goes into compiling small programs: a second run finds them in the user's cache.
if not jax.config.jax_compilation_cache_dir:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(home / "jaxnn" / "compiled_tests"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

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


def pytest_terminal_summary(terminalreporter):
    left_out = [report for report in terminalreporter.stats.get("skipped", ())
                if WITHOUT_TORCH in str(report.longrepr)]
    if left_out:
        files = sorted({report.nodeid.split("::")[0] for report in left_out})
        terminalreporter.write_line(
            f"{WITHOUT_TORCH}: {len(left_out)} comparisons with it were left out, in {', '.join(files)}; "
            "install jaxnn[parity] for them")
