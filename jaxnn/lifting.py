"""How a hand-derived rule enters JAX.

A backward pass dy -> (∂y/∂x)ᵀ dy is linear in dy, so its transpose is the push-forward t -> (∂y/∂x) t,
and that is what `custom_jvp` asks for. Reverse mode transposes it once more and is left with the
operations of the backward pass; forward mode runs the transposed ones; all other transformations are
made of these two. Under `vmap` the tangent of an unbatched weight stays unbatched, so that its gradient
is one matrix product over the batch and not one per example.

`custom_vjp` knows reverse mode only and maps the backward pass over the examples one by one. It is
there for a backward pass that JAX cannot transpose.
"""

from collections.abc import Callable, Collection, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxnn.axes import Axes, bound_axes
from jaxnn.checks import InputError
from jaxnn.cotangents import checked_cotangents, is_inexact, leaf_paths, zero_tangent
from jaxnn.linearity import why_not_linear

__all__ = ["check_linear", "lift_forward_mode", "lift_reverse_mode", "push_forward", "split_arrays", "value_and_cache"]

Run = Callable[..., Any]  # (*args) -> (value, cache)
Lift = Callable[[Run, Axes], Callable]  # axes: those bound where the op is called


class _Shapes(NamedTuple):
    """The static part of a push-forward: equal ones are traced once."""

    cache_tree: Any
    cache_rest: tuple[tuple[int, Hashable], ...]  # leaves of the cache that are no arrays, by position
    arg_tree: Any
    args: tuple[tuple[tuple[int, ...], Any], ...]
    moving: tuple[int, ...]  # the leaves of the arguments that have a tangent


def lift_forward_mode(name: str, arguments: tuple[str, ...], backward: Callable,
                      no_gradient: Collection[str] = ()) -> Lift:
    """Makes (run, axes) -> value, differentiated in every mode by the transpose of `backward`.

    no_gradient: the arguments for which backward may return None though they are floating-point.

    The transposed pass is jit-compiled, so that a layer that occurs fifty times is traced once. That
    its result is linear in dy is read off while it is traced.
    """

    def push(shapes: _Shapes, arrays: list[Any], y: Any, tangents: list[Any]) -> list[Any]:
        rest = dict(shapes.cache_rest)
        remaining = iter(arrays)
        leaves = [rest[i] if i in rest else next(remaining) for i in range(shapes.cache_tree.num_leaves)]
        cache = jax.tree.unflatten(shapes.cache_tree, leaves)
        args = jax.tree.unflatten(shapes.arg_tree, [jax.ShapeDtypeStruct(*x) for x in shapes.args])

        def pull_back(dy: Any) -> list[Any]:
            cotangents = checked_cotangents(name, arguments, args, backward(cache, dy), no_gradient)
            return [cotangents[i] for i in shapes.moving]

        paths = leaf_paths(arguments, args)
        check_linear(name, pull_back, y, [paths[i] for i in shapes.moving])
        return push_forward(name, pull_back, y)(tangents)

    push_jit = jax.jit(push, static_argnums=0, inline=True)

    def lift(run: Run, axes: Axes) -> Callable:
        def rule(args: tuple, tangents: tuple) -> tuple[Any, Any]:
            with bound_axes(axes):
                return differentiate(args, tangents)

        def differentiate(args: tuple, tangents: tuple) -> tuple[Any, Any]:
            y, cache = value_and_cache(name, run(*args))
            flat = jax.tree.leaves(tangents, is_leaf=lambda t: isinstance(t, SymbolicZero))
            moving = tuple(i for i, t in enumerate(flat) if not isinstance(t, SymbolicZero) and is_inexact(t))
            arrays, rest, cache_tree = split_arrays(name, cache)
            arg_leaves, arg_tree = jax.tree.flatten(args)
            shapes = _Shapes(cache_tree, rest, arg_tree,
                             tuple((jnp.shape(x), jnp.result_type(x)) for x in arg_leaves), moving)
            _, rough, join = _split_smooth(y)
            pushed = push_jit(shapes, arrays, y, [flat[i] for i in moving])
            return y, join(pushed, [SymbolicZero(jax.typeof(leaf).to_tangent_aval()) for leaf in rough])

        lifted = jax.custom_jvp(_value_of(name, run))
        lifted.defjvp(rule, symbolic_zeros=True)
        return lifted

    return lift


def lift_reverse_mode(name: str, arguments: tuple[str, ...], backward: Callable,
                      no_gradient: Collection[str] = ()) -> Lift:
    """Makes (run, axes) -> value, differentiated in reverse mode by `backward` as it stands."""

    def pull_back(residuals: tuple, dy: Any) -> tuple:
        cache, args = residuals
        dy = jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, dy)
        cotangents = checked_cotangents(name, arguments, args, backward(cache, dy), no_gradient)
        leaves, tree = jax.tree.flatten(args)
        filled = [zero_tangent(x) if c is None else c for c, x in zip(cotangents, leaves, strict=True)]
        return jax.tree.unflatten(tree, filled)

    def lift(run: Run, axes: Axes) -> Callable:
        def forward(*args: Any) -> tuple[Any, Any]:
            with bound_axes(axes):
                y, cache = value_and_cache(name, run(*args))
            return y, (cache, args)

        def backward_in_axes(residuals: tuple, dy: Any) -> tuple:
            with bound_axes(axes):
                return pull_back(residuals, dy)

        lifted = jax.custom_vjp(_value_of(name, run))
        lifted.defvjp(forward, backward_in_axes)
        return lifted

    return lift


def push_forward(name: str, pull_back: Callable, y: Any) -> Callable[[list[Any]], list[Any]]:
    """The transpose of a pull-back: tangents of the arguments -> tangents of y's inexact leaves.

    Args:
      name: the op's, for the message.
      pull_back: dy -> list of cotangents (None: no gradient), linear in dy. Integer leaves of dy
        are None.
      y: the value, for its shapes.
    Raises:
      TypeError: the pull-back holds an operation that JAX cannot transpose.
    """
    smooth, rough, join = _split_smooth(y)

    def push(tangents: list[Any]) -> list[Any]:
        used: list[int] = []

        def of_smooth(dy: list[Any]) -> list[Any]:
            cotangents = pull_back(join(dy, [None] * len(rough)))
            used[:] = [i for i, c in enumerate(cotangents) if c is not None]
            return [cotangents[i] for i in used]

        transposed = jax.linear_transpose(of_smooth, smooth)
        try:
            (pushed,) = transposed([tangents[i] for i in used])
        except (NotImplementedError, AssertionError, ValueError) as error:
            lines = str(error).splitlines()[:1] or [""]
            raise TypeError(
                f"backward of '{name}' cannot be transposed: it is not linear in dy, or it calls what "
                "JAX cannot transpose; if it is linear, use @hand_derived(reverse_only=True) "
                f"({type(error).__name__}: {lines[0]})") from error
        return pushed

    return push


def value_and_cache(name: str, out: Any) -> tuple[Any, Any]:
    """What a forward pass returns, which must be a pair."""
    if not isinstance(out, tuple) or len(out) != 2:
        raise InputError(f"forward of '{name}'", f"returned {type(out).__name__}; expected the pair (value, cache)")
    return out


def _value_of(name: str, run: Run) -> Callable:
    def value(*args: Any) -> Any:
        return value_and_cache(name, run(*args))[0]

    value.__name__ = value.__qualname__ = name
    return value


def check_linear(name: str, pull_back: Callable, y: Any, paths: list[str]) -> None:
    smooth, rough, join = _split_smooth(y)
    used: list[str] = []

    def of_smooth(dy: list[Any]) -> list[Any]:
        cotangents = pull_back(join(dy, [None] * len(rough)))
        used[:] = [p for p, c in zip(paths, cotangents, strict=True) if c is not None]
        return [c for c in cotangents if c is not None]

    reasons = why_not_linear(of_smooth, smooth)
    for path, reason in zip(used, reasons, strict=True):
        if reason is not None:
            raise TypeError(
                f"backward of '{name}' is not linear in dy: in the cotangent of '{path}' {reason}")


def _split_smooth(y: Any) -> tuple[list[Any], list[Any], Callable]:
    """The leaves of y that have a derivative, those that have none, and how to join two such lists."""
    leaves, tree = jax.tree.flatten(y)
    is_smooth = [is_inexact(leaf) for leaf in leaves]

    def join(smooth: list[Any], rough: list[Any]) -> Any:
        s, r = iter(smooth), iter(rough)
        return jax.tree.unflatten(tree, [next(s) if is_s else next(r) for is_s in is_smooth])

    return ([x for x, s in zip(leaves, is_smooth, strict=True) if s],
            [x for x, s in zip(leaves, is_smooth, strict=True) if not s], join)


def split_arrays(name: str, cache: Any) -> tuple[list[Any], tuple[tuple[int, Hashable], ...], Any]:
    """The arrays of a cache, and its other leaves (a stride, a mode), which are fixed at trace time."""
    leaves, tree = jax.tree.flatten(cache)
    is_array = [hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves]
    rest = tuple((i, leaf) for i, leaf in enumerate(leaves) if not is_array[i])
    for _, leaf in rest:
        if not isinstance(leaf, Hashable):
            raise TypeError(f"forward of '{name}' put a {type(leaf).__name__} into its cache; expected "
                            "arrays, and hashable values for what is static")
    return [leaf for leaf, a in zip(leaves, is_array, strict=True) if a], rest, tree
