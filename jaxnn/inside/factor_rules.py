"""The rules by op: backward passes that stop before the sums over the places where a weight is used.

    dense             dW = dy xᵀ                   conv         dK = Σ_p patch_p dy_pᵀ
    rnn, gru, lstm    dW_x = Σ_t dz_t x_tᵀ, ...    embedding    dE_r = Σ_t dy_t [x_t = r]

Batch norm at inference, and every op of a user's own, needs none: without a rule an op's own backward pass
gives the gradient of each example.
"""

import itertools
from typing import Any

import jax.numpy as jnp

from jaxnn.hand_derived import Static
from jaxnn.inside.factors import Factor, Outer, Patches, Rows, Whole, factor_rule
from jaxnn.ops.conv import conv
from jaxnn.ops.correlation import correlate_kernel
from jaxnn.ops.dense import dense
from jaxnn.ops.embedding import embedding
from jaxnn.ops.lstm_variants import layer_norm_lstm, lstm_peephole, lstm_projected
from jaxnn.ops.over_time import through_time
from jaxnn.ops.recurrent import gru, gru_reset_after, lstm, rnn, rnn_relu

__all__ = ["conv_factors", "dense_factors", "embedding_factors", "recurrent_factors"]


@factor_rule(dense)
def dense_factors(cache: Any, dy: Any) -> Any:
    """∂L/∂W_oi = dy_o x_i and ∂L/∂b_o = dy_o, so ‖dW‖² = ‖dy‖² ‖x‖² and ‖db‖² = ‖dy‖².

    Over positions t, dW = Σ_t dy_t x_tᵀ: as many places.
    """
    _, x, entries = cache
    factors = {"weight": Outer(dy[None], x[None])} | ({"bias": Whole(dy)} if "bias" in entries else {})
    return factors, dense.backward(cache, dy)[1:]


@factor_rule(conv)
def conv_factors(cache: Any, dy: Any) -> Any:
    """∂L/∂K_kco = Σ_p x_{p s + k d - l, c} dy_po: the places are the output positions p, a_p is the patch
    that the window sees there, (k c,), and b_p is dy_p, (o,). With groups it is no one product, and is formed.

    A convolution by dy, as in the backward pass, would give G without the patches. But one for each
    example is slow: on CPU 2 to 15 times as slow as patches and a matrix product.
    """
    geometry, window = cache.geometry.value, cache.kernel.shape[:-2]
    if geometry.groups > 1:
        factors: dict[str, Factor] = {"kernel": Whole(correlate_kernel(cache.x, dy, geometry, window))}
    else:
        factors = {"kernel": Patches(cache.x[None], dy[None], Static((window, geometry)))}
    if "bias" in cache.entries:
        factors["bias"] = Whole(jnp.sum(dy, tuple(range(dy.ndim - 1))))
    return factors, conv.backward(cache, dy)[1:]


@factor_rule(embedding)
def embedding_factors(cache: Any, dy: Any) -> Any:
    """dE_r = Σ_t dy_t [x_t = r]: a row that occurs twice collects both, ‖dy_s + dy_t‖². An integer that is
    no row of the table moves none."""
    x, _, shape = cache
    r, b = x.reshape(-1), dy.reshape(-1, dy.shape[-1])
    is_row = (r >= 0) & (r < shape.value[0])
    return {"table": Rows(r, jnp.where(is_row[:, None], b, 0))}, (None,)


def recurrent_factors(cache: Any, dy: Any) -> Any:
    """dW_x = Σ_t dz_t x_tᵀ, dW_h = Σ_t dz_t h_{t-1}ᵀ, db = Σ_t dz_t: the places are the times t, and the
    backward loop gives dz. For any op made by `over_time`."""
    factors, dx, dinitial = through_time(cache, dy)
    return {name: _factor(factor) for name, factor in factors.items()}, (dx, dinitial, None)


def _factor(factor: Any) -> Factor:
    """Σ_t b_t a_tᵀ, Σ_t b_t, or blocks of rows: each block then has places of its own, with zeros in the rows of
    the others."""
    if not isinstance(factor, tuple | list):
        return Whole(jnp.sum(factor, 0))
    pairs = factor if isinstance(factor, list) else [factor]
    ends = list(itertools.accumulate((b.shape[-1] for b, _ in pairs), initial=0))
    rows = [jnp.pad(b, ((0, 0), (start, ends[-1] - end))) for (b, _), (start, end) in zip(
        pairs, itertools.pairwise(ends), strict=True)]
    return Outer(jnp.concatenate(rows), jnp.concatenate([a for _, a in pairs]))


for _op in (rnn, rnn_relu, gru, gru_reset_after, lstm, lstm_peephole, lstm_projected, layer_norm_lstm):
    factor_rule(_op)(recurrent_factors)
