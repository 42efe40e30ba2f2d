"""Softmax and its logarithm, over the last axis.

    p_i = e^{x_i} / Σ_j e^{x_j}        log p_i = x_i - log Σ_j e^{x_j}

The largest x is subtracted first, which changes neither and keeps every exponential in [0, 1].
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_float
from jaxnn.hand_derived import hand_derived

__all__ = ["log_softmax", "softmax"]


@hand_derived
def softmax(x: Any) -> Any:
    """p = e^x / Σ e^x over the last axis; (..., n_classes), n_classes >= 1."""
    _expect_logits("softmax", x)
    e = jnp.exp(x - _largest(x))
    p = e / jnp.sum(e, -1, keepdims=True)
    return p, p


@softmax.defbackward
def softmax_backward(p: Any, dy: Any) -> Any:
    """∂p_i/∂x_j = p_i (δ_ij - p_j), so dx_j = Σ_i dy_i p_i (δ_ij - p_j) = p_j (dy_j - Σ_i dy_i p_i).

    Source: Bridle (1990).
    """
    return (p * (dy - jnp.sum(dy * p, -1, keepdims=True)),)


@hand_derived
def log_softmax(x: Any) -> Any:
    """log p = x - log Σ e^x over the last axis, in nats; (..., n_classes), n_classes >= 1."""
    _expect_logits("log_softmax", x)
    shifted = x - _largest(x)
    log_p = shifted - jnp.log(jnp.sum(jnp.exp(shifted), -1, keepdims=True))
    return log_p, log_p


@log_softmax.defbackward
def log_softmax_backward(log_p: Any, dy: Any) -> Any:
    """∂log p_i/∂x_j = δ_ij - p_j, so dx_j = dy_j - p_j Σ_i dy_i."""
    return (dy - jnp.exp(log_p) * jnp.sum(dy, -1, keepdims=True),)


def _largest(x: Any) -> Any:
    return lax.stop_gradient(jnp.max(x, -1, keepdims=True))


def _expect_logits(who: str, x: Any) -> None:
    expect_float(who, "x", x)
    expect(jnp.ndim(x) >= 1 and x.shape[-1] >= 1, who, "x of shape (..., n_classes)", str(jnp.shape(x)))
