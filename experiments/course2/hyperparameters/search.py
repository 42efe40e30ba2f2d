"""What to try next: hyperparameters from a grid, at random, at random in a smaller box, or by Optuna.

Each is a number between bounds on a log scale, for what matters of it is its order of magnitude; the
hidden size is one of a few, for the shapes of a compiled program are fixed.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Space", "Trial", "best", "grid", "narrowed", "random_trials", "with_optuna"]


class Space(NamedTuple):
    """bounds: (lowest, highest) of each number, both above 0. hidden: the sizes to choose from."""

    bounds: dict[str, tuple[float, float]]
    hidden: tuple[int, ...]


class Trial(NamedTuple):
    """One network that was, or is to be trained; error is that on the dev set, NaN before."""

    hidden: int
    values: dict[str, float]
    error: float = float("nan")


def random_trials(random: np.random.RandomState, space: Space, n: int) -> list[Trial]:
    """n trials, each number uniform on the log scale: r in [log low, log high], value = e^r."""
    return [Trial(int(random.choice(space.hidden)),
                  {name: float(np.exp(random.uniform(*np.log(bounds)))) for name, bounds in space.bounds.items()})
            for _ in range(n)]


def grid(random: np.random.RandomState, space: Space, per_axis: int) -> list[Trial]:
    """per_axis values of each number, evenly on the log scale, in all combinations with all sizes.

    The range is cut into equal cells, and the values lie at the same random place in each: a grid that
    always began at the lower bound would be good or bad by where the bounds happen to be.
    """
    axes = [np.exp(np.log(low) + (np.arange(per_axis) + random.rand()) / per_axis * np.log(high / low))
            for low, high in space.bounds.values()]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return [Trial(hidden, dict(zip(space.bounds, map(float, point), strict=True)))
            for hidden in space.hidden for point in points]


def best(trials: Sequence[Trial], n: int = 1) -> list[Trial]:
    """The n with the smallest error, the earlier first of two equal ones."""
    return sorted(trials, key=lambda trial: trial.error)[:n]


def narrowed(trials: Sequence[Trial]) -> Space:
    """The smallest box around these trials: coarse to fine takes the best ones, and searches on in there."""
    names = trials[0].values
    bounds = {name: (min(t.values[name] for t in trials), max(t.values[name] for t in trials)) for name in names}
    return Space(bounds, tuple(sorted({trial.hidden for trial in trials})))


def with_optuna(space: Space, n: int, seed: int, measure: Callable[[list[Trial]], list[Trial]],
                at_once: int) -> list[Trial]:
    """n trials that Optuna's tree-structured Parzen estimator proposes, `at_once` between two looks.

    Raises:
      ModuleNotFoundError: Optuna is not installed.
    Source: Akiba et al. (2019), Optuna: a next-generation hyperparameter optimization framework.
    """
    try:
        optuna: Any = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"--sampler optuna expects the package 'optuna'; got {error}; "
                                  "install jaxnn[search], or use --sampler random", name=error.name) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    done: list[Trial] = []
    while len(done) < n:
        asked = [study.ask() for _ in range(min(at_once, n - len(done)))]
        measured = measure([
            Trial(trial.suggest_categorical("hidden", space.hidden),
                  {name: trial.suggest_float(name, *bounds, log=True) for name, bounds in space.bounds.items()})
            for trial in asked])
        for trial, result in zip(asked, measured, strict=True):
            study.tell(trial, result.error)
        done += measured
    return done
