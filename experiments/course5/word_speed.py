"""How long a step of skip-gram takes, by the size of the vocabulary, and how long its rows take alone."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.training import by_rows, make_step, row_sgd, start_from
from jaxnn.training.rows import row_gradient
from jaxnn.words import Corpus, Epochs, WordModel
from jaxnn.words.chunks import pairs_of

__all__ = ["programs", "times"]


def times(vocabularies: Sequence[int], *, n_dim: int, batch_size: int, rounds: int) -> list[tuple[int, float, float]]:
    """(words, CPU seconds per million pairs of a whole step, of its rows read, summed and moved alone).

    Every vocabulary has words of equal frequency, so that the larger ones share no rows within a step and the smaller
    ones few.
    """
    found = []
    for n in vocabularies:
        whole, alone, pairs = programs(n, n_dim, batch_size)
        found.append((n, 1e6 * _least(whole, rounds) / pairs, 1e6 * _least(alone, rounds) / pairs))
    return found


def programs(n_words: int, n_dim: int, batch_size: int) -> tuple[Callable[[], Any], Callable[[], Any], int]:
    """(a whole step, the reading, summing and moving of its rows alone, how many pairs the step has)."""
    rng = np.random.default_rng(0)
    n = batch_size * 32
    tokens = rng.integers(0, n_words, n).astype(np.int32)
    corpus = Corpus(tuple(map(str, range(n_words))), np.ones(n_words, np.int64), tokens,
                    np.arange(8, n + 8, 8).clip(max=n), 0)
    (batch,) = Epochs(corpus, batch_size=batch_size, sample=0).batches(0)
    x = jax.device_put(batch._asdict())
    params: Any = {name: {"table": jnp.asarray(rng.random((n_words, n_dim), np.float32) / n_dim)}
                   for name in ("input", "output")}
    optimizer = by_rows(optax.sgd(0.0), row_sgd(1e-3), True)
    step = make_step(WordModel(), lambda y, label: y, optimizer)
    latest = [start_from(params, {}, optimizer, jax.random.key(0))]
    labels = jnp.zeros(batch_size)

    def whole() -> Any:
        latest[0], info = step(latest[0], x, labels)
        return info.cost

    centres = x["tokens"][:, 5:-5].reshape(-1)
    contexts = jnp.concatenate([x["tokens"].reshape(-1), x["negatives"].reshape(-1)])

    def moved(table: Any, rows: Any) -> Any:
        gradient = row_gradient(rows, table[rows], n_words)
        return table.at[gradient.rows].add(-1e-3 * gradient.values, mode="drop", unique_indices=True,
                                           indices_are_sorted=True)

    rows_alone = jax.jit(lambda a, b, at, beside: (moved(a, at), moved(b, beside)), donate_argnums=(0, 1))
    tables = [jnp.array(params[name]["table"]) for name in ("input", "output")]

    def alone() -> Any:
        tables[:] = rows_alone(*tables, centres, contexts)
        return tables

    return whole, alone, pairs_of(batch)


def _least(call: Any, rounds: int) -> float:
    jax.block_until_ready(call())
    seconds = []
    for _ in range(rounds):
        begin = time.process_time()
        jax.block_until_ready(call())
        seconds.append(time.process_time() - begin)
    return min(seconds)
