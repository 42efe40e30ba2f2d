"""Batches: the examples of a step are a function of the seed and the step's number, and of nothing else.

    batches = Batches(x, labels, 64, seed=0)
    x, labels = batches(step)

So a run that continues needs no iterator: the step is the position. The epochs, each in an order of its own, make
one endless row of examples. Step s has the B examples from place s B on. An epoch has every example once, and every
batch is full; a batch may hold the end of one epoch and the beginning of the next.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect

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
        who, sizes = "Batches", [np.shape(leaf)[:1] for leaf in jax.tree.leaves((x, labels))]
        expect(len(set(sizes)) == 1 and sizes[0] != () and sizes[0] != (0,), who,
               "x and labels of one length, at least 1", f"{_shapes(x)} and {_shapes(labels)}",
               "select both with the same indices")
        (self.n_examples,) = sizes[0]
        expect(_is_integer(batch_size) and 1 <= batch_size <= self.n_examples, who,
               f"batch_size in 1 .. {self.n_examples}, the number of examples", repr(batch_size))
        expect(_is_integer(seed) and 0 <= seed < 2**32, who, "seed in 0 .. 2**32 - 1", repr(seed))
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
        if self.augment is not None:
            stacked: tuple[Any, Any] = jax.tree.map(
                lambda *leaves: jnp.stack(leaves), *[self(s) for s in range(step, step + n_steps)])
            return stacked
        return self._rows(np.stack([self.indices(s) for s in range(step, step + n_steps)]))

    def indices(self, step: int) -> np.ndarray:
        """The examples of the step, (B,) int64."""
        step = operator.index(step)
        expect(step >= 0, "Batches", "a step that is not negative", str(step))
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = places // self.n_examples, places % self.n_examples
        if not self.shuffle:
            return within
        return np.concatenate([self._order(int(e))[within[epochs == e]] for e in np.unique(epochs)])

    def epoch(self, step: int) -> float:
        """How many epochs there are before the step."""
        return step * self.batch_size / self.n_examples

    def steps(self, epochs: float) -> int:
        """How many steps so many epochs take, rounded up."""
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


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _shapes(tree: Any) -> str:
    return ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(tree))
