"""Where the records of a run are written: JSON lines, TensorBoard, and the terminal."""

import json
import math
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxnn.data.extra import import_extra
from jaxnn.training.history import NotSaved

__all__ = ["DamagedLog", "Log", "Progress", "TensorBoard", "read_lines"]


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """The records of a log. A last line that a kill has torn is left out; so is a damaged one, with a warning."""
    lines = Path(path).read_bytes().split(b"\n")
    records = []
    for i, line in enumerate(lines[:-1]):  # after the last newline comes nothing, or a torn line
        try:
            record = json.loads(line)
            records.append(record | {"step": int(record["step"])})
        except (ValueError, TypeError, KeyError):
            warnings.warn(f"line {i + 1} of {path} is no record and left out: {line[:60]!r}", DamagedLog, stacklevel=2)
    return records


class DamagedLog(UserWarning):
    """A line of a log is no record."""


class Log:
    """A file of JSON lines, one record each, flushed so that a kill tears at most the last.

    Records after step `after` are cut off first: a run that continues from an older checkpoint writes
    those steps again. `records` are those that stay.
    """

    def __init__(self, path: Path, after: int = -1):
        self.records = [r for r in read_lines(path) if r["step"] <= after] if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".writing")
        beside.write_bytes(b"".join(map(_line, self.records)))
        os.replace(beside, path)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115

    def write(self, record: dict[str, Any]) -> None:
        """Adds a record. Where the disk is full, the file stays whole, `records` has it, and a warning reports it."""
        self.records.append(record)
        end, line = self._file.seek(0, os.SEEK_END), _line(record)
        try:
            while line:
                line = line[self._file.write(line):]
        except OSError as error:
            self._file.truncate(end)
            warnings.warn(f"the record of step {record['step']} could not be written ({error})", NotSaved, stacklevel=2)

    def close(self) -> None:
        self._file.close()


def _line(record: dict[str, Any]) -> bytes:
    # JSON has no NaN: what is not finite is written as null.
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(plain).encode() + b"\n"


class TensorBoard:
    """The numbers of each record as scalars, for TensorBoard. Needs tensorboardX."""

    def __init__(self, directory: Path):
        self._writer = import_extra("tensorboardX", "TensorBoard", "tensorboard").SummaryWriter(str(directory))

    def write(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, record["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Progress:
    """A bar on a terminal that has tqdm, and a plain line for each record everywhere."""

    def __init__(self, steps: int, done: int, *, shown: bool):
        self._steps, self._shown, self._bar = steps, shown, None
        if shown and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=steps, initial=done, unit="step", leave=False, dynamic_ncols=True)

    def advance(self, n_steps: int) -> None:
        if self._bar is not None:
            self._bar.update(n_steps)

    def say(self, text: str) -> None:
        if not self._shown:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

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
            self._bar.close()


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
