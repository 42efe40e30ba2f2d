"""Colours of one picture with the brightness of another (Gatys et al. 2016b): YIQ, the television's coordinates.

Y is the luminance, in [0, 1], I and Q the colour.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError
from jaxnn.style.features import expect_picture

__all__ = ["luminance", "with_colours_of", "with_luminance_like"]

TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


def luminance(picture: Any) -> Any:
    """The picture in greys, (height, width, 3)."""
    expect_picture("luminance", "picture", picture)
    return jnp.broadcast_to((picture @ jnp.asarray(TO_YIQ[0], picture.dtype))[..., None], picture.shape)


def with_luminance_like(style: Any, content: Any) -> Any:
    """The style in greys whose mean and standard deviation over the places are those of the content in greys, so that
    a dark painting does not darken what keeps its colours."""
    grey, like = luminance(style), luminance(content)
    deviation = jnp.std(grey)
    return (grey - jnp.mean(grey)) * jnp.where(deviation > 0, jnp.std(like) / jnp.where(deviation > 0, deviation, 1),
                                               1) + jnp.mean(like)


def with_colours_of(painting: Any, content: Any) -> Any:
    """The luminance of the painting, the colours of the content. Both (height, width, 3).

    A colour that the luminance brings out of [0, 1] is cut there, as on every screen.
    """
    expect_picture("with_colours_of", "painting", painting)
    expect_picture("with_colours_of", "content", content)
    if jnp.shape(painting) != jnp.shape(content):
        raise InputError("with_colours_of", f"expects two pictures of one size; got {jnp.shape(painting)} and "
                         f"{jnp.shape(content)}")
    yiq = content @ jnp.asarray(TO_YIQ.T, content.dtype)
    y = painting @ jnp.asarray(TO_YIQ[0], painting.dtype)
    mixed = jnp.concatenate([y[..., None], yiq[..., 1:]], -1)
    return jnp.clip(mixed @ jnp.asarray(np.linalg.inv(TO_YIQ).T, mixed.dtype), 0, 1)
