"""Gradients of an LSTM and a GRU over a batch of sequences, beside what autodiff makes of the scan that one would write
with care, Flax's cells, PyTorch, and the matrix products of the gradient by themselves.

All sides have the same weights and the same cotangent, and give the gradients by weight_x, weight_h, bias and x (Flax
has its weights transposed). The GRU is the one that Flax, PyTorch and cuDNN have: its reset gate stands behind the
product.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.bench.measure import Side, normal
from experiments.bench.torch_device import as_result, on_device, pytorch
from jaxnn.compiler_options import compiler_options
from jaxnn.gradients.cost import temporaries
from jaxnn.ops import gru_reset_after, lstm

__all__ = ["SHAPES", "gradient"]

SHAPES = ("64x40x64x256", "64x40x86x100", "64x100x256x512", "32x200x64x128", "128x50x128x256")
BLOCKS = {"lstm": 4, "gru": 3}


def gradient(name: str, shape: str) -> list[Side]:
    """The sides of `lstm` or `gru`; shape: batch x time x n_in x n_hidden."""
    batch, time, n_in, n_hidden = map(int, shape.split("x"))
    rows = BLOCKS[name] * n_hidden
    params = {"weight_x": normal(0, rows, n_in) / n_in**0.5, "weight_h": normal(1, rows, n_hidden) / n_hidden**0.5,
              "bias": normal(2, rows)}
    x, dy = normal(3, batch, time, n_in), normal(4, batch, time, n_hidden)
    op = lstm if name == "lstm" else gru_reset_after
    scan = {"lstm": lstm_scan, "gru": gru_scan}[name]
    arguments = params, x, dy
    sides = [_compiled("autodiff", _gradient(scan), *arguments)]
    for peer, make in (("Flax", _flax), ("PyTorch", _torch)):
        call = make(name, *arguments)
        sides += [Side(peer, call)] if call else []
    sides.append(_compiled("bare products", bare_products, params, x, normal(5, time, batch, rows)))
    over_batch = jax.vmap(lambda params, x: op(params, x)[0], (None, 0))
    return [*sides, _compiled("jaxnn", _gradient(over_batch), *arguments)]


def _compiled(name: str, function: Callable, *args: Any) -> Side:
    compiled = jax.jit(function).lower(*args).compile(compiler_options(function, *args))
    return Side(name, lambda: compiled(*args), temporaries(compiled))


def _gradient(hidden_states: Callable) -> Callable:
    def gradient(params: Any, x: Any, dy: Any) -> Any:
        dparams, dx = jax.vjp(hidden_states, params, x)[1](dy)
        return dparams["weight_x"], dparams["weight_h"], dparams["bias"], dx

    return gradient


def lstm_scan(params: Any, x: Any) -> Any:
    """The products with the input before the loop, one product for all gates in it."""
    def step(state: Any, z: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(z + h @ params["weight_h"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[0], params["weight_h"].shape[1]), x.dtype)
    return _over_time(step, (zeros, zeros), params, x)


def gru_scan(params: Any, x: Any) -> Any:
    def step(h: Any, z: Any) -> Any:
        (z_r, z_u, z_n), (a_r, a_u, q) = (jnp.split(a, 3, -1) for a in (z, h @ params["weight_h"].T))
        u = jax.nn.sigmoid(z_u + a_u)
        h = u * h + (1 - u) * jnp.tanh(z_n + jax.nn.sigmoid(z_r + a_r) * q)
        return h, h

    return _over_time(step, jnp.zeros((x.shape[0], params["weight_h"].shape[1]), x.dtype), params, x)


def _over_time(step: Callable, start: Any, params: Any, x: Any) -> Any:
    z = x.swapaxes(0, 1) @ params["weight_x"].T + params["bias"]
    return lax.scan(step, start, z)[1].swapaxes(0, 1)


def bare_products(params: Any, x: Any, dz: Any) -> Any:
    """The six matrix products of the gradient and nothing else; dz (time, batch, rows) is at hand."""
    weight_x, weight_h = params["weight_x"], params["weight_h"]
    n_hidden, rows = weight_h.shape[1], x.reshape(-1, x.shape[-1])

    def forward(h: Any, _: Any) -> Any:
        a = h @ weight_h.T
        return a[:, -n_hidden:], a[:, :n_hidden]

    def backward(dh: Any, dz_t: Any) -> Any:
        return dz_t @ weight_h, None

    zeros = dz[0, :, :n_hidden]
    _, h = lax.scan(forward, zeros, None, length=len(dz))
    dh, _ = lax.scan(backward, zeros, dz, reverse=True)
    flat = dz.reshape(-1, dz.shape[-1])
    return (rows @ weight_x.T, dh, flat.T @ rows, flat.T @ h.reshape(-1, n_hidden), flat @ weight_x)


def _flax(name: str, params: Any, x: Any, dy: Any) -> Callable | None:
    try:
        from flax import nnx
    except ImportError:
        return None
    cell = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}[name]
    rows, n_in = params["weight_x"].shape
    net: Any = nnx.RNN(cell(n_in, params["weight_h"].shape[1], rngs=nnx.Rngs(0)))
    assert rows == net.cell.dense_i.kernel.shape[1]
    biased = net.cell.dense_h if name == "lstm" else net.cell.dense_i
    net.cell.dense_i.kernel[...] = params["weight_x"].T
    net.cell.dense_h.kernel[...] = params["weight_h"].T
    biased.bias[...] = params["bias"]
    graph, state = nnx.split(net)

    def gradient(state: Any, x: Any, dy: Any) -> Any:
        dstate, dx = jax.vjp(lambda state, x: nnx.merge(graph, state)(x), state, x)[1](dy)
        cell = dstate["cell"]
        bias = cell["dense_h" if name == "lstm" else "dense_i"]["bias"]
        return cell["dense_i"]["kernel"][...], cell["dense_h"]["kernel"][...], bias[...], dx

    compiled = jax.jit(gradient)
    return lambda: compiled(state, x, dy)


def _torch(name: str, params: Any, x: Any, dy: Any) -> Callable | None:
    torch = pytorch()
    if torch is None:
        return None
    n_in, n_hidden = params["weight_x"].shape[1], params["weight_h"].shape[1]
    net = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[name](n_in, n_hidden, batch_first=True)
    zeros = np.zeros(len(params["bias"]), np.float32)
    values = (params["weight_x"], params["weight_h"], params["bias"], zeros)
    with torch.no_grad():
        for weight, value in zip(net.parameters(), values, strict=True):
            weight.copy_(torch.tensor(np.asarray(value)))
    net, cotangent = on_device(net), on_device(dy)
    moving = [*list(net.parameters())[:3], on_device(x).requires_grad_()]

    def call() -> Any:
        return as_result(torch.autograd.grad(net(moving[-1])[0], moving, cotangent))

    return call
