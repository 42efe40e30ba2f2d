"""Which leaves of a large tree a report shows: the wrong ones, the worst few of the others, and the rest by subtree."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxnn.gradients.leaf import Leaf, badness

__all__ = ["MOST_LEAVES", "Selection", "Subtree", "select"]

MOST_LEAVES = 20
"""A report of no more leaves shows them all, in their own order."""
FEW = 5  # leaves that are right and are shown all the same
MOST_SUBTREES = 20


class Subtree(NamedTuple):
    """Leaves that are not shown one by one."""

    path: str
    n_leaves: int
    n_wrong: int
    worst: float
    """The largest error among them, in units."""

    @property
    def words(self) -> str:
        leaves = "1 more leaf" if self.n_leaves == 1 else f"{self.n_leaves:,} more leaves"
        verdict = f"{self.n_wrong:,} WRONG" if self.n_wrong else "right"
        head = f"{self.path}/...: " if self.path else ""
        return f"{head}{leaves}, {verdict}, worst error {self.worst:.3g} units"


class Selection(NamedTuple):
    paths: tuple[str, ...]
    """Those that are shown one by one, the wrong ones first."""
    subtrees: tuple[Subtree, ...]

    @property
    def n_wrong_unshown(self) -> int:
        return sum(subtree.n_wrong for subtree in self.subtrees)


def select(leaves: Sequence[Leaf]) -> Selection:
    """The selection among the leaves of a report."""
    by_path: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        by_path.setdefault(leaf.path, []).append(leaf)
    if len(by_path) <= MOST_LEAVES:
        return Selection(tuple(by_path), ())
    worst = {path: max(some, key=badness) for path, some in by_path.items()}
    ranked = sorted(by_path, key=lambda path: badness(worst[path]), reverse=True)
    wrong = [path for path in ranked if not worst[path].ok]
    shown = [*wrong[:MOST_LEAVES], *[path for path in ranked if worst[path].ok][:FEW]]
    rest = [path for path in by_path if path not in set(shown)]
    return Selection(tuple(shown), tuple(_subtrees(rest, worst)))


def _subtrees(paths: Sequence[str], worst: dict[str, Leaf]) -> list[Subtree]:
    """The paths by their first names: by as many of them as leave few enough subtrees."""
    deepest = max((path.count("/") for path in paths), default=0)
    groups: dict[str, list[str]] = {}
    for depth in range(max(deepest, 1), 0, -1):
        groups = {}
        for path in paths:
            groups.setdefault("/".join(path.split("/")[:-1][:depth]), []).append(path)
        if len(groups) <= MOST_SUBTREES:
            break
    return [Subtree(name, len(group), sum(not worst[path].ok for path in group),
                    max(leaf.error for leaf in (worst[path] for path in group)))
            for name, group in groups.items()]
