"""Character n-grams: a word's vector as the mean of the vectors of its parts, so that a word never read has one too."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect, is_integer

__all__ = ["Parts", "character_parts", "ngrams", "row_of"]


def ngrams(word: str, shortest: int = 3, longest: int = 6) -> list[str]:
    """The character n-grams of <word>, where < and > stand for its ends; the whole of it is none.

    >>> ngrams("where", 3, 3)
    ['<wh', 'whe', 'her', 'ere', 're>']
    """
    marked = f"<{word}>"
    return [marked[i: i + n] for i in range(len(marked)) for n in range(shortest, longest + 1)
            if i + n <= len(marked) and n < len(marked)]


def row_of(ngram: str, n_buckets: int) -> int:
    """The bucket of an n-gram: FNV-1a of its UTF-8 bytes, 32 bits, each byte with its sign, modulo n_buckets."""
    h = 2166136261
    for byte in ngram.encode():
        h = ((h ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return h % n_buckets


class Parts(NamedTuple):
    """The rows of an input table that make each word's vector."""

    rows: np.ndarray
    """(n_words, n_parts) int32: the word's own row, then n_words + bucket of its n-grams; 0 behind them."""
    shares: np.ndarray
    """(n_words, n_parts) float32: 1 / the number of parts; 0 behind them."""
    n_rows: int
    """Of the table: n_words + n_buckets."""
    limits: tuple[int, int, int]
    """(shortest, longest, n_buckets)."""

    def means(self, table: Any) -> np.ndarray:
        """The vectors of the words, (n_words, n_dim) float32."""
        table = np.asarray(table)
        means = np.zeros((len(self.rows), table.shape[1]), np.float32)
        for k in range(self.rows.shape[1]):  # one part of all words after the other, not all parts of them at once
            means += self.shares[:, k: k + 1] * table[self.rows[:, k]]
        return means

    def of(self, word: str, table: Any) -> np.ndarray:
        """The vector of any word, (n_dim,), by its n-grams alone, as that of a word that is in no vocabulary.

        Raises:
          InputError: the word is so short that it has none.
        """
        shortest, longest, n_buckets = self.limits
        found = [len(self.rows) + row_of(part, n_buckets) for part in ngrams(word, shortest, longest)]
        expect(bool(found), "Parts.of", f"a word of at least {max(shortest - 1, 1)} letters", repr(word))
        mean: np.ndarray = np.asarray(table)[found].mean(axis=0)
        return mean


def character_parts(words: Sequence[str], *, shortest: int = 3, longest: int = 6, n_buckets: int = 200_000) -> Parts:
    """The parts of each word: itself, and its character n-grams, of which those that fall into one bucket share a row.

    Args:
      shortest, longest: of the n-grams, in characters, the two marks of the ends counted.
      n_buckets: rows for n-grams. With few, unlike n-grams share a row; with many, the table is large.
    Source: Bojanowski, Grave, Joulin & Mikolov (2017), section 3.2; the hash of the program that they released.
    """
    who = "character_parts"
    for name, value in (("shortest", shortest), ("longest", longest), ("n_buckets", n_buckets)):
        expect(is_integer(value, 1), who, f"{name}, a positive integer", repr(value))
    expect(shortest <= longest, who, "shortest <= longest", f"{shortest} and {longest}")
    expect(len(words) > 0, who, "at least one word", "none")
    buckets: dict[str, int] = {}
    lists = []
    for i, word in enumerate(words):
        own = [i]
        for part in ngrams(word, shortest, longest):
            if part not in buckets:
                buckets[part] = len(words) + row_of(part, n_buckets)
            own.append(buckets[part])
        lists.append(own)
    width = max(map(len, lists))
    rows, shares = np.zeros((len(words), width), np.int32), np.zeros((len(words), width), np.float32)
    for i, own in enumerate(lists):
        rows[i, :len(own)], shares[i, :len(own)] = own, 1 / len(own)
    return Parts(rows, shares, len(words) + n_buckets, (shortest, longest, n_buckets))
