"""A plain multi-layer perceptron, its cost, and gradient descent: what the first two courses' experiments share.

In float64 and from the course's own random numbers, so that its costs come out. Params are a list of
{"weight", "bias"}.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.run import percent, say, table
from jaxnn import binary_cross_entropy, dense, relu
from jaxnn.metrics import accuracy

__all__ = ["Points", "Trained", "cost", "descend", "gradient_descent", "initial", "logits", "mlp", "report", "trained"]


def mlp(params: Any, x: Any, activation: Callable = relu) -> Any:
    """(n_in,) -> (n_out,): dense layers with the activation between them, and none after the last."""
    for layer in params[:-1]:
        x = activation(dense(layer, x))
    return dense(params[-1], x)


def initial(sizes: tuple[int, ...], scale: Callable[[int], float], seed: int) -> list[dict[str, np.ndarray]]:
    """The course's draw: each weight N(0, 1) times a scale that may depend on n_in, each bias zero."""
    random = np.random.RandomState(seed)
    return [{"weight": random.randn(n_out, n_in) * scale(n_in), "bias": np.zeros(n_out)}
            for n_in, n_out in itertools.pairwise(sizes)]


@functools.partial(jax.jit, static_argnames="activation")
def logits(params: Any, x: Any, *, activation: Callable = relu) -> Any:
    """(n, n_in) -> (n,), of a network with one output."""
    return jax.vmap(lambda x: mlp(params, x, activation))(x)[:, 0]


def cost(params: Any, x: Any, labels: Any, activation: Callable = relu) -> Any:
    """The mean loss, nats. Its gradient is that of the ops' hand-derived backward passes."""
    return jnp.mean(jax.vmap(binary_cross_entropy)(logits(params, x, activation=activation), labels))


@functools.partial(jax.jit, static_argnames=("cost", "iterations"))
def gradient_descent(params: Any, x: Any, labels: Any, learning_rate: Any, *, cost: Callable = cost,
                     iterations: int) -> Any:
    """(params, the cost before each step)."""

    def step(params: Any, _: None) -> Any:
        value, grads = jax.value_and_grad(cost)(params, x, labels)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), value

    return jax.lax.scan(step, params, length=iterations)


class Points(NamedTuple):
    """Points of two classes: x (n, 2) float64, y (n,) int64."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


class Trained(NamedTuple):
    """A network after its descent, and the cost before each step."""

    params: Any
    costs: np.ndarray
    train_accuracy: float
    test_accuracy: float

    def logit(self, x: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(logits(self.params, x))

    def measures(self) -> dict[str, float]:
        return {"train_accuracy": self.train_accuracy, "test_accuracy": self.test_accuracy}


def descend(params: Any, points: Points, learning_rate: float, iterations: int,
            cost: Callable = cost) -> Trained:
    """Gradient descent from params over all the training points."""
    with jax.enable_x64(True):
        params, costs = gradient_descent(params, points.train_x, points.train_y, learning_rate, cost=cost,
                                         iterations=iterations)
    return trained(params, costs, points)


def trained(params: Any, costs: Any, points: Points) -> Trained:
    with jax.enable_x64(True):
        train, test = (accuracy(np.asarray(logits(params, x) > 0).astype(int), y)
                       for x, y in ((points.train_x, points.train_y), (points.test_x, points.test_y)))
    return Trained(params, np.asarray(costs), train, test)


def report(results: dict[str, Trained], every: int, iterations: str = "iteration") -> None:
    """Prints each `every`-th cost of each network, and its accuracies."""
    longest = max(len(result.costs) for result in results.values())
    rows = [(i, *(f"{r.costs[i]:.6f}" if i < len(r.costs) else "" for r in results.values()))
            for i in range(0, longest, every)]
    rows += [(f"{part} accuracy", *(percent(getattr(r, f"{part}_accuracy")) for r in results.values()))
             for part in ("train", "test")]
    say(table((f"cost / nats at {iterations}", *results), rows))
