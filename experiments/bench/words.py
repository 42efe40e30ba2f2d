"""Words a second of skip-gram with negative sampling: ours beside gensim's, and beside its rows alone."""

import importlib.util
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench.measure import Side
from experiments.course5.word_speed import programs
from jaxnn.training import by_rows, make_step, row_sgd, start_from
from jaxnn.words import Epochs, WordModel, encode_corpus

__all__ = ["beside_gensim", "beside_rows", "gensim_is_there"]


def gensim_is_there() -> bool:
    return importlib.util.find_spec("gensim") is not None


def beside_gensim(n: int = 200_000, n_dim: int = 100) -> list[Side]:
    """An epoch over n words, of 20,000 with Zipf's frequencies, in sentences of ten: gensim's program with one worker,
    then ours, its batches made by NumPy included."""
    from gensim.models import Word2Vec

    share = 1 / np.arange(1, 20_001)
    drawn = np.random.default_rng(0).choice(20_000, n, p=share / share.sum())
    sentences = [list(map(str, row)) for row in drawn.reshape(-1, 10)]
    model = Word2Vec(vector_size=n_dim, window=5, min_count=5, sg=1, negative=5, workers=1)
    model.build_vocab(sentences)
    corpus = encode_corpus([" ".join(words) for words in sentences])
    epochs = Epochs(corpus)
    rng = np.random.default_rng(0)
    params: Any = {name: {"table": jnp.asarray(rng.random((len(corpus.words), n_dim), np.float32) / n_dim)}
                   for name in ("input", "output")}
    optimizer = by_rows(optax.sgd(0.0), row_sgd(1e-3), True)
    step = make_step(WordModel(), lambda loss, label: loss, optimizer)
    latest = [start_from(params, {}, optimizer, jax.random.key(0))]
    numbers, labels = itertools.count(), np.zeros(epochs.batch_size, np.float32)

    def ours() -> Any:
        for batch in epochs.batches(next(numbers)):
            latest[0], info = step(latest[0], batch._asdict(), labels)
        return info.cost

    return [Side("gensim", lambda: model.train(sentences, total_examples=len(sentences), epochs=1)),
            Side("jaxnn", ours)]


def beside_rows(words: int = 50_000, n_dim: int = 100, batch_size: int = 128) -> list[Side]:
    """The limit that gathers and scatters set: a step's rows read, summed and moved alone, then the step."""
    whole, alone, _ = programs(words, n_dim, batch_size)
    return [Side("its rows alone", alone), Side("whole step", whole)]
