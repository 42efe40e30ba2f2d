"""Beam search: the likeliest of several sequences kept side by side.

    score = Σ log p / n^α + β Σ_i log min(Σ_t a_ti, 1)

    n the number of factors p, the end token's among them; α the length penalty; a_ti the attention that step t pays to
    place i of the source, β the coverage

Two pools: `width` sequences that go on, ranked by Σ log p, and the `width` best that have ended, ranked by score. Each
step, every sequence that goes on may also end, and none of those takes the place of one that goes on. The search stops
when no sequence that goes on can come to a better score than the worst of a full pool of ended ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.decoding.step import (
    NO_TOKEN,
    allowed_at,
    as_carry,
    expect_end,
    expect_max_length,
    expect_start,
    normalized,
    shapes_of,
    split_step,
)

__all__ = ["Beams", "beam_search"]


class Beams(NamedTuple):
    """`width` sequences, the best first: those that have ended by score, then those cut off by max_length.

    tokens[i, :length[i]] is a sequence, without the start and the end token.
    """

    tokens: jax.Array
    """(width, max_length) int32, -1 behind the last."""
    length: jax.Array
    """(width,) int32."""
    ended: jax.Array
    """(width,) of bool: whether the end token came."""
    log_p: jax.Array
    """(width,): Σ log p, nats, the end token's among them; -inf for a place that no sequence fills."""
    score: jax.Array
    """(width,): what they are ranked by; -inf for a place that no sequence fills."""
    aux: Any
    """What the step gave beside the logits, along each sequence's own past, (width, max_length, ...); zeros behind the
    last step."""


class _Pool(NamedTuple):
    tokens: Any
    length: Any
    ended: Any
    log_p: Any
    score: Any
    aux: Any


def beam_search(step: Callable, carry: Any, start: Any, *, width: int, max_length: int, end: int | None = None,
                length_penalty: float = 0.0, coverage: float = 0.0, attention: Callable | None = None,
                allowed: Any = None) -> Beams:
    """The best sequences that a beam of this width finds.

    Args:
      step: (carry, token) -> (carry, logits (n_tokens,)), or (carry, logits, aux).
      carry: the model's state before the first token, a tree of arrays; it is copied for each sequence.
      start: the first token the step gets, an integer (); it is not part of a sequence.
      width: how many sequences go on side by side. It may be larger than the vocabulary: with n_tokens^max_length the
        search is exhaustive.
      max_length: how many steps at most: max_length - 1 tokens and the end token, or max_length tokens without it.
      end: the token that ends a sequence; None for sequences of max_length tokens.
      length_penalty: α >= 0. 0 ranks by Σ log p, which prefers the short; 1 by the mean of log p.
      coverage: β >= 0 (Wu et al. 2016, eq. 14): a place of the source that was paid less than 1 in all counts against
        the sequence; one that was paid nothing rules it out.
      attention: aux -> (n_source,), what the coverage adds up: 1 for a place that is only filled up. None if aux is
        that itself.
      allowed: the tokens that may be chosen, (n_tokens,) of bool, or (max_length, n_tokens) with a row for each
        position; None for all.
    Returns:
      Beams.
    Raises:
      InputError: an argument is not as above.
    Each call traces the step; inside `jax.jit` it is compiled once.

    >>> after = jnp.log(jnp.array([[0.1, 0.5, 0.4], [0.2, 0.4, 0.4], [0.9, 0.05, 0.05]]))
    >>> beams = beam_search(lambda carry, token: (carry, after[token]), (), 0, width=2, max_length=3, end=0)
    >>> beams.tokens[0, :beams.length[0]].tolist(), round(float(jnp.exp(beams.log_p[0])), 2)  # greedy takes 1 first
    ([2], 0.36)
    """
    who = "beam_search"
    run, carry = split_step(who, step), as_carry(carry)
    start = expect_start(who, start)
    expect(is_integer(width, 1), who, "width, a positive integer", repr(width))
    expect_max_length(who, max_length)
    for name, value in (("length_penalty", length_penalty), ("coverage", coverage)):
        expect(is_number(value, 0), who, f"{name}, a number >= 0", repr(value))
    logits, aux = shapes_of(run, carry, start)
    n_tokens, dtype = logits.shape[0], logits.dtype
    expect_start(who, start, n_tokens)
    expect_end(who, end, n_tokens)
    may = allowed_at(who, allowed, max_length, n_tokens)
    paid = _attention_of(who, attention, coverage, aux)
    depth = jnp.arange(max_length)

    def score(log_p: Any, n: Any, kept: Any) -> Any:
        """Of sequences of n steps, (width,); kept: aux of all steps, zeros behind the last."""
        value = log_p / jnp.asarray(n, dtype) ** length_penalty
        if not coverage:
            return value
        a = jnp.where((depth < n)[:, None], jax.vmap(jax.vmap(paid))(kept), 0)
        return value + coverage * jnp.sum(jnp.log(jnp.minimum(jnp.sum(a, 1), 1)), -1)

    def advance(loop: Any) -> Any:
        n, tokens, last, log_p, kept, carries, done = loop
        carries, logits, aux = jax.vmap(run)(carries, last)
        each = log_p[:, None] + jax.vmap(lambda z: normalized(z, may(n)))(logits)
        kept = jax.tree.map(lambda all_, a: all_.at[:, n].set(a), kept, aux)
        if end is not None:
            ending = _Pool(tokens, jnp.full(width, n), jnp.full(width, True), each[:, end],
                           score(each[:, end], n + 1, kept), kept)
            done = _best(_joined(done, ending), width)
            each = each.at[:, end].set(-jnp.inf)
        log_p, chosen = lax.top_k(each.reshape(-1), width)
        parent, token = jnp.divmod(chosen, n_tokens)
        tokens, kept, carries = jax.tree.map(lambda a: a[parent], (tokens, kept, carries))
        tokens = tokens.at[:, n].set(token)
        return n + 1, tokens, token, log_p, kept, carries, done

    def goes_on(loop: Any) -> Any:
        n, _, _, log_p, _, _, done = loop
        # log p only falls, n^α only grows, and coverage is at most 0.
        bound = jnp.max(log_p) / max_length**length_penalty
        return (n < max_length) & ~(jnp.min(done.score) >= bound)

    def over_beam(a: Any) -> Any:
        return jnp.broadcast_to(a, (width, *jnp.shape(a)))

    kept = jax.tree.map(lambda a: jnp.zeros((width, max_length, *a.shape), a.dtype), aux)
    tokens = jnp.full((width, max_length), NO_TOKEN, jnp.int32)
    nothing = jnp.full(width, -jnp.inf, dtype)
    done = _Pool(tokens, jnp.zeros(width, jnp.int32), jnp.full(width, False), nothing, nothing, kept)
    # All places but the first are empty: the same sequence twice would stay twice.
    loop = (jnp.int32(0), tokens, over_beam(start), nothing.at[0].set(0), kept, jax.tree.map(over_beam, carry), done)
    n, tokens, _, log_p, kept, _, done = lax.while_loop(goes_on, advance, loop)
    # Those that go on are cut off at max_length; before it, the search has left them behind.
    log_p = jnp.where(n == max_length, log_p, -jnp.inf)
    cut = _Pool(tokens, jnp.full(width, n), jnp.full(width, False), log_p, score(log_p, n, kept), kept)
    return Beams(*_cleaned(_best(_joined(done, cut), width), depth))


def _attention_of(who: str, attention: Callable | None, coverage: float, aux: Any) -> Callable:
    expect(attention is None or callable(attention), who, "attention, a function of aux, or None", repr(attention))
    read = attention if attention is not None else lambda aux: aux
    if coverage:
        weights = jax.eval_shape(read, aux)
        fits = hasattr(weights, "dtype") and weights.ndim == 1 and jnp.issubdtype(weights.dtype, jnp.floating)
        expect(fits, who, "attention weights (n_source,) for the coverage, from a step that returns "
               "(carry, logits, weights), or by attention=", str(jax.tree.map(lambda a: (a.shape, a.dtype), weights)))
    return read


def _joined(a: _Pool, b: _Pool) -> _Pool:
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)


def _best(pool: _Pool, width: int) -> _Pool:
    """The best first: those that have ended by score, then the others by score; empty places last."""
    is_empty = jnp.isneginf(pool.score)
    order = jnp.lexsort((-pool.score, ~pool.ended, is_empty))[:width]
    return jax.tree.map(lambda a: a[order], pool)


def _cleaned(pool: _Pool, depth: Any) -> _Pool:
    """An empty place has no tokens and no length; aux is zero behind the last step."""
    is_empty = jnp.isneginf(pool.score)
    length = jnp.where(is_empty, 0, pool.length)
    steps = jnp.where(is_empty, 0, pool.length + pool.ended)
    inside = depth < length[:, None]
    aux = jax.tree.map(lambda a: jnp.where((depth < steps[:, None]).reshape(*inside.shape, *[1] * (a.ndim - 2)), a,
                                           jnp.zeros((), a.dtype)), pool.aux)
    return _Pool(jnp.where(inside, pool.tokens, NO_TOKEN), length, pool.ended & ~is_empty,
                 jnp.where(is_empty, -jnp.inf, pool.log_p), pool.score, aux)
