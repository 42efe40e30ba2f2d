"""Normalization within one example: against PyTorch; invariances; constant input; errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import group_norm, instance_norm, layer_norm, local_response_norm, rms_norm, standardize_kernel
from tests.compare import assert_close
from tests.ops.pictures import channels_first, channels_last, check_beside_torch

RNG = np.random.default_rng(7)  # not the 0 of the random cotangents: a norm has no slope along x
X = RNG.standard_normal((3, 4, 6))
BIAS, SCALE = RNG.standard_normal((2, 6))
PARAMS = {"bias": BIAS, "scale": SCALE}  # in the order of the leaves
NORMS = [(layer_norm, {}), (group_norm, {"groups": 3}), (group_norm, {"groups": 1}), (instance_norm, {}),
         (rms_norm, {})]
EACH = pytest.mark.parametrize(("op", "static"), NORMS, ids=str)


def theirs(torch, op, static):
    of = torch.nn.functional
    return {
        "layer_norm": lambda b, s, x: of.layer_norm(x, (6,), s, b),
        "group_norm": lambda b, s, x: channels_last(of.group_norm(channels_first(x), static.get("groups"), s, b)),
        "instance_norm": lambda b, s, x: channels_last(of.instance_norm(channels_first(x), weight=s, bias=b)),
        "rms_norm": lambda s, x: of.rms_norm(x, (6,), s, 1e-6),
    }[op.name]


@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(op, static, torch):
    params = {"scale": SCALE} if op is rms_norm else PARAMS
    check_beside_torch(torch, op, theirs(torch, op, static), params, X, **static)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
@pytest.mark.usefixtures("x64")
def test_local_response_norm_against_pytorch(size, torch):
    """PyTorch divides its alpha by the size."""
    check_beside_torch(
        torch, local_response_norm,
        lambda x: channels_last(torch.nn.functional.local_response_norm(channels_first(x), size, 0.3 * size, 0.6, 1.5)),
        X, size=size, alpha=0.3, beta=0.6, k=1.5)


@pytest.mark.usefixtures("x64")
def test_standardized_kernels(torch):
    def plain(kernel):
        variance, mean = torch.var_mean(kernel, (0, 1, 2), unbiased=False)
        return (kernel - mean) / torch.sqrt(variance + 1e-5)

    check_beside_torch(torch, standardize_kernel, plain, RNG.standard_normal((2, 3, 4, 5)))


@EACH
def test_scale_and_bias_may_be_left_out(op, static):
    x = jnp.asarray(X, jnp.float32)
    whole = {"scale": jnp.ones(6)} | ({} if op is rms_norm else {"bias": jnp.zeros(6)})
    assert_close(op({}, x, **static), op(whole, x, **static))
    for params in ({}, {"scale": jnp.ones(6)}):
        grads = jax.eval_shape(jax.grad(lambda p: jnp.sum(op(p, x, **static))), params)
        assert set(grads) == set(params)


@pytest.mark.sampled
@EACH
def test_a_scaled_example_is_the_same_example_and_a_constant_one_is_finite(op, static):
    x = 5 * jnp.asarray(X, jnp.float32)
    y = op({}, x, **static)
    np.testing.assert_allclose(op({}, 1000 * x, **static), y, atol=2e-5)
    if op is not rms_norm:
        np.testing.assert_allclose(op({}, x + 7, **static), y, atol=2e-5)
    constant = jnp.full_like(x, 3)
    y, pull_back = jax.vjp(lambda x: op({}, x, **static), constant)
    assert np.all(np.isfinite(y)) and np.all(np.isfinite(pull_back(x)[0]))


@EACH
def test_a_narrow_dtype(op, static):
    """Moments of many bfloat16 numbers are float32's; the value and the gradient come back as bfloat16."""
    x = (5 + jnp.asarray(RNG.standard_normal((40, 40, 6)), jnp.bfloat16)).astype(jnp.bfloat16)
    wide = op({}, x.astype(jnp.float32), **static)
    y = op({}, x, **static)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), wide, atol=2**-6)
    assert jax.eval_shape(jax.grad(lambda x: jnp.sum(op({}, x, **static))), x).dtype == jnp.bfloat16


@pytest.mark.parametrize(("call", "words"), [
    (lambda: layer_norm({"scale": SCALE[:5]}, X), "layer_norm expects scale of shape (6,); got (5,)"),
    (lambda: layer_norm({"gamma": SCALE}, X), "layer_norm expects params to be {'scale': (6,) or None, 'bias': (6,)"),
    (lambda: layer_norm({}, X, eps=0), "layer_norm expects a finite eps > 0; got 0"),
    (lambda: layer_norm({}, X.astype(int)), "layer_norm expects floating-point x; got int"),
    (lambda: group_norm({}, X, groups=4), "group_norm expects groups, a positive integer that divides the 6 channels"),
    (lambda: group_norm({}, X, groups=True), "group_norm expects groups, a positive integer"),
    (lambda: rms_norm(PARAMS, X), "rms_norm expects params to be {'scale': (6,) or None}; got keys ['bias', 'scale']"),
    (lambda: instance_norm({}, X[0, 0]), "instance_norm expects x of shape (..., channels); got (6,)"),
    (lambda: local_response_norm(X, size=0), "local_response_norm expects size, a positive integer; got 0"),
    (lambda: local_response_norm(X, k=0), "local_response_norm expects numbers k > 0, alpha >= 0 and beta; got k = 0"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
