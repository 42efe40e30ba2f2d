"""The contract every layer keeps: parameters that fit, y and state out, one example in, and hashable hyperparameters;
from one table. A new layer is one more line."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, initializers, layers, network, ops
from jaxnn.layers import (
    GRU,
    LSTM,
    RNN,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GroupNorm,
    LayerNorm,
    MaxPool,
    MultiHeadAttention,
    Parallel,
    Residual,
    Sequential,
    SqueezeExcitation,
    TransformerBlock,
    at_inference,
    over_examples,
)
from tests.compare import assert_close

KEY = jax.random.key(0)


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


SQUARE = {"weight": (4, 4), "bias": (4,)}
BLOCK = {"attention": dict.fromkeys(("q", "k", "v", "out"), SQUARE), "hidden": {"weight": (6, 4), "bias": (6,)},
         "output": {"weight": (4, 6), "bias": (4,)},
         **{name: {"scale": (4,), "bias": (4,)} for name in ("norm_attention", "norm_output")}}
# layer, shape of x, shapes of params, of state, of y
LAYERS = {
    "Dense": (Dense(3), (4,), {"weight": (3, 4), "bias": (3,)}, {}, (3,)),
    "Dense without bias": (Dense(3, use_bias=False), (4,), {"weight": (3, 4)}, {}, (3,)),
    "Dense of one": (Dense(1), (1,), {"weight": (1, 1), "bias": (1,)}, {}, (1,)),
    "Dropout": (Dropout(0.5), (4,), {}, {}, (4,)),
    "Flatten": (Flatten(), (2, 3, 4), {}, {}, (24,)),
    "Conv": (Conv(5), (6, 7, 2), {"kernel": (3, 3, 2, 5), "bias": (5,)}, {}, (6, 7, 5)),
    "Conv, strided": (Conv(5, (2, 3), stride=2, padding="VALID", use_bias=False), (6, 7, 2),
                      {"kernel": (2, 3, 2, 5)}, {}, (3, 3, 5)),
    "Conv of a sequence": (Conv(5, (3,)), (8, 2), {"kernel": (3, 2, 5), "bias": (5,)}, {}, (8, 5)),
    "Conv, dilated and in groups": (Conv(6, (2, 3), groups=2, dilation=2, padding="VALID"), (6, 7, 4),
                                    {"kernel": (2, 3, 2, 6), "bias": (6,)}, {}, (4, 3, 6)),
    "ConvTranspose": (ConvTranspose(5, (3, 3), stride=2), (3, 4, 2), {"kernel": (3, 3, 2, 5), "bias": (5,)}, {},
                      (6, 8, 5)),
    "AveragePool": (AveragePool([2, 3], padding=1), (6, 7, 2), {}, {}, (4, 3, 2)),
    "LayerNorm": (LayerNorm(), (3, 4), {"scale": (4,), "bias": (4,)}, {}, (3, 4)),
    "GroupNorm": (GroupNorm(2, use_bias=False), (3, 4), {"scale": (4,)}, {}, (3, 4)),
    "MaxPool": (MaxPool(), (6, 7, 2), {}, {}, (3, 3, 2)),
    "MaxPool, overlapping": (MaxPool(3, stride=1), (6, 7, 2), {}, {}, (4, 5, 2)),
    "Embedding": (Embedding(10, 3), (5,), {"table": (10, 3)}, {}, (5, 3)),
    "RNN": (RNN(3), (5, 2), {"weight_x": (3, 2), "weight_h": (3, 3), "bias": (3,)}, {}, (5, 3)),
    "GRU": (GRU(3), (5, 2), {"weight_x": (9, 2), "weight_h": (9, 3), "bias": (9,)}, {}, (5, 3)),
    "GRU, reset after": (GRU(3, return_sequence=False, reset_after=True), (5, 2),
                         {"weight_x": (9, 2), "weight_h": (9, 3), "bias": (9,), "bias_h": (3,)}, {}, (3,)),
    "GRU without biases": (GRU(3, use_bias=False, reset_after=True), (5, 2),
                           {"weight_x": (9, 2), "weight_h": (9, 3)}, {}, (5, 3)),
    "LSTM without a bias": (LSTM(3, use_bias=False), (5, 2), {"weight_x": (12, 2), "weight_h": (12, 3)}, {}, (5, 3)),
    "LSTM": (LSTM(3), (5, 2), {"weight_x": (12, 2), "weight_h": (12, 3), "bias": (12,)}, {}, (5, 3)),
    "LSTM, last state": (LSTM(3, return_sequence=False), (5, 2),
                         {"weight_x": (12, 2), "weight_h": (12, 3), "bias": (12,)}, {}, (3,)),
    "RNN in both directions": (RNN(3, return_sequence=False, bidirectional=True), (5, 2),
                               {way: {"weight_x": (3, 2), "weight_h": (3, 3), "bias": (3,)}
                                for way in ("forward", "reversed")}, {}, (6,)),
    "GRU of two layers": (GRU(3, use_bias=False, layers=2, dropout=0.5, same_mask=True), (5, 2),
                          {"layer1": {"weight_x": (9, 2), "weight_h": (9, 3)},
                           "layer2": {"weight_x": (9, 3), "weight_h": (9, 3)}}, {}, (5, 3)),
    "Sequential": (Sequential(Dense(3), ops.tanh, Dense(2)), (4,),
                   {"dense1": {"weight": (3, 4), "bias": (3,)}, "dense2": {"weight": (2, 3), "bias": (2,)}}, {}, (2,)),
    "Sequential with names": (Sequential(hidden=Dense(3), act=ops.tanh), (4,),
                              {"hidden": {"weight": (3, 4), "bias": (3,)}}, {}, (3,)),
    "Sequential without parameters": (Sequential(ops.tanh, Flatten()), (2, 2), {}, {}, (4,)),
    "Parallel": (Parallel(Dense(3), ops.tanh), (4,), {"dense1": {"weight": (3, 4), "bias": (3,)}}, {}, ((3,), (4,))),
    "Parallel, concatenated": (
        Sequential(Parallel(a=Dense(3), b=Dense(2)), ops.concatenate, Dense(1)), (4,),
        {"parallel1": {"a": {"weight": (3, 4), "bias": (3,)}, "b": {"weight": (2, 4), "bias": (2,)}},
         "dense1": {"weight": (1, 5), "bias": (1,)}}, {}, (1,)),
    "Residual": (Residual(Dense(4)), (4,), {"body": {"weight": (4, 4), "bias": (4,)}}, {}, (4,)),
    "Residual with a shortcut": (
        Residual(ops.tanh, shortcut=Dense(4)), (4,), {"shortcut": {"weight": (4, 4), "bias": (4,)}}, {}, (4,)),
    "over_examples": (over_examples(Dense(3)), (5, 4), {"weight": (3, 4), "bias": (3,)}, {}, (5, 3)),
    "BatchNorm over examples": (
        over_examples(BatchNorm()), (5, 6, 2), {"scale": (2,), "bias": (2,)},
        {"mean": (2,), "variance": (2,)}, (5, 6, 2)),
    "BatchNorm with a bias alone": (
        over_examples(BatchNorm(use_scale=False)), (5, 2), {"bias": (2,)}, {"mean": (2,), "variance": (2,)}, (5, 2)),
    "at inference": (at_inference(Sequential(BatchNorm(), Dropout(0.5))), (6, 2),
                     {"batchnorm1": {"scale": (2,), "bias": (2,)}}, {"batchnorm1": {"mean": (2,), "variance": (2,)}},
                     (6, 2)),
    "SqueezeExcitation": (SqueezeExcitation(2), (3, 3, 4), {
        "squeeze": {"weight": (2, 4), "bias": (2,)}, "excite": {"weight": (4, 2), "bias": (4,)}}, {}, (3, 3, 4)),
    "MultiHeadAttention": (MultiHeadAttention(2), (5, 4), dict.fromkeys(("q", "k", "v", "out"), SQUARE), {}, (5, 4)),
    "TransformerBlock": (TransformerBlock(2, 6), (5, 4), BLOCK, {}, (5, 4)),
    "a small convolutional network": (
        over_examples(Sequential(Conv(3), BatchNorm(), ops.relu, MaxPool(), Flatten(), Dense(2))),
        (5, 4, 4, 1),
        {"conv1": {"kernel": (3, 3, 1, 3), "bias": (3,)}, "batchnorm1": {"scale": (3,), "bias": (3,)},
         "dense1": {"weight": (2, 12), "bias": (2,)}},
        {"batchnorm1": {"mean": (3,), "variance": (3,)}}, (5, 2)),
}
EACH = pytest.mark.parametrize("name", LAYERS)


@functools.cache
def initialized(name):
    """The parameters and state of a layer, drawn twice from the same key."""
    layer, shape, *_ = LAYERS[name]
    return jax.jit(lambda key: (layer.init(key, shape), layer.init(key, shape)))(KEY)


def example(name):
    layer, shape, *_ = LAYERS[name]
    params, state = initialized(name)[0]
    rng = np.random.default_rng(0)
    is_float = jnp.issubdtype(layer.input_dtype, jnp.floating)
    x = jnp.asarray(rng.standard_normal(shape) if is_float else rng.integers(0, 10, shape), layer.input_dtype)
    return layer, params, state, x


@functools.cache
def faces(name):
    """{train: ((y, state) of a call, of the reference, of forward, what backward gives)}, as one program."""
    layer, *args = example(name)
    net = network(layer)

    @jax.jit
    def program(params, state, x, key):
        found = {}
        for train in (True, False):
            called, reference = (f(params, state, x, key, train=train) for f in (layer, net.reference))
            forward, cache = net.forward(params, state, x, key, train=train)
            found[train] = called, reference, forward, net.backward(
                cache, (jax.tree.map(jnp.ones_like, forward[0]), None))
        return found

    return program(*args, KEY)


@pytest.mark.sampled
@EACH
def test_init_and_call(name):
    _, _, params_shapes, state_shapes, y_shape = LAYERS[name]
    _, params, state, _ = example(name)
    assert shapes(params) == params_shapes
    assert shapes(state) == state_shapes
    for (y, new_state), *_ in faces(name).values():
        assert shapes(y) == y_shape
        assert shapes(new_state) == state_shapes
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(y))


@pytest.mark.sampled
@EACH
def test_the_key_decides(name):
    assert_close(*initialized(name))


@pytest.mark.sampled
@EACH
def test_four_faces(name):
    for y, reference, forward, cotangents in faces(name).values():
        assert_close(reference, y)
        assert_close(forward, y)
        chex.assert_trees_all_equal_structs(cotangents[0], example(name)[1])
        assert len(cotangents) == 4
        assert cotangents[3] is None  # the key has no gradient


@pytest.mark.sampled
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.exhaustive) if "," in name or " " in name
                                  else name for name in LAYERS])  # variants of a layer are exhaustive
def test_gradients(name):
    layer, params, state, x = example(name)
    if not jax.tree.leaves(params) and not jnp.issubdtype(x.dtype, jnp.floating):
        pytest.skip("nothing has a gradient")
    for train in (True, False)[:1 + (name != "Dropout")]:  # at inference a dropout calls no op
        report = compare_gradients(layer, params, state, x, KEY, train=train, laws=False,
                                   routes=("explicit", "lifted"))
        assert report.ok, str(report)


@pytest.mark.sampled
@EACH
def test_a_layer_is_a_static_argument_of_jit(name):
    layer, params, state, x = example(name)

    chex.clear_trace_counter()

    @functools.partial(jax.jit, static_argnums=0, static_argnames="train")
    @chex.assert_max_traces(n=1)
    def apply(layer, params, state, x, key, train):
        return layer(params, state, x, key, train=train)

    for _ in range(2):
        y = apply(layer, params, state, x, KEY, train=True)
    assert_close(y, faces(name)[True][0])


@EACH
def test_nothing_is_mutated(name):
    layer, params, state, x = example(name)
    before = jax.tree.map(np.array, (params, state, x))
    jax.eval_shape(lambda x: layer(params, state, x, KEY, train=True), x)
    assert_close(jax.tree.map(np.array, (params, state, x)), before)


@EACH
def test_shape_as_struct(name):
    layer, shape, params_shapes, *_ = LAYERS[name]
    params, _ = jax.eval_shape(lambda: layer.init(KEY, jax.ShapeDtypeStruct(shape, layer.input_dtype)))
    assert shapes(params) == params_shapes


def test_every_layer_is_in_the_table():
    names = {n for n in dir(layers) if isinstance(getattr(layers, n), type) and n[0].isupper()}
    covered = set(re.findall(r"\b[A-Z]\w+", " ".join(map(repr, [row[0] for row in LAYERS.values()]))))
    assert names - {"Layer", "Summary"} <= covered


# Hyperparameters are all a layer is.


def test_equality_and_hash():
    alike = [
        (Dense(3), Dense(3)), (Dropout(0.5), Dropout(0.5)), (Flatten(), Flatten()),
        (Conv(3), Conv(3, (3, 3))),
        (LSTM(3), LSTM(3)),
        (Sequential(Dense(3), ops.relu), Sequential(Dense(3), ops.relu)),
        (Sequential(a=Dense(3)), Sequential(a=Dense(3))), (Residual(Dense(3)), Residual(Dense(3))),
        (over_examples(Dense(3)), over_examples(Dense(3))), (at_inference(Dense(3)), at_inference(Dense(3))),
    ]
    for a, b in alike:
        assert a == b
        assert hash(a) == hash(b)
    unlike = [
        (Dense(3), Dense(4)), (Dense(3), Dense(3, use_bias=False)), (Dense(3), Dense(3, initializers.xavier)),
        (Dropout(0.5), Dropout(0.4)), (Sequential(Dense(3), ops.relu), Sequential(Dense(3), ops.tanh)),
        (Sequential(a=Dense(3)), Sequential(b=Dense(3))), (Sequential(Dense(3)), Sequential(a=Dense(3))),
        (Sequential(ops.relu), Parallel(ops.relu)), (Residual(ops.relu), Residual(ops.relu, ops.relu)),
        (Conv(3), Conv(3, stride=2)), (MaxPool(), MaxPool(3)),
    ]
    for a, b in unlike:
        assert a != b


def test_repr_reads_like_the_code():
    assert repr(Sequential(Dense(3), ops.relu, Dropout(rate=0.5))) == (
        "Sequential(Dense(n_out=3, use_bias=True), relu, Dropout(rate=0.5))")
    assert repr(Sequential(hidden=Dense(3), out=ops.softmax)) == (
        "Sequential(hidden=Dense(n_out=3, use_bias=True), out=softmax)")


def test_parameters_of_parts_differ():
    """Each part draws from a key of its own."""
    params, _ = Sequential(Dense(4), Dense(4)).init(KEY, (4,))
    assert not np.array_equal(params["dense1"]["weight"], params["dense2"]["weight"])


def test_initializers_are_used():
    params, _ = Dense(3, initializers.zeros, initializers.ones).init(KEY, (4,))
    assert not np.any(params["weight"])
    assert np.all(np.asarray(params["bias"]) == 1)


def test_dropout_in_both_modes():
    layer, x = Dropout(0.5), jnp.ones(100)
    assert_close(layer({}, {}, x)[0], x)
    assert_close(layer({}, {}, x, train=False)[0], x)
    y, _ = layer({}, {}, x, KEY, train=True)
    assert 20 < int(jnp.sum(y == 0)) < 80
    assert set(np.unique(y)) == {0.0, 2.0}
    assert_close(Dropout(0.0)({}, {}, x, train=True)[0], x)


def test_batch_norm_moves_its_state_in_training_only():
    layer = over_examples(BatchNorm(momentum=0.5))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((64, 3)) * 2 + 5, jnp.float32)
    params, state = layer.init(KEY, x.shape)
    y, moved = layer(params, state, x, train=True)
    np.testing.assert_allclose(jnp.mean(y, 0), 0, atol=1e-5)
    np.testing.assert_allclose(jnp.var(y, 0), 1, atol=1e-4)
    np.testing.assert_allclose(moved["mean"], jnp.mean(x, 0) / 2, rtol=1e-5)
    np.testing.assert_allclose(moved["variance"], 0.5 + jnp.var(x, 0) / 2, rtol=1e-5)
    y, same = layer(params, moved, x, train=False)
    assert_close(same, moved)
    np.testing.assert_allclose(y, (x - moved["mean"]) / jnp.sqrt(moved["variance"] + 1e-5), rtol=1e-4,
                               atol=1e-5)


def test_lstm_starts_remembering():
    params, _ = LSTM(3).init(KEY, (5, 2))
    assert params["bias"].tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6
