"""Many networks of one shape trained at once, by one compiled program: `jax.vmap` over the train state.

Networks may differ in their seeds, in their examples, and in the optimiser's numbers, where the optimiser is built by
`optax.inject_hyperparams`, which keeps these numbers in the optimiser's state.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.training import TrainState, evaluate

__all__ = ["draw_batches", "error_rates", "start_trials", "train_trials"]


def start_trials(layer: Any, optimizer: Any, shape: tuple[int, ...], seeds: Any,
                 **hyperparameters: Any) -> TrainState:
    """The train states of k networks, stacked: each array has a leading axis k.

    Args:
      seeds: k integers, of the initial weights.
      hyperparameters: k values each, under the names of the optimiser's own.
    """
    states = _start(layer, optimizer, shape, jnp.asarray(seeds))
    if not hyperparameters:
        return states
    injected = states.opt_state.hyperparams
    values = {name: jnp.asarray(v, injected[name].dtype) for name, v in hyperparameters.items()}
    return states._replace(opt_state=states.opt_state._replace(hyperparams={**injected, **values}))


@functools.partial(jax.jit, static_argnames=("layer", "optimizer", "shape"))
def _start(layer: Any, optimizer: Any, shape: tuple[int, ...], seeds: Any) -> TrainState:
    def start_one(seed: Any) -> TrainState:
        init_key, key = jax.random.split(jax.random.key(seed))
        params, state = layer.init(init_key, shape)
        return TrainState(params, state, optimizer.init(params), key, jnp.zeros((), jnp.int32))

    return jax.vmap(start_one)(seeds)


def draw_batches(random: np.random.RandomState, sets: Any, n_steps: int, batch_size: int) -> np.ndarray:
    """(n_steps, k, batch_size) examples, each network's drawn with replacement from its own set.

    sets: (k, n) indices of examples.
    """
    sets = np.asarray(sets)
    k, n = sets.shape
    return sets[np.arange(k)[:, None], random.randint(n, size=(n_steps, k, batch_size))]


@functools.partial(jax.jit, static_argnames="step")
def train_trials(step: Any, states: Any, x: Any, labels: Any, batches: Any) -> tuple[Any, jax.Array]:
    """(the states after the last step, the cost of each batch (n_steps, k), nats).

    Args:
      step: of one network, from `make_step`.
      x, labels: all examples, (n, ...) and (n,).
      batches: (n_steps, k, B) indices of examples.
    """

    def step_all(states: Any, batch: Any) -> Any:
        states, info = jax.vmap(step)(states, x[batch], labels[batch])
        return states, info.cost

    return jax.lax.scan(step_all, states, batches)


def error_rates(layer: Any, states: Any, x: Any, labels: Any, sets: Any) -> np.ndarray:
    """The fraction of its set (k, n) that each network gets wrong, (k,)."""
    return np.asarray(_error_rates(layer, states.params, states.state, x, labels, jnp.asarray(sets)))


@functools.partial(jax.jit, static_argnames="layer")
def _error_rates(layer: Any, params: Any, state: Any, x: Any, labels: Any, sets: Any) -> jax.Array:
    def error_rate(params: Any, state: Any, which: Any) -> jax.Array:
        return jnp.mean(evaluate(layer, params, state, x[which]).argmax(axis=-1) != labels[which])

    return jax.vmap(error_rate)(params, state, sets)
