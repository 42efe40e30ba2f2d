"""Per-example norms, their statistics and the clipped sum, each against `vmap(grad)` of the plain forward;
what memory they take; and what is refused."""

import functools
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    InputError,
    Parallel,
    Residual,
    Sequential,
    Static,
    clipped_gradient_sum,
    hand_derived,
    network,
    ops,
    over_examples,
    per_example,
)
from jaxnn.inside import factors
from jaxnn.inside.factor_rules import recurrent_factors
from jaxnn.layers import Layer
from tests.compare import AS_USERS_COMPILE, QUICKLY, assert_close, units

KEY = jax.random.key(7)
per_example_module = importlib.import_module("jaxnn.inside.per_example")  # the package has its function by this name


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


def quickly(f):
    return jax.jit(f, compiler_options=QUICKLY)


def statistics_of(net, loss, **mode):
    """`per_example`, compiled quickly."""
    return quickly(lambda *args: per_example(net, loss, *args, **mode))


@pytest.mark.parametrize("name", NETWORKS)
def test_against_all_gradients(name):
    net, shape = NETWORKS[name]
    n, train = 5, name != "batch norm at inference"
    params, state, x, labels = batch_of(net, shape, n, name)

    @quickly
    def program(params, state, x, labels, key):
        wanted = all_gradients(net, LOSS, params, state, x, labels, key, train)
        got = per_example(net, LOSS, params, state, x, labels, key, train=train)
        max_norm = jnp.median(got.norms)  # clips some and not others
        clipped = clipped_gradient_sum(net, LOSS, params, state, x, labels, max_norm, key, train=train)
        y, _ = network(over_examples(net)).reference(params, state, x, key, train=train)
        return wanted, jax.vmap(LOSS)(y, labels), got, max_norm, clipped

    wanted, losses, got, max_norm, clipped = jax.device_get(program(params, state, x, labels, KEY))
    assert_close(got.leaf_norms, jax.tree.map(norm, wanted), 32)
    assert_close(got.norms, norm(flat(wanted)), 32)
    assert_close(got.gradient, jax.tree.map(lambda g: np.mean(g, 0), wanted), 32)
    assert_close(got.variance, np.sum(np.var(flat(wanted), 0, ddof=1)), 64)
    assert_close(got.losses, losses)

    scales = np.minimum(1, max_norm / norm(flat(wanted)))
    assert 0 < np.sum(clipped.scales < 1) < n
    assert_close(clipped.scales, scales, 32)
    assert_close(clipped.gradient_sum, jax.tree.map(lambda g: np.tensordot(scales, g, 1), wanted), 64)
    assert_close((clipped.norms, clipped.losses), (got.norms, got.losses))


@functools.cache
def norms_at_once(name):
    net, shape = NETWORKS[name]
    return statistics_of(net, LOSS)(*batch_of(net, shape, 5, name), KEY).leaf_norms


@pytest.mark.parametrize("name", ["dense over many positions", "conv over frames", "embedding over sentences",
                                  "an op without a rule"])
@pytest.mark.parametrize("n_bytes", [1, 80, 400])
def test_examples_in_turns(name, n_bytes, monkeypatch):
    net, shape = NETWORKS[name]
    args = batch_of(net, shape, 5, name)
    at_once = norms_at_once(name)
    monkeypatch.setattr(per_example_module, "TURN_BYTES", n_bytes)
    # The cost is a new one, of which JAX remembers nothing.
    loss = last()
    turns = jax.jit(lambda *args: per_example(net, loss, *args)).lower(*args, KEY)
    assert "while" in turns.as_text() or n_bytes > 1
    assert_close(turns.compile(QUICKLY)(*args, KEY).leaf_norms, at_once, 32)


def test_rule_of_the_lstm_that_starts_anywhere():
    """A first state gets a gradient too."""
    rng = np.random.default_rng(0)
    array = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    params = {"weight_x": array(12, 2), "weight_h": array(12, 3), "bias": array(12)}
    x, initial, dy = array(4, 2), (array(3), array(3)), (array(4, 3), (array(3), array(3)))

    @quickly
    def program(params, x, initial, dy):
        _, cache = ops.lstm.forward(params, x, initial)
        found, others = recurrent_factors(cache, dy)
        dparams, *wanted_others = ops.lstm.backward(cache, dy)
        return ({k: f.squared() for k, f in found.items()}, others), (
            {k: jnp.sum(g * g) for k, g in dparams.items()}, tuple(wanted_others))

    (squares, others), (wanted, wanted_others) = program(params, x, initial, dy)
    assert_close(squares, wanted)
    assert_close(others, wanted_others)


@pytest.mark.parametrize(("places", "m", "n"), [(1, 4, 3), (2, 9, 8), (20, 3, 4), (4, 1, 6)])
def test_outer_products_by_each_of_three_ways(places, m, n):
    rng = np.random.default_rng(places)
    a, b = rng.standard_normal((places, m)), rng.standard_normal((places, n))
    outer = factors.Outer(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    assert float(quickly(lambda outer: outer.squared())(outer)) == pytest.approx(np.sum((a.T @ b) ** 2), rel=1e-5)
    ways = {(1, 4, 3): 0, (2, 9, 8): 8, (20, 3, 4): 12, (4, 1, 6): 6}  # numbers held: none, two Grams, G, G
    assert outer.size == ways[places, m, n]


def test_gram_matrices_of_a_zero():
    """Two places that cancel: rounding must not leave a root of a negative number."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 40)), rng.standard_normal((2, 50))
    a[1], b[1] = a[0], -b[0]
    outer = factors.Outer(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    assert 0 <= float(quickly(lambda outer: outer.squared())(outer)) < 1e-3


def test_rows_beyond_the_table_move_nothing():
    """Their values are NaN, and no gradient: as in the op's own backward pass."""
    params, x = {"table": jnp.ones((3, 2))}, jnp.array([[0, 7], [1, 1], [-1, -1]])
    loss = lambda y, label: jnp.sum(jnp.nan_to_num(y) ** 2)  # noqa: E731
    got = per_example(ops.embedding, loss, params, {}, x, jnp.zeros(3))
    grads = jax.jit(jax.vmap(jax.grad(lambda p, x: loss(ops.embedding(p, x), 0)), (None, 0)))(params, x)
    assert_close(got.norms, norm(np.asarray(grads["table"])))
    assert got.norms.tolist() == pytest.approx([8**0.5, 32**0.5, 0])


# Functions without layers: of (params, x), or with a key.


def tied(params, x):
    """A weight that is read twice, and once more transposed, as a part of another op's params."""
    code = ops.tanh(ops.dense(params, x))
    return ops.dense({"weight": params["weight"].T}, ops.tanh(ops.dense(params, x + code[:4] / 2)))


def in_a_scan(params, x):
    """The weight of the step has a gradient summed over time; that of the head one op alone reads."""
    def step(h, x_t):
        h = ops.tanh(ops.dense(params["step"], jnp.concatenate([h, x_t])))
        return h, h

    last, _ = jax.lax.scan(step, jnp.zeros(3), x)
    return ops.dense(params["head"], last)


def over_positions(params, x):
    """vmap inside of an example: over the rows with one weight, over the columns with a weight for each."""
    rows = jax.vmap(lambda row: ops.relu(ops.dense(params["shared"], row)))(x)
    columns = jax.vmap(ops.dense, (0, 1))(params["own"], x)
    return jnp.concatenate([rows.ravel(), columns.ravel()])


def recomputed(params, x):
    """A weight inside of a checkpoint, and one of which a slice alone is read."""
    h = jax.checkpoint(lambda params, x: ops.gelu(ops.dense(params, x)))(params["first"], x)
    return ops.dense({"weight": params["all"][1:]}, h)


def noisy(params, x, key):
    return ops.dropout(ops.dense(params, x), key, rate=0.5)


def weights(n_in, n_out):
    return {"weight": (n_out, n_in), "bias": (n_out,)}


FUNCTIONS = {  # (function, shapes of params, shape of x, how many leaves have their gradient in factors)
    "tied weights": (tied, weights(4, 5), (4,), 0),
    "in a scan": (in_a_scan, {"step": weights(5, 3), "head": weights(3, 2)}, (6, 2), 2),
    "vmap inside of an example": (
        over_positions, {"shared": weights(3, 4), "own": {"weight": (3, 2, 4), "bias": (3, 2)}}, (4, 3), 2),
    "in a checkpoint, and in part": (recomputed, {"first": weights(3, 4), "all": (3, 4)}, (3,), 0),
    "with a key": (noisy, weights(3, 8), (3,), 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_without_layers(name):
    f, shapes, shape, n_factored = FUNCTIONS[name]
    rng = np.random.default_rng(1)
    array = lambda shape: rng.standard_normal(shape, np.float32) / 2  # noqa: E731
    params = jax.tree.map(array, shapes, is_leaf=lambda s: isinstance(s, tuple))
    x, labels = array((5, *shape)), jnp.arange(5)
    has_key = name == "with a key"

    @quickly
    def program(params, x, labels, key):
        got = per_example(f, LOSS, params, {}, x, labels, key)
        clipped = clipped_gradient_sum(f, LOSS, params, {}, x, labels, jnp.median(got.norms), key)

        def cost(params, x, label, key):
            return LOSS(network(f).reference(params, x, *[key] * has_key), label)

        wanted = jax.vmap(jax.value_and_grad(cost), (None, 0, 0, 0))(params, x, labels, jax.random.split(key, 5))
        return got, clipped, wanted

    got, clipped, (losses, wanted) = jax.device_get(program(params, x, labels, KEY))
    assert_close(got.losses, losses)
    assert_close(got.leaf_norms, jax.tree.map(norm, wanted), 32)
    assert_close(got.gradient, jax.tree.map(lambda g: np.mean(g, 0), wanted), 32)
    scales = np.minimum(1, np.median(norm(flat(wanted))) / norm(flat(wanted)))
    assert_close(clipped.gradient_sum, jax.tree.map(lambda g: np.tensordot(scales, g, 1), wanted), 64)
    cost = per_example_module._cost_of("per_example", f, LOSS, {})
    passes = per_example_module._Passes("per_example", cost, params, {}, x, labels, KEY)
    assert len(passes.factored) == n_factored


# The statistics.


def test_signal_and_variance_are_unbiased():
    """g_b = x_b with x ~ N(μ, σ² I): |G|² = ‖μ‖², the covariance has trace d σ²; 4,000 batches of 3."""
    d, sigma, n_batches = 4, 2.0, 4000
    mean = jnp.array([1.0, 0.0, -1.0, 0.5])
    x = mean + sigma * jax.random.normal(jax.random.key(0), (n_batches, 3, d))
    params = {"weight": jnp.zeros((1, d))}
    statistics = jax.jit(jax.vmap(
        lambda x: per_example(ops.dense, lambda y, label: y[0], params, {}, x, jnp.zeros(3))[4:6]))
    variance, signal = statistics(x)
    for got, wanted in ((variance, d * sigma**2), (signal, jnp.sum(mean**2))):
        error = float(np.std(got)) / n_batches**0.5
        assert abs(float(np.mean(got)) - wanted) < 4 * error
        assert error < 0.1 * wanted


def test_noise_scale():
    """Of two gradients 3 and 1: ḡ = 2, S = 2, |G|² ≈ 4 - 2/2 = 3; of 1 and -1 the signal is lost."""
    linear = lambda y, label: y[0]  # noqa: E731
    of = lambda *x: per_example(ops.dense, linear, {"weight": jnp.zeros((1, 1))}, {},  # noqa: E731
                                jnp.array(x)[:, None], jnp.zeros(len(x)))
    got = of(3.0, 1.0)
    assert [float(v) for v in got[4:]] == pytest.approx([2, 3, 2 / 3])
    got = of(1.0, -1.0)
    assert (float(got.variance), float(got.signal), float(got.noise_scale)) == (2, -1, np.inf)
    got = of(3.0, 3.0, 3.0)
    assert (float(got.variance), float(got.signal), float(got.noise_scale)) == (0, 9, 0)


def test_the_hardest():
    params = {"weight": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}
    x = jnp.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    got = per_example(ops.dense, ops.squared_error, params, {}, x, jnp.ones((3, 1)))
    indices, norms = got.hardest(2)
    assert indices.tolist() == [1, 2]
    assert norms.tolist() == pytest.approx([2 * 26**0.5, 2 * 2**0.5])


# Edges.


def test_a_batch_of_one():
    net = Dense(3)
    args = batch_of(net, (4,), 1)
    got = per_example(net, LOSS, *args)
    assert_close(got.norms, norm(flat(jax.tree.map(lambda g: np.asarray(g)[None], got.gradient))))
    assert all(np.isnan(v) for v in (got.variance, got.signal))


def test_zero_gradients():
    net = Sequential(Dense(3), ops.relu, Dense(2))
    params, state, x, labels = batch_of(net, (4,), 3)
    dead = {"weight": jnp.zeros((3, 4)), "bias": -jnp.ones(3)}
    params = {"dense1": dead, "dense2": params["dense2"] | {"bias": jnp.ones(2)}}
    loss = lambda y, label: jnp.where(label == 0, 0, jnp.sum(y**2))  # noqa: E731
    got = per_example(net, loss, params, state, x, labels)
    assert got.leaf_norms["dense1"]["weight"].tolist() == [0, 0, 0]
    assert float(got.norms[0]) == 0 < float(got.norms[1])
    clipped = clipped_gradient_sum(net, loss, params, state, x, labels, 1e-3)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(clipped.gradient_sum))
    assert float(clipped.scales[0]) == 1


def test_a_clipped_batch_has_no_longer_gradient():
    """Copies of one example: the sum is B times max_norm long."""
    net = Dense(3)
    params, state, x, _ = batch_of(net, (4,), 1)
    x, labels = np.repeat(x, 6, 0), np.zeros(6, np.float32)
    clipped = clipped_gradient_sum(net, LOSS, params, state, x, labels, 0.25)
    total = jax.tree.map(lambda g: np.asarray(g)[None], clipped.gradient_sum)
    assert float(norm(flat(total))[0]) == pytest.approx(1.5)


def test_an_example_that_is_not_finite_stays_alone():
    net = Sequential(Dense(3), ops.tanh, Dense(2))
    params, state, x, labels = batch_of(net, (4,), 4)
    clean = per_example(net, LOSS, params, state, x, labels)
    got = per_example(net, LOSS, params, state, x.at[2].set(jnp.nan), labels)
    others = [0, 1, 3]
    assert np.isnan(got.norms[2])
    assert_close(np.asarray(got.norms)[others], np.asarray(clean.norms)[others])


def test_positions_of_an_example_may_be_mixed():
    """Their mean is that of one example, and goes over the nearest "examples"."""
    net = Sequential(over_examples(Sequential(Dense(3), centred, ops.relu, Dense(2))), Flatten(), Dense(2))
    args = batch_of(net, (4, 3), 5)
    wanted = quickly(lambda *args: all_gradients(net, LOSS, *args, KEY, True))(*args)
    got = statistics_of(net, LOSS, train=True)(*args)
    assert_close(got.leaf_norms, jax.tree.map(norm, wanted), 64)
    assert_close(got.gradient, jax.tree.map(lambda g: np.mean(g, 0), wanted), 64)


@functools.cache
def norms_in_float32(name):
    net, shape = NETWORKS[name]
    return statistics_of(net, LOSS)(*batch_of(net, shape, 4, name)).norms


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["dense", "dense over few positions", "conv, few positions", "lstm",
                                  "embedding, rows that occur twice"])
def test_half_precision_is_summed_in_float32(dtype, name):
    net, shape = NETWORKS[name]
    params, state, x, labels = batch_of(net, shape, 4, name)
    half = lambda tree: jax.tree.map(  # noqa: E731
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)
    got = statistics_of(net, LOSS)(half(params), state, half(x), labels)
    assert {leaf.dtype for leaf in jax.tree.leaves((got.norms, got.leaf_norms, got.variance))} == {
        jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(got.gradient)} == {jnp.dtype(dtype)}
    assert_close(got.norms.astype(dtype), norms_in_float32(name).astype(dtype), 8)


def test_many_small_terms_in_bfloat16():
    """Σ of 4,096 equal squares, of which bfloat16 by itself loses all but the first 256."""
    params = {"weight": jnp.zeros((1, 4096), jnp.bfloat16)}
    x = jnp.ones((2, 4096), jnp.bfloat16)
    got = per_example(ops.dense, lambda y, label: y[0], params, {}, x, jnp.zeros(2))
    assert got.norms.tolist() == [64, 64]


def test_under_jit_vmap_and_grad():
    net = Sequential(Dense(3), ops.tanh, Dense(2))
    params, state, x, labels = batch_of(net, (4,), 6)
    plain = per_example(net, LOSS, params, state, x, labels)
    assert_close(quickly(functools.partial(per_example, net, LOSS))(params, state, x, labels), plain)
    two = quickly(jax.vmap(lambda x, labels: per_example(net, LOSS, params, state, x, labels).norms))
    assert_close(np.ravel(two(x.reshape(2, 3, 4), labels.reshape(2, 3))), np.asarray(plain.norms))
    clip = lambda params, c: clipped_gradient_sum(net, LOSS, params, state, x, labels, c)  # noqa: E731
    assert_close(quickly(clip)(params, 0.5), clip(params, 0.5))
    penalty = quickly(jax.value_and_grad(
        lambda p: jnp.sum(per_example(net, LOSS, p, state, x, labels).norms ** 2)))
    slope = sum(np.sum(g) for g in jax.tree.leaves(penalty(params)[1]))
    h = 1e-2
    shifted = lambda s: penalty(jax.tree.map(lambda p: p + np.float32(s), params))[0]  # noqa: E731
    assert float(slope) == pytest.approx(float(shifted(h) - shifted(-h)) / (2 * h), rel=2e-2)


# Memory: the point of it all.


def test_no_gradient_of_a_single_example_is_formed():
    n, n_in, n_hidden = 32, 96, 128
    net = Sequential(Dense(n_hidden), ops.relu, Dense(n_hidden), ops.relu, Dense(10))
    params, state, x, labels = batch_of(net, (n_in,), n)
    labels = labels % 10

    def plain(params):
        logits, _ = over_examples(net)(params, state, x)
        return jnp.mean(jax.vmap(ops.softmax_cross_entropy)(logits, labels))

    def compiled(f):
        return jax.jit(f).lower(params).compile(AS_USERS_COMPILE)

    def sizes(program):
        shapes = re.findall(r"f32\[([\d,]+)\]", program.as_text())
        return [int(np.prod([int(d) for d in shape.split(",")])) for shape in shapes]

    def by_vmap(params):
        grad = jax.grad(lambda p, x, label: ops.softmax_cross_entropy(net(p, state, x)[0], label))
        return jax.vmap(grad, (None, 0, 0))(params, x, labels)

    loss = ops.softmax_cross_entropy
    ours = compiled(lambda params: per_example(net, loss, params, state, x, labels))
    clip = compiled(lambda params: clipped_gradient_sum(net, loss, params, state, x, labels, 1.0))
    baseline = compiled(jax.grad(plain))
    assert max(sizes(compiled(by_vmap))) == n * n_hidden * n_hidden  # what the test would see
    for program in (ours, clip):
        assert max(sizes(program)) == n_hidden * n_hidden  # a weight, and its gradient over the batch
        extra = program.memory_analysis().temp_size_in_bytes - baseline.memory_analysis().temp_size_in_bytes
        assert extra < 4 * n * (n_in + 2 * n_hidden)  # less than the activations


# Refusals.


@pytest.mark.parametrize(("net", "who"), [
    (Sequential(Dense(3), Residual(Sequential(BatchNorm(), ops.relu)), Dense(2)),
     "batch_norm at 'residual1/body/batchnorm1'"),
    (Sequential(Dense(3), centred, Dense(2)), "centred at 'centred1'"),
])
def test_mixed_examples_are_refused(net, who):
    args = batch_of(net, (4,), 3)
    words = (f"{who} mixes the examples of a batch, so that no example has a gradient of its own; use it "
             "with train=False, or normalize within each example")
    for call in (per_example, lambda *args, **mode: clipped_gradient_sum(*args, 1.0, **mode)):
        with pytest.raises(InputError) as caught:
            call(net, LOSS, *args, train=True)
        assert str(caught.value) == words


ARGS = batch_of(Dense(3), (4,), 3)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: per_example(Dense(3), LOSS, *ARGS[:3], jnp.arange(2)),
     "per_example expects x and labels with a leading axis of as many examples, at least one; "
     "got shapes [(3, 4)] and [(2,)]"),
    (lambda: clipped_gradient_sum(Dense(3), LOSS, *ARGS[:3], 1, 1.0),
     "clipped_gradient_sum expects x and labels with a leading axis of as many examples, at least one; "
     "got shapes [(3, 4)] and [()]"),
    (lambda: clipped_gradient_sum(Dense(3), LOSS, *ARGS, 0.0),
     "clipped_gradient_sum expects max_norm > 0, one number; got 0.0"),
    (lambda: clipped_gradient_sum(Dense(3), LOSS, *ARGS, np.ones(3)),
     "clipped_gradient_sum expects max_norm > 0, one number; got array([1., 1., 1.])"),
    (lambda: per_example(ops.softmax_cross_entropy, LOSS, *ARGS),
     "per_example expects a network of one example whose arguments are among (params, state, x, key); got "
     "'softmax_cross_entropy' of (logits, labels, weights, class_weights); wrap it in a function of those"),
    (lambda: per_example(Dense(3), lambda y, label: y, *ARGS),
     "per_example expects a loss with one number, of shape (), for each example; got (3,); take its sum"),
    (lambda: per_example(Dense(3), None, *ARGS),
     "per_example expects a loss, called as loss(y, label); got None"),
    (lambda: per_example(Dense(3), LOSS, *ARGS).hardest(4),
     "hardest expects k in 1 .. 3, the size of the batch; got 4"),
    (lambda: per_example(Sequential(Dense(3), Dropout(0.5)), LOSS, {"dense1": ARGS[0]}, *ARGS[1:], train=True),
     "Dropout at 'dropout1' expects a PRNG key; got None; pass key=jax.random.key(seed)"),
    (lambda: per_example(Sequential(Dense(3)), LOSS, {"dense1": ARGS[0]}, {}, ARGS[2][0], ARGS[3]),
     "per_example expects x and labels with a leading axis of as many examples, at least one; "
     "got shapes [(4,)] and [(3,)]"),
    (lambda: per_example(Sequential(Dense(3)), LOSS, {"dense1": ARGS[0]}, {}, ARGS[2][:, :3], ARGS[3]),
     "Dense at 'dense1' expects x of shape (4,); got (3,)"),
])
def test_errors(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == words


def test_one_per_cent_would_be_seen():
    """The comparison above is sharp enough: a norm that is wrong by a thousandth is far outside of it."""
    assert units(jnp.array([1.0, 2.002]), jnp.array([1.0, 2.0])) > 1000


@pytest.mark.parametrize("size", [1e20, 1e-30])
def test_norms_whose_squares_overflow_or_vanish(size):
    """A gradient of 2e20 has a norm, and is clipped, not dropped; one of 1e-30 is not 0."""
    params = {"weight": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}
    x = jnp.asarray([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])

    def loss(y, label):
        return jnp.sum(y) * size

    labels = jnp.zeros(3)
    wanted = size * np.sqrt([26.0, 5.0, 1.0])
    found = per_example(ops.dense, loss, params, {}, x, labels)
    np.testing.assert_allclose(found.norms, wanted, rtol=1e-6)
    np.testing.assert_allclose(found.leaf_norms["weight"], size * np.asarray([5.0, 2, 0]), rtol=1e-6)
    of_one = per_example(ops.dense, lambda y, label: jnp.sum(y), params, {}, x, labels)
    np.testing.assert_allclose(found.noise_scale, of_one.noise_scale, rtol=1e-5)
    clipped = clipped_gradient_sum(ops.dense, loss, params, {}, x, labels, size)
    want = sum(np.asarray(xi) * min(1, size / norm) * size for xi, norm in zip(x, wanted))
    np.testing.assert_allclose(clipped.gradient_sum["weight"][0], want, rtol=1e-5)


def test_an_infinite_max_norm_and_a_zero_gradient():
    params, x = {"weight": jnp.zeros((1, 2))}, jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    found = clipped_gradient_sum(ops.dense, ops.squared_error, params, {}, x, jnp.ones((2, 1)), jnp.inf)
    assert found.scales.tolist() == [1, 1]
    np.testing.assert_allclose(found.gradient_sum["weight"], [[-6, -8]])
