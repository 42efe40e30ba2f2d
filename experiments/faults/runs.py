"""Six kinds of training run, each a few hundred short steps on generated data: the runs that the faults are tried on.

    python -m experiments.faults.runs KIND DIRECTORY

trains one with checkpoints in DIRECTORY, and continues from those that are there.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxnn import (
    LSTM,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    MaxPool,
    Residual,
    Sequential,
    relu,
    softmax_cross_entropy,
    tanh,
)
from jaxnn.data import Batches
from jaxnn.training import TrainState, fit, loss_scaled, make_step, start, with_average
from jaxnn.training.step import Step

__all__ = ["KINDS", "STEPS", "begin", "train"]

STEPS = 400
N, BATCH, CLASSES, WORDS, LENGTH = 96, 32, 3, 20, 6


class Kind(NamedTuple):
    """A network, its optimiser, and whether its x are images, words or rows of numbers."""

    layer: Any
    optimizer: Callable[[], Any]
    x: str
    settings: dict[str, Any]


KINDS: dict[str, Kind] = {
    "dense, dropout, Adam": Kind(
        Sequential(Dense(16), relu, Dropout(0.3), Dense(CLASSES)), lambda: optax.adam(1e-2), "rows", {}),
    "conv, batch norm, momentum": Kind(
        Sequential(Conv(4, (3, 3)), BatchNorm(), relu, MaxPool((2, 2)), Flatten(), Dense(CLASSES)),
        lambda: optax.sgd(0.05, momentum=0.9), "images", {}),
    "residual, AdamW, cosine": Kind(
        Sequential(Dense(12), Residual(Sequential(Dense(12), relu, Dense(12))), tanh, Dense(CLASSES)),
        lambda: optax.adamw(optax.cosine_decay_schedule(1e-2, STEPS)), "rows", {"accumulate": 4}),
    "lstm, clipped RMSprop": Kind(
        Sequential(Embedding(WORDS, 8), LSTM(8), Flatten(), Dense(CLASSES)),
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.rmsprop(1e-3)), "words", {}),
    "embedding, bfloat16, averages": Kind(
        Sequential(Embedding(WORDS, 8), Flatten(), Dropout(0.2), Dense(CLASSES)),
        lambda: with_average(optax.adam(1e-2), 0.9), "words", {"precision": "bfloat16"}),
    "conv, float16, loss scale": Kind(
        Sequential(Conv(4, (3, 3)), relu, Flatten(), Dense(CLASSES)),
        lambda: loss_scaled(optax.adam(1e-2), interval=50), "images", {"precision": "float16"}),
}


def begin(name: str) -> tuple[TrainState, Step, Batches]:
    """The run before its first step."""
    kind, random = KINDS[name], np.random.RandomState(0)
    shape: tuple[int, ...] = {"rows": (8,), "images": (8, 8, 1), "words": (LENGTH,)}[kind.x]
    x = (random.randint(0, WORDS, (N, LENGTH)) if kind.x == "words"
         else random.standard_normal((N, *shape)).astype(np.float32))
    labels = random.randint(0, CLASSES, N)
    optimizer = kind.optimizer()
    return (start(kind.layer, optimizer, shape, jax.random.key(0)),
            make_step(kind.layer, softmax_cross_entropy, optimizer, **kind.settings), Batches(x, labels, BATCH))


def train(name: str, directory: Path, *, steps: int = STEPS, save_every: int = 2, keep: int = 3) -> None:
    state, step, batches = begin(name)
    fit(state, step, batches, steps=steps, every=save_every, directory=directory, keep=keep, progress=False,
        configuration={"kind": name})


def main() -> int:
    parser = argparse.ArgumentParser("python -m experiments.faults.runs", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--save-every", type=int, default=2)
    parser.add_argument("--keep", type=int, default=3)
    options = parser.parse_args()
    train(options.kind, options.directory, steps=options.steps, save_every=options.save_every, keep=options.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
