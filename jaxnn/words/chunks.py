"""What a step of training reads: chunks of a corpus, each with its windows and its negative samples.

An epoch leaves out occurrences of frequent words by chance, cuts what stays into chunks of `n_centres` words that
follow each other, with `window` more words at each side, and deals the chunks out in an order drawn for the epoch. A
word's window is drawn between 1 and `window`, and ends with its sentence. Everything is a function of the seed and
the number of the epoch.

The words of a chunk share their negative samples: `n_negatives` words drawn once for the chunk stand against each of
its pairs, where each pair would draw its own, and their losses are weighted so that the expected cost is that of
`negatives` samples for each pair. What it changes: the samples of neighbouring pairs are not independent, so that the
gradient has more noise; what it saves: the scores of a chunk are one matrix product, and a row is read once where it
was read for every pair.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect, is_integer
from jaxnn.words.corpus import Corpus, keep_probabilities, noise_probabilities

__all__ = ["Chunks", "Epochs"]


class Chunks(NamedTuple):
    """Chunks of a corpus; the leading axis counts them. Place i of `left` and `right` is place i + window of tokens."""

    tokens: np.ndarray
    """(n_chunks, window + n_centres + window) int32; 0 beyond the ends of the corpus, where no window reaches."""
    left: np.ndarray
    """(n_chunks, n_centres) int32: how many words before each centre are in its window."""
    right: np.ndarray
    """(n_chunks, n_centres) int32: how many after."""
    negatives: np.ndarray
    """(n_chunks, n_negatives) int32."""


class Epochs:
    """The batches of each epoch.

    Args:
      corpus: of which the chunks are cut.
      window: words at each side at most.
      n_centres: words of a chunk that have windows.
      n_negatives: samples that a chunk draws; 0 for none.
      batch_size: chunks to a batch; the last batch of an epoch is filled up with chunks without windows.
      sample: as in `keep_probabilities`.
      seed: of everything that is drawn; 0..2**32-1.
    """

    def __init__(self, corpus: Corpus, *, window: int = 5, n_centres: int = 32, n_negatives: int = 32,
                 batch_size: int = 128, sample: float = 1e-3, seed: int = 0):
        who = "Epochs"
        for name, value, least in (("window", window, 1), ("n_centres", n_centres, 1), ("n_negatives", n_negatives, 0),
                                   ("batch_size", batch_size, 1), ("seed", seed, 0)):
            expect(is_integer(value, least), who, f"{name}, an integer >= {least}", repr(value))
        expect(seed < 2**32, who, "seed below 2**32", repr(seed))
        self.corpus, self.window, self.n_centres, self.n_negatives = corpus, window, n_centres, n_negatives
        self.batch_size, self.seed = batch_size, seed
        self._keep = keep_probabilities(corpus.counts, sample)
        self._noise = np.cumsum(noise_probabilities(corpus.counts))
        starts = np.concatenate([[0], corpus.ends[:-1]])
        self._sentence = np.repeat(np.arange(len(starts), dtype=np.int32), corpus.ends - starts)

    @property
    def steps(self) -> float:
        """How many batches an epoch has on average."""
        return float(self._keep @ self.corpus.counts) / (self.n_centres * self.batch_size)

    def batches(self, epoch: int) -> Iterator[Chunks]:
        """The batches of an epoch, batch_size chunks in each."""
        rng = np.random.default_rng((self.seed, epoch))
        tokens, left, right = self._windows(rng)
        n, width = len(tokens), self.n_centres + 2 * self.window
        n_chunks = max(-(-n // self.n_centres), 1)
        order = rng.permutation(n_chunks)
        tokens = np.pad(tokens, (self.window, n_chunks * self.n_centres - n + self.window))
        left, right = (np.pad(a, (0, n_chunks * self.n_centres - n)) for a in (left, right))
        for first in range(0, n_chunks, self.batch_size):
            chosen = order[first: first + self.batch_size]
            missing = self.batch_size - len(chosen)
            begin = (chosen * self.n_centres)[:, None]
            batch = Chunks(tokens[begin + np.arange(width)], left[begin + np.arange(self.n_centres)],
                           right[begin + np.arange(self.n_centres)], self._negatives(rng, len(chosen)))
            yield Chunks(*(np.pad(a, ((0, missing), (0, 0))) for a in batch)) if missing else batch

    def _windows(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(tokens that stay, how far the window of each reaches to the left, to the right)."""
        stays = rng.random(len(self.corpus.tokens), np.float32) < self._keep[self.corpus.tokens]
        tokens, sentence = self.corpus.tokens[stays], self._sentence[stays]
        place = np.arange(len(tokens), dtype=np.int32)
        is_first = np.concatenate([np.full(min(len(tokens), 1), True), sentence[1:] != sentence[:-1]])
        start = np.maximum.accumulate(np.where(is_first, place, 0)) if len(tokens) else place
        ends = np.append(np.flatnonzero(is_first)[1:], len(tokens)).astype(np.int32)
        last = ends[np.cumsum(is_first) - 1] - 1 if len(tokens) else place
        reach = rng.integers(1, self.window, len(tokens), np.int32, endpoint=True)
        return tokens, np.minimum(reach, place - start), np.minimum(reach, last - place)

    def _negatives(self, rng: np.random.Generator, n: int) -> np.ndarray:
        drawn = np.searchsorted(self._noise, rng.random((n, self.n_negatives)), side="right")
        return np.minimum(drawn, len(self._noise) - 1).astype(np.int32)  # the last sum may round to less than 1


def pairs_of(batch: Any) -> int:
    """How many pairs of a centre and a word beside it a batch has."""
    return int(batch.left.sum()) + int(batch.right.sum())
