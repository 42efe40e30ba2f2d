"""How near a text is to its reference: BLEU, chrF, edit distance, error rates; how well a model predicts a text.

All are numbers in [0, 1], except error rates, which insertions may carry above 1. Perplexity and bits
per character have no upper bound.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_numpy, expect, is_integer, is_number

__all__ = ["BLEU", "bits_per_character", "bleu", "character_error_rate", "chrf", "edit_distance", "perplexity",
           "sentence_bleu", "word_error_rate"]

SMOOTHINGS = ("none", "exp", "floor", "add-k")


class BLEU(NamedTuple):
    """score = brevity_penalty · exp(mean over n of log precisions[n])."""

    score: float
    """In [0, 1]: a hundredth of what sacreBLEU prints."""
    precisions: tuple[float, ...]
    """Of n-grams, n = 1 ... order, after smoothing; those that count."""
    brevity_penalty: float
    hypothesis_length: int
    """In tokens."""
    reference_length: int
    """In tokens, of the reference nearest in length to each hypothesis."""


def bleu(hypotheses: Sequence[Sequence], references: Sequence[Sequence[Sequence]], *, order: int = 4,
         smoothing: str = "exp", smoothing_value: float | None = None, effective_order: bool = False) -> BLEU:
    """BLEU of a corpus: clipped matches of n-grams are counted over all sentences, then divided.

    Args:
      hypotheses: for each sentence its tokens, words or integers.
      references: for each sentence its references, one or more, each a sequence of tokens. By sentence: not, as in
        sacreBLEU, by the number of the reference.
      order: the longest n-grams.
      smoothing: of an n with no match at all (Chen & Cherry 2014): "exp", 1/2 of a match, 1/4 for the next such n, ...;
        "floor", smoothing_value matches; "add-k", smoothing_value more matches and n-grams for each n > 1; or "none".
      smoothing_value: None for 0.1 with "floor" and 1 with "add-k".
      effective_order: leave out each n for which a hypothesis has no n-gram at all: for single short sentences.
    Returns:
      BLEU. Without any match its score is 0, and so it is for hypotheses that are all empty.
    Raises:
      InputError: no sentence; numbers of sentences that differ; a sentence without a reference, or with an empty one;
        text in place of a sequence of tokens.
    Source: Papineni et al. (2002); equal to sacreBLEU (Post 2018) with tokenize="none", times 1/100.

    >>> round(bleu(["the cat sat on the mat".split()], [["the cat sat on a mat".split()]]).score, 4)
    0.5373
    """
    who = "bleu"
    _expect_options(who, order, smoothing, smoothing_value)
    sentences = _pairs(who, hypotheses, references)
    matches, totals = np.zeros(order, int), np.zeros(order, int)
    n_hypothesis = n_reference = 0
    for tokens, several in sentences:
        n_hypothesis += len(tokens)
        n_reference += min((len(reference) for reference in several), key=lambda n: (abs(n - len(tokens)), n))
        for n in range(order):
            found = ngrams(tokens, n + 1)
            most: Counter = Counter()
            for reference in several:
                most |= ngrams(reference, n + 1)
            matches[n] += sum((found & most).values())
            totals[n] += sum(found.values())
    brevity = 1.0 if n_hypothesis >= n_reference else math.exp(1 - n_reference / n_hypothesis) if n_hypothesis else 0.0
    precisions = _smoothed(matches, totals, smoothing, smoothing_value)
    n_counting = len(precisions) if effective_order else order
    is_zero = not matches.any() or len(precisions) < n_counting or not all(precisions)
    score = 0.0 if is_zero else brevity * math.exp(sum(map(math.log, precisions)) / n_counting)
    return BLEU(score, tuple(precisions), brevity, n_hypothesis, n_reference)


def sentence_bleu(hypothesis: Sequence, references: Sequence[Sequence], *, order: int = 4, smoothing: str = "exp",
                  smoothing_value: float | None = None) -> BLEU:
    """BLEU of one sentence, with the n alone for which it has n-grams; arguments as for `bleu`.

    Their mean is not the BLEU of a corpus.

    >>> sentence_bleu("a b".split(), ["a b".split()]).score
    1.0
    """
    return bleu([hypothesis], [references], order=order, smoothing=smoothing, smoothing_value=smoothing_value,
                effective_order=True)


def _smoothed(matches: Any, totals: Any, smoothing: str, value: float | None) -> list[float]:
    """The precision of each n, up to the first for which there are no n-grams."""
    value = {"floor": 0.1, "add-k": 1.0}.get(smoothing, 0.0) if value is None else value
    precisions, halves = [], 1.0
    for n, (m, total) in enumerate(zip(matches.tolist(), totals.tolist(), strict=True)):
        if smoothing == "add-k" and n:
            m, total = m + value, total + value
        if total == 0:
            break
        if m == 0 and smoothing == "exp":
            halves *= 2
            m = 1 / halves
        elif m == 0 and smoothing == "floor":
            m = value
        precisions.append(m / total)
    return precisions


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, order: int = 6, beta: float = 2.0) -> float:
    """The F-score of character n-grams, over a corpus, in [0, 1].

    Precision and recall are means over n = 1 ... order, of the n that both sides have; recall counts beta times as
    much as precision. White space does not count. Of several references that nearest to the hypothesis counts.

    Args:
      hypotheses: the texts.
      references: for each text its references, one or more.
    Raises:
      InputError: as for `bleu`.
    Source: Popović (2015); equal to sacreBLEU's default, times 1/100.

    >>> round(chrf(["the cat"], [["the bat"]]), 4)
    0.2806
    """
    who = "chrf"
    expect(is_integer(order, 1), who, "order, a positive integer", repr(order))
    expect(is_number(beta, 0) and beta > 0, who, "beta, a positive number", repr(beta))
    counts = np.zeros((order, 3), int)
    for text, several in _pairs(who, hypotheses, references, str):
        each = [_character_counts(text, reference, order) for reference in several]
        counts += max(each, key=lambda c: _f_score(c, beta))
    return _f_score(counts, beta)


def _character_counts(hypothesis: str, reference: str, order: int) -> np.ndarray:
    """(n-grams of the hypothesis, of the reference, in both), (order, 3)."""
    rows = []
    for n in range(1, order + 1):
        a, b = (ngrams("".join(text.split()), n) for text in (hypothesis, reference))
        # Where the reference is shorter than n, what the hypothesis has beyond it is not held against this n.
        rows.append((sum(a.values()) if b else 0, sum(b.values()), sum((a & b).values())))
    return np.array(rows)


def _f_score(counts: np.ndarray, beta: float) -> float:
    both = counts[(counts[:, 0] > 0) & (counts[:, 1] > 0)]
    if not len(both):
        return 0.0
    precision, recall = float(np.mean(both[:, 2] / both[:, 0])), float(np.mean(both[:, 2] / both[:, 1]))
    if precision + recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def ngrams(tokens: Sequence, n: int) -> Counter:
    """How often each run of n tokens occurs."""
    return Counter(tuple(tokens[i: i + n]) for i in range(len(tokens) - n + 1))


def edit_distance(a: Sequence, b: Sequence) -> int:
    """The fewest insertions, deletions and substitutions that make b of a (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting")
    3
    """
    for name, x in (("a", a), ("b", b)):
        expect(hasattr(x, "__len__") and hasattr(x, "__getitem__"), "edit_distance", f"{name}, text or a sequence",
               type(x).__name__)
    numbers: dict[Any, int] = {}
    rows, columns = (np.array([numbers.setdefault(_token(token), len(numbers)) for token in x], int) for x in (a, b))
    steps = np.arange(len(columns) + 1)
    row = steps.copy()
    for i, token in enumerate(rows, 1):
        above = np.minimum(row[1:] + 1, row[:-1] + (columns != token))
        # An insertion comes from the left: the least of what stands there, one more for each step.
        row = np.minimum.accumulate(np.concatenate([[i], above]) - steps) + steps
    return int(row[-1])


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits between words, over all texts, by the number of words in the references.

    Words stand between white space. Case and punctuation count: change them first where they should not.

    Args:
      hypotheses, references: a text each, in the same order.
    Raises:
      InputError: no text, numbers of texts that differ, or no word in any reference.

    >>> word_error_rate(["the cat sat"], ["the cat sat down"])
    0.25
    """
    return _error_rate("word_error_rate", hypotheses, references, str.split, "words")


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits between characters, white space among them, by the number of characters in the references; as
    `word_error_rate`.

    >>> character_error_rate(["cat"], ["cart"])
    0.25
    """
    return _error_rate("character_error_rate", hypotheses, references, list, "characters")


def _error_rate(who: str, hypotheses: Any, references: Any, parts: Callable[[str], list], what: str) -> float:
    for name, texts in (("hypotheses", hypotheses), ("references", references)):
        is_texts = isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts)
        expect(is_texts, who, f"{name}, a list of texts", _kind(texts), "put a single text into a list")
    expect(len(hypotheses) == len(references) and len(references) > 0, who,
           "as many hypotheses as references, at least one", f"{len(hypotheses)} and {len(references)}")
    pairs = [(parts(a), parts(b)) for a, b in zip(hypotheses, references, strict=True)]
    total = sum(len(b) for _, b in pairs)
    expect(total > 0, who, f"references with {what}", "none in any of them", "the rate of nothing is undefined")
    return sum(edit_distance(b, a) for a, b in pairs) / total


def perplexity(losses: Any, n_tokens: int | None = None) -> float:
    """e to the mean loss: of how many tokens, equally likely, the model has to choose. It depends on what a token is:
    compare models of other vocabularies by `bits_per_character`.

    Args:
      losses: nats, -log p of each token, an array of any shape, or sums of them.
      n_tokens: how many tokens they are of; None for as many as there are losses.

    >>> round(perplexity(np.log([4.0, 4.0])), 6)
    4.0
    """
    total, n = _nats("perplexity", losses, n_tokens, "n_tokens")
    return math.exp(total / n)


def bits_per_character(losses: Any, n_characters: int) -> float:
    """The loss of a text in bits, by the number of its characters, whatever the tokens of the model are.

    Args:
      losses: nats, -log p of each token, an array of any shape, or sums of them.
      n_characters: of the text.

    >>> bits_per_character(3 * np.log(2), 6)
    0.5
    """
    total, n = _nats("bits_per_character", losses, n_characters, "n_characters")
    return total / n / math.log(2)


def _nats(who: str, losses: Any, n: Any, name: str) -> tuple[float, int]:
    values = as_numpy(who, "losses", losses)
    expect(values.dtype.kind in "fiu" or str(values.dtype) == "bfloat16", who, "losses, numbers in nats",
           str(values.dtype))
    if n is None:
        n = values.size
    expect(is_integer(n, 1), who, f"{name}, a positive integer", repr(n))
    values = values.astype(np.float64)
    expect(not np.any(values < 0), who, "losses >= 0, -log p", f"{values.min() if values.size else 0:g}",
           "change the sign of log p")
    return float(values.sum()), int(n)


def _pairs(who: str, hypotheses: Any, references: Any, kind: type | None = None) -> Iterable[tuple[Any, list]]:
    """(hypothesis, its references) of each sentence, checked."""
    for name, x in (("hypotheses", hypotheses), ("references", references)):
        expect(isinstance(x, list | tuple), who, f"{name}, a list with an entry for each sentence", _kind(x))
    expect(len(hypotheses) == len(references) and len(hypotheses) > 0, who,
           "references for each hypothesis, by sentence, and at least one sentence",
           f"{len(hypotheses)} hypotheses, and references of {len(references)} sentences")
    pairs = []
    for i, (hypothesis, several) in enumerate(zip(hypotheses, references, strict=True)):
        expect(isinstance(several, list | tuple), who, f"a list of references for sentence {i}", _kind(several))
        expect(len(several) > 0, who, f"a reference for sentence {i}", "none")
        for name, x in (("the hypothesis", hypothesis), *(("a reference", reference) for reference in several)):
            if kind is str:
                expect(isinstance(x, str), who, f"{name} of sentence {i} as text", _kind(x))
            else:
                is_tokens = not isinstance(x, str | bytes) and hasattr(x, "__len__") and hasattr(x, "__getitem__")
                expect(is_tokens, who, f"{name} of sentence {i} as a sequence of tokens", _kind(x),
                       "split it into tokens" if isinstance(x, str) else "")
        for x in several:
            is_full = bool(x.split()) if isinstance(x, str) else len(x) > 0
            expect(is_full, who, f"references of at least one token for sentence {i}", "an empty one",
                   "leave the sentence out")
        if kind is str:
            pairs.append((hypothesis, list(several)))
        else:
            pairs.append(([_token(t) for t in hypothesis], [[_token(t) for t in reference] for reference in several]))
    return pairs


def _token(token: Any) -> Any:
    """An array's element as Python's number, which has a hash."""
    return token.item() if hasattr(token, "item") else token


def _kind(x: Any) -> str:
    return f"{type(x).__name__} {x!r:.40}" if isinstance(x, str | bytes) else type(x).__name__


def _expect_options(who: str, order: Any, smoothing: Any, value: Any) -> None:
    expect(is_integer(order, 1), who, "order, a positive integer", repr(order))
    expect(isinstance(smoothing, str) and smoothing in SMOOTHINGS, who, f"smoothing, one of {', '.join(SMOOTHINGS)}",
           repr(smoothing))
    expect(value is None or (is_number(value, 0) and smoothing in ("floor", "add-k")), who,
           "smoothing_value, a number >= 0 with 'floor' or 'add-k', or None", repr(value))
