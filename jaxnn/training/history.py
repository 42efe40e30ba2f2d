"""What a run returns to its caller: its history, and the errors that carry it."""

from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect
from jaxnn.training.position import Best
from jaxnn.training.train_state import TrainState

__all__ = ["OWN", "TIMES", "Diverged", "Failed", "History", "NotApplied", "NotSaved", "SaveFailed"]

TIMES = ("examples_per_second", "seconds", "compile_seconds")
OWN = {"step", "cost", "gradient_norm", "skipped", *TIMES}  # what fit itself writes into a record


class History(NamedTuple):
    """What a run measured.

    records: at step 0, each `every` steps and at the end: the step, the mean cost since the last record,
      the gradient's norm, the metrics, the examples per second, and the seconds of running and of compiling. The
      first record is before any step: it has no cost.
    best: by the metric that is watched, None where none is.
    skipped: steps that were not applied.
    stopped: why the run ended, "steps" or "patience"; in an error "failed", "diverged" or a signal's name.
    """

    records: list[dict[str, Any]]
    best: Best | None
    skipped: int
    stopped: str

    def column(self, name: str) -> np.ndarray:
        """A metric over the records, as long as `column("step")`, and NaN where it was not measured: so is the
        first cost, which no step has. `curve` leaves these out.

        Raises:
          InputError: no record has it.
        """
        self._expect("column", name)
        return np.array([np.nan if r.get(name) is None else r[name] for r in self.records], float)

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of the records that have this metric, to be drawn: NaN among them was measured. A cost is
        NaN where none of the steps since the record before was applied.

        Raises:
          InputError: no record has it.
        """
        self._expect("curve", name)
        measured = [(r["step"], r[name]) for r in self.records if r.get(name) is not None]
        return np.array([step for step, _ in measured], int), np.array([value for _, value in measured], float)

    def _expect(self, who: str, name: str) -> None:
        names = {key for record in self.records for key in record} | OWN
        expect(name in names, who, f"one of {', '.join(sorted(names))}", repr(name))


class Failed(RuntimeError):
    """Training ended early: a function that the caller gave to `fit` raised, or the system did.

    train_state, history: up to there. The message says whether they are saved too.
    """

    def __init__(self, message: str, train_state: TrainState, history: History):
        super().__init__(message)
        self.train_state, self.history = train_state, history


class Diverged(Failed):
    """Too many steps in a row were not finite. train_state is the last good one."""


class SaveFailed(Failed, OSError):
    """Training is done, and its last checkpoint could not be written: the train state is in this error alone."""


class NotApplied(UserWarning):
    """Steps were not finite, and were left out; training continues."""


class NotSaved(UserWarning):
    """A checkpoint or a record could not be written; training continues."""
