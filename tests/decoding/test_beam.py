"""Beam search: every sequence enumerated, a search in Python, coverage, pools, pictures of attention."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.decoding import beam_search, greedy

RNG = np.random.default_rng(1)
AFTER = RNG.standard_normal((4, 4)).astype(np.float32) * 1.5
LOOK = RNG.uniform(0, 0.6, (4, 3)).astype(np.float32)


def markov(carry, token):
    """Logits by the token and the number before it; attention by the token."""
    return carry + 1, jnp.asarray(AFTER)[token] + 0.3 * jnp.cos(carry * jnp.arange(4.0)), jnp.asarray(LOOK)[token]


def log_p_at(t, token, allowed=None):
    z = AFTER[token] + 0.3 * np.cos(t * np.arange(4.0))
    return scipy.special.log_softmax(np.where(allowed, z, -np.inf) if allowed is not None else z)


def every_sequence(max_length, end, length_penalty=0.0, coverage=0.0, allowed=None):
    """{tokens without the end: (score, log p)}, those that have ended and those cut off, ranked as they should be."""
    ended, cut = {}, {}
    others = [k for k in range(4) if k != end]
    for n in range(max_length + 1):
        for tokens in itertools.product(others, repeat=n):
            path = [*tokens, end] if n < max_length and end is not None else list(tokens)
            if (end is None or n == max_length) and len(path) != max_length:
                continue
            read = [0, *path[:-1]]
            log_p = sum(log_p_at(t, a, allowed)[b] for t, (a, b) in enumerate(zip(read, path)))
            score = log_p / len(path) ** length_penalty
            if coverage:
                score += coverage * np.sum(np.log(np.minimum(LOOK[read].sum(0), 1)))
            (cut if path and (end is None or n == max_length) else ended)[tokens] = (score, log_p)
    ranked = [sorted(pool.items(), key=lambda item: -item[1][0]) for pool in (ended, cut)]
    return ranked[0] + ranked[1]


CHOICES = {
    "plain": {}, "mean": {"length_penalty": 1.0}, "beyond the mean": {"length_penalty": 2.0},
    "coverage": {"coverage": 0.7, "length_penalty": 0.6}, "no end": {"end": None},
    "allowed": {"allowed": np.array([True, True, False, True])},
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", CHOICES)
def test_a_wide_beam_finds_every_sequence(name):
    """Wider than the vocabulary: 81 sequences and more, in order, with their log p."""
    options = {"end": 3} | CHOICES[name]
    want = every_sequence(4, **options)
    want = [item for item in want if np.isfinite(item[1][0])]
    beams = jax.jit(functools.partial(beam_search, markov, width=260, max_length=4, **options))(jnp.float32(0), 0)
    n = int(np.sum(np.isfinite(beams.score)))
    assert n == len(want) if options["end"] is None else n == min(260, len(want))
    for i, (tokens, (score, log_p)) in enumerate(want):
        np.testing.assert_allclose((beams.score[i], beams.log_p[i]), (score, log_p), rtol=1e-4)
        if i == 0 or (abs(score - want[i - 1][1][0]) > 1e-4 and (i + 1 == len(want)
                                                              or abs(score - want[i + 1][1][0]) > 1e-4)):
            assert beams.tokens[i, : beams.length[i]].tolist() == list(tokens)
        assert bool(beams.ended[i]) == (options["end"] is not None and len(tokens) < 4)
    assert np.all(beams.tokens[n:] == -1) and np.all(beams.length[n:] == 0)


def in_python(width, max_length, end, alpha):
    """The same search with lists."""
    live, done = [((), 0.0)], []
    for t in range(max_length):
        grown = []
        for tokens, log_p in live:
            each = log_p + log_p_at(t, tokens[-1] if tokens else 0)
            done.append((tokens, each[end], each[end] / (t + 1) ** alpha))
            grown += [((*tokens, k), each[k]) for k in range(4) if k != end]
        live = sorted(grown, key=lambda g: -g[1])[:width]
        done = sorted(done, key=lambda d: -d[2])[:width]
        if len(done) == width and done[-1][2] >= max(g[1] for g in live) / max_length**alpha:
            return done
    done += [(tokens, log_p, log_p / max_length**alpha) for tokens, log_p in live][: width - len(done)]
    return done


@pytest.mark.sampled
@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_a_narrow_beam(width, alpha):
    got = beam_search(markov, 0.0, 0, width=width, max_length=9, end=2, length_penalty=alpha)
    want = in_python(width, 9, 2, alpha)
    assert [got.tokens[i, : got.length[i]].tolist() for i in range(width)] == [list(tokens) for tokens, *_ in want]
    np.testing.assert_allclose(got.score, [score for *_, score in want], rtol=1e-5)


def test_a_beam_of_one_goes_on_past_an_end_that_costs_too_much():
    """Greedy takes the end only where it is the likeliest; a beam of one keeps the best end it has met."""
    one = beam_search(markov, 0.0, 0, width=1, max_length=6, end=None)
    alone = greedy(markov, 0.0, 0, max_length=6)
    assert one.tokens[0].tolist() == alone.tokens.tolist()
    np.testing.assert_allclose(one.log_p[0], alone.log_p, rtol=1e-5)


def test_a_long_sequence_may_still_win():
    """The first end, -0.36, beats what goes on, -1.2 / 2; the mean of a longer sequence is -0.22 in the end."""
    def step(n, token):
        p_end = jnp.where(n == 0, 0.7, jnp.where(n == 5, 0.98, 0.02))
        return n + 1, jnp.log(jnp.stack([p_end, 1 - p_end]))

    beams = beam_search(step, 0, 1, width=1, max_length=6, end=0, length_penalty=1.0)
    assert beams.tokens[0].tolist() == [1, 1, 1, 1, 1, -1] and beams.ended[0]
    np.testing.assert_allclose(beams.score[0], (np.log(0.3) + 5 * np.log(0.98)) / 6, rtol=1e-5)


def test_attention_follows_its_own_sequence():
    """Row t is what the step that read token t - 1 paid, in each beam; zeros behind the end."""
    beams = beam_search(markov, 0.0, 0, width=4, max_length=5, end=3)
    for i in range(4):
        n = int(beams.length[i])
        read = [0, *beams.tokens[i, :n].tolist()][: n + int(beams.ended[i])]
        np.testing.assert_array_equal(beams.aux[i, : len(read)], LOOK[read])
        np.testing.assert_array_equal(beams.aux[i, len(read):], 0)


def test_a_batch_and_attention_by_name():
    """Under `vmap`, with the weights inside a larger aux, and PRNG keys in the carry."""
    def step(carry, token):
        (n, key), logits, weights = (carry[0] + 1, carry[1]), *markov(carry[0], token)[1:]
        return (n, key), logits, {"weights": weights, "token": token}

    f = functools.partial(beam_search, step, width=3, max_length=5, end=3, coverage=0.5,
                          attention=lambda aux: aux["weights"])
    batch = jax.jit(jax.vmap(lambda start: f((0.0, jax.random.key(0)), start)))(jnp.arange(3))
    plain = beam_search(markov, 0.0, 2, width=3, max_length=5, end=3, coverage=0.5)
    assert batch.tokens[2].tolist() == plain.tokens.tolist()
    np.testing.assert_allclose(batch.score[2], plain.score, rtol=1e-5)


def test_only_the_end_is_allowed():
    beams = beam_search(markov, 0.0, 0, width=3, max_length=4, end=1, allowed=np.arange(4) == 1)
    assert beams.length.tolist() == [0, 0, 0] and beams.ended.tolist() == [True, False, False]
    assert beams.log_p[0] == 0 and np.all(np.isneginf(beams.score[1:]))


@pytest.mark.parametrize(("options", "words"), [
    ({"width": 0}, "beam_search expects width, a positive integer; got 0"),
    ({"length_penalty": -1}, "beam_search expects length_penalty, a number >= 0; got -1"),
    ({"coverage": 1.0, "attention": lambda aux: aux.sum()}, "attention weights (n_source,) for the coverage"),
    ({"end": 4}, "beam_search expects end, a token in 0 .. 3"),
    ({"max_length": 2.0}, "beam_search expects max_length, a positive integer; got 2.0"),
])
def test_refusals(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        beam_search(markov, 0.0, 0, **{"width": 2, "max_length": 4} | options)
