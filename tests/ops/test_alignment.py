"""Additive and multiplicative attention: against their formulas in PyTorch, masks, edges, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import additive_attention, multiplicative_attention
from tests.compare import assert_close, check_backward, pulled_back

RNG = np.random.default_rng(2)
T_q, T_k = 3, 4
MASKS = {"none": None, "of keys": np.array([True, False, True, True]),
         "of pairs": np.array([[True, False, True, True], [False] * 4, [True, False, False, False]])}


def make(kind):
    n_hidden, n_q, n_k = 2, 3, 3 if kind == "dot" else 2
    params = {"additive": {"weight_q": (n_hidden, n_q), "weight_k": (n_hidden, n_k), "bias": (n_hidden,),
                           "score": (n_hidden,)},
              "additive, no bias": {"weight_q": (n_hidden, n_q), "weight_k": (n_hidden, n_k), "score": (n_hidden,)},
              "general": {"weight": (n_q, n_k)}, "dot": {}}[kind]
    params = {name: RNG.standard_normal(shape) for name, shape in params.items()}
    op = additive_attention if kind.startswith("additive") else multiplicative_attention
    return op, params, [RNG.standard_normal(s) for s in ((T_q, n_q), (T_k, n_k), (T_k, 2))]


def formula(torch, params, q, k, v, mask):
    if "score" in params:
        z = (q @ params["weight_q"].T)[:, None] + k @ params["weight_k"].T
        s = torch.tanh(z + params.get("bias", 0)) @ params["score"]
    else:
        s = q @ params["weight"] @ k.T if params else q @ k.T
    sees = torch.tensor(np.broadcast_to(True if mask is None else mask, (T_q, T_k)).copy())
    some = sees.any(1)[:, None]
    p = torch.where(some, torch.softmax(s.masked_fill(~sees & some, -torch.inf), 1), 0.0)
    return p @ v, p


@pytest.mark.sampled
@pytest.mark.parametrize(("kind", "mask"), [
    ("additive", "of pairs"), ("additive, no bias", "none"), ("general", "of keys"), ("dot", "of pairs")])
@pytest.mark.usefixtures("x64")
def test_value_and_backward(kind, mask, torch):
    op, params, qkv = make(kind)
    masks = () if MASKS[mask] is None else (MASKS[mask],)
    (y, p), (dy, dp), cotangents = check_backward(op, params, *qkv, *masks, threshold=64)
    tensors = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), (params, *qkv))
    want_y, want_p = formula(torch, *tensors, MASKS[mask])
    torch.autograd.backward((want_y, want_p), (torch.tensor(np.asarray(dy)), torch.tensor(np.asarray(dp))))
    np.testing.assert_allclose(y, want_y.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(p, want_p.detach(), rtol=1e-12, atol=1e-14)
    for got, tensor in zip(cotangents, jax.tree.leaves(tensors), strict=True):
        np.testing.assert_allclose(got, tensor.grad, rtol=1e-10, atol=1e-13)
    if mask == "of pairs":
        assert not np.any(y[1]) and not np.any(p[1]) and not np.any(cotangents[-3][1])


@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_what_no_query_sees_does_not_matter(kind):
    op, params, (q, k, v) = make(kind)
    k, v = (np.where(np.arange(T_k)[:, None] == 1, np.nan, a) for a in (k, v))
    (y, p), cotangents = pulled_back(lambda *a: op(params, *a, MASKS["of keys"]), q, k, v)
    assert all(np.all(np.isfinite(leaf)) for leaf in (y, p, *cotangents))
    np.testing.assert_allclose(np.sum(p, 1), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", ["additive", "general"])
def test_huge_scores_and_bfloat16(kind):
    op, params, qkv = make(kind)
    large = jax.tree.map(lambda a: 1e4 * a, (params, *qkv[:2]))
    (y, p), cotangents = pulled_back(op, *large, qkv[2])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((y, p, cotangents)))
    narrow = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (params, *qkv))
    got, want = op(*narrow), op(*jax.tree.map(lambda a: a.astype(jnp.float32), narrow))
    assert got[0].dtype == got[1].dtype == jnp.bfloat16
    assert_close(got[0], want[0].astype(jnp.bfloat16), 2)


@pytest.mark.parametrize(("change", "words"), [
    (lambda q, k, v: (q[0], k, v), "q of shape (T_q, 3); got (3,); for one query pass q[None]"),
    (lambda q, k, v: (q[None], k, v), "q of shape (T_q, 3); got (1, 3, 3); for a batch use jax.vmap"),
    (lambda q, k, v: (q, k[:, :1], v), "k of shape (T_k, 2); got (4, 1)"),
    (lambda q, k, v: (q, k, v[:3]), "v of shape (4, n_v); got (3, 2)"),
    (lambda q, k, v: (q, k[:0], v[:0]), "at least one query, key and dimension"),
    (lambda q, k, v: (q, k, v, np.ones((4, 3), bool)), "mask of shape (3, 4); got (4, 3)"),
    (lambda q, k, v: (q, k, v, np.ones(4)), "mask, an array of bool; got"),
])
def test_errors(change, words):
    op, params, qkv = make("additive")
    with pytest.raises(ValueError, match="additive_attention expects .*" + re.escape(words)):
        op(params, *change(*qkv))
    with pytest.raises(ValueError, match=r"multiplicative_attention expects params to be {'weight': .*; got keys"):
        multiplicative_attention(params, *qkv)
