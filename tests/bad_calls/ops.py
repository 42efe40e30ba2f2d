"""Bad calls of single ops that no table makes: values, ranges, keys, and the mistakes of a first day."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import cell, hand_derived, over_time
from jaxnn.ops import (
    add,
    attention,
    batch_norm,
    batch_norm_inference,
    binary_cross_entropy,
    concatenate,
    conv,
    dense,
    dropout,
    embedding,
    flatten,
    gru,
    huber,
    lstm,
    max_pool,
    relu,
    rnn,
    sigmoid,
    softmax,
    softmax_cross_entropy,
    squared_error,
)
from tests.bad_calls.row import Row

__all__ = ["ROWS"]

W = {"weight": jnp.ones((3, 2)), "bias": jnp.ones(3)}
K = {"kernel": jnp.ones((3, 3, 1, 2))}
T = {"table": jnp.ones((5, 2))}
X, Z = jnp.ones(2), jnp.zeros(4)
IMAGE, BATCH = jnp.ones((4, 4, 1)), jnp.ones((7, 2))
STATE = {"mean": jnp.zeros(2), "variance": jnp.ones(2)}
RNN = {"weight_x": jnp.ones((3, 2)), "weight_h": jnp.ones((3, 3))}
LSTM = {"weight_x": jnp.ones((12, 2)), "weight_h": jnp.ones((12, 3))}
KEY = jax.random.key(0)


def in_step(loss, logits, labels):
    """As a step of training calls a loss: labels are traced."""
    return jax.vmap(loss)(logits, labels)


KEYS = [Row(f"dropout: {kind} as the key", lambda key=key: dropout(X, key, rate=0.5), "PRNG key") for kind, key in {
    "an integer": 0, "a NumPy integer": np.int64(3), "an array of integers": jnp.arange(2), "None": None, "text": "0",
    "a float": 0.5, "three keys": jax.random.split(KEY, 3), "one key in an array": KEY[None], "a seed in a list": [0],
    "three words": jnp.zeros(3, jnp.uint32), "a raw batch of keys": jnp.zeros((3, 2), jnp.uint32), "True": True,
    "a generator of NumPy": np.random.default_rng(0)}.items()]

DENSE = [
    Row("dense: arguments in the wrong order", lambda: dense(X, W), "params"),
    Row("dense: a batch", lambda: dense(W, BATCH), "jax.vmap"),
    Row("dense: sizes, as in PyTorch", lambda: dense(8, 3), "params"),
    Row("dense: one size", lambda: dense(8), "params, x"),
    Row("dense: weight the other way round", lambda: dense({"weight": jnp.ones((2, 3))}, X), "(3,)"),
    Row("dense: a pair (W, b)", lambda: dense((W["weight"], W["bias"]), X), "weight"),
    Row("dense: kernel, as in Flax", lambda: dense({"kernel": jnp.ones((2, 3))}, X), "weight"),
    Row("dense: (params, state), as init returns them", lambda: dense((W, {}), X), "weight"),
    Row("dense: a bias in a column", lambda: dense({"weight": W["weight"], "bias": jnp.ones((3, 1))}, X), "bias"),
    Row("dense: x in a column", lambda: dense(W, X[:, None]), "x"),
    Row("dense: integers as x", lambda: dense(W, np.array([1, 2])), "floating"),
    Row("dense: pixels as x", lambda: dense(W, np.array([1, 2], np.uint8)), "floating"),
    Row("dense: x of another length", lambda: dense(W, jnp.ones(5)), "(2,)"),
    Row("dense: a number as x", lambda: dense(W, 3.0), "(2,)"),
    Row("dense: params under jit as a list", lambda: jax.jit(dense)([W["weight"]], X), "weight"),
    Row("dense: text among params under grad", lambda: jax.grad(lambda x: dense({"weight": "abc"}, x).sum())(X)),
    Row("dense: keyword for x twice", lambda: dense(W, X, x=X)),
]

CONV = [
    Row("conv: a batch of images", lambda: conv(K, jnp.ones((2, 4, 4, 1))), "jax.vmap"),
    Row("conv: channels first", lambda: conv({"kernel": jnp.ones((3, 3, 3, 2))}, jnp.ones((3, 8, 8))),
        "(height, width, 3)"),
    Row("conv: a kernel with its output first", lambda: conv({"kernel": jnp.ones((2, 1, 3, 3))}, IMAGE), "x"),
    Row("conv: a gray image without channels", lambda: conv(K, jnp.ones((4, 4))), "x"),
    Row("conv: weight for kernel", lambda: conv({"weight": K["kernel"]}, IMAGE), "kernel"),
    Row("conv: a window larger than x", lambda: conv(K, jnp.ones((2, 2, 1)), padding="VALID"), "padding"),
    Row("conv: text as stride", lambda: conv(K, IMAGE, stride="SAME"), "stride"),
    Row("conv: padding of 10**9", lambda: conv(K, IMAGE, padding=10**9), "padding"),
    Row("conv: a pair of huge paddings", lambda: conv(K, IMAGE, padding=((0, 10**12), (0, 0))), "padding"),
    Row("conv: a kernel of four axes in space", lambda: conv({"kernel": jnp.ones((1,) * 6)}, jnp.ones((1,) * 5)),
        "kernel"),
    Row("conv: a kernel without space", lambda: conv({"kernel": jnp.ones((1, 1))}, jnp.ones(1)), "kernel"),
    Row("conv: a mask of the image as x", lambda: conv(K, IMAGE > 0), "floating"),
    Row("max_pool: a batch of images with a window for two axes",
        lambda: max_pool(jnp.ones((2, 4, 4, 1)), window=(2, 2)), "jax.vmap"),
    Row("max_pool: window of a huge size, padded", lambda: max_pool(IMAGE, window=10**9, padding="SAME"), "padding"),
    Row("max_pool: two numbers as x", lambda: max_pool(X), "x"),
    Row("max_pool: a window of two axes for a sequence", lambda: max_pool(jnp.ones((8, 3)), window=(2, 2)), "x"),
    Row("max_pool: the window by position", lambda: max_pool(IMAGE, (2, 2)), "window"),
    Row("max_pool: integers as x", lambda: max_pool(jnp.ones((4, 4, 1), int)), "floating"),
    Row("max_pool: padding of 10**9", lambda: max_pool(IMAGE, padding=10**9), "padding"),
]

LABELS = [
    Row("softmax_cross_entropy: a label above the classes", lambda: softmax_cross_entropy(Z, 4), "values from 4 to 4"),
    Row("softmax_cross_entropy: a label below 0", lambda: softmax_cross_entropy(Z, -1), "-1"),
    Row("softmax_cross_entropy: labels from 1", lambda: softmax_cross_entropy(jnp.zeros((4, 4)), jnp.arange(1, 5)),
        "count classes from 0"),
    Row("softmax_cross_entropy: one label out of range under vmap",
        lambda: in_step(softmax_cross_entropy, jnp.zeros((3, 4)), jnp.array([0, 9, 1])), "9"),
    Row("softmax_cross_entropy: one-hot integers", lambda: softmax_cross_entropy(Z, jnp.array([0, 1, 0, 0])), "astype"),
    Row("softmax_cross_entropy: one-hot booleans", lambda: softmax_cross_entropy(Z,
        jnp.array([False, True, False, False])), "integer classes"),
    Row("softmax_cross_entropy: a class as a float", lambda: softmax_cross_entropy(Z, 1.0),
        "convert classes to integers"),
    Row("softmax_cross_entropy: text as label", lambda: softmax_cross_entropy(Z, "cat"), "labels"),
    Row("softmax_cross_entropy: an array of text as labels",
        lambda: softmax_cross_entropy(jnp.zeros((2, 4)), np.array(["cat", "dog"])), "text"),
    Row("softmax_cross_entropy: a list as labels", lambda: softmax_cross_entropy(jnp.zeros((2, 4)), [0, 1]), "labels"),
    Row("softmax_cross_entropy: labels and logits swapped", lambda: softmax_cross_entropy(1, Z), "logits"),
    Row("softmax_cross_entropy: a distribution that sums to 2", lambda: softmax_cross_entropy(Z, jnp.ones(4) / 2),
        "sum to 1"),
    Row("softmax_cross_entropy: logits as labels", lambda: softmax_cross_entropy(Z, jnp.array([-1.0, 0.0, 1.0, 1.0])),
        ">= 0"),
    Row("softmax_cross_entropy: a distribution with NaN", lambda: softmax_cross_entropy(Z, jnp.full(4, jnp.nan)),
        "sum to 1"),
    Row("softmax_cross_entropy: a label above 2^32", lambda: softmax_cross_entropy(Z, np.int64(2**32 + 1)), "int32"),
    Row("softmax_cross_entropy: uint64 labels above 2^63", lambda: softmax_cross_entropy(Z, np.uint64(2**64 - 1)),
        "uint32"),
    Row("softmax_cross_entropy: uint8 labels out of range", lambda: softmax_cross_entropy(Z, np.uint8(255)), "255"),
    Row("softmax_cross_entropy: labels in a column", lambda: softmax_cross_entropy(jnp.zeros((2, 4)),
        jnp.zeros((2, 1), int)), "labels"),
    Row("softmax_cross_entropy: one label for two", lambda: softmax_cross_entropy(jnp.zeros((2, 4)), 1), "labels"),
    Row("softmax_cross_entropy: logits without classes", lambda: softmax_cross_entropy(jnp.zeros((2, 0)),
        jnp.zeros(2, int)), "n_classes"),
    Row("softmax_cross_entropy: complex weights", lambda: softmax_cross_entropy(Z, 1, jnp.ones((), jnp.complex64)),
        "weights"),
    Row("softmax_cross_entropy: weights of another shape", lambda: softmax_cross_entropy(Z, 1, jnp.ones(4)), "weights"),
    Row("softmax_cross_entropy: text as weights", lambda: softmax_cross_entropy(Z, 1, "mean"), "weights"),
    Row("softmax_cross_entropy: integer class weights", lambda: softmax_cross_entropy(Z, 1, None, jnp.ones(4, int)),
        "class_weights"),
    Row("softmax_cross_entropy: class weights of another length",
        lambda: softmax_cross_entropy(Z, 1, None, jnp.ones(3)), "class_weights"),
    Row("softmax_cross_entropy: a list as class weights", lambda: softmax_cross_entropy(Z, 1, None, [1.0] * 4),
        "class_weights"),
    Row("softmax_cross_entropy: an ignored class of a distribution",
        lambda: softmax_cross_entropy(Z, jnp.ones(4) / 4, ignore_label=0), "classes"),
    Row("softmax_cross_entropy: smoothing by position", lambda: softmax_cross_entropy(Z, 1, None, None, 0.1),
        "smoothing"),
    Row("binary_cross_entropy: a label of 2", lambda: binary_cross_entropy(0.0, 2), "[0, 1]"),
    Row("binary_cross_entropy: a label of -1", lambda: binary_cross_entropy(0.0, -1), "[0, 1]"),
    Row("binary_cross_entropy: a label of NaN", lambda: binary_cross_entropy(0.0, jnp.nan), "[0, 1]"),
    Row("binary_cross_entropy: a label of infinity", lambda: binary_cross_entropy(0.0, jnp.inf), "[0, 1]"),
    Row("binary_cross_entropy: one of three labels out of range under vmap",
        lambda: in_step(binary_cross_entropy, jnp.zeros(3), jnp.array([0, 1, 7])), "7"),
    Row("binary_cross_entropy: labels in a row for logits in a column",
        lambda: binary_cross_entropy(jnp.zeros((3, 1)), jnp.zeros(3)), "broadcast"),
    Row("binary_cross_entropy: text as labels", lambda: binary_cross_entropy(jnp.zeros(2), np.array(["yes", "no"])),
        "text"),
    Row("binary_cross_entropy: integer positive_weight", lambda: binary_cross_entropy(0.0, 1, None, 2),
        "positive_weight"),
    Row("binary_cross_entropy: positive_weight of another shape",
        lambda: binary_cross_entropy(X, X, None, jnp.ones(3)), "positive_weight"),
    Row("binary_cross_entropy: integers as logits", lambda: binary_cross_entropy(1, 1), "logits"),
    Row("squared_error: targets in a column", lambda: squared_error(X, X[:, None]), "broadcast"),
    Row("squared_error: one target for two", lambda: squared_error(X, 1.0), "broadcast"),
    Row("squared_error: None as targets", lambda: squared_error(X, None), "targets"),
    Row("squared_error: text as reduction by position", lambda: squared_error(X, X, "mean"), "weights"),
    Row("squared_error: weights of the batch", lambda: squared_error(X, X, jnp.ones(5)), "weights"),
    Row("huber: delta by position", lambda: huber(X, X, 1.0, 0.5), "delta"),
    Row("huber: delta as an array", lambda: huber(X, X, delta=jnp.ones(2)), "delta"),
    Row("huber: reduction none", lambda: huber(X, X, reduction="none"), "axes=()"),
]

SEQUENCES = [
    Row("embedding: floats as x", lambda: embedding(T, jnp.ones(3)), "integer"),
    Row("embedding: booleans as x", lambda: embedding(T, jnp.ones(3, bool)), "integer"),
    Row("embedding: a row above the table", lambda: embedding(T, jnp.array([0, 5])), "values from 0 to 5"),
    Row("embedding: a row of -1", lambda: embedding(T, -1), "-1"),
    Row("embedding: a row above 2^32", lambda: embedding(T, np.array([2**32 + 1])), "int32"),
    Row("embedding: uint64 above 2^63", lambda: embedding(T, np.array([2**63 + 1], np.uint64)), "uint32"),
    Row("embedding: text", lambda: embedding(T, np.array(["the"])), "text"),
    Row("embedding: a list", lambda: embedding(T, [0, 1]), "jnp.asarray"),
    Row("embedding: weight for table", lambda: embedding({"weight": T["table"]}, 0), "table"),
    Row("embedding: arguments in the wrong order", lambda: embedding(0, T), "params"),
    Row("embedding: out of range under vmap", lambda: jax.vmap(lambda i: embedding(T, i))(jnp.array([0, 8])), "8"),
    Row("rnn: an empty sequence", lambda: rnn(RNN, jnp.ones((0, 2))), "at least one"),
    Row("rnn: a batch", lambda: rnn(RNN, jnp.ones((5, 4, 2))), "jax.vmap"),
    Row("rnn: one step", lambda: rnn(RNN, X), "time"),
    Row("rnn: initial of another size", lambda: rnn(RNN, BATCH, jnp.ones(2)), "(3,)"),
    Row("rnn: a pair as initial", lambda: rnn(RNN, BATCH, (jnp.ones(3), jnp.ones(3))), "initial"),
    Row("rnn: a mask of integers", lambda: rnn(RNN, BATCH, None, jnp.ones(7, int)), "bool"),
    Row("rnn: a mask of another length", lambda: rnn(RNN, BATCH, None, jnp.ones(6, bool)), "(7,)"),
    Row("rnn: lengths as the mask", lambda: rnn(RNN, BATCH, None, 5), "mask"),
    Row("rnn: reverse by position", lambda: rnn(RNN, BATCH, None, None, True), "reverse"),
    Row("lstm: h alone as initial", lambda: lstm(LSTM, BATCH, jnp.ones(3)), "initial"),
    Row("lstm: three states as initial", lambda: lstm(LSTM, BATCH, (jnp.ones(3),) * 3), "initial"),
    Row("lstm: a dict as initial", lambda: lstm(LSTM, BATCH, {"h": jnp.ones(3), "c": jnp.ones(3)}), "initial"),
    Row("lstm: None in initial", lambda: lstm(LSTM, BATCH, (jnp.ones(3), None)), "initial"),
    Row("lstm: integers as initial", lambda: lstm(LSTM, BATCH, (jnp.ones(3, int), jnp.ones(3))), "floating"),
    Row("lstm: params of an rnn", lambda: lstm(RNN, BATCH), "weight"),
    Row("lstm: Keras' names", lambda: lstm({"kernel": 1, "recurrent_kernel": 1, "bias": 1}, BATCH), "weight_x"),
    Row("lstm: PyTorch's two biases", lambda: lstm(LSTM | {"bias_ih": jnp.ones(12), "bias_hh": jnp.ones(12)}, BATCH),
        "weight_x"),
    Row("gru: params of an lstm", lambda: gru(LSTM, BATCH), "weight_h"),
    Row("attention: True for causal by position", lambda: attention(BATCH, BATCH, BATCH, True), "mask"),
    Row("attention: a mask of floats", lambda: attention(BATCH, BATCH, BATCH, jnp.zeros((7, 7))), "bool"),
    Row("attention: a mask of integers", lambda: attention(BATCH, BATCH, BATCH, jnp.ones((7, 7), int)), "bool"),
    Row("attention: a mask over keys alone", lambda: attention(BATCH, BATCH, BATCH, jnp.ones(7, bool)), "mask"),
    Row("attention: causal no", lambda: attention(BATCH, BATCH, BATCH, causal="no"), "causal"),
    Row("attention: heads", lambda: attention(*[jnp.ones((2, 7, 2))] * 3), "jax.vmap"),
    Row("attention: causal with fewer keys", lambda: attention(BATCH, BATCH[:3], BATCH[:3], causal=True), "causal"),
    Row("attention: PyTorch's is_causal", lambda: attention(BATCH, BATCH, BATCH, is_causal=True), "is_causal"),
    Row("attention: lengths of a batch", lambda: attention(BATCH, BATCH, BATCH, length=jnp.array([3, 4])), "jax.vmap"),
    Row("attention: dropout without a key", lambda: attention(BATCH, BATCH, BATCH, rate=0.5), "key"),
    Row("attention: no queries", lambda: attention(BATCH[:0], BATCH, BATCH), "at least one"),
    Row("attention: no keys", lambda: attention(BATCH, BATCH[:0], BATCH[:0]), "at least one"),
    Row("attention: no dimensions", lambda: attention(BATCH[:, :0], BATCH[:, :0], BATCH), "at least one"),
    Row("attention: one array", lambda: attention(BATCH), "q, k, v"),
]

OTHERS = [
    Row("add: an array", lambda: add(BATCH), "tuple"),
    Row("add: arrays one by one", lambda: add(X, X), "x"),
    Row("add: a dict", lambda: add({"a": X, "b": X}), "tuple"),
    Row("add: nothing", lambda: add(()), "got []"),
    Row("add: shapes that would broadcast", lambda: add((X, jnp.ones(1))), "one shape"),
    Row("add: None in the tuple", lambda: add((X, None)), "x"),
    Row("concatenate: an array", lambda: concatenate(BATCH), "tuple"),
    Row("concatenate: nothing", lambda: concatenate([]), "got []"),
    Row("concatenate: numbers", lambda: concatenate((1.0, 2.0)), "axis"),
    Row("concatenate: another rank", lambda: concatenate((X, BATCH)), "alike"),
    Row("concatenate: the axis by position", lambda: concatenate((X, X), 0), "axis"),
    Row("softmax: no axis", lambda: softmax(1.0), "n_classes"),
    Row("softmax: no classes", lambda: softmax(jnp.zeros((2, 0))), "n_classes"),
    Row("softmax: the axis by position", lambda: softmax(BATCH, 0), "axis"),
    Row("softmax: counts", lambda: softmax(jnp.arange(3)), "floating"),
    Row("relu: inplace, as in PyTorch", lambda: relu(X, inplace=True), "inplace"),
    Row("sigmoid: two arguments", lambda: sigmoid(X, X), "x"),
    Row("relu: a tuple of arrays", lambda: relu((X, X)), "x"),
    Row("flatten: a tuple of arrays", lambda: flatten((X, X)), "x"),
    Row("flatten: start_dim, as in PyTorch", lambda: flatten(X, start_dim=1), "start_dim"),
    Row("batch_norm: one example", lambda: batch_norm({}, STATE, X), "over_examples"),
    Row("batch_norm: an axis of another name", lambda: jax.vmap(lambda x: batch_norm({}, STATE, x)[0],
                                                                axis_name="batch")(BATCH), "examples"),
    Row("batch_norm: params and x swapped", lambda: batch_norm(X, STATE, {}), "x"),
    Row("batch_norm: state left out", lambda: batch_norm({}, X), "x"),
    Row("batch_norm: a scalar", lambda: batch_norm({}, STATE, 1.0), "channels"),
    Row("batch_norm_inference: PyTorch's names", lambda: batch_norm_inference({"weight": X, "bias": X}, STATE, X),
        "scale"),
    Row("batch_norm_inference: running_mean", lambda: batch_norm_inference({}, {"running_mean": X, "running_var": X},
        X), "mean"),
    Row("batch_norm_inference: state None", lambda: batch_norm_inference({}, None, X), "state"),
    Row("batch_norm_inference: train", lambda: batch_norm_inference({}, STATE, X, train=True), "train"),
    Row("dropout: rate left out", lambda: dropout(X, KEY), "rate"),
    Row("dropout: rate by position", lambda: dropout(X, KEY, 0.5), "rate"),
    Row("dropout: keep_prob", lambda: dropout(X, KEY, keep_prob=0.5), "keep_prob"),
    Row("dropout: rate as an array", lambda: dropout(X, KEY, rate=jnp.ones(2)), "rate"),
    Row("dropout: x and key swapped", lambda: dropout(KEY, X, rate=0.5), "x"),
    Row("dropout: train", lambda: dropout(X, KEY, rate=0.5, train=False), "train"),
    Row("backward: the cache of another op", lambda: dense.backward(relu.forward(X)[1], X), "cache"),
    Row("backward: dy of another shape", lambda: dense.backward(dense.forward(W, X)[1], jnp.ones(5)), "dy"),
    Row("backward: dy None", lambda: conv.backward(conv.forward(K, IMAGE)[1], None), "dy"),
    Row("backward: text as dy", lambda: sigmoid.backward(sigmoid.forward(X)[1], "abc"), "dy"),
    Row("forward: no argument", lambda: relu.forward(), "x"),
    Row("reference: a list", lambda: relu.reference([1.0]), "x"),
    Row("hand_derived: *args", lambda: hand_derived(lambda *args: (args, args)), "name each argument"),
    Row("hand_derived: a number", lambda: hand_derived(3)),
    Row("hand_derived: no_gradient of no argument", lambda: hand_derived(lambda x: (x, x), no_gradient=["y"]),
        "its arguments are (x)"),
    Row("hand_derived: no backward pass", lambda: hand_derived(lambda x: (x, x))(X), "defbackward"),
    Row("hand_derived: backward of three arguments", lambda: hand_derived(lambda x: (x, x)).defbackward(lambda a, b,
        c: a)),
    Row("hand_derived: forward without a cache", lambda: _op(lambda x: x)(X)),
    Row("cell: no weight_x", lambda: cell(state="h", params={"weight": "n_hidden n_in"}), "weight_x"),
    Row("cell: no backward pass", lambda: over_time(_cell_without_backward()), "defbackward"),
    Row("over_time: an op", lambda: over_time(relu)),
]


def _op(forward):
    op = hand_derived(forward)
    op.defbackward(lambda cache, dy: (dy,))
    return op


def _cell_without_backward():
    return cell(state="h", params={"weight_x": "n_hidden n_in", "weight_h": "n_hidden n_hidden"})(
        lambda params, h, z: (h + z, ()))


ROWS = [*KEYS, *DENSE, *CONV, *LABELS, *SEQUENCES, *OTHERS]
