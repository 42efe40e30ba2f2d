"""Vocabularies: a text as integers, and integers as a text.

    characters, words       every character, or every word between white space, is a token
    special tokens          come first, in the order given: a filler, a start, an end ... They stand for themselves
                            alone: a text that happens to contain "<end>" is not ended by it.
    unknown                 the special token that stands for what is not in the vocabulary; without one,
                            such a text is refused

All vocabularies have one interface: `encode`, `decode`, `id_of`, `size`, `save`; `load_vocabulary` reads each of them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.checks import InputError, as_path, expect, expect_integers, is_integer
from jaxnn.data.whole import written_whole

__all__ = ["CharacterVocabulary", "Vocabulary", "WordVocabulary", "as_ids", "expect_text", "expect_texts"]

FORMAT = "jaxnn vocabulary 1"


class Vocabulary:
    """Tokens, numbered from 0, the special ones first."""

    kind = ""

    def __init__(self, tokens: Sequence[str], *, special: Sequence[str] = (), unknown: str | None = None):
        who = type(self).__name__
        for name, x in (("tokens", tokens), ("special", special)):
            is_names = isinstance(x, list | tuple) and all(isinstance(token, str) and token for token in x)
            expect(is_names, who, f"{name}, a list of texts that are not empty", repr(x)[:60])
        expect(unknown is None or unknown in special, who, "unknown, one of the special tokens, or None", repr(unknown),
               "name it among special too")
        both = [*special, *tokens]
        twice = [token for token, n in Counter(special).items() if n > 1] + [
            token for token, n in Counter(tokens).items() if n > 1]
        expect(not twice, who, "each token once", f"{twice[0]!r} twice" if twice else "")
        expect(bool(both), who, "at least one token", "none")
        self.tokens, self.special, self.unknown = tuple(tokens), tuple(special), unknown
        self._special = {token: n for n, token in enumerate(special)}
        self._ids = {token: n for n, token in enumerate(tokens, len(special))}

    @property
    def size(self) -> int:
        """How many tokens there are, the special ones among them."""
        return len(self.special) + len(self.tokens)

    def id_of(self, token: str) -> int:
        """The number of a token; a special one goes before another of the same name.

        Raises:
          InputError: there is none.
        """
        for ids in (self._special, self._ids):
            if isinstance(token, str) and token in ids:
                return ids[token]
        raise InputError(type(self).__name__, f"expects a token of the vocabulary; got {token!r}")

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, (n,) int32; no special token is added.

        Raises:
          InputError: a part of the text is in no vocabulary, and there is no unknown token.
        """
        who = f"{type(self).__name__}.encode"
        expect_text(who, "text", text)
        ids = []
        for part in self.split(text):
            n = self._ids.get(part)
            if n is None:
                expect(self.unknown is not None, who, "text of the vocabulary's tokens", repr(part),
                       "make the vocabulary with an unknown token")
                n = self._special[str(self.unknown)]
            ids.append(n)
        return np.array(ids, np.int32)

    def decode(self, ids: Any) -> str:
        """The text of tokens; special ones are left out, but for the unknown one, which is written by its name.

        Raises:
          InputError: ids are not integers (n,), or one is out of range.
        """
        parts = [self.token_of(n) for n in as_ids(f"{type(self).__name__}.decode", ids, self.size)
                 if n >= len(self.special) or self.special[n] == self.unknown]
        return self.join(parts)

    def token_of(self, n: int) -> str:
        """The name of token n."""
        n = int(as_ids(f"{type(self).__name__}.token_of", [n], self.size)[0])
        return self.special[n] if n < len(self.special) else self.tokens[n - len(self.special)]

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary as JSON."""
        write_json(f"{type(self).__name__}.save", path, {
            "format": FORMAT, "kind": self.kind, "tokens": self.tokens, "special": self.special,
            "unknown": self.unknown})

    @classmethod
    def from_saved(cls, content: dict[str, Any]) -> "Vocabulary":
        """Of what `save` has written but for its format and kind."""
        return cls(**content)

    def split(self, text: str) -> Iterable[str]:
        raise NotImplementedError

    def join(self, parts: Sequence[str]) -> str:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.tokens, self.special, self.unknown))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size} tokens)"


class CharacterVocabulary(Vocabulary):
    """Each character is a token: encoding loses nothing.

    >>> vocabulary = CharacterVocabulary.of(["abba"], special=["<end>"])
    >>> vocabulary.encode("bab").tolist(), vocabulary.decode([2, 1, 0])
    ([2, 1, 2], 'ba')
    """

    kind = "characters"

    def __init__(self, tokens: Sequence[str], *, special: Sequence[str] = (), unknown: str | None = None):
        super().__init__(tokens, special=special, unknown=unknown)
        long = [token for token in tokens if len(token) != 1]
        expect(not long, type(self).__name__, "tokens of one character each", repr(long[:3]))

    @classmethod
    def of(cls, texts: Iterable[str], *, special: Sequence[str] = (), unknown: str | None = None,
           min_count: int = 1) -> "CharacterVocabulary":
        """The characters that occur in the texts at least min_count times, in the order of their code points."""
        expect(is_integer(min_count, 1), cls.__name__, "min_count, a positive integer", repr(min_count))
        counts = Counter(c for text in expect_texts(cls.__name__, texts) for c in text)
        return cls(sorted(c for c, n in counts.items() if n >= min_count), special=special, unknown=unknown)

    def split(self, text: str) -> Iterable[str]:
        return text

    def join(self, parts: Sequence[str]) -> str:
        return "".join(parts)


class WordVocabulary(Vocabulary):
    """Each word between white space is a token. Decoding puts one blank between words: which white space there was
    is lost, as are words that are unknown.

    >>> vocabulary = WordVocabulary.of(["the cat", "the dog"], special=["<unk>"], unknown="<unk>")
    >>> vocabulary.encode("the bird").tolist(), vocabulary.decode([1, 0, 2])
    ([1, 0], 'the <unk> cat')
    """

    kind = "words"

    def __init__(self, tokens: Sequence[str], *, special: Sequence[str] = (), unknown: str | None = None):
        super().__init__(tokens, special=special, unknown=unknown)
        spaced = [token for token in tokens if token.split() != [token]]
        expect(not spaced, type(self).__name__, "words without white space", repr(spaced[:3]))

    @classmethod
    def of(cls, texts: Iterable[str], *, special: Sequence[str] = (), unknown: str | None = None,
           size: int | None = None, min_count: int = 1) -> "WordVocabulary":
        """The commonest words of the texts, those of equal count in the order of the alphabet.

        Args:
          size: how many tokens at most, the special ones among them; None for no limit.
          min_count: how often a word occurs at least.
        """
        expect(is_integer(min_count, 1), cls.__name__, "min_count, a positive integer", repr(min_count))
        expect(size is None or is_integer(size, len(special) + 1), cls.__name__,
               "size, more than the special tokens, or None", repr(size))
        counts = Counter(word for text in expect_texts(cls.__name__, texts) for word in text.split())
        ranked = sorted((word for word, n in counts.items() if n >= min_count), key=lambda word: (-counts[word], word))
        return cls(ranked[: None if size is None else size - len(special)], special=special, unknown=unknown)

    def split(self, text: str) -> Iterable[str]:
        return text.split()

    def join(self, parts: Sequence[str]) -> str:
        return " ".join(parts)


def as_ids(who: str, ids: Any, size: int) -> np.ndarray:
    """Integers (n,) in 0 .. size - 1.

    Raises:
      InputError: they are not.
    """
    values = np.asarray(ids)
    if values.size == 0 and values.ndim == 1:
        return np.zeros(0, np.int64)
    expect_integers(who, "ids", values)
    expect(values.ndim == 1, who, "ids of shape (n,)", str(values.shape), "decode one sequence at a time")
    expect(bool(values.min() >= 0 and values.max() < size), who, f"ids in 0 .. {size - 1}",
           f"values from {values.min()} to {values.max()}",
           "cut the sequence at its length" if values.min() < 0 else "")
    return values


def expect_text(who: str, name: str, text: Any) -> None:
    expect(isinstance(text, str), who, f"{name}, a text", type(text).__name__,
           "decode it: text.decode('utf-8')" if isinstance(text, bytes) else "")


def expect_texts(who: str, texts: Any) -> list[str]:
    expect(not isinstance(texts, str | bytes) and isinstance(texts, Iterable), who, "texts, a list of them",
           type(texts).__name__, "put a single text into a list")
    texts = list(texts)
    for text in texts:
        expect_text(who, "each of texts", text)
    return texts


def write_json(who: str, path: str | Path, content: Any) -> None:
    """Whole or not at all: what stands there before is replaced at once."""
    path = as_path(who, "path", path)
    with written_whole(path) as file:
        file.write(json.dumps(content, indent=1).encode("ascii"))
