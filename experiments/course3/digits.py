"""Handwritten digits, a small network for them, and its training: what several experiments of this course share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from experiments.shared.data import real_or_embedded
from experiments.shared.run import say
from jaxnn import Conv, Dense, Flatten, MaxPool, Sequential, relu
from jaxnn import softmax_cross_entropy as loss
from jaxnn.data import Batches, load_digits, load_usps, split
from jaxnn.training import Step, TrainState, evaluate, make_step, start
from jaxnn.training.train_state import copied

__all__ = ["CHOICES", "WHY", "Digits", "adam", "convnet", "load", "logits", "train"]

CHOICES = ("auto", "usps", "digits")
WHY = "USPS where its file is found, else scikit-learn's digits of 8x8 pixels"
N_CLASSES = 10


class Digits(NamedTuple):
    """Pictures (n, height, width, 1) float32 in 0..1 and their labels (n,), in three parts."""

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    dev_x: np.ndarray
    dev_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load(name: str, data_dir: Path | None, seed: int) -> Digits:
    """The digits by name, one of CHOICES; "auto" prints a line where scikit-learn's take the place of USPS."""
    digits = real_or_embedded(name, "usps", lambda: usps(data_dir, seed), lambda: small_digits(seed),
                              "scikit-learn's digits in place of USPS")
    say(f"{digits.name}: {len(digits.train_x)} training, {len(digits.dev_x)} dev and {len(digits.test_x)} test "
        f"pictures of {digits.train_x.shape[1]}x{digits.train_x.shape[2]} pixels")
    return digits


def usps(data_dir: Path | None, seed: int) -> Digits:
    """USPS has a test set of its own, and dev is a tenth of its training set, dealt by class."""
    found = load_usps(data_dir, instead="--data digits")
    parts = split(len(found.train_x), (0.8, 0.1, 0.1), seed=seed, labels=found.train_y)
    kept = np.concatenate([parts.train, parts.test])  # USPS has a test set: two parts are for training
    x, test_x = (x.astype(np.float32) / 255 for x in (found.train_x, found.test_x))
    return Digits("usps", x[kept], found.train_y[kept], x[parts.dev], found.train_y[parts.dev], test_x, found.test_y)


def small_digits(seed: int) -> Digits:
    """Scikit-learn's, of 8x8 pixels."""
    found = load_digits()
    parts = split(len(found.x), (0.6, 0.2, 0.2), seed=seed, labels=found.y)
    x = found.x.astype(np.float32)[..., None] / found.x.max()
    return Digits("digits", *(array[part] for part in parts for array in (x, found.y)))


def convnet(size: int, channels: tuple[int, int] = (16, 32), hidden: int = 64, classes: int = N_CLASSES) -> Sequential:
    """LeNet's shape: kernels of 5x5, or of 3x3 where a picture has 8 pixels."""
    window = (3, 3) if size < 12 else (5, 5)
    return Sequential(Conv(channels[0], window), relu, MaxPool(2), Conv(channels[1], window), relu, MaxPool(2),
                      Flatten(), Dense(hidden), relu, Dense(classes))


def adam(learning_rate: float, n: int, batch_size: int, epochs: float) -> Any:
    """Adam, whose rate falls to zero as a cosine over so many epochs of n examples."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, max(1, round(epochs * n / batch_size))))


def train(model: Any, x: np.ndarray, y: np.ndarray, *, epochs: float, batch_size: int = 64,
          learning_rate: float = 2e-3, seed: int = 0, augment: Callable | None = None, step: Step | None = None,
          begin: Any = None) -> tuple[Any, Any, list[float]]:
    """(params, state, the cost of each step).

    Args:
      step: one that was compiled before, of an optimiser for as many steps; None makes one.
      begin: (params, state) to start from; None draws new weights.
    """
    batches = Batches(x, y, min(batch_size, len(x)), seed=seed, augment=augment)
    step = step or make_step(model, loss, adam(learning_rate, len(x), batches.batch_size, epochs))
    # To start compiles several programs, so that what is drawn once serves every training of the same seed.
    train_state = jax.tree.map(copied, _started(step, x.shape[1:], seed))
    if begin is not None:
        train_state = train_state._replace(params=jax.tree.map(np.array, begin[0]),
                                           state=jax.tree.map(np.array, begin[1]))
    costs = []
    for s in range(max(1, round(epochs * len(x) / batches.batch_size))):
        train_state, info = step(train_state, *batches(s))
        costs.append(info.cost)
    return train_state.params, train_state.state, np.asarray(costs, float).tolist()


@functools.lru_cache(maxsize=4)
def _started(step: Step, shape: tuple[int, ...], seed: int) -> TrainState:
    return start(step.layer, step.optimizer, shape, jax.random.key(seed))


def logits(model: Any, params: Any, state: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(evaluate(model, params, state, x, batch_size=500))
