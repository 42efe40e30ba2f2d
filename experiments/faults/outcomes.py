"""What became of a fault, counted over a campaign."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.shared.run import say, table

__all__ = ["Tally", "equal", "report", "same"]


class Tally(NamedTuple):
    """A campaign's faults by what became of them.

    whole: the run, or the load, gave what it gives without the fault, bit for bit; of files without checksums: arrays.
    refused: an error of jaxnn's own ended it, which told what is the matter and lost nothing.
    foreign: an error of another kind, or a wait without end.
    wrong: a wrong result, or lost work, and no word about it.
    """

    name: str
    whole: int
    refused: int
    foreign: int
    wrong: int

    @property
    def tried(self) -> int:
        return self.whole + self.refused + self.foreign + self.wrong


def report(tallies: Sequence[Tally]) -> None:
    """Prints the table of several campaigns."""
    rows = [(t.name, t.tried, t.whole, t.refused, t.foreign, t.wrong) for t in tallies]
    say(table(("faults", "tried", "whole", "refused by an own error", "foreign error", "wrong"), rows))


def same(a: Any, b: Any) -> bool:
    """Whether two leaves have the same dtype, shape and bits."""
    a, b = (np.asarray(leaf if isinstance(leaf, np.ndarray | np.generic | int | float) else _numbers(leaf))
            for leaf in (a, b))
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def equal(a: Any, b: Any) -> bool:
    """Whether two trees have the same structure, and leaves of the same bits."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (a, b)]
    return structures[0] == structures[1] and all(map(same, jax.tree.leaves(a), jax.tree.leaves(b)))


def _numbers(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
