"""Greedy and random decoding: a loop in Python, distributions counted, ends, penalties, tokens that are allowed."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.decoding import greedy, sample
from jaxnn.decoding.one import likeliest

RNG = np.random.default_rng(0)
AFTER = RNG.standard_normal((6, 6)).astype(np.float32) * 2


def markov(carry, token):
    """Logits that depend on the token and on how many came before."""
    return carry + 1, jnp.asarray(AFTER)[token] + jnp.sin(carry * jnp.arange(6.0)), {"weights": carry * jnp.ones(2)}


def by_hand(start, max_length, end, allowed=None, penalty=1.0):
    tokens, total, token = [], 0.0, start
    for t in range(max_length):
        z = AFTER[token] + np.sin(t * np.arange(6.0))
        if allowed is not None:
            z = np.where(allowed[t], z, -np.inf)
        log_p = scipy.special.log_softmax(z)
        token = int(np.argmax([penalty * lp if k in tokens else lp for k, lp in enumerate(log_p)]))
        total += log_p[token]
        if token == end:
            return tokens, True, total
        tokens.append(token)
    return tokens, False, total


BY_POSITION = np.stack([np.arange(6) % 2 == t % 2 for t in range(8)])
CHOICES = {"plain": {}, "until the end": {"end": 3}, "penalty": {"repetition_penalty": 1.8},
           "by position": {"allowed": BY_POSITION},
           "all": {"end": 2, "repetition_penalty": 1.3, "allowed": BY_POSITION}}


@pytest.mark.parametrize("name", CHOICES)
def test_greedy_is_a_loop(name):
    options = CHOICES[name]
    f = jax.jit(functools.partial(greedy, markov, max_length=8, **{"end": None} | options))
    for start in range(3):
        got = f(jnp.float32(0), start)
        tokens, ended, log_p = by_hand(start, 8, options.get("end"), options.get("allowed"),
                                       options.get("repetition_penalty", 1.0))
        length = len(tokens)
        assert got.tokens.tolist() == tokens + [-1] * (8 - length)
        assert (int(got.length), bool(got.ended)) == (length, ended)
        np.testing.assert_allclose(got.log_p, log_p, rtol=1e-5)
        steps = length + ended
        assert np.all(got.step_log_p[:steps] < 0) and np.all(got.step_log_p[steps:] == 0)
        np.testing.assert_array_equal(got.aux["weights"][:, 0], np.where(np.arange(8) < steps, np.arange(8), 0))
        assert got.carry == steps


def test_a_batch_is_its_sequences():
    """Under `vmap` each sequence stops at its own end."""
    f = functools.partial(greedy, markov, jnp.float32(0), max_length=8, end=3)
    batch = jax.jit(jax.vmap(f))(jnp.arange(6))
    for start in range(6):
        one = f(start)
        assert batch.tokens[start].tolist() == one.tokens.tolist() and batch.length[start] == one.length
        np.testing.assert_array_equal(batch.aux["weights"][start], one.aux["weights"])


def test_compiled_once():
    traces = []

    def step(carry, token):
        traces.append(token)
        return markov(carry, token)

    f = jax.jit(lambda carry, start: greedy(step, carry, start, max_length=5))
    for start in range(3):
        f(jnp.float32(start), start)
    assert len(traces) <= 3  # the shapes, and the loop


def probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    """In NumPy: sorted, cut, normalised."""
    p = scipy.special.softmax(np.asarray(logits, np.float64) / temperature)
    order = np.argsort(-p, kind="stable")
    kept = order[:top_k]
    if top_p is not None:
        cumulative = np.cumsum(p[kept] / p[kept].sum())
        kept = kept[: np.searchsorted(cumulative, top_p) + 1]
    return np.where(np.isin(np.arange(len(p)), kept), p, 0) / p[kept].sum()


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"temperature": 3.0, "top_k": 3}, {"top_p": 0.6},
                                     {"top_k": 4, "top_p": 0.8, "temperature": 2.0}, {"top_k": 99, "top_p": 1.0}],
                         ids=str)
def test_sampling_counts(options):
    """20,000 tokens from one distribution, four standard deviations."""
    logits = jnp.array([0.3, 2.0, -1.0, 1.5, 1.5])
    f = jax.jit(functools.partial(sample, lambda carry, token: (carry, logits), (), 0, max_length=20_000, **options))
    found = f(jax.random.key(0))
    p = probabilities(logits, **options)
    counts = np.bincount(found.tokens, minlength=5) / 20_000
    np.testing.assert_allclose(counts, p, atol=4 * np.sqrt(0.25 / 20_000))
    np.testing.assert_array_equal(counts[p == 0], 0)
    want = scipy.special.log_softmax(np.asarray(logits))[found.tokens]
    np.testing.assert_allclose(found.log_p, np.sum(want), rtol=1e-4)


def test_nucleus_at_its_edges():
    """The token that completes the sum belongs to it; the likeliest always does; of equal ones the lower."""
    log_p = jnp.log(jnp.array([0.25, 0.5, 0.25]))
    assert np.isfinite(likeliest(log_p, None, 0.5)).tolist() == [False, True, False]
    assert np.isfinite(likeliest(log_p, None, 0.51)).tolist() == [True, True, False]
    assert np.isfinite(likeliest(log_p, None, 1e-9)).tolist() == [False, True, False]
    assert np.isfinite(likeliest(log_p, 2, None)).tolist() == [True, True, False]
    assert np.isfinite(likeliest(jnp.zeros(4), 1, None)).tolist() == [True, False, False, False]


def test_the_same_key_the_same_tokens():
    f = functools.partial(sample, markov, jnp.float32(0), 0, max_length=8)
    assert f(jax.random.key(1)).tokens.tolist() == jax.jit(f)(jax.random.key(1)).tokens.tolist()
    assert f(jax.random.key(1)).tokens.tolist() != f(jax.random.key(2)).tokens.tolist()


def test_a_constant_added_to_all_logits_changes_no_penalty():
    f = functools.partial(greedy, start=0, max_length=6, repetition_penalty=1.5)
    up = f(lambda carry, token: (carry, jnp.asarray(AFTER)[token] + 100), ())
    assert up.tokens.tolist() == f(lambda carry, token: (carry, jnp.asarray(AFTER)[token]), ()).tokens.tolist()


def test_nan_from_the_model_shows():
    assert np.isnan(greedy(lambda c, t: (c, jnp.full(3, jnp.nan)), (), 0, max_length=2).log_p)


def step(carry, token):
    return carry, jnp.zeros(4)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: greedy(step, (), 4, max_length=3), "greedy expects start, a token in 0 .. 3; got 4"),
    (lambda: greedy(step, (), 1.0, max_length=3), "greedy expects integer start; got float32"),
    (lambda: greedy(step, (), jnp.array([0]), max_length=3), "start of shape (); got (1,); decode one sequence"),
    (lambda: greedy(step, (), 0, max_length=0), "greedy expects max_length, a positive integer; got 0"),
    (lambda: greedy(step, (), 0, max_length=3, end=4), "greedy expects end, a token in 0 .. 3, or None"),
    (lambda: greedy(lambda c, t: jnp.zeros(3), (), 0, max_length=3), "a step that returns (carry, logits)"),
    (lambda: greedy(lambda c, t: (c, jnp.zeros((2, 3))), (), 0, max_length=3),
     "logits of shape (n_tokens,) from the step; got float32[2, 3]; decode one sequence"),
    (lambda: greedy(lambda c, t: (c + 0.5, jnp.zeros(3)), 1, 0, max_length=3),
     "a step that returns a carry of the structure, shapes and dtypes"),
    (lambda: greedy(step, (), 0, max_length=3, allowed=jnp.zeros(4, bool)), "one token that is allowed; got none"),
    (lambda: greedy(step, (), 0, max_length=2, allowed=np.array([[True] * 4, [False] * 4])), "got none at position 1"),
    (lambda: greedy(step, (), 0, max_length=3, allowed=jnp.ones(3, bool)), "allowed of shape (4,), or (3, 4)"),
    (lambda: greedy(step, (), 0, max_length=3, allowed=jnp.ones(4)), "allowed, an array of bool; got float32"),
    (lambda: greedy(step, (), 0, max_length=3, repetition_penalty=0.5), "repetition_penalty, a number >= 1; got 0.5"),
    (lambda: greedy(dict, (), 0, max_length=3), "a step function, called as step(carry, token)"),
    (lambda: sample(step, (), 0, 0, max_length=3), "sample expects a PRNG key"),
    (lambda: sample(step, (), 0, jax.random.key(0), max_length=3, temperature=0), "use greedy for a temperature of 0"),
    (lambda: sample(step, (), 0, jax.random.key(0), max_length=3, top_k=0), "top_k, a positive integer or None; got 0"),
    (lambda: sample(step, (), 0, jax.random.key(0), max_length=3, top_p=0), "top_p in (0, 1], or None; got 0"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
