"""Memory that is kept: whether the system is asked again for what was freed. In processes of their own, which it holds
for."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from jaxnn import keep_memory
from jaxnn.memory import _SETTINGS

PAGES = """
import ctypes, resource, sys, threading
from jaxnn.memory import keep_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def use(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    p = libc.malloc(n)
    libc.memset(ctypes.c_void_p(p), 1, ctypes.c_size_t(n))
    libc.free(ctypes.c_void_p(p))
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
pages = []
print(keep_memory() if sys.argv[1] == "kept" else None, end=" ")
use(64_000_000), use(64_000_000)
# Two threads, both alive while the second one takes its turn.
first_is_done, end = threading.Event(), threading.Event()
def first():
    use(40_000_000), first_is_done.set(), end.wait()
thread = threading.Thread(target=first)
thread.start(), first_is_done.wait()
second = threading.Thread(target=use, args=(40_000_000,))
second.start(), second.join(), end.set(), thread.join()
print(*pages)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_memory_that_was_freed_comes_without_new_pages():
    def run(how):
        surroundings = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
        done = subprocess.run([sys.executable, "-c", PAGES, how], capture_output=True, text=True, check=True,
                              env=surroundings)
        said, *pages = done.stdout.split()
        return said, *map(int, pages)

    said, first, second, *_ = run("not kept")
    if first < 500:
        pytest.skip("the system gives large pages, of which there are too few to count")
    assert said == "None" and second > first / 2
    said, first, second, *of_threads = run("kept")
    assert said == "True" and second < first / 10
    assert all(pages < first / 10 for pages in of_threads)  # one heap for all


def test_elsewhere_it_says_that_nothing_changed(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_memory() is False
    monkeypatch.setattr(sys, "platform", "linux")

    def without_glibc(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", without_glibc)
    assert keep_memory() is False


def test_a_refusal_is_reported(monkeypatch):
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
