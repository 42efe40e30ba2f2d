"""The explicit passes of any function of ops, read off its trace: each kind of argument and transformation, beside
jax.vjp of the same function with references."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    batch_norm,
    dense,
    dropout,
    hand_derived,
    network,
    relu,
    sigmoid,
    tanh,
)
from jaxnn.linearity import equations
from tests.networks import array, weights
from tests.test_networks import check

P = weights(4, 4)
X = array(4)
BATCH = array(3, 4)
KEY = jax.random.key(0)


# Arguments.


def test_pytrees_integers_keys_and_none():
    def f(params, x, n, key, nothing):
        assert nothing is None
        h = dropout(dense(params["layers"][0], x["a"]), key, rate=0.5)
        return {"h": h * n, "sum": (jnp.sum(h), x["count"] + 1)}

    check(f, {"layers": [P]}, {"a": X, "count": jnp.arange(3)}, 2, KEY, None)


def test_cotangents_of_what_has_none():
    net = network(lambda params, key, n, unread: dense(params, X) * n)
    y, cache = net.forward(P, KEY, 3, {"w": X, "count": 1})
    dparams, dkey, dn, dunread = net.backward(cache, jnp.ones_like(y))
    assert dkey is None and dn is None
    assert dunread["count"] is None and dunread["w"].tolist() == [0.0] * 4
    assert jax.tree.structure(dparams) == jax.tree.structure(P)


def test_a_weight_left_out():
    check(lambda params, x: dense(params, x), {"weight": P["weight"], "bias": None}, X)


def test_values_read_by_none_and_by_many():
    def f(params, x):
        h = tanh(dense(params, x))
        relu(h)  # read by none
        return h * h + sigmoid(h), h[:2]

    check(f, P, X)


def test_one_set_of_parameters_used_several_times():
    check(lambda params, x: dense(params, tanh(dense(params, tanh(dense(params, x))))) + params["bias"], P, X)


def test_static_keywords_reach_the_function():
    def f(params, x, *, activation, times=1):
        for _ in range(times):
            x = activation(dense(params, x))
        return x

    net = network(f)
    y, cache = net.forward(P, X, activation=tanh, times=2)
    np.testing.assert_allclose(y, net(P, X, activation=tanh, times=2), rtol=1e-6)
    np.testing.assert_allclose(net.reference(P, X, activation=tanh, times=2), y, rtol=1e-6)
    assert net.backward(cache, y)[1].shape == (4,)


def test_parts_with_a_state():
    state = {"mean": jnp.zeros(4), "variance": jnp.ones(4)}
    norm = {"scale": array(4), "bias": array(4)}

    def f(norm, state, x):
        return jax.vmap(lambda x: batch_norm(norm, state, dense(P, x)), out_axes=(0, None), axis_name="examples")(x)

    net = network(f)
    (y, moved), cache = net.forward(norm, state, BATCH)
    assert moved["mean"].shape == (4,)
    dnorm, dstate, dx = net.backward(cache, (y, None))
    want = jax.vjp(lambda norm, x: net.reference(norm, state, x)[0], norm, BATCH)[1](y)
    for got, wanted in zip(jax.tree.leaves((dnorm, dx)), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(dstate))


# Transformations inside of the function.


@pytest.mark.parametrize(("in_axes", "out_axes", "x"), [
    ((None, 0), 0, (3, 4)), ((None, 1), 1, (4, 3)), ((None, -1), 0, (4, 3))], ids=str)
def test_vmap_along_any_axis(in_axes, out_axes, x):
    check(lambda params, x: jax.vmap(lambda p, x: tanh(dense(p, x)), in_axes, out_axes)(params, x), P, array(*x))


def test_nested_vmaps_with_weights_shared_by_one_or_both():
    each = {"weight": array(2, 4, 4), "bias": array(2, 4)}

    def f(shared, each, x):
        def expert(own, x):
            return jax.vmap(lambda x: dense(own, tanh(dense(shared, x))))(x)

        return jax.vmap(expert, (0, None))(each, x)

    check(f, P, each, BATCH)


def test_vmap_over_named_axes_and_a_mean_over_them():
    def f(params, x):
        def one(x):
            h = dense(params, x)
            return h - jax.lax.pmean(tanh(h), "rows")

        return jax.vmap(one, axis_name="rows")(x)

    check(f, P, BATCH)


def test_an_op_that_takes_a_mean_over_the_examples_for_its_value():
    @hand_derived
    def mean_square(x):
        return jax.lax.pmean(jnp.sum(x * x), "rows"), x

    @mean_square.defbackward
    def mean_square_backward(x, dy):
        # y is one for all: each example is given its share of dy, and sends back the mean of them.
        return (2 * x * jax.lax.pmean(dy, "rows"),)

    def f(x):
        return jax.vmap(mean_square, axis_name="rows", out_axes=None)(x)

    net = network(f)
    y, cache = net.forward(BATCH)
    assert y.shape == ()
    np.testing.assert_allclose(net.backward(cache, 1.0)[0], 2 * BATCH / 3, rtol=1e-6)


def test_jit_inside_and_outside():
    inner = jax.jit(lambda params, x: tanh(dense(params, x)))
    f = lambda params, x: inner(params, inner(params, x))  # noqa: E731
    inner(P, X)  # compiled before: the recording must not find that program
    check(f, P, X)
    assert [step.call.op.name for step in network(f).recorded((P, X), {})[0].program.steps] == ["dense", "tanh"] * 2


def test_under_vmap_jit_and_scan_from_outside():
    net = network(lambda params, x: tanh(dense(params, x)))

    def one(x):
        y, cache = net.forward(P, x)
        return net.backward(cache, y)[1]

    want = jax.vmap(lambda x: jax.vjp(lambda x: tanh(dense(P, x)), x)[1](tanh(dense(P, x)))[0])(BATCH)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(BATCH), want, rtol=1e-5)
    np.testing.assert_allclose(jax.lax.scan(lambda _, x: (None, one(x)), None, BATCH)[1], want, rtol=1e-5)


def test_checkpoint_keeps_its_arguments_and_runs_again():
    f = jax.checkpoint(lambda params, x: tanh(dense(params, tanh(dense(params, x)))))
    check(f, P, X)
    _, cache = network(f).forward(P, X)
    assert sum(leaf.size for leaf in jax.tree.leaves(cache)) == sum(leaf.size for leaf in jax.tree.leaves((P, X)))
    rows = cache.rows
    assert [row.step for row in rows] == ["checkpoint", "dense", "tanh", "dense", "tanh"]
    assert sum(row.cache_bytes for row in rows) == 0


def test_a_checkpoint_runs_again_whole_whatever_its_policy():
    f = jax.checkpoint(lambda params, x: tanh(dense(params, x)), policy=jax.checkpoint_policies.dots_saveable)
    check(f, P, X)
    _, cache = network(f).forward(P, X)
    assert [(row.place, row.step) for row in cache.rows] == [
        ("", "checkpoint; its policy is not kept"), ("checkpoint", "dense"), ("checkpoint", "tanh")]
    assert sum(row.cache_bytes for row in cache.rows) == 0


def test_custom_rules_that_are_no_ops():
    @jax.custom_jvp
    def triple(x):
        return 3 * x

    triple.defjvp(lambda primals, tangents: (3 * primals[0], 5 * tangents[0]))  # 5: the rule counts, not the function

    @jax.custom_vjp
    def half(x):
        return x / 2

    half.defvjp(lambda x: (x / 2, None), lambda _, dy: (dy * 7,))
    net = network(lambda x: half(triple(sigmoid(x))))
    y, cache = net.forward(0.0)
    assert float(net.backward(cache, 1.0)[0]) == pytest.approx(0.25 * 5 * 7)
    assert float(y) == 0.75
    check(lambda x: jax.nn.relu(tanh(x)) + jax.nn.softplus(x), X)


def test_a_gradient_taken_inside():
    """A penalty on the slope: the ops inside of jax.grad go by their lifted rules."""
    def f(params, x):
        slope = jax.grad(lambda x: jnp.sum(tanh(dense(params, x))))(x)
        return jnp.sum(slope**2)

    net = network(f)
    _, cache = net.forward(P, X)
    wanted = jax.tree.leaves(jax.grad(f, (0, 1))(P, X))
    for got, want in zip(jax.tree.leaves(net.backward(cache, 1.0)), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_network_inside_a_network():
    inner = network(lambda params, x: tanh(dense(params, x)))
    check(lambda params, x: inner(params, inner(params, x)), P, X)


# A weight that the examples share.


def test_a_shared_weight_under_vmap_is_one_matrix_product():
    net = network(lambda params, x: jax.vmap(jax.vmap(lambda x: dense(params, x)))(x))
    x = array(5, 6, 4)
    y, cache = net.forward(P, x)
    jaxpr = jax.make_jaxpr(net.backward)(cache, y).jaxpr
    products = [eqn for eqn in equations(jaxpr) if eqn.primitive.name == "dot_general"]
    assert sorted(math.prod(eqn.outvars[0].aval.shape) for eqn in products) == [16, 120]  # dW (4, 4), dx (5, 6, 4)
    assert all(var.aval.size <= 120 for eqn in equations(jaxpr) for var in eqn.outvars)
    want = jnp.einsum("abo,abi->oi", y, x)
    np.testing.assert_allclose(net.backward(cache, y)[0]["weight"], want, rtol=1e-5)


def test_an_op_with_reverse_mode_only():
    @hand_derived(reverse_only=True)
    def scaled(weight, x):
        return weight * x, (weight, x)

    scaled.defbackward(lambda cache, dy: (jnp.sum(dy * cache[1]), dy * cache[0]))
    check(lambda w, x: jax.vmap(lambda x: scaled(w, x))(x), jnp.asarray(2.0), BATCH)


def test_one_per_cent_would_be_seen():
    @hand_derived
    def square(x):
        return x * x, x

    square.defbackward(lambda x, dy: (2.02 * x * dy,))
    with pytest.raises(AssertionError):
        check(lambda x: jnp.sum(square(x)), X)
