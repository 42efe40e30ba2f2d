"""How good word vectors are: pairs of words that people have rated, and analogy questions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_numpy, expect
from jaxnn.words.vectors import WordVectors

__all__ = ["AnalogyScore", "PairScore", "analogy_accuracy", "pair_correlation", "spearman"]


MOST_COSINES = 2**24  # at once: 64 MB, whatever the vocabulary


class PairScore(NamedTuple):
    """Cosines beside people's ratings."""

    spearman: float
    """Rank correlation, -1 to 1."""
    n: int
    """How many pairs have two words with vectors; only these count."""
    n_pairs: int
    """How many pairs there are."""
    cosines: np.ndarray
    """(n,)."""
    ratings: np.ndarray
    """(n,)."""


class AnalogyScore(NamedTuple):
    """Questions of one section."""

    right: int
    n: int
    """Questions of which all four words have vectors; only these are asked."""
    n_questions: int


def spearman(a: Any, b: Any) -> float:
    """The correlation of the ranks of a and b, (n,) each, n >= 2; equal values have the mean of their ranks.

    Raises:
      InputError: the shapes differ, n < 2, a value is not finite, or all values of a or b are equal.

    >>> round(spearman([1, 2, 3], [10, 30, 20]), 6)
    0.5
    """
    who = "spearman"
    arrays = [as_numpy(who, name, v) for name, v in (("a", a), ("b", b))]
    shapes = [v.shape for v in arrays]
    expect(arrays[0].ndim == 1 and shapes[0] == shapes[1] and len(arrays[0]) >= 2, who,
           "two arrays (n,), n >= 2", f"{shapes[0]} and {shapes[1]}")
    expect(all(np.isfinite(v).all() for v in arrays), who, "finite values", "NaN or infinity")
    ranks = [_ranks(v) - (len(v) + 1) / 2 for v in arrays]
    norms = [float(np.linalg.norm(r)) for r in ranks]
    expect(min(norms) > 0, who, "values that differ", "an array of equal ones, which have no ranks")
    return float(ranks[0] @ ranks[1] / (norms[0] * norms[1]))


def _ranks(v: np.ndarray) -> np.ndarray:
    _, where, counts = np.unique(v, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: np.ndarray = (last - (counts - 1) / 2)[where]
    return mean


def pair_correlation(vectors: WordVectors, pairs: Iterable[tuple[str, str, float]]) -> PairScore:
    """Spearman's correlation of cosines with people's ratings, over the pairs of known words.

    A word that is not known as it stands is looked for in lower case.

    Raises:
      InputError: fewer than two pairs are known.
    """
    pairs = list(pairs)
    rows = [(_row(vectors, a), _row(vectors, b), rating) for a, b, rating in pairs]
    found = [(a, b, rating) for a, b, rating in rows if a is not None and b is not None]
    expect(len(found) >= 2, "pair_correlation", "at least two pairs of words that have vectors",
           f"{len(found)} of {len(pairs)}")
    a, b, ratings = (np.array(column) for column in zip(*found, strict=True))
    unit = vectors.unit.astype(np.float64)
    cosines = np.einsum("nd,nd->n", unit[a], unit[b])
    return PairScore(spearman(cosines, ratings), len(found), len(pairs), cosines, ratings.astype(float))


def analogy_accuracy(vectors: WordVectors, sections: Mapping[str, Sequence[tuple[str, str, str, str]]], *,
                     keep_query: bool = False) -> dict[str, AnalogyScore]:
    """For each section: of the questions "a is to b as c is to d" how many have d as the word nearest to b - a + c.

    Args:
      sections: their questions, (a, b, c, d) each.
      keep_query: whether a, b and c may be answers; usually they may not, which is a help.
    Source: Mikolov et al. (2013a), section 4; 3CosAdd.
    """
    scores = {}
    unit = vectors.unit
    at_once = max(1, min(512, MOST_COSINES // max(len(unit), 1)))
    for name, questions in sections.items():
        rows = [[_row(vectors, word) for word in question] for question in questions]
        known = np.array([row for row in rows if None not in row], int).reshape(-1, 4)
        right = 0
        for first in range(0, len(known), at_once):
            a, b, c, d = known[first: first + at_once].T
            cosines = (unit[b] - unit[a] + unit[c]) @ unit.T
            if not keep_query:
                for query in (a, b, c):
                    cosines[np.arange(len(query)), query] = -np.inf
            right += int(np.sum(cosines.argmax(axis=1) == d))
        scores[name] = AnalogyScore(right, len(known), len(questions))
    return scores


def _row(vectors: WordVectors, word: str) -> int | None:
    return vectors.index.get(word, vectors.index.get(word.lower()))
