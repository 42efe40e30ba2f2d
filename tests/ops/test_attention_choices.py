"""Attention's choices, one by one and together: against the formula in PyTorch, differentiated there, and against
PyTorch's own function where that has the choice."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import alibi_slopes, attention
from tests.compare import QUICKLY, assert_close, check_backward, pulled_back

RNG = np.random.default_rng(1)
# T_q, T_k, n_heads, n_kv_heads, d, d_v; what is given besides; keywords.
CHOICES = {
    "heads": ((5, 5, 4, 4, 2, 3), (), {"causal": True}),
    "grouped heads": ((5, 6, 4, 2, 2, 3), (), {}),
    "one head of keys": ((3, 5, 3, 1, 2, 2), ("bias of heads",), {}),
    "the last queries": ((3, 7, 2, 2, 2, 3), (), {"causal": True}),
    "one query": ((1, 7, 2, 1, 2, 3), (), {"causal": True}),
    "a start": ((2, 7, 2, 2, 2, 3), ("start",), {"causal": True, "window": (3, None)}),
    "a length": ((5, 5, 2, 2, 2, 2), ("length",), {"causal": True}),
    "a length, across": ((2, 7, 2, 2, 2, 2), ("length", "mask"), {}),
    "a window": ((7, 7, 1, 1, 2, 2), (), {"window": 2}),
    "a causal window": ((7, 7, 2, 2, 2, 2), (), {"window": (1, 5), "causal": True}),
    "a window of the last": ((3, 9, 2, 2, 2, 2), ("bias",), {"window": (2, 1)}),
    "a mask of heads": ((4, 5, 4, 2, 2, 2), ("mask of heads", "bias"), {}),
    "scale and cap": ((4, 5, 2, 2, 2, 2), ("bias",), {"scale": 0.7, "soft_cap": 0.9}),
    "slopes": ((4, 6, 4, 2, 2, 2), ("slopes",), {"causal": True}),
    "all": ((4, 6, 4, 2, 3, 2), ("mask of heads", "bias of heads", "slopes", "length", "start"),
            {"causal": True, "window": (3, 1), "scale": 0.6, "soft_cap": 2.0}),
}
EACH = pytest.mark.parametrize("name", CHOICES)
pytestmark = pytest.mark.usefixtures("x64")


def arguments(name):
    (T_q, T_k, h, g, d, d_v), given, static = CHOICES[name]
    q, k, v = (RNG.standard_normal(s) for s in ((T_q, h * d), (T_k, g * d), (T_k, g * d_v)))
    args = dict.fromkeys(("mask", "bias", "slopes", "length", "start"))
    for what in given:
        what, _, of_heads = what.partition(" of ")
        shape = (h, T_q, T_k) if of_heads else (T_q, T_k)
        args[what] = {"mask": RNG.random(shape) < 0.7, "bias": RNG.standard_normal(shape),
                      "slopes": RNG.random(h), "length": T_k - 2, "start": 1}[what]
    if args["mask"] is not None:
        args["mask"][..., 1, :] = False
    return (q, k, v, *args.values()), {"n_heads": h, "n_kv_heads": g, "chunk": 3, **static}


def visible(T_q, T_k, mask, length, start, causal, window):
    sees = np.zeros((T_q, T_k), bool)
    before, after = (window if isinstance(window, tuple) else (window, window))
    for i in range(T_q):
        place = i + (T_k - T_q if start is None else int(start))
        for j in range(T_k):
            sees[i, j] = ((length is None or j < length) and (not causal or j <= place)
                          and (before is None or j >= place - before) and (after is None or j <= place + after))
    return sees if mask is None else sees & mask


def formula(torch, q, k, v, mask, bias, slopes, length, start, *, n_heads, n_kv_heads, causal=False, window=None,
            scale=None, soft_cap=None, chunk=None):
    """Head by head, of tensors."""
    T_q, T_k, d = len(q), len(k), q.shape[1] // n_heads
    sees = np.broadcast_to(visible(T_q, T_k, mask, length, start, causal, window), (n_heads, T_q, T_k))
    place = torch.arange(T_q)[:, None] + (T_k - T_q if start is None else int(start))
    ys = []
    for n in range(n_heads):
        m = n * n_kv_heads // n_heads
        k_, v_ = (a.reshape(T_k, n_kv_heads, -1)[:, m] for a in (k, v))
        s = q[:, n * d:(n + 1) * d] @ k_.T * (d**-0.5 if scale is None else scale)
        s = s if soft_cap is None else soft_cap * torch.tanh(s / soft_cap)
        s = s if slopes is None else s - slopes[n] * (place - torch.arange(T_k)).abs()
        s = s if bias is None else s + (bias[n] if bias.ndim == 3 else bias)
        some = torch.tensor(sees[n].any(1))
        s = s.masked_fill(torch.tensor(~sees[n]) & some[:, None], -torch.inf)
        ys.append(torch.where(some[:, None], torch.softmax(s, 1) @ v_, 0.0))
    return torch.cat(ys, 1)


@EACH
def test_value_and_gradients(name, torch):
    args, static = arguments(name)
    moves = [n for n, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype == np.float64]

    def of_moving(*moving):
        return attention(*(moving[moves.index(n)] if n in moves else a for n, a in enumerate(args)), **static)

    dy = RNG.standard_normal((len(args[0]), static["n_heads"] * args[2].shape[1] // static["n_kv_heads"]))
    y, cotangents = pulled_back(of_moving, *(args[n] for n in moves), dy=dy)
    tensors = [torch.tensor(a, requires_grad=True) if n in moves else a for n, a in enumerate(args)]
    want = formula(torch, *tensors, **static)
    want.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-11, atol=1e-13)
    for n, got in zip(moves, cotangents, strict=True):
        np.testing.assert_allclose(got, tensors[n].grad.numpy(), rtol=1e-10, atol=1e-12)


def test_all_choices_backward():
    """The explicit and the lifted backward, the reference's autodiff and finite differences."""
    args, static = arguments("all")
    args = [np.asarray(a) for a in args]
    check_backward(attention, *args, **static, threshold=256)
