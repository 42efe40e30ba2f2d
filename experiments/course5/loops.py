"""The course's recurrent network and LSTM, step by step in NumPy, to be read beside the fast ops.

As in the course, x is (n_x, examples, time) and a (n_a, examples, time); each forward pass returns caches for its
backward pass. The LSTM's weights work on the rows [a_{t-1}; x_t]: Wf, Wi, Wc, Wo are (n_a, n_a + n_x).
"""

from typing import Any

import numpy as np

__all__ = ["GATES", "lstm_backward", "lstm_cell_backward", "lstm_cell_forward", "lstm_forward", "rnn_backward",
           "rnn_cell_backward", "rnn_cell_forward", "rnn_forward", "sigmoid", "softmax"]

Arrays = dict[str, np.ndarray]
GATES = "fico"  # forget, input (the course's update), candidate, output


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    """Over the rows of each column."""
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


def rnn_cell_forward(xt: np.ndarray, a_prev: np.ndarray, parameters: Arrays) -> tuple[np.ndarray, np.ndarray, Any]:
    """(a_next, yt_pred, cache) of a_next = tanh(Waa a_prev + Wax xt + ba), yt_pred = softmax(Wya a_next + by)."""
    p = parameters
    a_next = np.tanh(p["Waa"] @ a_prev + p["Wax"] @ xt + p["ba"])
    return a_next, softmax(p["Wya"] @ a_next + p["by"]), (a_next, a_prev, xt, parameters)


def rnn_forward(x: np.ndarray, a0: np.ndarray, parameters: Arrays) -> tuple[np.ndarray, np.ndarray, Any]:
    """(a, y_pred, caches) of all steps."""
    a, y, caches, a_next = [], [], [], a0
    for t in range(x.shape[2]):
        a_next, yt, cache = rnn_cell_forward(x[:, :, t], a_next, parameters)
        a.append(a_next)
        y.append(yt)
        caches.append(cache)
    return np.stack(a, axis=2), np.stack(y, axis=2), (caches, x)


def rnn_cell_backward(da_next: np.ndarray, cache: Any) -> Arrays:
    """The gradient of one step. With z = Waa a_prev + Wax xt + ba and tanh' = 1 - tanh²,

        dz = da_next (1 - a_next²)        dxt = Waxᵀ dz        da_prev = Waaᵀ dz
        dWax = dz xtᵀ    dWaa = dz a_prevᵀ    dba = Σ dz over the examples
    """
    a_next, a_prev, xt, p = cache
    dz = da_next * (1 - a_next**2)
    return {"dxt": p["Wax"].T @ dz, "da_prev": p["Waa"].T @ dz, "dWax": dz @ xt.T, "dWaa": dz @ a_prev.T,
            "dba": dz.sum(axis=1, keepdims=True)}


def rnn_backward(da: np.ndarray, caches: Any) -> Arrays:
    """Backpropagation through time: a_t reaches the loss by itself, da_t, and by way of a_{t+1}; the weights are used
    at each step, and their gradients are the sums over the steps."""
    steps, x = caches
    total: Arrays = {}
    dx, da_prev = np.zeros_like(x), np.zeros_like(da[:, :, 0])
    for t in reversed(range(len(steps))):
        found = rnn_cell_backward(da[:, :, t] + da_prev, steps[t])
        dx[:, :, t], da_prev = found.pop("dxt"), found.pop("da_prev")
        total = {name: total.get(name, 0) + value for name, value in found.items()}
    return {"dx": dx, "da0": da_prev, **total}


def lstm_cell_forward(xt: np.ndarray, a_prev: np.ndarray, c_prev: np.ndarray,
                      parameters: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """(a_next, c_next, yt_pred, cache). With r = [a_prev; xt]:

        ft, it, ot = σ(Wf r + bf), σ(Wi r + bi), σ(Wo r + bo)        cct = tanh(Wc r + bc)
        c_next = ft c_prev + it cct        a_next = ot tanh(c_next)        yt_pred = softmax(Wy a_next + by)
    """
    p, rows = parameters, np.concatenate([a_prev, xt])
    ft, it, ot = (sigmoid(p[f"W{g}"] @ rows + p[f"b{g}"]) for g in "fio")
    cct = np.tanh(p["Wc"] @ rows + p["bc"])
    c_next = ft * c_prev + it * cct
    a_next = ot * np.tanh(c_next)
    return (a_next, c_next, softmax(p["Wy"] @ a_next + p["by"]),
            (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters))


def lstm_forward(x: np.ndarray, a0: np.ndarray,
                 parameters: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """(a, y, c, caches) of all steps, from c = 0."""
    a, y, c, caches, a_next, c_next = [], [], [], [], a0, np.zeros_like(a0)
    for t in range(x.shape[2]):
        a_next, c_next, yt, cache = lstm_cell_forward(x[:, :, t], a_next, c_next, parameters)
        a.append(a_next)
        y.append(yt)
        c.append(c_next)
        caches.append(cache)
    return np.stack(a, axis=2), np.stack(y, axis=2), np.stack(c, axis=2), (caches, x)


def lstm_cell_backward(da_next: np.ndarray, dc_next: np.ndarray, cache: Any) -> Arrays:
    """The gradient of one step. With τ = tanh(c_next), the cell's whole cotangent is

        dc = dc_next + da_next ot (1 - τ²)

    and before the gates' functions

        dzf = dc c_prev ft (1-ft)    dzi = dc cct it (1-it)    dzc = dc it (1-cct²)    dzo = da_next τ ot (1-ot)
        dWg = dzg [a_prev; xt]ᵀ    dbg = Σ dzg over the examples    d[a_prev; xt] = Σ_g Wgᵀ dzg    dc_prev = dc ft
    """
    _, c_next, a_prev, c_prev, ft, it, cct, ot, xt, p = cache
    tau = np.tanh(c_next)
    dc = dc_next + da_next * ot * (1 - tau**2)
    dz = {"f": dc * c_prev * ft * (1 - ft), "i": dc * cct * it * (1 - it), "c": dc * it * (1 - cct**2),
          "o": da_next * tau * ot * (1 - ot)}
    rows, n_a = np.concatenate([a_prev, xt]), len(a_prev)
    drows = sum(p[f"W{g}"].T @ dz[g] for g in GATES)
    return {"dxt": drows[n_a:], "da_prev": drows[:n_a], "dc_prev": dc * ft,
            **{f"dW{g}": dz[g] @ rows.T for g in GATES},
            **{f"db{g}": dz[g].sum(axis=1, keepdims=True) for g in GATES}}


def lstm_backward(da: np.ndarray, caches: Any) -> Arrays:
    """Backpropagation through time, as `rnn_backward`, with the cotangents of both states handed back.

    The numbers that the notebooks of 2017 print for it are not the gradient: they drop both.
    """
    steps, x = caches
    total: Arrays = {}
    dx = np.zeros_like(x)
    da_prev = dc_prev = np.zeros_like(da[:, :, 0])
    for t in reversed(range(len(steps))):
        found = lstm_cell_backward(da[:, :, t] + da_prev, dc_prev, steps[t])
        dx[:, :, t], da_prev, dc_prev = (found.pop(name) for name in ("dxt", "da_prev", "dc_prev"))
        total = {name: total.get(name, 0) + value for name, value in found.items()}
    return {"dx": dx, "da0": da_prev, **total}
