"""A corpus as integers: its words by their rank, and its sentences one after the other in a single array."""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import InputError, expect, is_integer, is_number

__all__ = ["Corpus", "encode_corpus", "keep_probabilities", "noise_probabilities"]


class Corpus(NamedTuple):
    """Sentences of words, as integers."""

    words: tuple[str, ...]
    """The vocabulary: the commonest word first, words of equal count in the order of their code points."""
    counts: np.ndarray
    """(n_words,) int64, how often each occurs in the corpus."""
    tokens: np.ndarray
    """(n,) int32: the words of all sentences, one after the other; those outside the vocabulary are left out."""
    ends: np.ndarray
    """(n_sentences,) int64: sentence s has the tokens from ends[s - 1] up to ends[s]."""
    n_rare: int
    """How many words of the text are left out, each occurrence counted."""


def encode_corpus(sentences: Iterable[str], *, min_count: int = 5, size: int | None = None) -> Corpus:
    """The vocabulary of sentences, and the sentences in that vocabulary.

    Args:
      sentences: texts of words between white space; one that is empty, or of rare words alone, has no tokens.
      min_count: how often a word occurs at least; rarer words are left out, and their neighbours become neighbours.
      size: how many words the vocabulary has at most; None for no limit.
    Raises:
      InputError: a sentence is no text; the corpus has no word, or fewer than two words of min_count: then no word
        has another beside it from which a vector could be learnt.

    >>> corpus = encode_corpus(["the cat sat", "the dog sat"], min_count=2)
    >>> corpus.words, corpus.tokens.tolist(), corpus.ends.tolist(), corpus.n_rare
    (('sat', 'the'), [1, 0, 1, 0], [2, 4], 2)
    """
    who = "encode_corpus"
    expect(not isinstance(sentences, str | bytes) and isinstance(sentences, Iterable), who,
           "sentences, a list of texts", type(sentences).__name__, "put a single text into a list")
    expect(is_integer(min_count, 1), who, "min_count, a positive integer", repr(min_count))
    expect(size is None or is_integer(size, 2), who, "size, an integer >= 2, or None", repr(size))
    split: list[list[str]] = []
    for i, text in enumerate(sentences):
        expect(isinstance(text, str), who, f"a text as sentence {i}", type(text).__name__,
               "decode it: text.decode('utf-8')" if isinstance(text, bytes) else "join its words with blanks")
        split.append(text.split())
    counts = Counter(itertools.chain.from_iterable(split))
    expect(bool(counts), who, "a corpus with words", "none", "read another file")
    ranked = sorted((word for word, n in counts.items() if n >= min_count), key=lambda word: (-counts[word], word))
    ranked = ranked[:size]
    expect(len(ranked) >= 2, who, f"at least two words that occur {min_count} times or more",
           f"{len(ranked)} of {len(counts)} different words", "take a larger corpus, or a smaller min_count")
    ids = {word: n for n, word in enumerate(ranked)}
    known = [[ids[word] for word in words if word in ids] for words in split]
    ends = np.cumsum([len(part) for part in known], dtype=np.int64)
    tokens = np.fromiter(itertools.chain.from_iterable(known), np.int32, count=int(ends[-1]))
    return Corpus(tuple(ranked), np.array([counts[word] for word in ranked], np.int64), tokens, ends,
                  counts.total() - len(tokens))


def keep_probabilities(counts: Any, sample: float) -> np.ndarray:
    """(n_words,): how likely an occurrence of each word stays in an epoch, min(1, √(t/f) + t/f).

    f is the word's share of all occurrences, t = sample. Of a word with f <= t every occurrence stays; of "the", with
    f = .05, at t = .001 one in six. What this is for: a frequent word is beside everything, so most of its pairs tell
    nothing new, and leaving some out brings farther words into the window.

    Args:
      counts: (n_words,), positive.
      sample: t; 0 keeps everything.
    Source: Mikolov et al. (2013b), section 2.3, in the form of the program that they released.
    """
    expect(is_number(sample, 0), "keep_probabilities", "sample, a number >= 0", repr(sample))
    counts = _counts("keep_probabilities", counts)
    if sample == 0:
        return np.ones(len(counts))
    ratio = sample * counts.sum() / counts
    return np.minimum(1, np.sqrt(ratio) + ratio)


def noise_probabilities(counts: Any, power: float = 0.75) -> np.ndarray:
    """(n_words,): how likely each word is as a negative sample, its count to the .75, divided by the sum of these.

    Source: Mikolov et al. (2013b), section 2.2.

    >>> noise_probabilities([16, 1]).round(3).tolist()
    [0.889, 0.111]
    """
    expect(is_number(power), "noise_probabilities", "power, a number", repr(power))
    weights = _counts("noise_probabilities", counts) ** power
    return weights / weights.sum()


def _counts(who: str, counts: Any) -> np.ndarray:
    values = np.asarray(counts)
    if not (values.ndim == 1 and values.size and values.dtype.kind in "iuf" and bool(np.all(values > 0))):
        raise InputError(who, f"expects counts, positive numbers (n_words,); got {values.dtype}{list(values.shape)}")
    return values.astype(np.float64)
