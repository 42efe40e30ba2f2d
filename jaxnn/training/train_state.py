"""All that training carries from step to step, and how it begins."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnn.checks import expect, expect_arrays, expect_key, known
from jaxnn.layers.layer import Layer, shape_of
from jaxnn.training.freezing import frozen_in, moving_leaves
from jaxnn.training.functions import expect_optimizer, name_of
from jaxnn.training.precision import expect_outermost
from jaxnn.training.tracing import expect_same_tree, is_finite, path_of

__all__ = ["TrainState", "copied", "expect_train_state", "start", "start_from"]


class TrainState(NamedTuple):
    """All that training carries on: restored, the run continues as if it had never stopped.

    params: what the optimiser moves.
    state: the layer's running statistics.
    opt_state: the optimiser's own.
    key: never changes; step s draws from `fold_in(key, s)`, so any step can be repeated.
    step: steps done, int32, which is also the position in the data.
    """

    params: Any
    state: Any
    opt_state: Any
    key: jax.Array
    step: jax.Array


def start(layer: Any, optimizer: optax.GradientTransformation, shape: Any, key: Any) -> TrainState:
    """The train state before the first step, with parameters from `layer.init`. shape: that of one example.

    Raises:
      InputError: the layer has no init, or as `start_from`.
    """
    expect(hasattr(layer, "init") and not isinstance(layer, type), "start",
           "a layer with init(key, shape) -> (params, state)", name_of(layer),
           "make the parameters and call start_from(params, state, optimizer, key)")
    expect_optimizer("start", optimizer)
    expect_key("start", key)
    init_key, key = jax.random.split(key)
    made = layer.init(init_key, shape_of(layer, shape) if isinstance(layer, Layer) else shape)
    expect(isinstance(made, tuple) and len(made) == 2, "start", f"the init of {name_of(layer)} to return the pair "
           "(params, state)", type(made).__name__, "return {} for what there is none of")
    params, state = made
    return _start("start", params, state, optimizer, key)


def start_from(params: Any, state: Any, optimizer: optax.GradientTransformation, key: Any) -> TrainState:
    """The train state before the first step, with parameters made elsewhere.

    Args:
      params: a tree of floating-point arrays, which are copied; others must be frozen.
      state: the layer's running statistics, {} for a layer without any.
      optimizer: the one that `make_step` gets.
      key: of what is random in training.
    Raises:
      InputError: the optimizer is no optax transformation; a parameter cannot be trained; the optimizer's first
        update is unlike the parameters, or not finite (under `jax.jit` and `jax.eval_shape` no value is looked at).
    """
    return _start("start_from", params, state, optimizer, key)


def _start(who: str, params: Any, state: Any, optimizer: Any, key: Any) -> TrainState:
    expect_optimizer(who, optimizer)
    for path, leaf in jax.tree_util.tree_flatten_with_path((params, state))[0]:
        is_number = isinstance(leaf, int | float | complex) or hasattr(leaf, "dtype")
        expect(is_number, who, "params and state of arrays", f"{type(leaf).__name__} at '{path_of(path[1:])}'",
               "keep what is no array in the function: equinox.partition(model, equinox.is_array) separates the two")
    expect_arrays(who, "params", params)
    expect_arrays(who, "state", state)
    expect(bool(jax.tree.leaves(params)), who, "params with at least one array", repr(params))
    expect_key(who, key)
    # The step takes over the buffers it is given: the caller keeps those passed in.
    params, state, key = jax.tree.map(copied, (params, state, key))
    optimizer = optax.with_extra_args_support(optimizer)
    # Some optimisers keep the parameters in their state, or an array twice, and a buffer cannot be donated twice.
    opt_state = jax.tree.map(lambda a: jnp.array(a, copy=True), optimizer.init(params))
    expect_outermost(who, opt_state)
    frozen = frozen_in(opt_state, params)
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    for leaf, (path, is_frozen) in zip(jax.tree.leaves(params), zip(paths, frozen, strict=True), strict=True):
        expect(is_frozen or jnp.issubdtype(leaf.dtype, jnp.floating), who, "params of floating-point numbers",
               f"{leaf.dtype} at '{path_of(path)}'", "move it to the state, or freeze it: freeze(optimizer, mask)")
    trial = jax.jit(lambda p, s: optimizer.update(jax.tree.map(jnp.ones_like, p), s, p, value=jnp.ones(()))[0])
    updates = trial(params, opt_state)
    expect_same_tree(who, "an optimizer whose updates are like the parameters", params, updates)
    finite = known(is_finite(moving_leaves(updates, frozen)))  # None under jit
    expect(finite is None or bool(finite), who,
           "an optimizer whose first update, for a gradient of ones, is finite", "NaN or infinity",
           "look at its learning rate")
    return TrainState(params, state, opt_state, key, jnp.zeros((), jnp.int32))


def expect_train_state(who: str, train_state: Any) -> None:
    """Raises InputError unless this is a train state."""
    expect(isinstance(train_state, TrainState), who, "a TrainState, made by start or returned by a step",
           type(train_state).__name__)


def copied(leaf: Any) -> jax.Array:
    """A leaf of a tree as an array of its own, which a step may take over."""
    # With its dtype given, a Python number becomes an array that is not weakly typed, as after a step.
    return jnp.array(leaf, dtype=None if hasattr(leaf, "dtype") else jnp.result_type(leaf), copy=True)
