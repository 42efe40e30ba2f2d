"""One step of training: a pure function from state and batch to state and cost, compiled once."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnn.hand_derived import Op
from jaxnn.layers import Layer, over_examples

__all__ = ["TrainState", "evaluate", "make_step", "start"]


class TrainState(NamedTuple):
    """All that training carries on: restore it and the run goes on as if it had not stopped."""

    params: Any
    state: Any
    opt_state: Any
    key: jax.Array
    step: jax.Array


def start(layer: Layer, optimizer: optax.GradientTransformation, shape: Any, key: Any) -> TrainState:
    """The state before the first step. shape: that of one example."""
    init_key, key = jax.random.split(key)
    params, state = layer.init(init_key, shape)
    return TrainState(params, state, optimizer.init(params), key, jnp.zeros((), jnp.int32))


def make_step(layer: Layer, loss: Op, optimizer: optax.GradientTransformation) -> Callable:
    """step(train_state, x, labels) -> (train_state, cost), jit-compiled; train_state is donated.

    Args:
      layer: the network, of one example.
      loss: (logits, labels) -> (), of one example, in nats.
      optimizer: an optax transformation.
    The cost is the mean loss over the batch: x (B, ...), labels (B, ...).
    """
    batch = over_examples(layer)

    def cost(params: Any, state: Any, x: Any, labels: Any, key: Any) -> Any:
        logits, state = batch(params, state, x, key, train=True)
        return jnp.mean(jax.vmap(loss)(logits, labels)), state

    def step(now: TrainState, x: Any, labels: Any) -> tuple[TrainState, jax.Array]:
        key, next_key = jax.random.split(now.key)
        (value, state), grads = jax.value_and_grad(cost, has_aux=True)(
            now.params, now.state, x, labels, key)
        updates, opt_state = optimizer.update(grads, now.opt_state, now.params)
        params = optax.apply_updates(now.params, updates)
        return TrainState(params, state, opt_state, next_key, now.step + 1), value

    return jax.jit(step, donate_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(layer: Layer, params: Any, state: Any, x: Any) -> jax.Array:
    """The logits of a batch x (B, ...) at inference, jit-compiled."""
    return over_examples(layer)(params, state, x, train=False)[0]
