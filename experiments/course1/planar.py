"""How many hidden units, and of which kind, does it take to separate two classes in the plane?

    python -m experiments run planar

One hidden layer, dense-tanh-dense, by gradient descent over all the points, in float64, from the
course's own random numbers: on its flower with four hidden units it prints the course's costs, and
over the hidden sizes the course's accuracies. Logistic regression, which has no hidden layer, is
beside it: jaxnn's own, to convergence. The other sets and activations are trained in the same way.

Result on the flower, train accuracy / %, 33 s on 2 CPU cores for all sets:
    hidden units       0      1      2      3      4      5     20     50
    tanh           47.00  67.50  67.25  90.75  90.50  91.25  90.00  90.75
    the course     47     67.50  67.25  90.75  90.50  91.25  90.50  90.75
The two points of 400 by which 20 units differ are chance: at this learning rate the wide networks
oscillate, and in NumPy as well a change of W1 by one part in 1e15 decides between 90 and 90.5.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.mlp import cost, gradient_descent, initial, logits
from experiments.shared.run import percent, printed, progress, say, series, table
from jaxnn import relu, sigmoid, tanh
from jaxnn.data import blobs, gaussian_quantiles, noisy_circles, noisy_moons, planar_flower
from jaxnn.metrics import accuracy

ACTIVATIONS = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid}
OTHER_SETS: dict[str, Callable] = {"moons": noisy_moons, "circles": noisy_circles, "blobs": blobs,
                                   "quantiles": gaussian_quantiles}
SETS = ("flower", *OTHER_SETS)
BOUNDARY = "decision boundary, train accuracy (class 0 red, class 1 blue)"


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = knob(1, "seed of the flower, the course's; the next number draws the weights and the test set",
                     at_least=0)
    hidden: int = knob(4, "hidden units of the main network, as many as in the course", at_least=1)
    activation: str = knob("tanh", "activation of the main network's hidden units; the course's is tanh",
                           choices=tuple(ACTIVATIONS))
    iterations: int = knob(10_000, "steps of gradient descent for the main network, as many as in the course",
                           at_least=1)
    sweep: tuple[int, ...] = knob((1, 2, 3, 4, 5, 20, 50), "numbers of hidden units that are compared, the course's",
                                  at_least=1)
    sweep_iterations: int = knob(5000, "steps of gradient descent for each compared network, as many as in the course",
                                 at_least=1)
    sets: tuple[str, ...] = knob(SETS, "sets of points in the plane; the default is all that the course suggests",
                                 choices=SETS)
    learning_rate: float = knob(1.2, "learning rate of all networks, the course's", above=0)


class Points:
    """A set of points: train (x, y) and test (x, y), x (n, 2)."""

    def __init__(self, name: str, seed: int):
        self.name = name
        if name == "flower":  # drawn whole as in the course, and once more to test
            self.train, self.test = planar_flower(seed), planar_flower(seed + 1)
        else:
            x, y = OTHER_SETS[name](n=400) if name == "blobs" else OTHER_SETS[name](seed, n=400)
            self.train, self.test = (x[:200], y[:200] % 2), (x[200:], y[200:] % 2)


@functools.cache
def cost_with(activation: str) -> Callable:
    """The cost of a network with this activation; one function for each, so that its descent is compiled once."""
    return functools.partial(cost, activation=ACTIVATIONS[activation])


class Trained:
    """A network, trained on points: its logit at any x, its accuracies and costs.

    activation None is logistic regression: from zero, at a learning rate that is sure to converge.
    """

    def __init__(self, knobs: Knobs, points: Points, activation: str | None, n_hidden: int, iterations: int):
        self.activation = activation or "relu"  # of which a network without hidden layers has none
        sizes: tuple[int, ...] = (2, n_hidden, 1)
        scale, rate = 0.01, knobs.learning_rate  # the course's
        if activation is None:
            sizes, scale, rate = (2, 1), 0.0, safe_rate(points.train[0])
        with jax.enable_x64(True):  # the course's precision, so that its figures come out
            self.params, costs = gradient_descent(
                initial(sizes, lambda n_in: scale, knobs.seed + 1), *points.train, rate,
                cost=cost_with(self.activation), iterations=iterations)
        self.costs = np.asarray(costs)
        self.train_accuracy, self.test_accuracy = (
            accuracy((self.logit(x) > 0).astype(int), y) for x, y in (points.train, points.test))

    def logit(self, x: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(logits(self.params, x, activation=ACTIVATIONS[self.activation]))


def safe_rate(x: np.ndarray) -> float:
    """1 over the largest curvature of logistic regression's cost: that of the sigmoid is at most 1/4."""
    with_bias = np.column_stack([x, np.ones(len(x))])
    return float(4 * len(x) / np.linalg.norm(with_bias, 2) ** 2)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    flower = Points("flower", knobs.seed)
    main = Trained(knobs, flower, knobs.activation, knobs.hidden, knobs.iterations)
    say(f"flower, {knobs.hidden} hidden units, {knobs.activation}")
    say(table(("iteration", "cost / nats"), [(i, f"{main.costs[i]:.6f}") for i in printed(len(main.costs))]))
    say(f"train accuracy {percent(main.train_accuracy)}   test accuracy {percent(main.test_accuracy)}")

    sets = {name: flower if name == "flower" else Points(name, knobs.seed) for name in knobs.sets}
    logistic, swept = {}, {}
    for name, points in sets.items():
        logistic[name] = Trained(knobs, points, None, 0, knobs.sweep_iterations)
        for activation, n in progress(list(itertools.product(ACTIVATIONS, knobs.sweep)), "network"):
            swept[name, activation, n] = Trained(knobs, points, activation, n, knobs.sweep_iterations)
        say(f"\n{name}: train accuracy / % after {knobs.sweep_iterations} iterations, by hidden units; "
            f"without any (logistic regression) {100 * logistic[name].train_accuracy:.2f}")
        say(table(("activation", *map(str, knobs.sweep)),
                  [(a, *(f"{100 * swept[name, a, n].train_accuracy:.2f}" for n in knobs.sweep))
                   for a in ACTIVATIONS]))
    draw(knobs, out, main, sets, logistic, swept)
    return {**measures(main), "costs": series(main.costs),
            "logistic_regression": {name: measures(trained) for name, trained in logistic.items()},
            "sweep": [{"set": name, "activation": activation, "hidden": n, **measures(trained)}
                      for (name, activation, n), trained in swept.items()]}


def measures(trained: Trained) -> dict[str, float]:
    return {"train_accuracy": trained.train_accuracy, "test_accuracy": trained.test_accuracy}


def draw(knobs: Knobs, out: Path, main: Trained, sets: dict[str, Points], logistic: dict[str, Trained],
         swept: dict[tuple[str, str, int], Trained]) -> None:
    title = f"Flower: {knobs.hidden} hidden units, {knobs.activation}, learning rate {knobs.learning_rate:g}"
    figure, ((axes,),) = figures.panels(1, 1, (7, 4), title)
    figures.curves(axes, {"": (np.arange(knobs.iterations), main.costs)}, "iteration", "training cost / nats")
    figures.save(figure, out / "cost.png")

    def panel(axes: Any, points: Points, trained: Trained, title: str) -> None:
        figures.boundary(axes, trained.logit, *points.train, f"{title}: {100 * trained.train_accuracy:.2f} %")

    name, points = next(iter(sets.items()))
    columns = 4
    rows = -(-(1 + len(knobs.sweep)) // columns)
    figure, axes = figures.panels(rows, columns, (2.6, 2.6),
                                  f"{name}, {knobs.activation}: {BOUNDARY}")
    panel(axes.flat[0], points, logistic[name], "no hidden layer")
    for axis, n in zip(axes.flat[1:], knobs.sweep, strict=False):
        panel(axis, points, swept[name, knobs.activation, n], f"{n} hidden unit{'s' * (n > 1)}")
    for axis in axes.flat[1 + len(knobs.sweep):]:
        axis.set_axis_off()
    figures.save(figure, out / "boundary_by_hidden_size.png")

    n = knobs.hidden if knobs.hidden in knobs.sweep else max(knobs.sweep)
    figure, axes = figures.panels(len(sets), 1 + len(ACTIVATIONS), (2.6, 2.4),
                                  f"{n} hidden units: {BOUNDARY}")
    for row, (name, points) in zip(axes, sets.items(), strict=True):
        panel(row[0], points, logistic[name], "no hidden layer")
        row[0].set_ylabel(f"{name}\nx₂", fontsize=11)
        for axis, activation in zip(row[1:], ACTIVATIONS, strict=True):
            panel(axis, points, swept[name, activation, n], activation)
    figures.save(figure, out / "boundary_by_activation.png")

    figure, axes = figures.panels(1, len(sets), (2.8, 3.4), "Test accuracy by number of hidden units")
    for axis, name in zip(axes[0], sets, strict=True):
        lines = {a: (knobs.sweep, [100 * swept[name, a, n].test_accuracy for n in knobs.sweep])
                 for a in ACTIVATIONS}
        lines["no hidden layer"] = (knobs.sweep, [100 * logistic[name].test_accuracy] * len(knobs.sweep))
        figures.curves(axis, lines, "hidden units", "test accuracy / %", legend=False)
        axis.set(xscale="log", title=name, ylim=(30, 102))
        axis.set_xticks(knobs.sweep, map(str, knobs.sweep))
        axis.minorticks_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figures.save(figure, out / "accuracy.png")
