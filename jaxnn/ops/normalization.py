"""Batch normalization: each channel is centred and scaled by its statistics over the batch.

    μ = mean x    v = mean (x - μ)²    x̂ = (x - μ) r,  r = 1 / √(v + eps)    y = γ x̂ + β

The means run over the examples of the batch, which is the `vmap` axis named "examples", and over all
axes of x but the last, the channels. γ is params["scale"], β params["bias"]; v is the biased variance.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import Entries, InputError, expect, expect_float, expect_shape, is_number, weights
from jaxnn.hand_derived import EXAMPLES, hand_derived
from jaxnn.ops.dtypes import nothing_of, promoted, wide, wide_over_batch

__all__ = ["BatchNormCache", "BatchNormInferenceCache", "batch_norm", "batch_norm_inference"]


class BatchNormCache(NamedTuple):
    scale: Any
    """γ, (channels,); None where params has none."""
    x: Any
    """(..., channels)."""
    mean: Any
    """μ, (channels,), in at least float32."""
    r: Any
    """1 / √(v + eps), (channels,)."""
    entries: Entries
    """Of params."""


class BatchNormInferenceCache(NamedTuple):
    scale: Any
    """γ, (channels,); None where params has none."""
    x_hat: Any
    """(..., channels), in at least float32; nothing of x where no gradient of γ is due."""
    r: Any
    """1 / √(v + eps), (channels,)."""
    entries: Entries
    """Of params."""


@hand_derived(no_gradient=("state",))
def batch_norm(params: Any, state: Any, x: Any, *, momentum: float = 0.9, eps: float = 1e-5) -> Any:
    """y = γ x̂ + β with the statistics of this batch, which also move the running ones. For training.

    Args:
      params: {"scale": (channels,), "bias": (channels,)}; either may be left out or be None: then γ is 1, β 0.
      state: {"mean": (channels,), "variance": (channels,)}, the running statistics.
      x: (..., channels), one example, under `jax.vmap(..., axis_name="examples")`.
      momentum: the part of the running statistics that is kept at each step, in [0, 1].
      eps: added to the variance, > 0.
    Returns:
      (y, state): y (..., channels), of the dtype to which params and x promote; the new state, of its own dtype, which
      has no gradient.
    Raises:
      InputError: a shape does not fit, or there is no axis "examples".

    >>> import jax
    >>> state = {"mean": jnp.zeros(1), "variance": jnp.ones(1)}
    >>> batch = jax.vmap(lambda x: batch_norm({}, state, x)[0], axis_name="examples")
    >>> jnp.round(batch(jnp.array([[1.0], [3.0]]))).tolist()
    [[-1.0], [1.0]]
    """
    scale, bias, entries, mean_before, variance_before, like_state = _checked(
        batch_norm.name, params, state, x, eps)
    expect(is_number(momentum, 0, 1), batch_norm.name, "momentum in [0, 1]", repr(momentum))
    # Moments are summed in at least float32: bfloat16 holds 8 bits, a batch has thousands of terms.
    mean = _mean_over_batch(wide(x))
    variance = _mean_over_batch(jnp.square(wide(x) - mean))
    r = lax.rsqrt(variance + eps)
    dtype = promoted(scale, bias, x)[2].dtype
    y = _affine((wide(x) - mean) * (r if scale is None else r * scale), None, bias).astype(dtype)

    def moved(before: Any, batch: Any) -> Any:
        return lax.stop_gradient(momentum * before + (1 - momentum) * batch).astype(before.dtype)

    state = like_state.fill(mean=moved(mean_before, mean), variance=moved(variance_before, variance))
    return (y, state), BatchNormCache(scale, x, mean, r, entries)


@batch_norm.defbackward
def batch_norm_backward(cache: Any, dy: Any) -> Any:
    """With x̂ = (x - μ) r the chain rule gives dx̂ = γ dy, and, ⟨·⟩ being the mean over batch and space,

        dγ = Σ dy x̂        dβ = Σ dy        dx = r (dx̂ - ⟨dx̂⟩ - x̂ ⟨dx̂ x̂⟩)

    The two subtracted terms are what reaches x through μ and through v. For N numbers in a channel
    ∂μ/∂x_i = 1/N and ∂v/∂x_i = 2 (x_i - μ)/N, ∂r/∂v = -r³/2, and Σ (x - μ) = 0, so

        dμ_total = Σ dx̂ (-r)                            = -N r ⟨dx̂⟩
        dv_total = Σ dx̂ (x - μ) (-r³/2)                 = -N r² ⟨dx̂ x̂⟩ / 2
        dx_i = dx̂_i r + dμ_total/N + dv_total 2 (x_i - μ)/N = r dx̂_i - r ⟨dx̂⟩ - r x̂_i ⟨dx̂ x̂⟩

    dγ and dβ are this example's share: under vmap they are summed over the examples as every weight
    gradient is. Two passes over x and dy are made, one for the means and one for dx.

    Args:
      cache: a BatchNormCache.
      dy: (∂L/∂y, and of the state, which is not looked at).
    Source: Ioffe & Szegedy (2015), section 3.
    """
    scale, x, mean, r, entries = cache
    dy, _ = dy
    d = wide_over_batch(dy, x).astype(mean.dtype)
    centred = x.astype(mean.dtype) - mean  # as in forward, so that where XLA writes it out it is written once
    space = tuple(range(x.ndim - 1))
    dscale, dbias = r * jnp.sum(d * centred, space), jnp.sum(d, space)
    n = max(x.size // x.shape[-1], 1)
    mean_d, mean_dx_hat = lax.pmean((dbias / n, dscale / n), EXAMPLES)
    dx = (r if scale is None else scale * r) * (d - mean_d - centred * (r * mean_dx_hat))
    return entries.fill(scale=dscale, bias=dbias), None, dx


@hand_derived(no_gradient=("state",))
def batch_norm_inference(params: Any, state: Any, x: Any, *, eps: float = 1e-5) -> Any:
    """y = γ (x - μ) r + β with the running statistics, which are returned as they are.

    Args: as for `batch_norm`; x is one example, alone or under `jax.vmap`.
    Returns:
      (y, state).
    Raises:
      InputError: a shape does not fit.

    >>> state = {"mean": jnp.array([3.0]), "variance": jnp.array([4.0])}
    >>> y, _ = batch_norm_inference({"bias": jnp.ones(1)}, state, jnp.array([7.0]))
    >>> round(float(y[0]), 3)
    3.0
    """
    scale, bias, entries, mean, variance, _ = _checked(batch_norm_inference.name, params, state, x, eps)
    mean, variance = lax.stop_gradient((mean, variance))
    r = lax.rsqrt(wide(variance) + eps)
    x_hat = (wide(x) - mean) * r
    y = _affine(x_hat, scale, bias).astype(promoted(scale, bias, x)[2].dtype)
    cache = BatchNormInferenceCache(scale, nothing_of(x) if scale is None else x_hat, r, entries)
    return (y, lax.stop_gradient(state)), cache


@batch_norm_inference.defbackward
def batch_norm_inference_backward(cache: Any, dy: Any) -> Any:
    """The statistics are constants: dγ = Σ dy x̂, dβ = Σ dy, dx = γ r dy."""
    scale, x_hat, r, entries = cache
    d = wide_over_batch(dy[0], x_hat)
    space = tuple(range(d.ndim - 1))
    dscale = None if scale is None else jnp.sum(d * x_hat, space)
    dparams = entries.fill(scale=dscale, bias=jnp.sum(d, space))
    return dparams, None, d * (r if scale is None else scale * r)


def _affine(x: Any, scale: Any, bias: Any) -> Any:
    y = x if scale is None else x * scale
    return y if bias is None else y + bias


def _mean_over_batch(x: Any) -> Any:
    try:
        return lax.pmean(jnp.mean(x, tuple(range(x.ndim - 1))), EXAMPLES)
    except NameError:
        raise InputError(batch_norm.name, "expects a batch to average over, the axis 'examples'; got one "
                         "example; wrap the layer in over_examples, or use jax.vmap(..., "
                         "axis_name='examples')") from None


def _checked(who: str, params: Any, state: Any, x: Any, eps: float) -> tuple[Any, ...]:
    """(γ, β, the Entries of params, mean, variance, the Entries of state)."""
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 0) + ("channels",))
    expect(is_number(eps) and eps > 0, who, "a finite eps > 0", repr(eps))
    channels = str(x.shape[-1])
    return (*weights(who, params, scale=f"{channels}?", bias=f"{channels}?"),
            *weights(who, state, "state", mean=channels, variance=channels))
