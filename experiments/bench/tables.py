"""A step on two tables of words, as skip-gram with negative samples takes them: rows alone are differentiated and
moved, so a step on many words should take as long as one on few."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench.measure import Side
from jaxnn.gradients.cost import temporaries
from jaxnn.ops import binary_cross_entropy, embedding
from jaxnn.training import make_step, start_from
from jaxnn.training.rows import RowOptimizer, by_rows, row_adagrad, row_adam, row_sgd

__all__ = ["OPTIMIZERS", "skip_gram_step"]

OPTIMIZERS: dict[str, RowOptimizer] = {"sgd": row_sgd(0.1), "adagrad": row_adagrad(0.1), "adam": row_adam(1e-3)}


def skip_gram_step(optimizer: str, words: tuple[int, ...] = (10_000, 1_000_000), d: int = 64, batch: int = 1024,
                   negatives: int = 5) -> list[Side]:
    """One side for each number of words. A step has `batch` centres, each with a word beside it and some elsewhere."""
    return [_stepping(OPTIMIZERS[optimizer], n, d, batch, negatives) for n in words]


def _layer(params: Any, state: Any, x: Any, key: Any, *, train: bool) -> Any:
    centre, others = x
    return embedding(params["beside"], others) @ embedding(params["centre"], centre), state


def _stepping(rows: RowOptimizer, words: int, d: int, batch: int, negatives: int) -> Side:
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {name: {"table": jnp.asarray(rng.standard_normal((words, d), np.float32))}
                              for name in ("centre", "beside")}
    # Each word once, so that as many rows are read of few words as of many.
    centre, others = rng.choice(words, batch, replace=False), rng.choice(words, batch * (1 + negatives), replace=False)
    x = jnp.asarray(centre), jnp.asarray(others.reshape(batch, 1 + negatives))
    labels = jnp.zeros((batch, 1 + negatives)).at[:, 0].set(1)
    optimizer = by_rows(optax.sgd(0.1), rows, True)
    step = make_step(_layer, binary_cross_entropy, optimizer)
    latest = [start_from(params, {}, optimizer, jax.random.key(0))]
    temporary = temporaries(step.lower(latest[0], x, labels).compile())

    def call() -> Any:
        latest[0], info = step(latest[0], x, labels)
        return info.cost

    return Side(f"{words:,} words", call, temporary)
