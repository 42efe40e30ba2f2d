"""Batches: the examples of a step are a function of the seed and the step's number, and of nothing else.

    batches = Batches(x, labels, 64, seed=0)
    x, labels = batches(step)

So a run that continues needs no iterator: the step is the position. The epochs, each in an order of its own, make
one endless row of examples. Step s has the B examples from place s B on. An epoch has every example once, and every
batch is full; a batch may hold the end of one epoch and the beginning of the next.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import accepts, expect, expect_bool, is_integer, is_number
from jaxnn.hand_derived import expect_held

__all__ = ["Batches"]


class Batches:
    """Batches of a set in memory.

    Args:
      x, labels: pytrees of arrays (n_examples, ...).
      batch_size: B, at most n_examples.
      seed: of the order; 0..2**32-1.
      shuffle: False keeps the examples in their order.
      augment: (key, x, labels) -> (x, labels) of a batch, with a key of its own for each step.
      on_device: keep the set where JAX computes; False leaves it in the host's memory and sends batches.
    """

    def __init__(self, x: Any, labels: Any, batch_size: int, *, seed: int = 0, shuffle: bool = True,
                 augment: Callable | None = None, on_device: bool = True):
        who = "Batches"
        for name, tree in (("x", x), ("labels", labels)):
            for leaf in jax.tree.leaves(tree):
                if not hasattr(leaf, "dtype"):
                    expect(False, who, f"{name}, a tree of arrays", type(leaf).__name__, "convert it: np.asarray(...)")
                if isinstance(leaf, np.ndarray):
                    expect_held(who, name, leaf)
        sizes = [np.shape(leaf)[:1] for leaf in jax.tree.leaves((x, labels))]
        expect(len(set(sizes)) == 1 and sizes[0] != () and sizes[0] != (0,), who,
               "x and labels of one length, at least 1", f"{_shapes(x)} and {_shapes(labels)}",
               "select both with the same indices")
        (self.n_examples,) = sizes[0]
        expect(is_integer(batch_size, 1) and batch_size <= self.n_examples, who,
               f"batch_size in 1 .. {self.n_examples}, the number of examples", repr(batch_size))
        expect(is_integer(seed, 0) and seed < 2**32, who, "seed in 0 .. 2**32 - 1", repr(seed))
        expect_bool(who, "shuffle", shuffle)
        expect_bool(who, "on_device", on_device)
        expect(augment is None or accepts(augment, 3), who, "augment, a function (key, x, labels) -> (x, labels)",
               repr(augment))
        self.batch_size, self.seed, self.shuffle, self.augment = int(batch_size), int(seed), shuffle, augment
        self._on_device = on_device
        self._set = jax.tree.map(jnp.asarray if on_device else np.asarray, (x, labels))
        self._order = functools.lru_cache(maxsize=3)(self._order_of)

    def __call__(self, step: int) -> tuple[Any, Any]:
        """(x, labels) of the step."""
        batch = self._rows(self.indices(step))
        return batch if self.augment is None else self.augment(self._key(1, step), *batch)

    def many(self, step: int, n_steps: int) -> tuple[Any, Any]:
        """(x, labels) of n_steps steps from `step` on, stacked: (n_steps, B, ...)."""
        expect(is_integer(n_steps, 1), "Batches", "n_steps, a positive integer", repr(n_steps))
        _expect_step(step)
        if self.augment is not None:
            stacked: tuple[Any, Any] = jax.tree.map(
                lambda *leaves: jnp.stack(leaves), *[self(s) for s in range(step, step + n_steps)])
            return stacked
        return self._rows(np.stack([self.indices(s) for s in range(step, step + n_steps)]))

    def indices(self, step: int) -> np.ndarray:
        """The examples of the step, (B,) int64."""
        _expect_step(step)
        step = int(step)
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = places // self.n_examples, places % self.n_examples
        if not self.shuffle:
            return within
        return np.concatenate([self._order(int(e))[within[epochs == e]] for e in np.unique(epochs)])

    def epoch(self, step: int) -> float:
        """How many epochs there are before the step."""
        _expect_step(step)
        return step * self.batch_size / self.n_examples

    def steps(self, epochs: float) -> int:
        """How many steps so many epochs take, rounded up."""
        expect(is_number(epochs, 0), "Batches", "epochs, a number >= 0", repr(epochs))
        return -int(-epochs * self.n_examples // self.batch_size)

    def _rows(self, indices: np.ndarray) -> tuple[Any, Any]:
        if self._on_device:
            gathered: tuple[Any, Any] = _gather(self._set, indices)
            return gathered
        return jax.tree.map(lambda a: a[indices], self._set)

    def _order_of(self, epoch: int) -> np.ndarray:
        return np.asarray(jax.random.permutation(self._key(0, epoch), self.n_examples))

    def _key(self, use: int, number: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), use), number)


@jax.jit
def _gather(tree: Any, indices: Any) -> Any:
    return jax.tree.map(lambda a: a[indices], tree)


def _expect_step(step: Any) -> None:
    is_step = is_integer(step, 0) or (hasattr(step, "dtype") and jnp.issubdtype(step.dtype, jnp.integer)
                                      and jnp.ndim(step) == 0 and step >= 0)
    expect(is_step, "Batches", "a step that is not negative, an integer", repr(step))


def _shapes(tree: Any) -> str:
    return ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(tree))
