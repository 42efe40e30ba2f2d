"""The cache of a network: it crosses `jit`, `cond` and `scan`, belongs to every network that is the same program, and
holds what the function closes over, so that nothing of a trace is kept after its end."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    dense,
    network,
    per_example,
    relu,
    sigmoid,
    squared_error,
    tanh,
)
from jaxnn.explicit.jaxprs import have_same_jaxpr, hoisted
from tests.compare import assert_close
from tests.networks import array, weights

P = weights(4, 4)
X = array(4)
BATCH = array(3, 4)


def remade():
    """The same network, made anew; tanh is far from 1, where the last digits of its slope are lost."""
    return network(lambda params, x: relu(tanh(dense(params, x) / 4) * 2 + jnp.arange(4.0)))


def test_caches_of_a_network_made_in_each_branch_are_joined():
    net = remade()

    @jax.jit
    def gradient(x):
        cache = jax.lax.cond(x[0] > 0, lambda: remade().forward(P, x)[1], lambda: remade().forward(P, x / 2)[1])
        return net.backward(cache, jnp.ones(4))

    for x in (X, -X):
        given = x if x[0] > 0 else x / 2
        want = net.backward(net.forward(P, given)[1], jnp.ones(4))
        assert_close(gradient(x), want)


def test_a_cache_is_carried_by_a_scan():
    @jax.jit
    def last(x):
        def step(cache, x_t):
            return remade().forward(P, x_t)[1], remade().backward(cache, x_t)[1]

        return jax.lax.scan(step, remade().forward(P, x[0])[1], x)

    x = jnp.stack([X, 2 * X, -X])
    cache, dx = last(x)
    net = remade()
    for i, before in enumerate((0, 0, 1)):
        want = net.backward(net.forward(P, x[before])[1], x[i])[1]
        assert_close(dx[i], want)
    assert_close(net.backward(cache, X)[1], net.backward(net.forward(P, -X)[1], X)[1])


def test_nothing_of_a_trace_is_kept_after_its_end():
    kept = []

    def f(scale, x):
        net = network(lambda x: scale * tanh(x))
        y, cache = net.forward(x)
        kept.append(cache.recording)
        return net.backward(cache, jnp.ones_like(y))[0], net.reference(x), cache

    with jax.checking_leaks():
        dx, y, cache = jax.jit(f)(3.0, X)
    np.testing.assert_allclose(dx, 3 * (1 - jnp.tanh(X) ** 2), rtol=1e-5)
    np.testing.assert_allclose(y, 3 * jnp.tanh(X), rtol=1e-6)
    assert all(not isinstance(c, jax.core.Tracer) for c in kept[0].closed.consts)
    # The cache holds the scale, so that it is whole outside of the trace too.
    np.testing.assert_allclose(network(lambda x: x).backward(cache, jnp.ones(4))[0], dx, rtol=1e-6)
    assert "tanh" in str(cache)


def test_what_a_network_closes_over_has_no_cotangent_and_counts_no_gradient():
    def f(scale, x):
        net = network(lambda x: scale * jnp.exp(scale) * tanh(x))
        y, cache = net.forward(x)
        assert len(net.backward(cache, y)) == 1
        assert [row.nonlinear for row in cache.rows if row.nonlinear] == []
        return y

    jax.jit(f)(3.0, X)


def test_gradients_of_single_examples_where_a_function_closes_over_a_traced_value():
    def norms(scale, x, labels):
        net = lambda params, x: scale * dense(params, x)  # noqa: E731
        return per_example(net, squared_error, P, {}, x, labels).norms

    x, labels = jnp.stack([X, 2 * X]), jnp.zeros((2, 4))
    want = per_example(lambda params, x: 3.0 * dense(params, x), squared_error, P, {}, x, labels).norms
    np.testing.assert_allclose(jax.jit(norms)(3.0, x, labels), want, rtol=1e-5)


def recording(f, *args, **static):
    return network(f).recorded(args or (X,), static)[0]


@pytest.mark.parametrize(("f", "other", "are_same"), [
    (lambda x: 2 * tanh(x), lambda z: 2 * tanh(z), True),
    (lambda x: 2 * tanh(x), lambda x: 3 * tanh(x), False),
    (lambda x: 2 * tanh(x), lambda x: 2 * sigmoid(x), False),
    (lambda x: tanh(x), lambda x: tanh(tanh(x)), False),
    (lambda x: tanh(x) - x, lambda x: x - tanh(x), False),
    (lambda x: (tanh(x), x), lambda x: [tanh(x), x], False),
    (lambda x: (tanh(x), x), lambda x: (x, tanh(x)), False),
    (lambda x: tanh(x) + np.arange(4.0), lambda x: tanh(x) + np.arange(4.0), True),
    (lambda x: tanh(x) + np.arange(4.0), lambda x: tanh(x) + np.array([0.0, 1, 2, 4]), False),
    (lambda x: tanh(x) + np.zeros(4), lambda x: tanh(x) + -np.zeros(4), False),
    (jax.jit(lambda x: tanh(x) + 1), jax.jit(lambda x: tanh(x) + 1), True),
    (jax.jit(lambda x: tanh(x) + 1), jax.jit(lambda x: tanh(x) + 2), False),
    (lambda x: jax.lax.scan(lambda c, _: (tanh(c), c), x, None, length=3),
     lambda x: jax.lax.scan(lambda c, _: (tanh(c), c), x, None, length=3), True),
    (lambda x: jax.lax.scan(lambda c, _: (tanh(c), c), x, None, length=3),
     lambda x: jax.lax.scan(lambda c, _: (sigmoid(c), c), x, None, length=3), False),
    (lambda x: jnp.dot(tanh(x), x), lambda x: jnp.dot(tanh(x), x, precision="highest"), False),
], ids=["names", "number", "op", "length", "order", "container", "order of values", "array", "element", "-0", "jit",
        "number in a jit", "scan", "op in a scan", "precision"])
def test_recordings_are_equal_where_they_are_the_same_program(f, other, are_same):
    a, b = recording(f), recording(other)
    assert (a == b) is are_same
    assert not are_same or hash(a) == hash(b)
    assert a == recording(f) and a != "another object"


def test_shapes_watching_and_dtypes_count():
    f = lambda x: 2 * tanh(x)  # noqa: E731
    assert recording(f, X) != recording(f, X[:2])
    assert recording(f, X) != recording(f, X.astype(jnp.bfloat16))
    assert recording(f, X) != network(f).recorded((X,), {}, watched=True)[0]
    assert recording(lambda x: 2 * tanh(x[0]), (X,)) != recording(lambda x: 2 * tanh(x["a"]), {"a": X})


def test_a_large_constant_is_the_same_object_or_another():
    large = np.ones(5000, np.float32)
    of = lambda c: jax.make_jaxpr(lambda x: x + c)(large)  # noqa: E731
    constant = of(large)
    if constant.consts:  # JAX 0.12 may write a constant into its equation
        assert have_same_jaxpr(constant, constant)
        assert not have_same_jaxpr(constant, of(large.copy()))


def test_captured_values_are_the_last_arguments():
    @jax.jit
    def outer(scale, x):
        closed = jax.make_jaxpr(lambda x: scale * x + np.arange(4.0))(x)
        moved, captured = hoisted(closed)
        assert captured == [scale] and len(moved.jaxpr.invars) == 2
        assert not any(isinstance(c, jax.core.Tracer) for c in moved.consts)
        assert hoisted(moved) == (moved, [])
        return jax.core.eval_jaxpr(moved.jaxpr, moved.consts, x, scale)[0]

    np.testing.assert_allclose(outer(2.0, X), 2 * X + np.arange(4.0), rtol=1e-6)


def test_recorded_once_for_the_same_shapes():
    calls = []

    @network
    def f(params, x):
        calls.append(x.shape)
        return tanh(dense(params, x))

    for _ in range(3):
        y, cache = f.forward(P, X)
        f.backward(cache, y)
    assert calls == [(4,)]
    with jax.enable_x64(True):
        f.forward(jax.tree.map(lambda a: a.astype(jnp.float64), P), X.astype(jnp.float64))
    jax.vmap(lambda x: f.forward(P, x)[0])(BATCH)
    assert calls == [(4,)] * 2


def test_a_function_that_closes_over_a_traced_value_is_recorded_anew():
    def outer(scale, x):
        net = network(lambda x: scale * tanh(x))
        y, cache = net.forward(x)
        return net.backward(cache, jnp.ones_like(y))[0]

    got = jax.jit(outer)(3.0, X)
    np.testing.assert_allclose(got, 3 * (1 - jnp.tanh(X) ** 2), rtol=1e-5)
    kept = []

    def keeping(scale, x):
        kept.append(network(lambda x: scale * tanh(x)))
        return kept[0].forward(x)[0]

    jax.jit(keeping)(3.0, X)
    assert not kept[0]._recordings


def test_the_cache_crosses_a_jit_without_tracing_again():
    traces = []
    net = network(lambda params, x: relu(dense(params, x)))

    @jax.jit
    def backward(cache, dy):
        traces.append(1)
        return net.backward(cache, dy)

    for x in (X, 2 * X):
        y, cache = net.forward(P, x)
        want = net.backward(cache, y)
        for a, b in zip(jax.tree.leaves(backward(cache, y)), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    assert traces == [1]
