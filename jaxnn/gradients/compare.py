"""Compares a hand-derived gradient with `jax.grad` of the same forward, leaf by leaf.

The error of a leaf is its worst element, in units of eps · max|leaf|: the rounding of its largest
element. So one threshold serves every size and dtype, and one wrong element among thousands is seen,
which a norm of the difference hides.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.hand_derived import Op

__all__ = ["GradientReport", "Leaf", "compare_gradients"]

# Below this many eps of the largest element of the whole gradient all is rounding: the bias before a
# batch norm, say, has the gradient 0, which each side reaches by cancelling other terms.
ROUNDING = 16.0
# Right gradients of ops lie below 2 units, deep networks in float32 below about 30; a gradient that
# is wrong by one part in a thousand, in one element of the leaf's own size, lies above 8,000.
THRESHOLD = 1000.0


class Leaf(NamedTuple):
    """One leaf of the gradient by one route, beside the reference's."""

    path: str
    route: str
    shape: tuple[int, ...]
    error: float
    """Worst error in units of eps · max|leaf|; inf where only one side is finite."""
    element: tuple[int, ...]
    """Where the worst error is, with both values there."""
    value: float
    reference: float


class GradientReport(NamedTuple):
    """The leaves of the gradient, by each route; print it."""

    leaves: tuple[Leaf, ...]
    threshold: float

    @property
    def worst(self) -> Leaf:
        return max(self.leaves, key=lambda leaf: leaf.error)

    @property
    def ok(self) -> bool:
        return self.worst.error <= self.threshold

    def __str__(self) -> str:
        width = max(len(leaf.path) for leaf in self.leaves)
        rows = [f"{'leaf':{width}}  {'route':8}  {'shape':>14}  {'error / (eps max|leaf|)':>23}"]
        rows += [f"{leaf.path:{width}}  {leaf.route:8}  {leaf.shape!s:>14}  {leaf.error:23.2f}"
                 for leaf in self.leaves]
        worst = self.worst
        verdict = "equal to jax.grad of the reference" if self.ok else (
            f"WRONG at {worst.path}{list(worst.element)}: {worst.value:.6g}, reference {worst.reference:.6g}")
        return "\n".join([*rows, f"{verdict} (threshold {self.threshold:g})"])


def compare_gradients(f: Callable, *args: Any, reference: Callable | None = None, key: Any = None,
                      **static: Any) -> GradientReport:
    """Compares the gradients of f with `jax.vjp` of its reference, at one random cotangent.

    Args:
      f: an op, a layer, or any callable. For an op both routes are compared: the explicit
        backward(cache, dy), and the rule as JAX applies it ("lifted").
      args: its arguments; integer leaves and PRNG keys get no gradient and are left out.
      reference: the plain forward; an op brings its own.
      key: PRNG key of the cotangent.
    Raises:
      TypeError: f has no reference, or no argument with a gradient.
    """
    if reference is None:
        if not isinstance(f, Op):
            raise TypeError("compare_gradients expects an op, or reference= beside a plain function; got "
                            f"{type(f).__name__}")
        reference = f.reference
    paths, leaves, tree, smooth = _smooth_leaves(f, args)

    def arguments(moving: list[Any]) -> tuple:
        filled = list(leaves)
        for i, leaf in zip(smooth, moving, strict=True):
            filled[i] = leaf
        return jax.tree.unflatten(tree, filled)

    def by_vjp(function: Callable) -> Callable:
        return lambda moving, dy: jax.vjp(lambda m: function(*arguments(m), **static), moving)[1](dy)[0]

    def by_backward(moving: list[Any], dy: Any) -> list[Any]:
        _, cache = f.forward(*arguments(moving), **static)  # type: ignore[attr-defined]
        dy = jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, dy)
        cotangents: list[Any] = []
        for arg, cotangent in zip(args, f.backward(cache, dy), strict=False):  # type: ignore[attr-defined]
            arg_tree: Any = jax.tree.structure(arg)  # arguments left at their default come last
            nothing = [None] * arg_tree.num_leaves
            cotangents += nothing if cotangent is None else arg_tree.flatten_up_to(cotangent)
        return [jnp.zeros_like(leaves[i]) if cotangents[i] is None else cotangents[i] for i in smooth]

    moving = [leaves[i] for i in smooth]
    y = jax.eval_shape(lambda: reference(*args, **static))
    dy = _random_like(y, jax.random.key(0) if key is None else key)
    routes = {"lifted": by_vjp(f), **({"explicit": by_backward} if isinstance(f, Op) else {})}
    wanted = jax.jit(by_vjp(reference))(moving, dy)
    grads_by = {route: jax.jit(function)(moving, dy) for route, function in routes.items()}
    largest = max(_largest(want) for want in wanted)
    rows = [_compare(paths[i], route, got, want, largest) for route, grads in grads_by.items()
            for i, got, want in zip(smooth, grads, wanted, strict=True)]
    return GradientReport(tuple(rows), THRESHOLD)


def _smooth_leaves(f: Callable, args: tuple) -> tuple[list[str], list[Any], Any, list[int]]:
    names = getattr(f, "arguments", None) or tuple(inspect.signature(f).parameters)
    names = (*names, *(f"args[{i}]" for i in range(len(names), len(args))))
    flat, tree = jax.tree_util.tree_flatten_with_path(args)
    paths = ["/".join([names[path[0].idx], *map(_part, path[1:])]) for path, _ in flat]
    leaves = [leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf) for _, leaf in flat]
    smooth = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    if not smooth:
        raise TypeError("compare_gradients expects at least one floating-point argument; got none")
    return paths, leaves, tree, smooth


def _part(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", entry))))


def _random_like(y: Any, key: Any) -> Any:
    leaves, tree = jax.tree.flatten(y)
    keys = jax.random.split(key, max(len(leaves), 1))

    def one(leaf: Any, key: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return np.zeros(leaf.shape, jax.dtypes.float0)
        return jax.random.normal(key, leaf.shape, leaf.dtype)

    return jax.tree.unflatten(tree, [one(leaf, k) for leaf, k in zip(leaves, keys, strict=True)])


def _compare(path: str, route: str, got: Any, want: Any, largest: float) -> Leaf:
    a, b = _as_float64(got), _as_float64(want)
    if a.shape != b.shape or a.size == 0:
        error = 0.0 if a.shape == b.shape else np.inf
        return Leaf(path, route, a.shape, error, (), np.nan, np.nan)
    difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    difference = np.nan_to_num(difference, nan=np.inf, posinf=np.inf)
    index = np.unravel_index(np.argmax(difference), a.shape)
    scale = max(_largest(want), largest * ROUNDING / THRESHOLD)
    unit = float(jnp.finfo(want.dtype).eps) * (scale or 1.0)
    return Leaf(path, route, a.shape, float(difference[index] / unit), tuple(map(int, index)),
                float(a[index]), float(b[index]))


def _as_float64(x: Any) -> np.ndarray:
    """NumPy has no bfloat16 arithmetic; float32 holds every bfloat16."""
    return np.asarray(x.astype(jnp.promote_types(x.dtype, jnp.float32)), np.float64)


def _largest(x: Any) -> float:
    finite = np.abs(_as_float64(x))
    return float(np.max(finite, initial=0.0, where=np.isfinite(finite)))
