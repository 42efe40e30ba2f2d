"""Focal loss: cross-entropy that counts what is easily told apart for less, for the many places without an object."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_float, expect_real, is_number, known
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted
from jaxnn.ops.reduction import Reduced, reduce_backward, reduce_forward

__all__ = ["FocalCache", "focal_loss"]


class FocalCache(NamedTuple):
    logits: Any
    labels: Any
    reduced: Reduced
    """Of the loss of each element."""
    focus: Static
    """(γ, α of a yes, α of a no)."""


@hand_derived
def focal_loss(logits: Any, labels: Any, weights: Any = None, *, gamma: float = 2.0, alpha: float | None = 0.25,
               reduction: str = "sum", axes: int | Sequence[int] | None = None) -> Any:
    """L = Σ w ℓ, ℓ = -α t (1 - p)^γ log p - (1 - α) (1 - t) p^γ log(1 - p), p = σ(z).

    Args:
      logits: z, any shape: independent yes-or-no questions.
      labels: t, the same shape, in [0, 1]; integer, boolean or floating-point.
      weights, reduction, axes: as for every loss of jaxnn.ops.loss; ℓ has the shape of z.
      gamma: γ >= 0; with 0 and alpha=None this is `binary_cross_entropy`.
      alpha: α in [0, 1], what a yes counts, where a no counts 1 - α; None for 1 and 1.
    Returns:
      L, nats: (), or the axes that are left.
    Raises:
      InputError: the shapes differ, a label known at the call is outside [0, 1], or γ or α is.
    For t of 0 and 1, torchvision's `sigmoid_focal_loss` is equal; its alpha of -1 is None here.

    >>> round(float(focal_loss(jnp.zeros(1), jnp.ones(1), alpha=None)), 4)
    0.1733
    """
    who = focal_loss.name
    expect_float(who, "logits", logits)
    expect_real(who, "labels", labels)
    expect(jnp.shape(labels) == jnp.shape(logits), who, f"labels of the shape of logits {jnp.shape(logits)}",
           str(jnp.shape(labels)))
    values = known(labels)
    expect(values is None or bool(((values >= 0) & (values <= 1)).all()), who, "labels in [0, 1]",
           "" if values is None or not values.size else f"values from {values.min()} to {values.max()}")
    expect(is_number(gamma, 0), who, "gamma, a finite number of at least 0", repr(gamma))
    expect(alpha is None or is_number(alpha, 0, 1), who, "alpha in [0, 1] or None", repr(alpha))
    logits, labels, weights = promoted(logits, labels, weights)
    focus = (float(gamma), 1.0, 1.0) if alpha is None else (float(gamma), float(alpha), 1 - float(alpha))
    t = jnp.asarray(labels, logits.dtype)
    yes, no = _costs(logits, t, focus)
    total, reduced = reduce_forward(who, t * yes + (1 - t) * no, weights, reduction, axes)
    return total, FocalCache(logits, labels, reduced, Static(focus))


@focal_loss.defbackward
def focal_loss_backward(cache: Any, dy: Any) -> Any:
    """A yes costs α (1 - p)^γ s with s = -log p = log(1 + e^-z). As p' = p (1 - p) and s' = -(1 - p),

        d/dz (1 - p)^γ s = -(1 - p)^γ (γ p s + 1 - p)

    and a no is a yes of -z. So with dℓ = dy w and s₋ = log(1 + e^z)

        dz = dℓ (-t α (1 - p)^γ (γ p s + 1 - p) + (1 - t) (1 - α) p^γ (γ (1 - p) s₋ + p))
        dt = dℓ (α (1 - p)^γ s - (1 - α) p^γ s₋)

    Source: Lin et al. (2017), eq. 5 and appendix B.
    """
    z, labels, reduced, static = cache
    dlosses, dweights = reduce_backward(reduced, dy)
    t = jnp.asarray(labels, z.dtype)
    yes, no = _costs(z, t, static.value)
    yes_slope, no_slope = _slopes(z, static.value)
    is_float = jnp.issubdtype(jnp.result_type(labels), jnp.floating)
    return (dlosses * ((1 - t) * no_slope - t * yes_slope), dlosses * (yes - no) if is_float else None, dweights)


def _costs(z: Any, t: Any, focus: tuple[float, float, float]) -> tuple[Any, Any]:
    """What a yes and a no cost; 0 where that is infinite and the label rules it out."""
    _, alpha_yes, alpha_no = focus
    yes, no = _cost(z, focus[0]), _cost(-z, focus[0])
    return (alpha_yes * jnp.where((t == 0) & jnp.isneginf(z), 0, yes),
            alpha_no * jnp.where((t == 1) & jnp.isposinf(z), 0, no))


def _cost(z: Any, gamma: float) -> Any:
    """(1 - p)^γ log(1 + e^-z). (1 - p)^γ = e^(-γ log(1 + e^z)) is exact where p is near 1."""
    if gamma == 0:
        return jnp.logaddexp(-z, 0)
    return _easy(z, gamma) * jnp.logaddexp(-z, 0)


def _easy(z: Any, gamma: float) -> Any:
    return jnp.exp(-gamma * jnp.logaddexp(z, 0))


def _slopes(z: Any, focus: tuple[float, float, float]) -> tuple[Any, Any]:
    """(-d/dz of what a yes costs, d/dz of what a no costs), both at least 0."""
    gamma, alpha_yes, alpha_no = focus
    return alpha_yes * _slope(z, gamma), alpha_no * _slope(-z, gamma)


def _slope(z: Any, gamma: float) -> Any:
    """(1 - p)^γ (γ p s + 1 - p)."""
    if gamma == 0:
        return lax.logistic(-z)
    # p s falls to 0 as e^z z does; 0 times infinity is NaN.
    p = lax.logistic(z)
    falling = jnp.where(p == 0, 0, p * jnp.where(p == 0, 0, jnp.logaddexp(-z, 0)))
    return _easy(z, gamma) * (gamma * falling + lax.logistic(-z))
