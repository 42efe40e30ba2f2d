"""Cotangents as a backward pass returns them, checked against the arguments they belong to."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.varying import varying_like

__all__ = ["checked_cotangents", "is_inexact", "leaf_paths", "zero_tangent"]


def checked_cotangents(name: str, arguments: tuple[str, ...], args: tuple, cotangents: Any,
                       no_gradient: Collection[str] = ()) -> list[Any]:
    """One cotangent for each leaf of the arguments, cast to its dtype; None where there is no gradient.

    Args:
      name, arguments: of the op, for the messages.
      args: the arguments, or their shapes.
      cotangents: what backward returned.
      no_gradient: the arguments that the op declares to have none.
    Raises:
      TypeError: wrong in number, structure, shape or dtype; or None for floating-point numbers.
    """
    who = f"backward of '{name}'"
    is_tuple = isinstance(cotangents, tuple | list)
    if not is_tuple or len(cotangents) != len(args):
        actual = f"{len(cotangents)} cotangents" if is_tuple else type(cotangents).__name__
        raise TypeError(
            f"{who} returned {actual}; expected a tuple of {len(args)}, one for each of "
            f"({', '.join(arguments)}), None where there is no gradient")
    leaves: list[Any] = []
    for argument, arg, cotangent in zip(arguments, args, cotangents, strict=True):
        tree: Any = jax.tree.structure(arg)
        try:
            leaves += [None] * tree.num_leaves if cotangent is None else tree.flatten_up_to(cotangent)
        except ValueError:
            raise TypeError(
                f"{who}: the cotangent of '{argument}' has structure {jax.tree.structure(cotangent)}; "
                f"the argument has {tree}") from None
    declared = [argument in no_gradient for argument, arg in zip(arguments, args, strict=True)
                for _ in jax.tree.leaves(arg)]
    return [_checked(who, path, x, cotangent, none) for path, x, cotangent, none in zip(
        leaf_paths(arguments, args), jax.tree.leaves(args), leaves, declared, strict=True)]


def _checked(who: str, path: str, x: Any, cotangent: Any, none: bool) -> Any:
    if cotangent is None:
        if is_inexact(x) and not none:
            argument = path.partition("[")[0].partition(".")[0]
            raise TypeError(
                f"{who}: the cotangent of '{path}' is None; the argument is {x.dtype}, which would never be trained: "
                f"return its cotangent, zeros if y does not depend on it, or declare that the argument has none: "
                f'@hand_derived(no_gradient=("{argument}",))')
        return None
    if not hasattr(cotangent, "shape"):
        if not isinstance(cotangent, bool | int | float | complex):
            raise TypeError(f"{who}: the cotangent of '{path}' is a {type(cotangent).__name__}; the "
                            "argument is an array")
        cotangent = jnp.asarray(cotangent)
    dtype, found = x.dtype, cotangent.dtype
    if not is_inexact(x):
        if found == jax.dtypes.float0:
            return None
        raise TypeError(
            f"{who}: the cotangent of '{path}' is {found}{list(cotangent.shape)}; the argument is {dtype}, "
            "which has no gradient: return None in its place")
    if cotangent.shape != x.shape:
        raise TypeError(f"{who}: the cotangent of '{path}' has shape {cotangent.shape}; the argument has "
                        f"shape {x.shape}")
    loses_part = jnp.issubdtype(found, jnp.complexfloating) and not jnp.issubdtype(dtype, jnp.complexfloating)
    if not jnp.issubdtype(found, jnp.inexact) or loses_part:
        raise TypeError(f"{who}: the cotangent of '{path}' has dtype {found}; the argument has dtype {dtype}")
    return varying_like(lax.convert_element_type(cotangent, dtype), x)


def leaf_paths(arguments: tuple[str, ...], args: tuple) -> list[str]:
    """The name of each leaf: the argument's, and where in it the leaf is."""
    return [name + jax.tree_util.keystr(path) for name, arg in zip(arguments, args, strict=True)
            for path, _ in jax.tree_util.tree_leaves_with_path(arg)]


def is_inexact(x: Any) -> bool:
    """Whether x has a derivative: floating-point or complex."""
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))


def zero_tangent(x: Any) -> Any:
    """The zero of the space of x's derivatives, which for an integer is JAX's empty float0."""
    return jnp.zeros_like(x) if is_inexact(x) else np.zeros(jnp.shape(x), jax.dtypes.float0)
