"""Whether probabilities are what they say: of the examples with a confidence of 0.9, nine of ten should be right.

    confidence     max_k p_k of each example, dealt to bins
    ECE            Σ over the bins n_bin / n |accuracy_bin - confidence_bin|
    temperature    T that has the least cost for softmax(z / T): above 1 where a network is too sure

Source: Guo et al. (2017), On calibration of modern neural networks.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from jaxnn.analysis import intervals
from jaxnn.checks import as_numpy, expect, is_integer
from jaxnn.data.extra import import_extra

__all__ = ["Calibration", "CalibrationBin", "calibration", "fit_temperature"]


class CalibrationBin(NamedTuple):
    """The examples of nearly the same confidence."""

    n: int
    confidence: float
    """Its mean."""
    accuracy: float
    interval: tuple[float, float]
    """Of the accuracy, 95 %."""


class Calibration(NamedTuple):
    """How far confidences are from accuracies."""

    bins: tuple[CalibrationBin, ...]
    """Those that have examples, by confidence."""
    ece: float
    """Expected calibration error, in [0, 1]. Few examples make it larger than it is."""
    overconfidence: float
    """Mean confidence less accuracy; above 0 where the network is too sure."""
    overconfidence_interval: tuple[float, float]
    log_loss: float
    """Mean cross-entropy, nats, by scikit-learn."""
    brier: float
    """Mean Σ_k (p_k - y_k)², in [0, 2]."""


def calibration(probabilities: Any, labels: Any, *, bins: int = 10) -> Calibration:
    """Accuracy against confidence.

    Args:
      probabilities: (n, n_classes), each row summing to 1, n >= 2.
      labels: (n,) integers in 0 .. n_classes - 1.
      bins: of equal width over 0 .. 1.
    Raises:
      ModuleNotFoundError: scikit-learn is not installed.
      InputError: an argument is not as above.

    >>> p = np.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]])
    >>> calibration(p, np.array([0, 0, 0, 0, 1])).ece
    0.0
    """
    who = "calibration"
    p, labels = as_numpy(who, "probabilities", probabilities).astype(np.float64), as_numpy(who, "labels", labels)
    expect(p.ndim == 2 and p.shape[0] >= 2 and p.shape[1] >= 2, who,
           "probabilities of shape (n, n_classes), n >= 2, n_classes >= 2", str(p.shape))
    sums = p.sum(1)
    expect(bool((p >= 0).all() and (np.abs(sums - 1) < 1e-3).all()), who, "probabilities, rows that sum to 1",
           f"rows that sum to {sums.min():g} .. {sums.max():g}", "take the softmax of logits")
    _expect_labels(who, labels, p.shape)
    expect(is_integer(bins, 1), who, "bins, a positive integer", repr(bins))
    metrics = import_extra("sklearn.metrics", who)
    p = p / sums[:, None]  # of float32, a row sums to 1 within 1e-6
    confidence, right = p.max(1), p.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for b in np.unique(place):
        within = place == b
        n, n_right = int(within.sum()), int(right[within].sum())
        rows.append(CalibrationBin(n, float(confidence[within].mean()), n_right / n,
                                   intervals.of_fraction(n_right, n)))
    ece = sum(row.n * abs(row.accuracy - row.confidence) for row in rows) / len(p)
    over = confidence - right
    one_hot = np.eye(p.shape[1])[labels]
    return Calibration(tuple(rows), float(ece), float(over.mean()), intervals.of_mean(over),
                       float(metrics.log_loss(labels, p, labels=np.arange(p.shape[1]))),
                       float(np.square(p - one_hot).sum(1).mean()))


def fit_temperature(logits: Any, labels: Any) -> float:
    """The T > 0 with the least mean cross-entropy of softmax(logits / T): one number, fitted on a dev set.

    Args:
      logits: (n, n_classes).
      labels: (n,) integers in 0 .. n_classes - 1.
    Raises:
      InputError: an argument is not as above; or no label is wrong, and T would be 0.
    The cost is convex in 1 / T, so that its one minimum is found. T does not change which class is the likeliest.
    """
    who = "fit_temperature"
    z, labels = as_numpy(who, "logits", logits).astype(np.float64), as_numpy(who, "labels", labels)
    expect(z.ndim == 2 and len(z) > 0 and z.shape[1] >= 2 and bool(np.isfinite(z).all()), who,
           "finite logits of shape (n, n_classes), n_classes >= 2", f"shape {z.shape}")
    _expect_labels(who, labels, z.shape)
    expect(bool((z.argmax(1) != labels).any()), who, "at least one example that is wrong",
           f"{len(z)} that are right", "without one, T = 0 is best; fit on more examples")
    chosen = z[np.arange(len(z)), labels]

    def cost(log_b: float) -> float:
        b = np.exp(log_b)
        return float((logsumexp(b * z, axis=1) - b * chosen).mean())

    return float(np.exp(-minimize_scalar(cost, bounds=(-8, 8), method="bounded", options={"xatol": 1e-6}).x))


def _expect_labels(who: str, labels: np.ndarray, shape: tuple[int, ...]) -> None:
    fits = labels.shape == shape[:1] and labels.dtype.kind in "iu"
    expect(fits and bool((labels >= 0).all() and (labels < shape[1]).all()), who,
           f"labels, ({shape[0]},) integers in 0 .. {shape[1] - 1}", f"{labels.dtype} of shape {labels.shape}")
