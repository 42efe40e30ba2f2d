"""Where the records of a run are written: JSON lines, TensorBoard, and the terminal."""

import contextlib
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jaxnn.checks import InputError, as_path, expect
from jaxnn.data.extra import import_extra
from jaxnn.training.history import NotSaved

__all__ = ["DamagedLog", "Log", "Progress", "TensorBoard", "number_from_json", "number_to_json", "read_lines"]


INFINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}  # JSON has no such numbers; text is no metric
READ = {text: number for number, text in INFINITE.items()} | {None: math.nan}


def number_to_json(value: Any) -> Any:
    """A number as JSON can hold it: infinity is text, and NaN is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return INFINITE.get(value)
    return value


def number_from_json(value: Any) -> Any:
    """What `number_to_json` was given."""
    return READ.get(value, value) if value is None or isinstance(value, str) else value


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """The records of a log, as they were written. A last line that a kill has torn is left out; so is a damaged one,
    with a warning."""
    path = as_path("read_lines", "path", path)
    expect(path.is_file(), "read_lines", "a log, a file of JSON lines", f"{path}, which is none")
    lines = path.read_bytes().split(b"\n")
    records = []
    for i, line in enumerate(lines[:-1]):  # after the last newline comes nothing, or a torn line
        try:
            record = json.loads(line)
            if type(record["step"]) is not int:
                raise ValueError
            records.append({name: number_from_json(value) for name, value in record.items()})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError):
            warnings.warn(f"line {i + 1} of {path} is no record and left out: {line[:60]!r}", DamagedLog, stacklevel=2)
    return records


class DamagedLog(UserWarning):
    """A line of a log is no record."""


class Log:
    """A file of JSON lines, one record each, flushed so that a kill tears at most the last.

    Records after step `after` are cut off first: a run that continues from an older checkpoint writes
    those steps again. `records` are those that stay.

    Raises:
      InputError: there is something else than a file in its place.
    """

    def __init__(self, path: Path, after: int = -1):
        expect(not os.path.lexists(path) or path.is_file(), "fit", "a file of records, or none", f"{path}, which is no "
               "regular file", "move it away")
        self._path = path
        self.records = [r for r in read_lines(path) if r["step"] <= after] if path.exists() else []
        self._file = self._written()

    def _written(self) -> Any:
        """The file with the records, opened for those to come."""
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".writing")
        try:
            beside.write_bytes(b"".join(map(_line, self.records)))
            os.replace(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        return open(path, "ab", buffering=0)

    def write(self, record: dict[str, Any]) -> None:
        """Adds a record. Where the disk is full, the file stays whole, `records` has it, and a warning reports it."""
        self.records.append(record)
        line = _line(record)
        end = 0
        try:
            end = self._file.seek(0, os.SEEK_END)
            while line:
                line = line[self._file.write(line):]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            warnings.warn(f"the record of step {record['step']} could not be written ({error})", NotSaved, stacklevel=2)

    def restore(self) -> bool:
        """Writes the file anew where it was removed; whether it was.

        Raises:
          OSError: it cannot be written.
        """
        try:
            if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path)):
                return False
        except FileNotFoundError:
            pass
        file, self._file = self._file, self._written()
        file.close()
        return True

    def close(self) -> None:
        self._file.close()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps({name: number_to_json(value) for name, value in record.items()}).encode() + b"\n"


class TensorBoard:
    """The numbers of each record as scalars, for TensorBoard. Needs tensorboardX."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._open()

    def _open(self) -> None:
        summary = import_extra("tensorboardX", "TensorBoard", "tensorboard")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._opened = os.stat(self._directory)
            self._writer = summary.SummaryWriter(str(self._directory))
        except OSError as error:
            raise InputError("fit", f"expects a directory for TensorBoard; got {self._directory}, which cannot be "
                             f"written to ({error}); pass tensorboard=False") from error

    def write(self, record: dict[str, Any]) -> None:
        """Adds a record; a failure is a warning, for the log has the record too."""
        try:
            for name, value in record.items():
                if name != "step" and isinstance(value, int | float):
                    self._writer.add_scalar(name, float(value), record["step"])
            self._writer.flush()
        except Exception as error:  # of its own, and of its writer's thread
            warnings.warn(f"the record of step {record['step']} could not be written for TensorBoard "
                          f"({type(error).__name__}: {error}); training continues", NotSaved, stacklevel=2)

    def restore(self) -> bool:
        """Begins a new file where the directory was removed: earlier records are in the log alone."""
        with contextlib.suppress(OSError):
            if os.path.samestat(self._opened, os.stat(self._directory)):
                return False
        with contextlib.suppress(Exception):
            self._writer.close()
        self._open()
        return True

    def close(self) -> None:
        self._writer.close()


class Progress:
    """A bar on a terminal that has tqdm, and a plain line for each record everywhere. A terminal that is gone, or a
    pipe whose reader has ended, is written to no longer; training goes on."""

    def __init__(self, steps: int, done: int, *, shown: bool):
        self._steps, self._shown, self._bar = steps, shown, None
        if shown and _is_terminal(sys.stderr):
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=steps, initial=done, unit="step", leave=False, dynamic_ncols=True)

    def advance(self, n_steps: int) -> None:
        if self._bar is not None:
            self._show(self._bar.update, n_steps)

    def say(self, text: str) -> None:
        if not self._shown:
            return
        if self._bar is not None:
            self._show(self._bar.write, text, file=sys.stdout)
        else:
            self._show(print, text, flush=True)

    def _show(self, write: Callable[..., Any], *args: Any, **keywords: Any) -> None:
        try:
            write(*args, **keywords)
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            if isinstance(error, UnicodeError):
                return  # this line cannot be shown there; others can
            self._shown, self._bar = False, None
            if isinstance(error, BrokenPipeError):
                # Python flushes standard output once more as it ends, and would end with an error.
                with contextlib.suppress(Exception):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def record(self, record: dict[str, Any], hidden: Iterable[str], seconds_left: float | None) -> None:
        parts = [f"step {record['step']:{len(str(self._steps))}d}/{self._steps}"]
        for name, value in record.items():
            if name in hidden or name == "step" or value is None:
                continue
            number = f"{value:.4g}" if isinstance(value, float) else str(value)
            parts.append(f"{name.replace('_', ' ')} {number}")
        if record.get("examples_per_second"):
            parts.append(f"{record['examples_per_second']:,.0f} examples/s")
        if seconds_left is not None:
            parts.append(f"{clock(seconds_left)} left")
        self.say("   ".join(parts))

    def close(self) -> None:
        if self._bar is not None:
            self._show(self._bar.close)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream is not None and stream.isatty())
    except (OSError, ValueError):  # it is closed
        return False


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
