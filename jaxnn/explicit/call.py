"""An op at fixed shapes, over the axes of the `vmap`s around it: its passes for all examples at once.

A weight that all examples share keeps one cotangent: the batch's push-forward is transposed, in which the weight's
tangent has no axis of examples, so that its gradient is one matrix product.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxnn.cotangents import checked_cotangents, is_inexact, leaf_paths
from jaxnn.explicit.recorder import recording
from jaxnn.lifting import check_linear, push_forward, split_arrays
from jaxnn.varying import shape_like

__all__ = ["Call", "Level", "call_of", "over_level"]


class Level(NamedTuple):
    """One `vmap` around an op: for each leaf the axis of the examples, None where they share it."""

    args: tuple[int | None, ...]
    value: tuple[int | None, ...]
    cache: tuple[int | None, ...]
    name: Any
    size: int

    def map(self, f: Callable, in_axes: Any, out_axes: Any) -> Callable:
        return jax.vmap(f, in_axes, out_axes, axis_name=self.name, axis_size=self.size)


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """An op with its static arguments, at fixed shapes, over the levels of `vmap` around it."""

    op: Any
    static: tuple[tuple[str, Any], ...]
    tree: Any
    """The structure of the arguments."""
    avals: tuple[Any, ...]
    """Of the arguments' leaves, for one example."""
    y_tree: Any
    y_avals: tuple[Any, ...]
    """Of the value's leaves, for one example."""
    cache_tree: Any
    cache_rest: tuple[tuple[int, Any], ...]
    """Leaves of the cache that are no arrays, by position."""
    out_avals: tuple[Any, ...]
    """Of the value's leaves, over all levels."""
    levels: tuple[Level, ...] = ()

    @property
    def is_param(self) -> list[bool]:
        """Which leaves of the arguments are those of `params`."""
        arguments = jax.tree.unflatten(self.tree, self.avals)
        return [name == "params" for name, argument in zip(self.op.arguments, arguments, strict=False)
                for _ in jax.tree.leaves(argument)]

    def forward(self, *leaves: Any) -> tuple[list[Any], list[Any]]:
        """(the value's leaves, the cache's arrays), each with the axes of its levels in front, the outermost first."""
        def one(*leaves: Any) -> tuple[list[Any], list[Any]]:
            y, cache = self.op.forward(*jax.tree.unflatten(self.tree, leaves), **dict(self.static))
            return list(map(jnp.asarray, jax.tree.leaves(y))), split_arrays(self.op.name, cache)[0]

        each = self._mapped(one, lambda level: level.args, lambda level: (list(level.value), list(level.cache)))
        return each(*leaves)

    @functools.cached_property
    def _backward_traced(self) -> Callable:
        """The backward pass, traced once for all places in a network at which the op has these shapes. The forward
        pass is not: through a `jax.jit`, what its cache keeps of its arguments would not be the same arrays."""
        return jax.jit(self._backward, inline=True)

    def lifted(self, *leaves: Any) -> list[Any]:
        """The value's leaves, differentiated by the op's rule as JAX applies it."""
        def one(*leaves: Any) -> list[Any]:
            return jax.tree.leaves(self.op(*jax.tree.unflatten(self.tree, leaves), **dict(self.static)))

        with recording(None):
            return self._mapped(one, lambda level: level.args, lambda level: list(level.value))(*leaves)

    def backward(self, cache: Sequence[Any], dy: Sequence[Any]) -> list[Any]:
        """One cotangent for each leaf of the arguments, None where there is no gradient.

        dy: for the value's leaves; the entries of integers are ignored.
        """
        smooth = [i for i, aval in enumerate(self.y_avals) if is_inexact(aval)]
        dys = [dy[i].astype(self.y_avals[i].dtype) for i in smooth]
        args = list(cache), dys
        return self._backward_traced(*args) if _are_traced(args) else self._backward(*args)

    def _backward(self, cache: list[Any], dys: list[Any]) -> list[Any]:
        if not self.levels:
            return self._one(cache, dys)
        smooth = [i for i, aval in enumerate(self.y_avals) if is_inexact(aval)]
        used: list[int] = []
        each = self._each_backward(smooth, used)
        jax.eval_shape(each, cache, dys)  # finds which leaves have a gradient
        is_shared = any(level.args[i] is None for level in self.levels for i in used)
        if getattr(self.op, "reverse_only", False) or not is_shared:
            found = each(cache, dys)
        else:
            found = self._transposed_push(smooth, used, cache, dys)
        by_leaf = dict(zip(used, found, strict=True))
        return [by_leaf.get(i) for i in range(len(self.avals))]

    def _each_backward(self, smooth: list[int], used: list[int]) -> Callable:
        """The backward pass of each example by itself; cotangents of what they share are summed."""
        def one(cache: list[Any], dy: list[Any]) -> list[Any]:
            cotangents = self._one(cache, dy)
            used[:] = [i for i, c in enumerate(cotangents) if c is not None]
            return [cotangents[i] for i in used]

        def over(inner: Callable, level: Level) -> Callable:
            values = [level.value[i] for i in smooth]

            def outer(cache: list[Any], dy: list[Any]) -> list[Any]:
                # A value that all examples share is given back once: each answers for its part of it.
                dy = [d / level.size if axis is None else d for d, axis in zip(dy, values, strict=True)]
                found = level.map(inner, (list(level.cache), values), 0)(cache, dy)
                axes = [level.args[i] for i in used]
                return [jnp.sum(c, 0) if axis is None else jnp.moveaxis(c, 0, axis)
                        for c, axis in zip(found, axes, strict=True)]

            return outer

        return functools.reduce(over, self.levels, one)

    def _transposed_push(self, smooth: list[int], used: list[int], cache: list[Any], dy: list[Any]) -> list[Any]:
        """The transpose of the batch's push-forward, in which a shared leaf's tangent is one for all examples."""
        y = [self.y_avals[i] for i in smooth]
        paths = leaf_paths(self.op.arguments, jax.tree.unflatten(self.tree, self.avals))

        def push_one(cache: list[Any], tangents: list[Any]) -> list[Any]:
            def pull_back(dy: list[Any]) -> list[Any]:
                cotangents = self._one(cache, dy)
                return [cotangents[i] for i in used]

            check_linear(self.op.name, pull_back, y, [paths[i] for i in used])
            return push_forward(self.op.name, pull_back, y)(tangents)

        push = self._mapped(push_one, lambda level: (list(level.cache), [level.args[i] for i in used]),
                            lambda level: [level.value[i] for i in smooth])
        shapes = self.arg_shapes()
        (found,) = jax.linear_transpose(lambda tangents: push(cache, tangents), [shapes[i] for i in used])(dy)
        return list(found)

    def arg_shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Of the arguments' leaves, over all levels."""
        shapes = [list(aval.shape) for aval in self.avals]
        for level in self.levels:
            for shape, axis in zip(shapes, level.args, strict=True):
                if axis is not None:
                    shape.insert(axis, level.size)
        return [shape_like(aval, tuple(shape)) for shape, aval in zip(shapes, self.avals, strict=True)]

    def _one(self, cache: list[Any], dy: list[Any]) -> list[Any]:
        """The op's own backward pass, for one example."""
        given = iter(dy)
        dy_tree = jax.tree.unflatten(self.y_tree, [next(given) if is_inexact(a) else None for a in self.y_avals])
        args = jax.tree.unflatten(self.tree, self.avals)
        cotangents = self.op.backward(self.cache_of(cache), dy_tree)
        return checked_cotangents(self.op.name, self.op.arguments, args, cotangents, self.op.no_gradient)

    def cache_of(self, arrays: Sequence[Any]) -> Any:
        """The op's cache, of one example, from its arrays."""
        rest, remaining = dict(self.cache_rest), iter(arrays)
        leaves = [rest[i] if i in rest else next(remaining) for i in range(self.cache_tree.num_leaves)]
        return jax.tree.unflatten(self.cache_tree, leaves)

    def _mapped(self, f: Callable, in_axes: Callable[[Level], Any], out_axes: Callable[[Level], Any]) -> Callable:
        for level in self.levels:
            f = level.map(f, in_axes(level), out_axes(level))
        return f


def _are_traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


@functools.lru_cache(maxsize=4096)
def call_of(op: Any, static: tuple, tree: Any, avals: tuple, surroundings: Any) -> Call:
    """The call of an op at these shapes. surroundings: what else its trace depends on."""
    found: dict[str, Any] = {}

    def value(*leaves: Any) -> list[Any]:
        y, cache = op.forward(*jax.tree.unflatten(tree, leaves), **dict(static))
        y_leaves, found["y_tree"] = jax.tree.flatten(y)
        _, found["cache_rest"], found["cache_tree"] = split_arrays(op.name, cache)
        return list(map(jnp.asarray, y_leaves))

    with recording(None):
        y_avals = _out_avals(value, avals)
    return Call(op, static, tree, avals, y_avals=y_avals, out_avals=y_avals, **found)


@functools.lru_cache(maxsize=4096)
def over_level(call: Call, args: tuple[int | None, ...], name: Any, size: int, axes: Any) -> Call:
    """The call with one more level around it. Which leaves of its value and its cache differ between the examples is
    found by tracing: a mean over the examples is one for all, and so is a weight that is kept for backward."""
    shapes = call.arg_shapes()
    for n, axis in enumerate(args):
        if axis is not None:
            shape = list(shapes[n].shape)
            shape.insert(axis, size)
            shapes[n] = shape_like(shapes[n], tuple(shape))
    differs: dict[int, bool] = {}
    counts: list[int] = []

    def one(*leaves: Any) -> list[Any]:
        value, cache = call.forward(*leaves)
        counts[:] = [len(value), len(cache)]
        return [_watched(leaf, n, differs) for n, leaf in enumerate((*value, *cache))]

    with recording(None):
        jax.eval_shape(jax.vmap(one, args, 0, axis_name=name, axis_size=size), *shapes)
        axes_of = [0 if differs.get(n) else None for n in range(sum(counts))]
        level = Level(args, tuple(axes_of[:counts[0]]), tuple(axes_of[counts[0]:]), name, size)
        over = dataclasses.replace(call, levels=(*call.levels, level))
        return dataclasses.replace(over, out_avals=_out_avals(lambda *leaves: over.forward(*leaves)[0], shapes))


def _watched(leaf: Any, n: int, differs: dict[int, bool]) -> Any:
    """leaf; whether it differs between the examples is noted when `vmap` comes to it."""
    @custom_vmap
    def watched(leaf: Any) -> Any:
        return leaf

    @watched.def_vmap
    def rule(axis_size: int, in_batched: list[bool], leaf: Any) -> tuple[Any, bool]:
        differs[n] = bool(in_batched[0])
        return leaf, in_batched[0]

    return watched(leaf)


def _out_avals(f: Callable, shapes: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(var.aval for var in jax.make_jaxpr(f)(*shapes).jaxpr.outvars)
