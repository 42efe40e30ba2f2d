"""Activations that are linear in pieces, or nearly: relu6, prelu, crelu, selu, hard sigmoid, hard swish, mish.

Each keeps in its cache the one array from which its slope is cheapest to find.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect_float, weights
from jaxnn.hand_derived import hand_derived
from jaxnn.ops.dtypes import promoted, wide_over_batch

__all__ = ["crelu", "hard_sigmoid", "hard_swish", "mish", "prelu", "relu6", "selu"]

# The fixed point of mean 0 and variance 1 (Klambauer et al. 2017, eq. 14).
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@hand_derived
def relu6(x: Any) -> Any:
    """y = min(max(x, 0), 6); any shape. NaN stays NaN.

    >>> relu6(jnp.array([-1.0, 2.0, 9.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    expect_float(relu6.name, "x", x)
    is_flat = (x <= 0) | (x >= 6)
    return jnp.where(x <= 0, 0, jnp.where(x >= 6, 6, x)).astype(x.dtype), is_flat


@relu6.defbackward
def relu6_backward(is_flat: Any, dy: Any) -> Any:
    """g' = 1 where 0 < x < 6, else 0; at both kinks the slope 0 is taken.

    Source: Howard et al. (2017).
    """
    return (jnp.where(is_flat, 0, dy),)


@hand_derived
def prelu(params: Any, x: Any) -> Any:
    """y = x where x > 0, else a x, with a learnt.

    Args:
      params: {"slope": (channels,)}, or () for one slope.
      x: (..., channels).

    >>> prelu({"slope": jnp.array([0.5, 0.1])}, jnp.array([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """
    expect_float(prelu.name, "x", x)
    is_one = isinstance(params, Mapping) and hasattr(params.get("slope"), "dtype") and jnp.ndim(params["slope"]) == 0
    slope, entries = weights(prelu.name, params, slope="" if is_one else f"{jnp.shape(x)[-1] if jnp.ndim(x) else 1}")
    a, x_ = promoted(slope, x)
    return jnp.where(x_ > 0, x_, a * x_), (x, slope, entries)


@prelu.defbackward
def prelu_backward(cache: Any, dy: Any) -> Any:
    """dx = dy where x > 0, else a dy;  da = Σ dy x over the places where x <= 0. At 0 the slope a is taken.

    Source: He et al. (2015), eq. 10.
    """
    x, slope, entries = cache
    d = wide_over_batch(dy, x)
    share = jnp.where(x > 0, 0, d * x)
    places = tuple(range(x.ndim - jnp.ndim(slope)))
    return entries.fill(slope=jnp.sum(share, places)), jnp.where(x > 0, d, d * slope)


@hand_derived
def crelu(x: Any) -> Any:
    """y = (relu(x), relu(-x)), along the last axis: (..., channels) -> (..., 2 channels).

    >>> crelu(jnp.array([2.0, -3.0])).tolist()
    [2.0, 0.0, 0.0, 3.0]
    """
    expect_float(crelu.name, "x", x)
    return jnp.concatenate([jnp.where(x <= 0, 0, x), jnp.where(x >= 0, 0, -x)], -1), jnp.sign(x)


@crelu.defbackward
def crelu_backward(sign: Any, dy: Any) -> Any:
    """dx = dy₊ where x > 0, -dy₋ where x < 0, and 0 at the kink, dy₊ and dy₋ being the halves of dy.

    Source: Shang et al. (2016).
    """
    above, below = jnp.split(dy, 2, -1)
    return (jnp.where(sign > 0, above, 0) - jnp.where(sign < 0, below, 0),)


@hand_derived
def selu(x: Any) -> Any:
    """y = λ x where x > 0, else λ α (e^x - 1), with the λ and α that keep mean 0 and variance 1; any shape.

    >>> round(float(selu(1.0)), 4)
    1.0507
    """
    expect_float(selu.name, "x", x)
    # The exponential sees no positive x: it would overflow, and inf times 0 is NaN.
    y = SELU_SCALE * jnp.where(x > 0, x, SELU_ALPHA * jnp.expm1(jnp.where(x > 0, 0, x)))
    return y, y


@selu.defbackward
def selu_backward(y: Any, dy: Any) -> Any:
    """g' = λ where x > 0, else λ α e^x = y + λ α.

    Source: Klambauer et al. (2017), eq. 2.
    """
    return (jnp.where(y > 0, SELU_SCALE * dy, (y + SELU_SCALE * SELU_ALPHA) * dy),)


@hand_derived
def hard_sigmoid(x: Any) -> Any:
    """y = min(max(x + 3, 0), 6) / 6; any shape. Keras before version 3 had another, of slope 1/5.

    >>> hard_sigmoid(jnp.array([-3.0, 0.0, 1.5])).tolist()
    [0.0, 0.5, 0.75]
    """
    expect_float(hard_sigmoid.name, "x", x)
    is_flat = (x <= -3) | (x >= 3)
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, x / 6 + 0.5)), is_flat


@hard_sigmoid.defbackward
def hard_sigmoid_backward(is_flat: Any, dy: Any) -> Any:
    """g' = 1/6 where -3 < x < 3, else 0; at both kinks the slope 0 is taken."""
    return (jnp.where(is_flat, 0, dy / 6),)


@hand_derived
def hard_swish(x: Any) -> Any:
    """y = x min(max(x + 3, 0), 6) / 6; any shape.

    >>> hard_swish(jnp.array([-4.0, 1.5, 4.0])).tolist()
    [0.0, 1.125, 4.0]
    """
    expect_float(hard_swish.name, "x", x)
    inside = jnp.where((x <= -3) | (x >= 3), 0, x)  # inf times 0 is NaN
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, x, inside * (inside + 3) / 6)), x


@hard_swish.defbackward
def hard_swish_backward(x: Any, dy: Any) -> Any:
    """g' = (2 x + 3) / 6 where -3 < x < 3; 0 to the left and 1 to the right, also at the kinks.

    Source: Howard et al. (2019), section 5.2.
    """
    inside = jnp.where((x <= -3) | (x >= 3), 0, x)
    return (dy * jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, (2 * inside + 3) / 6)),)


@hand_derived
def mish(x: Any) -> Any:
    """y = x tanh(softplus(x)); any shape.

    >>> float(mish(0.0))
    0.0
    """
    expect_float(mish.name, "x", x)
    return jnp.where(x == -jnp.inf, 0, x) * jnp.tanh(jnp.logaddexp(x, 0)), x


@mish.defbackward
def mish_backward(x: Any, dy: Any) -> Any:
    """With t = tanh(softplus(x)) and s = sigmoid(x) = softplus'(x), g' = t + x (1 - t²) s.

    Source: Misra (2019).
    """
    t = jnp.tanh(jnp.logaddexp(x, 0))
    # 1 - t² is 0 to the last bit, and s is 0 to the left, long before x is infinite; inf times 0 is NaN.
    bend = (1 - t * t) * lax.logistic(x)
    return (dy * (t + jnp.where(bend == 0, 0, x * bend)),)
