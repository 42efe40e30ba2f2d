"""Layers made of layers, and of one's own: the chain rule that they stand for, their names, keys, states and trees."""

import dataclasses
import functools
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import compare_gradients, hand_derived, network, ops
from jaxnn.layers import (
    LSTM,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Parallel,
    Residual,
    Sequential,
    at_inference,
    over_examples,
)
from tests.compare import assert_close, check_backward, random_like

KEY = jax.random.key(0)


def drawn(layer, shape, seed=0):
    """(params, state) with normal entries."""
    params, state = jax.eval_shape(lambda: layer.init(KEY, shape))
    params = random_like(params, seed)
    return params, jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.7, leaf.dtype), state)


# The chain rule, by hand.

NETWORKS = {
    "one after another": (Sequential(Dense(3), ops.tanh, Dense(2)), (4,)),
    "nested": (Sequential(Sequential(Dense(3), ops.tanh), Sequential(ops.gelu, Dense(2))), (4,)),
    "residual": (Residual(Sequential(Dense(3), ops.tanh, Dense(4))), (4,)),
    "residual in a residual, with a shortcut": (Residual(Residual(Dense(4)), Dense(4)), (4,)),
    "side by side, joined": (Sequential(Parallel(Dense(2), Sequential(Dense(3), ops.tanh)), ops.concatenate), (4,)),
    "side by side, apart": (Parallel(Dense(2), ops.tanh), (4,)),
    "a batch": (over_examples(Residual(Sequential(Dense(3), ops.tanh), Dense(3))), (5, 4)),
    "a batch of batches": (over_examples(over_examples(Sequential(Dense(3), ops.tanh))), (2, 3, 4)),
    "a batch of one": (over_examples(Sequential(Dense(3), ops.softmax)), (1, 4)),
    "dropout": (over_examples(Sequential(Dense(6), Residual(Dropout(0.3)), Dropout(0.5))), (5, 4)),
    "batch norm": (over_examples(Sequential(Dense(3, use_bias=False), BatchNorm(), ops.tanh)), (6, 4)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("x64")
def test_explicit_lifted_reference_and_finite_differences(name):
    layer, shape = NETWORKS[name]
    params, state = drawn(layer, shape)
    wide = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tree)  # noqa: E731
    x = random_like(jnp.zeros(shape), 1)

    @network
    def value(params, x, key):
        return layer(params, wide(state), x, key, train=True)[0]

    check_backward(value, wide(params), x, KEY)


@pytest.mark.usefixtures("x64")
def test_a_sequence_multiplies_jacobians_and_a_residual_adds_the_identity():
    body = Sequential(Dense(4), ops.tanh)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), drawn(body, (4,))[0])
    x = jnp.arange(4.0) / 4

    @jax.jit
    def jacobians(params, x):
        of = lambda layer, params: jax.jacrev(lambda x: layer(params, {}, x)[0])(x)  # noqa: E731
        weight, bias = params["dense1"]["weight"], params["dense1"]["bias"]
        by_hand = (1 - jnp.tanh(weight @ x + bias) ** 2)[:, None] * weight
        return (of(body, params), of(Residual(body), {"body": params})), (by_hand, by_hand + jnp.eye(4))

    assert_close(*jacobians(params, x))


def test_a_batch_is_the_sum_of_its_examples():
    layer = Sequential(Dense(3), ops.tanh, Dense(2))
    params, _ = drawn(layer, (4,))
    x, dy = random_like(jnp.zeros((5, 4)), 1), random_like(jnp.zeros((5, 2)), 2)

    def both_passes(layer, x, dy):
        net = network(lambda params, x: layer(params, {}, x)[0])
        y, cache = net.forward(params, x)
        return y, *net.backward(cache, dy)

    y, dparams, dx = jax.jit(functools.partial(both_passes, over_examples(layer)))(x, dy)
    each = jax.device_get(list(map(jax.jit(functools.partial(both_passes, layer)), x, dy)))
    assert_close((y, dx), tuple(np.stack([one[i] for one in each]) for i in (0, 2)))
    assert_close(dparams, jax.tree.map(lambda *leaves: sum(leaves), *(one[1] for one in each)))


def test_deep_networks_stay_accurate():
    """Fifty layers, float32: the rounding of both routes stays far under what an error would be."""
    layer = Sequential(*[Dense(8), ops.tanh] * 50)
    params = jax.tree.map(lambda leaf: leaf / 8**0.5, drawn(layer, (8,))[0])
    gradient = lambda f: jax.jit(jax.grad(lambda p: jnp.sum(f(p, {}, jnp.ones(8))[0])))(params)  # noqa: E731
    assert_close(gradient(layer), gradient(network(layer).reference), threshold=128)


# A wrong backward pass inside of a network is found, and named by its path.


def planted(factor):
    @hand_derived
    def wrong(params, x):
        return ops.dense.forward(params, x)

    @wrong.defbackward
    def wrong_backward(cache, dy):
        dparams, dx = ops.dense.backward(cache, dy)
        return {"weight": factor(dparams["weight"]), "bias": dparams["bias"]}, dx

    class Wrong(Dense):
        def apply(self, params, state, x, key, *, train):
            return wrong(params, x), state

    return Wrong(4)


FACTORS = {
    "one per cent": lambda g: g * 1.01,
    "a tenth of a per cent": lambda g: g * 0.999,
    "one element": lambda g: g.at[1, 2].set(0),
    "a sign": lambda g: -g,
    "nothing": lambda g: 0 * g,
    "rows and columns changed": lambda g: g[::-1],
}
BUILDS = {
    "a sequence": (lambda layer: Sequential(Dense(4), ops.tanh, layer), (4,), "wrong1"),
    "a residual": (lambda layer: Sequential(Residual(layer)), (4,), "residual1/body"),
    "a batch": (lambda layer: over_examples(Sequential(ops.tanh, layer)), (5, 4), "wrong1"),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("build", "factor"), [
    *(("a sequence", factor) for factor in FACTORS),
    *((build, factor) for build in ("a residual", "a batch") for factor in ("one per cent", "one element"))])
def test_a_wrong_backward_is_found_and_named(build, factor):
    make, shape, place = BUILDS[build]
    net = make(planted(FACTORS[factor]))
    params, state = drawn(net, shape)
    report = compare_gradients(net, params, state, random_like(jnp.zeros(shape), 1), routes=("explicit", "lifted"),
                               laws=False)
    assert not report.ok
    assert report.worst.path == f"params/{place}/weight"
    assert {(leaf.path, leaf.route) for leaf in report.wrong} == {
        (f"params/{place}/weight", route) for route in ("lifted", "explicit")}


# Names.


def test_a_dropout_that_is_put_in_renames_nothing():
    before = Sequential(Dense(3), BatchNorm(), ops.relu, Residual(Dense(3)), Dense(2))
    after = Sequential(Dense(3), BatchNorm(), ops.relu, Dropout(0.5), Residual(Dense(3)), Flatten(), Dense(2))
    chex.assert_trees_all_equal_structs(drawn(before, (4,)), drawn(after, (4,)))
    params, state = drawn(before, (4,))
    assert_close(after(params, state, jnp.ones(4)), before(params, state, jnp.ones(4)))


def double(x):
    return 2 * x


class Named(Layer):
    name = "My layer (2)/a"

    def apply(self, params, state, x, key, *, train):
        return x, state


def test_labels_are_words():
    parts = (Dense(2), ops.relu, Dense(2), double, functools.partial(ops.leaky_relu, slope=0.1), lambda x: x, Named(),
             over_examples(Dense(2)), Sequential(ops.relu), at_inference(Dense(3)))
    assert list(Sequential(*parts).parts) == [
        "dense1", "relu1", "dense2", "double1", "leaky_relu1", "lambda1", "my_layer_2_a1", "over_examples_dense1",
        "sequential1", "dense3"]


def test_parts_of_one_layer_have_params_of_their_own():
    layer = Dense(4)
    params, _ = Sequential(layer, layer).init(KEY, (4,))
    assert not np.array_equal(params["dense1"]["weight"], params["dense2"]["weight"])


def test_params_of_another_layer():
    """They are data: those of a smaller network are a part of those of a larger one, which may take them twice."""
    trunk = Sequential(Dense(3), ops.tanh)
    params, _ = drawn(trunk, (4,))
    head, _ = drawn(Dense(2), (3,), 1)
    y, _ = Sequential(trunk=trunk, head=Dense(2))({"trunk": params, "head": head}, {}, jnp.ones(4))
    assert_close(y, ops.dense(head, ops.tanh(ops.dense(params["dense1"], jnp.ones(4)))))
    alone, _ = Dense(3)(params["dense1"], {}, jnp.ones(4))
    assert_close(trunk(params, {}, jnp.ones(4))[0], jnp.tanh(alone))


# A layer of one's own: two methods.


@dataclasses.dataclass(frozen=True)
class Scale(Layer):
    """y = s x + noise, with a running mean of x as its state."""

    start: float = 1.5
    random = True

    def init(self, key, shape):
        return {"s": jnp.full(shape.shape, self.start)}, {"mean": jnp.zeros(())}

    def apply(self, params, state, x, key, *, train):
        y = params["s"] * x
        if train:
            y = y + jax.random.normal(key, x.shape)
            state = {"mean": 0.9 * state["mean"] + 0.1 * jnp.mean(x)}
        return y, state


class Center(Layer):
    """A layer without params, which needs no init."""

    random = False

    def apply(self, params, state, x, key, *, train):
        return x - jnp.mean(x), state


class Gates(Layer):
    """A layer of a dict, with a layer inside."""

    inner = Dense(3)

    def init(self, key, shape):
        return self.inner.init(key, shape["x"])

    def apply(self, params, state, x, key, *, train):
        y, state = self.inner(params, state, x["x"], key, train=train)
        return {"gate": ops.sigmoid(y) * x["scale"], "x": x["x"]}, state


def test_a_layer_of_ones_own():
    net = Sequential(Dense(3), Scale(2.0), Center(), ops.relu)
    params, state = net.init(KEY, (4,))
    chex.assert_trees_all_equal_structs((params, state), (
        {"dense1": {"weight": 0, "bias": 0}, "scale1": {"s": 0}}, {"scale1": {"mean": 0}}))
    x = jnp.arange(4.0)
    y, same = net(params, state, x)
    z = 2 * ops.dense(params["dense1"], x)
    assert_close((y, same), (jnp.maximum(z - jnp.mean(z), 0), state))
    _, moved = net(params, state, x, KEY, train=True)
    assert_close(moved["scale1"]["mean"], 0.1 * jnp.mean(ops.dense(params["dense1"], x)))
    assert compare_gradients(net, params, state, x, KEY, train=True, laws=False, routes=("explicit", "lifted")).ok


def test_trees_as_x():
    """From a layer to the next: a tuple of Parallel, a dict of one's own."""
    net = Sequential(
        Gates(), lambda x: (x["gate"], x["x"][:3]), ops.add, Parallel(a=Dense(2), b=ops.tanh), ops.concatenate)
    shape = {"x": jax.ShapeDtypeStruct((4,), jnp.float32), "scale": jax.ShapeDtypeStruct((), jnp.float32)}
    params, state = drawn(net, shape)
    assert list(params) == ["gates1", "parallel1"]
    x = {"x": jnp.arange(4.0), "scale": jnp.asarray(0.5)}
    y, _ = net(params, state, x)
    h = jax.nn.sigmoid(ops.dense(params["gates1"], x["x"])) / 2 + x["x"][:3]
    assert_close(y, jnp.concatenate([ops.dense(params["parallel1"]["a"], h), jnp.tanh(h)]))
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), x)
    assert_close(over_examples(net)(params, state, batch)[0][0], y)
    assert compare_gradients(over_examples(net), params, state, batch, laws=False, routes=("explicit", "lifted")).ok


# Keys and states.


def test_each_random_part_and_each_example_draws_for_itself():
    layer = over_examples(Sequential(Dropout(0.3), ops.relu, Dropout(0.3)))
    x = jnp.ones((3, 200))
    once, twice, reference = jax.jit(lambda x, key: (
        ops.dropout(x[0], key, rate=0.3),
        *(f({}, {}, x, key, train=True)[0] for f in (layer, network(layer).reference))))(x, KEY)
    assert np.mean(twice == 0) == pytest.approx(1 - 0.7**2, abs=0.08)
    assert len({tuple(row.tolist()) for row in (*twice, once)}) == 4
    assert_close(twice, reference)


def test_states_are_those_of_the_parts_that_have_any():
    layer = over_examples(Sequential(Dense(3), Residual(Sequential(BatchNorm(), ops.relu)), BatchNorm()))
    params, state = drawn(layer, (5, 4))
    x = random_like(jnp.zeros((5, 4)), 1)
    _, moved = layer(params, state, x, train=True)
    chex.assert_trees_all_equal_structs(moved, state)
    z = x @ params["dense1"]["weight"].T + params["dense1"]["bias"]
    assert_close(moved["residual1"]["body"]["batchnorm1"]["mean"], 0.9 * 0.7 + 0.1 * jnp.mean(z, 0))
    assert_close(layer(params, state, x)[1], state)


def test_a_layer_that_stays_at_inference():
    frozen = Sequential(BatchNorm(), Dropout(0.9))
    layer = over_examples(Sequential(at_inference(frozen), Dense(2)))
    params, state = drawn(layer, (5, 4))
    assert params.keys() == {"sequential1", "dense1"}
    x = random_like(jnp.zeros((5, 4)), 1)
    y, moved = layer(params, state, x, train=True)  # needs no key
    assert_close((y, moved), layer(params, state, x, train=False))
    assert_close(moved, state)
    assert not at_inference(frozen).random
    gradients = jax.grad(lambda p: jnp.sum(layer(p, state, x, train=True)[0] ** 2))(params)
    assert float(jnp.max(jnp.abs(gradients["sequential1"]["batchnorm1"]["scale"]))) > 0  # its params still learn


def test_a_function_is_a_layer_over_examples():
    """Anything (params, state, x, key, *, train) -> (y, state) is."""
    def siamese(params, state, x, key, *, train):
        embed = lambda x: ops.tanh(ops.dense(params, x))  # noqa: E731
        return jnp.sum((embed(x["a"]) - embed(x["b"])) ** 2), state

    params, _ = drawn(Dense(3), (4,))
    x = {"a": random_like(jnp.zeros((5, 4)), 1), "b": random_like(jnp.zeros((5, 4)), 2)}
    y, state = over_examples(siamese)(params, {}, x)
    a, b = (jnp.tanh(x[name] @ params["weight"].T + params["bias"]) for name in ("a", "b"))
    assert_close((y, state), (jnp.sum((a - b) ** 2, 1), {}))
    assert compare_gradients(over_examples(siamese), params, {}, x, laws=False, routes=("explicit", "lifted")).ok


# How little stands between a layer's call and its op.


@pytest.mark.parametrize("batch", [False, True])
def test_six_frames_from_a_layer_to_the_body_of_an_op(batch):
    """What a user reads in a traceback, and a debugger steps through."""
    package, frames = str(Path(jaxnn.__file__).parent), []

    @hand_derived
    def probe(x):
        frame, found = sys._getframe(), []
        while frame is not None:
            if frame.f_code.co_filename.startswith(package):
                found.append(frame.f_code.co_qualname)
            frame = frame.f_back
        frames.append(found)
        return x, ()

    probe.defbackward(lambda cache, dy: (dy,))
    net = Sequential(Dense(3), probe)
    params, _ = drawn(net, (4,))
    frames.clear()
    if batch:
        net, x = over_examples(net), jnp.ones((2, 4))
    else:
        x = jnp.ones(4)
    jax.make_jaxpr(lambda params, x: net(params, {}, x)[0])(params, x)
    (found,) = frames
    assert len(found) <= (9 if batch else 6), found


def test_a_layer_over_time_takes_a_batch():
    """A recurrent layer over examples is that of each example."""
    layer = LSTM(3)
    params, _ = drawn(layer, (5, 2))
    x = random_like(jnp.zeros((4, 5, 2)), 1)
    batch, each = jax.jit(lambda params, x: (
        over_examples(layer)(params, {}, x)[0], jnp.stack([layer(params, {}, one)[0] for one in x])))(params, x)
    assert_close(batch, each)
