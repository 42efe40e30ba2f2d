"""What a layer refuses, and how it says so: with the place in the network, and what to do."""

import re

import jax
import jax.numpy as jnp
import pytest

from jaxnn import InputError, network, ops
from jaxnn.layers import (
    LSTM,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    MaxPool,
    Parallel,
    Residual,
    Sequential,
    over_examples,
)

KEY = jax.random.key(0)
NET = Sequential(Flatten(), Dense(3), ops.relu, Dense(2))
W, W2 = ({"weight": jnp.ones((n_out, n_in)), "bias": jnp.ones(n_out)} for n_in, n_out in ((4, 3), (3, 2)))
PARAMS = {"dense1": W, "dense2": W2}
PICTURES, KERNEL = Sequential(Conv(1, (3, 3))), {"conv1": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.ones(1)}}
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
    (lambda: BatchNorm(eps=0), "BatchNorm expects a finite eps > 0; got 0"),
    (lambda: Sequential(),
     "Sequential expects either positional or named layers, at least one; got 0 positional and 0 named"),
    (lambda: Sequential(Dense(2), head=Dense(2)), "got 1 positional and 1 named"),
    (lambda: Sequential(Dense), "Sequential expects a layer; got the class Dense: write Dense(...)"),
    (lambda: Sequential(ops.dense),
     "Sequential expects a layer or a function of x alone; got the op 'dense' of (params, x): use the layer that makes "
     "its "
     "parameters"),
    (lambda: Sequential(3), "Sequential expects a layer or a function of x, such as jaxnn.relu; got 3"),
])
def test_hyperparameters(make, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        make()


class Shift(Layer):
    """A layer that reads params and makes none."""

    def apply(self, params, state, x, key, *, train):
        return x + params["shift"], state


@pytest.mark.parametrize(("layer", "shape", "words"), [
    (Dense(3), (2, 2), "Dense expects x of shape (n_in,); got (2, 2); put Flatten() before it"),
    (Dense(3), (), "Dense expects x of shape (n_in,); got ()"),
    (Dense(3), (None, 4),
     "Dense expects shape to be a tuple of positive sizes, that of one x, or a tree of jax.ShapeDtypeStruct; got "
     "(None, 4); leave the batch axis out"),
    (Dense(3), (0,), "Dense expects shape to be a tuple of positive sizes, that of one x, or a tree of"),
    (Dense(3), 4, "jax.ShapeDtypeStruct; got 4"),
    (Sequential(Dense(3), Sequential(ops.relu, Conv(2))), (4,),
     "Conv at 'sequential1/conv1' expects x with 2 spatial axes and channels; got (3,)"),
    (NAMED, (2, 2), "Dense at 'body/dense1' expects x of shape (n_in,); got (2, 2); put Flatten() before it"),
    (Sequential(Parallel(Dense(3), Dense(4)), ops.add), (2,),
     "add at 'add1' expects a tuple of arrays of one shape; got [(3,), (4,)]"),
    (Sequential(Parallel(Dense(3), Dense(4)), Dense(2)), (2,),
     "Dense at 'dense1' expects one array as x; got shapes [(3,), (4,)]; join the branches with add or concatenate"),
    (Residual(Dense(3)), (4,), "Residual expects its branches to agree in shape; got [(3,), (4,)]; give it a "
     "shortcut that changes the shape alike"),
    (Sequential(ops.relu, Residual(Dense(3))), (4,), "Residual at 'residual1' expects its branches to agree in shape"),
    (MaxPool(5), (4, 4, 1), "MaxPool expects x, padded, to be at least the window (5, 5); got (4, 4)"),
    (Conv(2, padding="VALID"), (2, 2, 1), "Conv expects x, padded, to be at least the window (3, 3); got (2, 2)"),
    (LSTM(3), (4,), "LSTM expects x of shape (time, n_in); got (4,)"),
    (over_examples(Dense(3)), (), "over_examples(Dense) expects shape with a leading axis of examples; got ()"),
    (Sequential(ops.relu, Shift()), (4,),
     "Shift at 'shift1' reads an entry 'shift' and has no parameters; give it init(self, key, shape) that returns "
     "(params, state)"),
    (over_examples(lambda params, state, x, key, *, train: (x, state)), (5, 4),
     "over_examples(<lambda>) expects a layer, whose init makes params; got function; make the params of a function "
     "yourself, and pass (params, state, x)"),
    (Sequential(Layer()), (4,), "Layer at 'layer1' has no apply; write apply(self, params, state, x, key, *, train) "
     "that returns (y, state)"),
])
def test_init(layer, shape, words):
    with pytest.raises((ValueError, NotImplementedError), match=re.escape(words)):
        layer.init(KEY, shape)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: NET(PARAMS, {}, jnp.ones((3, 3))), "Dense at 'dense1' expects x of shape (4,); got (9,)"),
    (lambda: NAMED({"body": {"dense1": W}, "head": W}, {}, jnp.ones(4)),
     "Dense at 'head' expects the parameters of Dense(n_out=2, use_bias=True), 2 along axis 0 of weight; "
     "got shape (3, 4)"),
    (lambda: NET(PARAMS, jnp.ones((2, 2))),
     "Sequential expects (params, state, x); got 2 of them; params and state come from init, and state is {} "
     "where there is none: y, state = layer(params, state, x)"),
    (lambda: NET(PARAMS | {"conv1": W}, {}, jnp.ones((2, 2))),
     "Sequential expects params by the names of its parts, ['flatten1', 'dense1', 'relu1', 'dense2']; got keys "
     "['dense1', 'dense2', 'conv1']; make them with init, and pass (params, state, x)"),
    (lambda: NET((W, W2), {}, jnp.ones((2, 2))),
     "'dense2']; got tuple; make them with init, and pass (params, state, x)"),
    (lambda: NET(PARAMS, jnp.ones((2, 2)), PARAMS), "Sequential expects state by the names of its parts"),
    (lambda: NET({"dense1": W}, {}, jnp.ones((2, 2))),
     "Dense at 'dense2' expects params to be {'weight': (n_out, n_in), 'bias': (n_out,) or None}; got keys []"),
    (lambda: NET(PARAMS, {}, jnp.ones((2, 2)), train=1), "Sequential expects train to be True or False; got 1"),
    (lambda: Sequential(ops.relu, Dropout(0.5))({}, {}, jnp.ones(3), train=True),
     "Dropout at 'dropout1' expects a PRNG key; got None; pass key=jax.random.key(seed)"),
    (lambda: over_examples(Dropout(0.5))({}, {}, jnp.ones((2, 3)), train=True),
     "Dropout expects a PRNG key; got None"),
    (lambda: BatchNorm()(*BatchNorm().init(KEY, (3,)), jnp.ones(3), train=True),
     "BatchNorm expects a batch to average over, the axis 'examples'; got one example; wrap the layer in "
     "over_examples"),
    (lambda: over_examples(NET)(PARAMS, {}, jnp.ones((0, 2, 2))),
     "over_examples(Sequential) expects x with a leading axis of at least one example, alike in all leaves; got "
     "(0, 2, 2)"),
    (lambda: over_examples(NET)(PARAMS, {}, jnp.ones(())), "at least one example, alike in all leaves; got ()"),
    (lambda: over_examples(NET)(PARAMS, {}, jnp.ones((2, 2))),
     "over_examples(Sequential) expects x with a leading axis of examples; got one example, of shape (2, 2); give "
     "it that axis, x[None], or call the layer without over_examples (Dense at 'dense1' expects x of shape (4,); got "
     "(2,))"),
    (lambda: over_examples(PICTURES)(KERNEL, {}, jnp.ones((5, 5, 1))),
     "leading axis of examples; got one example, of shape (5, 5, 1); give it that axis, x[None]"),
    (lambda: over_examples(PICTURES)(KERNEL, {}, jnp.ones((2, 5, 5))),
     "Conv at 'conv1' expects x of shape (height, width, 1); got (5, 5); give it an axis of channels: x[..., None]"),
    (lambda: over_examples(Embedding(3, 2))({"table": jnp.ones((3, 2))}, {}, jnp.array([1, 7])),
     "Embedding expects x in 0 .. 2; got"),  # the shape is as it should be
    (lambda: jax.vmap(lambda x: PICTURES(KERNEL, {}, x))(jnp.ones((5, 5, 1))),
     "Conv at 'conv1' expects x of shape (height, width, 1); got (5, 1); an axis is missing in front, under "
     "jax.vmap or over_examples that of the examples: x[None]"),
    (lambda: PICTURES(KERNEL, {}, (jnp.ones((5, 5, 1)),) * 2),
     "Conv at 'conv1' expects x to be an array; got tuple with arrays of shapes (5, 5, 1), (5, 5, 1); pass one of "
     "them, or join them first: jnp.stack(x), jnp.concatenate(x)"),
    (lambda: PICTURES(KERNEL, {}, [jnp.ones((5, 5, 1))]),
     "expects x to be an array; got list with an array of shape (5, 5, 1); pass that array itself"),
    (lambda: over_examples(Sequential(ops.add))({}, {}, (jnp.ones((2, 3)), jnp.ones((3, 3)))), "got ((2, 3), (3, 3))"),
    (lambda: over_examples(over_examples(BatchNorm()))(*BatchNorm().init(KEY, (3,)), jnp.ones((2, 4, 3)), train=True),
     "over_examples(over_examples(BatchNorm)) expects a state that all examples share; got one of each example's own; "
     "take the mean over the axis 'examples', that of the innermost over_examples"),
    (lambda: Dense(3)({"weight": jnp.ones((3, 4))}, {}, jnp.arange(4)), "Dense expects floating-point x; got int32"),
    (lambda: Embedding(5, 2)({"table": jnp.ones((5, 2))}, {}, jnp.asarray([5])), "Embedding expects x in 0 .. 4; got"),
])
def test_call(call, words):
    with pytest.raises(InputError, match=re.escape(words)):
        call()


def test_batch_norm_under_a_vmap_without_the_name():
    """Each example would be a batch of its own."""
    params, state = BatchNorm().init(KEY, (3,))
    one = lambda x: BatchNorm()(params, state, x, train=True)[0]  # noqa: E731
    with pytest.raises(InputError, match="BatchNorm expects a batch to average over, the axis 'examples'"):
        jax.vmap(one)(jnp.ones((4, 3)))
    assert jax.vmap(one, axis_name="examples")(jnp.ones((4, 3))).shape == (4, 3)


PLACE = "Dense at 'dense1' expects x of shape (4,); got (9,)"


@pytest.mark.parametrize("face", ["forward", "reference", "__call__"])
def test_every_face_says_where(face):
    with pytest.raises(InputError, match=re.escape(PLACE)):
        getattr(network(NET), face)(PARAMS, {}, jnp.ones((3, 3)))


def test_errors_under_jit_grad_and_vmap():
    def cost(params, x):
        return jnp.sum(NET(params, {}, x)[0])

    for f in (jax.jit(cost), jax.grad(cost), jax.jit(jax.grad(cost)), jax.checkpoint(cost)):
        with pytest.raises(InputError, match=re.escape(PLACE)):
            f(PARAMS, jnp.ones((3, 3)))
    with pytest.raises(InputError, match=re.escape(PLACE)):
        jax.vmap(cost, (None, 0))(PARAMS, jnp.ones((5, 3, 3)))


def test_a_picture_with_its_channels_first_is_pointed_out():
    """(3, n, n) may be three rows of n channels: it is taken, and a warning tells what is likelier."""
    with pytest.warns(UserWarning, match=r"x of shape \(3, 32, 32\), which is \(height, width, channels\)"):
        Conv(4, (3, 3)).init(jax.random.key(0), (3, 32, 32))
