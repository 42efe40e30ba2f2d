"""Softmax and log-softmax: against SciPy and PyTorch, laws, very large logits, ruled-out classes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn import ops
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(0)
SHAPES = [(1,), (2,), (5,), (3, 4), (2, 3, 4)]
OPS = {"softmax": (ops.softmax, scipy.special.softmax),
       "log_softmax": (ops.log_softmax, scipy.special.log_softmax)}
EACH = pytest.mark.parametrize("name", OPS)


@EACH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("x64")
def test_value_and_backward(name, shape):
    op, scipy_op = OPS[name]
    x = 3 * RNG.standard_normal(shape)
    np.testing.assert_allclose(op(x), scipy_op(x, axis=-1), rtol=1e-13)
    check_backward(op, x)


@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(name, torch):
    op, _ = OPS[name]
    x, dy = 3 * RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4))
    t = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, name)(t, dim=-1)
    y.backward(torch.tensor(dy))
    got, pull_back = jax.vjp(op, jnp.asarray(x))
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(pull_back(jnp.asarray(dy))[0], t.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_laws():
    x = jnp.asarray(5 * RNG.standard_normal((4, 6)))
    p = ops.softmax(x)
    assert_close(jnp.sum(p, -1), jnp.ones(4))  # a distribution
    assert_close(ops.softmax(x + 100.0), p, 256)  # the same for all logits shifted
    assert_close(jnp.exp(ops.log_softmax(x)), p)
    assert_close(ops.softmax(x[:, ::-1]), p[:, ::-1])
    two = jnp.stack([x[:, 0], jnp.zeros(4)], -1)
    assert_close(ops.softmax(two)[:, 0], ops.sigmoid(x[:, 0]))  # two classes are a sigmoid
    # Shifting all logits changes nothing, so a gradient sums to zero.
    for op in (ops.softmax, ops.log_softmax):
        dx = jax.grad(lambda x: jnp.sum(jnp.sin(op(x))))(x)  # noqa: B023
        np.testing.assert_allclose(jnp.sum(dx, -1), 0, atol=1e-14)


@EACH
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits(name, size):
    """Values and gradients are finite, and the winner takes all."""
    op, _ = OPS[name]
    x = jnp.asarray([size, -size, 0.0])
    y, pull_back = jax.vjp(op, x)
    assert_close(ops.softmax(x), jnp.asarray([1.0, 0.0, 0.0]))
    (dx,) = pull_back(jnp.asarray([1.0, 2.0, 3.0]))
    assert bool(jnp.all(jnp.isfinite(y)))
    assert bool(jnp.all(jnp.isfinite(dx)))
    assert_close(dx, jnp.asarray([0.0, 0.0, 0.0] if name == "softmax" else [-5.0, 2.0, 3.0]))


@EACH
def test_ruled_out_classes(name):
    """A logit of -inf is a class of probability 0; the others are as if it were not there."""
    op, _ = OPS[name]
    x = jnp.asarray([0.3, -jnp.inf, 1.2])
    rest = op(x[jnp.asarray([0, 2])])
    y = op(x)
    assert_close(y[jnp.asarray([0, 2])], rest)
    assert float(y[1]) == (0.0 if name == "softmax" else -np.inf)
    dx = jax.vjp(op, x)[1](jnp.asarray([1.0, 0.0, 2.0]))[0]
    assert bool(jnp.all(jnp.isfinite(dx)))
    assert dx[1] == 0.0


@EACH
def test_one_class(name):
    op, _ = OPS[name]
    assert float(op(jnp.asarray([7.0]))[0]) == (1.0 if name == "softmax" else 0.0)
    assert float(jax.grad(lambda x: op(x)[0])(jnp.asarray([7.0]))[0]) == 0.0


@EACH
@pytest.mark.parametrize(("x", "words"), [
    (jnp.ones(()), "expects x of shape (..., n_classes); got ()"),
    (jnp.ones((3, 0)), "expects x of shape (..., n_classes); got (3, 0)"),
    (jnp.arange(3), "expects floating-point x; got int32; convert it: x.astype(jnp.float32)"),
])
def test_errors(name, x, words):
    with pytest.raises(ValueError, match=re.escape(f"{name} {words}")):
        OPS[name][0](x)
