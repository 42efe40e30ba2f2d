"""Activations in pieces: against PyTorch, at their kinks and at infinity."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import crelu, hard_sigmoid, hard_swish, mish, prelu, relu6, selu
from tests.ops.pictures import channels_first, channels_last, check_beside_torch

X = 3 * np.random.default_rng(0).standard_normal(60)


@pytest.mark.parametrize(("op", "name"), [(relu6, "relu6"), (selu, "selu"), (hard_swish, "hardswish"), (mish, "mish")],
                         ids=lambda op: getattr(op, "name", ""))
@pytest.mark.usefixtures("x64")
def test_against_pytorch(op, name, torch):
    check_beside_torch(torch, op, getattr(torch.nn.functional, name), X)


@pytest.mark.usefixtures("x64")
def test_hard_sigmoid_and_crelu(torch):
    # PyTorch has 1/6 in single precision here.
    check_beside_torch(torch, hard_sigmoid, torch.nn.functional.hardsigmoid, X, rtol=1e-7)
    rows = X.reshape(10, 6)
    check_beside_torch(torch, crelu, lambda x: torch.cat([x.relu(), (-x).relu()], -1), rows)


@pytest.mark.parametrize("slope", [np.array([0.3, -0.2, 0.0]), np.array(0.25)], ids=["of each channel", "one"])
@pytest.mark.usefixtures("x64")
def test_prelu(slope, torch):
    check_beside_torch(
        torch, prelu, lambda a, x: channels_last(torch.nn.functional.prelu(channels_first(x), a.reshape(-1))),
        {"slope": slope}, X.reshape(4, 5, 3))


@pytest.mark.parametrize(("op", "values", "slopes"), [
    (relu6, (0, 0, 6, 6), (0, 0, 0, 0)), (selu, (-1.7580993, 0, np.inf, np.inf), (0, 1.7580993, 1.050701, 1.050701)),
    (hard_sigmoid, (0, 0.5, 1, 1), (0, 1 / 6, 0, 0)), (hard_swish, (0, 0, 1e4, np.inf), (0, 0.5, 1, 1)),
    (mish, (0, 0, 1e4, np.inf), (0, 0.6, 1, 1)),
], ids=lambda op: getattr(op, "name", ""))
def test_at_infinity_and_at_0(op, values, slopes):
    """At -inf, 0, 1e4 and inf: the limits."""
    x = jnp.array([-jnp.inf, 0.0, 1e4, jnp.inf])
    y, pull_back = jax.vjp(op, x)
    if op is selu:
        values = (values[0], 0, y[2], np.inf)
    np.testing.assert_allclose(y, values, rtol=1e-6)
    np.testing.assert_allclose(pull_back(jnp.ones(4))[0], slopes, rtol=1e-5)
    assert np.isnan(op(jnp.nan)) and np.isnan(jax.grad(op)(jnp.nan)) == (op not in (relu6, hard_sigmoid))


@pytest.mark.parametrize(("op", "kinks", "slopes"), [
    (relu6, (0, 6), (0, 0)), (hard_sigmoid, (-3, 3), (0, 0)), (hard_swish, (-3, 3), (0, 1)),
], ids=lambda op: getattr(op, "name", ""))
def test_the_slope_at_a_kink(op, kinks, slopes):
    np.testing.assert_array_equal(jax.vmap(jax.grad(op))(jnp.array(kinks, jnp.float32)), slopes)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: prelu({"slope": jnp.ones(2)}, jnp.ones((4, 3))), "prelu expects slope of shape (3,); got (2,)"),
    (lambda: prelu({}, jnp.ones(3)), "prelu expects params to be {'slope': (3,)}; got keys []"),
    (lambda: mish(jnp.arange(3)), "mish expects floating-point x; got int32"),
    (lambda: crelu([1.0]), "crelu expects x to be an array; got list; convert it: jnp.asarray(x)"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
