"""Word vectors in the plane."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.shared import figures
from jaxnn.words import WordVectors

__all__ = ["draw_projection"]


def draw_projection(path: Path, vectors: WordVectors, groups: Mapping[str, Sequence[str]], title: str) -> None:
    """The known words of some groups, on the two directions in which the groups' means differ most.

    The principal components of the means, not of all words: what lies within a group does not choose the view. So
    groups look farther apart than they are; the neighbours that are printed have all numbers of the vectors.
    """
    known = {name: vectors.known(words) for name, words in groups.items()}
    known = {name: words for name, words in known.items() if words}
    rows = {name: vectors.unit[[vectors.index[word] for word in words]] for name, words in known.items()}
    figure, ((axes,),) = figures.panels(1, 1, (8.2, 6.6), title)
    if len(rows) >= 2:
        means = np.stack([x.mean(axis=0) for x in rows.values()])
        middle = means.mean(axis=0)
        _, s, vt = np.linalg.svd(means - middle, full_matrices=False)
        share = s**2 / np.sum(s**2)
        for i, (name, x) in enumerate(rows.items()):
            at = (x - middle) @ vt[:2].T
            axes.scatter(at[:, 0], at[:, 1], s=16, color=f"C{i}", label=name)
            for word, (a, b) in zip(known[name], at, strict=True):
                axes.annotate(word, (a, b), fontsize=8, xytext=(3, 2), textcoords="offset points", color=f"C{i}")
        axes.set(xlabel=f"first direction, {share[0]:.0%} of the variance of the groups' means",
                 ylabel=f"second direction, {share[1]:.0%}")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figures.save(figure, path)
