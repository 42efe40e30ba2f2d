"""The rules by op: backward passes that stop before the sums over the places where a weight is used.

    dense    dW = dy xᵀ                       conv    dK = Σ_p patch_p dy_pᵀ
    lstm     dW_x = Σ_t dz_t x_tᵀ, ...        embedding    dE_r = Σ_t dy_t [x_t = r]

Batch norm at inference, and every op of a user's own, needs none: without a rule an op's own backward pass
gives the gradient of each example.
"""

from typing import Any

import jax.numpy as jnp

from jaxnn.gradients.inside.factors import Factor, Outer, Patches, Rows, Whole, factor_rule
from jaxnn.hand_derived import Static
from jaxnn.ops.conv import conv
from jaxnn.ops.dense import dense
from jaxnn.ops.embedding import embedding
from jaxnn.ops.recurrent import lstm, lstm_hidden, lstm_last, pre_activation_cotangents

__all__ = ["conv_factors", "dense_factors", "embedding_factors", "lstm_factors", "lstm_hidden_factors",
           "lstm_last_factors"]


@factor_rule(dense)
def dense_factors(cache: Any, dy: Any) -> Any:
    """∂L/∂W_oi = dy_o x_i and ∂L/∂b_o = dy_o, so ‖dW‖² = ‖dy‖² ‖x‖² and ‖db‖² = ‖dy‖².

    Over positions t, dW = Σ_t dy_t x_tᵀ: as many places.
    """
    _, x, entries = cache
    factors = {"weight": Outer(dy[None], x[None])} | ({"bias": Whole(dy)} if "bias" in entries else {})
    return factors, dense.backward(cache, dy)[1]


@factor_rule(conv)
def conv_factors(cache: Any, dy: Any) -> Any:
    """∂L/∂K_kco = Σ_p x_{p s + k - l, c} dy_po: the places are the output positions p, a_p is the patch
    that the window sees there, (k c,), and b_p is dy_p, (o,).

    A convolution by dy, as in the backward pass, would give G without the patches. But one for each
    example is slow: on CPU 2 to 15 times as slow as patches and a matrix product.
    """
    stride, pads = cache.geometry.value
    factors: dict[str, Factor] = {"kernel": Patches(
        cache.x[None], dy[None], Static((cache.kernel.shape[:-2], stride, pads)))}
    if "bias" in cache.entries:
        factors["bias"] = Whole(jnp.sum(dy, tuple(range(dy.ndim - 1))))
    return factors, conv.backward(cache, dy)[1]


@factor_rule(embedding)
def embedding_factors(cache: Any, dy: Any) -> Any:
    """dE_r = Σ_t dy_t [x_t = r]: a row that occurs twice collects both, ‖dy_s + dy_t‖². An integer that is
    no row of the table moves none."""
    x, _, shape = cache
    r, b = x.reshape(-1), dy.reshape(-1, dy.shape[-1])
    is_row = (r >= 0) & (r < shape.value[0])
    return {"table": Rows(r, jnp.where(is_row[:, None], b, 0))}, None


@factor_rule(lstm)
def lstm_factors(cache: Any, dy: Any) -> Any:
    """dW_x = Σ_t dz_t x_tᵀ, dW_h = Σ_t dz_t h_{t-1}ᵀ, db = Σ_t dz_t: the places are the times t, and the
    backward scan gives dz."""
    weight_x, _, x, _, _, h_tm1, _, _ = cache
    dz, _ = pre_activation_cotangents(cache, dy)
    factors = {"weight_x": Outer(dz, x), "weight_h": Outer(dz, h_tm1), "bias": Whole(jnp.sum(dz, 0))}
    return factors, dz @ weight_x


@factor_rule(lstm_hidden)
def lstm_hidden_factors(cache: Any, dh: Any) -> Any:
    """`lstm`'s, with no cotangent for the last state but that in dh."""
    nothing = jnp.zeros_like(dh[0])
    return lstm_factors(cache, (dh, (nothing, nothing)))


@factor_rule(lstm_last)
def lstm_last_factors(cache: Any, dh_T: Any) -> Any:
    """`lstm`'s, with a cotangent for the last state alone."""
    inner, time = cache
    nothing = jnp.zeros_like(dh_T)
    return lstm_factors(inner, (jnp.zeros_like(dh_T, shape=(time.value, *dh_T.shape)), (dh_T, nothing)))
