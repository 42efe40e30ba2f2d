"""Counts of right and wrong predictions of classes."""

from typing import Any

import numpy as np

from jaxnn.checks import expect

__all__ = ["accuracy", "confusion_matrix"]


def accuracy(predictions: Any, labels: Any) -> float:
    """The fraction of predictions that equal their label, in [0, 1].

    Args:
      predictions, labels: (B,) classes, B >= 1.

    >>> accuracy([1, 0, 1, 1], [1, 0, 0, 1])
    0.75
    """
    predictions, labels = _classes("accuracy", predictions, labels)
    return float(np.mean(predictions == labels))


def confusion_matrix(predictions: Any, labels: Any, n_classes: int) -> np.ndarray:
    """counts[i, j]: how many examples of class i are predicted as j, (n_classes, n_classes) int64.

    >>> confusion_matrix([0, 1, 1], [0, 1, 0], 2).tolist()
    [[1, 1], [0, 1]]
    """
    predictions, labels = _classes("confusion_matrix", predictions, labels)
    both = np.concatenate([predictions, labels])
    expect(np.issubdtype(both.dtype, np.integer) and both.min() >= 0 and both.max() < n_classes,
           "confusion_matrix", f"integer classes in 0 .. {n_classes - 1}",
           f"{both.dtype} from {both.min()} to {both.max()}")
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def _classes(who: str, predictions: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    expect(predictions.ndim == 1 and predictions.shape == labels.shape and len(labels) > 0, who,
           "predictions and labels of one shape (B,), B >= 1", f"{predictions.shape} and {labels.shape}",
           "take argmax(axis=-1) of logits")
    return predictions, labels
