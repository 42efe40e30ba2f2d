"""Padding, buckets and packing: everything once, one compilation for each bucket, attention that keeps to its own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import attention, length_mask
from jaxnn.text import bucketed, pack, pad, segment_mask

RNG = np.random.default_rng(0)
SEQUENCES = [RNG.integers(1, 50, n) for n in RNG.integers(0, 17, 60)]
LENGTHS = [4, 8, 16]


@pytest.mark.parametrize("seed", [None, 0])
def test_every_sequence_once(seed):
    found = {}
    for batch in bucketed(SEQUENCES, LENGTHS, 7, seed=seed):
        assert batch.tokens.shape in {(7, n) for n in LENGTHS} and 1 <= batch.n <= 7
        for tokens, length, i in zip(batch.tokens[: batch.n], batch.lengths, batch.indices):
            assert i not in found
            found[i] = tokens[:length]
            np.testing.assert_array_equal(tokens[length:], 0)
            assert batch.tokens.shape[1] == min(n for n in LENGTHS if n >= length)
    assert sorted(found) == list(range(60))
    assert all(np.array_equal(found[i], SEQUENCES[i]) for i in range(60))


def test_one_compilation_for_each_bucket():
    traces = []

    @jax.jit
    def total(tokens, lengths):
        traces.append(tokens.shape)
        return jnp.sum(jnp.where(length_mask(lengths, tokens.shape[1]), tokens, 0), 1)

    for epoch in range(2):
        for batch in bucketed(SEQUENCES, LENGTHS, 7, seed=epoch, fill=99):
            want = [SEQUENCES[i].sum() for i in batch.indices]
            assert total(batch.tokens, batch.lengths).tolist() == want
    assert sorted(traces) == [(7, n) for n in LENGTHS]


def test_the_order_is_that_of_the_seed():
    orders = [[b.indices.tolist() for b in bucketed(SEQUENCES, LENGTHS, 7, seed=seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_packing():
    packed = pack(SEQUENCES, 20)
    total = sum(map(len, SEQUENCES))
    assert np.sum(packed.segments > 0) == total and len(packed.tokens) <= 11 / 9 * -(-total // 20) + 2
    for i, (row, first) in enumerate(packed.places):
        n = len(SEQUENCES[i])
        if n:
            part = slice(first, first + n)
            np.testing.assert_array_equal(packed.tokens[row, part], SEQUENCES[i])
            np.testing.assert_array_equal(packed.positions[row, part], np.arange(n))
            segment = packed.segments[row, first]
            assert np.flatnonzero(packed.segments[row] == segment).tolist() == list(range(first, first + n))
    for row in packed.segments:
        used = row[row > 0]
        assert np.array_equal(np.unique(used), np.arange(1, len(np.unique(used)) + 1)) and np.all(np.diff(used) >= 0)


def test_attention_in_a_packed_row_is_that_of_each_alone():
    x = [RNG.standard_normal((n, 3)).astype(np.float32) for n in (4, 2, 3)]
    packed = pack([np.arange(len(a)) for a in x], 10)
    row = np.ones((10, 3), np.float32)
    for a, (_, first) in zip(x, packed.places):
        row[first: first + len(a)] = a
    mask = segment_mask(packed.segments[0])
    y = attention(jnp.asarray(row), jnp.asarray(row), jnp.asarray(row), mask, causal=True)
    for a, (_, first) in zip(x, packed.places):
        alone = attention(*[jnp.asarray(a)] * 3, causal=True)
        np.testing.assert_allclose(y[first: first + len(a)], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y[9:], 0)


def test_masks_of_narrow_integers():
    assert length_mask(np.array([200, 0], np.uint8), 300).sum(-1).tolist() == [200, 0]
    assert length_mask(jnp.asarray(3), 4).tolist() == [True, True, True, False]
    assert jax.jit(jax.vmap(lambda n: length_mask(n, 2)))(jnp.array([1, 2])).tolist() == [[True, False], [True, True]]
    assert segment_mask(np.array([1, 1, 0], np.int8)).sum() == 4


@pytest.mark.parametrize(("call", "words"), [
    (lambda: pad([]), "pad expects at least one sequence; got none"),
    (lambda: pad([[1, 2, 3]], 2), "pad expects sequences of at most 2 tokens; got one of 3; cut it, or leave it out"),
    (lambda: pad([[1.5]]), "pad expects integers of shape (n,) as sequence 0; got float64[1]"),
    (lambda: pad(["abc"]), "integers as sequence 0; got str; encode it with a vocabulary"),
    (lambda: pad([[2**40]]), "integers of 32 bits as sequence 0"),
    (lambda: pad([[[1]]]), "integers of shape (n,) as sequence 0; got int64[1, 1]"),
    (lambda: pad("abc"), "sequences, a list of them; got str"),
    (lambda: length_mask(jnp.array([3]), 2), "length_mask expects lengths in 0 .. 2; got values from 3 to 3"),
    (lambda: length_mask(jnp.array([1.0]), 2), "length_mask expects integer lengths; got float32"),
    (lambda: bucketed([[1] * 5], [2, 4], 2), "sequences of at most 4 tokens; got one of 5; give a longer"),
    (lambda: bucketed([[1]], [4, 2], 2), "lengths, increasing integers; got [4, 2]"),
    (lambda: bucketed([[1]], [], 2), "lengths, increasing integers; got []"),
    (lambda: bucketed([[1]], [2], 0), "batch_size, a positive integer; got 0"),
    (lambda: pack([[1] * 5], 4), "pack expects sequences of at most 4 tokens; got one of 5"),
    (lambda: segment_mask(jnp.ones((2, 2), int)), "segments of shape (T,); got (2, 2); for a batch use jax.vmap"),
    (lambda: segment_mask(jnp.ones(2)), "segment_mask expects integer segments; got float32"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
