"""What a run returns to its caller: its history, and the errors that carry it."""

from typing import Any, NamedTuple

import numpy as np

from jaxnn.training.position import Best
from jaxnn.training.train_state import TrainState

__all__ = ["Diverged", "Failed", "History", "NotSaved"]


class History(NamedTuple):
    """What a run measured.

    records: at step 0, each `every` steps and at the end: the step, the mean cost since the last record,
      the gradient's norm, the metrics, the examples per second, and the seconds of running and of compiling.
    best: by the metric that is watched, None where none is.
    skipped: steps that were not applied.
    stopped: why the run ended, "steps" or "patience"; in an error "failed", "diverged" or a signal's name.
    """

    records: list[dict[str, Any]]
    best: Best | None
    skipped: int
    stopped: str

    def column(self, name: str) -> np.ndarray:
        """A metric over the records, NaN where it was not measured."""
        return np.array([np.nan if r.get(name) is None else r[name] for r in self.records], float)


class Failed(RuntimeError):
    """A function that the caller gave to `fit` raised. train_state, history: up to there; both are saved."""

    def __init__(self, message: str, train_state: TrainState, history: History):
        super().__init__(message)
        self.train_state, self.history = train_state, history


class Diverged(Failed):
    """Too many steps in a row were not finite. train_state is the last good one; it is saved."""


class NotSaved(UserWarning):
    """A checkpoint or a record could not be written; training continues."""
