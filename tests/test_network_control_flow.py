"""The explicit passes of loops and branches: scan, cond, while_loop; beside jax.vjp of the same references."""


import jax
import jax.numpy as jnp
import pytest

from jaxnn import (
    InputError,
    dense,
    network,
    relu,
    sigmoid,
    tanh,
)
from jaxnn.explicit.program import Glue
from jaxnn.linearity import equations
from tests.networks import array, weights
from tests.test_networks import check

P = weights(4, 4)
X = array(4)
BATCH = array(3, 4)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_with_explicit_caches(reverse):
    def f(params, x, h):
        def step(carry, x_t):
            h, count = carry
            h = tanh(dense(params, h)) + x_t * count
            return (h, count + 1), (h, count)

        return jax.lax.scan(step, (h, 0), x, reverse=reverse)

    check(f, P, BATCH, X)


def test_a_scan_is_unrolled_as_it_was():
    f = lambda params, x: jax.lax.scan(lambda h, _: (tanh(dense(params, h)), None), x, None, length=4, unroll=2)[0]  # noqa: E731
    check(f, P, X)
    net = network(f)
    y, cache = net.forward(P, X)
    for jaxpr in (jax.make_jaxpr(net.forward)(P, X), jax.make_jaxpr(net.backward)(cache, y)):
        assert [eqn.params["unroll"] for eqn in equations(jaxpr.jaxpr) if eqn.primitive.name == "scan"] == [2]


def test_scan_without_slices_and_with_a_value_that_is_not_read():
    def f(params, x):
        return jax.lax.scan(lambda h, _: (tanh(dense(params, h)), h), x, None, length=4)[0]

    check(f, P, X)


def test_a_scan_keeps_a_weight_once():
    def f(params, x):
        return jax.lax.scan(lambda h, _: (tanh(dense(params, h)), None), x, None, length=50)[0]

    _, cache = network(f).forward(P, X)
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(cache))
    assert sizes == [16, 200, 200]  # the weight; the inputs of dense and the values of tanh at 50 steps


def test_scans_in_scans_under_vmap():
    def f(params, x):
        def outer(h, x_t):
            inner = lambda h, _: (tanh(dense(params, h)), jnp.sum(h))  # noqa: E731
            h, ys = jax.lax.scan(inner, h + x_t, None, length=2)
            return h, ys

        return jax.vmap(lambda x: jax.lax.scan(outer, jnp.zeros(4), x))(x)

    check(f, P, array(2, 3, 4))


def test_a_scan_that_does_not_concern_ops_is_glue():
    f = lambda params, x: dense(params, jax.lax.scan(lambda c, x_t: (c + x_t, c * x_t), 0.0, x)[1])  # noqa: E731
    check(f, P, X)
    (glue, _) = network(f).recorded((P, X), {})[0].program.steps
    assert isinstance(glue, Glue) and glue.nonlinear == ("scan",)


def test_cond_and_switch():
    def f(params, x):
        y = jax.lax.cond(x[0] > 0, lambda: tanh(dense(params, x)), lambda: 2 * x)
        return jax.lax.switch(jnp.argmax(x) % 2, [lambda y: relu(y), lambda y: sigmoid(y)], y)

    check(f, P, X)
    check(f, P, -X)


def test_loops_with_a_known_number_of_steps():
    check(lambda params, x: jax.lax.fori_loop(0, 3, lambda i, x: tanh(dense(params, x)) + i, x), P, X)


def test_a_while_loop_that_no_gradient_passes():
    def f(params, x):
        n = jax.lax.while_loop(lambda n: n < 5, lambda n: n + 1, 0)
        return dense(params, x) * n

    check(f, P, X)


def test_a_while_loop_that_a_gradient_passes_is_refused_with_its_line():
    def f(params, x):
        return jax.lax.while_loop(lambda x: jnp.sum(x) < 0, lambda x: x + dense(params, x), x)

    net = network(f)
    y, cache = net.forward(P, X)
    with pytest.raises(InputError, match=r"while_loop at 'f:\d+' has no reverse mode.*use jax.lax.scan"):
        net.backward(cache, y)
