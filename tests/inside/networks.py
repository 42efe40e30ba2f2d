"""Networks of one example, of every kind of op, with their batches; and the gradients of all examples."""


import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GroupNorm,
    LayerNorm,
    Parallel,
    Residual,
    Sequential,
    Static,
    hand_derived,
    network,
    ops,
    over_examples,
    per_example,
)
from jaxnn.layers import Layer

KEY = jax.random.key(7)


@hand_derived
def scaled(params, x, key):
    """An op without a rule, with an unused parameter, a key in its cache and one weight for all of x."""
    noise = jax.random.uniform(key, x.shape)
    return jnp.sin(params["scale"] * x) * noise, (params["scale"], params["unused"], x, key)


@scaled.defbackward
def scaled_backward(cache, dy):
    scale, unused, x, key = cache
    slope = dy * jnp.cos(scale * x) * jax.random.uniform(key, x.shape)
    return {"scale": jnp.sum(slope * x), "unused": jnp.zeros_like(unused)}, slope * scale, None


@hand_derived
def fixed(x):
    """Four positions of x's size that do not depend on x, as codes of positions do not."""
    return jnp.cos(jnp.arange(4.0)[:, None] + jnp.arange(x.size)), Static(x.size)


fixed.defbackward(lambda n, dy: (jnp.zeros(n.value),))


@hand_derived
def centred(x):
    """Takes the batch's mean from x: an op of a user's own that mixes the examples."""
    return x - jax.lax.pmean(x, "examples"), ()


centred.defbackward(lambda cache, dy: (jax.lax.scan(  # hidden in a scan, where it is found all the same
    lambda carry, d: (carry, d - jax.lax.pmean(d, "examples")), 0, dy)[1],))


class Scaled(Layer):
    def init(self, key, shape):
        return {"scale": jnp.asarray(0.7), "unused": jnp.ones(3)}, {}

    def apply(self, params, state, x, key, *, train):
        return scaled(params, x, key), state


@hand_derived(no_gradient=("x",))
def rounded(x):
    """Integers from numbers: no gradient flows back through it."""
    return (x > 0).astype(jnp.int32), ()


rounded.defbackward(lambda cache, dy: (None,))


def last(loss=ops.squared_error):
    """A loss of any y: its distance to labels of the same shape, here made from integers."""
    return lambda y, label: loss(y, jnp.cos(label + jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))


LOSS = last()

# (network, shape of one x); of a network over words x are integers below 5.
NETWORKS = {
    "dense": (Dense(3), (4,)),
    "dense without bias": (Dense(3, use_bias=False), (4,)),
    "dense over few positions": (over_examples(Dense(5)), (2, 7)),
    "dense over many positions": (over_examples(Dense(2)), (9, 3)),
    "dense over positions of positions": (over_examples(over_examples(Dense(2))), (2, 3, 4)),
    "dense in a deep network": (Sequential(Dense(5), ops.tanh, Residual(Dense(5)), ops.gelu, Dense(2)), (4,)),
    "named parts, side by side": (Sequential(both=Parallel(a=Dense(2), b=Sequential(Dense(3), ops.relu)),
                                             join=ops.concatenate, head=Dense(2)), (4,)),
    "conv, many positions": (Conv(2, (3, 3), stride=2), (7, 8, 1)),
    "conv, few positions": (Conv(6, (2, 3), padding="VALID"), (3, 4, 5)),
    "conv without bias, padded": (Conv(3, (2, 2), (1, 2), ((2, 0), 1), use_bias=False), (3, 4, 2)),
    "conv that leaves a rest": (Conv(3, (2, 2), stride=3, padding="VALID"), (6, 7, 2)),
    "conv, dilated and cropping": (Conv(3, (2, 2), dilation=(2, 1), stride=2, padding=((1, 1), (-1, 0))), (6, 7, 2)),
    "conv in groups": (Conv(4, (2, 2), groups=2), (4, 3, 4)),
    "conv of each channel": (Conv(6, (3, 2), groups=3, stride=2), (5, 4, 3)),
    "conv, transposed, and norms": (
        Sequential(ConvTranspose(4, (2, 2), stride=2), LayerNorm(), GroupNorm(2)), (2, 3, 2)),
    "conv of one axis": (Conv(3, (3,)), (6, 2)),
    "conv of three axes": (Conv(2, (2, 2, 2)), (3, 2, 3, 2)),
    "conv over frames": (over_examples(Conv(4, (2, 2))), (3, 2, 2, 3)),
    "a small image network": (
        Sequential(Conv(4, (3, 3), stride=2), ops.relu, Conv(8, (3, 3)), Flatten(), Dense(3)), (5, 6, 2)),
    "embedding, rows that occur twice": (Embedding(5, 3), (8,)),
    "embedding, a table of integers": (Embedding(5, 3), (2, 4)),
    "embedding over sentences": (over_examples(Embedding(5, 2)), (3, 4)),
    "embedding of one integer": (Embedding(5, 3), ()),
    "lstm": (LSTM(3), (5, 2)),
    "rnn, last state": (RNN(3, return_sequence=False), (5, 2)),
    "gru": (GRU(3), (5, 2)),
    "gru, few steps": (GRU(6), (2, 7)),
    "gru, reset after": (GRU(3, reset_after=True), (5, 2)),
    "lstm, few steps": (LSTM(6), (2, 7)),
    "lstm, last state": (LSTM(3, return_sequence=False), (5, 2)),
    "lstm over sentences": (over_examples(LSTM(2)), (3, 4, 2)),
    "a text network": (Sequential(
        Embedding(5, 3), over_examples(Dense(4)), LSTM(3), LSTM(2, return_sequence=False), Dense(2)), (6,)),
    "batch norm at inference": (Sequential(Dense(4), BatchNorm(), Dense(2)), (3,)),
    "an op without a rule": (Sequential(Dense(4), Scaled(), Dense(2)), (3,)),
    "an op without a rule, over positions": (over_examples(Sequential(Dense(2), Scaled())), (3, 4)),
    "dropout": (Sequential(
        Dense(6), Dropout(0.5), Residual(Sequential(Dense(6), Dropout(0.3))), Dense(2)), (4,)),
    "positions alike in all examples": (Sequential(fixed, over_examples(Dense(2))), (3,)),
    "no gradient reaches the first": (Sequential(
        Dense(4), rounded, Embedding(2, 3), Flatten(), Dense(2)), (3,)),
}
INTEGERS = [name for name in NETWORKS if "embedding" in name or "text" in name]


def batch_of(net, shape, n, name="", seed=0):
    """(params, state, x, labels) of a batch of n, from NumPy: each initializer would be compiled."""
    rng = np.random.default_rng(seed)
    params, state = jax.eval_shape(lambda key: net.init(key, shape), jax.random.key(seed))
    params = jax.tree.map(lambda p: rng.standard_normal(p.shape, np.float32) / 2, params)
    state = jax.tree.map(lambda s: rng.uniform(0.5, 2, s.shape).astype(np.float32), state)
    is_integer = name in INTEGERS
    x = rng.integers(0, 5, (n, *shape)) if is_integer else rng.standard_normal((n, *shape), np.float32)
    return params, state, jnp.asarray(x, jnp.int32 if is_integer else None), jnp.arange(n)


def all_gradients(net, loss, params, state, x, labels, key, train):
    """g_b by `vmap(grad)` of the reference, with the keys that `over_examples` gives."""
    def cost(params, x, label, key):
        return loss(network(net).reference(params, state, x, key, train=train)[0], label)

    keys = jax.random.split(key, len(labels))
    return jax.vmap(jax.grad(cost, allow_int=True), (None, 0, 0, 0))(params, x, labels, keys)


def flat(grads):
    """(B, all parameters)."""
    return np.concatenate([np.reshape(g, (len(g), -1)) for g in jax.tree.leaves(grads)], 1)


def norm(g):
    return np.sqrt(np.sum(np.reshape(g, (len(g), -1)) ** 2, 1))


def statistics_of(net, loss, **mode):
    """`per_example`, compiled."""
    return jax.jit(lambda *args: per_example(net, loss, *args, **mode))
