"""What do hidden layers add to logistic regression, when their caches are walked backward by hand?

    python -m experiments run deep-network [--data cat|breast-cancer]

Two networks of dense layers with relu between them and one sigmoid at the end, by gradient descent
over all the examples, in float64: of two layers, and of L. No autodiff takes part in the training:
the forward pass hands out its caches, the backward pass walks them from the last layer to the first.
On the cat photographs, from the course's own random numbers, both print the course's costs.

Result, on 2 CPU cores, 41 s for the photographs and 7 s for the table:
    --data cat              two-layer: cost 0.693050 at first, 0.044215 at last; train 100 %, test 72 %
                            L-layer: cost 0.771749 at first, 0.088440 at last; train 98.56 %, test 80 %
    --data breast-cancer    two-layer: train 98.49 %, test 95.91 %
                            L-layer: train 98.99 %, test 95.32 %
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import figures
from experiments.shared.cat_or_cancer import CHOICES, WHY, Examples, load
from experiments.shared.knobs import Configuration, knob
from experiments.shared.mlp import initial, mlp
from experiments.shared.run import percent, printed, say, series, table
from jaxnn import binary_cross_entropy, compare_gradients, network
from jaxnn.metrics import accuracy


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the data: " + WHY, choices=CHOICES)
    seed: int = knob(1, "seed of the initial weights and of the table's split; 1 is the course's", at_least=0)
    two_layer: tuple[int, ...] = knob((7,), "hidden units of the two-layer network: the course's", at_least=1)
    deep: tuple[int, ...] = knob((20, 7, 5), "hidden units of the L-layer network: the course's", at_least=1)
    iterations: int = knob(2500, "steps of gradient descent, as many as in the course", at_least=1)
    learning_rate: float = knob(0.0075, "learning rate of gradient descent, the course's", above=0)


@network
def model(params: Any, x: Any) -> Any:
    """(params, x (n, n_in)) -> logits (n, 1): dense, relu, dense, ..., dense."""
    return jax.vmap(mlp, (None, 0))(params, x)


def cost_and_gradient(params: Any, x: Any, labels: Any) -> Any:
    """The cost, nats, and ∂cost/∂params: forward through the layers, then backward through their caches."""
    logits, caches = model.forward(params, x)
    losses, loss_caches = jax.vmap(binary_cross_entropy.forward)(logits[:, 0], labels)

    # cost = Σ_b loss_b / n, so each loss has the cotangent 1/n, and the walk starts there.
    n = len(labels)
    dlogits, *_ = jax.vmap(binary_cross_entropy.backward)(loss_caches, jnp.full(n, 1 / n))
    dparams, _ = model.backward(caches, dlogits[:, None])
    return jnp.mean(losses), dparams


@functools.partial(jax.jit, static_argnames="iterations")
def gradient_descent(params: Any, x: Any, labels: Any, learning_rate: Any, *, iterations: int) -> Any:
    """(params, the cost before each step)."""

    def step(params: Any, _: None) -> Any:
        cost, grads = cost_and_gradient(params, x, labels)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), cost

    return jax.lax.scan(step, params, length=iterations)


class Result(NamedTuple):
    """Of one network: the cost before each step, predictions on the test examples, and accuracies."""

    costs: np.ndarray
    predictions: np.ndarray
    train_accuracy: float
    test_accuracy: float


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    examples = load(knobs.data, data_dir, knobs.seed)
    results = {}
    with jax.enable_x64(True):  # the course's precision, so that its figures come out to the last digit
        for name, hidden, scale in (("two-layer", knobs.two_layer, lambda n_in: 0.01),
                                    ("L-layer", knobs.deep, lambda n_in: 1 / np.sqrt(n_in))):
            sizes = (examples.train_x.shape[1], *hidden, 1)
            params = initial(sizes, scale, knobs.seed)
            say(f"\n{name} network, {'-'.join(map(str, sizes))}")
            say(dimensions(params, len(examples.train_x)))
            results[name] = train(knobs, params, examples)
        report = check(params, examples)
        say(f"\ngradient of the L-layer network, hand-derived against jax.grad:\n{report}")
    draw(knobs, examples, results, out)
    two, deep = results["two-layer"], results["L-layer"]
    return {"train_accuracy": deep.train_accuracy, "test_accuracy": deep.test_accuracy,
            "two_layer_train_accuracy": two.train_accuracy, "two_layer_test_accuracy": two.test_accuracy,
            "data": examples.name, "gradients_equal": report.ok, "gradient_error": report.worst.error,
            "costs": {name: series(r.costs) for name, r in results.items()}}


def dimensions(params: Any, n_examples: int) -> str:
    """The course's table of sizes, with examples along the columns of z."""
    weights = [layer["weight"] for layer in params]
    activations = ["relu"] * (len(weights) - 1) + ["sigmoid"]
    rows = [(i, w.shape, (w.shape[0], 1), (w.shape[0], n_examples), activation)
            for i, (w, activation) in enumerate(zip(weights, activations, strict=True), start=1)]
    return table(("layer", "shape of W", "shape of b", "shape of z", "activation"), rows)


def check(params: Any, examples: Examples) -> Any:
    """The gradients by both routes of the network, on a few examples, beside those of autodiff."""
    few = jnp.asarray(examples.train_x[:16])
    return compare_gradients(model, params, few, laws=False,
                             routes=("explicit", "lifted", "float64"))


def train(knobs: Knobs, params: Any, examples: Examples) -> Result:
    params, costs = gradient_descent(params, examples.train_x, examples.train_y, knobs.learning_rate,
                                     iterations=knobs.iterations)
    costs = np.asarray(costs)
    say(table(("iteration", "cost / nats"), [(i, f"{costs[i]:.6f}") for i in printed(len(costs), 25)]))

    def predict(x: np.ndarray) -> np.ndarray:
        logits = model(params, x)[:, 0]
        return np.asarray(logits > 0).astype(int)  # sigmoid > 1/2 just where the logit is positive

    predictions = predict(examples.test_x)
    result = Result(costs, predictions, accuracy(predict(examples.train_x), examples.train_y),
                    accuracy(predictions, examples.test_y))
    say(f"train accuracy {percent(result.train_accuracy)}   test accuracy {percent(result.test_accuracy)}")
    return result


def draw(knobs: Knobs, examples: Examples, results: dict[str, Result], out: Path) -> None:
    title = f"Deep networks, data: {examples.name}, learning rate {knobs.learning_rate:g}"
    figure, ((axes,),) = figures.panels(1, 1, (7, 4.5), title)
    lines = {f"{name} network": (np.arange(len(r.costs)), r.costs) for name, r in results.items()}
    figures.curves(axes, lines, "iteration", "training cost / nats")
    figures.save(figure, out / "cost.png")
    if examples.pictures is None:
        return
    for name, result in results.items():
        wrong = np.flatnonzero(result.predictions != examples.test_y)
        figures.images(out / f"mislabelled_{name.lower().replace('-', '_')}.png",
                       f"Test photographs mislabelled by the {name} network", examples.pictures[wrong],
                       [f"{examples.classes[examples.test_y[i]]},\npredicted as "
                        f"{examples.classes[result.predictions[i]]}" for i in wrong])
