"""LSTMs with more inside: peepholes, a projected hidden state, layer normalization.

Each is a cell for `jaxnn.ops.over_time`, as `lstm_cell` is, whose letters are used here: z = W_x x_t + b from the
input, h and c the state before, gates i f g o in that order, τ = tanh c_t. Their backward passes are that of
`lstm_cell_backward` with what is added. · is the product element by element.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.ops.cell import cell
from jaxnn.ops.over_time import over_time

__all__ = ["layer_norm_lstm", "layer_norm_lstm_cell", "lstm_peephole", "lstm_peephole_cell", "lstm_projected",
           "lstm_projected_cell"]

EPS = 1e-5  # added to the variance, as in `layer_norm`


def _gates(a: Any) -> tuple[Any, Any, Any, Any]:
    i, f, g, o = jnp.split(a, 4)
    return lax.logistic(i), lax.logistic(f), jnp.tanh(g), lax.logistic(o)


@cell(state="h c", params={"weight_x": "4*n_hidden n_in", "weight_h": "4*n_hidden n_hidden", "bias": "4*n_hidden?",
                           "weight_c": "3*n_hidden"})
def lstm_peephole_cell(params: Any, state: Any, z: Any) -> Any:
    """Long short-term memory whose gates see the cell. With a = z + W_h h and weights p of i f o, one for each unit:

        i, f = σ(a_i + p_i · c), σ(a_f + p_f · c)    g = tanh a_g
        c_t = f c + i g
        o = σ(a_o + p_o · c_t)                       h_t = o tanh c_t

    "weight_c" is p, its blocks in the order i f o. As in TensorFlow's LSTMCell(use_peepholes=True).

    Source: Gers & Schmidhuber (2000).

    >>> params = {"weight_x": jnp.ones((4, 1)), "weight_h": jnp.ones((4, 1)), "weight_c": jnp.zeros(3)}
    >>> h, last = lstm_peephole(params, jnp.array([[0.0], [1.0]]))
    >>> [round(float(h_t), 3) for h_t in h[:, 0]]
    [0.0, 0.37]
    """
    h, c_tm1 = state
    a_i, a_f, a_g, a_o = jnp.split(z + h @ params["weight_h"].T, 4)
    p_i, p_f, p_o = jnp.split(params["weight_c"], 3)
    i, f, g = lax.logistic(a_i + p_i * c_tm1), lax.logistic(a_f + p_f * c_tm1), jnp.tanh(a_g)
    c = f * c_tm1 + i * g
    o = lax.logistic(a_o + p_o * c)
    return (o * jnp.tanh(c), c), (i, f, g, o)


@lstm_peephole_cell.defslopes
def lstm_peephole_slopes(params: Any, step: Any) -> Any:
    """As of the LSTM, and both cells, which p multiplies."""
    (_, c_tm1), (_, c), (i, f, g, o) = step
    tau = jnp.tanh(c)
    return (g * i * (1 - i), c_tm1 * f * (1 - f), i * (1 - g * g)), tau * o * (1 - o), o * (1 - tau * tau), f, c_tm1, c


@lstm_peephole_cell.defbackward
def lstm_peephole_cell_backward(params: Any, slopes: Any, dstate: Any) -> Any:
    """The output gate sees c_t, so that its cotangent reaches c_t before the others are found; i and f see c:

        dz_o = dh τ o(1-o)        dc += dh o (1 - τ²) + dz_o · p_o
        dz_i = dc g i(1-i)    dz_f = dc c f(1-f)    dz_g = dc i (1-g²)
        dc_{t-1} = dc f + dz_i · p_i + dz_f · p_f        dh_{t-1} = W_hᵀ dz
    """
    (dh, dc), (dz_ifg_from_dc, dz_o_from_dh, dc_from_dh, f, *_) = dstate, slopes
    p_i, p_f, p_o = jnp.split(params["weight_c"], 3)
    dz_o = dh * dz_o_from_dh
    dc = dc + dh * dc_from_dh + dz_o * p_o
    dz_i, dz_f, dz_g = (dc * from_dc for from_dc in dz_ifg_from_dc)
    dz = jnp.concatenate([dz_i, dz_f, dz_g, dz_o])
    return dz, (dz @ params["weight_h"], dc * f + dz_i * p_i + dz_f * p_f)


@lstm_peephole_cell.defproducts
def lstm_peephole_products(h: Any, slopes: Any, dz: Any) -> Any:
    """dp_i = Σ_t dz_i · c_{t-1}, dp_f = Σ_t dz_f · c_{t-1}, dp_o = Σ_t dz_o · c_t."""
    *_, c_tm1, c = slopes
    dz_i, dz_f, _, dz_o = jnp.split(dz, 4, -1)
    return {"weight_h": (dz, h), "weight_c": jnp.concatenate([dz_i * c_tm1, dz_f * c_tm1, dz_o * c], -1)}


@cell(state={"h": "n_out", "c": "n_hidden"},
      params={"weight_x": "4*n_hidden n_in", "weight_h": "4*n_hidden n_out", "bias": "4*n_hidden?",
              "weight_p": "n_out n_hidden"})
def lstm_projected_cell(params: Any, state: Any, z: Any) -> Any:
    """Long short-term memory whose hidden state is a projection. With a = z + W_h h and gates as in `lstm`:

        c_t = f c + i g        m = o tanh c_t        h_t = W_p m

    h is (n_out,) and c (n_hidden,), so that W_h has n_out columns. "weight_p" is W_p, PyTorch's weight_hr.

    Source: Sak, Senior & Beaufays (2014).

    >>> params = {"weight_x": jnp.ones((4, 1)), "weight_h": jnp.ones((4, 2)), "weight_p": jnp.ones((2, 1))}
    >>> h, last = lstm_projected(params, jnp.array([[0.0], [1.0]]))
    >>> [round(float(h_t), 3) for h_t in h[1]]
    [0.37, 0.37]
    """
    h, c = state
    i, f, g, o = _gates(z + h @ params["weight_h"].T)
    c = f * c + i * g
    return (params["weight_p"] @ (o * jnp.tanh(c)), c), (i, f, g, o)


@lstm_projected_cell.defslopes
def lstm_projected_slopes(params: Any, step: Any) -> Any:
    """As of the LSTM, with dm in place of dh, and m, which W_p multiplies."""
    (_, c_tm1), (_, c), (i, f, g, o) = step
    tau = jnp.tanh(c)
    dz_ifg_from_dc = g * i * (1 - i), c_tm1 * f * (1 - f), i * (1 - g * g)
    return dz_ifg_from_dc, tau * o * (1 - o), o * (1 - tau * tau), f, o * tau


@lstm_projected_cell.defbackward
def lstm_projected_cell_backward(params: Any, slopes: Any, dstate: Any) -> Any:
    """dm = W_pᵀ dh; from there as in the LSTM, with dm in place of dh:

        dc += dm o (1 - τ²)    dz_i = dc g i(1-i)    dz_f = dc c f(1-f)    dz_g = dc i (1-g²)    dz_o = dm τ o(1-o)
        dc_{t-1} = dc f        dh_{t-1} = W_hᵀ dz
    """
    (dh, dc), (dz_ifg_from_dc, dz_o_from_dm, dc_from_dm, f, _) = dstate, slopes
    dm = dh @ params["weight_p"]
    dc = dc + dm * dc_from_dm
    dz = jnp.concatenate([*(dc * from_dc for from_dc in dz_ifg_from_dc), dm * dz_o_from_dm])
    return (dz, dh), (dz @ params["weight_h"], dc * f)


@lstm_projected_cell.defproducts
def lstm_projected_products(h: Any, slopes: Any, d: Any) -> Any:
    """dW_p = Σ_t dh_t m_tᵀ."""
    dz, dh = d
    return {"weight_h": (dz, h), "weight_p": (dh, slopes[-1])}


def _normalized(v: Any) -> tuple[Any, Any]:
    """N(v) = (v - mean) / √(variance + eps), and 1 / √(variance + eps)."""
    centred = v - jnp.mean(v)
    inverse = lax.rsqrt(jnp.mean(centred * centred) + EPS)
    return centred * inverse, inverse


def _normalized_back(dn: Any, n: Any, inverse: Any) -> Any:
    """The cotangent of v from that of n = N(v): (dn - mean dn - n mean(dn n)) / √(variance + eps)."""
    return (dn - jnp.mean(dn) - n * jnp.mean(dn * n)) * inverse


@cell(state="h c", params={"weight_x": "4*n_hidden n_in", "weight_h": "4*n_hidden n_hidden", "scale_x": "4*n_hidden",
                           "scale_h": "4*n_hidden", "shift": "4*n_hidden", "scale_c": "n_hidden",
                           "shift_c": "n_hidden"})
def layer_norm_lstm_cell(params: Any, state: Any, z: Any) -> Any:
    """Long short-term memory with layer normalization inside. z = W_x x_t, and N(v) = (v - mean) / √(variance + 1e-5):

        a = α_x · N(z) + α_h · N(W_h h) + β        gates i f g o of a, as in `lstm`
        c_t = f c + i g        h_t = o tanh(α_c · N(c_t) + β_c)

    N is over all four gates at once, as in the paper. α_x, α_h, β, α_c, β_c are "scale_x", "scale_h", "shift",
    "scale_c", "shift_c". There is no "bias": N(z) would hardly see one, and β stands in its place.

    Source: Ba, Kiros & Hinton (2016), equations 20-22.

    >>> n, ones, zeros = 2, jnp.ones(8), jnp.zeros(8)
    >>> params = {"weight_x": jnp.eye(8)[:, :1], "weight_h": jnp.zeros((8, n)), "scale_x": ones, "scale_h": ones,
    ...           "shift": zeros, "scale_c": ones[:n], "shift_c": zeros[:n]}
    >>> h, last = layer_norm_lstm(params, jnp.array([[0.0], [1.0]]))
    >>> h.shape
    (2, 2)
    """
    h, c = state
    n_z, n_q = _normalized(z), _normalized(h @ params["weight_h"].T)
    i, f, g, o = _gates(params["scale_x"] * n_z[0] + params["scale_h"] * n_q[0] + params["shift"])
    c = f * c + i * g
    n_c = _normalized(c)
    tau = jnp.tanh(params["scale_c"] * n_c[0] + params["shift_c"])
    return (o * tau, c), ((i, f, g, o, tau), n_z, n_q, n_c)


@layer_norm_lstm_cell.defslopes
def layer_norm_lstm_slopes(params: Any, step: Any) -> Any:
    """What multiplies dc, dh and dm, f, and the three normalized vectors with their factors."""
    (_, c_tm1), _, ((i, f, g, o, tau), n_z, n_q, n_c) = step
    da_ifg_from_dc = g * i * (1 - i), c_tm1 * f * (1 - f), i * (1 - g * g)
    return da_ifg_from_dc, tau * o * (1 - o), o * (1 - tau * tau), f, n_z, n_q, n_c


@layer_norm_lstm_cell.defbackward
def layer_norm_lstm_cell_backward(params: Any, slopes: Any, dstate: Any) -> Any:
    """With m = α_c · N(c_t) + β_c and τ = tanh m, h_t = o τ, and N'ᵀ the pull-back of N at its point:

        da_o = dh τ o(1-o)        dm = dh o (1 - τ²)        dc += N'(c_t)ᵀ (dm · α_c)
        da_i = dc g i(1-i)    da_f = dc c f(1-f)    da_g = dc i (1-g²)        dc_{t-1} = dc f
        dz = N'(z)ᵀ (da · α_x)        dq = N'(q)ᵀ (da · α_h) for q = W_h h        dh_{t-1} = W_hᵀ dq

    N(v) has mean 0 and, but for eps, mean square 1, so that with n = N(v)

        N'(v)ᵀ dn = (dn - mean dn - n mean(dn n)) / √(variance + eps)

    Source: Ba, Kiros & Hinton (2016), appendix.
    """
    (dh, dc), (da_ifg_from_dc, da_o_from_dh, dm_from_dh, f, n_z, n_q, n_c) = dstate, slopes
    dm = dh * dm_from_dh
    dc = dc + _normalized_back(dm * params["scale_c"], *n_c)
    da = jnp.concatenate([*(dc * from_dc for from_dc in da_ifg_from_dc), dh * da_o_from_dh])
    dz = _normalized_back(da * params["scale_x"], *n_z)
    dq = _normalized_back(da * params["scale_h"], *n_q)
    return (dz, dq, da, dm), (dq @ params["weight_h"], dc * f)


@layer_norm_lstm_cell.defproducts
def layer_norm_lstm_products(h: Any, slopes: Any, d: Any) -> Any:
    """dW_h = Σ_t dq hᵀ    dα_x = Σ_t da · N(z)    dα_h = Σ_t da · N(q)    dβ = Σ_t da    dα_c = Σ_t dm · N(c_t)
    dβ_c = Σ_t dm"""
    *_, n_z, n_q, n_c = slopes
    _, dq, da, dm = d
    return {"weight_h": (dq, h), "scale_x": da * n_z[0], "scale_h": da * n_q[0], "shift": da, "scale_c": dm * n_c[0],
            "shift_c": dm}


lstm_peephole = over_time(lstm_peephole_cell)
lstm_projected = over_time(lstm_projected_cell)
layer_norm_lstm = over_time(layer_norm_lstm_cell)
