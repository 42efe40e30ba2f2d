"""Recurrent networks by name, a cell of a user's own among them, with their equations once more in NumPy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.ops import cell, gru, gru_reset_after, lstm, over_time, rnn, rnn_relu

N, N_IN = 3, 2
SIGMA = scipy.special.expit


# A cell of a user's own: the minimal gated unit (Zhou et al. 2016), with its equations beside their derivation.


@cell(state="h", params={"weight_x": "2*n_hidden n_in", "weight_h": "2*n_hidden n_hidden", "bias": "2*n_hidden"})
def minimal_gated_unit(params, h, z):
    """f = σ(z_f + W_f h)    g = tanh(z_g + W_g (f h))    h_t = (1 - f) h + f g"""
    W_f, W_g = jnp.split(params["weight_h"], 2)
    z_f, z_g = jnp.split(z, 2)
    f = jax.nn.sigmoid(z_f + h @ W_f.T)
    g = jnp.tanh(z_g + (f * h) @ W_g.T)
    return (1 - f) * h + f * g, (f, g)


@minimal_gated_unit.defbackward
def minimal_gated_unit_backward(params, step, dh):
    """dz_g = dh f (1-g²)    d(fh) = W_gᵀ dz_g    df = dh (g-h) + d(fh) h    dz_f = df f (1-f)"""
    h, (f, g) = step.before, step.kept
    W_f, W_g = jnp.split(params["weight_h"], 2)
    dz_g = dh * f * (1 - g * g)
    dfh = dz_g @ W_g
    dz_f = (dh * (g - h) + dfh * h) * f * (1 - f)
    return jnp.concatenate([dz_f, dz_g]), dh * (1 - f) + dfh * f + dz_f @ W_f


@minimal_gated_unit.defproducts
def minimal_gated_unit_products(h, step, dz):
    dz_f, dz_g = jnp.split(dz, 2, -1)
    return {"weight_h": [(dz_f, h), (dz_g, step.kept[0] * h)]}


mgu = over_time(minimal_gated_unit)


# The equations once more, in NumPy: (W_h, b_h, state, z) -> the next state.


def rnn_step(U, b_h, h, z):
    return np.tanh(z + U @ h)


def relu_step(U, b_h, h, z):
    return np.maximum(z + U @ h, 0)


def gru_step(U, b_h, h, z):
    r, u = SIGMA(z[:N] + U[:N] @ h), SIGMA(z[N:2 * N] + U[N:2 * N] @ h)
    return u * h + (1 - u) * np.tanh(z[2 * N:] + U[2 * N:] @ (r * h))


def gru_reset_after_step(U, b_h, h, z):
    r, u = SIGMA(z[:N] + U[:N] @ h), SIGMA(z[N:2 * N] + U[N:2 * N] @ h)
    return u * h + (1 - u) * np.tanh(z[2 * N:] + r * (U[2 * N:] @ h + b_h))


def lstm_step(U, b_h, state, z):
    """Gates i, f, g, o in that order, each its block of rows."""
    h, c = state
    z = z + U @ h
    i, f, g, o = SIGMA(z[:N]), SIGMA(z[N:2 * N]), np.tanh(z[2 * N:3 * N]), SIGMA(z[3 * N:])
    c = f * c + i * g
    return o * np.tanh(c), c


def mgu_step(U, b_h, h, z):
    f = SIGMA(z[:N] + U[:N] @ h)
    return (1 - f) * h + f * np.tanh(z[N:] + U[N:] @ (f * h))


class Net(NamedTuple):
    op: object
    blocks: int
    step: object
    torch: str = ""


NETS = {
    "rnn": Net(rnn, 1, rnn_step, "RNN"), "relu": Net(rnn_relu, 1, relu_step, "RNN"), "gru": Net(gru, 3, gru_step),
    "gru_reset_after": Net(gru_reset_after, 3, gru_reset_after_step, "GRU"), "lstm": Net(lstm, 4, lstm_step, "LSTM"),
    "minimal gated unit": Net(mgu, 2, mgu_step)}
each = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def make(net, time, seed=0):
    """params, x and a first state."""
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.standard_normal(shape)  # noqa: E731
    rows = net.blocks * N
    params = {"weight_x": normal(rows, N_IN), "weight_h": normal(rows, N), "bias": normal(rows)}
    if net.op is gru_reset_after:
        params["bias_h"] = normal(N)
    return params, normal(time, N_IN), (normal(N), normal(N)) if net.op is lstm else normal(N)


def loop(net, params, x, state, mask=None, reverse=False):
    hs = np.zeros((len(x), N))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        if mask is None or mask[t]:
            z = params["weight_x"] @ x[t] + params.get("bias", 0)
            state = net.step(params["weight_h"], params.get("bias_h", 0), state, z)
        hs[t] = state[0] if net.op is lstm else state
    return hs, state


def zeros(net):
    return (np.zeros(N), np.zeros(N)) if net.op is lstm else np.zeros(N)


def run(op, *args, **static):
    return jax.jit(lambda *args: op(*args, **static))(*jax.tree.map(jnp.asarray, args))


def assert_same(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
