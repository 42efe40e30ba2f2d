"""Memory networks: a question is answered by attention over facts, in several hops.

    m_i            Σ_j l_j ⊙ A x_ij + T_a(i)          fact i, of the words x_ij; a(i) is its age, 0 for the newest
    u_1            Σ_j l_j ⊙ A q_j                    the question
    P_i, o         attention of u_k to the keys m_i: its weights, and their mean of the values c_i
    u_{k+1}        u_k + o, or u_k + R o

    l_j            1 for a bag of words, or the position of a word: l_jd = (1 - j/J) - (d/D) (1 - 2j/J), j = 1 .. J,
                   d = 1 .. D, so that "east of the kitchen" and "the kitchen east of" are two things

Two networks are made of this. `memory_network` (Sukhbaatar, Szlam, Weston & Fergus 2015) answers with a word. Its
tables are shared in the way called adjacent: the values of a hop are the keys of the next one, the question is read as
the first keys are, and the answer is scored by the last values. `response_network` (Bordes, Boureau & Weston 2017)
chooses one of many responses, each a bag of words: one table for question and facts, one for responses, and the matrix
R for what a hop has read.

    net = memory_network(n_words)
    params, state = net.init(jax.random.key(0), {"facts": (T, J), "n_facts": (), "question": (J,)})
    logits, _ = over_examples(net)(params, state, {"facts": ..., "n_facts": ..., "question": ...})
    logits, weights = net.aligned(params, x)             weights (hops, T), of one example: which fact it read

Word 0 is the padding. There may be no fact: then the question alone decides.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import at, expect, expect_integers, expect_key, expect_shape, is_integer
from jaxnn.initializers import random_normal
from jaxnn.layers import Layer
from jaxnn.layers.attention import parts_of
from jaxnn.layers.layer import shape_of
from jaxnn.ops.alignment import multiplicative_attention
from jaxnn.ops.dense import dense
from jaxnn.ops.embedding import embedding
from jaxnn.ops.masks import length_mask

__all__ = ["MemoryNetwork", "ResponseNetwork", "memory_network", "position_weights", "response_network"]

ENCODINGS = ("position", "bag")
SMALL = random_normal(0.1)  # as published


def memory_network(words: int, n_embedding: int = 20, hops: int = 3, *, most_facts: int = 50,
                   encoding: str = "position") -> "MemoryNetwork":
    """{"facts" (T, J), "n_facts" (), "question" (J,)} -> logits of the word that is the answer, (words,).

    Args:
      words: how many there are, the padding among them.
      n_embedding: numbers that stand for a word, and for a fact.
      hops: how often the facts are read.
      most_facts: ages that are told apart; T is at most this.
      encoding: "position", the order of the words counts; or "bag".
    """
    return MemoryNetwork(words, n_embedding, hops, most_facts, encoding)


def response_network(words: int, candidates: Sequence[Sequence[int]], n_embedding: int = 32, hops: int = 3, *,
                     most_facts: int = 128, entities: Sequence[Sequence[int]] | None = None) -> "ResponseNetwork":
    """{"facts" (T, J), "n_facts" (), "question" (J,)} -> logits of the responses, (candidates,).

    Args:
      words: how many there are, the padding among them.
      candidates: for each response its words, all lists of one length, filled up with 0.
      n_embedding, hops, most_facts: as of `memory_network`.
      entities: for each response the word that it has of each kind (a cuisine, a price ...), 0 for none. A response
        whose word of a kind stands in the question or in a fact too has a match of this kind, which is learnt like a
        word more in the response: so a cuisine that training does not have can be told. None for no such matches.
    """
    def rows(name: str, lists: Any) -> tuple[tuple[int, ...], ...]:
        try:
            array = np.asarray(lists)
        except ValueError:  # of unequal lengths
            array = np.zeros(0)
        expect(array.ndim == 2 and array.dtype.kind in "iu" and array.size > 0, "response_network",
               f"{name}, lists of words, all of one length", f"{array.dtype}{list(array.shape)}", "fill up with 0")
        return tuple(map(tuple, array.tolist()))

    return ResponseNetwork(words, n_embedding, hops, most_facts, rows("candidates", candidates),
                           None if entities is None else rows("entities", entities))


@dataclasses.dataclass(frozen=True)
class _Memory(Layer):
    """What both networks have: facts and a question as vectors, and hops."""

    words: int
    n_embedding: int
    hops: int
    most_facts: int
    input_dtype = jnp.int32
    random = False

    def __post_init__(self) -> None:
        for name in ("words", "n_embedding", "hops", "most_facts"):
            n = getattr(self, name)
            expect(is_integer(n, 1), self.name, f"{name}, a positive integer", repr(n))

    def apply(self, params, state, x, key, *, train):
        return self.aligned(params, x)[0], state

    def aligned(self, params: Any, x: Any) -> tuple[Any, Any]:
        """(logits, weights (hops, T)): the logits, and how much each hop reads each fact; all 0 where there is none."""
        raise NotImplementedError

    def _expect_shapes(self, shape: Any) -> None:
        given = parts_of(self, shape_of(self, shape), "facts", "n_facts", "question")
        self._expect_parts(given)

    def _parts_of(self, x: Any) -> tuple[Any, Any, Any]:
        """(facts (T, J), question (J,), which of the facts count (T,) of bool)."""
        given = parts_of(self, x, "facts", "n_facts", "question")
        self._expect_parts(given)
        for name, value in given.items():
            if value is not None:
                expect_integers(self.name, name, value)
        n = len(given["facts"])
        mask = jnp.ones(n, bool) if given["n_facts"] is None else length_mask(given["n_facts"], n)
        return given["facts"], given["question"], mask

    def _expect_parts(self, given: dict[str, Any]) -> None:
        expect(given["question"] is not None, self.name, 'a mapping {"facts", "n_facts", "question"}', "no question")
        advice = "for a batch use over_examples around the layer"
        for name, shape in (("facts", ("T", "J")), ("question", ("J",)), ("n_facts", ())):
            if given[name] is not None:
                expect_shape(self.name, name, given[name], shape, advice)
        n = given["facts"].shape[0]
        expect(1 <= n <= self.most_facts, self.name, f"places for 1 to {self.most_facts} facts", str(n),
               "make the network with more of most_facts")


def _ages(mask: Any, most: int) -> Any:
    """(T,): 0 for the newest of the facts that count, which is the last; behind it 0 too, where nothing is read."""
    return jnp.clip(jnp.sum(mask) - 1 - jnp.arange(len(mask)), 0, most - 1)


def position_weights(words: Any, n: int) -> Any:
    """l (..., J, n): l_jd = (1 - j/J) - (d/n) (1 - 2j/J), for J words before the padding, and 0 behind them.

    Args:
      words: integers (..., J), 0 for the padding, which stands behind all words.
      n: numbers that stand for a word.

    >>> position_weights(jnp.array([7, 8, 0]), 2).tolist()
    [[0.5, 0.5], [0.5, 1.0], [0.0, 0.0]]
    """
    counts = jnp.sum(words != 0, -1)[..., None, None]
    j = jnp.arange(1, jnp.shape(words)[-1] + 1)[:, None] / jnp.maximum(counts, 1)
    d = jnp.arange(1, n + 1) / n
    return jnp.where((words != 0)[..., None], (1 - j) - d * (1 - 2 * j), 0)


def _sentences(table: Any, words: Any, encoding: str) -> Any:
    """(..., n_embedding): the sum of the words' rows, each times its position's weights."""
    rows = embedding({"table": table}, words)
    if encoding == "bag":
        return jnp.sum(jnp.where((words != 0)[..., None], rows, 0), -2)
    return jnp.sum(rows * position_weights(words, table.shape[1]).astype(rows.dtype), -2)


def _read(u: Any, keys: Any, values: Any, mask: Any) -> tuple[Any, Any]:
    """(o (n_embedding,), P (T,))."""
    o, p = multiplicative_attention({}, u[None], keys, values, mask)
    return o[0], p[0]


@dataclasses.dataclass(frozen=True)
class MemoryNetwork(_Memory):
    """{"facts" (T, J), "n_facts" (), "question" (J,)} -> logits (words,). Made by `memory_network`.

    words, n_embedding, hops, most_facts, encoding: as of `memory_network`. "n_facts" may be left out where all count.
    """

    encoding: str = "position"

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.encoding in ENCODINGS, self.name, f"encoding, one of {', '.join(ENCODINGS)}", repr(self.encoding))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        self._expect_shapes(shape)
        expect_key(self.name, key)
        of_words, of_ages = jax.random.split(key)
        return {"words": SMALL(of_words, (self.hops + 1, self.words, self.n_embedding)),
                "ages": SMALL(of_ages, (self.hops + 1, self.most_facts, self.n_embedding))}, {}

    def aligned(self, params: Any, x: Any) -> tuple[Any, Any]:
        facts, question, mask = self._parts_of(x)
        ages = _ages(mask, self.most_facts)
        tables, of_ages = params["words"], params["ages"]
        with at("words"):
            memories = [_sentences(table, facts, self.encoding) + embedding({"table": age}, ages)
                        for table, age in zip(tables, of_ages, strict=True)]
            u = _sentences(tables[0], question, self.encoding)
        weights = []
        for keys, values in itertools.pairwise(memories):
            o, p = _read(u, keys, values, mask)
            u = u + o
            weights.append(p)
        return dense({"weight": tables[-1]}, u), jnp.stack(weights)


@dataclasses.dataclass(frozen=True)
class ResponseNetwork(_Memory):
    """{"facts" (T, J), "n_facts" (), "question" (J,)} -> logits (candidates,). Made by `response_network`.

    words, n_embedding, hops, most_facts, candidates, entities: as of `response_network`.
    """

    candidates: tuple[tuple[int, ...], ...] = dataclasses.field(default=(), repr=False)
    entities: tuple[tuple[int, ...], ...] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        # Kept beside the fields: a layer is hashed at every call of a compiled program, and 4,000 responses take 1 ms.
        object.__setattr__(self, "_hash", hash(tuple(getattr(self, f.name) for f in dataclasses.fields(self))))
        for name in ("candidates", "entities"):
            rows = getattr(self, name)
            if rows is not None:
                ids = np.asarray(rows, np.int64)
                expect(bool(ids.min() >= 0 and ids.max() < self.words), self.name,
                       f"{name} of words in 0 .. {self.words - 1}", f"words from {ids.min()} to {ids.max()}")
        expect(self.entities is None or len(self.entities) == len(self.candidates), self.name,
               f"entities of the {len(self.candidates)} candidates", f"{len(self.entities or ())}")

    def __hash__(self) -> int:
        return int(getattr(self, "_hash"))  # noqa: B009 - no field of the dataclass

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        self._expect_shapes(shape)
        expect_key(self.name, key)
        of_words, of_ages, of_responses, of_hop, of_matches = jax.random.split(key, 5)
        n = self.n_embedding
        params = {"words": SMALL(of_words, (self.words, n)), "ages": SMALL(of_ages, (self.most_facts, n)),
                  "responses": SMALL(of_responses, (self.words, n)), "hop": {"weight": SMALL(of_hop, (n, n))}}
        if self.entities is not None:
            params["matches"] = SMALL(of_matches, (len(self.entities[0]), n))
        return params, {}

    def aligned(self, params: Any, x: Any) -> tuple[Any, Any]:
        facts, question, mask = self._parts_of(x)
        with at("words"):
            memory = _sentences(params["words"], facts, "bag") + embedding(
                {"table": params["ages"]}, _ages(mask, self.most_facts))
            u = _sentences(params["words"], question, "bag")
        weights = []
        for _ in range(self.hops):
            o, p = _read(u, memory, memory, mask)
            u = u + dense(params["hop"], o)
            weights.append(p)
        with at("responses"):
            responses = _sentences(params["responses"], jnp.asarray(self.candidates, jnp.int32), "bag")
            logits = dense({"weight": responses}, u)
        if self.entities is not None:
            logits = logits + self._matches(facts, question, mask).astype(u.dtype) @ dense(
                {"weight": params["matches"]}, u)
        return logits, jnp.stack(weights)

    def _matches(self, facts: Any, question: Any, mask: Any) -> Any:
        """(candidates, kinds) of bool: a word of the kind stands in the response, and in the question or a fact."""
        counted = jnp.where(mask[:, None], facts, 0)
        present = jnp.zeros(self.words, bool).at[counted.ravel()].set(True).at[question].set(True).at[0].set(False)
        return present[jnp.asarray(self.entities, jnp.int32)]
