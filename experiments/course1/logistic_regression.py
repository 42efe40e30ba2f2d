"""What does the smallest network, one sigmoid over all the inputs, learn by plain gradient descent?

    python -m experiments run logistic-regression [--data cat|breast-cancer]

Weights start at zero, every step takes the gradient over all the examples, in float64. On the cat
photographs this is the course's first programme, and it prints the course's figures. The learning
rate is then varied.

Result, on 2 CPU cores:
    --data cat              cost 0.693147 at first, 0.140872 at iteration 1900; train 99.04 %, test 70.00 %
        at 0.01             train 99.52 %, test 68.00 %
        at 0.001            train 89.00 %, test 64.00 %
        at 0.0001           train 68.42 %, test 36.00 %                             (8 s in all)
    --data breast-cancer    train 97.99 %, test 97.08 %                             (3 s in all)
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import figures
from experiments.shared.cat_or_cancer import CHOICES, WHY, Examples, load
from experiments.shared.knobs import Configuration, knob
from experiments.shared.run import percent, printed, say, series, table
from jaxnn import binary_cross_entropy, dense
from jaxnn.metrics import accuracy


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the data: " + WHY, choices=CHOICES)
    seed: int = knob(1, "seed of the table's split; the photographs come split, and the weights start at zero",
                     at_least=0)
    iterations: int = knob(2000, "steps of gradient descent, as many as in the course", at_least=1)
    learning_rate: float = knob(0.005, "learning rate of gradient descent, the course's", above=0)
    sweep: tuple[float, ...] = knob((0.01, 0.001, 0.0001), "learning rates that are compared, the course's", above=0)
    sweep_iterations: int = knob(1500, "steps with each of the compared learning rates, as many as in the course",
                                 at_least=1)


def cost(params: Any, x: Any, labels: Any) -> Any:
    """The mean over the examples of the cross-entropy between label and sigmoid(w x + b), nats."""
    logits = jax.vmap(dense, in_axes=(None, 0))(params, x)[:, 0]
    return jnp.mean(jax.vmap(binary_cross_entropy)(logits, labels))


@functools.partial(jax.jit, static_argnames="iterations")
def gradient_descent(params: Any, x: Any, labels: Any, learning_rate: Any, iterations: int) -> Any:
    """(params, the cost before each step). The gradient is that of the ops' hand-derived backwards."""

    def step(params: Any, _: None) -> Any:
        value, grads = jax.value_and_grad(cost)(params, x, labels)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), value

    return jax.lax.scan(step, params, length=iterations)


def predict(params: Any, x: np.ndarray) -> np.ndarray:
    """1 where sigmoid(w x + b) > 1/2, which is where the logit is positive."""
    return (x @ np.asarray(params["weight"])[0] + np.asarray(params["bias"])[0] > 0).astype(int)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    examples = load(knobs.data, data_dir, knobs.seed)
    with jax.enable_x64(True):  # the course's precision, so that its figures come out to the last digit
        params, costs = train(examples, knobs.learning_rate, knobs.iterations)
        say(table(("iteration", "cost / nats"), [(i, f"{costs[i]:.6f}") for i in printed(len(costs), 20)]))
        swept = [train(examples, rate, knobs.sweep_iterations) for rate in knobs.sweep]

    rates = [(knobs.learning_rate, params, costs)]
    rates += [(rate, *trained) for rate, trained in zip(knobs.sweep, swept, strict=True)]
    measures = [{"learning_rate": rate, "iterations": len(costs), "final_cost": float(costs[-1]),
                 "train_accuracy": accuracy(predict(p, examples.train_x), examples.train_y),
                 "test_accuracy": accuracy(predict(p, examples.test_x), examples.test_y)}
                for rate, p, costs in rates]
    say(table(("learning rate", "iterations", "train accuracy", "test accuracy"),
              [(f"{m['learning_rate']:g}", m["iterations"], percent(m["train_accuracy"]),
                percent(m["test_accuracy"])) for m in measures]))
    draw(examples, params, rates, out)
    return {**measures[0], "data": examples.name, "costs": series(costs),
            "sweep": measures[1:], "sweep_costs": {f"learning rate {rate:g}": series(c) for rate, _, c in rates[1:]}}


def train(examples: Examples, learning_rate: float, iterations: int) -> tuple[Any, np.ndarray]:
    zeros = {"weight": jnp.zeros((1, examples.train_x.shape[1])), "bias": jnp.zeros(1)}
    params, costs = gradient_descent(zeros, examples.train_x, examples.train_y, learning_rate,
                                     iterations=iterations)
    return params, np.asarray(costs)


def draw(examples: Examples, params: Any, rates: list, out: Path) -> None:
    figure, ((axes,),) = figures.panels(1, 1, (7, 4.5), f"Logistic regression, data: {examples.name}")
    lines = {rate: costs for rate, _, costs in sorted(rates, key=lambda r: -r[0])}  # the wildest below
    figures.curves(axes, {f"learning rate {rate:g}": (np.arange(len(costs)), costs)
                          for rate, costs in lines.items()}, "iteration", "training cost / nats")
    figures.save(figure, out / "cost.png")

    weight = np.asarray(params["weight"])[0]
    if examples.pictures is None:
        figure, ((axes,),) = figures.panels(1, 1, (7, 6.5), "Learned weights")
        order = np.argsort(np.abs(weight))
        axes.barh(np.array(examples.features)[order], weight[order])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel=f"weight, per standard deviation of the feature (positive: {examples.classes[1]})")
        axes.tick_params(axis="y", labelsize=8)
        figures.save(figure, out / "weights.png")
        return
    shape = examples.pictures.shape[1:]
    title = f"Learned weight of each pixel (positive: {examples.classes[1]})"
    figure, axes = figures.panels(1, 3, (3, 3), title)
    limit = np.abs(weight).max()
    for channel, (axis, name) in enumerate(zip(axes[0], ("red", "green", "blue"), strict=True)):
        shown = axis.imshow(weight.reshape(shape)[..., channel], cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set(title=name, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="weight", shrink=0.8)
    figures.save(figure, out / "weights.png")

    predictions = predict(params, examples.test_x)
    wrong = np.flatnonzero(predictions != examples.test_y)
    figures.images(out / "misclassified.png", "Misclassified test photographs", examples.pictures[wrong],
                   [f"{examples.classes[examples.test_y[i]]},\npredicted as {examples.classes[predictions[i]]}"
                    for i in wrong])
