"""What a run leaves its caller: its history, and the errors that carry it."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Best", "Diverged", "Failed", "History", "NotSaved"]


class Best(NamedTuple):
    """The best so far by the measure that is watched."""

    step: int
    value: float
    params: Any
    state: Any


class History(NamedTuple):
    """records: at step 0, each `every` steps and at the end: the step, the mean cost since the last record,
    the gradient's norm, the metrics, the examples per second, and the seconds of running and of compiling.
    skipped: steps that were not applied. stopped: why it ended, "steps" or "patience"."""

    records: list[dict[str, Any]]
    best: Best | None
    skipped: int
    stopped: str

    def column(self, name: str) -> np.ndarray:
        """A measure over the records, NaN where it was not taken."""
        return np.array([np.nan if r.get(name) is None else r[name] for r in self.records], float)


class Failed(RuntimeError):
    """Something that was given to `fit` raised. state, history: as far as training has come; it is saved."""

    def __init__(self, message: str, state: Any, history: History):
        super().__init__(message)
        self.state, self.history = state, history


class Diverged(Failed):
    """Too many steps in a row were not finite. state is the last good one; it is saved."""


class NotSaved(UserWarning):
    """A checkpoint or a record could not be written; training went on."""
