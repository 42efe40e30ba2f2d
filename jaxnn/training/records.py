"""The records of a run: what is measured, how long it took, and where it is written."""

import time
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError
from jaxnn.training.history import OWN, TIMES, NotSaved
from jaxnn.training.log import Log, Progress, TensorBoard
from jaxnn.training.position import Position
from jaxnn.training.settings import Settings
from jaxnn.training.train_state import TrainState

__all__ = ["Recorder", "Stopwatch", "measures"]

def measures(settings: Settings, train_state: TrainState) -> dict[str, Any]:
    """The metrics, as numbers of Python.

    Raises:
      ValueError, TypeError: a metric has a name of the record's own, or is no number; the watched one is missing.
    """
    if settings.metrics is None:
        return {}
    found = settings.metrics(train_state.params, train_state.state)
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{found!r}, no dict of names and numbers")
    own = sorted(OWN & found.keys())
    if own:
        raise ValueError(f"{', '.join(own)}, which the record has of its own; name it dev_{own[0]}, say")
    if settings.watch is not None and settings.watch not in found:
        raise ValueError(f"no {settings.watch!r}, which is to be watched, but {sorted(found)}")
    return {name: _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> int | float | bool:
    if np.ndim(value) != 0:
        raise TypeError(f"'{name}' is an array of shape {np.shape(value)}, not a number")
    if type(value) in (bool, int, float):
        number = value
    else:
        array = np.asarray(value)
        if array.dtype != bool and not (jnp.issubdtype(array.dtype, np.number)
                                        and not jnp.issubdtype(array.dtype, np.complexfloating)):
            raise TypeError(f"'{name}' is {value!r}, not a number")
        number = array.item()
    try:
        plain = float(number)
    except OverflowError:
        raise ValueError(f"'{name}' is an integer beyond the range of float64") from None
    if isinstance(number, bool | int):
        return number
    if plain != number and number == number:  # of more digits, as NumPy's longdouble has
        raise ValueError(f"'{name}' is {number!r}, which float64 rounds; pass float(...) of it")
    return plain


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

    def restore(self) -> list[str]:
        """Writes anew what was removed from the directory while training; the names of it. Where something is in
        its place, a warning reports it: a log that cannot be written keeps no checkpoint from being saved."""
        restored = []
        for name, writer in zip(("metrics.jsonl", "tensorboard"), self._writers, strict=False):
            try:
                if writer.restore():
                    restored.append(name)
            except (OSError, InputError) as error:
                warnings.warn(f"{name} was removed while training, and could not be written anew "
                              f"({type(error).__name__}: {error}); the next save tries again", NotSaved, stacklevel=2)
        return restored

    def close(self, on_its_way: BaseException | None) -> None:
        """Closes all files. A failure never takes the place of an error that is on its way, None if none is."""
        for part in (*self._writers, self.progress):
            try:
                part.close()
            except Exception as error:
                problem = f"{type(part).__name__} could not be closed ({type(error).__name__}: {error})"
                if on_its_way is not None:
                    on_its_way.add_note(problem)
                else:
                    warnings.warn(problem, NotSaved, stacklevel=2)
