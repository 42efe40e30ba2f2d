"""Normalization within one example: layer, group, instance and RMS norm, standardized kernels, local response norm.

    μ = ⟨x⟩    v = ⟨(x - μ)²⟩    x̂ = (x - μ) r,  r = 1 / √(v + eps)    y = γ x̂ + β

The means ⟨·⟩ run over one set of elements at a time, and the sets are what the norms differ in. γ is params["scale"],
β params["bias"]; v is the biased variance. RMS norm leaves μ out.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import Entries, expect, expect_float, expect_shape, is_integer, is_number, weights
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted, wide, wide_over_batch
from jaxnn.ops.window import Window, lay, taps

__all__ = ["NormCache", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm",
           "standardize_kernel"]


class NormCache(NamedTuple):
    scale: Any
    """γ, (channels,); None where params has none."""
    x: Any
    """(..., channels)."""
    mean: Any
    """μ, one for each set, with axes of size 1; None for RMS norm."""
    r: Any
    """1 / √(v + eps), of the shape of μ."""
    entries: Entries
    """Of params."""
    sets: Static
    """(the shape in which the sets are whole axes, those axes)."""


@hand_derived
def layer_norm(params: Any, x: Any, *, eps: float = 1e-5) -> Any:
    """y = γ x̂ + β, normalized over the last axis: each place by itself.

    Args:
      params: {"scale": (features,), "bias": (features,)}; either may be left out or be None: then γ is 1, β 0.
      x: (..., features).
      eps: added to the variance, > 0.
    Returns:
      y, of the shape of x.
    Raises:
      InputError: a shape does not fit.

    >>> jnp.round(layer_norm({}, jnp.array([1.0, 3.0])), 3).tolist()
    [-1.0, 1.0]
    """
    return _normalized(layer_norm.name, params, x, jnp.shape(x), (-1,), eps)


@layer_norm.defbackward
def layer_norm_backward(cache: Any, dy: Any) -> Any:
    """With dx̂ = γ dy, and ⟨·⟩ the mean over one set, here the n features of a place,

        dγ = Σ dy x̂        dβ = Σ dy        dx = r (dx̂ - ⟨dx̂⟩ - x̂ ⟨dx̂ x̂⟩)

    The two subtracted terms are what reaches x through μ and through v: ∂μ/∂x_i = 1/n, ∂v/∂x_i = 2 (x_i - μ)/n,
    ∂r/∂v = -r³/2 and Σ (x - μ) = 0, so

        dx_i = dx̂_i r + (1/n) Σ_j dx̂_j (-r) + (2 (x_i - μ)/n) Σ_j dx̂_j (x_j - μ) (-r³/2)

    Args:
      cache: a NormCache.
      dy: of the shape of x.
    Source: Ba, Kiros & Hinton (2016).
    """
    return _normalized_backward(cache, dy)


@hand_derived
def group_norm(params: Any, x: Any, *, groups: int, eps: float = 1e-5) -> Any:
    """y = γ x̂ + β, normalized over all places and the channels of one of `groups` groups.

    Args:
      params: {"scale": (channels,), "bias": (channels,)}; either may be left out or be None: then γ is 1, β 0.
      x: (..., channels).
      groups: a divisor of the channels; neighbouring channels are a group.
      eps: added to the variance, > 0.
    Returns:
      y, of the shape of x.
    Raises:
      InputError: a shape does not fit, or groups do not divide the channels.

    >>> jnp.round(group_norm({}, jnp.array([[1.0, 3.0, 5.0, 5.0]]), groups=2), 3).tolist()
    [[-1.0, 1.0, 0.0, 0.0]]
    """
    who = group_norm.name
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 0) + ("channels",))
    channels = x.shape[-1]
    expect(is_integer(groups, 1) and channels % groups == 0, who,
           f"groups, a positive integer that divides the {channels} channels", repr(groups))
    shape = (*x.shape[:-1], groups, channels // groups)
    return _normalized(who, params, x, shape, (*range(x.ndim - 1), -1), eps)


@group_norm.defbackward
def group_norm_backward(cache: Any, dy: Any) -> Any:
    """As for `layer_norm`; a set is a group of channels at all places.

    Source: Wu & He (2018).
    """
    return _normalized_backward(cache, dy)


@hand_derived
def instance_norm(params: Any, x: Any, *, eps: float = 1e-5) -> Any:
    """y = γ x̂ + β, normalized over all places, each channel by itself.

    Args: as for `group_norm`; it is the group norm with as many groups as channels.
    Returns:
      y, of the shape of x.

    >>> jnp.round(instance_norm({}, jnp.array([[1.0], [3.0]])), 3).tolist()
    [[-1.0], [1.0]]
    """
    expect_shape(instance_norm.name, "x", x, ("...",) * max(jnp.ndim(x) - 1, 1) + ("channels",))
    return _normalized(instance_norm.name, params, x, jnp.shape(x), tuple(range(jnp.ndim(x) - 1)), eps)


@instance_norm.defbackward
def instance_norm_backward(cache: Any, dy: Any) -> Any:
    """As for `layer_norm`; a set is a channel at all places.

    Source: Ulyanov, Vedaldi & Lempitsky (2016).
    """
    return _normalized_backward(cache, dy)


@hand_derived
def rms_norm(params: Any, x: Any, *, eps: float = 1e-6) -> Any:
    """y = γ x r with r = 1 / √(⟨x²⟩ + eps), the mean over the last axis.

    Args:
      params: {"scale": (features,)}; it may be left out or be None: then γ is 1.
      x: (..., features).
      eps: added to the mean square, > 0.
    Returns:
      y, of the shape of x.
    Raises:
      InputError: a shape does not fit.

    >>> jnp.round(rms_norm({}, jnp.array([3.0, -3.0])), 3).tolist()
    [1.0, -1.0]
    """
    return _normalized(rms_norm.name, params, x, jnp.shape(x), (-1,), eps, centred=False)


@rms_norm.defbackward
def rms_norm_backward(cache: Any, dy: Any) -> Any:
    """As for `layer_norm` without what reaches x through μ: dx = r (dx̂ - x̂ ⟨dx̂ x̂⟩), with x̂ = x r.

    Source: Zhang & Sennrich (2019).
    """
    return _normalized_backward(cache, dy)


@hand_derived
def standardize_kernel(kernel: Any, *, eps: float = 1e-5) -> Any:
    """y = (K - μ) r for each channel out: a convolution's kernel with mean 0 and variance 1.

    Args:
      kernel: (..., n_in, n_out).
      eps: added to the variance, > 0.
    Returns:
      y, of the shape of the kernel.

    >>> standardize_kernel(jnp.array([[1.0], [3.0]])).round(3).tolist()
    [[-1.0], [1.0]]
    """
    who = standardize_kernel.name
    expect_shape(who, "kernel", kernel, ("...",) * max(jnp.ndim(kernel) - 1, 1) + ("n_out",))
    return _normalized(who, {}, kernel, jnp.shape(kernel), tuple(range(jnp.ndim(kernel) - 1)), eps)


@standardize_kernel.defbackward
def standardize_kernel_backward(cache: Any, dy: Any) -> Any:
    """As for `layer_norm` with γ = 1; a set is all that makes one channel out.

    Source: Qiao et al. (2019).
    """
    return (_normalized_backward(cache, dy)[1],)


@hand_derived
def local_response_norm(x: Any, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> Any:
    """y_c = x_c d_c^-β with d_c = k + α Σ x²_{c'} over the `size` channels around c.

    Args:
      x: (..., channels).
      size: how many channels, c among them; ⌊size/2⌋ lie below c, and channels that are not there count as 0.
      alpha: α, the factor of the sum, as in the paper. PyTorch and Caffe divide theirs by size.
      beta: β.
      k: added to the sum, > 0.
    Returns:
      y, of the shape of x.
    Raises:
      InputError: a shape or number does not fit.
    Source: Krizhevsky, Sutskever & Hinton (2012), section 3.3, whose numbers are the defaults.

    >>> local_response_norm(jnp.array([2.0, 0.0]), size=1, alpha=1.0, beta=1.0, k=4.0).tolist()
    [0.25, 0.0]
    """
    who = local_response_norm.name
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 0) + ("channels",))
    expect(is_integer(size, 1), who, "size, a positive integer", repr(size))
    expect(is_number(k) and k > 0 and is_number(alpha, 0) and is_number(beta), who,
           "numbers k > 0, alpha >= 0 and beta", f"k = {k!r}, alpha = {alpha!r}, beta = {beta!r}")
    w = wide(x)
    d = k + alpha * _sum_around(w * w, size)
    return (w * d**-beta).astype(x.dtype), (x, d, Static((size, alpha, beta)))


@local_response_norm.defbackward
def local_response_norm_backward(cache: Any, dy: Any) -> Any:
    """x_c is in y_c itself and in d of every c' whose window holds c, with ∂d_c'/∂x_c = 2 α x_c:

        dx_c = dy_c d_c^-β - 2 α β x_c Σ_{c': c in its window} dy_c' x_c' d_c'^(-β-1)

    The sum runs over the mirrored window, ⌊size/2⌋ channels above c.

    Args:
      cache: x, d in at least float32, and (size, α, β).
      dy: of the shape of x.
    """
    x, d, static = cache
    size, alpha, beta = static.value
    w, dy_ = wide(x), wide(dy)
    scaled = dy_ * d**-beta
    around = _sum_around(scaled * w / d, size, mirrored=True)
    return ((scaled - 2 * alpha * beta * w * around).astype(x.dtype),)


def _sum_around(x: Any, size: int, *, mirrored: bool = False) -> Any:
    """Over the channels from c - ⌊size/2⌋ on; over those up to c + ⌊size/2⌋ if mirrored, which is the transpose."""
    window = Window(x.shape[-1], size, 1, 1, (size // 2, size - 1 - size // 2))
    if mirrored:
        return lay([x] * size, x.ndim - 1, window)
    parts = taps(x, x.ndim - 1, window)
    return sum(parts[1:], parts[0])


def _normalized(who: str, params: Any, x: Any, shape: Sequence[int], axes: Sequence[int], eps: float, *,
                centred: bool = True) -> tuple[Any, NormCache]:
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 0) + ("features",))
    expect(is_number(eps) and eps > 0, who, "a finite eps > 0", repr(eps))
    features = str(x.shape[-1])
    entries: Any
    if centred:
        scale, bias, entries = weights(who, params, scale=f"{features}?", bias=f"{features}?")
    else:
        scale, entries = weights(who, params, scale=f"{features}?")
        bias = None
    # Moments are summed in at least float32: bfloat16 holds 8 bits, a set has thousands of terms.
    w = jnp.reshape(wide(x), shape)
    mean: Any = jnp.mean(w, axes, keepdims=True) if centred else None
    around = w - mean if centred else w
    r = lax.rsqrt(jnp.mean(around * around, axes, keepdims=True) + eps)
    y = jnp.reshape(around * r, x.shape)
    y = y if scale is None else y * scale
    y = y if bias is None else y + bias
    return (y.astype(promoted(scale, bias, x)[2].dtype),
            NormCache(scale, x, mean, r, entries, Static((tuple(shape), tuple(axes)))))


def _normalized_backward(cache: Any, dy: Any) -> tuple[Any, Any]:
    scale, x, mean, r, entries, sets = cache
    shape, axes = sets.value
    d = wide_over_batch(dy, x)
    w = jnp.reshape(wide(x), shape)
    x_hat = (w if mean is None else w - mean) * r
    places = tuple(range(x.ndim - 1))
    dscale, dbias = jnp.sum(d * jnp.reshape(x_hat, x.shape), places), jnp.sum(d, places)
    dx_hat = jnp.reshape(d if scale is None else d * scale, shape)
    # r multiplies the means, one number for a set, and not the difference of three arrays.
    through_r = x_hat * (r * jnp.mean(dx_hat * x_hat, axes, keepdims=True))
    through_mean = 0 if mean is None else r * jnp.mean(dx_hat, axes, keepdims=True)
    dx = jnp.reshape(r * dx_hat - through_mean - through_r, x.shape)
    return entries.fill(scale=dscale, bias=dbias), dx
