"""Softmax and log-softmax: against SciPy and PyTorch, laws, very large logits, ruled-out classes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn import ops
from tests.compare import assert_close, check_backward, pulled_back

RNG = np.random.default_rng(0)
SHAPES = [(1,), (2,), (5,), (3, 4), (2, 3, 4)]
OPS = {"softmax": (ops.softmax, scipy.special.softmax),
       "log_softmax": (ops.log_softmax, scipy.special.log_softmax)}
EACH = pytest.mark.parametrize("name", OPS)


@functools.cache
def checked(name, shape):
    """(x, y, dy, dx), on which all routes agree."""
    x = 3 * np.random.default_rng(len(name)).standard_normal(shape)
    y, dy, (dx,) = check_backward(OPS[name][0], x)
    return x, y, dy, dx


@pytest.mark.sampled
@EACH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("x64")
def test_value_and_backward(name, shape):
    x, y, _, _ = checked(name, shape)
    np.testing.assert_allclose(y, OPS[name][1](x, axis=-1), rtol=1e-13)


@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(name, torch):
    x, got, dy, dx = checked(name, (3, 4))
    t = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, name)(t, dim=-1)
    y.backward(torch.tensor(np.asarray(dy)))
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.sampled
@EACH
@pytest.mark.parametrize("axis", [0, 1, -2, 2])
@pytest.mark.usefixtures("x64")
def test_other_axes(name, axis, torch):
    x = 3 * RNG.standard_normal((3, 2, 4))
    y, dy, (dx,) = check_backward(OPS[name][0], x, axis=axis)
    np.testing.assert_allclose(y, OPS[name][1](x, axis=axis), rtol=1e-13)
    t = torch.tensor(x, requires_grad=True)
    getattr(torch.nn.functional, name)(t, dim=axis).backward(torch.tensor(np.asarray(dy)))
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-11, atol=1e-14)
    # Under vmap the axis is one of the example, wherever the examples stand.
    op = functools.partial(OPS[name][0], axis=axis % 3)
    assert_close(jax.vmap(op, 1, 1)(jnp.stack([x, 2 * x], 1)), jnp.stack([op(x), op(2 * x)], 1))


@pytest.mark.usefixtures("x64")
def test_laws():
    x = 5 * RNG.standard_normal((4, 6))
    softmax = jax.jit(ops.softmax)
    p = np.asarray(softmax(x))
    assert_close(np.sum(p, -1), np.ones(4))  # a distribution
    assert_close(softmax(x + 100.0), p, 256)  # the same for all logits shifted
    assert_close(np.exp(jax.jit(ops.log_softmax)(x)), p)
    assert_close(softmax(x[:, ::-1]), p[:, ::-1])
    two = np.stack([x[:, 0], np.zeros(4)], -1)
    assert_close(softmax(two)[:, 0], jax.jit(ops.sigmoid)(x[:, 0]))  # two classes are a sigmoid
    # Shifting all logits changes nothing, so a gradient sums to zero.
    for op in (ops.softmax, ops.log_softmax):
        _, (dx,) = pulled_back(op, x, dy=np.cos(x))
        np.testing.assert_allclose(np.sum(dx, -1), 0, atol=1e-14)


@EACH
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits(name, size):
    """Values and gradients are finite, and the winner takes all."""
    op, _ = OPS[name]
    x = jnp.asarray([size, -size, 0.0])
    y, (dx,) = pulled_back(op, x, dy=jnp.asarray([1.0, 2.0, 3.0]))
    assert_close(jnp.asarray(np.exp(y) if name == "log_softmax" else y), jnp.asarray([1.0, 0.0, 0.0]))
    assert np.all(np.isfinite(y))
    assert np.all(np.isfinite(dx))
    assert_close(dx, jnp.asarray([0.0, 0.0, 0.0] if name == "softmax" else [-5.0, 2.0, 3.0]))


@EACH
def test_ruled_out_classes(name):
    """A logit of -inf is a class of probability 0; the others are as if it were not there."""
    op, _ = OPS[name]
    y, (dx,) = map(np.asarray, pulled_back(op, jnp.asarray([0.3, -jnp.inf, 1.2]),
                                           dy=jnp.asarray([1.0, 0.0, 2.0])))
    assert_close(y[[0, 2]], jax.jit(op)(jnp.asarray([0.3, 1.2])))
    assert float(y[1]) == (0.0 if name == "softmax" else -np.inf)
    assert np.all(np.isfinite(dx))
    assert dx[1] == 0.0


@EACH
def test_one_class(name):
    op, _ = OPS[name]
    y, (dx,) = pulled_back(op, jnp.asarray([7.0]))
    assert float(y[0]) == (1.0 if name == "softmax" else 0.0)
    assert float(dx[0]) == 0.0


@EACH
@pytest.mark.parametrize(("axis", "words"), [
    (2, "expects axis, an integer in -2 .. 1; got 2"), (-3, "expects axis, an integer in -2 .. 1; got -3"),
    (True, "expects axis, an integer in -2 .. 1; got True"), (None, "expects axis, an integer in -2 .. 1; got None"),
    (0, "expects x of at least one class along axis 0; got (0, 3)"),
])
def test_axes_that_are_none(name, axis, words):
    with pytest.raises(ValueError, match=re.escape(f"{name} {words}")):
        OPS[name][0](jnp.ones((0, 3)), axis=axis)


@EACH
@pytest.mark.parametrize(("x", "words"), [
    (jnp.ones(()), "expects x of shape (..., n_classes); got ()"),
    (jnp.ones((3, 0)), "expects x of shape (..., n_classes); got (3, 0)"),
    (jnp.arange(3), "expects floating-point x; got int32; convert it: x.astype(jnp.float32)"),
])
def test_errors(name, x, words):
    with pytest.raises(ValueError, match=re.escape(f"{name} {words}")):
        OPS[name][0](x)
