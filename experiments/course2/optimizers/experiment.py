"""How far do gradient descent, momentum, RMSprop and Adam come at a constant and at a decaying rate?

    python -m experiments run optimizers

Two relu layers, 2-5-2-1, on the course's 300 noisy moons, in mini-batches of 64, in float64, from the
course's own random numbers and shuffles, so that its costs come out; optimizers from their derivations
(by_hand.py). Each training is one compiled scan. Their paths are drawn on the cost of a
logistic regression with two weights, on the breast cancer table.

Result, on 2 CPU cores, 24 s. Train accuracy / % at the learning rate 0.0007 for 10,000 epochs, and at 0.1
(RMSprop and Adam 0.01) falling in steps or smoothly for 5,000; test accuracy of 300 points drawn anew:
                          0.0007     test    in steps     test    smoothly     test
    gradient descent       79.67    82.67       94.33    95.00       94.67    95.67
    momentum               79.67    82.33       95.33    94.67       94.33    94.67
    RMSprop                94.00    95.00       94.00    94.67       94.00    95.00
    Adam                   94.00    95.00       94.00    95.33       94.00    95.33
The course prints 79.7, 79.7 and 94 for the first, and 94.67, 94.33 and 94 for the last. At a rate that
falls in each epoch, 0.1 / (1 + epoch), gradient descent stands still at 65.33, as in the course. With a
small learning rate momentum is gradient descent; both catch up with Adam as soon as it is large enough.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course2.optimizers import by_hand
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, positive, random_seed
from experiments.shared.mlp import Points, Trained, cost, initial, logits, report, trained
from experiments.shared.run import percent, say, series, table
from jaxnn import binary_cross_entropy
from jaxnn.data import load_breast_cancer, noisy_moons
from jaxnn.metrics import accuracy

OPTIMIZERS = {"gradient descent": by_hand.gradient_descent(), "momentum": by_hand.momentum(),
              "RMSprop": by_hand.rmsprop(), "Adam": by_hand.adam()}
FEATURES = ("worst texture", "perimeter error")  # in units of their own: one six times as steep


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = random_seed(3, "seed of the moons and the weights, the course's; +1 draws the test points, +8 shuffles")
    batch_size: int = count(64, "examples in a batch, as many as in the course")
    epochs: int = count(10_000, "passes over the training set at a constant rate, as many as in the course")
    learning_rate: float = positive(0.0007, "constant learning rate of all optimizers, the course's")
    decay_epochs: int = count(5000, "passes over the training set with a decaying rate, as many as in the course")
    decay_learning_rate: float = positive(0.1, "first decaying rate of gradient descent and momentum, the course's")
    adaptive_learning_rate: float = positive(0.01, "first decaying rate of Adam and RMSprop; the course has it for "
                                             "Adam")
    time_interval: int = count(1000, "epochs from one step of the schedule to the next, as many as in the course")
    path_steps: int = count(60, "steps of each path that is drawn; by the last, all are near the minimum")


def moons(seed: int) -> Points:  # the course's, and as many to test
    return Points(*noisy_moons(seed, n=300), *noisy_moons(seed + 1, n=300))


def mini_batches(n: int, batch_size: int, seed: int) -> list[np.ndarray]:
    """The numbers of the examples of each mini-batch of one epoch, shuffled as in the course; the last is
    smaller if need be."""
    order = np.random.RandomState(seed).permutation(n)
    return [order[first:first + batch_size] for first in range(0, n, batch_size)]


class Batches(NamedTuple):
    """All mini-batches of a training, each filled up to one size by examples that weigh nothing.

    examples: (epochs, batches, batch_size) numbers. weights: (batches, batch_size), 1 or 0.
    """

    examples: np.ndarray
    weights: np.ndarray


@functools.lru_cache(maxsize=2)  # one for each number of epochs: the same batches for all optimizers
def batches(n: int, batch_size: int, seed: int, epochs: int) -> Batches:
    """Epoch e is shuffled by seed + e."""
    fill = -n % batch_size
    order = np.stack([np.concatenate([*mini_batches(n, batch_size, seed + e), np.zeros(fill, int)])
                      for e in range(epochs)])
    weights = np.repeat([1.0, 0.0], [n, fill])
    return Batches(order.reshape(epochs, -1, batch_size), weights.reshape(-1, batch_size))


def rates(schedule: Callable, learning_rate0: float, epochs: int) -> np.ndarray:
    """The learning rate of each epoch: as in the course it decays after an epoch, by that epoch's number."""
    return np.asarray(schedule(learning_rate0, np.maximum(np.arange(epochs) - 1, 0)))


@functools.partial(jax.jit, static_argnames="optimizer")
def train(params: Any, x: Any, labels: Any, batches: Batches, rates: Any, *,
          optimizer: by_hand.Optimizer) -> Any:
    """(params after each epoch, stacked; the cost of each epoch, mean over its mini-batches' examples)."""
    n = jnp.sum(batches.weights)

    def loss(params: Any, examples: Any, weights: Any) -> Any:
        losses = jax.vmap(binary_cross_entropy)(logits(params, x[examples]), labels[examples])
        return jnp.sum(weights * losses)

    def epoch(carry: Any, order_and_rate: Any) -> Any:
        examples, rate = order_and_rate

        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params, *batch)
            grads = jax.tree.map(lambda g: g / jnp.sum(batch[1]), grads)
            direction, state = optimizer.update(grads, state)
            return (by_hand.descend(params, direction, rate), state), value

        carry, values = jax.lax.scan(step, carry, (examples, batches.weights))
        return carry, (carry[0], jnp.sum(values) / n)

    return jax.lax.scan(epoch, (params, optimizer.init(params)), (batches.examples, rates))[1]


class Run(NamedTuple):
    """A training: the cost before it, what it came to, its learning rates, and its accuracy in each 100th epoch."""

    start: float
    result: Trained
    rates: np.ndarray
    accuracies: np.ndarray


def run_one(knobs: Knobs, points: Points, name: str, schedule: Callable, learning_rate: float,
            epochs: int) -> Run:
    learning_rates = rates(schedule, learning_rate, epochs)
    params = initial((2, 5, 2, 1), lambda n_in: np.sqrt(2 / n_in), knobs.seed)
    drawn = batches(len(points.train_y), knobs.batch_size, knobs.seed + 8, epochs)
    with jax.enable_x64(True):
        start = float(cost(params, points.train_x, points.train_y))
        history, costs = train(params, points.train_x, points.train_y, drawn, learning_rates,
                               optimizer=OPTIMIZERS[name])
        every = jax.tree.map(lambda leaf: leaf[99::100], history)
        z = np.asarray(jax.jit(jax.vmap(logits, (0, None)))(every, points.train_x))
    result = trained(jax.tree.map(lambda leaf: np.asarray(leaf[-1]), history), costs, points)
    return Run(start, result, learning_rates, np.array([accuracy((row > 0).astype(int), points.train_y) for row in z]))


def paths(steps: int) -> dict[str, Any]:
    """Two weights w of a logistic regression without bias: the path of each optimizer, and the cost over a
    grid of w around them."""
    tumours = load_breast_cancer()
    features = tumours.x[:, [tumours.feature_names.index(name) for name in FEATURES]]
    x, labels = jnp.asarray(features - features.mean(axis=0)), jnp.asarray(tumours.y)

    def cost(w: Any) -> Any:
        return jnp.mean(jax.vmap(binary_cross_entropy)(x @ w, labels))

    def path(optimizer: by_hand.Optimizer, learning_rate: float) -> np.ndarray:
        def step(carry: Any, _: None) -> Any:
            w, state = carry
            direction, state = optimizer.update(jax.grad(cost)(w), state)
            w = by_hand.descend(w, direction, learning_rate)
            return (w, state), w

        start = jnp.array([0.75, 1.5])
        _, ws = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=steps))()
        return np.concatenate([[start], ws])

    # Gradient descent's is near 2 / 3.3, above which it diverges: 3.3 is the largest curvature at the minimum.
    learning_rates = {"gradient descent": 0.55, "momentum": 0.2, "RMSprop": 0.1, "Adam": 0.1}
    trails = {name: path(OPTIMIZERS[name], rate) for name, rate in learning_rates.items()}
    around = np.concatenate(list(trails.values()))
    low, high = around.min(axis=0), around.max(axis=0)
    grid = np.stack(np.meshgrid(*np.linspace(low - 0.15 * (high - low), high + 0.15 * (high - low), 121).T), -1)
    costs = jax.jit(lambda ws: jax.lax.map(cost, ws, batch_size=121))(grid.reshape(-1, 2)).reshape(121, 121)
    return {"paths": trails, "grid": grid, "costs": np.asarray(costs), "rates": learning_rates}


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    points = moons(knobs.seed)
    fixed = {name: run_one(knobs, points, name, by_hand.constant_lr, knobs.learning_rate, knobs.epochs)
             for name in OPTIMIZERS}
    say(f"learning rate {knobs.learning_rate:g}")
    report({name: r.result for name, r in fixed.items()}, max(1, knobs.epochs // 10), "epoch")

    steps = functools.partial(by_hand.schedule_lr_decay, time_interval=knobs.time_interval)
    smoothly = functools.partial(by_hand.update_lr, decay_rate=1 / knobs.time_interval)
    plans: dict[str, tuple[str, Callable]] = {
        "gradient descent, each epoch": ("gradient descent", by_hand.update_lr),
        **{f"{name}, in steps": (name, steps) for name in OPTIMIZERS},
        **{f"{name}, smoothly": (name, smoothly) for name in OPTIMIZERS}}
    decayed = {}
    for words, (name, schedule) in plans.items():
        adaptive = name in ("RMSprop", "Adam")
        rate = knobs.adaptive_learning_rate if adaptive else knobs.decay_learning_rate
        decayed[words] = run_one(knobs, points, name, schedule, rate, knobs.decay_epochs)
    say("\n" + table(("learning rate that decays", "from", "to", "last cost / nats", "train accuracy",
                      "test accuracy"),
                     [(words, f"{r.rates[0]:g}", f"{r.rates[-1]:.3g}", f"{r.result.costs[-1]:.6f}",
                       percent(r.result.train_accuracy), percent(r.result.test_accuracy))
                      for words, r in decayed.items()]))
    with jax.enable_x64(True):
        plane = paths(knobs.path_steps)
    draw(knobs, out, points, fixed, decayed)
    draw_paths(knobs, out, plane)
    return {**fixed["Adam"].result.measures(),
            **{part: {name: {**r.result.measures(), "costs": series(r.result.costs, "epoch", start=r.start)}
                      for name, r in runs.items()}
               for part, runs in (("fixed", fixed), ("decayed", decayed))}}


def draw(knobs: Knobs, out: Path, points: Points, fixed: dict[str, Run], decayed: dict[str, Run]) -> None:
    figure, ((left, right),) = figures.panels(
        1, 2, (5.2, 3.8), f"Moons, mini-batches of {knobs.batch_size}, learning rate {knobs.learning_rate:g}")
    figures.curves(left, {name: (np.arange(len(r.rates)), r.result.costs) for name, r in fixed.items()},
                   "epoch", "training cost / nats", log=True)
    figures.curves(right, {name: (100 * np.arange(1, 1 + len(r.accuracies)), 100 * r.accuracies)
                           for name, r in fixed.items()}, "epoch", "train accuracy / %")
    for axis in (left, right):
        axis.lines[0].set(linewidth=5, alpha=0.4)  # gradient descent: momentum lies upon it
        axis.legend()
    figures.save(figure, out / "cost.png")

    figure, axes = figures.panels(1, len(fixed), (2.7, 2.7),
                                  "Moons: decision boundary, train accuracy (class 0 red, class 1 blue)")
    for axis, (name, r) in zip(axes[0], fixed.items(), strict=True):
        figures.boundary(axis, r.result.logit, points.train_x, points.train_y,
                         f"{name}: {100 * r.result.train_accuracy:.2f} %")
    figures.save(figure, out / "boundary.png")

    figure, ((left, right),) = figures.panels(1, 2, (5.2, 3.8), "Moons: learning rates that decay")
    shown = {name: r for name, r in decayed.items() if name.startswith(("gradient", "Adam"))}
    figures.curves(left, {name: (np.arange(len(r.rates)), r.rates) for name, r in shown.items()}, "epoch",
                   "learning rate", log=True, legend=False)
    figures.curves(right, {name: (np.arange(len(r.rates)), r.result.costs) for name, r in shown.items()},
                   "epoch", "training cost / nats", log=True)
    figures.save(figure, out / "decay.png")


def draw_paths(knobs: Knobs, out: Path, plane: dict[str, Any]) -> None:
    figure, axes = figures.panels(2, 2, (5, 3.6), f"{knobs.path_steps} steps of logistic regression with two "
                                  "weights, on breast tumours; a circle ends each path")
    grid, costs = plane["grid"], plane["costs"]
    for axis, (name, path) in zip(axes.flat, plane["paths"].items(), strict=True):
        lines = axis.contour(grid[..., 0], grid[..., 1], costs, colors="0.7", linewidths=0.8,
                             levels=np.geomspace(costs.min() * 1.02, costs.max(), 14))
        axis.clabel(lines, fontsize=6, fmt="%.2g")
        axis.plot(*path.T, color="tab:red", marker=".", markersize=4, linewidth=1)
        axis.plot(*path[-1], "o", color="tab:red")
        axis.plot(*grid[np.unravel_index(costs.argmin(), costs.shape)], "k+", markersize=10)
        axis.set(title=f"{name}, learning rate {plane['rates'][name]:g}",
                 xlabel=f"weight of {FEATURES[0]}", ylabel=f"weight of {FEATURES[1]}")
    figures.save(figure, out / "paths.png")
