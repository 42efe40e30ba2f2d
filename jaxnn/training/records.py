"""The records of a run: what is measured, how long it took, and where it is written."""

import time
from typing import Any

import jax
import numpy as np

from jaxnn.training.log import Log, Progress, TensorBoard
from jaxnn.training.position import Position
from jaxnn.training.settings import Settings
from jaxnn.training.train_state import TrainState

__all__ = ["Recorder", "Stopwatch", "measures"]

TIMES = ("examples_per_second", "seconds", "compile_seconds")  # in a record, but not on its line
OWN = {"step", "cost", "gradient_norm", "skipped", *TIMES}


def measures(settings: Settings, train_state: TrainState) -> dict[str, Any]:
    """The metrics, as numbers.

    Raises:
      ValueError, TypeError: a metric has a name of the record's own, or is no number; the watched one is missing.
    """
    if settings.metrics is None:
        return {}
    found = settings.metrics(train_state.params, train_state.state)
    own = sorted(OWN & found.keys())
    if own:
        raise ValueError(f"{', '.join(own)}, which the record has of its own; name it dev_{own[0]}, say")
    if settings.watch is not None and settings.watch not in found:
        raise ValueError(f"no {settings.watch!r}, which is to be watched, but {sorted(found)}")
    return {name: _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> Any:
    if np.ndim(value) != 0:
        raise TypeError(f"'{name}' is an array of shape {np.shape(value)}, not a number")
    return value if isinstance(value, int | float | bool) else np.asarray(value).item()


class Stopwatch:
    """The seconds of a run so far: running steps, and compiling them."""

    def __init__(self) -> None:
        self.running, self.compiling, self._begin = 0.0, 0.0, 0.0

    def start(self) -> None:
        self._begin = time.perf_counter()

    def count_compiling(self) -> None:
        end = time.perf_counter()
        self.compiling += end - self._begin
        self._begin = end

    def count_running(self) -> None:
        end = time.perf_counter()
        self.running += end - self._begin
        self._begin = end


class Recorder:
    """Writes records: to the log, to TensorBoard and to the terminal, all of them from the first process only."""

    def __init__(self, settings: Settings, position: Position, *, resumes: bool):
        is_first = jax.process_index() == 0
        self._steps = settings.steps
        self._writers: list[Any] = []
        self.records: list[dict[str, Any]] = []
        self.stopwatch = Stopwatch()
        self._last = position.step, 0.0  # the step of the last record, and the seconds of running up to there
        if settings.directory is not None and is_first:
            log = Log(settings.directory / "metrics.jsonl", position.step if resumes else -1)
            self._writers, self.records = [log], log.records
            if settings.tensorboard:
                self._writers.append(TensorBoard(settings.directory / "tensorboard"))
        self.progress = Progress(settings.steps, position.step, shown=settings.progress and is_first)
        if resumes:
            self.progress.say(f"continuing from step {position.step} of {settings.directory}")

    def write_first(self, position: Position, found: dict[str, Any]) -> None:
        """The record before the first step. found: the metrics."""
        self._write({"step": position.step, **found}, None)

    def write(self, position: Position, cost: float, found: dict[str, Any]) -> None:
        """The record of the steps since the last one. cost: their mean; found: the metrics."""
        record: dict[str, Any] = {"step": position.step, "cost": cost, "gradient_norm": position.gradient_norm}
        if position.skipped:
            record["skipped"] = position.skipped
        record |= found
        seconds, (step, since) = self.stopwatch.running, self._last
        left = None
        if seconds > since:
            speed = (position.step - step) * position.n_examples / (seconds - since)
            record["examples_per_second"] = round(speed, 1)
            if speed and position.step < self._steps:
                left = (self._steps - position.step) * position.n_examples / speed
        if since == 0 and self.stopwatch.compiling:
            self.progress.say(f"compiled in {self.stopwatch.compiling:.1f} s")
        self._write(record, left)

    def _write(self, record: dict[str, Any], seconds_left: float | None) -> None:
        seconds = self.stopwatch.running
        record |= {"seconds": round(seconds, 3), "compile_seconds": round(self.stopwatch.compiling, 3)}
        self._last = record["step"], seconds
        for writer in self._writers:
            writer.write(record)
        if not self._writers:  # the log keeps the records it writes
            self.records.append(record)
        self.progress.record(record, TIMES, seconds_left)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()
        self.progress.close()
