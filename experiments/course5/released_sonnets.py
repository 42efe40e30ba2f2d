"""The course's writer of sonnets with the weights that it released: two LSTMs of 128 units read 40 characters in small
letters, and a dense layer predicts the next one. It was trained on all of the text."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course5.released_lstm import Weights, dense_params, hard, lstm_step, read_layers
from jaxnn.data.directory import find
from jaxnn.ops import dense, softmax_cross_entropy
from jaxnn.text import CharacterVocabulary

__all__ = ["PLACES", "load_released", "losses"]

PLACES, SYMBOLS, UNITS = 40, 38, 128
SHAPES = {
    **{f"lstm_{n}/lstm_{n}_2/{name}:0": shape for n, n_in in ((5, SYMBOLS), (6, UNITS)) for name, shape in (
        ("kernel", (n_in, 4 * UNITS)), ("recurrent_kernel", (UNITS, 4 * UNITS)), ("bias", (4 * UNITS,)))},
    "dense_3/dense_3_2/kernel:0": (UNITS, SYMBOLS), "dense_3/dense_3_2/bias:0": (SYMBOLS,)}


def load_released(directory: str | Path | None = None) -> Weights:
    """The released weights.

    Raises:
      MissingData: c5/model_shakespeare_kiank.h5 is not there.
      BadFile: the file holds something else.
      ModuleNotFoundError: h5py is not installed.
    """
    path = find("c5/model_shakespeare_kiank.h5", directory, how_to_get="take it from the folder models of the "
                "assignment Character level language model (course 5, week 1)",
                instead="a model of one's own, as shakespeare trains")
    return read_layers(path, SHAPES)


def losses(weights: Weights, text: str, first: int) -> np.ndarray:
    """-log p, nats, of each character of the text from place `first` on, which is at least 40: in small letters, of all
    of which the vocabulary is made."""
    small = text.lower()
    ids = CharacterVocabulary.of([small]).encode(small)

    def one(x: Any, label: Any) -> Any:
        h = jax.nn.one_hot(x, SYMBOLS)
        for layer in ("lstm_5_2", "lstm_6_2"):
            zeros = jnp.zeros(UNITS), jnp.zeros(UNITS)
            h = jax.lax.scan(functools.partial(lstm_step, weights[layer], hard), zeros, h)[1]
        return softmax_cross_entropy(dense(dense_params(weights["dense_3_2"]), h[-1]), label)

    places = np.arange(first, len(ids))
    program = jax.jit(jax.vmap(one))
    return np.asarray(program(ids[places[:, None] - PLACES + np.arange(PLACES)], ids[places]))
