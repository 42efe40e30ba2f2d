"""The dense layer: against a NumPy loop and PyTorch, its laws, and what it refuses."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import dense
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(0)
SIZES = [(1, 1), (1, 4), (3, 1), (3, 4)]


def make(n_out, n_in, bias=True):
    params = {"weight": RNG.standard_normal((n_out, n_in))}
    return params | ({"bias": RNG.standard_normal(n_out)} if bias else {}), RNG.standard_normal(n_in)


@pytest.mark.sampled
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.usefixtures("x64")
def test_value_and_backward(sizes, bias):
    params, x = make(*sizes, bias)
    want = params.get("bias", np.zeros(sizes[0])).copy()
    for o in range(sizes[0]):
        for i in range(sizes[1]):
            want[o] += params["weight"][o, i] * x[i]
    np.testing.assert_allclose(dense(params, x), want, rtol=1e-13)
    check_backward(dense, params, x)


@pytest.mark.usefixtures("x64")
def test_gradient_against_a_loop():
    """∂L/∂W_oi = dy_o x_i and so on, element by element."""
    params, x = make(2, 3)
    dy = RNG.standard_normal(2)
    _, cache = dense.forward(params, x)
    dparams, dx = dense.backward(cache, dy)
    for o in range(2):
        assert dparams["bias"][o] == dy[o]
        for i in range(3):
            assert dparams["weight"][o, i] == pytest.approx(dy[o] * x[i], rel=1e-14)
    for i in range(3):
        assert dx[i] == pytest.approx(sum(params["weight"][o, i] * dy[o] for o in range(2)), rel=1e-14)


@pytest.mark.usefixtures("x64")
def test_batch_against_pytorch(torch):
    params, _ = make(3, 4)
    x, dy = RNG.standard_normal((5, 4)), RNG.standard_normal((5, 3))
    weight, bias, t = (torch.tensor(a, requires_grad=True) for a in (params["weight"], params["bias"], x))
    torch.nn.functional.linear(t, weight, bias).backward(torch.tensor(dy))
    _, pull_back = jax.vjp(jax.vmap(dense, (None, 0)), jax.tree.map(jnp.asarray, params), jnp.asarray(x))
    dparams, dx = pull_back(jnp.asarray(dy))
    np.testing.assert_allclose(dparams["weight"], weight.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dparams["bias"], bias.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_batch_is_the_sum_of_its_examples():
    params, _ = make(3, 4)
    params = jax.tree.map(jnp.asarray, params)
    x = jnp.asarray(RNG.standard_normal((5, 4)))

    def cost(params, x):
        return jnp.sum(jnp.tanh(dense(params, x)))

    each = jax.vmap(jax.grad(cost), (None, 0))(params, x)
    whole = jax.grad(lambda p: jnp.sum(jax.vmap(cost, (None, 0))(p, x)))(params)
    assert_close(jax.tree.map(lambda g: jnp.sum(g, 0), each), whole)


@pytest.mark.usefixtures("x64")
def test_affine():
    """y(a u + (1 - a) v) = a y(u) + (1 - a) y(v), and a second derivative of 0."""
    params, u = make(3, 4)
    _, v = make(3, 4)
    assert_close(dense(params, 3 * u - 2 * v), 3 * dense(params, u) - 2 * dense(params, v), 64)
    assert not np.any(jax.hessian(lambda x: jnp.sum(dense(params, x)))(jnp.asarray(u)))


def test_without_bias_there_is_no_bias_gradient():
    dparams = jax.grad(lambda p: jnp.sum(dense(p, jnp.ones(2))))({"weight": jnp.ones((1, 2))})
    assert set(dparams) == {"weight"}


@pytest.mark.parametrize("params", [
    {"weight": jnp.ones((1, 2)), "bias": None}, collections.OrderedDict(bias=jnp.ones(1), weight=jnp.ones((1, 2))),
    collections.defaultdict(list, weight=jnp.ones((1, 2))),
], ids=repr)
def test_the_gradient_has_the_structure_of_params(params):
    x = jnp.asarray([2.0, 3.0])
    _, cache = dense.forward(params, x)
    lifted = jax.grad(lambda p: dense(p, x)[0])(params)
    for gradient in (lifted, dense.backward(cache, jnp.ones(1))[0]):
        assert jax.tree.structure(gradient) == jax.tree.structure(params)
        np.testing.assert_array_equal(gradient["weight"], [x])
        assert gradient.get("bias") is None or gradient["bias"] == 1
    batch = jax.grad(lambda p: jnp.sum(jax.vmap(dense, (None, 0))(p, jnp.stack([x, x]))))(params)
    assert_close(batch, jax.tree.map(lambda g: 2 * g, lifted))
    jax.hessian(lambda p: dense(p, x)[0])(params)
    jax.jvp(lambda p: dense(p, x), (params,), (params,))


W = jnp.ones((3, 4))
DENSE = "dense expects params to be {'weight': (n_out, n_in), 'bias': (n_out,) or None}; got "


@pytest.mark.parametrize(("params", "x", "words"), [
    ({"weight": W}, jnp.ones(5), "dense expects x of shape (4,); got (5,)"),
    ({"weight": W}, jnp.ones((2, 2)), "dense expects x of shape (4,); got (2, 2); put Flatten() before it"),
    ({"weight": W}, jnp.ones(()), "dense expects x of shape (4,); got ()"),
    ({"weight": W}, jnp.ones((7, 4)), "dense expects x of shape (4,); got (7, 4); put Flatten() before it"),
    ({"weight": W}, jnp.ones(4, jnp.int32), "dense expects floating-point x; got int32"),
    ({"weight": jnp.ones(4)}, jnp.ones(4), "dense expects weight of shape (n_out, n_in); got (4,)"),
    ({"weight": W, "bias": jnp.ones(4)}, jnp.ones(4), "dense expects bias of shape (3,); got (4,)"),
    ({"weight": W, "bias": jnp.ones((3, 1))}, jnp.ones(4), "dense expects bias of shape (3,); got (3, 1)"),
    ({"bias": W}, jnp.ones(4), DENSE + "keys ['bias']"),
    ({"weight": W, "extra": W}, jnp.ones(4), "got keys ['extra', 'weight']"),
    (W, jnp.ones(4), DENSE + "ArrayImpl"),
    ((W, W), jnp.ones(4), DENSE + "tuple"),
])
def test_errors(params, x, words):
    for call in (dense, dense.forward, dense.reference):
        with pytest.raises(ValueError, match=re.escape(words)):
            call(params, x)
