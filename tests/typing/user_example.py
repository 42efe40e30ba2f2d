"""What a user of the library writes, for type checkers: mypy and pyright accept this file, and know the types in it."""

from typing import Any, assert_type

import jax
import jax.numpy as jnp
import optax

from jaxnn import (
    Dense,
    GradientReport,
    HandDerived,
    Layer,
    Network,
    Sequential,
    Summary,
    compare_gradients,
    dense,
    hand_derived,
    network,
    relu,
    softmax_cross_entropy,
    summary,
)
from jaxnn.data import Batches
from jaxnn.training import History, TrainState, fit, make_step, start


@hand_derived
def square(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x * x, x


@square.defbackward
def square_backward(x: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    return (2 * x * dy,)


class Gated(Layer):
    """A layer of the user's own."""

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        return {"gate": Dense(4).init(key, shape)[0]}, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any, *, train: bool) -> tuple[Any, Any]:
        return relu(dense(params["gate"], x)), state


def train() -> float:
    layers = Sequential(Gated(), Dense(3))
    optimizer = optax.adam(1e-3)
    train_state = start(layers, optimizer, (4,), jax.random.key(0))
    assert_type(train_state, TrainState)
    step = make_step(layers, softmax_cross_entropy, optimizer)
    batches = Batches(jnp.zeros((8, 4)), jnp.zeros(8, int), 4, seed=0)
    trained, history = fit(train_state, step, batches, steps=2, progress=False)
    assert_type(trained, TrainState)
    assert_type(history, History)
    return float(history.column("cost")[-1])


def compare() -> bool:
    report = compare_gradients(square, jnp.ones(3))
    assert_type(report, GradientReport)
    assert_type(report.ok, bool)
    assert_type(network(train), Network)
    assert_type(summary(Dense(3), (4,)), Summary)
    return report.ok


def name_of(op: HandDerived) -> str:
    return op.name
