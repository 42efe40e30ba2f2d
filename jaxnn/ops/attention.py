"""Scaled dot-product attention of one head, in chunks, so that memory grows with the length T of the
sequence and not with T².

    S_ij = q_i · k_j / √d    P_ij = e^{S_ij - λ_i},  λ_i = log Σ_j e^{S_ij}    y_i = Σ_j P_ij v_j

    i runs over queries, j over the keys that query i may see; with `causal` j <= i. Q and K are cut into chunks, and
    one `scan` visits the pairs of a chunk of queries with a chunk of keys, in the causal case only
    those on and below the diagonal. S and P exist for one pair at a time, forward and backward.

S and P are of float32 at least in both passes: backward finds S again, and e^{S - λ} is P only for the S that λ was
summed from.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import expect, expect_bool, expect_float, expect_shape, is_integer
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted

__all__ = ["AttentionCache", "attention"]


class AttentionCache(NamedTuple):
    q: Any
    """(T_q, d)."""
    k: Any
    """(T_k, d)."""
    v: Any
    """(T_k, d_v)."""
    mask: Any
    """(T_q, T_k) of bool; None where there is none."""
    y: Any
    """(T_q, d_v), in at least float32."""
    lse: Any
    """λ, in chunks of queries, (n_chunks, chunk), in at least float32; 0 for a query that sees no key."""
    plan: Static
    """Which chunks meet: a _Plan."""


@hand_derived
def attention(q: Any, k: Any, v: Any, mask: Any = None, *, causal: bool = False, chunk: int = 256) -> Any:
    """y_i = Σ_j softmax_j(q_i · k_j / √d) v_j; several heads or examples by `jax.vmap`.

    Args:
      q: queries (T_q, d).
      k: keys (T_k, d).
      v: values (T_k, d_v).
      mask: (T_q, T_k) of bool, True where query i may see key j; None for all. A query that sees no key has y_i = 0
        and no gradient. What stands in a key that no query sees, be it NaN, does not matter.
      causal: query i sees the keys j <= i only; T_q and T_k must agree.
      chunk: how many queries meet how many keys at a time. It changes memory and speed, and the
        result only by rounding.
    Returns:
      (T_q, d_v).
    Raises:
      InputError: a shape does not fit, a sequence is empty, or the mask is not of bool.
    Source: Vaswani et al. (2017), eq. 1; in chunks with a running maximum: Milakov & Gimelshein (2018),
      Rabe & Staats (2021), Dao et al. (2022).

    >>> q, k, v = jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.array([[2.0], [4.0]])
    >>> attention(q, k, v).tolist(), attention(q, k, v, causal=True).tolist()
    ([[3.0], [3.0]], [[2.0], [3.0]])
    """
    who = attention.name
    for name, x in (("q", q), ("k", k), ("v", v)):
        expect_float(who, name, x)
    heads = "for heads or a batch use jax.vmap" if jnp.ndim(q) == 3 else ""
    expect_shape(who, "q", q, ("T_q", "d"), heads)
    expect_shape(who, "k", k, ("T_k", q.shape[1]))
    expect_shape(who, "v", v, (k.shape[0], "d_v"))
    expect(min(q.shape[0], k.shape[0], q.shape[1]) > 0, who, "at least one query, key and dimension",
           f"q {q.shape}, k {k.shape}")
    if mask is not None:
        expect_shape(who, "mask", mask, (q.shape[0], k.shape[0]))
        expect(jnp.issubdtype(jnp.result_type(mask), bool), who, "mask, an array of bool", str(jnp.result_type(mask)),
               "True stands for a key that the query may see")
    expect_bool(who, "causal", causal)
    expect(not causal or q.shape[0] == k.shape[0], who, "as many queries as keys when causal",
           f"{q.shape[0]} and {k.shape[0]}", "pass causal=False")
    expect(is_integer(chunk, 1), who, "chunk, a positive integer", repr(chunk))
    plan = _Plan(q.shape[0], k.shape[0], 1 / math.sqrt(q.shape[1]), causal, chunk)
    qs, ks, vs, visible = plan.chunks(q, k, v, mask)
    wide = jnp.promote_types(qs.dtype, jnp.float32)
    rows, width = qs.shape[1], v.shape[1]

    def visit(carry: Any, pair: Any) -> Any:
        largest, total, weighted, y, lse = carry
        i, j = pair
        fresh = j == 0  # the first chunk of keys for these queries
        largest = jnp.where(fresh, -jnp.inf, largest)
        s = plan.scores(qs[i], ks[j], visible, i, j)
        larger = jnp.maximum(largest, jnp.max(s, 1))
        # A query that has seen no key so far: -inf less -inf would be NaN.
        level = jnp.where(jnp.isneginf(larger), 0, larger)
        p, shrink = jnp.exp(s - level[:, None]), jnp.exp(largest - level)
        total = jnp.where(fresh, 0, total) * shrink + jnp.sum(p, 1)
        weighted = jnp.where(fresh, 0, weighted) * shrink[:, None] + p @ vs[j].astype(wide)
        # Written at every visit; the last one, with the last chunk of keys, stands.
        divisor = jnp.where(total == 0, 1, total)
        y, lse = y.at[i].set(weighted / divisor[:, None]), lse.at[i].set(level + jnp.log(divisor))
        return (larger, total, weighted, y, lse), None

    # zeros_like and not zeros: inside `shard_map` it varies over the mesh axes that q varies over.
    zeros = lambda *shape: jnp.zeros_like(q, wide, shape=shape)  # noqa: E731
    start = zeros(rows), zeros(rows), zeros(rows, width), zeros(*qs.shape[:2], width), zeros(*qs.shape[:2])
    (_, _, _, y, lse), _ = lax.scan(visit, start, plan.pairs)
    y = y.reshape(-1, width)[: q.shape[0]]
    return y.astype(qs.dtype), AttentionCache(q, k, v, mask, y, lse, Static(plan))


@attention.defbackward
def attention_backward(cache: Any, dy: Any) -> Any:
    """With P_ij = ∂y_i/∂v_j and the softmax's derivative ∂P_ij/∂S_im = P_ij (δ_jm - P_im),

        dv_j = Σ_i P_ij dy_i        dP_ij = dy_i · v_j
        dS_ij = P_ij (dP_ij - Σ_m P_im dP_im) = P_ij (dP_ij - D_i),  D_i = dy_i · y_i
        dq_i = Σ_j dS_ij k_j / √d        dk_j = Σ_i dS_ij q_i / √d

    D_i needs no P, since Σ_m P_im (dy_i · v_m) = dy_i · y_i. Of the forward pass only y and λ_i are
    kept; P_ij = e^{S_ij - λ_i} is found again for each pair of chunks, and is 0 where a key is hidden. `jax.checkpoint`
    around the body keeps JAX from saving every P of the scan when it transposes this function.

    Args:
      cache: an AttentionCache.
      dy: (T_q, d_v).
    Source: Dao et al. (2022), appendix B.2.
    """
    q, k, v, mask, y, lse, static = cache
    plan = static.value
    qs, ks, vs, visible = plan.chunks(q, k, v, mask)
    dys = plan.queries(dy.astype(lse.dtype))
    wide_qs, wide_ks, wide_vs = (a.astype(lse.dtype) for a in (qs, ks, vs))
    ds = jnp.sum(dys * plan.queries(y), -1)

    def visit(carry: Any, pair: Any) -> Any:
        dq, dk, dv = carry
        i, j = pair
        p = jnp.exp(plan.scores(qs[i], ks[j], visible, i, j) - lse[i][:, None])
        dS = p * (dys[i] @ wide_vs[j].T - ds[i][:, None]) * plan.scale
        return (dq.at[i].add(dS @ wide_ks[j]), dk.at[j].add(dS.T @ wide_qs[i]), dv.at[j].add(p.T @ dys[i])), None

    body = jax.checkpoint(visit, prevent_cse=False)
    start = tuple(map(jnp.zeros_like, (wide_qs, wide_ks, wide_vs)))
    (dq, dk, dv), _ = lax.scan(body, start, plan.pairs)
    return _joined(dq, q), _joined(dk, k), _joined(dv, v), None


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which chunk of queries meets which chunk of keys, in what order, and what each may see."""

    n_queries: int
    n_keys: int
    scale: float
    causal: bool
    chunk: int

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        n_i, n_j = -(-self.n_queries // self.rows), -(-self.n_keys // self.columns)
        i, j = np.divmod(np.arange(n_i * n_j, dtype=np.int32), n_j)
        visible = j <= i if self.causal else np.full(i.shape, True)
        return i[visible], j[visible]

    @property
    def rows(self) -> int:
        return min(self.chunk, self.n_queries)

    @property
    def columns(self) -> int:
        return min(self.chunk, self.n_keys)

    def chunks(self, q: Any, k: Any, v: Any, mask: Any) -> tuple[Any, Any, Any, Any]:
        """q, k and v in chunks, of one dtype, and the mask in chunks, (n_i, n_j, rows, columns).

        What no query sees, and a query that sees nothing, is 0: NaN times a weight of 0 would be NaN.
        """
        q, k, v = promoted(q, k, v)
        visible = None
        if mask is not None:
            mask = jnp.tril(mask) if self.causal else mask
            q = jnp.where(jnp.any(mask, 1)[:, None], q, 0)
            k, v = (jnp.where(jnp.any(mask, 0)[:, None], a, 0) for a in (k, v))
            padded = jnp.pad(mask, ((0, -self.n_queries % self.rows), (0, -self.n_keys % self.columns)))
            visible = padded.reshape(-1, self.rows, padded.shape[1] // self.columns, self.columns).swapaxes(1, 2)
        return self.queries(q), self.keys(k), self.keys(v), visible

    def queries(self, a: Any) -> Any:
        return _chunked(a, self.rows)

    def keys(self, a: Any) -> Any:
        return _chunked(a, self.columns)

    def scores(self, q: Any, k: Any, visible: Any, i: Any, j: Any) -> Any:
        """S of the i-th chunk of queries and the j-th of keys, -inf where a key is hidden."""
        if visible is None:
            query = i * self.rows + jnp.arange(self.rows)[:, None]
            key = j * self.columns + jnp.arange(self.columns)[None, :]
            may_see = key < self.n_keys
            if self.causal:
                may_see = may_see & (key <= query)
        else:
            may_see = visible[i, j]
        # Wide from the product on: rounded to bfloat16, scores near 100 are off by up to 1/4.
        products = jnp.matmul(q, k.T, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))
        return jnp.where(may_see, products * self.scale, -jnp.inf)


def _chunked(a: Any, size: int) -> Any:
    """(T, d) -> (chunks, size, d), the last chunk filled up with zeros."""
    padded = jnp.pad(a, ((0, -a.shape[0] % size), (0, 0)))
    return padded.reshape(-1, size, a.shape[1])


def _joined(chunks: Any, like: Any) -> Any:
    return chunks.reshape(-1, chunks.shape[-1])[: like.shape[0]].astype(like.dtype)
