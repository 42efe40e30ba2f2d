"""Batch normalization: each channel is centred and scaled by its statistics over the batch.

    μ = mean x    v = mean (x - μ)²    x̂ = (x - μ) r,  r = 1 / √(v + eps)    y = γ x̂ + β

The means run over the examples of the batch, which is the `vmap` axis named "examples", and over all
axes of x but the last, the channels. γ is params["scale"], β params["bias"]; v is the biased variance.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import InputError, expect, expect_float, expect_shape
from jaxnn.hand_derived import EXAMPLES, hand_derived

__all__ = ["batch_norm", "batch_norm_inference"]


@hand_derived
def batch_norm(params: Any, state: Any, x: Any, *, momentum: float = 0.9, eps: float = 1e-5) -> Any:
    """y = γ x̂ + β with the statistics of this batch, which also move the running ones. For training.

    Args:
      params: {"scale": (channels,), "bias": (channels,)}.
      state: {"mean": (channels,), "variance": (channels,)}, the running statistics.
      x: (..., channels), one example, under `jax.vmap(..., axis_name="examples")`.
      momentum: the part of the running statistics that is kept at each step, in [0, 1].
      eps: added to the variance, > 0.
    Returns:
      (y, state): y (..., channels); the new state, which has no gradient.
    Raises:
      InputError: a shape does not fit, or there is no axis "examples".
    """
    _check("batch_norm", params, state, x, eps)
    expect(0 <= momentum <= 1, "batch_norm", "momentum in [0, 1]", str(momentum))
    # Moments are summed in at least float32: bfloat16 holds 8 bits, a batch has thousands of terms.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    mean = _mean_over_batch(x.astype(wide))
    variance = _mean_over_batch(jnp.square(x.astype(wide) - mean))
    r = lax.rsqrt(variance + eps)
    y = ((x.astype(wide) - mean) * (r * params["scale"]) + params["bias"]).astype(x.dtype)
    batch = {"mean": mean, "variance": variance}
    moved = {name: lax.stop_gradient(momentum * state[name] + (1 - momentum) * batch[name]).astype(
        state[name].dtype) for name in state}
    return (y, moved), (params["scale"], x, mean, r)


@batch_norm.defbackward
def batch_norm_backward(cache: Any, dy: Any) -> Any:
    """With x̂ = (x - μ) r the chain rule gives dx̂ = γ dy, and, ⟨·⟩ being the mean over batch and space,

        dγ = Σ dy x̂        dβ = Σ dy        dx = r (dx̂ - ⟨dx̂⟩ - x̂ ⟨dx̂ x̂⟩)

    The two subtracted terms are what reaches x through μ and through v. For N numbers in a channel
    ∂μ/∂x_i = 1/N and ∂v/∂x_i = 2 (x_i - μ)/N, ∂r/∂v = -r³/2, and Σ (x - μ) = 0, so

        dv_total = Σ dx̂ (x - μ) (-r³/2)                 = -N r² ⟨dx̂ x̂⟩ / 2
        dx_i = dx̂_i r + dμ_total/N + dv_total 2 (x_i - μ)/N = r dx̂_i - r ⟨dx̂⟩ - r x̂_i ⟨dx̂ x̂⟩

    dγ and dβ are this example's share: under vmap they are summed over the examples as every weight
    gradient is. Two passes over x and dy are made, one for the means and one for dx.

    Args:
      cache: γ (channels,), x, μ (channels,), r (channels,).
      dy: (∂L/∂y, and of the state, which is not looked at).
    Source: Ioffe & Szegedy (2015), section 3.
    """
    scale, x, mean, r = cache
    dy, _ = dy
    d = dy.astype(mean.dtype)
    x_hat = (x.astype(mean.dtype) - mean) * r
    space = tuple(range(x.ndim - 1))
    dscale, dbias = jnp.sum(d * x_hat, space), jnp.sum(d, space)
    n = max(x.size // x.shape[-1], 1)
    mean_d, mean_dx_hat = lax.pmean((dbias / n, dscale / n), EXAMPLES)
    dx = (scale * r) * (d - mean_d - x_hat * mean_dx_hat)
    return {"scale": dscale, "bias": dbias}, None, dx


@hand_derived
def batch_norm_inference(params: Any, state: Any, x: Any, *, eps: float = 1e-5) -> Any:
    """y = γ (x - μ) r + β with the running statistics; x (..., channels), one example.

    Raises:
      InputError: a shape does not fit.
    """
    _check("batch_norm_inference", params, state, x, eps)
    state = lax.stop_gradient(state)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    r = lax.rsqrt(state["variance"] + eps)
    x_hat = (x.astype(wide) - state["mean"]) * r
    y = (x_hat * params["scale"] + params["bias"]).astype(x.dtype)
    return (y, state), (params["scale"], x_hat, r)


@batch_norm_inference.defbackward
def batch_norm_inference_backward(cache: Any, dy: Any) -> Any:
    """The statistics are constants here: dγ = Σ dy x̂, dβ = Σ dy, dx = γ r dy."""
    scale, x_hat, r = cache
    dy, _ = dy
    space = tuple(range(dy.ndim - 1))
    return {"scale": jnp.sum(dy * x_hat, space), "bias": jnp.sum(dy, space)}, None, dy * (scale * r)


def _mean_over_batch(x: Any) -> Any:
    try:
        return lax.pmean(jnp.mean(x, tuple(range(x.ndim - 1))), EXAMPLES)
    except NameError:
        raise InputError("batch_norm", "expects a batch to average over, the axis 'examples'; got one "
                         "example; wrap the layer in over_examples, or use jax.vmap(..., "
                         "axis_name='examples')") from None


def _check(who: str, params: Any, state: Any, x: Any, eps: float) -> None:
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 0) + ("channels",))
    for what, tree, names in (("params", params, {"scale", "bias"}), ("state", state, {"mean", "variance"})):
        expect(isinstance(tree, dict) and set(tree) == names, who, f"{what} to be {sorted(names)}",
               f"keys {sorted(tree)}" if isinstance(tree, dict) else type(tree).__name__)
        for name in sorted(names):
            expect_shape(who, name, tree[name], x.shape[-1:])
    expect(eps > 0, who, "eps > 0", str(eps))
