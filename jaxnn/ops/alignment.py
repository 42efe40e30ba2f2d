"""Attention of a decoder to an encoder, with its weights handed back: additive (Bahdanau) and multiplicative (Luong).

    additive          S_ij = u · tanh(A q_i + B k_j + b)
    multiplicative    S_ij = q_i W k_j, or q_i · k_j without W
    P_ij = e^{S_ij} / Σ_l e^{S_il}        y_i = Σ_j P_ij v_j

    i runs over queries, j over the keys that query i may see. For one query, a decoder's state, pass q[None].
    `attention` needs less memory and hands no weights back.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnn.checks import Entries, expect, expect_float, expect_shape, weights
from jaxnn.hand_derived import hand_derived
from jaxnn.ops.attention_arguments import expect_visible
from jaxnn.ops.dtypes import promoted, wide, wide_over_batch

__all__ = ["AdditiveCache", "additive_attention", "multiplicative_attention"]


class AdditiveCache(NamedTuple):
    arrays: Any
    """A, B, b or None, u, q, k, v as they were given, what no query sees and a query that sees nothing made 0."""
    h: Any
    """tanh(A q_i + B k_j + b), (T_q, T_k, n_hidden), in at least float32."""
    p: Any
    """(T_q, T_k), in at least float32."""
    entries: Entries
    """Of params."""


@hand_derived
def additive_attention(params: Any, q: Any, k: Any, v: Any, mask: Any = None) -> tuple[Any, Any]:
    """y_i = Σ_j P_ij v_j with S_ij = u · tanh(A q_i + B k_j + b), and the weights P.

    Args:
      params: {"weight_q": A (n_hidden, n_q), "weight_k": B (n_hidden, n_k), "bias": b (n_hidden,), "score": u
        (n_hidden,)}; "bias" may be left out or be None.
      q: queries (T_q, n_q).
      k: keys (T_k, n_k).
      v: values (T_k, n_v), often the keys once more.
      mask: (T_q, T_k), or (T_k,) for all queries alike, of bool: True where query i may see key j; None for all. A
        query that sees no key has y_i = 0, weights of 0 and no gradient.
    Returns:
      (y (T_q, n_v), P (T_q, T_k)).
    Raises:
      InputError: a shape does not fit, a sequence is empty, or the mask is not of bool.

    >>> one = jnp.ones((1, 1))
    >>> params = {"weight_q": one, "weight_k": one, "score": jnp.ones(1)}
    >>> y, p = additive_attention(params, one, jnp.ones((2, 1)), jnp.array([[2.0], [4.0]]))
    >>> y.tolist(), p.tolist()
    ([[3.0]], [[0.5, 0.5]])
    """
    who = additive_attention.name
    A, B, b, u, entries = weights(who, params, weight_q="n_hidden n_q", weight_k="n_hidden n_k", bias="n_hidden?",
                                  score="n_hidden")
    q, k, v = _sequences(who, q, k, v, mask, A.shape[1], B.shape[1])
    A_, B_, b_, u_, q_, k_, v_ = promoted(A, B, b, u, q, k, v)
    of_q, of_k = (jnp.matmul(a, W.T, preferred_element_type=wide(a).dtype) for a, W in ((q_, A_), (k_, B_)))
    z = of_q[:, None] + of_k
    h = jnp.tanh(z if b is None else z + b_)
    p = _weights(h @ wide(u_), mask)
    return _value(p, v_), AdditiveCache((A, B, b, u, q, k, v), h, p, entries)


@additive_attention.defbackward
def additive_attention_backward(cache: Any, dy: Any) -> Any:
    """With dy_i = ∂L/∂y_i and dP'_ij the cotangent of the weights that are handed back,

        dP_ij = dy_i · v_j + dP'_ij        dS_ij = P_ij (dP_ij - Σ_l P_il dP_il)        dv_j = Σ_i P_ij dy_i
        du = Σ_ij dS_ij h_ij               dz_ij = dS_ij u (1 - h_ij²)                  db = Σ_ij dz_ij
        dA = Σ_i (Σ_j dz_ij) q_iᵀ          dB = Σ_j (Σ_i dz_ij) k_jᵀ
        dq_i = Aᵀ Σ_j dz_ij                dk_j = Bᵀ Σ_i dz_ij

    since h = tanh(z) has the slope 1 - h².

    Args:
      cache: an AdditiveCache.
      dy: (∂L/∂y (T_q, n_v), ∂L/∂P (T_q, T_k)).
    Source: Bahdanau, Cho & Bengio (2015), appendix A.1.2, for the forward pass.
    """
    (A, B, b, u, q, k, v), h, p, entries = cache
    dS, dv = _scores_backward(p, v, dy)
    du = jnp.einsum("ij,ijn->n", dS, h)
    dz = dS[..., None] * (wide(u) * (1 - h * h))
    of_q, of_k = jnp.sum(dz, 1), jnp.sum(dz, 0)
    filled = {"weight_q": jnp.einsum("in,im->nm", of_q, q), "weight_k": jnp.einsum("jn,jm->nm", of_k, k), "score": du}
    if b is not None:
        filled["bias"] = wide_over_batch(jnp.sum(of_q, 0), q, k)
    return entries.fill(**filled), of_q @ A, of_k @ B, dv, None


@hand_derived
def multiplicative_attention(params: Any, q: Any, k: Any, v: Any, mask: Any = None) -> tuple[Any, Any]:
    """y_i = Σ_j P_ij v_j with S_ij = q_i W k_j, and the weights P; Luong's "general", or "dot" without W.

    Args:
      params: {"weight": W (n_q, n_k)}; {} for the product q_i · k_j alone. No scale is applied.
      q, k, v, mask: as for `additive_attention`.
    Returns:
      (y (T_q, n_v), P (T_q, T_k)).
    Raises:
      InputError: a shape does not fit, a sequence is empty, or the mask is not of bool.

    >>> y, p = multiplicative_attention({}, jnp.zeros((1, 1)), jnp.ones((2, 1)), jnp.array([[2.0], [4.0]]))
    >>> y.tolist(), p.tolist()
    ([[3.0]], [[0.5, 0.5]])
    """
    who = multiplicative_attention.name
    W, entries = weights(who, params, weight="n_q n_k?")
    if W is None:
        n_q = n_k = jnp.shape(q)[-1] if jnp.ndim(q) else 0
        advice = "without params['weight'] keys are as wide as queries"
    else:
        (n_q, n_k), advice = W.shape, ""
    q, k, v = _sequences(who, q, k, v, mask, n_q, n_k, advice)
    W_, q_, k_, v_ = promoted(W, q, k, v)
    a = wide(q_) if W is None else jnp.matmul(q_, W_, preferred_element_type=wide(q_).dtype)
    p = _weights(a @ wide(k_).T, mask)
    return _value(p, v_), (W, q, k, v, a, p, entries)


@multiplicative_attention.defbackward
def multiplicative_attention_backward(cache: Any, dy: Any) -> Any:
    """dS and dv are those of `additive_attention`; with a_i = Wᵀ q_i, so that S_ij = a_i · k_j,

        da_i = Σ_j dS_ij k_j        dk_j = Σ_i dS_ij a_i        dW = Σ_i q_i da_iᵀ        dq_i = W da_i

    and without W, a is q.

    Args:
      cache: W or None, q, k, v, a (T_q, n_k), P, the Entries of params.
      dy: (∂L/∂y (T_q, n_v), ∂L/∂P (T_q, T_k)).
    Source: Luong, Pham & Manning (2015), eq. 8, for the forward pass.
    """
    W, q, k, v, a, p, entries = cache
    dS, dv = _scores_backward(p, v, dy)
    da, dk = dS @ wide(k), dS.T @ a
    if W is None:
        return entries.fill(), da, dk, dv, None
    return entries.fill(weight=jnp.einsum("im,in->mn", q, da)), da @ wide(W).T, dk, dv, None


def _sequences(who: str, q: Any, k: Any, v: Any, mask: Any, n_q: int, n_k: int,
               advice_k: str = "") -> tuple[Any, Any, Any]:
    """q, k and v checked, with 0 for a key that no query sees and a query that sees none: NaN times a weight of 0 would
    be NaN."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        expect_float(who, name, x)
    advice = "for one query pass q[None]" if jnp.ndim(q) == 1 else "for a batch use jax.vmap" if jnp.ndim(q) > 2 else ""
    expect_shape(who, "q", q, ("T_q", n_q) if n_q else ("T_q", "n_q"), advice)
    expect_shape(who, "k", k, ("T_k", n_k), advice_k)
    expect_shape(who, "v", v, (k.shape[0], "n_v"))
    expect(min(*q.shape, *k.shape) > 0, who, "at least one query, key and dimension", f"q {q.shape}, k {k.shape}")
    expect_visible(who, mask, ((q.shape[0], k.shape[0]), (k.shape[0],)))
    if mask is None:
        return q, k, v
    some = jnp.any(mask) if mask.ndim == 1 else jnp.any(mask, 1)[:, None]
    key = mask if mask.ndim == 1 else jnp.any(mask, 0)
    return jnp.where(some, q, 0), jnp.where(key[:, None], k, 0), jnp.where(key[:, None], v, 0)


def _weights(s: Any, mask: Any) -> Any:
    """The softmax over the keys that a query sees; 0 for a query that sees none."""
    if mask is None:
        e = jnp.exp(s - jnp.max(s, 1, keepdims=True))
        return e / jnp.sum(e, 1, keepdims=True)
    s = jnp.where(mask, s, -jnp.inf)
    largest = jnp.max(s, 1, keepdims=True)
    e = jnp.exp(s - jnp.where(jnp.isneginf(largest), 0, largest))
    total = jnp.sum(e, 1, keepdims=True)
    return e / jnp.where(total == 0, 1, total)


def _value(p: Any, v: Any) -> tuple[Any, Any]:
    return (p @ wide(v)).astype(v.dtype), p.astype(v.dtype)


def _scores_backward(p: Any, v: Any, dy: Any) -> tuple[Any, Any]:
    """(dS, dv), as `additive_attention` derives them."""
    dy, dp = (wide(d) for d in dy)
    dp = dy @ wide(v).T + dp
    return p * (dp - jnp.sum(p * dp, 1, keepdims=True)), p.T @ dy
