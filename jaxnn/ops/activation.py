"""Activations, element by element: y = g(x), so dx = g'(x) dy.

Each keeps in its cache the one array from which g'(x) is cheapest to find.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import erfc

from jaxnn.checks import expect, expect_float, is_number
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide

__all__ = ["elu", "gelu", "gelu_tanh", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh"]


@hand_derived
def sigmoid(x: Any) -> Any:
    """y = 1 / (1 + e^-x), in (0, 1); any shape.

    >>> float(sigmoid(0.0))
    0.5
    """
    expect_float(sigmoid.name, "x", x)
    y = lax.logistic(x)
    return y, y


@sigmoid.defbackward
def sigmoid_backward(y: Any, dy: Any) -> Any:
    """g' = e^-x / (1 + e^-x)² = y (1 - y)."""
    return (dy * y * (1 - y),)


@hand_derived
def tanh(x: Any) -> Any:
    """y = (e^x - e^-x) / (e^x + e^-x), in (-1, 1); any shape.

    >>> float(tanh(0.0))
    0.0
    """
    expect_float(tanh.name, "x", x)
    y = jnp.tanh(x)
    return y, y


@tanh.defbackward
def tanh_backward(y: Any, dy: Any) -> Any:
    """g' = (cosh² x - sinh² x) / cosh² x = 1 - y²."""
    return (dy * (1 - y * y),)


@hand_derived
def relu(x: Any) -> Any:
    """y = max(x, 0); any shape. NaN stays NaN.

    >>> float(relu(-2.0))
    0.0
    """
    expect_float(relu.name, "x", x)
    # Not maximum(x, 0): JAX gives it the slope 1/2 at 0, and x <= 0 lets NaN pass.
    is_off = x <= 0
    return jnp.where(is_off, 0, x), is_off


@relu.defbackward
def relu_backward(is_off: Any, dy: Any) -> Any:
    """g' = 1 where x > 0, else 0; at the kink x = 0 the slope 0 is taken. One byte an element is kept."""
    return (jnp.where(is_off, 0, dy),)


@hand_derived
def leaky_relu(x: Any, *, slope: float = 0.01) -> Any:
    """y = x where x > 0, else slope x.

    Args:
      x: any shape.
      slope: where x < 0, a number >= 0.

    >>> float(leaky_relu(-2.0, slope=0.5))
    -1.0
    """
    expect_float(leaky_relu.name, "x", x)
    expect(is_number(slope, 0), leaky_relu.name, "a finite slope >= 0", repr(slope))
    is_off = x <= 0
    return jnp.where(is_off, slope * x, x), (is_off, Static(slope))


@leaky_relu.defbackward
def leaky_relu_backward(cache: Any, dy: Any) -> Any:
    """g' = 1 where x > 0, else slope.

    Source: Maas, Hannun & Ng (2013).
    """
    is_off, slope = cache
    return (jnp.where(is_off, slope.value * dy, dy),)


@hand_derived
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """y = x where x > 0, else alpha (e^x - 1).

    Args:
      x: any shape.
      alpha: -y far to the left, a number >= 0.

    >>> float(elu(-100.0, alpha=2.0))
    -2.0
    """
    expect_float(elu.name, "x", x)
    expect(is_number(alpha, 0), elu.name, "a finite alpha >= 0", repr(alpha))
    # The exponential sees no positive x: it would overflow, and inf times 0 is NaN.
    y = jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x)))
    return y, (y, Static(alpha))


@elu.defbackward
def elu_backward(cache: Any, dy: Any) -> Any:
    """g' = 1 where x > 0, else alpha e^x = y + alpha.

    Source: Clevert, Unterthiner & Hochreiter (2016), eq. 15.
    """
    y, alpha = cache
    # As a slope that is finite: the push-forward multiplies both branches with tangents, and 0 times inf is NaN.
    return (dy * jnp.where(y > 0, 1, jnp.minimum(y, 0) + alpha.value),)


@hand_derived
def softplus(x: Any) -> Any:
    """y = log(1 + e^x), without overflow; any shape.

    >>> float(softplus(1000.0))
    1000.0
    """
    expect_float(softplus.name, "x", x)
    return jnp.logaddexp(x, 0), x


@softplus.defbackward
def softplus_backward(x: Any, dy: Any) -> Any:
    """g' = e^x / (1 + e^x) = sigmoid(x)."""
    return (dy * lax.logistic(x),)


@hand_derived
def gelu(x: Any) -> Any:
    """y = x Φ(x) with Φ the normal distribution function; any shape.

    >>> float(gelu(10.0))
    10.0
    """
    expect_float(gelu.name, "x", x)
    # In float32 at least, and by erfc: 1 + erf(x) is 0 below -4 in bfloat16, and off by 6 % at -5 in float32.
    z = wide(x)
    return (_not_below(z) * _normal_cdf(z)).astype(x.dtype), x


@gelu.defbackward
def gelu_backward(x: Any, dy: Any) -> Any:
    """g' = Φ(x) + x φ(x), with φ = Φ' the normal density e^(-x²/2) / √(2π). x φ(x) is 0 at ±∞.

    Source: Hendrycks & Gimpel (2016).
    """
    z = _bounded(wide(x))
    density = jnp.exp(-z * z / 2) * 0.3989422804014327  # 1 / √(2π)
    return (dy * (_normal_cdf(z) + z * density).astype(dy.dtype),)


def _normal_cdf(x: Any) -> Any:
    return erfc(x * -0.7071067811865476) / 2  # 1 / √2


@hand_derived
def gelu_tanh(x: Any) -> Any:
    """y = x (1 + tanh u) / 2 with u = √(2/π) (x + 0.044715 x³): GPT-2's approximation of gelu; any shape.

    >>> float(gelu_tanh(10.0))
    10.0
    """
    expect_float(gelu_tanh.name, "x", x)
    # (1 + tanh u) / 2 is σ(2u), which is exact where tanh u is near -1.
    z = wide(x)
    _, u, _ = _gelu_argument(z)
    return (_not_below(z) * lax.logistic(2 * u)).astype(x.dtype), x


@gelu_tanh.defbackward
def gelu_tanh_backward(x: Any, dy: Any) -> Any:
    """With s = (1 + tanh u) / 2 = σ(2u) and u' = √(2/π) (1 + 3·0.044715 x²),

        g' = s + x s',  s' = 2 s (1 - s) u'

    Source: Hendrycks & Gimpel (2016), section 2.
    """
    z, u, du = _gelu_argument(wide(x))
    s = lax.logistic(2 * u)
    return (dy * (s + z * (2 * s * (1 - s) * du)).astype(dy.dtype),)


def _gelu_argument(x: Any) -> Any:
    """(x, u, u') with x in ±40, where σ(2u) is 0 or 1 to the last bit of float64: x³ would overflow beyond."""
    root = 0.7978845608028654  # √(2/π)
    x = jnp.clip(x, -40, 40)
    return x, root * (x + 0.044715 * x**3), root * (1 + 3 * 0.044715 * x**2)


@hand_derived
def silu(x: Any) -> Any:
    """y = x s with s = sigmoid(x), also called swish; any shape.

    >>> float(silu(0.0))
    0.0
    """
    expect_float(silu.name, "x", x)
    return _not_below(x) * lax.logistic(x), x


@silu.defbackward
def silu_backward(x: Any, dy: Any) -> Any:
    """g' = s + x s (1 - s), with s = sigmoid(x). The second term is 0 at ±∞.

    Source: Elfwing, Uchibe & Doya (2018), eq. 5.
    """
    s = lax.logistic(x)
    return (dy * (s + _bounded(x) * s * (1 - s)),)


def _not_below(x: Any) -> Any:
    """x, and the lowest finite number for -∞: what multiplies it is 0 there, and 0 times ∞ is NaN."""
    return jnp.maximum(x, jnp.finfo(x.dtype).min)


def _bounded(x: Any) -> Any:
    """x, and the nearest finite number for ±∞, as `_not_below`."""
    bounds = jnp.finfo(x.dtype)
    return jnp.clip(x, bounds.min, bounds.max)
