"""Scaled dot-product attention of one sequence, several heads at once, in chunks, so that memory grows with the length
T of the sequence and not with T².

    Z_ij = q_i · k_j · scale    S_ij = cap tanh(Z_ij / cap) - slope |p_i - j| + bias_ij    λ_i = log Σ_j e^{S_ij}
    P_ij = e^{S_ij - λ_i}       y_i = Σ_j P_ij m_ij v_j

    i runs over queries, of which query i stands at place p_i = start + i among the keys; j over the keys that query i
    may see; m_ij is 1, or with dropout 0 or 1 / (1 - rate). Without a soft cap S is Z - slope |p_i - j| + bias_ij. Q
    and K are cut into chunks, and one `scan` visits the pairs of a chunk of queries with a chunk of keys in which any
    query may see any key. S and P exist for one pair at a time, forward and backward.

S and P are of float32 at least in both passes: backward finds S again, and e^{S - λ} is P only for the S that λ was
summed from.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.attention_arguments import planned
from jaxnn.ops.dtypes import promoted

__all__ = ["AttentionCache", "attention"]


class AttentionCache(NamedTuple):
    arguments: Any
    """q, k, v, mask, bias, slopes, length, start, key, as they were given."""
    y: Any
    """In chunks of queries, in at least float32."""
    lse: Any
    """λ, in chunks of queries, in at least float32; 0 for a query that sees no key."""
    plan: Static
    """Which chunks meet: a Plan."""


@hand_derived
def attention(q: Any, k: Any, v: Any, mask: Any = None, bias: Any = None, slopes: Any = None, length: Any = None,
              start: Any = None, key: Any = None, *, n_heads: int = 1, n_kv_heads: int | None = None,
              causal: bool = False, window: Any = None, scale: float | None = None, soft_cap: float | None = None,
              rate: float = 0.0, n_keys: int | None = None, chunk: int | None = None) -> Any:
    """y_i = Σ_j softmax_j(q_i · k_j / √d) v_j, for each head; a batch by `jax.vmap`.

    The heads stand side by side: head n is columns n d .. (n + 1) d - 1 of q, as a dense layer gives them.

    A query sees a key that all of mask, length, causal and window allow. A query that sees no key has y_i = 0 and no
    gradient. What stands in a key that no query sees, be it NaN, does not matter.

    Args:
      q: queries (T_q, n_heads * d).
      k: keys (T_k, n_kv_heads * d).
      v: values (T_k, n_kv_heads * d_v).
      mask: (T_q, T_k) or (n_heads, T_q, T_k) of bool, True where query i may see key j; None for all.
      bias: (T_q, T_k) or (n_heads, T_q, T_k), added to the scores, with a gradient; -inf hides a key.
      slopes: (n_heads,), ALiBi: slope times the distance in places is subtracted from the scores.
      length: how many keys there are, an integer in 0 .. T_k; the rest is padding, and no query sees it.
      start: the place of the first query among the keys, an integer in 0 .. T_k - T_q. By default T_k - T_q: the
        queries come last, as in a step of decoding; it is 0 where there are as many queries as keys.
        A length or a start out of range that is known only at run time makes y NaN.
      key: a PRNG key, with a positive rate only.
      n_heads, n_kv_heads: of q, and of k and v, n_heads by default; query head n reads head n n_kv_heads // n_heads.
      causal: a query sees the keys up to its own place.
      window: (before, after): a query at place p sees the keys p - before .. p + after; None for no limit on a side,
        and one number for both.
      scale: in place of 1 / √d.
      soft_cap: a score s becomes soft_cap tanh(s / soft_cap), before slopes and bias are added.
      rate: the fraction of the weights P that is dropped; the others are scaled by 1 / (1 - rate).
      n_keys: how many of the keys, from the first, any query may see; the others are not read, and stand where the
        arrays have room for more, as in a cache. All by default.
      chunk: how many queries meet how many keys at a time; by default 256, 512 from 4,096 queries on, and 128 where
        places count and there are at most 512 keys; on a GPU 512 without a window. It changes memory (chunk² scores for
        each head and example) and speed, and the result only by rounding.
    Returns:
      (T_q, n_heads * d_v).
    Raises:
      InputError: a shape does not fit, a sequence is empty, heads do not divide a width, there are more queries than
        keys where places count, or the mask is not of bool.
    Source: Vaswani et al. (2017), eq. 1; in chunks with a running maximum: Milakov & Gimelshein (2018), Rabe & Staats
      (2021), Dao et al. (2022); grouped queries: Ainslie et al. (2023); slopes: Press, Smith & Lewis (2022).

    >>> q, k, v = jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.array([[2.0], [4.0]])
    >>> attention(q, k, v).tolist(), attention(q, k, v, causal=True).tolist()
    ([[3.0], [3.0]], [[2.0], [3.0]])
    """
    arguments = (q, k, v, mask, bias, slopes, length, start, key)
    plan = planned(attention.name, *arguments, n_heads=n_heads, n_kv_heads=n_kv_heads, causal=causal, window=window,
                   scale=scale, soft_cap=soft_cap, rate=rate, n_keys=n_keys, chunk=chunk)
    # In int32: uint8 holds no place above 255.
    length, start = (n if n is None else n.astype(jnp.int32) for n in (length, start))
    arguments = (q, k, v, mask, bias, slopes, length, start, key)
    qs, ks, vs, seen, around = _chunks(plan, arguments)
    wide = jnp.promote_types(qs.dtype, jnp.float32)

    def visit(carry: Any, pair: Any) -> Any:
        largest, total, weighted, y, lse = carry
        i, j, is_first = pair  # is_first: of the chunks of keys for these queries
        largest = jnp.where(is_first, -jnp.inf, largest)
        s, _ = plan.scores(qs[i], plan.chunk_of_keys(ks, seen, j), around, i, j)
        larger = jnp.maximum(largest, jnp.max(s, -1))
        # A query that has seen no key so far: -inf less -inf would be NaN.
        level = jnp.where(jnp.isneginf(larger), 0, larger)
        p, shrink = jnp.exp(s - level[..., None]), jnp.exp(largest - level)
        total = jnp.where(is_first, 0, total) * shrink + jnp.sum(p, -1)
        if rate > 0:
            p = jnp.where(plan.kept(around.words, i, j), p / (1 - rate), 0)
        v_j = plan.chunk_of_keys(vs, seen, j).astype(wide)
        weighted = jnp.where(is_first, 0, weighted) * shrink[..., None] + p @ v_j
        # Written at every visit; the last one, with the last chunk of keys, stands.
        divisor = jnp.where(total == 0, 1, total)
        y, lse = y.at[i].set(weighted / divisor[..., None]), lse.at[i].set(level + jnp.log(divisor))
        return (larger, total, weighted, y, lse), None

    # zeros_like and not zeros: inside `shard_map` it varies over the mesh axes that q varies over.
    zeros = lambda *shape: jnp.zeros_like(q, wide, shape=shape)  # noqa: E731
    per_row, shape = qs.shape[1:3], (*qs.shape[:3], vs.shape[-1])
    carry = zeros(*per_row), zeros(*per_row), zeros(*shape[1:]), zeros(*shape), zeros(*shape[:3])
    (_, _, _, y, lse), _ = lax.scan(visit, carry, plan.pairs)
    for n, most in ((length, plan.n_keys), (start, plan.n_keys - plan.n_queries)):
        if n is not None:
            fits = (n >= 0) & (n <= most)
            y, lse = jnp.where(fits, y, jnp.nan), jnp.where(fits, lse, jnp.nan)
    return plan.of_queries(y).astype(qs.dtype), AttentionCache(arguments, y, lse, Static(plan))


@attention.defbackward
def attention_backward(cache: Any, dy: Any) -> Any:
    """With W_ij = P_ij m_ij = ∂y_i/∂v_j, the softmax's derivative ∂P_ij/∂S_il = P_ij (δ_jl - P_il), and
    ∂S_ij/∂Z_ij = 1 - tanh²(Z_ij / cap), or 1 without a soft cap,

        dv_j = Σ_i W_ij dy_i        dP_ij = m_ij dy_i · v_j
        dS_ij = P_ij (dP_ij - Σ_l P_il dP_il) = P_ij (dP_ij - D_i),  D_i = dy_i · y_i
        dbias_ij = dS_ij            dslope = -Σ_ij dS_ij |p_i - j|            dZ_ij = dS_ij ∂S_ij/∂Z_ij
        dq_i = Σ_j dZ_ij k_j scale          dk_j = Σ_i dZ_ij q_i scale

    D_i needs no P, since Σ_l P_il m_il (dy_i · v_l) = dy_i · y_i. A head of keys that several heads of queries read
    collects from all of them, as a bias does that all heads share. Of the forward pass only y and λ_i are kept;
    P_ij = e^{S_ij - λ_i} is found again for each pair of chunks, and is 0 where a key is hidden; m_ij is drawn again.
    `jax.checkpoint` around the body keeps JAX from saving every P of the scan when it transposes this function.

    Args:
      cache: an AttentionCache.
      dy: (T_q, n_heads * d_v).
    Source: Dao et al. (2022), appendix B.2.
    """
    arguments, ys, lse, static = cache
    q, k, v, _, bias, slopes, _, start, _ = arguments
    plan = static.value
    qs, ks, vs, seen, around = _chunks(plan, arguments)
    dys = plan.queries(dy.astype(lse.dtype))
    wide_qs, wide_ks, wide_vs = (a.astype(lse.dtype) for a in (qs, ks, vs))
    ds = jnp.sum(dys * ys, -1)
    # dv is summed with its features in front, dk is not: JAX transposes this function twice, which puts what depends on
    # dy first in each product, and so S is transposed in neither. Such a product takes twice as long (CPU, chunks of
    # 256, jax 0.10.2 and 0.12).
    across_dys = dys.swapaxes(-1, -2)
    heads = (plan.n_kv_heads, -1, plan.rows, plan.columns)

    def visit(carry: Any, pair: Any) -> Any:
        dq, dk, dv, dbias, dslopes = carry
        i, j, _ = pair
        s, steepness = plan.scores(qs[i], plan.chunk_of_keys(ks, seen, j), around, i, j)
        p = jnp.exp(s - lse[i][..., None])
        dP, w = dys[i] @ plan.chunk_of_keys(wide_vs, seen, j).swapaxes(-1, -2), p
        if plan.rate > 0:
            kept = plan.kept(around.words, i, j)
            w, dP = (jnp.where(kept, a / (1 - plan.rate), 0) for a in (p, dP))
        dS = p * (dP - ds[i][..., None])
        if bias is not None:
            total = dS.reshape(-1, plan.rows, plan.columns)
            total = total if dbias.shape[0] > 1 else jnp.sum(total, 0, keepdims=True)
            dbias = lax.dynamic_update_slice(dbias, total, plan.corner(i, j))
        if slopes is not None:
            distance = jnp.abs(plan.distance(start, i, j)).astype(dS.dtype)
            dslopes = dslopes - jnp.sum(dS.reshape(heads) * distance, (2, 3))
        dZ = (dS if steepness is None else dS * steepness) * plan.scale
        dk_j = jnp.einsum("hqk,hqd->hkd", dZ, wide_qs[i])
        dq_i, dv_j = dZ @ plan.chunk_of_keys(wide_ks, seen, j), across_dys[i] @ w
        return (dq.at[i].add(dq_i), dk.at[j].add(dk_j), dv.at[j].add(dv_j), dbias, dslopes), None

    body = jax.checkpoint(visit, prevent_cse=False)
    wide_bias = None if bias is None else around.bias.astype(lse.dtype)
    wide_slopes = None if slopes is None else around.slopes[..., 0, 0].astype(lse.dtype)
    zeros = [jnp.zeros_like(a, shape=tuple(a.shape[n] for n in axes))
             for a, axes in ((wide_ks, (0, 2, 1, 3)), (wide_vs, (0, 2, 3, 1)))]
    carry = (jnp.zeros_like(wide_qs), *zeros, *jax.tree.map(jnp.zeros_like, (wide_bias, wide_slopes)))
    (dq, dk, dv, dbias, dslopes), _ = lax.scan(body, carry, plan.pairs)
    dk, dv = plan.of_keys(dk), plan.of_keys(dv.swapaxes(-1, -2))
    if bias is not None:
        dbias = dbias[:, :plan.n_queries, :plan.n_keys].reshape(bias.shape).astype(bias.dtype)
    if slopes is not None:
        dslopes = dslopes.reshape(slopes.shape).astype(slopes.dtype)
    return (plan.of_queries(dq).astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, dbias, dslopes, None,
            None, None)


def _chunks(plan: Any, arguments: tuple) -> tuple[Any, Any, Any, Any, Any]:
    """q, k and v in chunks, of one dtype, the keys that are seen, and what else decides over the scores.

    What is not seen counts as 0, for NaN times a weight of 0 would be NaN: a query here, a key where its chunk is read,
    so that a cache for many places is not copied.
    """
    q, k, v, mask, bias, slopes, length, start, key = arguments
    q, k, v, *_ = promoted(q, k, v, bias, slopes)
    queries, keys = plan.seen(mask, length, start)
    if queries is not None:
        per_head = jnp.where(queries[..., None], q.reshape(plan.n_queries, queries.shape[1], -1), 0)
        q = per_head.reshape(q.shape)
    return (plan.queries(q), plan.keys(k), plan.keys(v), None if keys is None else plan.of_seen(keys),
            plan.surroundings(mask, bias, slopes, length, start, key))
