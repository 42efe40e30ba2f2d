"""From many scored boxes to few: a threshold for scores, and suppression of what overlaps a better box.

Sizes are static, so that all of it compiles: each function has a number of slots, says how many of them are filled, and
whether more boxes would have come. Places in slots beyond are -1. A NaN score is refused where it is known at the call,
and is never chosen in a compiled program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.detection.boxes import expect_boxes, expect_labels, expect_scores, expect_upright
from jaxnn.detection.overlap import iou

__all__ = ["Kept", "best_classes", "filter_scores", "non_max_suppression", "soft_non_max_suppression"]


class Kept(NamedTuple):
    """Which boxes are kept, the highest score first.

    places: (slots,) int32, their rows; -1 in slots beyond `n`.
    scores: (slots,); 0 beyond.
    n: (), how many slots are filled.
    more: (), whether a box was left for which there was no slot.
    """

    places: Any
    scores: Any
    n: Any
    more: Any


def best_classes(confidence: Any, probabilities: Any) -> tuple[Any, Any]:
    """(scores (n,), labels (n,)): of each box confidence times probability of its best class, and that class.

    Args:
      confidence: (n,), the probability that there is an object.
      probabilities: (n, classes), of each class if there is one.
    """
    expect_scores("best_classes", "confidence", confidence, jnp.shape(probabilities)[0] if jnp.ndim(probabilities)
                  else -1)
    expect(jnp.ndim(probabilities) == 2 and jnp.shape(probabilities)[1] >= 1, "best_classes",
           "probabilities of shape (n, classes)", str(jnp.shape(probabilities)))
    scores = confidence[:, None] * probabilities
    return jnp.max(scores, 1), jnp.argmax(scores, 1)


def filter_scores(scores: Any, *, threshold: float, slots: int) -> Kept:
    """The boxes whose score is at least the threshold, of equal ones the first row first.

    Args:
      scores: (n,).
      threshold: a finite number.
      slots: how many there is room for, at least 1.
    """
    who = "filter_scores"
    expect_scores(who, "scores", scores, jnp.shape(scores)[0] if jnp.ndim(scores) else -1)
    _expect_numbers(who, slots, threshold=threshold)
    passing = scores >= threshold
    found = jnp.sum(passing)
    n_top = min(slots, len(scores))
    # Stable: top_k takes the lower index of two equal scores.
    best, rows = lax.top_k(jnp.where(passing, scores, -jnp.inf), n_top)
    best, rows = (jnp.concatenate([part, jnp.zeros(slots - n_top, part.dtype)]) for part in (best, rows))
    n = jnp.minimum(found, n_top)
    filled = jnp.arange(slots) < n
    return Kept(jnp.where(filled, rows, -1).astype(jnp.int32), jnp.where(filled, best, 0), n, found > slots)


def non_max_suppression(boxes: Any, scores: Any, labels: Any = None, *, slots: int, iou_threshold: float = 0.5,
                        score_threshold: float = 0.0, classes: int | None = None) -> Kept:
    """Again and again the best box that is left, and away with those whose IoU with it is above the threshold.

    Args:
      boxes: (n, 4), corners.
      scores: (n,).
      labels: (n,) integers: a box suppresses those of its class alone. None for suppression over all, which is what
        the course does.
      slots: the most boxes that are kept.
      iou_threshold: in [0, 1]; two boxes of just this IoU both stay.
      score_threshold: boxes below are not kept.
      classes: how many, if labels are to be held against it.
    Raises:
      InputError: boxes, scores or labels do not fit together; a box is upside down, a score NaN.
    Source: of the loop Dalal & Triggs (2005); of its use here the course, which calls TensorFlow's.

    >>> boxes = jnp.array([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]])
    >>> non_max_suppression(boxes, jnp.array([0.8, 0.9, 0.3]), slots=3).places.tolist()
    [1, 2, -1]
    """
    _expect_candidates("non_max_suppression", boxes, scores, labels, classes)
    _expect_numbers("non_max_suppression", slots, score_threshold=score_threshold)
    _expect_part("non_max_suppression", "iou_threshold", iou_threshold)

    def decayed(left: Any, q: Any) -> Any:
        return jnp.where(q > iou_threshold, -jnp.inf, left)

    return _greedy(boxes, scores, labels, slots, score_threshold, decayed)


def soft_non_max_suppression(boxes: Any, scores: Any, labels: Any = None, *, slots: int, sigma: float = 0.5,
                             iou_threshold: float | None = None, score_threshold: float = 0.001,
                             classes: int | None = None) -> Kept:
    """As `non_max_suppression`, but what overlaps a better box only loses score, so that a car behind a car may stay.

    Args:
      boxes, scores, labels, slots, score_threshold, classes: as there. `scores` of the result are those that are left.
      sigma: a score is multiplied by e^(-q²/σ), q its IoU with the better box.
      iou_threshold: in place of that by 1 - q, where q is above this threshold; None for the former.
    Source: Bodla et al. (2017), eq. 2 and 3.
    """
    who = "soft_non_max_suppression"
    _expect_candidates(who, boxes, scores, labels, classes)
    _expect_numbers(who, slots, score_threshold=score_threshold)
    expect(is_number(sigma) and sigma > 0, who, "sigma, a finite number above 0", repr(sigma))
    if iou_threshold is not None:
        _expect_part(who, "iou_threshold", iou_threshold)

    def decayed(left: Any, q: Any) -> Any:
        if iou_threshold is None:
            return left * jnp.exp(-q * q / sigma)
        return jnp.where(q > iou_threshold, left * (1 - q), left)

    return _greedy(boxes, scores, labels, slots, score_threshold, decayed)


def _greedy(boxes: Any, scores: Any, labels: Any, slots: int, score_threshold: float, decayed: Callable) -> Kept:
    """decayed: (scores left, IoU with the chosen box) -> scores left."""
    boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
    labels = None if labels is None else jnp.asarray(labels)
    rows = jnp.arange(len(boxes))
    if not len(boxes):
        none = jnp.zeros((), jnp.int32)
        return Kept(jnp.full(slots, -1, jnp.int32), jnp.zeros(slots, scores.dtype), none, none > 0)
    # Never chosen: what is below the threshold, and NaN, of which no comparison is true.
    left = jnp.where(scores >= score_threshold, scores, -jnp.inf)

    def choose(slot: Any, carry: Any) -> Any:
        left, places, kept, n = carry
        best = jnp.argmax(left)
        score = left[best]
        is_good = score >= score_threshold
        q = iou(jnp.broadcast_to(boxes[best], boxes.shape), boxes)
        if labels is not None:
            q = jnp.where(labels == labels[best], q, 0)
        after = jnp.where(rows == best, -jnp.inf, decayed(left, q))
        return (jnp.where(is_good, after, left), places.at[slot].set(jnp.where(is_good, best, -1).astype(jnp.int32)),
                kept.at[slot].set(jnp.where(is_good, score, 0)), n + is_good)

    begin = (left, jnp.full(slots, -1, jnp.int32), jnp.zeros(slots, scores.dtype), jnp.zeros((), jnp.int32))
    left, places, kept, n = jax.lax.fori_loop(0, slots, choose, begin)
    return Kept(places, kept, n, jnp.any(left >= score_threshold))


def _expect_candidates(who: str, boxes: Any, scores: Any, labels: Any, classes: int | None) -> None:
    expect_boxes(who, "boxes", boxes, rank=2)
    expect_upright(who, "boxes", boxes, "corners")
    expect_scores(who, "scores", scores, jnp.shape(boxes)[0])
    if labels is not None:
        expect_labels(who, labels, jnp.shape(boxes)[0], classes)


def _expect_numbers(who: str, slots: Any, **thresholds: Any) -> None:
    expect(is_integer(slots, 1), who, "slots, a positive integer", repr(slots))
    for name, value in thresholds.items():
        expect(is_number(value), who, f"{name}, a finite number", repr(value))


def _expect_part(who: str, name: str, value: Any) -> None:
    expect(is_number(value, 0, 1), who, f"{name} in [0, 1]", repr(value))
