"""The course's translator of dates with the weights that it released: Keras' LSTMs, an attention of its own.

    a              both directions of an LSTM of 32 units over 30 one-hot characters
    α_t, context   softmax of relu(w tanh(V [a, s_{t-1}])), and the mean of a with these weights
    s_t            an LSTM of 64 units reads the context alone: no character that was written before
    y_t            softmax(W s_t), one of eleven characters

With the gates of today five of the eight dates that the course prints come out as with those that the weights were
trained with (`experiments.course5.released_lstm`).
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course5.released_lstm import Weights, dense_params, hard, lstm_step, read_layers
from jaxnn.data.directory import find
from jaxnn.decoding import greedy
from jaxnn.ops import dense, relu, softmax, tanh
from jaxnn.text import CharacterVocabulary, pad

__all__ = ["PRINTED", "TEXTS", "decoder", "encoded", "load_released", "one_hot", "translate"]

TEXTS = ("3 May 1979", "5 April 09", "21th of August 2016", "Tue 10 Jul 2007", "Saturday May 9 2018", "March 3 2001",
         "March 3rd 2001", "1 March 2001")
# By the notebooks of 2018 to 2020: the second is not what the text says.
PRINTED = ("1979-05-03", "2009-05-05", "2016-08-21", "2007-07-10", "2018-05-09", "2001-03-03", "2001-03-03",
           "2001-03-01")

PLACES, STEPS = 30, 10
HUMAN = CharacterVocabulary(list(" ./0123456789abcdefghijlmnoprstuvwy"), special=["<unk>", "<pad>"], unknown="<unk>")
MACHINE = CharacterVocabulary(list("-0123456789"))
SHAPES = {
    **{f"bidirectional_10/bidirectional_10/{way}_lstm_21/{name}:0": shape for way in ("forward", "backward")
       for name, shape in (("kernel", (37, 128)), ("recurrent_kernel", (32, 128)), ("bias", (128,)))},
    "lstm_20/lstm_20/kernel:0": (64, 256), "lstm_20/lstm_20/recurrent_kernel:0": (64, 256),
    "lstm_20/lstm_20/bias:0": (256,), "dense_36/dense_36/kernel:0": (128, 10), "dense_36/dense_36/bias:0": (10,),
    "dense_37/dense_37/kernel:0": (10, 1), "dense_37/dense_37/bias:0": (1,), "dense_38/dense_38/kernel:0": (64, 11),
    "dense_38/dense_38/bias:0": (11,)}


def load_released(directory: str | Path | None = None) -> Weights:
    """The released weights.

    Raises:
      MissingData: c5/nmt_attention_model.h5 is not there.
      BadFile: the file holds something else.
      ModuleNotFoundError: h5py is not installed.
    """
    path = find("c5/nmt_attention_model.h5", directory, how_to_get="take models/model.h5 of the assignment Neural "
                "machine translation (course 5, week 3)", instead="a model of one's own, as translate-dates trains")
    return read_layers(path, SHAPES)


def one_hot(texts: Sequence[str]) -> jax.Array:
    """(n, 30, 37), in small letters, without commas; the course numbers its special tokens last."""
    tokens, _ = pad([HUMAN.encode(text.lower().replace(",", "")) for text in texts], PLACES, fill=1)
    return jax.nn.one_hot((tokens - 2) % 37, 37)


def encoded(weights: Weights, x: Any, gate: Callable) -> jax.Array:
    """a (30, 64), both directions side by side."""
    zeros = jnp.zeros(32), jnp.zeros(32)
    ways = [jax.lax.scan(functools.partial(lstm_step, weights[f"{way}_lstm_21"], gate), zeros, x,
                         reverse=way == "backward")[1] for way in ("forward", "backward")]
    return jnp.concatenate(ways, 1)


def decoder(weights: Weights, a: Any, gate: Callable) -> Callable:
    """A step for the decoders: (carry, token) -> (carry, logits (11,), weights of the attention (30,))."""
    first, second, last = (dense_params(weights[f"dense_{n}"]) for n in (36, 37, 38))

    def step(carry: Any, token: Any) -> Any:
        both = jnp.concatenate([a, jnp.broadcast_to(carry[0], (len(a), 64))], 1)
        energy = jax.vmap(lambda row: relu(dense(second, tanh(dense(first, row)))))(both)
        attention = softmax(energy[:, 0])
        carry, h = lstm_step(weights["lstm_20"], gate, carry, attention @ a)
        return carry, dense(last, h), attention

    return step


def translate(weights: Weights, texts: Sequence[str], gate: Callable = hard) -> tuple[list[str], np.ndarray]:
    """(dates, attention (n, 10, 30)) of texts of at most 30 characters."""
    def one(x: Any) -> Any:
        return greedy(decoder(weights, encoded(weights, x, gate), gate), (jnp.zeros(64), jnp.zeros(64)), 0,
                      max_length=STEPS)

    found = jax.jit(jax.vmap(one))(one_hot(texts))
    return [MACHINE.decode(tokens) for tokens in found.tokens], np.asarray(found.aux)
