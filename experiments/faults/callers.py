"""What happens around a run: metrics, terminals, other runs, other threads, and a second call."""

import contextlib
import errno
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
from typing import Any
from unittest import mock

import numpy as np

from experiments.faults.disturbances import (
    AT,
    STEPS,
    Surroundings,
    holding,
    no_options,
    nothing,
    remove,
    restored,
    run,
)
from jaxnn.training import checkpoint, fit
from jaxnn.training.lock import Lock

__all__ = ["Closed", "Terminal", "between", "configured", "damaged", "held", "in_a_directory", "in_a_thread",
           "left_by_a_killed_run", "measured", "metrics_of", "nan_batch", "released", "replaced_by_another_run",
           "saved_alone", "second_run", "shown_on", "tensorboard", "terminated", "to_another_directory",
           "warnings_are_errors", "watched"]

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
