"""From the loss ℓ_e of each element to the loss L: weights, then a sum or a mean over some axes, in every loss alike.

    L = Σ_e w_e ℓ_e / n        n = 1 for a sum; for a mean, how many elements count in it

n does not depend on the weights: where all of them are 2, L is twice as large. An element may be left out, as
one with an ignored label is: it adds nothing to L and is not counted. The mean of no elements is 0.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnn.checks import expect, expect_real, is_integer
from jaxnn.hand_derived import Static
from jaxnn.ops.dtypes import wide

__all__ = ["Reduced", "reduce_backward", "reduce_forward"]


class Reduced(NamedTuple):
    """The cache of `reduce_forward`."""

    weights: Any
    """w, as it was given; None for 1."""
    losses: Any
    """ℓ, which only the gradient of the weights needs; None without weights."""
    n: Any
    """Of a mean, in at least float32 where elements are left out; None for a sum."""
    plan: Static
    """(shape of ℓ, axes)."""


def reduce_forward(who: str, losses: Any, weights: Any, reduction: str, axes: int | Sequence[int] | None, *,
                   counts: Any = None) -> tuple[Any, Reduced]:
    """L = Σ_e w_e ℓ_e / n over the axes.

    Args:
      who: the op's name, for the message.
      losses: ℓ, any shape; 0 for the elements that are left out.
      weights: w, of the shape of ℓ or of its leading axes, whose elements then share one weight: () for one
        example. None for 1.
      reduction: "sum" or "mean".
      axes: those of ℓ that are summed, an integer or several; None for all, () for none.
      counts: which elements count in a mean, booleans of the shape of ℓ; None for all.
    Raises:
      InputError: weights, reduction or axes are not as above.
    """
    expect(reduction in ("sum", "mean"), who, "reduction 'sum' or 'mean'", repr(reduction),
           "pass axes=() for the loss of each element" if reduction == "none" else "")
    rank, shape = jnp.ndim(losses), jnp.shape(losses)
    each = tuple(range(rank)) if axes is None else axes if isinstance(axes, tuple | list) else (axes,)
    fits = all(is_integer(a) and -rank <= a < rank for a in each) and len({a % rank for a in each}) == len(each)
    expect(fits, who, f"axes, different ones of the {rank} of a loss of shape {shape}, or None for all", repr(axes))
    over = tuple(sorted(int(a) % rank for a in each))

    terms = losses
    if weights is not None:
        expect_real(who, "weights", weights)
        expect(jnp.shape(weights) == shape[:jnp.ndim(weights)], who,
               f"weights of the shape of the loss of each element, {shape}, or of its leading axes",
               str(jnp.shape(weights)))
        terms = _along_leading_axes(weights, losses) * losses
    if reduction == "sum":
        n: Any = None
        total = jnp.sum(terms, over) if over else terms
    else:
        # float16 ends at 65,504 and bfloat16 has 8 bits: a sum or a count of many elements is neither's.
        dtype = jnp.promote_types(losses.dtype, jnp.float32)
        if counts is None:
            n = Static(max(math.prod(shape[a] for a in over), 1))
        else:
            n = jnp.maximum(jnp.sum(counts, over, dtype=dtype), 1)
        total = (jnp.sum(terms, over, dtype=dtype) / _number(n)).astype(losses.dtype)
    return total, Reduced(weights, None if weights is None else losses, n, Static((shape, over)))


def reduce_backward(cache: Any, dy: Any) -> tuple[Any, Any]:
    """(dℓ, dw): L is linear in ℓ and in w, so

        dℓ_e = dy w_e / n        dw_e = dy ℓ_e / n, summed over the elements that share w_e

    dℓ is one number, (), or has axes of size 1 where it is the same along an axis. dw is None where there are no
    weights, or where they are integers or booleans. Both are in float32 at least, as are the sums made of them.
    """
    shape, over = cache.plan.value
    dy = wide(dy)
    if cache.n is not None:
        dy = dy / _number(cache.n)
    if len(over) < len(shape):
        dy = jnp.expand_dims(dy, over)
    if cache.weights is None:
        return dy, None
    dlosses = dy * _along_leading_axes(cache.weights, cache.losses)
    if not jnp.issubdtype(jnp.result_type(cache.weights), jnp.floating):
        return dlosses, None
    return dlosses, jnp.sum(dy * cache.losses, tuple(range(jnp.ndim(cache.weights), len(shape))))


def _number(n: Any) -> Any:
    return n.value if isinstance(n, Static) else n


def _along_leading_axes(weights: Any, losses: Any) -> Any:
    shape = jnp.shape(weights)
    return jnp.reshape(weights, shape + (1,) * (losses.ndim - len(shape)) * bool(shape)).astype(losses.dtype)
