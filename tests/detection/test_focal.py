"""Focal loss: PyTorch, binary cross-entropy where γ is 0, infinite logits, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import binary_cross_entropy
from jaxnn.detection import focal_loss
from tests.compare import check_backward

RNG = np.random.default_rng(0)
Z, T = 3 * RNG.standard_normal(30), RNG.integers(0, 2, 30).astype(float)
INF = np.inf


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, None), (0.0, 0.4)])
@pytest.mark.usefixtures("x64")
def test_gradients(gamma, alpha):
    soft = RNG.uniform(0, 1, 30)
    check_backward(focal_loss, Z, soft, RNG.uniform(0, 2, 30), gamma=gamma, alpha=alpha, fd_tolerance=1e-6)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, None), (0.0, 0.4)])
@pytest.mark.usefixtures("x64")
def test_against_pytorch(gamma, alpha, torch):
    """As torchvision computes it, from its source's equation."""
    z, t = torch.tensor(Z, requires_grad=True), torch.tensor(T)
    p = torch.sigmoid(z)
    p_t = p * t + (1 - p) * (1 - t)
    each = torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none") * (1 - p_t) ** gamma
    if alpha is not None:
        each = (alpha * t + (1 - alpha) * (1 - t)) * each
    each.sum().backward()
    value, slope = jax.value_and_grad(focal_loss)(jnp.asarray(Z), jnp.asarray(T), gamma=gamma, alpha=alpha)
    np.testing.assert_allclose(value, each.sum().item(), rtol=1e-12)
    np.testing.assert_allclose(slope, z.grad, rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_without_focus_it_is_cross_entropy():
    for options in ({}, {"axes": ()}, {"reduction": "mean"}):
        np.testing.assert_allclose(focal_loss(Z, T, gamma=0.0, alpha=None, **options),
                                   binary_cross_entropy(Z, T, **options), rtol=1e-14)


@pytest.mark.parametrize(("logit", "label", "value", "slope"), [
    (INF, 1.0, 0, 0), (-INF, 0.0, 0, 0), (-INF, 1.0, INF, -1), (INF, 0.0, INF, 1),
    (1e4, 1.0, 0, 0), (-1e4, 1.0, 1e4, -1), (1e4, 0.0, 1e4, 1),
    (0.0, 1.0, 0.25 * np.log(2), -0.25 * (np.log(2) + 0.5))])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_at_infinity(logit, label, value, slope, gamma):
    if gamma == 0 and logit == 0:
        value, slope = np.log(2), -0.5
    got, dz = jax.value_and_grad(focal_loss)(jnp.float32(logit), label, gamma=gamma, alpha=None)
    np.testing.assert_allclose(got, value, rtol=1e-6)
    np.testing.assert_allclose(dz, slope, rtol=1e-6)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: focal_loss(jnp.zeros(2), jnp.zeros(3)), "focal_loss expects labels of the shape of logits (2,); got (3,)"),
    (lambda: focal_loss(jnp.zeros(2), jnp.array([0, 2])), "labels in [0, 1]; got values from 0 to 2"),
    (lambda: focal_loss(jnp.zeros(2), jnp.zeros(2), gamma=-1.0), "gamma, a finite number of at least 0; got -1.0"),
    (lambda: focal_loss(jnp.zeros(2), jnp.zeros(2), alpha=2), "alpha in [0, 1] or None; got 2"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
