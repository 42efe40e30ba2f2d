"""Statistics of per-example gradients, clipped sums, and their edges: batches of one, zeros, what is not finite, half
precision, norms whose squares overflow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    Dense,
    Flatten,
    Sequential,
    clipped_gradient_sum,
    ops,
    over_examples,
    per_example,
)
from tests.compare import assert_close, units
from tests.inside.networks import (
    KEY,
    LOSS,
    NETWORKS,
    all_gradients,
    batch_of,
    centred,
    flat,
    norm,
    statistics_of,
)

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
    wanted = jax.jit(lambda *args: all_gradients(net, LOSS, *args, KEY, True))(*args)
    got = statistics_of(net, LOSS, train=True)(*args)
    assert_close(got.leaf_norms, jax.tree.map(norm, wanted), 64)
    assert_close(got.gradient, jax.tree.map(lambda g: np.mean(g, 0), wanted), 64)


@functools.cache
def norms_in_float32(name):
    net, shape = NETWORKS[name]
    return statistics_of(net, LOSS)(*batch_of(net, shape, 4, name)).norms


@pytest.mark.sampled
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
    assert_close(jax.jit(functools.partial(per_example, net, LOSS))(params, state, x, labels), plain)
    two = jax.jit(jax.vmap(lambda x, labels: per_example(net, LOSS, params, state, x, labels).norms))
    assert_close(np.ravel(two(x.reshape(2, 3, 4), labels.reshape(2, 3))), np.asarray(plain.norms))
    clip = lambda params, c: clipped_gradient_sum(net, LOSS, params, state, x, labels, c)  # noqa: E731
    assert_close(jax.jit(clip)(params, 0.5), clip(params, 0.5))
    penalty = jax.jit(jax.value_and_grad(
        lambda p: jnp.sum(per_example(net, LOSS, p, state, x, labels).norms ** 2)))
    slope = sum(np.sum(g) for g in jax.tree.leaves(penalty(params)[1]))
    h = 1e-2
    shifted = lambda s: penalty(jax.tree.map(lambda p: p + np.float32(s), params))[0]  # noqa: E731
    assert float(slope) == pytest.approx(float(shifted(h) - shifted(-h)) / (2 * h), rel=2e-2)


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
