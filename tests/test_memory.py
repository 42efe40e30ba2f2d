"""Memory that is kept: whether the system is asked again for what was freed. In processes of their own, which it holds
for."""

import ctypes
import platform
import subprocess
import sys

import pytest

from experiments.__main__ import main
from jaxnn import keep_memory
from jaxnn.memory import _SETTINGS

HAS_GLIBC = platform.libc_ver()[0] == "glibc"
PAGES = """
import ctypes, resource, sys
from jaxnn.memory import keep_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    p = libc.malloc(64_000_000)
    libc.memset(ctypes.c_void_p(p), 1, ctypes.c_size_t(64_000_000))
    libc.free(ctypes.c_void_p(p))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(keep_memory() if sys.argv[1] == "kept" else None, pages(), pages())
"""


@pytest.mark.skipif(not HAS_GLIBC, reason="another C library than glibc")
def test_memory_that_was_freed_comes_without_new_pages():
    def run(how):
        done = subprocess.run([sys.executable, "-c", PAGES, how], capture_output=True, text=True, check=True)
        said, first, second = done.stdout.split()
        return said, int(first), int(second)

    said, first, second = run("not kept")
    assert (said, first > 1000, second > 1000) == ("None", True, True)
    said, first, second = run("kept")
    assert (said, first > 1000, second < 100) == ("True", True, True)


def test_elsewhere_it_says_that_nothing_changed(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_memory() is False
    monkeypatch.setattr(sys, "platform", "linux")

    def without_glibc(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", without_glibc)
    assert keep_memory() is False


def test_nothing_is_changed_after_a_refusal(monkeypatch):
    asked = []

    class Library:
        def __init__(self, name):
            pass

        def mallopt(self, what, value):
            asked.append((what, value))
            return 0

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert keep_memory() is False
    assert asked == [_SETTINGS["M_MMAP_MAX"]]


def test_the_benchmark_refuses_where_it_cannot_be(monkeypatch, capsys):
    monkeypatch.setattr("experiments.bench.command.keep_memory", lambda: False)
    with pytest.raises(SystemExit):
        main(["bench", "ctc", "--keep-memory"])
    assert "--keep-memory needs Linux with glibc" in capsys.readouterr().err
