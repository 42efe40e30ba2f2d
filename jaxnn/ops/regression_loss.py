"""Losses L of numbers that are predicted: of one example; the cost is their mean over a batch.

    squared error    ℓ = (p - t)²
    Huber's          ℓ = (p - t)² / 2 near the target, and a line farther off

Weights, reduction and axes are as of every loss, see `jaxnn.ops.loss`: ℓ has the shape of the predictions p.
"""

from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect, is_number
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted
from jaxnn.ops.loss import Axes, expect_alike, is_float
from jaxnn.ops.reduction import reduce_backward, reduce_forward

__all__ = ["huber", "squared_error"]


@hand_derived
def squared_error(predictions: Any, targets: Any, weights: Any = None, *, reduction: str = "sum",
                  axes: Axes = None) -> Any:
    """L = Σ w ℓ, ℓ = (p - t)² (the course's L2 loss).

    Args:
      predictions: p, any shape.
      targets: t, the same shape.
      weights, reduction, axes: as for every loss; ℓ has the shape of p.
    Returns:
      L: (), or the axes that are left; in the square of the unit of p. PyTorch's `mse_loss` is equal, with
      reduction="mean" by default.
    Raises:
      InputError: the shapes differ.

    >>> float(squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 5.0])))
    10.0
    """
    expect_alike(squared_error.name, "predictions", predictions, "targets", targets)
    predictions, targets, weights = promoted(predictions, targets, weights)
    error = predictions - targets
    total, reduced = reduce_forward(squared_error.name, error * error, weights, reduction, axes)
    return total, (error, reduced, Static(is_float(targets)))


@squared_error.defbackward
def squared_error_backward(cache: Any, dy: Any) -> Any:
    """dp = 2 dℓ (p - t) with dℓ = dy w, dt = -dp."""
    error, reduced, has_gradient = cache
    dlosses, dweights = reduce_backward(reduced, dy)
    dp = 2 * dlosses * error
    return dp, -dp if has_gradient.value else None, dweights


@hand_derived
def huber(predictions: Any, targets: Any, weights: Any = None, *, delta: float = 1.0, reduction: str = "sum",
          axes: Axes = None) -> Any:
    """L = Σ w h(p - t), h(e) = e²/2 where |e| <= delta, else delta (|e| - delta/2).

    Args:
      predictions: p, any shape.
      targets: t, the same shape.
      weights, reduction, axes: as for every loss; ℓ = h(p - t) has the shape of p.
      delta: where the parabola becomes a line, > 0, in the unit of p.
    Returns:
      L: (), or the axes that are left. PyTorch's `huber_loss` is equal, with reduction="mean" by default.
    Raises:
      InputError: the shapes differ, or delta <= 0.

    >>> float(huber(jnp.array([1.0, 2.0]), jnp.array([0.0, 5.0])))
    3.0
    """
    expect_alike(huber.name, "predictions", predictions, "targets", targets)
    expect(is_number(delta) and delta > 0, huber.name, "a finite delta > 0", repr(delta))
    predictions, targets, weights = promoted(predictions, targets, weights)
    error = predictions - targets
    inside = jnp.clip(error, -delta, delta)
    # e²/2 and delta |e| - delta²/2 are both c (e - c/2) with c = e clipped to [-delta, delta].
    total, reduced = reduce_forward(huber.name, inside * (error - inside / 2), weights, reduction, axes)
    return total, (inside, reduced, Static(is_float(targets)))


@huber.defbackward
def huber_backward(cache: Any, dy: Any) -> Any:
    """h'(e) = e clipped to [-delta, delta]: the error inside, a slope of ±delta outside; with dℓ = dy w,
    dp = dℓ h'(p - t) and dt = -dp.

    Source: Huber (1964), section 4.
    """
    inside, reduced, has_gradient = cache
    dlosses, dweights = reduce_backward(reduced, dy)
    dp = dlosses * inside
    return dp, -dp if has_gradient.value else None, dweights
