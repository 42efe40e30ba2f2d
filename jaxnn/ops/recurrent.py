"""Recurrent networks over a whole sequence: simple, gated (GRU), and long short-term memory (LSTM).

Each is a cell for `jaxnn.ops.over_time`, where backpropagation through time is derived and what the ops
take and give is described. z = W_x x_t + b comes from the input, h is h_{t-1}, and the blocks of n_hidden rows
of z, W_x, W_h and b are the gates, in the order of each cell. σ' = σ (1 - σ), tanh' = 1 - tanh².
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.ops.cell import cell
from jaxnn.ops.over_time import over_time

__all__ = ["gru", "gru_cell", "gru_reset_after", "gru_reset_after_cell", "lstm", "lstm_cell", "rnn", "rnn_cell",
           "rnn_relu", "rnn_relu_cell"]


def _shapes(blocks: int, **others: str) -> dict[str, str]:
    rows = "n_hidden" if blocks == 1 else f"{blocks}*n_hidden"
    return {"weight_x": f"{rows} n_in", "weight_h": f"{rows} n_hidden", "bias": f"{rows}?"} | others


@cell(state="h", params=_shapes(1))
def rnn_cell(params: Any, h: Any, z: Any) -> Any:
    """The simple recurrent network, h_t = tanh(W_x x_t + W_h h_{t-1} + b).

    Source: Elman (1990).

    >>> h, last = rnn({"weight_x": jnp.ones((1, 1)), "weight_h": jnp.ones((1, 1))}, jnp.array([[0.0], [1.0]]))
    >>> [round(float(h_t), 3) for h_t in h[:, 0]]
    [0.0, 0.762]
    """
    return jnp.tanh(z + h @ params["weight_h"].T), ()


@rnn_cell.defslopes
def rnn_slopes(params: Any, step: Any) -> Any:
    """tanh' = 1 - h_t²."""
    return 1 - step.after * step.after


@rnn_cell.defbackward
def rnn_cell_backward(params: Any, slope: Any, dh: Any) -> Any:
    """With a = z + W_h h and h_t = φ(a): da = dh φ'(a), and a is linear in z and h,

        dz = da        dh_{t-1} = W_hᵀ da
    """
    dz = dh * slope
    return dz, dz @ params["weight_h"]


@cell(state="h", params=_shapes(1))
def rnn_relu_cell(params: Any, h: Any, z: Any) -> Any:
    """The simple recurrent network with relu, h_t = max(0, W_x x_t + W_h h_{t-1} + b).

    Source: Le, Jaitly & Hinton (2015), who start W_h as the identity.

    >>> h, last = rnn_relu({"weight_x": jnp.ones((1, 1)), "weight_h": jnp.ones((1, 1))}, jnp.array([[0.0], [1.0]]))
    >>> [round(float(h_t), 3) for h_t in h[:, 0]]
    [0.0, 1.0]
    """
    return jnp.maximum(z + h @ params["weight_h"].T, 0), ()


@rnn_relu_cell.defslopes
def rnn_relu_slopes(params: Any, step: Any) -> Any:
    """relu' is 1 where h_t > 0, else 0, and 0 at the kink."""
    return (step.after > 0).astype(step.after.dtype)


rnn_relu_cell.defbackward(rnn_cell_backward)


@cell(state="h", params=_shapes(3))
def gru_cell(params: Any, h: Any, z: Any) -> Any:
    """A gated recurrent unit whose reset gate stands before the matrix product. Gates r u n:

        r, u = σ(z_r + W_r h), σ(z_u + W_u h)        reset and update gate
        n = tanh(z_n + W_n (r h))                    candidate
        h_t = u h + (1 - u) n

    As in the paper, the course, and Keras with reset_after=False; Keras has the order u r n, and the course's
    Γ_u is 1 - u. PyTorch and cuDNN have `gru_reset_after`.

    Source: Cho et al. (2014), section 2.3.

    >>> h, last = gru({"weight_x": jnp.ones((3, 1)), "weight_h": jnp.ones((3, 1))}, jnp.array([[0.0], [1.0]]))
    >>> [round(float(h_t), 3) for h_t in h[:, 0]]
    [0.0, 0.205]
    """
    n_hidden = h.shape[-1]
    W_ru, W_n = params["weight_h"][:2 * n_hidden], params["weight_h"][2 * n_hidden:]
    r_u = lax.logistic(z[:2 * n_hidden] + h @ W_ru.T)
    r, u = r_u[:n_hidden], r_u[n_hidden:]
    n = jnp.tanh(z[2 * n_hidden:] + (r * h) @ W_n.T)
    return u * h + (1 - u) * n, (r, u, n)


@gru_cell.defslopes
def gru_slopes(params: Any, step: Any) -> Any:
    """What multiplies dh_t or d(r h) in `gru_cell_backward`."""
    h, (r, u, n) = step.before, step.kept
    return r, u, h * r * (1 - r), (h - n) * u * (1 - u), (1 - u) * (1 - n * n)


@gru_cell.defbackward
def gru_cell_backward(params: Any, slopes: Any, dh: Any) -> Any:
    """From h_t = u h + (1 - u) n, du = dh_t (h - n) and dn = dh_t (1 - u); through σ, tanh and r h,

        dz_u = dh_t (h - n) u(1-u)    dz_n = dh_t (1-u)(1-n²)    d(rh) = W_nᵀ dz_n    dz_r = d(rh) h r(1-r)
        dh = dh_t u + d(rh) r + W_rᵀ dz_r + W_uᵀ dz_u
    """
    r, u, dz_r_from_drh, dz_u_from_dh, dz_n_from_dh = slopes
    n_hidden = dh.shape[-1]
    W_ru, W_n = params["weight_h"][:2 * n_hidden], params["weight_h"][2 * n_hidden:]
    dz_n = dh * dz_n_from_dh
    drh = dz_n @ W_n
    dz_ru = jnp.concatenate([drh * dz_r_from_drh, dh * dz_u_from_dh])
    return jnp.concatenate([dz_ru, dz_n]), dh * u + drh * r + dz_ru @ W_ru


@gru_cell.defproducts
def gru_products(h: Any, slopes: Any, dz: Any) -> Any:
    """W_r and W_u multiply h, W_n multiplies r h."""
    r, n_hidden = slopes[0], h.shape[-1]
    return {"weight_h": [(dz[:, :2 * n_hidden], h), (dz[:, 2 * n_hidden:], r * h)]}


@cell(state="h", params=_shapes(3, bias_h="n_hidden?"))
def gru_reset_after_cell(params: Any, h: Any, z: Any) -> Any:
    """A gated recurrent unit whose reset gate stands after the matrix product, so that a step has one. Gates r u n:

        r, u = σ(z_r + W_r h), σ(z_u + W_u h)        reset and update gate
        q = W_n h + b_h,    n = tanh(z_n + r q)      candidate
        h_t = u h + (1 - u) n

    As in PyTorch (whose z is u), in cuDNN, and in Keras with reset_after=True. Where those have two biases for r and
    for u, "bias" is their sum; "bias_h" is the candidate's second one, which r multiplies.

    Source: Chung et al. (2014) for the unit; this placement: cuDNN, CUDNN_GRU.

    >>> params = {"weight_x": jnp.ones((3, 1)), "weight_h": jnp.ones((3, 1))}
    >>> h, last = gru_reset_after(params, jnp.array([[0.0], [1.0]]))
    >>> [round(float(h_t), 3) for h_t in h[:, 0]]
    [0.0, 0.205]
    """
    n_hidden = h.shape[-1]
    a = h @ params["weight_h"].T
    r_u = lax.logistic(z[:2 * n_hidden] + a[:2 * n_hidden])
    r, u, q = r_u[:n_hidden], r_u[n_hidden:], a[2 * n_hidden:]
    if "bias_h" in params:
        q = q + params["bias_h"]
    n = jnp.tanh(z[2 * n_hidden:] + r * q)
    return u * h + (1 - u) * n, (r, u, n, q)


@gru_reset_after_cell.defslopes
def gru_reset_after_slopes(params: Any, step: Any) -> Any:
    """What multiplies dh_t in `gru_reset_after_cell_backward`."""
    h, (r, u, n, q) = step.before, step.kept
    dz_n_from_dh = (1 - u) * (1 - n * n)
    return r, u, dz_n_from_dh * q * r * (1 - r), (h - n) * u * (1 - u), dz_n_from_dh


@gru_reset_after_cell.defbackward
def gru_reset_after_cell_backward(params: Any, slopes: Any, dh: Any) -> Any:
    """From h_t = u h + (1 - u) n, du = dh_t (h - n) and dn = dh_t (1 - u); through σ, tanh and r q,

        dz_u = dh_t (h - n) u(1-u)    dz_n = dh_t (1-u)(1-n²)    dq = dz_n r    dz_r = dz_n q r(1-r)
        dh = dh_t u + W_rᵀ dz_r + W_uᵀ dz_u + W_nᵀ dq
    """
    r, u, dz_r_from_dh, dz_u_from_dh, dz_n_from_dh = slopes
    dz_r, dz_u, dz_n = dh * dz_r_from_dh, dh * dz_u_from_dh, dh * dz_n_from_dh
    dh = dh * u + jnp.concatenate([dz_r, dz_u, dz_n * r]) @ params["weight_h"]
    return jnp.concatenate([dz_r, dz_u, dz_n]), dh


@gru_reset_after_cell.defproducts
def gru_reset_after_products(h: Any, slopes: Any, dz: Any) -> Any:
    """All of W_h multiplies h, and the cotangents of the products are dz_r, dz_u and dq = dz_n r; b_h has dq."""
    r, n_hidden = slopes[0], h.shape[-1]
    dq = dz[:, 2 * n_hidden:] * r
    return {"weight_h": (jnp.concatenate([dz[:, :2 * n_hidden], dq], -1), h), "bias_h": dq}


@cell(state="h c", params=_shapes(4))
def lstm_cell(params: Any, state: Any, z: Any) -> Any:
    """Long short-term memory. With a = z + W_h h and gates i f g o:

        i, f, o = σ(a_i), σ(a_f), σ(a_o)    g = tanh a_g   input, forget and output gate, candidate
        c_t = f c + i g                                    cell
        h_t = o tanh c_t                                   hidden

    PyTorch's order of gates; "bias" is the sum of its two.

    Source: Hochreiter & Schmidhuber (1997); forget gate of Gers, Schmidhuber & Cummins (2000).

    >>> h, last = lstm({"weight_x": jnp.ones((4, 1)), "weight_h": jnp.ones((4, 1))}, jnp.array([[0.0], [1.0]]))
    >>> [round(float(h_t), 3) for h_t in h[:, 0]]
    [0.0, 0.37]
    """
    h, c = state
    n = h.shape[-1]
    a = z + h @ params["weight_h"].T
    i, f, g, o = (lax.logistic(a[:n]), lax.logistic(a[n:2 * n]), jnp.tanh(a[2 * n:3 * n]), lax.logistic(a[3 * n:]))
    c = f * c + i * g
    return (o * jnp.tanh(c), c), (i, f, g, o)


@lstm_cell.defslopes
def lstm_slopes(params: Any, step: Any) -> Any:
    """What multiplies dc and dh in `lstm_cell_backward`."""
    (_, c_tm1), (_, c), (i, f, g, o) = step
    tau = jnp.tanh(c)
    return (g * i * (1 - i), c_tm1 * f * (1 - f), i * (1 - g * g)), tau * o * (1 - o), o * (1 - tau * tau), f


@lstm_cell.defbackward
def lstm_cell_backward(params: Any, slopes: Any, dstate: Any) -> Any:
    """dh and dc are the cotangents of h_t and c_t. From h_t = o tanh c_t and c_t = f c + i g, with τ = tanh c_t,

        do = dh τ        dc += dh o (1 - τ²)
        di = dc g        df = dc c_{t-1}        dg = dc i        dc_{t-1} = dc f

    and through the gates

        dz_i = dc g i(1-i)    dz_f = dc c_{t-1} f(1-f)    dz_g = dc i (1-g²)    dz_o = dh τ o(1-o)
        dh_{t-1} = W_hᵀ dz

    Source: Hochreiter & Schmidhuber (1997), appendix; Graves (2012), section 4.6, without peepholes.
    """
    (dh, dc), (dz_ifg_from_dc, dz_o_from_dh, dc_from_dh, f) = dstate, slopes
    dc = dc + dh * dc_from_dh
    dz = jnp.concatenate([*(dc * from_dc for from_dc in dz_ifg_from_dc), dh * dz_o_from_dh])
    return dz, (dz @ params["weight_h"], dc * f)


rnn = over_time(rnn_cell)
rnn_relu = over_time(rnn_relu_cell)
gru = over_time(gru_cell)
gru_reset_after = over_time(gru_reset_after_cell)
lstm = over_time(lstm_cell)
