"""Dense layer (fully connected): y = W x + b.

    W (n_out, n_in) weight    b (n_out,) bias    x (n_in,) one example    y (n_out,)
"""

from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect_float, expect_shape, weights
from jaxnn.hand_derived import hand_derived
from jaxnn.ops.dtypes import promoted, wide_over_batch

__all__ = ["dense"]


@hand_derived
def dense(params: Any, x: Any) -> Any:
    """A fully connected layer, y = W x + b.

    Args:
      params: {"weight": (n_out, n_in), "bias": (n_out,)}; "bias" may be left out or be None.
      x: (n_in,), one example.
    Returns:
      (n_out,).
    Raises:
      InputError: params has other entries, or a shape does not fit.

    >>> dense({"weight": jnp.ones((1, 2)), "bias": jnp.zeros(1)}, jnp.array([3.0, 4.0])).tolist()
    [7.0]
    """
    weight, bias, entries = weights(dense.name, params, weight="n_out n_in", bias="n_out?")
    expect_float(dense.name, "x", x)
    advice = "put Flatten() before it, or for a batch use jax.vmap, or over_examples around a layer"
    expect_shape(dense.name, "x", x, weight.shape[1:], advice if jnp.ndim(x) > 1 else "")
    W, b, x_ = promoted(weight, bias, x)
    # x first: of a batch, W @ x is laid out with the examples last, and what reads it reads across.
    y = x_ @ W.T
    if b is not None:
        y = y + b
    return y, (weight, x, entries)


@dense.defbackward
def dense_backward(cache: Any, dy: Any) -> Any:
    """Cotangents of a dense layer.

    With y = W x + b and dy = ∂L/∂y, the chain rule gives
        ∂L/∂W_oi = dy_o x_i        ∂L/∂b_o = dy_o        ∂L/∂x_i = Σ_o W_oi dy_o

    Args:
      cache: W (n_out, n_in), x (n_in,), and the Entries of params.
      dy: ∂L/∂y, (n_out,).
    Returns:
      ({"weight": (n_out, n_in), "bias": (n_out,)}, (n_in,)), the first in the structure of params.
    Source: Rumelhart, Hinton & Williams (1986), eq. 5-7.
    """
    weight, x, entries = cache
    # Over a batch dW is one matrix product, of factors in their own dtype: the units that multiply matrices add up in
    # float32. The bias's sum over the examples has no such unit.
    dweight = jnp.einsum("o,i->oi", dy, x)
    dx = jnp.einsum("o,oi->i", dy, weight)
    return entries.fill(weight=dweight, bias=wide_over_batch(dy, weight, x)), dx
