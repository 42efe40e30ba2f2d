"""Sentences as arrays: words, their beginnings and their ends as integers, in buckets of a few lengths."""

import random
from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect
from jaxnn.data import Snips, Utterance
from jaxnn.text import WordVocabulary, bucketed, pad

__all__ = ["BucketedBatches", "Encoding", "Sentences", "embedded_utterances"]

AFFIX = 3  # letters
BUCKETS = (10, 16)  # words; and one for the longest


class Encoding(NamedTuple):
    """What stands for what: vocabularies of the training set, and how often each word occurs there."""

    words: WordVocabulary
    prefixes: WordVocabulary
    suffixes: WordVocabulary
    tags: list[str]
    intents: list[str]
    counts: np.ndarray

    @classmethod
    def of(cls, utterances: list[Utterance]) -> "Encoding":
        counts = Counter(word for utterance in utterances for word in utterance.words)
        words = _vocabulary(counts)
        return cls(words, _vocabulary(word[:AFFIX] for word in counts), _vocabulary(word[-AFFIX:] for word in counts),
                   sorted({slot for utterance in utterances for slot in utterance.slots}),
                   sorted({utterance.intent for utterance in utterances}),
                   np.array([counts.get(words.token_of(n), 0) for n in range(words.size)]))

    def missing(self, utterance: Utterance) -> set[str]:
        """Of this utterance the intent and the slots that no training utterance has."""
        return {utterance.intent}.difference(self.intents) | set(utterance.slots).difference(self.tags)

    def read(self, sentences: list[list[str]], length: int | None = None) -> dict[str, np.ndarray]:
        """Sentences as a network reads them: {"words", "prefixes", "suffixes": (n, time), "lengths": (n,)}. A word that
        the training set does not have is <unknown>, and its beginning and end may still be known."""
        words, lengths = pad([self.words.encode(" ".join(words)) for words in sentences], length)
        affixes = {name: pad([vocabulary.encode(" ".join(part(word) for word in words)) for words in sentences],
                             words.shape[1])[0]
                   for name, vocabulary, part in (("prefixes", self.prefixes, lambda word: word[:AFFIX]),
                                                  ("suffixes", self.suffixes, lambda word: word[-AFFIX:]))}
        return {"words": words, **affixes, "lengths": lengths}


def _vocabulary(tokens: Any) -> WordVocabulary:
    return WordVocabulary(sorted(set(tokens)), special=("<filling>", "<unknown>"), unknown="<unknown>")


class Sentences(NamedTuple):
    """x: as of `Encoding.read`; tags: (n, time), intents: (n,), places in the encoding's lists."""

    x: dict[str, np.ndarray]
    tags: np.ndarray
    intents: np.ndarray

    @classmethod
    def of(cls, encoding: Encoding, utterances: list[Utterance], length: int | None = None) -> "Sentences":
        """Arrays of utterances whose labels have places.

        Raises:
          InputError: an intent or a slot is not in the training set.
        """
        missing = sorted(set().union(*map(encoding.missing, utterances)))
        expect(not missing, "Sentences.of", "intents and slots of the training set", str(missing),
               "leave out the utterances that have them")
        tags, intents = ({name: n for n, name in enumerate(names)} for names in (encoding.tags, encoding.intents))
        x = encoding.read([utterance.words for utterance in utterances], length)
        rows = [np.array([tags[slot] for slot in utterance.slots]) for utterance in utterances]
        return cls(x, pad(rows, x["words"].shape[1])[0],
                   np.array([intents[utterance.intent] for utterance in utterances], np.int32))


class BucketedBatches:
    """step -> (x, labels): sentences of about one length together, each sentence once in an epoch.

    In each batch words are left unread at random, as if they were unknown: a word that occurs n times with probability
    drop / (drop + n) (Kiperwasser & Goldberg 2016). So the rare words of the training set teach what to do with those
    that are not in it, of which beginning and end are left.
    """

    def __init__(self, encoding: Encoding, utterances: list[Utterance], batch_size: int, drop: float, seed: int):
        self.all = Sentences.of(encoding, utterances)
        self.batch_size, self.seed = min(batch_size, len(utterances)), seed
        self.unknown = encoding.words.id_of("<unknown>")
        self.rate = drop / (drop + np.maximum(encoding.counts, 1)) if drop else np.zeros(len(encoding.counts))
        self.rate[:len(encoding.words.special)] = 0
        longest = self.all.x["words"].shape[1]
        self.lengths = [*(n for n in BUCKETS if n < longest), longest]
        self._order = lru_cache(maxsize=2)(self._order_of)
        self.per_epoch = len(self._order(0))

    def _order_of(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        """(length, which sentences) of each batch."""
        sequences = [row[:n] for row, n in zip(self.all.x["words"], self.all.x["lengths"], strict=True)]
        return [(batch.tokens.shape[1], batch.indices)
                for batch in bucketed(sequences, self.lengths, self.batch_size, seed=self.seed * 10_000 + epoch)]

    def __call__(self, step: int) -> tuple[Any, Any]:
        epoch, place = divmod(int(step), self.per_epoch)
        length, rows = self._order(epoch)[place]
        x = {name: a[rows] if name == "lengths" else a[rows, :length] for name, a in self.all.x.items()}
        rng = np.random.default_rng((self.seed, int(step)))
        unread = rng.random(x["words"].shape) < self.rate[x["words"]]
        x["words"] = np.where(unread, self.unknown, x["words"]).astype(np.int32)
        mask = np.arange(length) < x["lengths"][:, None]
        return x, (self.all.tags[rows, :length], mask.astype(np.float32), self.all.intents[rows])


# A few sentences that need no file.

PATTERNS = {
    "PlayMusic": ("play {track} by {artist}", "i want to hear {artist}", "put on {track}",
                  "play some {artist} on {service}"),
    "GetWeather": ("will it rain in {city} {time}", "what is the weather in {city}", "how cold is it {time} in {city}"),
    "BookRestaurant": ("book a table in {city} for {number}", "i need a table {time} for {number} people",
                       "reserve a {food} restaurant in {city}"),
}
FILLINGS = {
    "track": ("yesterday", "blue moon", "summer time", "the river", "my way"),
    "artist": ("nina simone", "bach", "the band", "miles davis", "ella fitzgerald"),
    "service": ("the radio", "itunes", "spotify"), "city": ("paris", "new york", "bonn", "san diego", "rome"),
    "time": ("tomorrow", "next week", "this evening", "at noon"), "number": ("two", "four", "ten"),
    "food": ("greek", "french", "thai")}


def embedded_utterances(n: int = 400) -> Snips:
    """Sentences of ten patterns: enough to see the experiment run, too easy to learn from."""
    chance, utterances = random.Random(0), []
    for _ in range(n):
        intent = chance.choice(sorted(PATTERNS))
        words: list[str] = []
        slots: list[str] = []
        for part in chance.choice(PATTERNS[intent]).split():
            kind = part.strip("{}")
            filling = chance.choice(FILLINGS[kind]).split() if part.startswith("{") else [part]
            words += filling
            slots += [f"{'I' if i else 'B'}-{kind}" for i in range(len(filling))] if kind in FILLINGS else ["O"]
        utterances.append(Utterance(words, slots, intent))
    return Snips(utterances[:n * 3 // 4], utterances[n * 3 // 4:n * 7 // 8], utterances[n * 7 // 8:])
