"""Ops that move numbers without changing them: flatten, add, concatenate."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, expect, expect_array, is_integer
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import nothing_of, wide_over_batch

__all__ = ["add", "concatenate", "flatten"]


@hand_derived
def flatten(x: Any) -> Any:
    """y = all elements of x in one row, the last axis running fastest: (a, b, c) -> (a b c,).

    >>> flatten(jnp.array([[1, 2], [3, 4]])).tolist()
    [1, 2, 3, 4]
    """
    expect_array(flatten.name, "x", x)
    return jnp.reshape(x, -1), Static(jnp.shape(x))


@flatten.defbackward
def flatten_backward(shape: Any, dy: Any) -> Any:
    """A renaming of the elements; its inverse renames them back."""
    return (jnp.reshape(dy, shape.value),)


@hand_derived
def add(x: Any) -> Any:
    """y = Σ_i x_i, for a tuple, list or namedtuple x of arrays of one shape: joins the branches of `Parallel`.

    >>> add((jnp.array([1, 2]), jnp.array([10, 20]))).tolist()
    [11, 22]
    """
    shapes = _shapes(add.name, x)
    expect(len(shapes) > 0 and len(set(shapes)) == 1, add.name, "a tuple of arrays of one shape", str(shapes))
    parts = [jnp.asarray(part) for part in x]
    dtype = jnp.result_type(*parts)
    if len(parts) > 2 and jnp.issubdtype(dtype, jnp.floating):
        parts = [part.astype(jnp.promote_types(dtype, jnp.float32)) for part in parts]
    return sum(parts[1:], parts[0]).astype(dtype), (nothing_of(*parts), Static(jax.tree.structure(x)))


@add.defbackward
def add_backward(cache: Any, dy: Any) -> Any:
    """∂y/∂x_i is the identity for each i: every branch gets dy."""
    nothing, static = cache
    container = static.value
    return (container.unflatten([_summable(dy, nothing)] * container.num_leaves),)


@hand_derived
def concatenate(x: Any, *, axis: int = -1) -> Any:
    """y = the arrays of the tuple x one after another along an axis: joins the branches of `Parallel`.

    Args:
      x: a tuple, list or namedtuple of arrays, alike in shape but along the axis.
      axis: counted from 0, or from the end by negative numbers.

    >>> concatenate((jnp.array([1, 2]), jnp.array([3]))).tolist()
    [1, 2, 3]
    """
    shapes = _shapes(concatenate.name, x)
    expect(is_integer(axis), concatenate.name, "axis, an integer", repr(axis))
    fits = len(shapes) > 0 and len({len(s) for s in shapes}) == 1 and -len(shapes[0]) <= axis < len(shapes[0])
    others = {tuple(n for i, n in enumerate(s) if i != axis % len(s)) for s in shapes} if fits else set()
    expect(len(others) == 1, concatenate.name, f"a tuple of arrays alike but along axis {axis}", str(shapes))
    static = Static((axis, tuple(s[axis] for s in shapes), jax.tree.structure(x)))
    return jnp.concatenate(tuple(x), axis), (nothing_of(*x), static)


@concatenate.defbackward
def concatenate_backward(cache: Any, dy: Any) -> Any:
    """Each branch gets back the stretch of dy that it filled."""
    nothing, static = cache
    axis, sizes, container = static.value
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return (container.unflatten(jnp.split(_summable(dy, nothing), ends, axis)),)


def _shapes(who: str, x: Any) -> list[tuple[int, ...]]:
    """Those of the arrays of a tuple or a list. An array would be taken for its rows, a dict for its keys."""
    if not isinstance(x, tuple | list):
        shape = f" of shape {jnp.shape(x)}" if hasattr(x, "shape") else ""
        raise InputError(who, f"expects x to be a tuple or a list of arrays; got {type(x).__name__}{shape}")
    for i, part in enumerate(x):
        expect_array(who, f"x[{i}]", part)
    return [jnp.shape(part) for part in x]


def _summable(dy: Any, nothing: Any) -> Any:
    """dy in at least float32, if it is of floating-point numbers: a branch that all examples share, such as codes of
    positions, gets its sum over the batch."""
    return wide_over_batch(dy, nothing) if jnp.issubdtype(dy.dtype, jnp.floating) else dy
