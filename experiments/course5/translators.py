"""What a translator of dates is made of: texts and dates as arrays, days that training does not have, and decoding."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect
from jaxnn.decoding import beam_search, greedy
from jaxnn.ops import dense
from jaxnn.text import CharacterVocabulary, pad

__all__ = ["END", "LONGEST", "START", "Languages", "Pairs", "Translator", "as_pairs", "as_source", "exact",
           "of_encoder_decoder", "of_transformer", "split_by_day"]

START, END = 0, 1  # of the dates' vocabulary
LONGEST = len("1990-04-28") + 1  # with the end token
AT_ONCE = 128  # texts that are decoded side by side: one program for however many there are


class Languages(NamedTuple):
    """The characters of texts and of dates, and the longest text."""

    human: CharacterVocabulary
    machine: CharacterVocabulary
    longest: int

    @classmethod
    def of(cls, texts: Sequence[str], longest: int) -> "Languages":
        return cls(CharacterVocabulary(sorted(set("".join(texts))), special=["<pad>", "<unk>"], unknown="<unk>"),
                   CharacterVocabulary(list("-0123456789"), special=["<start>", "<end>"]), longest)


class Pairs(NamedTuple):
    """Texts and their dates, and the same as a network reads them.

    x: {"source" (n, longest), "source_length" (n,), "target" (n, LONGEST)}: the target starts with the start token.
    labels: (n, LONGEST), the target one place on, with the end token.
    """

    texts: list[str]
    dates: list[str]
    x: dict[str, np.ndarray]
    labels: np.ndarray


def as_source(texts: Sequence[str], languages: Languages) -> dict[str, np.ndarray]:
    """In small letters, without commas, as all texts of the course are."""
    source, lengths = pad([languages.human.encode(text.lower().replace(",", "")) for text in texts], languages.longest)
    return {"source": source, "source_length": lengths}


def as_pairs(texts: Sequence[str], dates: Sequence[str], languages: Languages) -> Pairs:
    written = np.array([languages.machine.encode(date) for date in dates])
    edge = np.ones((len(written), 1), np.int32)
    x = {**as_source(texts, languages), "target": np.concatenate([START * edge, written], 1)}
    return Pairs(list(texts), list(dates), x, np.concatenate([written, END * edge], 1))


def split_by_day(texts: Sequence[str], dates: Sequence[str], languages: Languages, seed: int) -> dict[str, Pairs]:
    """Nine tenths of the days for training, half of a tenth each for dev and for test, each day with all its texts: the
    same day in another format would give the date away.

    Raises:
      InputError: there are not days enough for each part to have one.
    """
    days = sorted(set(dates))
    order = np.random.default_rng(seed).permutation(len(days))
    share = {days[place]: rank / len(days) for rank, place in enumerate(order)}
    parts: dict[str, list[Any]] = {"train": [], "dev": [], "test": []}
    for pair in zip(texts, dates, strict=True):
        parts["train" if share[pair[1]] < 0.9 else "dev" if share[pair[1]] < 0.95 else "test"].append(pair)
    expect(all(parts.values()), "split_by_day", "dates of at least 20 days", str(len(days)), "make more pairs")
    return {name: as_pairs([text for text, _ in pairs], [date for _, date in pairs], languages)
            for name, pairs in parts.items()}


def of_encoder_decoder(net: Any, params: Any, source: Any, length: Any) -> tuple[Callable, Any]:
    """(step, carry) for the decoders."""
    memory, carry = net.start(params, source, length)
    return functools.partial(net.step, params, memory), carry


def of_transformer(net: Any, params: Any, source: Any, length: Any) -> tuple[Callable, Any]:
    """(step, carry) for the decoders. The carry holds the tokens so far, which each step reads anew; the zeros behind
    are not attended to."""
    memory, _ = net.encoder(params["encoder"], {}, {"tokens": source, "length": length})

    def step(carry: Any, token: Any) -> Any:
        tokens, n = carry
        tokens = tokens.at[n].set(token)
        y, _ = net.decoder(params["decoder"], {}, {"tokens": tokens, "memory": memory, "memory_length": length})
        return (tokens, n + 1), dense(params["logits"], y[n])

    return step, (jnp.zeros(LONGEST, jnp.int32), jnp.int32(0))


class Translator:
    """A network with its params, and how to decode with them: one of the two functions above."""

    def __init__(self, net: Any, decoder_of: Callable, params: Any, languages: Languages):
        self.net, self.decoder_of, self.params, self.languages = net, decoder_of, params, languages
        self._program = jax.jit(self._decode, static_argnames="width")

    def translate(self, source: dict[str, Any], width: int | None = None, params: Any = None) -> tuple[list[str], Any]:
        """(dates, what the step gives beside the logits: the attention (n, LONGEST, longest), or ()).

        Args:
          source: of `as_source`, or x of Pairs.
          width: of the beam; None decodes greedily.
          params: in place of the translator's own.
        """
        params, n = self.params if params is None else params, len(source["source"])
        found = []
        for first in range(0, n, AT_ONCE):
            rows = np.minimum(np.arange(first, first + AT_ONCE), n - 1)  # filled up with the last one
            found.append(self._program(params, source["source"][rows], source["source_length"][rows], width=width))
        tokens, lengths, aux = jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *found)
        machine = self.languages.machine
        return [machine.decode(row[:length]) for row, length in zip(tokens, lengths, strict=True)], aux

    def read(self, texts: Sequence[str]) -> tuple[list[str], Any]:
        """As `translate`, of texts as a person writes them."""
        return self.translate(as_source(texts, self.languages))

    def _decode(self, params: Any, sources: Any, lengths: Any, *, width: int | None) -> Any:
        def one(source: Any, length: Any) -> Any:
            step, carry = self.decoder_of(self.net, params, source, length)
            if width is None:
                found = greedy(step, carry, START, max_length=LONGEST, end=END)
                return found.tokens, found.length, found.aux
            beams = beam_search(step, carry, START, width=width, max_length=LONGEST, end=END)
            return beams.tokens[0], beams.length[0], jax.tree.map(lambda a: a[0], beams.aux)

        return jax.vmap(one)(sources, lengths)


def exact(found: Sequence[str], dates: Sequence[str]) -> float:
    """The fraction that is right in all its characters."""
    return sum(a == b for a, b in zip(found, dates, strict=True)) / len(dates)
