"""One change of a backward pass: which mistake, and where it is made."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.mutants.mistakes import Mistake

__all__ = ["Mutation", "Place"]


class Place(enum.Enum):
    """What the mistake is made in."""

    GRADIENT = "gradient"
    """One leaf of the cotangents."""
    EXCHANGE = "exchange"
    """Two leaves of the cotangents, each in place of the other."""
    DY = "dy"
    """dy, for all leaves of the gradient."""
    TERMS = "terms"
    """dy, for one leaf of the gradient alone."""
    CACHE = "cache"
    """One leaf of the cache."""


class Mutation(NamedTuple):
    """One change: which mistake, where, and of which leaf of the flattened cotangents, dy or cache."""

    place: Place
    path: str
    mistake: Mistake
    leaf: int
    other: int = -1
    """Of an exchange: the second leaf."""

    @property
    def name(self) -> str:
        return f"{self.path}: {self.mistake.name}"

    @property
    def kind(self) -> str:
        """The mistake and its place, whichever leaf it is made in."""
        if self.place is Place.EXCHANGE:
            return "exchanged with another leaf"
        return f"{self.place.value}: {self.mistake.name}"

    def __call__(self, backward: Callable, cache: Any, dy: Any) -> Any:
        """The cotangents of the mutated backward pass."""
        change = self.mistake.change
        if self.place is Place.CACHE:
            return backward(_replaced(cache, self.leaf, change), dy)
        if self.place is Place.DY:
            return backward(cache, _replaced(dy, self.leaf, change))
        cotangents = backward(cache, dy)
        if self.place is Place.TERMS:
            wrong = backward(cache, jax.tree.map(lambda d: _changed(d, change), dy))
            return _replaced(cotangents, self.leaf, lambda _: jax.tree.leaves(wrong)[self.leaf])
        if self.place is Place.EXCHANGE:
            leaves, tree = jax.tree.flatten(cotangents)
            leaves[self.leaf], leaves[self.other] = leaves[self.other], leaves[self.leaf]
            return jax.tree.unflatten(tree, leaves)
        return _replaced(cotangents, self.leaf, change)


def _replaced(tree: Any, leaf: int, change: Callable) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    leaves[leaf] = _changed(leaves[leaf], change)
    return jax.tree.unflatten(structure, leaves)


def _changed(x: Any, change: Callable) -> Any:
    """The changed leaf, of the same dtype. Known values are changed by NumPy, which compiles nothing."""
    x = x if isinstance(x, jax.core.Tracer) else np.asarray(x)
    with np.errstate(all="ignore"):
        return jnp.asarray(change(x), x.dtype)
