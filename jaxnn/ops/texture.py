"""What a texture is to a network, whichever place is where: the Gram matrix; and how much neighbours differ.

    G_ij = Σ_p x_pi x_pj                                  p places, i and j channels
    V    = Σ_p (v_p² + h_p²)^(q/2), channel by channel    v_p, h_p from place p to the next one below, to the right
"""

import math
from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect, expect_float, expect_shape, is_number
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide

__all__ = ["gram_matrix", "total_variation"]


@hand_derived
def gram_matrix(x: Any, *, reduction: str = "sum") -> Any:
    """G = Σ_p x_p x_pᵀ, how much each two channels are at the same places.

    Args:
      x: (..., channels), the activations of a layer; all axes but the last are places.
      reduction: "sum", the course's; or "mean", over the places, which makes pictures of two sizes comparable.
    Returns:
      G, (channels, channels), symmetric; in the square of the unit of x.
    Raises:
      InputError: x is no such array, or there is no place to take the mean of.

    >>> gram_matrix(jnp.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [[10.0, 2.0], [2.0, 4.0]]
    """
    who = gram_matrix.name
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 1) + ("channels",))
    expect(reduction in ("sum", "mean"), who, "reduction 'sum' or 'mean'", repr(reduction))
    n = math.prod(x.shape[:-1])
    expect(reduction == "sum" or n > 0, who, "at least one place to take the mean of", f"x of shape {jnp.shape(x)}")
    share = 1.0 if reduction == "sum" else 1 / n
    rows = wide(jnp.reshape(x, (n, x.shape[-1])))
    # A sum over thousands of places: the products are kept at full precision on an accelerator too.
    G = share * jnp.einsum("pi,pj->ij", rows, rows, precision="highest")
    return G.astype(x.dtype), (x, Static(share))


@gram_matrix.defbackward
def gram_matrix_backward(cache: Any, dy: Any) -> Any:
    """x_pk is in the row and in the column k of G: ∂G_ij/∂x_pk = δ_ik x_pj + x_pi δ_jk, so

        dx_pk = Σ_j dG_kj x_pj + Σ_i dG_ik x_pi        dx = x (dG + dGᵀ)

    and all of it divided by the number of places for a mean. With dG = 2 (G - G') of a squared error, which is
    symmetric, dx = 4 x (G - G').

    Args:
      cache: x, and what a place counts.
      dy: dG, (channels, channels), symmetric or not.
    Source: Gatys, Ecker & Bethge (2015), eq. 6.
    """
    x, share = cache
    both = share.value * (wide(dy) + wide(dy).T)
    rows = wide(jnp.reshape(x, (-1, x.shape[-1])))
    dx = jnp.einsum("pi,ij->pj", rows, both, precision="highest")
    return (dx.reshape(x.shape).astype(x.dtype),)


@hand_derived
def total_variation(x: Any, *, power: float = 2.0) -> Any:
    """V = Σ_p (v_p² + h_p²)^(q/2) with v_p = x_{p + down} - x_p and h_p = x_{p + right} - x_p.

    Args:
      x: (height, width, channels). What would leave the picture counts as no difference.
      power: q >= 1. 2, squared differences, blurs edges; 1 keeps them, and makes flat patches.
    Returns:
      V, (), a sum over places and channels: in the unit of x to the power q. 0 for a picture of one pixel.
    Raises:
      InputError: x is no picture, or power < 1.

    >>> float(total_variation(jnp.array([[[0.0], [3.0]], [[4.0], [0.0]]]), power=1.0))
    12.0
    """
    who = total_variation.name
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("height", "width", "channels"))
    expect(is_number(power, 1), who, "a finite power >= 1", repr(power))
    down, right = _differences(wide(x))
    square = down * down + right * right
    if power == 2:
        V = jnp.sum(square)
    else:
        V = jnp.sum(jnp.where(square > 0, jnp.where(square > 0, square, 1) ** (power / 2), 0 * square))
    return V.astype(x.dtype), (down, right, Static((float(power), jnp.dtype(x.dtype))))


@total_variation.defbackward
def total_variation_backward(cache: Any, dy: Any) -> Any:
    """With r = v² + h², ∂r^(q/2)/∂v = q r^(q/2 - 1) v, and v_p has x_{p + down} with the sign +, x_p with -:

        dv = dy q r^(q/2 - 1) v        dh = dy q r^(q/2 - 1) h
        dx_p = (dv_{p - down} - dv_p) + (dh_{p - right} - dh_p)

    For q = 2 this is the Laplacian of the picture, times -2.

    Kinks: none for q > 1. For q = 1, where v = h = 0, the slope is no single one and 0 is taken; so it is for q < 2,
    where the slope 0 is right and the second derivative is infinite.

    Args:
      cache: v and h in at least float32, 0 where they would leave the picture; q.
      dy: ().
    Source: Rudin, Osher & Fatemi (1992); with the power, Mahendran & Vedaldi (2015), section 3.3.
    """
    down, right, static = cache
    power, dtype = static.value
    factor: Any = 2.0
    if power != 2:
        square = down * down + right * right
        factor = jnp.where(square > 0, power * jnp.where(square > 0, square, 1) ** (power / 2 - 1), 0 * square)
    factor = wide(dy) * factor
    dv, dh = factor * down, factor * right
    dx = jnp.roll(dv, 1, 0) - dv + jnp.roll(dh, 1, 1) - dh  # what is rolled in at the edge is 0
    return (dx.astype(dtype),)


def _differences(x: Any) -> tuple[Any, Any]:
    """v and h, of the shape of x."""
    return (jnp.pad(jnp.diff(x, axis=0), ((0, 1 if x.shape[0] else 0), (0, 0), (0, 0))),
            jnp.pad(jnp.diff(x, axis=1), ((0, 0), (0, 1 if x.shape[1] else 0), (0, 0))))
