"""One sequence, token by token: the likeliest each time, or drawn at random."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_key, is_integer, is_number
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

__all__ = ["Sequence", "greedy", "sample"]


class Sequence(NamedTuple):
    """tokens[:length] is the sequence, without the start and the end token."""

    tokens: jax.Array
    """(max_length,) int32, -1 behind the last."""
    length: jax.Array
    """int32 ()."""
    ended: jax.Array
    """Whether the end token came; False where max_length cut the sequence off."""
    log_p: jax.Array
    """Σ of `step_log_p`, nats: log p of the sequence, with its end token. NaN where the model gives NaN."""
    step_log_p: jax.Array
    """(max_length,): log p_t of each token, and of the end token behind the last; 0 behind it. Of the model's own
    probabilities: before temperature, penalty, and choice of the likeliest, but among the tokens that are allowed."""
    aux: Any
    """What the step gave beside the logits, (max_length, ...), that which chose the end token among them; zeros behind
    the last step. () where it gave nothing."""
    carry: Any
    """The carry after the last step."""


def greedy(step: Callable, carry: Any, start: Any, *, max_length: int, end: int | None = None, allowed: Any = None,
           repetition_penalty: float = 1.0) -> Sequence:
    """The likeliest token each time, until the end token or max_length.

    Args:
      step: (carry, token) -> (carry, logits (n_tokens,)), or (carry, logits, aux).
      carry: the model's state before the first token, a tree of arrays.
      start: the first token the step gets, an integer (); it is not part of the sequence. For a longer beginning run
        the step over all but its last token first.
      max_length: how many tokens at most.
      end: the token that ends a sequence; None for one of max_length tokens.
      allowed: the tokens that may be chosen, (n_tokens,) of bool, or (max_length, n_tokens) with a row for each
        position; None for all.
      repetition_penalty: θ >= 1; log p of a token that already occurs in the sequence is multiplied by it.
    Returns:
      a Sequence.
    Raises:
      InputError: an argument is not as above.
    Each call traces the step; inside `jax.jit` it is compiled once. Pass params by the carry or by the jitted function.

    >>> after = jnp.array([[0.0, 3, 1], [0, 1, 2], [5, 0, 0]])
    >>> sequence = greedy(lambda carry, token: (carry, after[token]), (), 0, max_length=5, end=0)
    >>> sequence.tokens.tolist(), int(sequence.length), bool(sequence.ended)
    ([1, 2, -1, -1, -1], 2, True)
    """
    return _decode("greedy", step, carry, start, max_length, end, allowed, repetition_penalty,
                   lambda log_p, position: jnp.argmax(log_p))


def sample(step: Callable, carry: Any, start: Any, key: Any, *, max_length: int, end: int | None = None,
           temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, allowed: Any = None,
           repetition_penalty: float = 1.0) -> Sequence:
    """Each token drawn from p^{1 / temperature}, among the k likeliest, or the nucleus, or all.

    Args:
      step, carry, start, max_length, end, allowed, repetition_penalty: as for `greedy`.
      key: a PRNG key; token t is drawn by `fold_in(key, t)`.
      temperature: > 0; 1 draws from the model, near 0 is greedy.
      top_k: only the k likeliest tokens; of equal ones the lower. None for all.
      top_p: only the fewest of the likeliest tokens whose probabilities add up to this much, in (0, 1] (Holtzman et
        al. 2020); after temperature and top_k. None for all.
    Returns:
      a Sequence.
    Raises:
      InputError: an argument is not as above.

    >>> step = lambda carry, token: (carry, jnp.array([0.0, 1.0, 2.0]))
    >>> sample(step, (), 0, jax.random.key(0), max_length=3, top_k=1).tokens.tolist()
    [2, 2, 2]
    """
    who = "sample"
    expect_key(who, key)
    expect(is_number(temperature, 0) and temperature > 0, who, "temperature, a positive number", repr(temperature),
           "use greedy for a temperature of 0" if is_number(temperature) and temperature == 0 else "")
    expect(top_k is None or is_integer(top_k, 1), who, "top_k, a positive integer or None", repr(top_k))
    expect(top_p is None or (is_number(top_p, 0, 1) and top_p > 0), who, "top_p in (0, 1], or None", repr(top_p))

    def choose(log_p: Any, position: Any) -> Any:
        kept = likeliest(log_p / temperature, top_k, top_p)
        return jax.random.categorical(jax.random.fold_in(key, position), kept)

    return _decode(who, step, carry, start, max_length, end, allowed, repetition_penalty, choose)


def likeliest(log_p: Any, top_k: int | None, top_p: float | None) -> Any:
    """log p of the k likeliest tokens, and among them of the nucleus; -inf for the others, (n_tokens,)."""
    if top_k is not None and top_k < log_p.shape[0]:
        _, kept = lax.top_k(log_p, top_k)
        log_p = jnp.full_like(log_p, -jnp.inf).at[kept].set(log_p[kept])
    if top_p is not None and top_p < 1:
        order = jnp.argsort(-log_p)  # stable: of equal tokens the lower
        p = jax.nn.softmax(log_p)[order]
        # A token belongs to the nucleus while those before it add up to less; the likeliest one always does.
        inside = jnp.cumsum(p) - p < top_p
        log_p = jnp.where(jnp.zeros_like(inside).at[order].set(inside), log_p, -jnp.inf)
    return log_p


def penalized(log_p: Any, has_occurred: Any, penalty: float) -> Any:
    """θ log p where a token has occurred. Of log p, and not of the logits as Keskar et al. (2019) write: a constant
    that is added to all logits changes no probability, and should not change what is penalised."""
    return log_p if penalty == 1 else jnp.where(has_occurred, penalty * log_p, log_p)


def expect_penalty(who: str, penalty: Any) -> None:
    expect(is_number(penalty, 1), who, "repetition_penalty, a number >= 1", repr(penalty))


def _decode(who: str, step: Callable, carry: Any, start: Any, max_length: int, end: int | None, allowed: Any,
            penalty: float, choose: Callable) -> Sequence:
    run, carry = split_step(who, step), as_carry(carry)
    start = expect_start(who, start)
    expect_max_length(who, max_length)
    expect_penalty(who, penalty)
    logits, aux = shapes_of(run, carry, start)
    n_tokens = logits.shape[0]
    expect_start(who, start, n_tokens)
    expect_end(who, end, n_tokens)
    may = allowed_at(who, allowed, max_length, n_tokens)

    def one(loop: Any) -> Any:
        position, token, tokens, ended, log_ps, has_occurred, kept, carry = loop
        carry, logits, aux = run(carry, token)
        each = normalized(logits, may(position))
        token = choose(penalized(each, has_occurred, penalty), position).astype(jnp.int32)
        ended = (token == end) if end is not None else ended
        tokens = tokens.at[position].set(jnp.where(ended, NO_TOKEN, token))
        kept = jax.tree.map(lambda all_, a: all_.at[position].set(a), kept, aux)
        return (position + 1, token, tokens, ended, log_ps.at[position].set(each[token]),
                has_occurred.at[token].set(True), kept, carry)

    kept = jax.tree.map(lambda a: jnp.zeros((max_length, *a.shape), a.dtype), aux)
    loop = (jnp.int32(0), start, jnp.full(max_length, NO_TOKEN, jnp.int32), jnp.asarray(False),
            jnp.zeros(max_length, logits.dtype), jnp.zeros(n_tokens, bool), kept, carry)
    position, _, tokens, ended, log_ps, _, kept, carry = lax.while_loop(
        lambda loop: (loop[0] < max_length) & ~loop[3], one, loop)
    return Sequence(tokens, position - ended, ended, jnp.sum(log_ps), log_ps, kept, carry)
