"""Long short-term memory over a whole sequence: one `scan` forward, one `scan` backward.

    z_t = W_x x_t + W_h h_{t-1} + b                    four blocks of n_hidden rows, in the order i f g o
    i, f, o = σ(z_i), σ(z_f), σ(z_o)    g = tanh z_g   input, forget and output gate, candidate
    c_t = f c_{t-1} + i g                              cell
    h_t = o tanh c_t                                   hidden
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_float, expect_shape
from jaxnn.hand_derived import Static, hand_derived

__all__ = ["lstm", "lstm_hidden", "lstm_last"]


@hand_derived
def lstm(params: Any, x: Any, initial: Any = None) -> Any:
    """The hidden states of an LSTM along a sequence.

    Args:
      params: {"weight_x": (4 n_hidden, n_in), "weight_h": (4 n_hidden, n_hidden), "bias": (4 n_hidden,)}.
      x: (time, n_in), one sequence.
      initial: (h_0, c_0), each (n_hidden,); None for zeros.
    Returns:
      (h, (h_T, c_T)): h (time, n_hidden), and the last hidden and cell state.
    Raises:
      InputError: a shape does not fit, or the sequence is empty.
    Source: Hochreiter & Schmidhuber (1997); forget gate of Gers, Schmidhuber & Cummins (2000).
    """
    names = ["bias", "weight_h", "weight_x"]
    expect(isinstance(params, dict) and sorted(params) == names, "lstm", f"params to be {names}",
           f"keys {sorted(params)}" if isinstance(params, dict) else type(params).__name__)
    expect_shape("lstm", "weight_h", params["weight_h"], ("4 n_hidden", "n_hidden"))
    n = params["weight_h"].shape[1]
    expect_shape("lstm", "weight_h", params["weight_h"], (4 * n, n))
    expect_shape("lstm", "weight_x", params["weight_x"], (4 * n, "n_in"))
    expect_shape("lstm", "bias", params["bias"], (4 * n,))
    expect_float("lstm", "x", x)
    expect_shape("lstm", "x", x, ("time", params["weight_x"].shape[1]))
    expect(x.shape[0] > 0, "lstm", "at least one time step", str(x.shape))
    # The products with x need no earlier step: one matrix product for the whole sequence.
    z_x = x @ params["weight_x"].T + params["bias"]
    if initial is None:
        h_0 = c_0 = jnp.zeros_like(z_x[0, :n])
    else:
        is_pair = isinstance(initial, tuple | list) and len(initial) == 2
        expect(is_pair, "lstm", "initial to be (h_0, c_0)", type(initial).__name__)
        h_0, c_0 = initial
        expect_shape("lstm", "h_0", h_0, (n,))
        expect_shape("lstm", "c_0", c_0, (n,))
        h_0, c_0 = h_0.astype(z_x.dtype), c_0.astype(z_x.dtype)

    def step(carry: Any, z_x_t: Any) -> Any:
        h_tm1, c_tm1 = carry
        z = z_x_t + params["weight_h"] @ h_tm1
        i, f, g, o = (lax.logistic(z[:n]), lax.logistic(z[n:2 * n]), jnp.tanh(z[2 * n:3 * n]),
                      lax.logistic(z[3 * n:]))
        c = f * c_tm1 + i * g
        h = (o * jnp.tanh(c)).astype(h_tm1.dtype)
        return (h, c), (h, c, jnp.concatenate([i, f, g, o]))

    last, (h, c, gates) = lax.scan(step, (h_0, c_0), z_x)
    before = jnp.concatenate([h_0[None], h[:-1]]), jnp.concatenate([c_0[None], c[:-1]])
    cache = (params["weight_x"], params["weight_h"], x, gates, c, *before, None if initial is None else ())
    return (h, last), cache


@lstm.defbackward
def lstm_backward(cache: Any, dy: Any) -> Any:
    """Backpropagation through time.

    Let dh_t and dc_t be the whole cotangents of h_t and c_t, which come from y_t and from step t + 1.
    From h_t = o tanh c_t and c_t = f c_{t-1} + i g, with τ = tanh c_t,

        do = dh τ        dc_t += dh o (1 - τ²)
        di = dc g        df = dc c_{t-1}        dg = dc i        dc_{t-1} = dc f

    and through the gates, σ' = σ (1 - σ), tanh' = 1 - tanh²,

        dz_i = dc g i(1-i)    dz_f = dc c_{t-1} f(1-f)    dz_g = dc i (1-g²)    dz_o = dh τ o(1-o)
        dh_{t-1} = W_hᵀ dz_t
        dW_x = Σ_t dz_t x_tᵀ    dW_h = Σ_t dz_t h_{t-1}ᵀ    db = Σ_t dz_t    dx_t = W_xᵀ dz_t

    The factors of dc and dh do not depend on dy: they are found for all times at once, so that the
    scan from the last step to the first holds one matrix product and a few multiplications. The sums
    over t are one matrix product each, after it.

    Args:
      cache: W_x, W_h, x, gates (time, 4 n_hidden), c, h_{t-1}, c_{t-1}, () if `initial` was given.
      dy: (dh of all h_t (time, n_hidden), (dh_T, dc_T)).
    Source: Hochreiter & Schmidhuber (1997), appendix; Graves (2012), section 4.6, without peepholes.
    """
    weight_x, _, x, _, _, h_tm1, _, has_initial = cache
    dz, initial = pre_activation_cotangents(cache, dy)
    dparams = {"weight_x": jnp.einsum("tz,ti->zi", dz, x), "weight_h": jnp.einsum("tz,th->zh", dz, h_tm1),
               "bias": jnp.sum(dz, 0)}
    return dparams, dz @ weight_x, None if has_initial is None else initial


def pre_activation_cotangents(cache: Any, dy: Any) -> Any:
    """dz (time, 4 n_hidden) and (dh_0, dc_0), by the recursion derived at `lstm_backward`."""
    _, weight_h, _, gates, c, _, c_tm1, _ = cache
    dh_all, (dh_T, dc_T) = dy
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    tau = jnp.tanh(c)
    dz_from_dc = jnp.concatenate([g * i * (1 - i), c_tm1 * f * (1 - f), i * (1 - g * g)], -1)
    dz_o_from_dh = tau * o * (1 - o)
    dc_from_dh = o * (1 - tau * tau)

    def step(carry: Any, at_t: Any) -> Any:
        dh, dc = carry
        dh_t, f, dz_from_dc, dz_o_from_dh, dc_from_dh = at_t
        dh = dh + dh_t
        dc = dc + dh * dc_from_dh
        dz = jnp.concatenate([jnp.concatenate([dc, dc, dc]) * dz_from_dc, dh * dz_o_from_dh])
        return (dz @ weight_h, dc * f), dz

    per_step = (dh_all, f, dz_from_dc, dz_o_from_dh, dc_from_dh)
    initial, dz = lax.scan(step, (dh_T, dc_T), per_step, reverse=True)
    return dz, initial


@hand_derived
def lstm_hidden(params: Any, x: Any) -> Any:
    """The hidden states h (time, n_hidden) of `lstm`, from zeros; params and x as there."""
    (h, _), cache = lstm.forward(params, x)
    return h, cache


@lstm_hidden.defbackward
def lstm_hidden_backward(cache: Any, dh: Any) -> Any:
    """`lstm`'s, with no cotangent for the last state but that in dh."""
    nothing = jnp.zeros_like(dh[0])
    dparams, dx, _ = lstm.backward(cache, (dh, (nothing, nothing)))
    return dparams, dx


@hand_derived
def lstm_last(params: Any, x: Any) -> Any:
    """The last hidden state h_T (n_hidden,) of `lstm`, from zeros; params and x as there."""
    (_, (h_T, _)), cache = lstm.forward(params, x)
    return h_T, (cache, Static(x.shape[0]))


@lstm_last.defbackward
def lstm_last_backward(cache: Any, dh_T: Any) -> Any:
    """`lstm`'s, with a cotangent for the last state alone."""
    inner, time = cache
    nothing = jnp.zeros_like(dh_T)
    dh = jnp.zeros_like(dh_T, shape=(time.value, *dh_T.shape))
    dparams, dx, _ = lstm.backward(inner, (dh, (dh_T, nothing)))
    return dparams, dx
