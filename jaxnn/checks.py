"""What is checked at the edge of every public function, and how a refusal is worded.

A refusal is one sentence: who expected what of which argument, what came, and what to do. Shapes and
dtypes are static, so checking them costs nothing under `jit`; values are looked at only where they
are concrete.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["InputError", "at", "expect", "expect_float", "expect_integers", "expect_like", "expect_shape", "known"]


class InputError(ValueError, TypeError):
    """A refused argument. A combinator that lets it through adds where in the network it happened."""

    def __init__(self, who: str, problem: str):
        super().__init__(who, problem)
        self.who, self.problem = who, problem
        self.layer: str | None = None
        self.path: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f" at '{'/'.join(self.path)}'" if self.path else ""
        return f"{self.layer or self.who}{place} {self.problem}"


@contextmanager
def at(part: str | None = None, *, layer: str | None = None) -> Iterator[None]:
    """Names a part of a network: the scope of its equations, and the place and the layer of an InputError inside."""
    try:
        with contextlib.nullcontext() if part is None else jax.named_scope(part):
            yield
    except InputError as error:
        if layer is not None and error.layer is None and not error.path:
            error.layer = layer
        if part is not None:
            error.path = (part, *error.path)
        raise


def expect(condition: bool, who: str, wanted: str, came: str, todo: str = "") -> None:
    """Raises InputError '{who} expects {wanted}; got {came}; {todo}' unless the condition holds."""
    if not condition:
        raise InputError(who, f"expects {wanted}; got {came}" + (f"; {todo}" if todo else ""))


def expect_shape(who: str, name: str, x: Any, shape: Sequence[int | str], todo: str = "") -> None:
    """Checks x against a shape in which a word stands for any size: ("time", 64)."""
    fits = jnp.ndim(x) == len(shape) and all(
        isinstance(n, str) or n == m for n, m in zip(shape, jnp.shape(x), strict=True))
    if not fits:
        wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
        expect(False, who, f"{name} of shape {wanted}", str(jnp.shape(x)), todo)


def expect_float(who: str, name: str, x: Any) -> None:
    dtype = jnp.result_type(x)
    expect(jnp.issubdtype(dtype, jnp.floating), who, f"floating-point {name}", str(dtype),
           f"convert it: {name}.astype(jnp.float32)")


def expect_integers(who: str, name: str, x: Any) -> None:
    dtype = jnp.result_type(x)
    expect(jnp.issubdtype(dtype, jnp.integer), who, f"integer {name}", str(dtype),
           f"convert it: {name}.astype(jnp.int32)")


def expect_like(who: str, name: str, pattern_name: str, tree: Any, pattern: Any) -> list[Any]:
    """The leaves of a tree that must have the structure and shapes of a pattern; None fits in place of any part."""
    def is_none(x: Any) -> bool:
        return x is None

    prefix: Any = jax.tree.structure(tree, is_leaf=is_none)
    leaves: list[Any] = []
    try:
        for leaf, part in zip(jax.tree.leaves(tree, is_leaf=is_none), prefix.flatten_up_to(pattern), strict=True):
            n = jax.tree.structure(part).num_leaves
            if leaf is not None and n != 1:
                raise ValueError
            leaves += [leaf] * n
    except ValueError:
        expect(False, who, f"{name} with the structure of {pattern_name}, {jax.tree.structure(pattern)}", str(prefix))
    for leaf, (path, like) in zip(leaves, jax.tree_util.tree_leaves_with_path(pattern), strict=True):
        if leaf is not None:
            part = name + jax.tree_util.keystr(path)
            expect(hasattr(leaf, "shape") or isinstance(leaf, bool | int | float | complex), who, f"an array as {part}",
                   type(leaf).__name__)
            expect(jnp.shape(leaf) == like.shape, who, f"{part} of the shape of {pattern_name}, {like.shape}",
                   str(jnp.shape(leaf)))
    return [leaf if leaf is None or hasattr(leaf, "dtype") else jnp.asarray(leaf) for leaf in leaves]


def known(x: Any) -> np.ndarray | None:
    """The values of x where they are known now; None under `jit`.

    Under `vmap` alone an array is wrapped but its values are there: they are all looked at.
    """
    while isinstance(x, jax.core.Tracer):
        # A tracer of `jit` has a `val` too, but that is a variable of the jaxpr.
        x = x.val if hasattr(x, "batch_dim") else None
    return None if x is None else np.asarray(x)
