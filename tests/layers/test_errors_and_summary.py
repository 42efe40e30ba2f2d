"""What a layer refuses and how it says so; the table it prints."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import initializers, ops
from jaxnn.layers import (
    LSTM,
    Activation,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    MaxPool,
    Parallel,
    Residual,
    Sequential,
    over_examples,
    summary,
)

KEY = jax.random.key(0)
NET = Sequential(Flatten(), Dense(3), ops.relu, Dense(2))
PARAMS, STATE = NET.init(KEY, (2, 2))
NAMED = Sequential(body=Sequential(Dense(3), ops.tanh), head=Dense(2))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Dense(0), "Dense expects n_out, a positive integer; got 0"),
    (lambda: Dense(2.0), "Dense expects n_out, a positive integer; got 2.0"),
    (lambda: Dropout(1.0), "Dropout expects rate, the fraction dropped, in [0, 1); got 1.0"),
    (lambda: Dropout("0.5"), "Dropout expects rate, the fraction dropped, in [0, 1); got '0.5'"),
    (lambda: Conv(0), "Conv expects n_out, a positive integer; got 0"),
    (lambda: Conv(3, (0, 3)), "Conv expects window to be a tuple of one to three sizes; got (0, 3)"),
    (lambda: Conv(3, 3), "Conv expects window to be a tuple of one to three sizes; got 3"),
    (lambda: Embedding(0, 3), "Embedding expects n_rows, a positive integer; got 0"),
    (lambda: LSTM(-1), "LSTM expects n_hidden, a positive integer; got -1"),
    (lambda: BatchNorm(momentum=2), "BatchNorm expects momentum in [0, 1]; got 2"),
    (lambda: BatchNorm(eps=0), "BatchNorm expects eps > 0; got 0"),
    (lambda: Sequential(),
     "Sequential expects either positional or named layers, at least one; got 0 positional "
     "and 0 named"),
    (lambda: Sequential(Dense(2), head=Dense(2)), "got 1 positional and 1 named"),
    (lambda: Sequential(Dense), "expected a layer; got the class Dense: write Dense(...)"),
    (lambda: Sequential(ops.dense), "Activation expects an op of x alone, such as jaxnn.relu; got 'dense' of "
     "(params, x)"),
    (lambda: Sequential(jnp.tanh), "Activation expects an op of x alone, such as jaxnn.relu; got"),
    (lambda: Activation(3), "Activation expects an op of x alone, such as jaxnn.relu; got 3"),
])
def test_hyperparameters(make, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        make()


@pytest.mark.parametrize(("layer", "shape", "words"), [
    (Dense(3), (2, 2), "Dense expects x of shape (n_in,); got (2, 2); put Flatten() before it"),
    (Dense(3), (), "Dense expects x of shape (n_in,); got ()"),
    (Dense(3), (None, 4),
     "Dense expects shape to be a tuple of positive sizes, that of one x; got (None, 4); leave "
     "the batch axis out"),
    (Dense(3), (0,), "Dense expects shape to be a tuple of positive sizes, that of one x; got (0,)"),
    (Dense(3), 4, "Dense expects shape to be a tuple of positive sizes, that of one x; got 4"),
    (Sequential(Dense(3), Sequential(ops.relu, Conv(2))), (4,),
     "Conv at '1/1' expects x with 2 spatial axes and channels; got (3,)"),
    (NAMED, (2, 2), "Dense at 'body/0' expects x of shape (n_in,); got (2, 2); put Flatten() before it"),
    (Sequential(Parallel(Dense(3), Dense(4)), ops.add), (2,),
     "add at '1' expects a tuple of arrays of one shape; "
     "got [(3,), (4,)]"),
    (Sequential(Parallel(Dense(3), Dense(4)), Dense(2)), (2,),
     "Dense at '1' expects one array as x; got shapes [(3,), (4,)]; join the branches with add or "
     "concatenate"),
    (Residual(Dense(3)), (4,), "Residual expects its branches to agree in shape; got [(3,), (4,)]; give it a "
     "shortcut that changes the shape alike"),
    (Sequential(ops.relu, Residual(Dense(3))), (4,),
     "Residual at '1' expects its branches to agree in shape"),
    (MaxPool(5), (4, 4, 1), "MaxPool expects x, padded, to be at least the window (5, 5); got (4, 4)"),
    (Conv(2, padding="VALID"), (2, 2, 1),
     "Conv expects x, padded, to be at least the window (3, 3); got (2, 2)"),
    (LSTM(3), (4,), "LSTM expects x of shape (time, n_in); got (4,)"),
    (over_examples(Dense(3)), (), "OverExamples expects shape with a leading axis of examples; got ()"),
])
def test_init(layer, shape, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        layer.init(KEY, shape)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: NET(PARAMS, STATE, jnp.ones((3, 3))), "Dense at '1' expects x of shape (4,); got (9,)"),
    (lambda: NET(PARAMS[:2], STATE, jnp.ones((2, 2))),
     "Sequential expects params to be a tuple of 4 entries, one "
     "for each part; got 2 entries"),
    (lambda: NAMED({"body": 1}, (), jnp.ones(4)),
     "Sequential expects params to be a dict with keys ['body', 'head']; "
     "got keys ['body']"),
    (lambda: NET(PARAMS, STATE, jnp.ones((2, 2)), train=1),
     "Sequential expects train to be True or False; got 1"),
    (lambda: Sequential(ops.relu, Dropout(0.5))((), (), jnp.ones(3), train=True),
     "Dropout at '1' expects a PRNG key; got None; pass key=jax.random.key(seed)"),
    (lambda: over_examples(Dropout(0.5))((), (), jnp.ones((2, 3)), train=True),
     "Dropout expects a PRNG key; got None"),
    (lambda: BatchNorm()(*BatchNorm().init(KEY, (3,)), jnp.ones(3), train=True),
     "BatchNorm expects a batch to average over, the axis 'examples'; got one example; wrap the layer in "
     "over_examples"),
    (lambda: Dense(3)({"weight": jnp.ones((3, 4))}, (), jnp.arange(4)),
     "Dense expects floating-point x; got int32"),
    (lambda: Embedding(5, 2)({"table": jnp.ones((5, 2))}, (), jnp.asarray([5])),
     "Embedding expects x in 0 .. 4; got"),
])
def test_call(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


@pytest.mark.parametrize("face", ["forward", "reference", "__call__"])
def test_every_face_says_where(face):
    with pytest.raises(ValueError, match=re.escape("Dense at '1' expects x of shape (4,); got (9,)")):
        getattr(NET, face)(PARAMS, STATE, jnp.ones((3, 3)))


def test_errors_under_jit_grad_and_vmap():
    def cost(params, x):
        return jnp.sum(NET(params, STATE, x)[0])

    for f in (jax.jit(cost), jax.grad(cost), jax.jit(jax.grad(cost))):
        with pytest.raises(ValueError, match=re.escape("Dense at '1' expects x of shape (4,); got (9,)")):
            f(PARAMS, jnp.ones((3, 3)))
    with pytest.raises(ValueError, match=re.escape("Dense at '1' expects x of shape (4,); got (9,)")):
        jax.vmap(cost, (None, 0))(PARAMS, jnp.ones((5, 3, 3)))


# The table.


def test_the_table_of_a_network():
    net = Sequential(Flatten(), Dense(20), ops.relu, Dropout(0.5), Dense(10))
    assert str(summary(net, (8, 8))) == """\
path   layer    output shape  parameters  bytes of cache
-----  -------  ------------  ----------  --------------
0      Flatten  (64,)                  0               0
1      Dense    (20,)              1,300             256
2      relu     (20,)                  0              20
3      Dropout  (20,)                  0              20
4      Dense    (10,)                210              80
-----  -------  ------------  ----------  --------------
total                              1,510             376"""


def test_names_and_nesting():
    net = Sequential(stem=Dense(4), block=Residual(Sequential(Dense(4), ops.tanh)), head=Dense(2))
    table = summary(net, (3,))
    assert [row.path for row in table.rows] == [
        "stem", "block/body/0", "block/body/1", "block/shortcut", "head"]
    assert [row.parameters for row in table.rows] == [16, 20, 0, 0, 10]
    params, _ = net.init(KEY, (3,))
    assert table.parameters == sum(leaf.size for leaf in jax.tree.leaves(params)) == 46


def test_one_layer_alone():
    (row,) = summary(Dense(3), (4,)).rows
    assert row == (".", "Dense", (3,), 15, 16)


def test_cache_bytes_are_those_of_the_cache():
    """Of one example, beyond the parameters: what forward really returns."""
    net = Sequential(Dense(5), ops.gelu, Dense(2, initializers.xavier))
    params, state = net.init(KEY, (3,))
    _, cache = net.forward(params, state, jnp.ones(3), train=True)
    weights = {id(leaf) for leaf in jax.tree.leaves(params)}
    kept = {id(leaf): leaf.nbytes for leaf in jax.tree.leaves(cache) if id(leaf) not in weights}
    assert summary(net, (3,)).cache_bytes == sum(kept.values()) == 4 * (3 + 5 + 5)


def test_dtype_of_x_counts():
    x = jax.ShapeDtypeStruct((4,), jnp.bfloat16)
    assert summary(Sequential(ops.tanh), x).cache_bytes == 8


def test_parallel_branches_share_x():
    rows = summary(Sequential(Parallel(Dense(3), Dense(4)), ops.concatenate), (2,)).rows
    assert [(row.path, row.output_shape) for row in rows] == [("0/0", (3,)), ("0/1", (4,)), ("1", (7,))]


def test_a_batch():
    table = summary(over_examples(Sequential(Dense(3), BatchNorm())), (5, 4))
    assert table.parameters == 15 + 6


def test_summary_makes_no_parameters():
    """It is traced, so a layer of a terabyte is tabulated at once."""
    table = summary(Dense(1 << 19), (1 << 19,))
    assert table.parameters == (1 << 38) + (1 << 19)
    assert np.isfinite(table.cache_bytes)
