"""Keys and values of the places so far, for decoding one token at a time: a pure structure of a fixed size.

    cache = empty_cache(capacity, width_k, width_v)
    cache = with_next(cache, k, v)                     k, v of the next places, (time, width)
    y = attend_last(q, cache, n_heads=8)               q of those places: what `attention` of all places gives for them

A step costs as much as the places so far ask for, whatever the capacity: attention reads the first 256, 512, 1024 ...
places of the arrays, as many as are filled; a capacity that is no multiple of 256 costs a copy. Where the cache is
carried through `lax.scan`, or given to a `jit` function that donates it, new places are written where they belong and
nothing is copied. In a batch, `jax.vmap` over keys and values, leave the position unmapped, as `KeyValueCache(0, 0,
None)`: it is then one number for all, and only one branch runs.
"""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_float, expect_shape, is_integer, known
from jaxnn.ops.attention import attention

__all__ = ["KeyValueCache", "attend_last", "empty_cache", "with_next"]


class KeyValueCache(NamedTuple):
    k: Any
    """(capacity, n_kv_heads * d)."""
    v: Any
    """(capacity, n_kv_heads * d_v)."""
    position: Any
    """How many places are filled, () of int32. Above the capacity, which only a run can find out, what `attend_last`
    gives is NaN."""


def empty_cache(capacity: int, width_k: int, width_v: int | None = None, dtype: Any = jnp.float32) -> KeyValueCache:
    """A cache with room for `capacity` places, each of width_k and width_v numbers, by default alike."""
    width_v = width_k if width_v is None else width_v
    for name, n in (("capacity", capacity), ("width_k", width_k), ("width_v", width_v)):
        expect(is_integer(n, 1), "empty_cache", f"{name}, a positive integer", repr(n))
    expect(jnp.issubdtype(dtype, jnp.floating), "empty_cache", "a floating-point dtype", str(dtype))
    return KeyValueCache(jnp.zeros((capacity, width_k), dtype), jnp.zeros((capacity, width_v), dtype), jnp.int32(0))


def with_next(cache: KeyValueCache, k: Any, v: Any) -> KeyValueCache:
    """The cache with the keys and values of the next places, (time, width) each, in its own dtype."""
    who = "with_next"
    expect(isinstance(cache, KeyValueCache), who, "a KeyValueCache", type(cache).__name__, "make it with empty_cache")
    for name, x, of in (("k", k, cache.k), ("v", v, cache.v)):
        expect_float(who, name, x)
        expect_shape(who, name, x, ("time", of.shape[1]), "for one place pass k[None] and v[None]"
                     if jnp.ndim(x) == 1 else "")
    time, capacity = k.shape[0], cache.k.shape[0]
    expect(v.shape[0] == time, who, "as many values as keys", f"{time} keys and {v.shape[0]} values")
    position = known(cache.position)
    filled = 0 if position is None else int(position.max())
    expect(filled + time <= capacity, who, f"room for {time} more places in a cache of {capacity}",
           f"one in which {filled} are filled", "make a larger one with empty_cache")
    k, v = (lax.dynamic_update_slice(old, new.astype(old.dtype), (cache.position, 0 * cache.position))
            for old, new in ((cache.k, k), (cache.v, v)))
    return KeyValueCache(k, v, cache.position + time)


def attend_last(q: Any, cache: KeyValueCache, slopes: Any = None, *, chunk: int = 256, window: Any = None,
                **choices: Any) -> Any:
    """y (time, n_heads * d_v) for the queries q (time, n_heads * d) of the last places in the cache, each of which sees
    the places up to its own.

    The choices are those of `attention`: n_heads, n_kv_heads, scale, soft_cap. A window of (before, after) sees as
    much as that.
    """
    who = "attend_last"
    expect(isinstance(cache, KeyValueCache), who, "a KeyValueCache", type(cache).__name__, "make it with empty_cache")
    expect(jnp.ndim(q) == 2, who, "q of shape (time, n_heads * d)", str(jnp.shape(q)),
           "for one place pass q[None]" if jnp.ndim(q) == 1 else "")
    expect(is_integer(chunk, 1), who, "chunk, a positive integer", repr(chunk))
    capacity, time = cache.k.shape[0], q.shape[0]
    expect(0 < time <= capacity, who, f"between 1 and {capacity} queries, the capacity", str(time))
    position = known(cache.position)
    if position is not None:
        expect(int(position.min()) >= time, who, "at most as many queries as there are places filled",
               f"{time} and {position.min()}", "put their keys and values into the cache first, by with_next")
    sizes = [min(capacity, max(time, chunk))]
    while sizes[-1] < capacity:
        sizes.append(min(2 * sizes[-1], capacity))

    def of_first(n: int, q: Any, k: Any, v: Any, position: Any) -> Any:
        return attention(q, k, v, None, None, slopes, None, position - time, causal=True, n_keys=n, chunk=chunk,
                         window=window, **choices)

    # The smallest size that holds all filled places, or the last one.
    smallest = jnp.sum(jnp.asarray(sizes[:-1], jnp.int32) < cache.position, dtype=jnp.int32)
    return lax.switch(smallest, [functools.partial(of_first, n) for n in sizes], q, *cache)
