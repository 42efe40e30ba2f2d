"""An op whose backward pass is JAX's own, for a foreign module in the middle of a network."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.recorder import recorder
from jaxnn.hand_derived import Op, Static, as_array, as_static

__all__ = ["by_autodiff"]


def by_autodiff(f: Callable) -> Op:
    """An op whose backward pass is JAX's own: a foreign module in the middle of a network, marked as such in its
    tables.

    f: (*args, **static) -> y, of arrays or pytrees of them. The cache is the arguments, so that the explicit backward
    pass runs f once more; called under a transformation it is f itself.

    >>> cube = by_autodiff(lambda x: x ** 3)
    >>> y, cache = cube.forward(2.0)
    >>> float(cube.backward(cache, 1.0)[0])
    12.0
    """
    return ByAutodiff(f)


class ByAutodiff(Op):
    """An op made by `by_autodiff`."""

    by_autodiff = True

    def __init__(self, f: Callable, n_arguments: int | None = None):
        expect(callable(f) and not isinstance(f, type), "by_autodiff", "a function of arrays",
               f"the class {f.__name__}" if isinstance(f, type) else type(f).__name__)
        functools.update_wrapper(self, f, updated=())
        self._f = f
        self._n_arguments = n_arguments

    @property
    def name(self) -> str:
        return str(getattr(self._f, "__name__", type(self._f).__name__))

    @property
    def arguments(self) -> tuple[str, ...]:
        names = [name for name, p in inspect.signature(self._f).parameters.items()
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return tuple(names[:self._n_arguments])

    def __call__(self, *args: Any, **static: Any) -> Any:
        if (recorded := recorder()) is None:
            return self._f(*args, **static)
        # Arguments that are left out stay out: a default may be a choice, as the axis of a softmax.
        args, static = self._given(args, static)
        # Traced values that f closes over become arguments, for they have a gradient too.
        closed, captured = jax.closure_convert(functools.partial(self._f, **static), *args)
        if not captured:
            return recorded(ByAutodiff(self._f, len(args)), args, static)

        def converted(args: Any, captured: Any) -> Any:
            return closed(*args, *captured)

        converted.__name__ = self.name
        return recorded(ByAutodiff(converted), (args, tuple(captured)), {})

    def forward(self, *args: Any, **static: Any) -> tuple[Any, Any]:
        args, static = self._given(args, static)
        return self._f(*args, **static), (args, Static(tuple(sorted(static.items()))))

    def _given(self, args: tuple, static: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return (jax.tree.map(functools.partial(as_array, self.name, "an argument"), args),
                {name: as_static(value) for name, value in static.items()})

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        args, static = cache
        leaves, tree = jax.tree.flatten(args)
        smooth = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "dtype") and is_inexact(leaf)]

        def of_smooth(moving: list[Any]) -> list[Any]:
            filled = list(leaves)
            for i, x in zip(smooth, moving, strict=True):
                filled[i] = x
            y = self._f(*jax.tree.unflatten(tree, filled), **dict(static.value))
            return [leaf for leaf in jax.tree.leaves(y) if is_inexact(leaf)]

        y, pull_back = jax.vjp(of_smooth, [jnp.asarray(leaves[i]) for i in smooth])
        dy = [d for d in jax.tree.leaves(dy) if is_inexact(d)]
        found = dict(zip(smooth, pull_back([jnp.asarray(d, leaf.dtype) for d, leaf in zip(dy, y, strict=True)])[0],
                         strict=True))
        trees = jax.tree.unflatten(tree, range(len(leaves)))
        return tuple(jax.tree.map(found.get, t) if set(jax.tree.leaves(t)) & found.keys() else None for t in trees)

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join(self.arguments)}) by autodiff>"
