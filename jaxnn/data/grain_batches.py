"""Batches of a set larger than memory, by Grain: read ahead by its threads, still a function of the step.

    batches = GrainBatches(source, 64, seed=0)          # source[i] -> (x, label) of one example, and len(source)
    train_state, history = fit(train_state, step, batches, steps=batches.steps(epochs=10))
"""

import operator
from collections.abc import Iterator
from typing import Any

from jaxnn.checks import expect, is_integer
from jaxnn.data.extra import import_extra

__all__ = ["GrainBatches"]


class GrainBatches:
    """Batches drawn from a random-access source. Every epoch is in an order of its own; the rest of one
    fills a batch with the beginning of the next.

    Args:
      source: `source[i]` gives (x, label) of one example, as NumPy arrays; `len(source)` how many there are.
      batch_size: examples in a batch.
      seed: of the order.
      threads: how many threads read. ahead: how many batches they read in advance.
    Raises:
      ModuleNotFoundError: Grain is not installed.
    """

    def __init__(self, source: Any, batch_size: int, *, seed: int = 0, threads: int = 4, ahead: int = 4):
        who = "GrainBatches"
        expect(hasattr(source, "__len__") and hasattr(source, "__getitem__"), who,
               "a source with len(source) and source[i]", type(source).__name__)
        self.n_examples, self.batch_size = len(source), batch_size
        expect(is_integer(batch_size, 1) and batch_size <= self.n_examples, who,
               f"batch_size in 1 .. {self.n_examples}, the number of examples", repr(batch_size))
        expect(is_integer(seed, 0) and seed < 2**32, who, "seed in 0 .. 2**32 - 1", repr(seed))
        for name, n in (("threads", threads), ("ahead", ahead)):
            expect(is_integer(n, 1), who, f"{name}, a positive integer", repr(n))
        self._grain = import_extra("grain", who, "grain")
        self._batches = self._grain.MapDataset.source(source).seed(seed).shuffle().repeat().batch(batch_size)
        self._options = self._grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead * batch_size)
        self._next, self._reader = -1, iter(())

    def __call__(self, step: int) -> tuple[Any, Any]:
        """(x, labels) of the step."""
        step = operator.index(step)
        expect(step >= 0, "GrainBatches", "a step that is not negative", str(step))
        if step != self._next:
            self._reader = self._from(step)
        self._next = step + 1
        batch: tuple[Any, Any] = next(self._reader)
        return batch

    def steps(self, epochs: float) -> int:
        """How many steps so many epochs take, rounded up."""
        return -int(-epochs * self.n_examples // self.batch_size)

    def _from(self, step: int) -> Iterator[Any]:
        return iter(self._batches[step:].to_iter_dataset(self._options))
