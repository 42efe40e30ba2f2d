"""Frozen parameters keep their bits, and their gradient is not computed."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ops
from jaxnn.data import Batches
from jaxnn.layers import BatchNorm, Conv, Dense, Flatten, Sequential
from jaxnn.training import (
    average,
    fit,
    freeze,
    loss_scaled,
    make_mesh,
    make_step,
    shard,
    start,
    start_from,
    with_average,
)
from jaxnn.training.checkpoint import load, save
from tests.compare import assert_close

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((16, 3)).astype(np.float32)
Y = RNG.integers(0, 2, 16)
NET = Sequential(body=Sequential(Dense(6), ops.tanh, Dense(6), ops.tanh), head=Dense(2))
LOSS = ops.softmax_cross_entropy
MASK = {"body": True, "head": False}
FROZEN = freeze(optax.adam(0.1), MASK)


def begin(optimizer=FROZEN, net=NET):
    return start(net, optimizer, (3,), KEY)


def products(optimizer, net=NET, x=X, shape=(3,), kind="dot_general", **options):
    """How many of these operations the step's program has."""
    step = make_step(net, LOSS, optimizer, **options)
    return step.lower(start(net, optimizer, shape, KEY), x, Y[:len(x)]).as_text().count(f"stablehlo.{kind}")


@pytest.mark.parametrize("gradients", ["hand-derived", "autodiff"])
def test_the_gradient_of_what_is_frozen_is_not_computed(gradients):
    """Of three dense layers: 3 products forward; backward 3 for the weights, 2 from layer to layer."""
    expected = {"nothing": 8, "the body": 3 + 1, "the head": 3 + 4, "the weight of the first": 3 + 4}
    first = {"body": {"dense1": {"weight": True, "bias": False}, "dense2": False}, "head": False}
    found = {name: products(optimizer, gradients=gradients) for name, optimizer in {
        "nothing": optax.adam(0.1), "the body": FROZEN,
        "the head": freeze(optax.adam(0.1), {"body": False, "head": True}),
        "the weight of the first": freeze(optax.adam(0.1), first)}.items()}
    assert found == expected


def test_no_convolution_backward_through_frozen_ones():
    net = Sequential(Conv(2, (3, 3)), ops.relu, Conv(2, (3, 3)), Flatten(), Dense(2))
    x = np.zeros((2, 6, 6, 1), np.float32)
    count = lambda optimizer: products(optimizer, net, x, (6, 6, 1), "convolution")  # noqa: E731
    assert count(optax.sgd(0.1)) == 2 + 3
    assert count(freeze(optax.sgd(0.1), lambda params: {name: name.startswith("conv") for name in params})) == 2


def by_hand(n_steps):
    """Training of the head alone, on what the body gives."""
    params = begin().params
    body = X
    for name in ("dense1", "dense2"):
        body = jnp.tanh(body @ params["body"][name]["weight"].T + params["body"][name]["bias"])
    optimizer, head, norms = optax.adam(0.1), params["head"], []
    opt_state = optimizer.init(head)
    cost = lambda head: jnp.mean(jax.vmap(LOSS.reference)(jax.vmap(lambda h: ops.dense.reference(head, h))(body), Y))  # noqa: E731
    for _ in range(n_steps):
        grads = jax.jit(jax.grad(cost))(head)
        norms.append(optax.tree.norm(grads))
        updates, opt_state = optimizer.update(grads, opt_state)
        head = optax.apply_updates(head, updates)
    return params["body"], head, norms


@pytest.mark.parametrize("options", [{}, {"accumulate": 4}], ids=["whole", "in parts"])
def test_the_rest_is_trained_as_if_it_were_alone(options):
    """And the gradient's norm is that of what is trained."""
    body, head, norms = by_hand(3)
    train_state, step = begin(), make_step(NET, LOSS, FROZEN, **options)
    for norm in norms:
        train_state, info = step(train_state, X, Y)
        np.testing.assert_allclose(info.gradient_norm, norm, rtol=1e-5)
    chex.assert_trees_all_equal(train_state.params["body"], body)
    assert_close(train_state.params["head"], head, 256)
    assert len(step.traces) == 1


def test_no_state_for_frozen_leaves_and_other_wrappers_around():
    n = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert n(begin().opt_state) == 2 * n(begin().params["head"]) + 1
    before = jax.tree.map(np.array, begin().params)
    for optimizer, options in (
            (loss_scaled(FROZEN), {"precision": "float16"}), (with_average(FROZEN, 0.9), {}),
            (optax.chain(optax.clip_by_global_norm(0.01), FROZEN, optax.add_decayed_weights(0.1)),
             {"precision": "bfloat16"})):
        train_state, info = make_step(NET, LOSS, optimizer, **options)(begin(optimizer), X, Y)
        assert info.applied
        chex.assert_trees_all_equal(train_state.params["body"], before["body"])
        assert not np.array_equal(train_state.params["head"]["weight"], before["head"]["weight"])
        if not options:
            chex.assert_trees_all_close(average(train_state.opt_state)["body"], before["body"], rtol=1e-6)


def test_the_gradient_has_the_form_of_the_parameters():
    _, grads = make_step(NET, LOSS, FROZEN).cost_and_gradient(begin(), X, Y)
    _, whole = make_step(NET, LOSS, optax.adam(0.1)).cost_and_gradient(begin(optax.adam(0.1)), X, Y)
    assert_close(grads["head"], whole["head"])
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads["body"]))


def test_saved_and_continued(tmp_path):
    step, ends = make_step(NET, LOSS, FROZEN), []
    for stops in ((8,), (5, 8)):
        for steps in stops:
            train_state, _ = fit(begin(), step, Batches(X, Y, 8), steps=steps, every=5, progress=False,
                                 directory=tmp_path / str(len(stops)))
        ends.append(train_state)
    chex.assert_trees_all_equal(*ends)
    save(tmp_path, 1, ends[0])
    chex.assert_trees_all_equal(load(tmp_path, begin()).tree, ends[0])


@pytest.mark.parametrize("fully", [False, True])
def test_spread_over_devices(fully):
    step, mesh = make_step(NET, LOSS, FROZEN), make_mesh(2)
    alone, info = step(begin(), X, Y)
    train_state = shard(begin(), mesh, fully=fully)
    shardings = jax.tree.map(lambda a: a.sharding, train_state)
    train_state, spread = step(train_state, X, Y)
    assert jax.tree.map(lambda a: a.sharding, train_state) == shardings
    np.testing.assert_allclose(spread.gradient_norm, info.gradient_norm, rtol=1e-5)
    chex.assert_trees_all_close(train_state.params, alone.params, atol=1e-6)


def test_running_statistics_of_a_frozen_layer_follow_the_batches():
    net = Sequential(BatchNorm(), Dense(2))
    optimizer = freeze(optax.sgd(0.1), {"batchnorm1": True, "dense1": False})
    before = begin(optimizer, net)
    mean = np.array(jax.tree.leaves(before.state)[0])
    after, _ = make_step(net, LOSS, optimizer)(before, X, Y)
    assert not np.array_equal(jax.tree.leaves(after.state)[0], mean)


def test_integers_among_the_parameters_must_be_frozen():
    params = {"table": np.arange(3), "weight": np.ones(3, np.float32)}
    layer = lambda params, state, x, key, *, train: (x[params["table"]] * params["weight"], state)  # noqa: E731
    with pytest.raises(ValueError, match="params of floating-point numbers; got int32 at 'table'; move"):
        start_from(params, (), optax.sgd(0.1), KEY)
    optimizer = freeze(optax.sgd(0.1), {"table": True, "weight": False})
    train_state, info = make_step(layer, ops.squared_error, optimizer)(start_from(params, (), optimizer, KEY), X, 0 * X)
    assert info.applied
    np.testing.assert_array_equal(train_state.params["table"], params["table"])
    np.testing.assert_allclose(train_state.params["weight"], 1 - 0.1 * 2 * np.mean(X**2, axis=0), rtol=1e-5)


@pytest.mark.parametrize(("optimizer", "words"), [
    (freeze(optax.sgd(0.1), {"body": True}), "a mask like the parameters, or a prefix of them"),
    (freeze(optax.sgd(0.1), {"body": 1, "head": 0}), "a mask of bools, True where frozen; got int"),
    (freeze(optax.sgd(0.1), True), "a mask that leaves a parameter to train; got all 6 frozen"),
    (optax.chain(FROZEN, FROZEN), "to be used once in an optimizer; got 2 times; join the masks"),
    (optax.masked(freeze(optax.sgd(0.1), lambda p: jax.tree.map(lambda a: a.ndim == 2, p)),
                  {"body": False, "head": True}),
     "a mask of all 6 parameters; got 2 of them"),
])
def test_refused(optimizer, words):
    with pytest.raises(ValueError, match=words):
        begin(optimizer)
