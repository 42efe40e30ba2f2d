"""Stories with questions as a network reads them, and stories made here, for a run without the files.

The made ones are of the same kind as task 4 of bAbI: two facts, each of which puts one place beside another, and a
question that one of them answers, asked in its own words or the other way round.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.shared.data import real_or_embedded
from jaxnn.checks import expect, is_integer
from jaxnn.data import Question, load_babi
from jaxnn.data.babi import words_of
from jaxnn.text import WordVocabulary, pad

__all__ = ["CHOICES", "OPPOSITE", "Stories", "as_arrays", "as_one_sequence", "load_stories", "made_stories",
           "vocabulary_of"]

CHOICES = ("auto", "babi", "made")
WHY = "the files of bAbI where they are found, else stories made here"
PLACES = ("garden", "kitchen", "office", "hallway", "bedroom", "bathroom")
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
MADE = 1000  # of each part, as many as in the files


class Stories(NamedTuple):
    """Questions to train on and to test with; name: "babi" or "made"."""

    name: str
    train: tuple[Question, ...]
    test: tuple[Question, ...]


def load_stories(name: str, data_dir: Path | None, seed: int) -> Stories:
    """The stories by name, one of CHOICES; "auto" prints a line where made ones take the place of the files.

    Raises:
      MissingData: the files were asked for and are not there.
      BadFile: they are there and damaged.
    """
    def made() -> Stories:
        questions = made_stories(2 * MADE, seed)
        return Stories("made", questions[:MADE], questions[MADE:])

    return real_or_embedded(
        name, "babi", lambda: Stories("babi", load_babi("train", data_dir), load_babi("test", data_dir)), made,
        "stories made here in place of bAbI")


def made_stories(n: int, seed: int) -> tuple[Question, ...]:
    """n questions, each with a story of two facts; the same for the same seed.

    Raises:
      InputError: n is no positive integer, or the seed no integer >= 0.
    """
    expect(is_integer(n, 1), "made_stories", "n, a positive integer", repr(n))
    expect(is_integer(seed, 0), "made_stories", "seed, an integer >= 0", repr(seed))
    rng, ways = np.random.default_rng(seed), list(OPPOSITE)
    found = []
    for _ in range(n):
        a, b, c = (PLACES[i] for i in rng.choice(len(PLACES), 3, replace=False))
        first, second = (ways[i] for i in rng.choice(len(ways), 2))
        # Two places beside the same one, or one beside another beside a third; each question has one answer.
        is_row = rng.random() < 0.5
        if second == (OPPOSITE[first] if is_row else first):
            second = OPPOSITE[second]
        facts = [(a, first, b), (b, second, c)] if is_row else [(a, first, b), (c, second, b)]
        if rng.random() < 0.5:
            facts.reverse()
        place = int(rng.integers(2))
        answer, way, beside = facts[place]
        question = (f"What is {way} of the {beside}?" if rng.random() < 0.5 else
                    f"What is the {beside} {OPPOSITE[way]} of?")
        found.append(Question(tuple(f"The {x} is {w} of the {y}." for x, w, y in facts), question, answer, (place,)))
    return tuple(found)


def vocabulary_of(questions: Sequence[Question]) -> WordVocabulary:
    """The words of the questions, of their facts and answers, behind <pad> (0) and <unk>."""
    texts = [" ".join(words_of(text)) for q in questions for text in (*q.facts, q.question, q.answer)]
    return WordVocabulary.of(texts, special=["<pad>", "<unk>"], unknown="<unk>")


def as_arrays(questions: Sequence[Question], vocabulary: WordVocabulary, n_facts: int,
              n_words: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(x of `memory_network`, with n_facts places of n_words words; labels (n,), the words that are the answers).

    Raises:
      InputError: a story has more facts, or a sentence more words; an answer is no word of the vocabulary.
    """
    facts = np.zeros((len(questions), n_facts, n_words), np.int32)
    for row, q in zip(facts, questions, strict=True):
        expect(len(q.facts) <= n_facts, "as_arrays", f"stories of at most {n_facts} facts", f"one of {len(q.facts)}",
               "leave the oldest out")
        if q.facts:
            row[:len(q.facts)] = _padded(q.facts, vocabulary, n_words)
    x = {"facts": facts, "n_facts": np.array([len(q.facts) for q in questions], np.int32),
         "question": _padded([q.question for q in questions], vocabulary, n_words)}
    return x, np.array([vocabulary.id_of(q.answer) for q in questions], np.int32)


def as_one_sequence(x: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(ids (n, words), lengths (n,)): the words of the facts and of the question in one row, as an LSTM reads them."""
    together = np.concatenate([x["facts"].reshape(len(x["facts"]), -1), x["question"]], 1)
    return pad([row[row != 0] for row in together], together.shape[1])


def _padded(sentences: Sequence[str], vocabulary: WordVocabulary, n_words: int) -> Any:
    return pad([vocabulary.encode(" ".join(words_of(text))) for text in sentences], n_words)[0]
