"""Activations: values against SciPy and PyTorch, slopes, kinks, and the far ends of the number line."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxnn import ops
from tests.compare import assert_close, check_backward

X = np.array([-7.3, -2.0, -0.5, -1e-3, 1e-3, 0.4, 1.0, 3.2, 9.1])


# name: (op, keywords, y by NumPy and SciPy, y by PyTorch)
TABLE = {
    "sigmoid": (ops.sigmoid, {}, scipy.special.expit, lambda F, x: F.sigmoid(x)),
    "tanh": (ops.tanh, {}, np.tanh, lambda F, x: F.tanh(x)),
    "relu": (ops.relu, {}, lambda x: x * (x > 0), lambda F, x: F.relu(x)),
    "leaky_relu": (ops.leaky_relu, {}, lambda x: np.where(x > 0, x, 0.01 * x), lambda F, x: F.leaky_relu(x)),
    "leaky_relu, slope 0.3": (
        ops.leaky_relu, {"slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x),
        lambda F, x: F.leaky_relu(x, 0.3)),
    "leaky_relu, slope 0": (ops.leaky_relu, {"slope": 0}, lambda x: x * (x > 0), lambda F, x: F.relu(x)),
    "leaky_relu, slope 2": (
        ops.leaky_relu, {"slope": 2}, lambda x: np.where(x > 0, x, 2 * x), lambda F, x: F.leaky_relu(x, 2.0)),
    "elu": (ops.elu, {}, lambda x: np.where(x > 0, x, np.expm1(x)), lambda F, x: F.elu(x)),
    "elu, alpha 0.2": (
        ops.elu, {"alpha": 0.2}, lambda x: np.where(x > 0, x, 0.2 * np.expm1(x)), lambda F, x: F.elu(x, 0.2)),
    "softplus": (ops.softplus, {}, lambda x: np.log1p(np.exp(x)), lambda F, x: F.softplus(x, threshold=1e9)),
    "gelu": (ops.gelu, {}, lambda x: x * scipy.stats.norm.cdf(x), lambda F, x: F.gelu(x)),
    "gelu_tanh": (
        ops.gelu_tanh, {}, lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        lambda F, x: F.gelu(x, approximate="tanh")),
    "silu": (ops.silu, {}, lambda x: x * scipy.special.expit(x), lambda F, x: F.silu(x)),
}
EACH = pytest.mark.parametrize("name", TABLE)
PLAIN = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu")


@functools.cache
def checked(name):
    """(y, dy, dx) at X, on which all routes agree."""
    op, static, *_ = TABLE[name]
    y, dy, (dx,) = check_backward(op, X.reshape(3, 3), **static)
    return np.ravel(y), np.ravel(dy), np.ravel(dx)


@pytest.mark.sampled
@EACH
@pytest.mark.usefixtures("x64")
def test_value_and_backward(name):
    np.testing.assert_allclose(checked(name)[0], TABLE[name][2](X), rtol=1e-12, atol=1e-14)


@EACH
@pytest.mark.usefixtures("x64")
def test_value_and_slope_against_pytorch(name, torch):
    got, dy, dx = checked(name)
    x = torch.tensor(X, requires_grad=True)
    y = TABLE[name][3](torch.nn.functional, x)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", PLAIN)
def test_any_shape(name):
    op, shapes = getattr(ops, name), [(), (1,), (0,), (2, 3, 4)]
    xs = [np.linspace(-2.0, 3.0, int(np.prod(shape)), dtype=np.float32).reshape(shape) for shape in shapes]

    @jax.jit
    def program(xs):
        return [(op(x), jax.grad(lambda x: jnp.sum(op(x)))(x)) for x in xs]

    for shape, (y, dx) in zip(shapes, program(xs), strict=True):
        assert y.shape == dx.shape == shape


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", PLAIN)
def test_far_ends(name, dtype):
    """Values and slopes at ±1e4 are finite and those of the asymptotes; at ±inf nothing is NaN but
    what is inf · 0 in the formula itself."""
    op = getattr(ops, name)
    value_and_slope = jax.jit(jax.vmap(jax.value_and_grad(lambda x: op(x))))
    largest = float(jnp.finfo(dtype).max)
    values, slopes = value_and_slope(jnp.asarray([1e4, -1e4, largest, -largest], dtype))
    saturates = name in ("sigmoid", "tanh")
    low = {"tanh": -1.0, "leaky_relu": -100.0, "elu": -1.0}.get(name, 0.0)
    ends = (1.0 if saturates else 1e4, 0.0 if saturates else 1.0), (low, 0.01 if name == "leaky_relu" else 0.0)
    for got_y, got_slope, (y, slope) in zip(values, slopes, ends):
        tolerance = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(float(got_y), y, rtol=2 * tolerance)
        np.testing.assert_allclose(float(got_slope), slope, rtol=2 * tolerance, atol=0 if slope else 1e-30)
    assert np.all(np.isfinite(np.asarray(slopes, np.float32)))


@pytest.mark.parametrize("name", PLAIN)
def test_nan_stays_nan(name):
    op = getattr(ops, name)
    assert jnp.isnan(op(jnp.nan))


@pytest.mark.parametrize(("name", "slope"), [
    ("relu", 0.0), ("leaky_relu", 0.01), ("elu", 1.0), ("sigmoid", 0.25), ("tanh", 1.0), ("softplus", 0.5),
    ("gelu", 0.5), ("gelu_tanh", 0.5), ("silu", 0.5)])
def test_slope_at_zero(name, slope):
    """At the kink the slope of the left side is taken, by rule and by the reference alike."""
    op = getattr(ops, name)

    @jax.jit
    @jax.vmap
    def slopes(zero):
        return jax.grad(op)(zero), jax.grad(op.reference)(zero), jax.jvp(op, (zero,), (jnp.ones(()),))[1]

    for found in slopes(jnp.asarray([0.0, -0.0])):
        np.testing.assert_allclose(found, slope, rtol=1e-6, atol=1e-12)


# Laws.


@pytest.mark.usefixtures("x64")
def test_symmetries():
    @jax.jit
    def both_sides(x):
        return [
            (ops.sigmoid(-x), 1 - ops.sigmoid(x)), (ops.tanh(-x), -ops.tanh(x)),
            (ops.tanh(x), 2 * ops.sigmoid(2 * x) - 1), (ops.softplus(x) - ops.softplus(-x), x),
            *((op(x) - op(-x), x) for op in (ops.gelu, ops.gelu_tanh, ops.silu)),
            (ops.leaky_relu(x, slope=0.0), ops.relu(x)),
            (jax.vmap(jax.grad(ops.softplus))(x), ops.sigmoid(x))]

    for left, right in both_sides(X):
        assert_close(left, right)


@pytest.mark.parametrize("name", PLAIN)
def test_the_cache_is_one_array(name):
    x = jnp.asarray(X, jnp.float32)
    _, cache = getattr(ops, name).forward(x)
    assert [leaf.shape for leaf in jax.tree.leaves(cache)] == [x.shape]


# Errors.


@pytest.mark.parametrize("name", PLAIN)
def test_integers_are_refused(name):
    with pytest.raises(ValueError, match=re.escape(
            f"{name} expects floating-point x; got int32; convert it: x.astype(jnp.float32)")):
        getattr(ops, name)(jnp.arange(3))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: ops.leaky_relu(1.0, slope=-0.1), "leaky_relu expects a finite slope >= 0; got -0.1"),
    (lambda: ops.elu(1.0, alpha=-1.0), "elu expects a finite alpha >= 0; got -1.0"),
    (lambda: ops.leaky_relu(1.0, slope=float("nan")), "leaky_relu expects a finite slope >= 0; got nan"),
])
def test_keywords_out_of_range(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
