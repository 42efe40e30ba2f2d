"""Recurrent models of sequences of symbols: what comes next, what the whole is, what each symbol is.

    net = character_model(27, LSTM(64))
    params, state = net.init(jax.random.key(0), (time,))
    logits, _ = over_examples(net)(params, state, ids)               ids (batch, time) of int32
    sequence = sample(functools.partial(net.step, params), net.start(params), first, key, max_length=100)

    net = sequence_classifier(n_words, LSTM(64, return_sequence=False, bidirectional=True), classes=5)
    params, state = net.init(jax.random.key(0), ((time,), ()))
    logits, _ = over_examples(net)(params, state, (ids, lengths))    each text padded to the longest

What stands behind a length changes nothing, whatever it is.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, expect_integers, expect_shape
from jaxnn.initializers import Initializer, random_normal
from jaxnn.layers import RNN, Dense, Embedding, Layer, Sequential, over_examples
from jaxnn.layers.layer import shape_of
from jaxnn.ops import dense, embedding, length_mask, stacked

__all__ = ["CharacterModel", "character_model", "sequence_classifier", "tagger"]

SMALL = random_normal(0.02)  # as of Embedding


def character_model(symbols: int, recurrent: RNN, n_embedding: int = 64,
                    table_init: Initializer = SMALL) -> "CharacterModel":
    """ids (time,) -> logits of the symbol that follows each, (time, symbols).

    Args:
      symbols: how many there are.
      recurrent: a layer RNN, GRU or LSTM that returns all states and reads forward: one that sees what follows has
        nothing to predict.
      n_embedding: numbers that stand for a symbol.
      table_init: initializer of these numbers. With a standard deviation of 1 they reach the network in its own scale,
        and training begins sooner.
    Source: Sutskever, Martens & Hinton (2011); Graves (2013).
    """
    _expect_recurrent("character_model", recurrent, return_sequence=True)
    expect(not recurrent.bidirectional, "character_model", "a recurrent layer in one direction", "bidirectional=True")
    return CharacterModel(embedding=Embedding(symbols, n_embedding, table_init), recurrent=recurrent,
                          head=over_examples(Dense(symbols)))  # at each step the same


class CharacterModel(Sequential):
    """ids (time,) -> logits (time, symbols); and symbol by symbol, as the decoders of `jaxnn.decoding` have it. Made by
    `character_model`."""

    def start(self, params: Any) -> Any:
        """The carry of `step` before the first symbol: the state of each recurrent layer, zeros."""
        table = params["embedding"]["table"]
        x = jax.ShapeDtypeStruct((1, table.shape[1]), table.dtype)
        _, carry = jax.eval_shape(self._over_time(), params["recurrent"], x)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), carry)

    def step(self, params: Any, carry: Any, symbol: Any) -> tuple[Any, Any]:
        """(carry, logits (symbols,)) of the symbol behind `symbol`, an integer ()."""
        expect_integers(self.name, "symbol", symbol)
        expect_shape(self.name, "symbol", symbol, (), "for a batch use jax.vmap")
        h, carry = self._over_time()(params["recurrent"], embedding(params["embedding"], symbol)[None], carry)
        return carry, dense(params["head"], h[0])

    def _over_time(self) -> Any:
        """(params, x, initial) -> (h, last), of all layers."""
        layer: Any = self.parts["recurrent"]
        return layer.op if layer.layers == 1 else stacked(*(layer.op,) * layer.layers)


def sequence_classifier(symbols: int, recurrent: RNN, classes: int, n_embedding: int = 64) -> "OfLength":
    """(ids (time,), length) -> logits of the sequence's class, (classes,), from the last state.

    Args:
      symbols: how many there are.
      recurrent: a layer RNN, GRU or LSTM that returns the last state; in both directions it ends with both.
      classes: how many logits.
      n_embedding: numbers that stand for a symbol.
    """
    _expect_recurrent("sequence_classifier", recurrent, return_sequence=False)
    return OfLength(Embedding(symbols, n_embedding), recurrent, Dense(classes))


def tagger(symbols: int, recurrent: RNN, tags: int, n_embedding: int = 64) -> "OfLength":
    """(ids (time,), length) -> logits of each symbol's tag, (time, tags).

    Args:
      symbols: how many there are.
      recurrent: a layer RNN, GRU or LSTM that returns all states, best in both directions.
      tags: how many logits at each step.
      n_embedding: numbers that stand for a symbol.
    Source: Graves & Schmidhuber (2005).
    """
    _expect_recurrent("tagger", recurrent, return_sequence=True)
    return OfLength(Embedding(symbols, n_embedding), recurrent, over_examples(Dense(tags)))


@dataclasses.dataclass(frozen=True)
class OfLength(Layer):
    """(ids, length) -> the head's value of the recurrent layer over the first `length` ids."""

    embedding: Embedding
    recurrent: RNN
    head: Layer
    input_dtype = jnp.int32

    @property
    def random(self) -> bool:
        return self.recurrent.random

    def init(self, key, shape):
        ids, _ = self._pair(shape_of(self, shape))
        keys = jax.random.split(key, 3)
        table, _ = self.embedding.init(keys[0], ids.shape)
        rows = (*ids.shape, self.embedding.n_dim)
        states, _ = self.recurrent.init(keys[1], rows)
        n = self.recurrent.n_hidden * (1 + self.recurrent.bidirectional)
        head, _ = self.head.init(keys[2], (*ids.shape, n) if self.recurrent.return_sequence else (n,))
        return {"embedding": table, "recurrent": states, "head": head}, {}

    def apply(self, params, state, x, key, *, train):
        ids, length = self._pair(x)
        rows, _ = self.embedding(params["embedding"], {}, ids)
        h, _ = self.recurrent(params["recurrent"], {}, (rows, length_mask(length, len(ids))), key, train=train)
        return self.head(params["head"], {}, h)[0], state

    def _pair(self, x: Any) -> Any:
        expect(isinstance(x, tuple | list) and len(x) == 2, self.name, "x, the pair (ids, length)",
               f"{len(x)} of them" if isinstance(x, tuple | list) else type(x).__name__)
        return x


def _expect_recurrent(who: str, layer: Any, *, return_sequence: bool) -> None:
    expect(isinstance(layer, RNN), who, "a layer RNN, GRU or LSTM", repr(layer))
    expect(layer.return_sequence is return_sequence, who,
           f"a recurrent layer with return_sequence={return_sequence}", repr(layer.return_sequence))
