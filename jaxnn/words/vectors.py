"""Word vectors: similarity, nearest neighbours and analogies."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxnn.checks import InputError, expect, is_integer

__all__ = ["WordVectors", "cosine"]


def cosine(a: Any, b: Any) -> float:
    """a·b / |a| |b|, of two vectors (n,) that are not zero.

    >>> cosine([1.0, 0.0], [1.0, 1.0]).__round__(4)
    0.7071
    """
    a, b = (_vector("cosine", name, v) for name, v in (("a", a), ("b", b)))
    expect(a.shape == b.shape, "cosine", f"b of the shape of a, {a.shape}", str(b.shape))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    expect(norms > 0, "cosine", "vectors that are not zero", "one that is zero and has no direction")
    return float(a @ b) / norms


class WordVectors:
    """Words and their vectors.

    Args:
      words: different texts, not empty.
      matrix: (n_words, n_dim) finite floating-point numbers, row i the vector of word i.
    Raises:
      InputError: a word stands twice, or the matrix is not as above.
    """

    def __init__(self, words: Sequence[str], matrix: Any):
        who = "WordVectors"
        self.words = tuple(words)
        self.matrix = np.asarray(matrix)
        expect(self.matrix.ndim == 2 and self.matrix.dtype.kind == "f" and self.matrix.shape[1] > 0, who,
               "a matrix (n_words, n_dim) of floating-point numbers",
               f"{self.matrix.dtype}{list(self.matrix.shape)}")
        expect(len(self.words) == len(self.matrix), who, f"a row for each of the {len(self.words)} words",
               f"{len(self.matrix)} rows")
        for word in self.words:
            expect(isinstance(word, str) and word != "", who, "words that are texts and not empty", repr(word))
        self.index = {word: i for i, word in enumerate(self.words)}
        if len(self.index) != len(self.words):
            twice = next(word for i, word in enumerate(self.words) if self.index[word] != i)
            raise InputError(who, f"expects each word once; got {twice!r} twice")
        finite = np.isfinite(self.matrix).all(axis=1)
        expect(bool(finite.all()), who, "finite vectors",
               f"NaN or infinity in that of {self.words[int(np.argmin(finite))]!r}" if len(finite) else "")
        self._unit: np.ndarray | None = None

    @property
    def n_dim(self) -> int:
        return int(self.matrix.shape[1])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector of a word, (n_dim,).

        Raises:
          InputError: the word is not known.
        """
        return self.matrix[self._row("WordVectors", word)]

    def rows(self, words: Iterable[str]) -> np.ndarray:
        """The vectors of several words, (n, n_dim)."""
        found = [self._row("WordVectors.rows", word) for word in words]
        return self.matrix[found] if found else self.matrix[:0]

    def known(self, words: Iterable[str]) -> list[str]:
        """Those of the words that have a vector, in their order."""
        return [word for word in words if word in self.index]

    def similarity(self, a: str, b: str) -> float:
        """The cosine of the angle between two words."""
        return cosine(self[a], self[b])

    def nearest(self, query: str | Any, n: int = 10, *, without: Iterable[str] = ()) -> list[tuple[str, float]]:
        """The n words nearest to a word or to a vector (n_dim,), with their cosines, the nearest first.

        Args:
          query: a word, which is itself left out, or a vector.
          without: words to be left out.
        """
        who = "WordVectors.nearest"
        expect(is_integer(n, 1), who, "n, a positive integer", repr(n))
        left_out = {self.index[word] for word in without if word in self.index}
        if isinstance(query, str):
            row = self._row(who, query)
            left_out.add(row)
            query = self.matrix[row]
        scores = self._cosines(who, query)
        scores[sorted(left_out)] = -np.inf
        n = min(n, len(self) - len(left_out))
        best = np.argpartition(-scores, n - 1)[:n] if n else np.zeros(0, int)
        best = best[np.lexsort((best, -scores[best]))]
        return [(self.words[i], float(scores[i])) for i in best]

    def analogy(self, a: str, b: str, c: str, n: int = 1, *, method: str = "sum",
                keep_query: bool = False) -> list[tuple[str, float]]:
        """"a is to b as c is to ...": the n best words d, with their scores, the best first.

        Args:
          method: "sum" for the word nearest to b - a + c, of unit vectors (3CosAdd, Mikolov et al. 2013c);
            "differences" for cos(b - a, d - c), the course's complete_analogy, of vectors as they are.
          keep_query: whether a, b and c may be answers. Without them the answer is not the nearest vector: b or c
            themselves often are, so that figures with the query words left out look better than they are.
        """
        who = "WordVectors.analogy"
        expect(method in ("sum", "differences"), who, "method, 'sum' or 'differences'", repr(method))
        expect(is_integer(n, 1), who, "n, a positive integer", repr(n))
        rows = [self._row(who, word) for word in (a, b, c)]
        if method == "sum":
            unit = self.unit
            scores = self._cosines(who, unit[rows[1]] - unit[rows[0]] + unit[rows[2]])
        else:
            matrix = self.matrix.astype(np.float64)
            way, ways = matrix[rows[1]] - matrix[rows[0]], matrix - matrix[rows[2]]
            norms = np.linalg.norm(way) * np.linalg.norm(ways, axis=1)
            # The word c itself differs from c by nothing, which has no direction.
            scores = np.divide(ways @ way, norms, out=np.full(len(self), -np.inf), where=norms > 0)
        if not keep_query:
            scores[rows] = -np.inf
        best = np.lexsort((np.arange(len(self)), -scores))[:n]
        return [(self.words[i], float(scores[i])) for i in best if scores[i] > -np.inf]

    @property
    def unit(self) -> np.ndarray:
        """The matrix with rows of length 1; a row of zeros stays."""
        if self._unit is None:
            matrix = self.matrix
            with np.errstate(over="ignore", under="ignore"):
                norms = np.linalg.norm(matrix, axis=1, keepdims=True)
            # Squares of numbers such as 1e20 or 1e-25 are beyond float32: such rows are brought near 1 first.
            info = np.finfo(matrix.dtype)
            extreme = ~((norms > info.tiny ** 0.25) & (norms < info.max ** 0.25))[:, 0]
            if extreme.any():
                matrix = matrix.copy()
                largest = np.abs(matrix[extreme]).max(axis=1, keepdims=True)
                matrix[extreme] /= np.where(largest > 0, largest, 1)
                norms[extreme] = np.linalg.norm(matrix[extreme], axis=1, keepdims=True)
            self._unit = np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0)
        return self._unit

    def _cosines(self, who: str, query: Any) -> np.ndarray:
        query = _vector(who, "query", query)
        expect(query.shape == (self.n_dim,), who, f"a query of shape ({self.n_dim},)", str(query.shape))
        norm = np.linalg.norm(query)
        expect(bool(norm > 0), who, "a query that is not zero", "zeros, which have no direction")
        scores: np.ndarray = self.unit @ (query / norm).astype(self.unit.dtype)
        return scores.astype(np.float64)

    def _row(self, who: str, word: Any) -> int:
        row = self.index.get(word) if isinstance(word, str) else None
        if row is None:
            raise InputError(who, f"expects a word that has a vector; got {word!r}, which is not among the "
                             f"{len(self):,}; ask `word in vectors` first, or mind upper and lower case")
        return row

    def __repr__(self) -> str:
        return f"WordVectors({len(self):,} words, {self.n_dim} numbers each)"


def _vector(who: str, name: str, v: Any) -> np.ndarray:
    a = np.asarray(v)
    expect(a.ndim == 1 and a.dtype.kind in "iuf", who, f"{name}, a vector (n,) of numbers",
           f"{a.dtype}{list(a.shape)}")
    expect(bool(np.isfinite(a).all()), who, f"{name} of finite numbers", "NaN or infinity")
    return a.astype(np.float64)
