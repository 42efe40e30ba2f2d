"""Average precision: how well detections, ordered by their scores, find the true boxes of many pictures.

Go down the list of all detections of a class, the highest score first. One that has an IoU of at least a threshold with
a true box of its picture that no better one has found is right; any other is wrong. After each of them

    precision = right / (right + wrong)        recall = right / true boxes

and average precision (AP) is the area under precision over recall, each precision first raised to the largest one at
any higher recall. A true box that is to be ignored is none: what finds it is neither right nor wrong.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.detection.boxes import IGNORED, expect_boxes, expect_labels, expect_scores, expect_upright

__all__ = ["COCO_THRESHOLDS", "Curve", "Detections", "Truth", "average_precision", "mean_average_precision",
           "precision_recall"]

COCO_THRESHOLDS = tuple(np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())
"""The ten IoU thresholds .5, .55, ... .95 over which COCO takes the mean."""


class Detections(NamedTuple):
    """Of one picture: boxes (n, 4), corners; scores (n,); labels (n,)."""

    boxes: Any
    scores: Any
    labels: Any


class Truth(NamedTuple):
    """Of one picture: boxes (n, 4), corners; labels (n,), classes or IGNORED."""

    boxes: Any
    labels: Any


class Curve(NamedTuple):
    """Precision and recall down the list of detections that count, (n,) each, with their scores; how many true boxes
    there are."""

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray
    true_boxes: int

    def area(self, points: int | None = None) -> float:
        """AP: the area under the raised curve, or its mean at so many recalls from 0 to 1 (11: VOC 2007, 101: COCO).
        NaN where there is no true box."""
        if not self.true_boxes:
            return float("nan")
        raised = np.maximum.accumulate(self.precision[::-1])[::-1]
        if points is None:
            steps = np.diff(self.recall, prepend=0.0)
            return float(np.sum(steps * raised))
        at = np.searchsorted(self.recall, np.linspace(0, 1, points) - 1e-12)
        return float(np.mean(np.append(raised, 0.0)[at]))


def precision_recall(found: Sequence[Detections], truth: Sequence[Truth], label: int, *,
                     iou_threshold: float = 0.5) -> Curve:
    """The curve of one class over all pictures.

    Of equal scores the first picture's come first, and in it the first row. A detection is given the true box with the
    largest IoU of those that are not found yet, as in COCO, not the largest of all, as in VOC.

    Args:
      found, truth: one for each picture.
      label: the class.
      iou_threshold: in (0, 1].
    Raises:
      InputError: pictures, shapes, labels or scores do not fit.
    """
    _expect_pictures("precision_recall", found, truth)
    expect(is_integer(label, 0), "precision_recall", "label, an integer >= 0", repr(label))
    expect(is_number(iou_threshold, 0, 1) and iou_threshold > 0, "precision_recall", "iou_threshold in (0, 1]",
           repr(iou_threshold))
    scores, verdicts, n_true = [], [], 0
    for detections, true in zip(found, truth, strict=True):
        mine, labels = np.asarray(detections.labels) == label, np.asarray(true.labels)
        of_class = labels == label
        n_true += int(of_class.sum())
        order = np.argsort(-np.asarray(detections.scores)[mine], kind="stable")
        boxes, others = (np.asarray(b, float).reshape(-1, 4) for b in (detections.boxes, true.boxes))
        scores.append(np.asarray(detections.scores, float)[mine][order])
        verdicts.append(_verdicts(boxes[mine][order], others[of_class], others[labels == IGNORED], iou_threshold))
    all_scores, right = np.concatenate([*scores, np.zeros(0)]), np.concatenate([*verdicts, np.zeros(0, int)])
    order = np.argsort(-all_scores, kind="stable")
    order = order[right[order] >= 0]
    hits = np.cumsum(right[order])
    return Curve(hits / np.arange(1, len(hits) + 1), hits / max(n_true, 1), all_scores[order], n_true)


def average_precision(found: Sequence[Detections], truth: Sequence[Truth], label: int, *,
                      iou_thresholds: float | Sequence[float] = 0.5, points: int | None = None) -> float:
    """AP of one class, the mean over the IoU thresholds; NaN where there is no true box of the class.

    points: None for the area itself; 101 for COCO's mean over recalls, 11 for VOC's of 2007.
    """
    expect(points is None or is_integer(points, 2), "average_precision", "points, None or an integer >= 2",
           repr(points))
    thresholds: list[Any] = list(iou_thresholds) if isinstance(iou_thresholds, Sequence) else [iou_thresholds]
    expect(len(thresholds) > 0, "average_precision", "at least one IoU threshold", "none")
    return float(np.mean([precision_recall(found, truth, label, iou_threshold=threshold).area(points)
                          for threshold in thresholds]))


def mean_average_precision(found: Sequence[Detections], truth: Sequence[Truth], classes: int, **options: Any) -> float:
    """The mean AP over the classes that have a true box. options: as of `average_precision`."""
    each = [average_precision(found, truth, label, **options) for label in range(classes)]
    kept = [value for value in each if not np.isnan(value)]
    expect(bool(kept), "mean_average_precision", "a true box of at least one class", "none")
    return float(np.mean(kept))


def _verdicts(boxes: np.ndarray, true: np.ndarray, ignored: np.ndarray, threshold: float) -> np.ndarray:
    """For each detection of one picture, the best first: 1 right, 0 wrong, -1 for one that finds what is ignored."""
    overlap = _table(boxes, true)
    also = _table(boxes, ignored).max(1, initial=0)
    is_free, verdicts = np.ones(len(true), bool), np.zeros(len(boxes), int)
    for i, row in enumerate(overlap):
        best = int(np.argmax(np.where(is_free, row, -1))) if len(row) else -1
        if best >= 0 and is_free[best] and row[best] >= threshold:
            is_free[best], verdicts[i] = False, 1
        elif also[i] >= threshold:
            verdicts[i] = -1
    return verdicts


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): IoU in float64, without compiling a program for each number of boxes."""
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    shared = np.maximum(sides, 0).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)


def _expect_pictures(who: str, found: Sequence[Detections], truth: Sequence[Truth]) -> None:
    expect(len(found) == len(truth), who, f"detections for each of {len(truth)} pictures", str(len(found)))
    for i, (detections, true) in enumerate(zip(found, truth, strict=True)):
        place = f"{who}, picture {i},"
        boxes = np.asarray(detections.boxes, float).reshape(-1, 4)
        for name, values in (("boxes", boxes), ("true boxes", np.asarray(true.boxes, float).reshape(-1, 4))):
            expect_boxes(place, name, values, rank=2)
            expect_upright(place, name, values, "corners")
        expect_scores(place, "scores", np.asarray(detections.scores, float), len(boxes))
        expect_labels(place, np.asarray(detections.labels, int), len(boxes), None)
        expect_labels(place, np.asarray(true.labels, int), len(np.asarray(true.boxes, float).reshape(-1, 4)), None,
                      least=IGNORED)
