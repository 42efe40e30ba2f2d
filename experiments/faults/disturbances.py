"""What happens to the directory of a run, and to its disk: acts, and the table entry that holds them."""

import contextlib
import functools
import os
import resource
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax

from experiments.faults.runs import begin
from jaxnn.training import checkpoint

__all__ = ["AT", "EVERY", "KIND", "STEPS", "Surroundings", "at_a_terminal", "failing_call", "full_disk", "holding",
           "in_place", "limited", "named", "no_options", "nothing", "one_after_another", "raising", "remove",
           "restored", "run", "signalled", "taken_away"]

KIND, STEPS, EVERY, AT = "dense, dropout, Adam", 6, 2, 3  # AT: the step before which something happens


def run() -> tuple[Any, Any, Any]:
    """(train state, step, batches) of the run, of which only the first call compiles."""
    state, step, batches = compiled()
    return jax.tree.map(lambda a: a.copy(), state), step, batches


@functools.cache
def compiled() -> tuple[Any, Any, Any]:
    return begin(KIND)


def named(name: str) -> Callable[[Path], dict[str, Any]]:
    """The option of a directory of this name."""
    return lambda directory: {"directory": directory / name}


def one_after_another(*acts: Callable[[Path], Any]) -> Callable[[Path], None]:
    def act(directory: Path) -> None:
        for part in acts:
            part(directory)

    return act


@contextlib.contextmanager
def at_a_terminal() -> Iterator[None]:
    """Ctrl-C interrupts, which what a shell starts in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def nothing(directory: Path) -> Any:
    return None


def no_options(directory: Path) -> dict[str, Any]:
    return {}


def directly(call: Callable[[], Any]) -> Any:
    return call()


class Surroundings(NamedTuple):
    """before: the run; during: it, before step AT, and what it gives is that step's batch. around: a context of the
    whole run. options, options_then: of the first call of `fit` and of the second. batch: (step, batch) -> batch. call:
    how `fit` is called. mend: takes away what is in the way. goes_on: whether it is then called again;
    is_refused_then: and refused. raises: errors of the caller's own that pass.
    """

    before: Callable[[Path], Any] = nothing
    during: Callable[[Path], Any] = nothing
    around: Callable[[], Any] = contextlib.nullcontext
    options: Callable[[Path], dict[str, Any]] = no_options
    options_then: Callable[[Path], dict[str, Any]] = no_options
    batch: Callable[[int, Any], Any] = lambda s, batch: batch
    call: Callable[[Callable[[], Any]], Any] = directly
    mend: Callable[[Path], Any] = nothing
    goes_on: bool = True
    is_refused_then: bool = False
    raises: type[BaseException] | tuple[()] = ()


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def in_place(name: str, kind: str) -> Callable[[Path], None]:
    """Puts something else into the place of a part of the directory, "" for the whole."""

    def put(directory: Path) -> None:
        path = directory / name if name else directory
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(path)
        if kind == "file":
            path.write_text("mine")
        elif kind == "directory":
            path.mkdir()
            (path / "mine").write_text("mine")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as opened:
                here = os.open(".", os.O_RDONLY)
                os.chdir(path.parent)  # for the name of a socket must be short
                opened.bind(path.name)
                os.chdir(here)
                os.close(here)
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "elsewhere":
            other = directory.parent / "elsewhere"
            other.mkdir(exist_ok=True)
            path.symlink_to(other)
        elif kind == "nothing":
            path.symlink_to(directory.parent / "nothing")
        else:
            path.symlink_to(kind)

    return put


def taken_away(name: str) -> Callable[[Path], None]:
    return lambda directory: remove(directory / name if name else directory)


def holding(name: str, content: bytes) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)

    return write


def raising(error: BaseException) -> Callable[[Path], Any]:
    def act(directory: Path) -> None:
        raise error

    return act


def signalled(number: int, then: BaseException | None = None) -> Callable[[Path], None]:
    def act(directory: Path) -> None:
        os.kill(os.getpid(), number)
        if then is not None:
            raise then

    return act


# Disks that are full, and files that cannot be opened: by the system's own limits.


@contextlib.contextmanager
def restored(kind: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def limited(kind: int, value: int, then: Callable[[Path], Any] = nothing) -> Callable[[Path], Any]:
    def act(directory: Path) -> Any:
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
        return then(directory)

    return act


def full_disk(then: Callable[[Path], Any] = nothing, *, at_first: bool = False, **others: Any) -> Surroundings:
    """No file may grow beyond 16 bytes: from before the run, or from step AT to the end of the first call."""
    fill = limited(resource.RLIMIT_FSIZE, 16, then)
    acts: dict[str, Any] = {"before" if at_first else "during": fill}
    return Surroundings(around=lambda: restored(resource.RLIMIT_FSIZE), **acts, **others)


def failing_call(name: str, number: int) -> Callable[[], Any]:
    def fail(*args: Any, **keywords: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return lambda: mock.patch.object(checkpoint.os, name, fail)
