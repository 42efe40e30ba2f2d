"""The plan of `attention`: which chunk of queries meets which chunk of keys, and what each query may see.

Chunks have the heads in front: of queries (n_kv_heads, r · rows, d), where r query heads read one head of keys and the
rows of these r heads stand one below the other; of keys (n_kv_heads, columns, d). So a pair of chunks is one matrix
product for each head of keys.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import threefry_2x32

__all__ = ["Plan", "Surroundings"]


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What decides over the scores of a pair of chunks, besides q and k. Arrays, or None where there is none."""

    mask: Any
    """(1 or n_heads, T_q, T_k) of bool, filled up to whole chunks with False."""
    bias: Any
    """(1 or n_heads, T_q, T_k), filled up to whole chunks."""
    slopes: Any
    """(n_kv_heads, r, 1, 1)."""
    length: Any
    """() integer."""
    start: Any
    """() integer."""
    words: Any
    """Two words of random bits."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The sizes and static choices of one call of `attention`."""

    n_queries: int
    n_keys: int
    n_heads: int
    n_kv_heads: int
    scale: float
    causal: bool
    before: int | None
    """How many places before its own a query sees; None: all."""
    after: int | None
    soft_cap: float | None
    rate: float
    chunk: int
    starts_anywhere: bool
    """The first query's place is known at run time only."""
    limit: int
    """How many keys, from the first, are read at all."""

    @property
    def rows(self) -> int:
        return min(self.chunk, self.n_queries)

    @property
    def columns(self) -> int:
        return min(self.chunk, self.n_keys)

    @property
    def has_places(self) -> bool:
        return self.causal or self.before is not None or self.after is not None

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs (i, j) in which a query may see a key, and whether a pair is the first of its i."""
        n_i, n_j = -(-self.n_queries // self.rows), -(-self.n_keys // self.columns)
        i, j = np.divmod(np.arange(n_i * n_j, dtype=np.int32), np.int32(n_j))
        kept = j * self.columns < self.limit
        if self.has_places and not self.starts_anywhere:
            first = self.n_keys - self.n_queries + i * self.rows
            last = np.minimum(first + self.rows, self.n_keys) - 1
            if self.after is not None or self.causal:
                kept &= j * self.columns <= last + (0 if self.causal else self.after)
            if self.before is not None:
                kept &= (j + 1) * self.columns > first - self.before
        i, j = i[kept], j[kept]
        return i, j, np.diff(i, prepend=-1) > 0

    def queries(self, a: Any) -> Any:
        """(T_q, n_heads · d) -> (chunks, n_kv_heads, r · rows, d)."""
        a = _chunked(a, self.rows, self.n_heads)
        n, rows, _, d = a.shape
        return a.reshape(n, rows, self.n_kv_heads, -1, d).transpose(0, 2, 3, 1, 4).reshape(n, self.n_kv_heads, -1, d)

    def of_queries(self, chunks: Any) -> Any:
        """The inverse of `queries`."""
        n, _, _, d = chunks.shape
        a = chunks.reshape(n, self.n_kv_heads, -1, self.rows, d).transpose(0, 3, 1, 2, 4)
        return a.reshape(n * self.rows, -1)[:self.n_queries]

    def keys(self, a: Any) -> Any:
        """(T_k, n_kv_heads · d) -> (chunks, columns, n_kv_heads, d), which copies nothing where chunks divide T_k; the
        heads come in front where a chunk is read, by `chunk_of_keys`."""
        return _chunked(a, self.columns, self.n_kv_heads)

    def chunk_of_keys(self, chunks: Any, seen: Any, j: Any) -> Any:
        """The j-th, (n_kv_heads, columns, d), with 0 for what no query sees; `seen` as `of_seen` gives it, or None."""
        chunk = chunks[j] if seen is None else jnp.where(seen[j], chunks[j], 0)
        return chunk.swapaxes(0, 1)

    def of_seen(self, keys: Any) -> Any:
        """(T_k, n_kv_heads or 1) of bool -> (chunks, columns, n_kv_heads or 1, 1)."""
        return _chunked(keys, self.columns, keys.shape[1])

    def of_keys(self, chunks: Any) -> Any:
        """(chunks, n_kv_heads, columns, d) -> (T_k, n_kv_heads · d)."""
        a = chunks.swapaxes(1, 2)
        return a.reshape(a.shape[0] * self.columns, -1)[:self.n_keys]

    def surroundings(self, mask: Any, bias: Any, slopes: Any, length: Any, start: Any, key: Any) -> Surroundings:
        def padded(a: Any) -> Any:
            if a is None:
                return None
            a = a if a.ndim == 3 else a[None]
            return jnp.pad(a, ((0, 0), (0, -self.n_queries % self.rows), (0, -self.n_keys % self.columns)))

        slopes = None if slopes is None else slopes.reshape(self.n_kv_heads, -1, 1, 1)
        words = None if key is None else jax.random.bits(key, (2,), jnp.uint32)
        return Surroundings(padded(mask), padded(bias), slopes, length, start, words)

    def place_of_first(self, start: Any) -> Any:
        return self.n_keys - self.n_queries if start is None else start

    def distance(self, start: Any, i: Any, j: Any) -> Any:
        """How many places key j lies behind query i, (rows, columns)."""
        query = self.place_of_first(start) + i * self.rows + jnp.arange(self.rows)[:, None]
        return query - (j * self.columns + jnp.arange(self.columns))

    def scores(self, q: Any, k: Any, around: Surroundings, i: Any, j: Any) -> tuple[Any, Any]:
        """(S of the i-th chunk of queries and the j-th of keys, -inf where a key is hidden; ∂S/∂Z of the soft cap)."""
        # Wide from the product on: rounded to bfloat16, scores near 100 are off by up to 1/4.
        wide = jnp.promote_types(q.dtype, jnp.float32)
        s = jnp.matmul(q, k.swapaxes(-1, -2), preferred_element_type=wide) * self.scale
        shape, steepness = s.shape, None
        if self.soft_cap is not None:
            t = jnp.tanh(s / self.soft_cap)
            s, steepness = self.soft_cap * t, 1 - t * t
        s = s.reshape(self.n_kv_heads, -1, self.rows, self.columns)
        if around.slopes is not None:
            s = s - around.slopes.astype(wide) * jnp.abs(self.distance(around.start, i, j)).astype(wide)
        if around.bias is not None:
            s = s + self.block(around.bias, i, j).astype(wide)
        may_see = self.may_see(around, i, j)
        return (s if may_see is None else jnp.where(may_see, s, -jnp.inf)).reshape(shape), steepness

    def may_see(self, around: Surroundings, i: Any, j: Any) -> Any:
        """Whether each query of a chunk may see each key of another; None if all of them may."""
        allowed = []
        key = j * self.columns + jnp.arange(self.columns)
        if self.limit % self.columns:
            allowed.append(key < self.limit)
        if around.length is not None:
            allowed.append(key < around.length)
        if self.has_places:
            distance = self.distance(around.start, i, j)
            allowed += [distance >= 0] if self.causal else []
            allowed += [] if self.before is None else [distance <= self.before]
            allowed += [] if self.after is None else [distance >= -self.after]
        if around.mask is not None:
            allowed.append(self.block(around.mask, i, j))
        found: Any = None
        for each in allowed:
            found = each if found is None else found & each
        return found

    def corner(self, i: Any, j: Any) -> tuple[Any, Any, Any]:
        """Where a pair of chunks begins in a mask or a bias."""
        return i * 0, i * self.rows, j * self.columns

    def block(self, a: Any, i: Any, j: Any) -> Any:
        """The part of a mask or a bias for a pair of chunks, (n_kv_heads or 1, r or 1, rows, columns)."""
        part = lax.dynamic_slice(a, self.corner(i, j), (a.shape[0], self.rows, self.columns))
        return part.reshape(1 if a.shape[0] == 1 else self.n_kv_heads, -1, self.rows, self.columns)

    def kept(self, words: Any, i: Any, j: Any) -> Any:
        """Which weights are not dropped, (n_kv_heads, r · rows, columns): a hash of the head, the query and the key, so
        that backward finds the same ones again, whatever the chunk."""
        query = jnp.arange(self.n_heads)[:, None] * self.n_queries + i * self.rows + jnp.arange(self.rows)
        key = j * self.columns + jnp.arange(self.columns)
        shape = (self.n_heads, self.rows, self.columns)
        counts = [jnp.broadcast_to(n, shape).astype(jnp.uint32).ravel() for n in (query[..., None], key)]
        bits = threefry_2x32(words, jnp.concatenate(counts))[:counts[0].size]
        return (bits >= np.uint32(self.rate * 2**32)).reshape(self.n_kv_heads, -1, self.columns)

    def seen(self, mask: Any, length: Any, start: Any) -> tuple[Any, Any]:
        """(whether a query sees any key, whether a key is seen by any query): (T, 1), (T, n_heads) or (T, n_kv_heads)
        of bool, or None where all of them are."""
        if mask is not None:
            around = Surroundings(None, None, None, length, start, None)
            whole = dataclasses.replace(self, chunk=max(self.n_queries, self.n_keys))
            may_see = whole.may_see(around, 0, 0)
            mask = mask if may_see is None else mask & may_see
            mask = mask if mask.ndim == 3 else mask[None]
            queries, keys = jnp.any(mask, -1).T, jnp.any(mask, -2).T
            if mask.shape[0] > 1:
                keys = jnp.any(keys.reshape(self.n_keys, self.n_kv_heads, -1), -1)
            return queries, keys
        if length is None and start is None and (not self.has_places or self.n_queries == self.n_keys) and (
                self.limit == self.n_keys):
            return None, None
        end = self.limit if length is None else jnp.minimum(length, self.limit)
        query, key = self.place_of_first(start) + jnp.arange(self.n_queries), jnp.arange(self.n_keys)
        low: Any = 0 if self.before is None else jnp.maximum(query - self.before, 0)
        after = 0 if self.causal else self.after
        high: Any = jnp.minimum(end, end if after is None else query + after + 1)
        keys = key < (high[-1] if jnp.ndim(high) else high)
        if self.before is not None:
            keys &= key >= low[0]
        return jnp.broadcast_to(low < high, query.shape)[:, None], keys[:, None]


def _chunked(a: Any, size: int, n_heads: int) -> Any:
    """(T, n_heads · d) -> (chunks, size, n_heads, d), the last chunk filled up with zeros."""
    padded = jnp.pad(a, ((0, -a.shape[0] % size), (0, 0)))
    return padded.reshape(-1, size, n_heads, a.shape[1] // n_heads)
