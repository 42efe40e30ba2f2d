"""Deliberately wrong backward passes, to find out what a gradient checker sees and what it lets pass.

A right backward pass is a function (cache, dy) -> cotangents. A mutation changes one thing about it,

    one leaf of the cotangents, after it ran        the gradient is scaled, permuted, masked, rounded ...
    dy, before it runs                              for all leaves of the gradient, or for one alone
    one leaf of the cache, before it runs           stale, inverted, off by one ...

so that every op, those to come included, has its mutants without a line of its own. What is left out
and counted: a mutant whose gradient is the right one (a permutation of equal elements), and one whose
gradient another mutant has already (zeroing the only element, and zeroing the leaf).
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect
from jaxnn.cotangents import is_inexact
from jaxnn.gradients.mutations import CACHE, COTANGENT, GRADIENT, TERMS, Kind
from jaxnn.hand_derived import HandDerived, Op
from jaxnn.stage import Bound

__all__ = ["Mutant", "Mutants", "Mutation", "mutants", "with_backward"]

# The same gradient: elements differ by less than this part of the leaf's largest. Both come from one
# backward pass in float64, so that what is no mutation differs by some 1e-16.
SAME = 1e-9
# A leaf below this part of the gradient's largest element is zero but for rounding (a bias ahead of
# batch norm): it is measured by that element.
ZERO_BUT_FOR_ROUNDING = 1e-12


class Mutation(NamedTuple):
    """One change: of what kind, where, and to which leaf of the flattened cotangents, dy or cache."""

    place: str  # "gradient", "exchange", "dy", "terms" or "cache"
    path: str
    kind: Kind
    leaf: int
    other: int = -1  # exchange: the second leaf

    @property
    def name(self) -> str:
        return f"{self.path}: {self.kind.name}"

    def __call__(self, backward: Callable, cache: Any, dy: Any) -> Any:
        """The cotangents of the mutated backward pass."""
        change = self.kind.change
        if self.place == "cache":
            return backward(_replaced(cache, self.leaf, change), dy)
        if self.place == "dy":
            return backward(cache, _replaced(dy, self.leaf, change))
        cotangents = backward(cache, dy)
        if self.place == "terms":  # dy is changed for one leaf of the gradient alone
            wrong = backward(cache, jax.tree.map(lambda d: _changed(d, change), dy))
            return _replaced(cotangents, self.leaf, lambda _: jax.tree.leaves(wrong)[self.leaf])
        if self.place == "exchange":
            leaves, tree = jax.tree.flatten(cotangents)
            leaves[self.leaf], leaves[self.other] = leaves[self.other], leaves[self.leaf]
            return jax.tree.unflatten(tree, leaves)
        return _replaced(cotangents, self.leaf, change)


@dataclasses.dataclass(frozen=True)
class Mutant(Op):
    """An op with a mutated backward pass, its static arguments fixed; all else is the op's own.

    The mutated rule is lifted into JAX as the op's is. A mutation that is not linear in dy is refused
    there, when a gradient is taken; with `reverse_only` it is not, as in a plain `jax.custom_vjp`.
    """

    op: Op
    static: tuple[tuple[str, Any], ...]
    mutation: Mutation
    reverse_only: bool

    @property
    def name(self) -> str:
        return f"{self.op.name}, {self.mutation.name}"

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.op.arguments

    @functools.cached_property
    def lifted(self) -> HandDerived:
        return with_backward(self.op, dict(self.static), self.backward, name=self.name,
                             reverse_only=self.reverse_only)

    def __call__(self, *args: Any) -> Any:
        return self.lifted(*args)

    def forward(self, *args: Any) -> tuple[Any, Any]:
        return self.op.forward(*args, **dict(self.static))

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        return self.mutation(self.op.backward, cache, dy)

    def reference(self, *args: Any) -> Any:
        return self.op.reference(*args, **dict(self.static))


@dataclasses.dataclass(frozen=True)
class Mutants:
    """The mutants of an op at some arguments, to be iterated over, and the names of those left out."""

    mutants: tuple[Mutant, ...]
    equivalent: tuple[str, ...]
    """Not wrong: the gradient is the original's."""
    repeated: tuple[str, ...]
    """Wrong, but just as one before."""

    def __iter__(self) -> Iterator[Mutant]:
        return iter(self.mutants)

    def __len__(self) -> int:
        return len(self.mutants)


def mutants(op: Op, *args: Any, **static: Any) -> Mutants:
    """All mutants that differ from the op, and from one another, at these arguments.

    Whether a mutant differs is decided from the explicit backward passes alone, in float64, on the cache
    of these arguments and one random dy; no gradient checker and no reference has a say.

    Raises:
      InputError: op is not an op, or its backward gives no cotangent at all.

    >>> from jaxnn import sigmoid
    >>> [m.name for m in mutants(sigmoid, jnp.array([0.5, 1.0]))][:2]
    ['sigmoid, x: zero', 'sigmoid, x: its sign flipped']
    """
    expect(isinstance(op, Op), "mutants", "an op", type(op).__name__, "make one with @hand_derived")
    reverse_only = getattr(_unbound(op), "reverse_only", False)
    point = _Point(op, args, static)
    kept: list[Mutant] = []
    equivalent, repeated, seen = [], [], set()
    for mutation in point.mutations():
        gradient = point.gradient(mutation)
        fingerprint = tuple((leaf + 0.0).tobytes() for leaf in gradient)  # + 0.0: -0 is 0
        if point.is_right(gradient):
            equivalent.append(mutation.name)
        elif fingerprint in seen:
            repeated.append(mutation.name)
        else:
            seen.add(fingerprint)
            kept.append(Mutant(op, tuple(sorted(static.items())), mutation, reverse_only))
    return Mutants(tuple(kept), tuple(equivalent), tuple(repeated))


def with_backward(op: Op, static: dict[str, Any], backward: Callable, *, name: str,
                  reverse_only: bool = False) -> HandDerived:
    """The op with its static arguments fixed and another backward pass, lifted as any op."""
    def forward(*args: Any) -> tuple[Any, Any]:
        return op.forward(*args, **static)

    known = inspect.signature(op).parameters  # an argument may have a default, as lstm's initial state
    forward.__name__ = name
    forward.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD,
                          default=known[n].default if n in known else inspect.Parameter.empty)
        for n in op.arguments])
    changed = HandDerived(forward, reverse_only=reverse_only)
    changed.defbackward(backward)
    return changed


class _Point:
    """The right backward pass at one cache and one random dy, in float64."""

    def __init__(self, op: Op, args: tuple, static: dict[str, Any]):
        self.op = op
        # What is static in a cache passes through `jit` in a shell of its own.
        forward = jax.jit(lambda *args: _map_static(_Fixed, op.forward(*args, **static)))
        y, narrow = map(_bare, forward(*args))
        rng = np.random.default_rng(0)
        with jax.enable_x64(True):
            _, wide = map(_bare, forward(*jax.tree.map(_widened, args)))
            # In float64 other random numbers may be drawn, and other elements dropped: then the cache of
            # the arguments as they came is widened.
            self.cache = wide if _same_choices(narrow, wide) else jax.tree.map(_widened, narrow)
            self.dy = jax.tree.map(lambda leaf: _random_like(rng, leaf), y)
            self.backward = jax.jit(lambda cache, dy: op.backward(_bare(cache), dy))
            self.cotangents = self.run(self.cache, self.dy)
        self.right = _leaves(self.cotangents)
        expect(bool(self.right), "mutants", "a backward pass with a cotangent to change", "none of "
               f"'{op.name}'")
        sizes = [_largest(leaf) for leaf in self.right]
        self.scales = [size if size > ZERO_BUT_FOR_ROUNDING * max(sizes) else max(sizes) for size in sizes]

    def run(self, cache: Any, dy: Any) -> Any:
        return self.backward(_map_static(_Fixed, cache), dy)

    def gradient(self, mutation: Mutation) -> list[np.ndarray]:
        with jax.enable_x64(True):
            if mutation.place in ("gradient", "exchange"):  # the right pass need not run again
                return _leaves(mutation(lambda cache, dy: self.cotangents, self.cache, self.dy))
            return _leaves(mutation(self.run, self.cache, self.dy))

    def is_right(self, gradient: list[np.ndarray]) -> bool:
        return all(np.allclose(a, b, rtol=0, atol=SAME * scale, equal_nan=True)
                   for a, b, scale in zip(gradient, self.right, self.scales, strict=True))

    def mutations(self) -> Iterator[Mutation]:
        """Every mutation that applies here, whether it changes anything or not."""
        leaves = _with_paths(self.cotangents, self.op.arguments)
        for i, (path, leaf) in enumerate(leaves):
            yield from (Mutation("gradient", path, kind, i) for kind in GRADIENT if kind.applies(leaf))
            yield from (Mutation("terms", path, kind, i) for kind in TERMS
                        if all(kind.applies(d) for d in jax.tree.leaves(self.dy)))
            yield from (Mutation("exchange", path, Kind(f"exchanged with {leaves[j][0]}", lambda x: x), i, j)
                        for j in range(i + 1, len(leaves))
                        if (leaves[j][1].shape, leaves[j][1].dtype) == (leaf.shape, leaf.dtype))
        for place, tree, kinds in (("dy", self.dy, COTANGENT), ("cache", self.cache, CACHE)):
            for i, (path, leaf) in enumerate(_with_paths((tree,), (place,))):
                yield from (Mutation(place, path, kind, i) for kind in kinds
                            if _is_numeric(leaf) and kind.applies(leaf))


def _replaced(tree: Any, leaf: int, change: Callable) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    leaves[leaf] = _changed(leaves[leaf], change)
    return jax.tree.unflatten(structure, leaves)


def _changed(x: Any, change: Callable) -> Any:
    """The changed leaf, of the same dtype. Known values are changed by NumPy, which compiles nothing."""
    x = x if isinstance(x, jax.core.Tracer) else np.asarray(x)
    with np.errstate(all="ignore"):
        return jnp.asarray(change(x), x.dtype)


def _with_paths(trees: tuple[Any, ...], names: tuple[str, ...]) -> list[tuple[str, Any]]:
    """(params/weight, leaf) for each leaf of trees that have names."""
    def part(entry: Any) -> str:
        return str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", entry))))

    return [("/".join([names[path[0].idx], *map(part, path[1:])]), leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(trees)]


def _is_numeric(leaf: Any) -> bool:
    """An array, but not of PRNG keys; a Python number in a cache is static."""
    return isinstance(leaf, jax.Array | np.ndarray) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))


def _widened(leaf: Any) -> Any:
    if not _is_numeric(leaf) or not is_inexact(leaf):
        return leaf
    return leaf.astype("complex128" if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else "float64")


def _same_choices(a: Any, b: Any) -> bool:
    """Whether the masks and indices in two caches are the same."""
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
               if _is_numeric(x) and not is_inexact(x))


def _random_like(rng: np.random.Generator, leaf: Any) -> Any:
    """Normal; None for an integer, which has no cotangent."""
    if not is_inexact(leaf):
        return None
    x = rng.standard_normal((2, *leaf.shape))
    return jnp.asarray(x[0] + 1j * x[1] if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else x[0])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Fixed:
    """A leaf that is no array, on its way through `jit`."""

    value: Any


def _map_static(shell: Callable, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf if hasattr(leaf, "shape") else shell(leaf), tree)


def _bare(tree: Any) -> Any:
    is_shell = lambda leaf: isinstance(leaf, _Fixed)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf.value if is_shell(leaf) else leaf, tree, is_leaf=is_shell)


def _unbound(op: Op) -> Op:
    while isinstance(op, Bound):
        op = op.op
    return op
