"""Dtypes of an op: the one to which its arguments promote, and a wide one in which long sums are kept.

bfloat16 holds 8 bits and float16 11: a sum of ones in them stops at 256 and at 2,048.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = ["nothing_of", "promoted", "wide", "wide_over_batch"]


def promoted(*arrays: Any) -> list[Any]:
    """The arrays of floating-point numbers in the dtype to which they promote; None, integers and booleans as they
    are. A Python number takes the dtype of what it meets, as everywhere in JAX."""
    if len({getattr(a, "dtype", None) for a in arrays if a is not None}) == 1:
        return list(arrays)
    is_float = [hasattr(a, "dtype") and jnp.issubdtype(jnp.result_type(a), jnp.floating) for a in arrays]
    dtype = jnp.result_type(*(a for a, f in zip(arrays, is_float, strict=True) if f))
    return [lax.convert_element_type(a, dtype) if f else a for a, f in zip(arrays, is_float, strict=True)]


def wide(x: Any) -> Any:
    """x in float32, or in float64 if it is. A Python number stays one that takes the dtype of what it meets."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return x if x.dtype == dtype else lax.convert_element_type(x, dtype)


def wide_over_batch(dy: Any, *cached: Any) -> Any:
    """dy in at least float32, for the cotangent of a bias: its sum over the examples of a batch is as wide.

    JAX makes this sum by transposing the push-forward, in which the bias's tangent, one for all examples, meets the
    tangents of each. They meet in the dtype of y, and so would be summed in it. The factor `one` is 1 for each
    example, but in JAX's eyes another one wherever the arrays of the cache are: it spreads the bias's
    tangent over the examples before it is narrowed. XLA removes it.

    Args:
      dy: ∂L/∂y.
      cached: arrays of the cache on which y depends, or `nothing_of` them.
    """
    dtype = jnp.promote_types(dy.dtype, jnp.float32)
    if dtype == dy.dtype:
        return dy
    one = 1 + jnp.sum(nothing_of(*cached), dtype=dtype)
    return dy.astype(dtype) * one


def nothing_of(*arrays: Any) -> Any:
    """An empty array, (0,), that is of each example where one of the arrays is."""
    return jnp.concatenate([jnp.ravel(a)[:0].astype(jnp.float32) for a in arrays])
