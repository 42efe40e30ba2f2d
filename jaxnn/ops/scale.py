"""Each channel times a number of its own, as squeeze-and-excitation gives to each picture.

    y_...c = s_c x_...c
"""

from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect, expect_float, expect_shape
from jaxnn.hand_derived import hand_derived
from jaxnn.ops.dtypes import promoted, wide, wide_over_batch

__all__ = ["scale_channels"]


@hand_derived
def scale_channels(scale: Any, x: Any) -> Any:
    """y_...c = s_c x_...c: every place of a channel times the channel's number.

    Args:
      scale: s, (channels,).
      x: (..., channels), one example.
    Returns:
      (..., channels).
    Raises:
      InputError: a shape does not fit.

    >>> scale_channels(jnp.array([2.0, 0.5]), jnp.array([[1.0, 4.0], [3.0, 6.0]])).tolist()
    [[2.0, 2.0], [6.0, 3.0]]
    """
    who = scale_channels.name
    expect_float(who, "scale", scale)
    expect_float(who, "x", x)
    expect(jnp.ndim(x) >= 1, who, "x of shape (..., channels)", str(jnp.shape(x)))
    expect_shape(who, "scale", scale, (jnp.shape(x)[-1],))
    s, x_ = promoted(scale, x)
    return s * x_, (scale, x)


@scale_channels.defbackward
def scale_channels_backward(cache: Any, dy: Any) -> Any:
    """With dy = ∂L/∂y, from y_pc = s_c x_pc at each place p:

        ds_c = Σ_p dy_pc x_pc        dx_pc = s_c dy_pc

    ds is summed in float32 at least: a picture has many places.

    Args:
      cache: s (channels,), x (..., channels).
      dy: (..., channels).
    """
    scale, x = cache
    d = wide_over_batch(dy, scale, x)
    dscale = jnp.sum(d * wide(x), tuple(range(dy.ndim - 1)))
    s, d = promoted(scale, dy)
    return dscale, s * d
