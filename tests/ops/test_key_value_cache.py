"""Decoding with a cache of keys and values: each place as in the full pass, and what does not fit."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import KeyValueCache, alibi_slopes, attend_last, attention, empty_cache, with_next
from tests.compare import assert_close

RNG = np.random.default_rng(4)
HEADS = {"n_heads": 4, "n_kv_heads": 2}


def sequence(T=7):
    return [jnp.asarray(RNG.standard_normal((T, n)), jnp.float32) for n in (8, 4, 6)]


@pytest.mark.sampled
@pytest.mark.parametrize("choices", [{}, {"window": (2, None)}, {"soft_cap": 1.5}, {"slopes": True}], ids=str)
def test_each_place_as_in_the_full_pass(choices):
    """A prompt of two places, then one at a time, through all sizes of a scan's cache."""
    q, k, v = sequence()
    slopes = alibi_slopes(4) if choices.pop("slopes", None) else None
    want = attention(q, k, v, None, None, slopes, causal=True, **HEADS, **choices)

    def step(cache, qkv):
        q, k, v = qkv
        cache = with_next(cache, k, v)
        return cache, attend_last(q, cache, slopes, chunk=2, **HEADS, **choices)

    @jax.jit
    def decoded(q, k, v):
        cache, first = step(empty_cache(11, 4, 6), (q[:2], k[:2], v[:2]))
        cache, rest = jax.lax.scan(step, cache, jax.tree.map(lambda a: a[2:, None], (q, k, v)))
        return cache, jnp.concatenate([first, rest[:, 0]])

    cache, got = decoded(q, k, v)
    assert_close(got, want, 64)
    assert int(cache.position) == 7 and np.array_equal(cache.k[:7], k) and not np.any(cache.k[7:])


def test_a_batch_shares_its_position():
    q, k, v = (jnp.stack([a, 2 * a]) for a in sequence())
    axes = KeyValueCache(0, 0, None)
    empty = jax.vmap(lambda _: empty_cache(8, 4, 6), out_axes=axes)(jnp.zeros(2))
    cache = jax.vmap(with_next, (axes, 0, 0), axes)(empty, k, v)
    got = jax.jit(jax.vmap(lambda q, c: attend_last(q, c, chunk=4, **HEADS), (0, axes)))(q, cache)
    assert_close(got[1], attention(q[1], k[1], v[1], causal=True, **HEADS), 64)


def test_a_gradient_through_the_cache():
    q, k, v = sequence()

    def loss(k):
        return jnp.sum(attend_last(q, with_next(empty_cache(12, 4, 6), k, v), chunk=4, **HEADS) ** 2)

    def full(k):
        return jnp.sum(attention(q, k, v, causal=True, **HEADS) ** 2)

    assert_close(jax.jit(jax.grad(loss))(k), jax.jit(jax.grad(full))(k), 256)


def test_a_full_cache_is_said_and_at_run_time_is_nan():
    q, k, v = sequence()
    with pytest.raises(ValueError, match=re.escape("with_next expects room for 7 more places in a cache of 5; got one "
                                                   "in which 0 are filled")):
        with_next(empty_cache(5, 4, 6), k, v)

    @jax.jit
    def twice(cache):
        cache = with_next(with_next(cache, k, v), k, v)
        return attend_last(q, cache, **HEADS)

    assert np.all(np.isnan(twice(empty_cache(10, 4, 6))))
    assert np.all(np.isfinite(twice(empty_cache(14, 4, 6))))


@pytest.mark.parametrize(("call", "words"), [
    (lambda q, k, v, c: with_next(c, k[0], v), "k of shape (time, 4); got (4,); for one place pass k[None]"),
    (lambda q, k, v, c: with_next(c, k, v[:, :2]), "v of shape (time, 6); got (7, 2)"),
    (lambda q, k, v, c: with_next(c, k, v[:3]), "as many values as keys; got 7 keys and 3 values"),
    (lambda q, k, v, c: with_next((k, v), k, v), "a KeyValueCache; got tuple"),
    (lambda q, k, v, c: attend_last(q[0], c), "for one place pass q[None]"),
    (lambda q, k, v, c: attend_last(jnp.ones((9, 8)), c), "between 1 and 8 queries, the capacity; got 9"),
    (lambda q, k, v, c: attend_last(q, c, **HEADS), "as many queries as there are places filled; got 7 and 0"),
    (lambda q, k, v, c: empty_cache(0, 4), "capacity, a positive integer; got 0"),
    (lambda q, k, v, c: empty_cache(2, 4, dtype=jnp.int32), "a floating-point dtype"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call(*sequence(), empty_cache(8, 4, 6))
