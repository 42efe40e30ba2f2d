"""Counts of right and wrong predictions of classes."""

from typing import Any

import numpy as np

from jaxnn.checks import as_numpy, expect, is_integer

__all__ = ["accuracy", "confusion_matrix", "intersection_over_union"]


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
    expect(is_integer(n_classes, 1), "confusion_matrix", "n_classes, a positive integer", repr(n_classes))
    predictions, labels = _classes("confusion_matrix", predictions, labels)
    both = np.concatenate([predictions, labels])
    expect(np.issubdtype(both.dtype, np.integer), "confusion_matrix", "integer classes", str(both.dtype),
           "number them by np.unique(..., return_inverse=True)")
    expect(both.min() >= 0 and both.max() < n_classes,
           "confusion_matrix", f"integer classes in 0 .. {n_classes - 1}",
           f"{both.dtype} from {both.min()} to {both.max()}")
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def intersection_over_union(counts: Any) -> np.ndarray:
    """Of each class i, the examples of i predicted as i, over those that are of i or predicted as i: in [0, 1].

        IoU_i = counts_ii / (Σ_j counts_ij + Σ_j counts_ji - counts_ii)

    The examples are pixels, most often, and the counts those of all pixels of a set: means of the IoU of single
    pictures are other numbers. A class without any example, true or predicted, has NaN.

    Args:
      counts: (n_classes, n_classes), as of `confusion_matrix`.
    Returns:
      (n_classes,) float64.
    Raises:
      InputError: counts are not whole numbers >= 0, or not of that shape.
    Source: Everingham et al. (2015), The PASCAL visual object classes challenge, section 4.2.

    >>> intersection_over_union([[3, 1], [0, 2]]).tolist()
    [0.75, 0.6666666666666666]
    """
    counts = as_numpy("intersection_over_union", "counts", counts)
    expect(counts.ndim == 2 and counts.shape[0] == counts.shape[1] >= 1, "intersection_over_union",
           "counts of shape (n_classes, n_classes)", str(counts.shape), "take them from confusion_matrix")
    is_count = counts.dtype.kind in "iu" and counts.min() >= 0
    expect(is_count, "intersection_over_union", "counts, integers >= 0",
           str(counts.dtype) + (f" from {counts.min()}" if counts.dtype.kind in "iu" else ""))
    counts = counts.astype(np.float64)
    both = np.diag(counts)
    either = counts.sum(0) + counts.sum(1) - both
    return np.where(either > 0, both / np.where(either > 0, either, 1), np.nan)


def _classes(who: str, predictions: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    predictions, labels = (as_numpy(who, name, x) for name, x in (("predictions", predictions), ("labels", labels)))
    expect(predictions.ndim == 1 and predictions.shape == labels.shape and len(labels) > 0, who,
           "predictions and labels of one shape (B,), B >= 1", f"{predictions.shape} and {labels.shape}",
           "take argmax(axis=-1) of logits")
    for name, x in (("predictions", predictions), ("labels", labels)):
        # Numbers that are whole may be kept as floats; probabilities would be counted as wrong, every one.
        is_class = x.dtype.kind in "biuUS" or (x.dtype.kind == "f" and bool(np.all(x == np.round(x))))
        expect(is_class, who, f"classes as {name}, integers or text", f"{x.dtype} such as {x[0]!r}",
               "take argmax(axis=-1), or compare a probability with its threshold")
    expect((predictions.dtype.kind in "US") == (labels.dtype.kind in "US"), who, "predictions and labels of one kind",
           f"{predictions.dtype} and {labels.dtype}")
    return predictions, labels
