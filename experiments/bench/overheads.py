"""What the library costs beside the arithmetic: tracing and compiling, dispatch, and the Python of a training step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.bench.measure import Side, classes, normal
from experiments.catalogue import find
from jaxnn import models, network
from jaxnn.gradients.cost import temporaries
from jaxnn.layers import Dense, Sequential, over_examples
from jaxnn.ops import dense, relu, softmax_cross_entropy
from jaxnn.training import TrainState, make_step, start

__all__ = ["compilation", "dispatch", "network_compilation", "step_overhead", "training_step"]

CALLS = 100  # in a round, where one call is too short to be timed


def repeated(name: str, call: Callable[[], Any]) -> Side:
    def calls() -> Any:
        for _ in range(CALLS):
            y = call()
        return y

    return Side(name, calls)


def dispatch() -> list[Side]:
    """Calls of a small dense layer, one operation after another as Python reaches them."""
    params, x = find("dense").args(o=16, i=16)

    def plain(params: Any, x: Any) -> Any:
        return params["weight"] @ x + params["bias"]

    compiled = jax.jit(plain)
    return [repeated("jax.numpy", lambda: plain(params, x)), repeated("jax.jit", lambda: compiled(params, x)),
            repeated("jaxnn", lambda: dense(params, x))]


def step_overhead() -> list[Side]:
    """Steps of a network so small that Python takes most of their time: the program of a step called by a bare
    `jax.jit`, and by the step."""
    optimizer, net = optax.sgd(1e-3), Sequential(Dense(8), relu, Dense(4))
    x, labels = normal(0, 16, 8), classes(1, 16, 4)
    step = make_step(net, softmax_cross_entropy, optimizer)

    def side(name: str, step: Callable) -> Side:
        latest = [start(net, optimizer, (8,), jax.random.key(0))]

        def call() -> Any:
            latest[0], info = step(latest[0], x, labels)
            return info

        return repeated(name, call)

    bare = jax.jit(lambda train_state, x, labels: step(train_state, x, labels), donate_argnums=0)
    return [side("jax.jit", bare), side("jaxnn", step)]


def training_step() -> list[Side]:
    """make_step, which asks whether all is finite, beside the step one writes in plain JAX, which does not."""
    optimizer = optax.adam(1e-3)
    net = Sequential(Dense(1024), relu, Dense(1024), relu, Dense(10))
    x, labels = normal(9, 256, 784), classes(10, 256, 10)

    def plain_cost(params: Any, x: Any, labels: Any) -> Any:
        for name in ("dense1", "dense2"):
            x = jax.nn.relu(x @ params[name]["weight"].T + params[name]["bias"])
        logits = x @ params["dense3"]["weight"].T + params["dense3"]["bias"]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def plain(train_state: TrainState, x: Any, labels: Any) -> Any:
        value, grads = jax.value_and_grad(plain_cost)(train_state.params, x, labels)
        updates, opt_state = optimizer.update(grads, train_state.opt_state)
        params = optax.apply_updates(train_state.params, updates)
        return train_state._replace(params=params, opt_state=opt_state), value

    def side(name: str, step: Callable, lowered: Any) -> Side:
        latest = [start(net, optimizer, (784,), jax.random.key(0))]
        compiled = lowered(latest[0], x, labels).compile()

        def run() -> Any:
            latest[0], info = step(latest[0], x, labels)
            return info

        return Side(name, run, temporaries(compiled))

    jitted, library_step = jax.jit(plain, donate_argnums=0), make_step(net, softmax_cross_entropy, optimizer)
    return [side("autodiff", jitted, jitted.lower), side("jaxnn", library_step, library_step.lower)]


def compilation() -> list[Side]:
    """Tracing and compiling the gradient of 50 dense layers, afresh at each call."""
    depth, n = 50, 64
    params, x = [{"weight": jnp.eye(n), "bias": jnp.zeros(n)}] * depth, normal(0, 32, n)

    def plain(params: Any, x: Any) -> Any:
        for layer in params:
            x = jax.nn.relu(layer["weight"] @ x + layer["bias"])
        return x

    def net(params: Any, x: Any) -> Any:
        for layer in params:
            x = relu(dense(layer, x))
        return x

    def side(name: str, f: Callable) -> Side:
        def call() -> None:
            def cost(params: Any, x: Any) -> Any:  # a new function each time, which JAX has to trace
                return jnp.sum(jax.vmap(lambda x: f(params, x))(x) ** 2)

            jax.jit(jax.grad(cost)).lower(params, x).compile()

        return Side(name, call)

    return [side("autodiff", plain), side("jaxnn", net)]


def network_compilation(name: str) -> list[Side]:
    """Tracing and compiling the gradient of a named network of `jaxnn.models`, afresh at each call."""
    layer = getattr(models, name)(10)
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), (64, 64, 3)))
    key = jax.eval_shape(lambda: jax.random.key(0))
    x = jax.ShapeDtypeStruct((8, 64, 64, 3), jnp.float32)

    def side(name: str, passes: Callable) -> Side:
        def call() -> None:
            batch = passes(over_examples(layer))

            def cost(params: Any, state: Any, x: Any, key: Any) -> Any:
                logits, state = batch(params, state, x, key, train=True)
                return jnp.sum(logits**2), state

            jax.jit(jax.grad(cost, has_aux=True)).lower(*shapes, x, key).compile()

        return Side(name, call)

    return [side("autodiff", lambda batch: network(batch).reference), side("jaxnn", lambda batch: batch)]
