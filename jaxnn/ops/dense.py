"""Dense layer (fully connected): y = W x + b.

    W (n_out, n_in) weight    b (n_out,) bias    x (n_in,) one example    y (n_out,)
"""

from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect, expect_float, expect_shape
from jaxnn.hand_derived import hand_derived

__all__ = ["dense"]


@hand_derived
def dense(params: Any, x: Any) -> Any:
    """y = W x + b.

    Args:
      params: {"weight": (n_out, n_in), "bias": (n_out,)}; "bias" may be left out.
      x: (n_in,), one example.
    Returns:
      (n_out,).
    Raises:
      InputError: params is not such a dict, or a shape does not fit.

    >>> import jax.numpy as jnp
    >>> dense({"weight": jnp.ones((1, 2)), "bias": jnp.zeros(1)}, jnp.array([3.0, 4.0])).tolist()
    [7.0]
    """
    has_weight = isinstance(params, dict) and {"weight"} <= set(params) <= {"weight", "bias"}
    expect(has_weight, "dense", "params to be {'weight', 'bias'}",
           f"keys {sorted(params)}" if isinstance(params, dict) else type(params).__name__)
    weight, bias = params["weight"], params.get("bias")
    expect_shape("dense", "weight", weight, ("n_out", "n_in"))
    expect_float("dense", "x", x)
    n_out, n_in = weight.shape
    expect_shape("dense", "x", x, (n_in,), "put Flatten() before it" if jnp.ndim(x) > 1 else "")
    y = weight @ x
    if bias is not None:
        expect_shape("dense", "bias", bias, (n_out,))
        y = y + bias
    return y, (weight, x, None if bias is None else ())


@dense.defbackward
def dense_backward(cache: Any, dy: Any) -> Any:
    """Cotangents of a dense layer.

    With y = W x + b and dy = ∂L/∂y, the chain rule gives
        ∂L/∂W_oi = dy_o x_i        ∂L/∂b_o = dy_o        ∂L/∂x_i = Σ_o W_oi dy_o

    Args:
      cache: W (n_out, n_in), x (n_in,), and () if there is a bias.
      dy: ∂L/∂y, (n_out,).
    Returns:
      ({"weight": (n_out, n_in), "bias": (n_out,)}, (n_in,)).
    Source: Rumelhart, Hinton & Williams (1986), eq. 5-7.
    """
    weight, x, has_bias = cache
    dparams = {"weight": jnp.einsum("o,i->oi", dy, x)}
    if has_bias is not None:
        dparams["bias"] = dy
    return dparams, jnp.einsum("oi,o->i", weight, dy)
