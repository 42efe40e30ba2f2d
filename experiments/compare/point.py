"""One op of the catalogue at one size, prepared for thousands of gradient checks.

The passes of the op are compiled once. What is put around them, a mutation and the lifting of the
rule, runs uncompiled under `jax.disable_jit`: it is a handful of operations, which would otherwise be
compiled anew for every mutant.
"""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.catalogue import Case
from jaxnn.cotangents import is_inexact
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.mutants import Mistake, Mutant, Mutants, Mutation, Place, mutants
from jaxnn.gradients.problem import Problem
from jaxnn.hand_derived import Op
from jaxnn.network import network

__all__ = ["UNCHANGED", "Compiled", "Point", "mean_square"]

UNCHANGED = Mutation(Place.GRADIENT, "all", Mistake("unchanged", lambda x: x), 0)


class Compiled(Op):
    """An op whose passes are compiled, also where what surrounds them is not."""

    def __init__(self, op: Op):
        self.op = op
        self.__signature__ = inspect.signature(op)
        self.reverse_only = getattr(op, "reverse_only", False)
        self._forward, self._backward, self._reference = (
            jax.jit(face) for face in (op.forward, op.backward, op.reference))

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.op.arguments

    def forward(self, *args: Any) -> tuple[Any, Any]:
        with jax.disable_jit(False):
            return self._forward(*args)

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        with jax.disable_jit(False):
            return self._backward(cache, dy)

    def reference(self, *args: Any) -> Any:
        with jax.disable_jit(False):
            return self._reference(*args)


class Point:
    """An op at its arguments, its mutants there, and the op as a function for other checkers.

    Those differentiate numerically, so they are given only what has a derivative: of the arguments the
    leaves for which backward returns a cotangent, of the value the leaves that move with them.
    """

    def __init__(self, case: Case, size: str):
        self.case, self.size, self.args = case, size, case.args(size)
        self.op = network(functools.partial(case.op, **case.static)) if case.static else case.op
        self.compiled = Compiled(self.op)
        self.mutants: Mutants = mutants(self.compiled, *self.args)
        self.unchanged = Mutant(self.compiled, (), UNCHANGED, self.compiled.reverse_only)
        self.problem = Problem(self.op.reference, self.args, {}, names=self.op.arguments)
        self.right = Candidate(self.op, self.problem)
        self.leaves, self.tree = jax.tree.flatten(self.args)
        self.y, cache = self.compiled.forward(*self.args)
        cotangents = self.compiled.backward(cache, jax.tree.map(
            lambda leaf: jnp.ones_like(leaf) if is_inexact(leaf) else None, self.y))
        self.moving = [i for i, leaf in enumerate(self.cotangent_leaves(cotangents)) if leaf is not None]
        self.values = [i for i, leaf in enumerate(jax.tree.leaves(self.y)) if is_inexact(leaf)]
        rng = np.random.default_rng(0)
        xs = self.inputs()
        t = [jnp.asarray(rng.standard_normal(x.shape), x.dtype) for x in xs]
        _, pushed = jax.jvp(self.function(self.compiled.reference), tuple(xs), tuple(t))
        self.values = [i for i, leaf in zip(self.values, pushed, strict=True) if np.any(np.asarray(leaf))]
        self._seen: dict[bytes, list[np.ndarray]] = {}

    def inputs(self) -> list[Any]:
        return [self.leaves[i] for i in self.moving]

    def filled(self, xs: Any) -> tuple[Any, ...]:
        """All arguments, those that move replaced."""
        leaves = list(self.leaves)
        for i, x in zip(self.moving, xs, strict=True):
            leaves[i] = x
        return jax.tree.unflatten(self.tree, leaves)

    def function(self, f: Callable) -> Callable[..., tuple[Any, ...]]:
        """f of the leaves that move, returning the leaves that move."""
        def of_leaves(*xs: Any) -> tuple[Any, ...]:
            leaves = jax.tree.leaves(f(*self.filled(xs)))
            return tuple(leaves[i] for i in self.values)

        return of_leaves

    def cotangent_leaves(self, cotangents: tuple[Any, ...]) -> list[Any]:
        """What backward returned, one entry for each leaf of the arguments."""
        leaves: list[Any] = []
        for arg, cotangent in zip(self.args, cotangents, strict=False):  # arguments left out come last
            tree: Any = jax.tree.structure(arg)
            leaves += [None] * tree.num_leaves if cotangent is None else tree.flatten_up_to(cotangent)
        return leaves

    # The same in NumPy and float64, for PyTorch.

    def value64(self, xs: list[np.ndarray]) -> list[np.ndarray]:
        """The value; kept, as numerical differentiation asks for the same places for every mutant."""
        digest = hashlib.blake2b(b"".join(x.tobytes() for x in xs), digest_size=16).digest()
        if digest not in self._seen:
            with jax.enable_x64(True):
                y, _ = self.compiled.forward(*self.filled(xs))
            leaves = jax.tree.leaves(y)
            self._seen[digest] = [np.array(leaves[i]) for i in self.values]
        return self._seen[digest]

    def pull_back64(self, mutant: Mutant, xs: list[np.ndarray]) -> Callable[[list[Any]], list[Any]]:
        """dy -> the cotangents by a mutant's backward."""
        @functools.cache
        def passed() -> tuple[Any, Any]:
            return self.compiled.forward(*self.filled(xs))

        def pull_back(dys: list[np.ndarray]) -> list[np.ndarray]:
            with jax.enable_x64(True):
                y, cache = passed()
                leaves, tree = jax.tree.flatten(y)
                dy = [jnp.zeros_like(leaf) if is_inexact(leaf) else None for leaf in leaves]
                for i, d in zip(self.values, dys, strict=True):
                    dy[i] = jnp.asarray(d)
                cotangents = self.cotangent_leaves(mutant.backward(cache, jax.tree.unflatten(tree, dy)))
                return [np.array(cotangents[i]) for i in self.moving]

        return pull_back


def mean_square(f: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """The mean over all elements of f's value, squared: the loss that gradients are checked through."""
    def loss(*xs: Any) -> Any:
        ys = f(*xs)
        with jax.disable_jit(False):
            return _mean_square(ys)

    return loss


@jax.jit
def _mean_square(ys: tuple[Any, ...]) -> Any:
    return sum(jnp.sum(y * y) for y in ys) / sum(y.size for y in ys)


def plain(mutant: Mutant) -> Mutant:
    """The mutant as a `jax.custom_vjp`, which takes any backward pass as it is."""
    return dataclasses.replace(mutant, reverse_only=True)
