"""What happens to a run and around it: acts on its directory, disk, terminal, metrics and batches."""

import contextlib
import errno
import functools
import io
import json
import os
import resource
import shutil
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

from experiments.faults.runs import begin
from jaxnn.training import checkpoint, fit
from jaxnn.training.lock import Lock

__all__ = ["AT", "EVERY", "KIND", "STEPS", "Closed", "Surroundings", "Terminal", "at_a_terminal", "between",
           "configured", "damaged", "failing_call", "full_disk", "held", "holding", "in_a_directory", "in_a_thread",
           "in_place", "left_by_a_killed_run", "limited", "measured", "metrics_of", "named", "nan_batch",
           "one_after_another", "raising", "released", "remove", "replaced_by_another_run", "restored", "run",
           "saved_alone", "second_run", "shown_on", "signalled", "taken_away", "tensorboard", "terminated",
           "to_another_directory", "warnings_are_errors", "watched"]

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


# The caller's functions.


def metrics_of(value: Any, at: int = 2) -> Callable[[Path], dict[str, Any]]:
    """Metrics that give this value at the record number `at`, or raise it."""
    count = [0]

    def error(params: Any, state: Any) -> dict[str, Any]:
        count[0] += 1
        plain = float(np.square(params["dense2"]["weight"]).sum())
        if count[0] != at + 1:
            return {"error": plain}
        if isinstance(value, BaseException):
            raise value
        if callable(value):
            return value(plain)
        return {"error": plain, "other": value}

    def options(directory: Path) -> dict[str, Any]:
        count[0] = 0
        return {"metrics": error}

    return options


def watched(value: Any) -> Surroundings:
    """The watched metric is this, at the record before last. As a number it is kept; else it ends the run."""
    return Surroundings(options=metrics_of(lambda plain: {"error": value}))


def measured(value: Any) -> Surroundings:
    return Surroundings(options=metrics_of(value))


# Terminals.


class Terminal(io.TextIOBase):
    """A terminal of which every write fails."""

    encoding = "utf-8"

    def __init__(self, error: Exception):
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        pass


def shown_on(make: Callable[[], Any]) -> Surroundings:
    @contextlib.contextmanager
    def around() -> Iterator[None]:
        stream = make()
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.close()

    return Surroundings(around=around, options=lambda directory: {"progress": True})


class Closed(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.close()


class Writer:
    """In the place of TensorBoard's, on a full disk."""

    def __init__(self, directory: str):
        Path(directory).mkdir(exist_ok=True)

    def fail(self, *args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    add_scalar = flush = close = fail


def tensorboard(**others: Any) -> Surroundings:
    module = type("tensorboardX", (), {"SummaryWriter": Writer})
    return Surroundings(around=lambda: mock.patch("jaxnn.training.log.import_extra", return_value=module),
                        options=lambda directory: {"tensorboard": True}, **others)


# Other runs, and other callers.


def held(directory: Path) -> None:
    """By a run of this process, for one of another is no different: the lock belongs to the open file."""
    directory.mkdir(parents=True, exist_ok=True)
    HELD.append(Lock(directory))
    HELD[-1].take()


def released(directory: Path) -> None:
    HELD.pop().release()


HELD: list[Lock] = []


def replaced_by_another_run(directory: Path) -> None:
    remove(directory)
    held(directory)


def left_by_a_killed_run(directory: Path) -> None:
    holding("lock", json.dumps({"host": socket.gethostname(), "process": 2**22 + 1}).encode())(directory)


def saved_alone(directory: Path) -> None:
    checkpoint.save(directory, 2, run()[0])


def in_a_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def work() -> None:
        try:
            found.append((call(), None))
        except BaseException as error:  # handed on to the thread that waits
            found.append((None, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    value, error = found[0]
    if error is not None:
        raise error
    return value


@contextlib.contextmanager
def in_a_directory(is_removed: bool = False) -> Iterator[None]:
    """The working directory is another, or one that has been removed."""
    before, place = os.getcwd(), os.path.realpath(os.environ.get("TMPDIR", "/tmp"))
    other = Path(place, f"jaxnn_{os.getpid()}")
    other.mkdir(exist_ok=True)
    os.chdir(other)
    try:
        if is_removed:
            other.rmdir()
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(other, ignore_errors=True)


def to_another_directory(directory: Path) -> None:
    os.makedirs("another", exist_ok=True)
    os.chdir("another")


def between(change: Callable[[Path], Any] = nothing, then: Callable[[Path], dict[str, Any]] = no_options, *,
            is_refused: bool = False) -> Surroundings:
    """A run of four steps, a change, and the run called again for six."""
    return Surroundings(options=lambda directory: {"steps": 4}, mend=change, options_then=then,
                        is_refused_then=is_refused)


def damaged(pattern: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        places = sorted(directory.glob(pattern))
        assert places, pattern
        for place in places:
            place.write_bytes(place.read_bytes()[:-1] + b"?")

    return damage


def nan_batch(directory: Path) -> Any:
    x, labels = run()[2](AT)
    return x * np.nan, labels


def warnings_are_errors() -> Any:
    @contextlib.contextmanager
    def around() -> Iterator[None]:
        with restored(resource.RLIMIT_FSIZE), warnings.catch_warnings():
            warnings.simplefilter("error")
            yield

    return around()


def terminated(plain: float) -> dict[str, float]:
    """Metrics that get SIGTERM as they are measured."""
    os.kill(os.getpid(), signal.SIGTERM)
    return {"error": plain}


def configured(value: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda directory: {"configuration": value}


def second_run(directory: Path) -> None:
    state, step, batches = run()
    try:
        fit(state, step, batches, steps=STEPS, directory=directory, progress=False)
    except ValueError as error:
        if "no other run uses" in str(error):
            return
        raise
    raise AssertionError("a second run was let in")
