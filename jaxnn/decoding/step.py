"""What all decoders ask of a step function, and which tokens they may choose."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import accepts, expect, expect_integers, expect_shape, is_integer, known

__all__ = ["NO_TOKEN", "allowed_at", "as_carry", "expect_end", "expect_max_length", "expect_start", "normalized",
           "shapes_of", "split_step"]

NO_TOKEN = -1
"""What fills the places behind the last token: no token, so that an embedding that is given it answers NaN."""


def split_step(who: str, step: Callable) -> Callable:
    """(carry, token) -> (carry, logits, aux), aux () where the step gives none.

    Raises:
      InputError: the step returns neither a pair nor three, or no logits of one token.
    """
    expect(accepts(step, 2), who, "a step function, called as step(carry, token)",
           f"the class {step.__name__}" if isinstance(step, type) else type(step).__name__)

    def three(carry: Any, token: Any) -> tuple[Any, Any, Any]:
        out = step(carry, token)
        expect(isinstance(out, tuple) and len(out) in (2, 3), who,
               "a step that returns (carry, logits) or (carry, logits, aux)",
               f"a tuple of {len(out)}" if isinstance(out, tuple) else type(out).__name__)
        carry_out, logits, *aux = out
        is_logits = hasattr(logits, "dtype") and jnp.issubdtype(logits.dtype, jnp.floating) and jnp.ndim(logits) == 1
        expect(is_logits and logits.shape[0] > 0, who, "logits of shape (n_tokens,) from the step",
               f"{getattr(logits, 'dtype', type(logits).__name__)}{list(np.shape(logits))}",
               "decode one sequence, and use jax.vmap for a batch" if np.ndim(logits) > 1 else "")
        before, after = (jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), tree)
                         for tree in (carry, carry_out))
        expect(before == after, who, "a step that returns a carry of the structure, shapes and dtypes of "
               "the one it gets", f"{after} after {before}")
        return carry_out, logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), aux[0] if aux else ()

    return three


def as_carry(carry: Any) -> Any:
    """Python's numbers as arrays, not weakly typed, as the step returns them."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(a)) if not hasattr(a, "dtype") else jnp.asarray(a)
                        if isinstance(a, np.ndarray | np.generic) else a, carry)


def shapes_of(step: Callable, carry: Any, start: Any) -> tuple[Any, Any]:
    """The shapes and dtypes of (logits, aux), read off the step without running it."""
    _, logits, aux = jax.eval_shape(step, carry, start)
    return logits, aux


def expect_start(who: str, start: Any, n_tokens: int | None = None) -> Any:
    """The first token, int32 ()."""
    expect_integers(who, "start", start)
    expect_shape(who, "start", start, (), "decode one sequence, and use jax.vmap for a batch")
    if n_tokens is not None:
        values = known(start)
        expect(values is None or bool(np.all((values >= 0) & (values < n_tokens))), who,
               f"start, a token in 0 .. {n_tokens - 1}", str(values))
    return jnp.asarray(start).astype(jnp.int32)


def expect_max_length(who: str, max_length: Any) -> None:
    expect(is_integer(max_length, 1), who, "max_length, a positive integer", repr(max_length))


def expect_end(who: str, end: Any, n_tokens: int) -> None:
    expect(end is None or (is_integer(end, 0) and end < n_tokens), who,
           f"end, a token in 0 .. {n_tokens - 1}, or None for a sequence that ends at max_length", repr(end))


def allowed_at(who: str, allowed: Any, max_length: int, n_tokens: int) -> Callable:
    """position -> (n_tokens,) of bool, or None where every token is allowed.

    Args:
      allowed: None; (n_tokens,) of bool; or (max_length, n_tokens), a row for each position.
    Raises:
      InputError: another shape or dtype; or, known at the call, a position at which no token is allowed.
    """
    if allowed is None:
        return lambda position: None
    expect(hasattr(allowed, "dtype") and allowed.dtype == bool, who, "allowed, an array of bool",
           str(getattr(allowed, "dtype", type(allowed).__name__)), "True stands for a token that may be chosen")
    expect(jnp.shape(allowed) in ((n_tokens,), (max_length, n_tokens)), who,
           f"allowed of shape ({n_tokens},), or ({max_length}, {n_tokens}) with a row for each position",
           str(jnp.shape(allowed)))
    values = known(allowed)
    if values is not None:
        some = values.any(-1)
        where = "" if some.ndim == 0 else f" at position {np.argmin(some)}"
        expect(bool(np.all(some)), who, "at least one token that is allowed", f"none{where}")
    allowed = jnp.asarray(allowed)
    return lambda position: allowed if allowed.ndim == 1 else allowed[position]


def normalized(logits: Any, mask: Any = None) -> Any:
    """log p over the tokens that are allowed; -inf for the others."""
    return jax.nn.log_softmax(logits if mask is None else jnp.where(mask, logits, -jnp.inf))
