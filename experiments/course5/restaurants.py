"""Restaurant dialogs as a network reads them, and dialogs made here, for a run without the files.

An example is a turn: the facts are all utterances of its dialog so far, and what the knowledge base gave, the oldest
first; the question is what the user says; the label is the right response's place among the candidates. A word more in
each fact tells who speaks: the user, the system or the knowledge base.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.shared.data import real_or_embedded
from jaxnn.checks import expect, is_integer
from jaxnn.data import RestaurantDialogs, Turn, load_dialogs
from jaxnn.data.dialogs import PROPERTIES, SILENCE
from jaxnn.text import WordVocabulary, pad

__all__ = ["CHOICES", "SPEAKERS", "WHY", "Examples", "as_examples", "encoded", "entities_of",
           "load_restaurants", "made_dialogs", "memory_of", "most_words", "rows_of", "vocabulary_of"]

CHOICES = ("auto", "babi", "made")
WHY = "the files of dialog bAbI where they are found, else dialogs made here"
SPEAKERS = USER, SYSTEM, KNOWLEDGE = "<user>", "<system>", "<knowledge>"
SPECIAL = ("<pad>", "<unk>", *SPEAKERS)
MADE = 120  # of each part

Dialogs = Sequence[Sequence[Turn]]


class Examples(NamedTuple):
    """The turns of some dialogs.

    texts: (distinct ones, words), each fact and each question once, filled up with 0; row 0 is empty.
    facts: for each turn its memory, (n,) rows of texts, the oldest first.
    questions: (turns,), rows of texts: what the user says.
    labels: (turns,), places among the candidates.
    dialogs: (turns,), which dialog a turn is of.
    """

    texts: np.ndarray
    facts: list[np.ndarray]
    questions: np.ndarray
    labels: np.ndarray
    dialogs: np.ndarray


def load_restaurants(name: str, task: int, data_dir: Path | None, seed: int) -> tuple[str, RestaurantDialogs]:
    """("babi" or "made", the dialogs of a task); "auto" prints a line where made ones take the place of the files.

    Raises:
      MissingData: the files were asked for and are not there.
      BadFile: they are there and damaged.
    """
    return real_or_embedded(name, "babi", lambda: ("babi", load_dialogs(task, data_dir)),
                            lambda: ("made", made_dialogs(MADE, seed)),
                            "dialogs made here, of task 1 alone, in place of dialog bAbI")


# Arrays.


def vocabulary_of(dialogs: RestaurantDialogs) -> WordVocabulary:
    """The words of the training dialogs, of the candidates and of the knowledge base, behind <pad> (0), <unk> and who
    speaks. So a place that no dialog of the training names has a row, and the row is as it was drawn."""
    texts = [text for dialog in dialogs.train for turn in dialog for text in (*turn.facts, turn.user)]
    texts += [*dialogs.candidates, *(" ".join((name, *values.values())) for name, values in dialogs.knowledge.items()),
              " ".join(PROPERTIES), SILENCE]
    return WordVocabulary.of(texts, special=SPECIAL, unknown="<unk>")


def rows_of(texts: Sequence[str], vocabulary: WordVocabulary) -> np.ndarray:
    """(texts, words) of words, filled up with 0."""
    return pad([vocabulary.encode(text) for text in texts])[0]


def entities_of(candidates: Sequence[str], dialogs: RestaurantDialogs, vocabulary: WordVocabulary) -> np.ndarray:
    """(candidates, 7): the word of each kind that a candidate has, of cuisine, place, price, rating, phone, address and
    number of people; 0 for none. The kinds are those of the knowledge base, as in the publication."""
    kinds = {value: kind for values in dialogs.knowledge.values() for kind, value in enumerate(
        values[key] for key in PROPERTIES)}
    found = np.zeros((len(candidates), len(PROPERTIES)), np.int32)
    for row, text in zip(found, candidates, strict=True):
        for word in text.split():
            if word in kinds:
                row[kinds[word]] = vocabulary.id_of(word)
    return found


def memory_of(turns: Sequence[Turn], facts: Sequence[str]) -> list[str]:
    """The facts of the next turn, each with who speaks in front: those of the turns so far, then new ones of the
    knowledge base."""
    texts = []
    for turn in turns:
        texts += [*_known(turn.facts), *_spoken(turn)]
    return [*texts, *_known(facts)]


def encoded(text: str, vocabulary: WordVocabulary) -> np.ndarray:
    """(n,), the words of a fact, of which the first tells who speaks; or of a question, before which nobody stands."""
    speaker, _, rest = text.partition(" ")
    if speaker not in SPEAKERS:
        return vocabulary.encode(text)
    return np.concatenate([[vocabulary.id_of(speaker)], vocabulary.encode(rest)]).astype(np.int32)


def most_words(*parts: Dialogs) -> int:
    """Of a fact, with who speaks in front."""
    texts = {text for dialogs in parts for dialog in dialogs for turn in dialog
             for text in (*turn.facts, turn.user, turn.response)}
    return 1 + max(len(text.split()) for text in texts)


def as_examples(dialogs: Dialogs, candidates: Sequence[str], vocabulary: WordVocabulary, n_words: int) -> Examples:
    """Raises InputError where a text has more than n_words words."""
    places, rows = {text: i for i, text in enumerate(candidates)}, {"": 0}
    facts, questions, labels, owners = [], [], [], []

    def row_of(text: str) -> int:
        return rows.setdefault(text, len(rows))

    for number, dialog in enumerate(dialogs):
        memory: list[int] = []
        for turn in dialog:
            memory += map(row_of, _known(turn.facts))
            facts.append(np.array(memory, np.int32))
            questions.append(row_of(turn.user))
            labels.append(places[turn.response])
            owners.append(number)
            memory += map(row_of, _spoken(turn))
    texts = pad([encoded(text, vocabulary) for text in rows], n_words)[0]
    return Examples(texts, facts, *(np.array(numbers, np.int32) for numbers in (questions, labels, owners)))


def _known(facts: Sequence[str]) -> list[str]:
    return [f"{KNOWLEDGE} {fact}" for fact in facts]


def _spoken(turn: Turn) -> list[str]:
    return [f"{USER} {turn.user}", f"{SYSTEM} {turn.response}"]


# Dialogs made here.

CUISINES = ("italian", "french", "indian", "spanish"), ("thai", "korean")
LOCATIONS = ("paris", "rome", "london", "madrid"), ("tokyo", "seoul")
NUMBERS, PRICES = ("two", "four", "six", "eight"), ("cheap", "moderate", "expensive")
ASKED = {"cuisine": "any preference on a type of cuisine", "location": "where should it be",
         "number": "how many people would be in your party", "price": "which price range are looking for"}
TOLD = {"cuisine": ("i love {} food", "with {} cuisine"), "location": ("in {}", "{} please"),
        "number": ("we will be {}", "for {} people please"),
        "price": ("in a {} price range please", "i am looking for a {} restaurant")}
GREETINGS = ("hi", "hello", "good morning")


def made_dialogs(n: int, seed: int) -> RestaurantDialogs:
    """n dialogs in each part, of the kind of task 1: the system asks for what is missing, and calls the knowledge base.
    Cuisines and places of the part test_oov stand in no other; the same for the same seed."""
    expect(is_integer(n, 1), "made_dialogs", "n, a positive integer", repr(n))
    expect(is_integer(seed, 0), "made_dialogs", "seed, an integer >= 0", repr(seed))
    rng = np.random.default_rng(seed)

    def pick(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    def one(part: int) -> tuple[Turn, ...]:
        slots = {"cuisine": pick(CUISINES[part]), "location": pick(LOCATIONS[part]), "number": pick(NUMBERS),
                 "price": pick(PRICES)}
        given = [name for name in slots if rng.random() < 0.5]
        request = " ".join(["can you book a table", *(TOLD[name][1].format(slots[name]).replace(" please", "")
                                                      for name in given)])
        turns = [(pick(GREETINGS), "hello what can i help you with today"), (request, "i'm on it")]
        utterance = SILENCE
        for name in slots:
            if name not in given:
                turns.append((utterance, ASKED[name]))
                utterance = pick(TOLD[name]).format(slots[name])
        turns += [(utterance, "ok let me look into some options for you"),
                  (SILENCE, f"api_call {' '.join(slots.values())}")]
        return tuple(Turn((), user, response) for user, response in turns)

    train, dev, test, test_oov = (tuple(one(part) for _ in range(n)) for part in (0, 0, 0, 1))
    cuisines, locations = (a + b for a, b in (CUISINES, LOCATIONS))
    calls = [f"api_call {c} {place} {k} {p}" for c in cuisines for place in locations for k in NUMBERS for p in PRICES]
    knowledge = {}
    for c in cuisines:
        for place in locations:
            for number, price in zip(NUMBERS, (*PRICES, PRICES[0]), strict=True):
                rating = str(int(rng.integers(1, 9)))
                name = f"resto_{place}_{price}_{c}_{rating}stars_{number}"
                knowledge[name] = dict(zip(PROPERTIES, (c, place, price, rating, f"{name}_phone", f"{name}_address",
                                                        number), strict=True))
    fixed = ("hello what can i help you with today", "i'm on it", *ASKED.values(),
             "ok let me look into some options for you")
    return RestaurantDialogs(train, dev, test, test_oov, (*fixed, *calls), knowledge)
