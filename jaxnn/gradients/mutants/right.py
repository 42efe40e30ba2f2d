"""The right backward pass of an op at one cache and one random dy, in float64, and all mutations that apply there."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect
from jaxnn.cotangents import is_inexact
from jaxnn.gradients.leaf import largest
from jaxnn.gradients.mutants.mistakes import CACHE, COTANGENT, GRADIENT, TERMS, Mistake
from jaxnn.gradients.mutants.mutation import Mutation, Place
from jaxnn.gradients.noise import ZERO
from jaxnn.gradients.trees import path_of
from jaxnn.hand_derived import Op

__all__ = ["RightPass"]

# The same gradient: elements differ by less than this part of the leaf's largest. Both come from one
# backward pass in float64, so that what is no mutation differs by some 1e-16.
SAME = 1e-9


class RightPass:
    """The backward pass of an op at the cache of its arguments, and its cotangents there."""

    def __init__(self, op: Op, args: tuple, static: dict[str, Any]):
        self.op = op
        # What is static in a cache passes through `jit` in a shell of its own.
        forward = jax.jit(lambda *args: _map_static(_Fixed, op.forward(*args, **static)))
        y, narrow = map(_bare, forward(*args))
        rng = np.random.default_rng(0)
        with jax.enable_x64(True):
            _, wide = map(_bare, forward(*jax.tree.map(_widened, args)))
            # In float64 other random numbers may be drawn, and other elements dropped: then the cache of
            # the arguments in their own dtype is widened.
            self.cache = wide if _same_choices(narrow, wide) else jax.tree.map(_widened, narrow)
            self.dy = jax.tree.map(lambda leaf: _random_like(rng, leaf), y)
            self.backward = jax.jit(lambda cache, dy: op.backward(_bare(cache), dy))
            self.cotangents = self.run(self.cache, self.dy)
        self.right = _leaves(self.cotangents)
        expect(bool(self.right), "mutants", "a backward pass with a cotangent to change", "none of "
               f"'{op.name}'")
        sizes = [largest(leaf) for leaf in self.right]
        self.scales = [size if size > ZERO * max(sizes) else max(sizes) for size in sizes]

    def run(self, cache: Any, dy: Any) -> Any:
        return self.backward(_map_static(_Fixed, cache), dy)

    def gradient(self, mutation: Mutation) -> list[np.ndarray]:
        with jax.enable_x64(True):
            if mutation.place in (Place.GRADIENT, Place.EXCHANGE):  # the right pass need not run again
                return _leaves(mutation(lambda cache, dy: self.cotangents, self.cache, self.dy))
            return _leaves(mutation(self.run, self.cache, self.dy))

    def is_right(self, gradient: list[np.ndarray]) -> bool:
        return all(np.allclose(a, b, rtol=0, atol=SAME * scale, equal_nan=True)
                   for a, b, scale in zip(gradient, self.right, self.scales, strict=True))

    def mutations(self) -> Iterator[Mutation]:
        """Every mutation that applies here, whether it changes anything or not."""
        leaves = _with_paths(self.cotangents, self.op.arguments)
        for i, (path, leaf) in enumerate(leaves):
            yield from (Mutation(Place.GRADIENT, path, mistake, i) for mistake in GRADIENT if mistake.applies(leaf))
            yield from (Mutation(Place.TERMS, path, mistake, i) for mistake in TERMS
                        if all(mistake.applies(d) for d in jax.tree.leaves(self.dy)))
            yield from (Mutation(Place.EXCHANGE, path, Mistake(f"exchanged with {leaves[j][0]}", lambda x: x), i, j)
                        for j in range(i + 1, len(leaves))
                        if (leaves[j][1].shape, leaves[j][1].dtype) == (leaf.shape, leaf.dtype))
        for place, tree, mistakes in ((Place.DY, self.dy, COTANGENT), (Place.CACHE, self.cache, CACHE)):
            for i, (path, leaf) in enumerate(_with_paths((tree,), (place.value,))):
                yield from (Mutation(place, path, mistake, i) for mistake in mistakes
                            if _is_numeric(leaf) and mistake.applies(leaf))


def _with_paths(trees: tuple[Any, ...], names: tuple[str, ...]) -> list[tuple[str, Any]]:
    """(params/weight, leaf) for each leaf of trees that have names."""
    return [(path_of(path, names), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(trees)]


def _is_numeric(leaf: Any) -> bool:
    """An array, but not of PRNG keys; a Python number in a cache is static."""
    return isinstance(leaf, jax.Array | np.ndarray) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


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
