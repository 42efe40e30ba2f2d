"""Wrong labels, found while a network is trained once: the examples that pull hardest and longest.

    score of example b = mean over the first epochs of ‖g_b‖ / mean_b' ‖g_b'‖

A network learns what its examples have in common first, and single wrong labels by heart later. In the first epochs an
example with a wrong label so keeps a large loss and a large gradient, g_b = ∂L_b/∂params. Its norm comes from one more
forward and backward pass over the examples for each epoch (jaxnn.inside.per_example), and neither folds nor a second
network are needed. Each epoch is divided by its mean, for the norms shrink and grow as a whole in the training.

Source: Paul, Ganguli & Dziugaite (2021), Deep learning on a data diet (the norm, GraNd), for the score; Arpit et al.
(2017), A closer look at memorization, for why.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.analysis import intervals
from jaxnn.checks import as_numpy, expect, is_integer
from jaxnn.data import Batches
from jaxnn.inside import per_example
from jaxnn.training import Step, start

__all__ = ["Scores", "Suspects", "scores_in_training", "suspects"]


class Scores(NamedTuple):
    """What each of n examples did after each epoch of a training."""

    norms: np.ndarray
    """‖g_b‖, (n_epochs, n)."""
    leaf_norms: Any
    """The same of each leaf of params, in the structure of params, each (n_epochs, n). Of the bias of a last dense
    layer under a softmax it is ‖p_b - y_b‖, which is known as EL2N."""
    losses: np.ndarray
    """(n_epochs, n), in the units of the loss."""
    params: Any
    """Of the network after the last epoch."""
    state: Any


class Suspects(NamedTuple):
    """Examples in the order of suspicion."""

    order: np.ndarray
    """(n,) places, the most suspicious first."""
    scores: np.ndarray
    """(n,) of each example, in the order of the examples."""

    def rank(self, example: int) -> int:
        """The example's place in the order, 0 for the most suspicious."""
        return int(np.flatnonzero(self.order == example)[0])

    def precision_at(self, k: int, is_wrong: Any) -> tuple[float, tuple[float, float]]:
        """The part of the first k that is wrong, and its interval of 95 %.

        Args:
          is_wrong: (n,) bools, as far as known.
        """
        is_wrong = as_numpy("Suspects.precision_at", "is_wrong", is_wrong)
        expect(is_wrong.shape == self.order.shape and is_wrong.dtype == bool, "Suspects.precision_at",
               f"is_wrong, {self.order.shape} bools", f"{is_wrong.dtype} of shape {is_wrong.shape}")
        expect(is_integer(k, 1) and k <= len(self.order), "Suspects.precision_at", f"k in 1 .. {len(self.order)}",
               repr(k))
        n = int(is_wrong[self.order[:k]].sum())
        return n / k, intervals.of_fraction(n, k)


def suspects(scores: Any) -> Suspects:
    """Examples by the mean of their scores over the epochs.

    Args:
      scores: (n_epochs, n) numbers >= 0, such as `Scores.norms` or `Scores.losses`; or (n,).

    >>> suspects([[1.0, 3.0, 2.0], [10.0, 30.0, 60.0]]).order.tolist()
    [2, 1, 0]
    """
    array = np.atleast_2d(as_numpy("suspects", "scores", scores).astype(float))
    expect(array.ndim == 2 and array.size > 0 and bool(np.isfinite(array).all() and (array >= 0).all()), "suspects",
           "scores of shape (n_epochs, n), finite numbers >= 0", f"shape {array.shape}")
    mean = array.mean(1, keepdims=True)
    score = (array / np.where(mean > 0, mean, 1)).mean(0)
    return Suspects(np.argsort(-score, kind="stable"), score)


def scores_in_training(step: Step, x: Any, labels: Any, *, epochs: int, batch_size: int, seed: int,
                       block: int = 512) -> Scores:
    """Trains a network from new weights, and takes the norm and the loss of each example after each epoch.

    Args:
      step: from `make_step`, of a network that treats each example by itself in inference.
      x, labels: all examples, (n, ...) and (n, ...), arrays.
      epochs: the first ones; a few, for later on wrong labels are known by heart.
      batch_size: of the training.
      seed: of the weights, the batches and what is random in training.
      block: how many examples are scored at a time, which bounds the memory.
    Raises:
      InputError: an argument is not as above.
    """
    who = "scores_in_training"
    expect(is_integer(epochs, 1), who, "epochs, a positive integer", repr(epochs))
    expect(is_integer(block, 1), who, "block, a positive integer", repr(block))
    x, labels = np.asarray(x), np.asarray(labels)
    batches = Batches(x, labels, batch_size, seed=seed)
    train_state = start(step.layer, step.optimizer, x.shape[1:], jax.random.key(seed))
    of_epochs, s = [], 0
    for epoch in range(epochs):
        while s < batches.steps(epoch + 1):
            train_state, _ = step(train_state, *batches(s))
            s += 1
        of_epochs.append(_scores(step, train_state.params, train_state.state, x, labels, min(block, len(x))))
    norms, leaf_norms, losses = jax.tree.map(lambda *arrays: np.stack(arrays), *of_epochs)
    return Scores(norms, leaf_norms, losses, train_state.params, train_state.state)


def _scores(step: Step, params: Any, state: Any, x: np.ndarray, labels: np.ndarray,
            block: int) -> tuple[np.ndarray, Any, np.ndarray]:
    """(norms, leaf_norms, losses) of all examples. The last block begins earlier, so that one program serves all."""
    norms, losses = np.empty(len(x), np.float32), np.empty(len(x), np.float32)
    leaf_norms = jax.tree.map(lambda _: np.empty(len(x), np.float32), params)
    for begin in range(0, len(x), block):
        begin = min(begin, len(x) - block)
        part = slice(begin, begin + block)
        found = per_example(step.layer, step.loss, params, state, x[part], labels[part])
        norms[part], losses[part] = found.norms, found.losses
        for kept, values in zip(jax.tree.leaves(leaf_norms), jax.tree.leaves(found.leaf_norms), strict=True):
            kept[part] = values
    return norms, leaf_norms, losses
