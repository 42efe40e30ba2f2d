"""Where a run is: what its loop remembers beside the train state."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.training.train_state import TrainState

__all__ = ["Best", "Position"]


class Best(NamedTuple):
    """The best so far by the metric that is watched. state: the layer's running statistics."""

    step: int
    value: float
    params: Any
    state: Any


@dataclasses.dataclass
class Position:
    """Where a run is.

    step: steps done.
    window: the costs of the applied steps since the last record.
    skipped: the steps that were not applied; in_a_row: those since the last applied one.
    since_best: records since the best; best: None before there is one.
    gradient_norm, n_examples: of the last step that was read, and of the last batch.
    """

    step: int
    window: list[float] = dataclasses.field(default_factory=list)
    skipped: int = 0
    in_a_row: int = 0
    since_best: int = 0
    best: Best | None = None
    gradient_norm: float = float("nan")
    n_examples: int = 0

    def take_cost(self) -> float:
        """The mean cost of the window, NaN where no step was applied; a new window begins."""
        window, self.window = self.window, []
        return float(np.mean(window)) if window else float("nan")

    def count_applied(self, cost: float) -> None:
        self.window.append(cost)
        self.in_a_row = 0

    def count_skipped(self, *, is_fault: bool) -> None:
        self.skipped += 1
        self.in_a_row += is_fault

    def compare_with_best(self, value: float, goal: str, train_state: TrainState) -> None:
        """Keeps this value, and the network it belongs to, if it is better than the best; NaN never is."""
        sign = 1 if goal == "min" else -1
        if value != value or (self.best is not None and not sign * value < sign * self.best.value):
            self.since_best += 1
            return
        self.since_best = 0
        # A copy: the next step takes over the buffers of the train state.
        self.best = Best(self.step, value, *jax.tree.map(lambda a: a.copy(), (train_state.params, train_state.state)))

    def has_patience(self, patience: int | None) -> bool:
        return patience is None or self.since_best < patience
