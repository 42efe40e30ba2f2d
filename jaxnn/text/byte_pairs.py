"""Byte-pair encoding: tokens are bytes, and pairs of tokens that are often side by side, merged into one.

    training    begin with the 256 bytes; merge the commonest pair of neighbours into a token; again, until there are
                as many tokens as one wants. Of equally common pairs the one with the lower numbers.
    encoding    merge in the same order: of all pairs in a word the one that was merged first, wherever it stands
    words       a text is cut between white space and what follows; a word keeps its one blank in front, and no pair
                reaches over a cut

Any text, and any bytes, come back as they were: there is no unknown token. Source: Gage (1994); Sennrich, Haddow &
Birch (2016), algorithm 1.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.checks import InputError, expect, is_integer
from jaxnn.text.vocabulary import FORMAT, as_ids, write_json

__all__ = ["BytePairs"]

# A word with a blank or nothing in front, or white space. Every byte belongs to exactly one of these.
WORDS = re.compile(rb" ?\S+|\s+?(?= \S)|\s+")
N_BYTES = 256
MOST_KEPT = 2**16  # words whose tokens are remembered


class BytePairs:
    """A vocabulary of byte pairs: special tokens first, then the 256 bytes, then the merged pairs.

    >>> vocabulary = BytePairs.of(["low low lower lowest"], size=260)
    >>> [vocabulary.bytes_of(n) for n in vocabulary.encode("lower")]
    [b'low', b'e', b'r']
    """

    kind = "byte pairs"
    unknown = None

    def __init__(self, merges: Sequence[tuple[int, int]], *, special: Sequence[str] = ()):
        """merges: pairs of tokens, those before them and bytes, numbered from 0 without the special ones."""
        who = type(self).__name__
        is_names = isinstance(special, list | tuple) and all(isinstance(name, str) and name for name in special)
        expect(is_names and len(set(special)) == len(special), who, "special, different texts that are not empty",
               repr(special)[:60])
        self.special, self._bytes = tuple(special), [bytes([n]) for n in range(N_BYTES)]
        self._ranks: dict[tuple[int, int], int] = {}
        for pair in merges:
            is_pair = isinstance(pair, list | tuple) and len(pair) == 2 and all(
                is_integer(n, 0) and n < len(self._bytes) for n in pair)
            expect(is_pair and tuple(pair) not in self._ranks, who, f"merges, each a new pair of numbers below "
                   f"{len(self._bytes)}, the tokens before it", repr(pair)[:60])
            self._ranks[pair[0], pair[1]] = len(self._bytes)
            self._bytes.append(self._bytes[pair[0]] + self._bytes[pair[1]])
        self._kept: dict[bytes, list[int]] = {}

    @classmethod
    def of(cls, texts: Iterable[str | bytes], *, size: int, special: Sequence[str] = ()) -> "BytePairs":
        """The vocabulary of `size` tokens, the special ones among them, that training on the texts gives; smaller where
        no pair is left that occurs twice.

        Raises:
          InputError: size is less than the bytes and the special tokens, or texts are none.
        """
        who = cls.__name__
        least = N_BYTES + len(special)
        expect(is_integer(size, least), who, f"size, an integer of at least {least}, the bytes and the special tokens",
               repr(size))
        expect(not isinstance(texts, str | bytes) and isinstance(texts, Iterable), who, "texts, a list of them",
               type(texts).__name__, "put a single text into a list")
        counts = Counter(word for text in texts for word in WORDS.findall(_as_bytes(who, text)))
        return cls(_trained(counts, size - least), special=special)

    @property
    def merges(self) -> tuple[tuple[int, int], ...]:
        return tuple(self._ranks)

    @property
    def size(self) -> int:
        """How many tokens there are, the special ones among them."""
        return len(self.special) + len(self._bytes)

    def id_of(self, token: str) -> int:
        """The number of a special token, or of a text that is one token."""
        if token in self.special:
            return self.special.index(token)
        ids = self.encode(token)
        if len(ids) != 1:
            raise InputError(type(self).__name__, f"expects a special token or a text of one token; got {token!r}, of "
                             f"{len(ids)} tokens")
        return int(ids[0])

    def bytes_of(self, n: int) -> bytes:
        """The bytes of token n; none for a special one."""
        n = int(as_ids(f"{type(self).__name__}.bytes_of", [n], self.size)[0])
        return b"" if n < len(self.special) else self._bytes[n - len(self.special)]

    def encode(self, text: str | bytes) -> np.ndarray:
        """The tokens of a text or of bytes, (n,) int32; no special token is added, whatever stands in the text."""
        ids: list[int] = []
        for word in WORDS.findall(_as_bytes(f"{type(self).__name__}.encode", text)):
            if word not in self._kept:
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                self._kept[word] = self._merged(list(word))
            ids += self._kept[word]
        return np.array(ids, np.int32) + len(self.special)

    def decode_bytes(self, ids: Any) -> bytes:
        """The bytes of tokens; special ones are left out."""
        values = as_ids(f"{type(self).__name__}.decode_bytes", ids, self.size)
        return b"".join(self._bytes[n - len(self.special)] for n in values if n >= len(self.special))

    def decode(self, ids: Any, *, errors: str = "strict") -> str:
        """The text of tokens; special ones are left out.

        Args:
          errors: "strict" refuses bytes that are not UTF-8, as a model may give them; "replace" writes
            U+FFFD for each.
        """
        who = f"{type(self).__name__}.decode"
        expect(errors in ("strict", "replace"), who, "errors 'strict' or 'replace'", repr(errors))
        content = self.decode_bytes(ids)
        try:
            return content.decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise InputError(who, f"expects tokens that make up UTF-8; got {content[error.start:error.end]!r} at byte "
                             f"{error.start}; pass errors='replace', or call decode_bytes") from None

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary as JSON."""
        write_json(f"{type(self).__name__}.save", path, {
            "format": FORMAT, "kind": self.kind, "merges": self.merges, "special": self.special})

    @classmethod
    def from_saved(cls, content: dict[str, Any]) -> "BytePairs":
        """Of what `save` has written but for its format and kind."""
        return cls(**content)

    def _merged(self, tokens: list[int]) -> list[int]:
        while len(tokens) > 1:
            pair = min(itertools.pairwise(tokens), key=lambda pair: self._ranks.get(pair, len(self._bytes)))
            if pair not in self._ranks:
                break
            tokens = _replaced(tokens, pair, self._ranks[pair])
        return tokens

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BytePairs) and (self.merges, self.special) == (other.merges, other.special)

    def __hash__(self) -> int:
        return hash((self.merges, self.special))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size} tokens)"


def _trained(words: Counter, n_merges: int) -> list[tuple[int, int]]:
    """The merges, in order. How often each pair occurs is kept up to date: a merge touches only the words that have
    its pair."""
    split = {n: list(word) for n, word in enumerate(words)}
    often = dict(enumerate(words.values()))
    counts: Counter = Counter()
    places: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for n, tokens in split.items():
        for pair in itertools.pairwise(tokens):
            counts[pair] += often[n]
            places[pair].add(n)
    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges and counts:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        token = N_BYTES + len(merges)
        merges.append(best)
        for n in list(places[best]):
            before, after = split[n], _replaced(split[n], best, token)
            for pair, sign in [(pair, -1) for pair in itertools.pairwise(before)] + [
                    (pair, 1) for pair in itertools.pairwise(after)]:
                counts[pair] += sign * often[n]
                places[pair].add(n) if sign > 0 else places[pair].discard(n)
                if counts[pair] <= 0:
                    del counts[pair]
            split[n] = after
    return merges


def _replaced(tokens: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """The tokens with each such pair, from left to right, made one."""
    found, i = [], 0
    while i < len(tokens):
        is_pair = i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == pair
        found.append(token if is_pair else tokens[i])
        i += 2 if is_pair else 1
    return found


def _as_bytes(who: str, text: Any) -> bytes:
    expect(isinstance(text, str | bytes), who, "a text or bytes", type(text).__name__)
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(who, f"expects a text that UTF-8 can hold; got {text[error.start]!r} at character "
                         f"{error.start}, half of a surrogate pair; read the file as UTF-8") from None
