"""One number out of several: precision and recall of each class with their intervals, and means of several measures."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxnn.analysis import intervals
from jaxnn.checks import as_numpy, expect, is_number
from jaxnn.data.extra import import_extra

__all__ = ["PrecisionRecall", "precision_recall", "single_number"]

KINDS = ("mean", "harmonic", "worst")
Ends = tuple[float, float]


class PrecisionRecall(NamedTuple):
    """Of one class against all others."""

    precision: float
    """Of the examples that are given the class, those that are of it; NaN where none is given it."""
    precision_interval: Ends
    recall: float
    """Of the examples of the class, those that are given it; NaN where there is none."""
    recall_interval: Ends
    f1: float
    """2 / (1 / precision + 1 / recall) = 2 n_both / (n_given + n_true)."""
    f1_interval: Ends
    n: int
    """Examples of the class."""


def precision_recall(predictions: Any, labels: Any) -> dict[Any, PrecisionRecall]:
    """Precision, recall and F1 of each class that occurs, by scikit-learn, with their intervals of 95 %.

    Args:
      predictions, labels: (n,) classes, n >= 2.
    Raises:
      ModuleNotFoundError: scikit-learn is not installed.
      InputError: an argument is not as above.

    >>> precision_recall([1, 1, 0, 0], [1, 0, 0, 0])[1][:3:2]
    (0.5, 1.0)
    """
    who = "precision_recall"
    predictions, labels = (as_numpy(who, name, a) for name, a in (("predictions", predictions), ("labels", labels)))
    expect(predictions.ndim == 1 and predictions.shape == labels.shape and len(labels) >= 2, who,
           "predictions and labels of one shape (n,), n >= 2", f"{predictions.shape} and {labels.shape}")
    metrics = import_extra("sklearn.metrics", who)
    classes = np.unique(np.concatenate([predictions, labels]))
    scores = metrics.precision_recall_fscore_support(labels, predictions, labels=classes, zero_division=np.nan)
    result = {}
    for c, precision, recall, f1, n in zip(classes.tolist(), *scores, strict=True):
        given, true = predictions == c, labels == c
        both, n_given = int((given & true).sum()), int(given.sum())
        result[c] = PrecisionRecall(
            float(precision), intervals.of_fraction(both, n_given) if n_given else (0.0, 1.0),
            float(recall), intervals.of_fraction(both, int(n)) if n else (0.0, 1.0),
            float(f1), intervals.of_ratio(2.0 * (given & true), given.astype(float) + true), int(n))
    return result


def single_number(measures: Mapping[str, float], kind: str = "mean", *,
                  weights: Mapping[str, float] | None = None) -> float:
    """One number by which to compare, out of several of the same unit.

        mean      Σ w_i m_i / Σ w_i            harmonic    Σ w_i / Σ (w_i / m_i), which is near the smallest
        worst     min_i m_i

    Args:
      measures: by name, such as the accuracies in several countries; at least 0 for the harmonic mean, and the larger
        the better for "harmonic" and "worst".
      weights: by the same names, such as the number of users; at least 0, not all 0. None weighs all alike.
    Raises:
      InputError: an argument is not as above.

    >>> round(single_number({"precision": 0.95, "recall": 0.9}, "harmonic"), 4)
    0.9243
    """
    who = "single_number"
    expect(isinstance(measures, Mapping) and len(measures) > 0 and all(is_number(m) for m in measures.values()), who,
           "measures, {name: number}, at least one", repr(measures))
    expect(kind in KINDS, who, f"kind, one of {', '.join(KINDS)}", repr(kind))
    names = list(measures)
    values = np.array([measures[name] for name in names], float)
    share = np.ones(len(names))
    if weights is not None:
        expect(isinstance(weights, Mapping) and set(weights) == set(names)
               and all(is_number(w, 0) for w in weights.values()) and sum(weights.values()) > 0, who,
               f"weights of {', '.join(names)}, at least 0 and not all 0", repr(weights))
        expect(kind != "worst", who, "no weights where kind is 'worst'", repr(weights))
        share = np.array([weights[name] for name in names], float)
    if kind == "worst":
        return float(values.min())
    if kind == "mean":
        return float(share @ values / share.sum())
    expect(bool((values >= 0).all()), who, "measures of at least 0 for the harmonic mean", repr(measures))
    counted = share > 0
    if (values[counted] == 0).any():
        return 0.0
    return float(share.sum() / (share[counted] / values[counted]).sum())
