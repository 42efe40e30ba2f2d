"""Short trials before a long run: does it run, can it learn at all, and how large may the steps be?"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.training.make_step import make_step
from jaxnn.training.step import Step
from jaxnn.training.tracing import expect_kept, path_of
from jaxnn.training.train_state import TrainState, expect_train_state, start

__all__ = ["DryRun", "RateRange", "dry_run", "learning_rate_range", "overfit_one_batch"]


class DryRun(NamedTuple):
    """What two steps showed. unmoved: paths of the parameters that they left as they were."""

    costs: tuple[float, float]
    compile_seconds: float
    step_seconds: float
    n_parameters: int
    unmoved: list[str]


def dry_run(train_state: TrainState, step: Step, batches: Callable[[int], tuple[Any, Any]], *,
            metrics: Callable[[Any, Any], dict[str, Any]] | None = None) -> DryRun:
    """Takes two steps, and the metrics, on a copy of the train state, which is kept.

    Raises:
      FloatingPointError: a step was not applied, because its cost, gradient or update is not finite.
    """
    expect_train_state("dry_run", train_state)
    expect(isinstance(step, Step), "dry_run", "a step made by make_step", type(step).__name__)
    _expect_batches("dry_run", batches)
    expect_kept("dry_run", "a train state", train_state)
    after = jax.tree.map(lambda a: a.copy(), train_state)  # a step takes over the buffers it is given
    infos, seconds = [], []
    for i in range(2):
        begin = time.perf_counter()
        after, info = step(after, *batches(int(train_state.step) + i))
        infos.append(jax.device_get(info))
        seconds.append(time.perf_counter() - begin)
    if metrics is not None:
        metrics(after.params, after.state)
    for i, info in enumerate(infos):
        if not info.applied:
            raise FloatingPointError(f"dry_run: step {int(train_state.step) + i} is not finite: cost {info.cost:.4g}, "
                                     f"‖gradient‖ {info.gradient_norm:.4g}; look_inside shows where")
    old, new = (dict(jax.tree_util.tree_flatten_with_path(s.params)[0]) for s in (train_state, after))
    unmoved = [path_of(path) for path, leaf in old.items() if bool(jnp.all(leaf == new[path]))]
    return DryRun((float(infos[0].cost), float(infos[1].cost)), max(seconds[0] - seconds[1], 0.0), seconds[1],
                  sum(leaf.size for leaf in old.values()), unmoved)


def _expect_batches(who: str, batches: Any) -> None:
    expect(callable(batches), who, "batches that are called with the step's number, such as Batches(x, labels, 32)",
           type(batches).__name__)


def overfit_one_batch(train_state: TrainState, step: Step, x: Any, labels: Any, *, steps: int = 500,
                      below: float = 0.01) -> np.ndarray:
    """The costs, step by step, of training on one batch alone, on a copy of the train state, until one is below.

    A network that cannot learn a few examples by heart has a fault: in its labels, its loss, or its size.
    """
    expect(is_integer(steps, 1) and is_number(below) and below > 0, "overfit_one_batch",
           "steps, a positive integer, and below, a number > 0", f"{steps!r} and {below!r}")
    expect_kept("overfit_one_batch", "a train state", train_state)
    train_state, costs = jax.tree.map(lambda a: a.copy(), train_state), list[float]()
    for _ in range(steps):
        train_state, info = step(train_state, x, labels)
        costs.append(float(info.cost))
        if costs[-1] < below:
            break
    return np.array(costs)


class RateRange(NamedTuple):
    """The cost at each learning rate; steepest: where it falls most per factor, a good first guess;
    diverges: the first rate at which it is four times its best, infinity if none is."""

    rates: np.ndarray
    costs: np.ndarray
    steepest: float
    diverges: float

    def plot(self) -> Any:
        """A matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure((6, 4), layout="constrained")
        axes = figure.subplots()
        axes.semilogx(self.rates, self.costs, linewidth=1.5)
        axes.axvline(self.steepest, color="tab:green", linestyle="--", label=f"steepest, {self.steepest:.2g}")
        if np.isfinite(self.diverges):
            axes.axvline(self.diverges, color="tab:red", linestyle="--", label=f"diverges, {self.diverges:.2g}")
        finite = self.costs[np.isfinite(self.costs)]
        axes.set(xlabel="learning rate", ylabel="cost / nats", title="Learning-rate range test",
                 ylim=(0, 1.5 * finite[0]))
        axes.legend()
        return figure


def learning_rate_range(layer: Any, loss: Callable, optimizer: Callable[[Any], optax.GradientTransformation],
                        batches: Callable[[int], tuple[Any, Any]], shape: Any, key: Any, *, low: float = 1e-6,
                        high: float = 10.0, steps: int = 100) -> RateRange:
    """Trains while the learning rate grows from low to high by the same factor each step.

    Args:
      optimizer: a learning rate, or a schedule of it, -> an optax transformation: `optax.adam` say.
    Source: Smith (2017), Cyclical learning rates for training neural networks, section 3.3.
    """
    who = "learning_rate_range"
    is_range = is_number(low) and is_number(high) and 0 < low < high
    expect(is_range and is_integer(steps, 10), who, "0 < low < high and at least 10 steps",
           f"{low!r}, {high!r}, {steps!r}")
    expect(callable(optimizer), who, "optimizer, a function of the learning rate", type(optimizer).__name__,
           "pass optax.adam, not optax.adam(1e-3)")
    _expect_batches(who, batches)
    growth = np.log(high / low)
    chosen = optimizer(lambda count: low * jnp.exp(growth * count / (steps - 1)))
    train_state, step = start(layer, chosen, shape, key), make_step(layer, loss, chosen)
    rates, costs = low * np.exp(growth * np.arange(steps) / (steps - 1)), list[float]()
    for s in range(steps):
        train_state, info = step(train_state, *batches(s))
        costs.append(float(info.cost))
        if not np.isfinite(costs[-1]) or costs[-1] > 4 * min(costs):
            break
    expect(np.isfinite(costs[0]), "learning_rate_range", "a finite cost at first", f"{costs[0]}",
           "dry_run shows what is wrong")
    tried = rates[:len(costs)]
    smooth = _smoothed(np.array(costs))
    slope = np.gradient(smooth, np.log(tried))
    over = not np.isfinite(costs[-1]) or costs[-1] > 4 * min(costs)
    # The fall must lie before the best cost: behind it the cost only swings.
    best = int(np.nanargmin(np.where(np.isfinite(smooth), smooth, np.inf)))
    steepest = float(tried[int(np.argmin(slope[:best + 1]))])
    return RateRange(tried, np.array(costs), steepest, float(tried[-1]) if over else np.inf)


def _smoothed(costs: np.ndarray, keep: float = 0.8) -> np.ndarray:
    """An average that forgets, without its bias at the beginning (as Adam's moments are corrected)."""
    average, smooth = 0.0, []
    for i, cost in enumerate(costs, 1):
        average = keep * average + (1 - keep) * cost
        smooth.append(average / (1 - keep**i))
    return np.array(smooth)
