"""Per-example norms and sums against `vmap(grad)` of the plain forward: of layers and of functions without layers; and
what memory they take."""

import functools
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    Dense,
    Sequential,
    clipped_gradient_sum,
    network,
    ops,
    over_examples,
    per_example,
)
from jaxnn.inside import factors, passes
from jaxnn.inside.factor_rules import recurrent_factors
from tests.compare import AS_USERS_COMPILE, assert_close
from tests.inside.networks import (
    KEY,
    LOSS,
    NETWORKS,
    all_gradients,
    batch_of,
    flat,
    last,
    norm,
    statistics_of,
)

per_example_module = importlib.import_module("jaxnn.inside.per_example")  # the package has its function by this name


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETWORKS)
def test_against_all_gradients(name):
    net, shape = NETWORKS[name]
    n, train = 5, name != "batch norm at inference"
    params, state, x, labels = batch_of(net, shape, n, name)

    @jax.jit
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


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["dense over many positions", "conv over frames", "embedding over sentences",
                                  "an op without a rule"])
@pytest.mark.parametrize("n_bytes", [1, 80, 400])
def test_examples_in_turns(name, n_bytes, monkeypatch):
    net, shape = NETWORKS[name]
    args = batch_of(net, shape, 5, name)
    at_once = norms_at_once(name)
    monkeypatch.setattr(passes, "TURN_BYTES", n_bytes)
    # The cost is a new one, of which JAX remembers nothing.
    loss = last()
    turns = jax.jit(lambda *args: per_example(net, loss, *args)).lower(*args, KEY)
    assert "while" in turns.as_text() or n_bytes > 1
    assert_close(turns.compile()(*args, KEY).leaf_norms, at_once, 32)


def test_rule_of_the_lstm_that_starts_anywhere():
    """A first state gets a gradient too."""
    rng = np.random.default_rng(0)
    array = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    params = {"weight_x": array(12, 2), "weight_h": array(12, 3), "bias": array(12)}
    x, initial, dy = array(4, 2), (array(3), array(3)), (array(4, 3), (array(3), array(3)))

    @jax.jit
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
    assert float(jax.jit(lambda outer: outer.squared())(outer)) == pytest.approx(np.sum((a.T @ b) ** 2), rel=1e-5)
    ways = {(1, 4, 3): 0, (2, 9, 8): 8, (20, 3, 4): 12, (4, 1, 6): 6}  # numbers held: none, two Grams, G, G
    assert outer.size == ways[places, m, n]


def test_gram_matrices_of_a_zero():
    """Two places that cancel: rounding must not leave a root of a negative number."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 40)), rng.standard_normal((2, 50))
    a[1], b[1] = a[0], -b[0]
    outer = factors.Outer(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    assert 0 <= float(jax.jit(lambda outer: outer.squared())(outer)) < 1e-3


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


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_without_layers(name):
    f, shapes, shape, n_factored = FUNCTIONS[name]
    rng = np.random.default_rng(1)
    array = lambda shape: rng.standard_normal(shape, np.float32) / 2  # noqa: E731
    params = jax.tree.map(array, shapes, is_leaf=lambda s: isinstance(s, tuple))
    x, labels = array((5, *shape)), jnp.arange(5)
    has_key = name == "with a key"

    @jax.jit
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
    found = passes.Passes("per_example", cost, params, {}, x, labels, KEY)
    assert len(found.factored) == n_factored


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
    # Forward, back to each hidden layer and, unless norms alone are asked for, each weight's gradient.
    norms = compiled(lambda params: per_example(net, loss, params, state, x, labels).norms)
    assert [program.as_text().count(" dot(") for program in (baseline, ours, clip, norms)] == [8, 8, 8, 5]
