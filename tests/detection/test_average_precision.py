"""Average precision: a list worked out by hand, a second implementation, what is ignored, errors."""

import re

import numpy as np
import pytest

from jaxnn.detection import (
    COCO_THRESHOLDS,
    IGNORED,
    Detections,
    Truth,
    average_precision,
    mean_average_precision,
    precision_recall,
)


def box(x, y=0.0, side=10.0):
    return [x, y, x + side, y + side]


# Two pictures, four true boxes of class 0, seven detections. Of boxes of side 10 that are moved by d along x the IoU is
# (10 - d) / (10 + d): 1 moved by 0, 9/11 = .82 by 1, 8/12 = .67 by 2, 5/15 = .33 by 5.
TRUTH = [Truth([box(0), box(100)], [0, 0]), Truth([box(0), box(100), box(300)], [0, 0, 1])]
FOUND = [Detections([box(1), box(2), box(50), box(105)], [0.9, 0.8, 0.6, 0.3], [0, 0, 0, 0]),
         Detections([box(2), box(100), box(300)], [0.7, 0.5, 0.95], [0, 0, 0])]
# By score: .95 wrong (its box is of class 1), .9 right, .8 wrong (its box is found), .7 right, .6 wrong, .5 right,
# .3 wrong (IoU .33).
PRECISION = [0, 1 / 2, 1 / 3, 2 / 4, 2 / 5, 3 / 6, 3 / 7]
RECALL = [0, 1 / 4, 1 / 4, 2 / 4, 2 / 4, 3 / 4, 3 / 4]


def test_a_list_by_hand():
    """The raised precision is 1/2 up to a recall of 3/4, and 0 beyond: AP is 3/8."""
    curve = precision_recall(FOUND, TRUTH, 0)
    np.testing.assert_allclose(curve.precision, PRECISION)
    np.testing.assert_allclose(curve.recall, RECALL)
    assert curve.scores.tolist() == [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3] and curve.true_boxes == 4
    assert average_precision(FOUND, TRUTH, 0) == pytest.approx(3 / 8)
    # Recalls 0, .1, ... .7 have 1/2, and .8, .9, 1 have 0.
    assert average_precision(FOUND, TRUTH, 0, points=11) == pytest.approx(8 / 22)
    assert average_precision(FOUND, TRUTH, 0, points=101) == pytest.approx(76 / 202)


def test_ten_thresholds_by_hand():
    """At .5, .55, .6, .65 as above. At .7, .75, .8 the .7 detection (IoU .67) is wrong, and one of the two others for
    the first box, of .82, is right: precision 1/2 at recall 1/4, 2/6 at 2/4: 1/8 + 1/12. From .85 on only the one of
    IoU 1 is right: 1/6 up to 1/4."""
    expected = [3 / 8] * 4 + [1 / 8 + 1 / 12] * 3 + [1 / 24] * 3
    each = [average_precision(FOUND, TRUTH, 0, iou_thresholds=t) for t in COCO_THRESHOLDS]
    np.testing.assert_allclose(each, expected)
    assert average_precision(FOUND, TRUTH, 0, iou_thresholds=COCO_THRESHOLDS) == pytest.approx(np.mean(expected))
    assert len(COCO_THRESHOLDS) == 10


def second(found, truth, label, threshold):
    """AP as the sum over true boxes of the best precision at which it, or more, is found; in loops."""
    rows = sorted(((-s, i, j) for i, d in enumerate(found) for j, (s, c) in enumerate(zip(d.scores, d.labels))
                   if c == label))
    taken, right, ranks = set(), 0, []
    n_true = sum(c == label for t in truth for c in t.labels)
    for rank, (_, i, j) in enumerate(rows, 1):
        best, chosen = threshold, None
        for k, (other, c) in enumerate(zip(truth[i].boxes, truth[i].labels)):
            if c != label or (i, k) in taken:
                continue
            a = found[i].boxes[j]
            w, h = min(a[2], other[2]) - max(a[0], other[0]), min(a[3], other[3]) - max(a[1], other[1])
            shared = max(w, 0) * max(h, 0)
            q = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)
            if q >= best and (chosen is None or q > best):
                best, chosen = q, (i, k)
        if chosen:
            taken.add(chosen)
            right += 1
            ranks.append(right / rank)
    return sum(max(ranks[k:]) for k in range(len(ranks))) / n_true


@pytest.mark.parametrize("seed", range(5))
def test_beside_a_second_implementation(seed):
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(6):
        n, m = rng.integers(0, 7), rng.integers(0, 5)
        corners = rng.uniform(0, 20, (m, 2))
        true = np.concatenate([corners, corners + rng.uniform(5, 15, (m, 2))], 1)
        near = true[rng.integers(0, m, n)] + rng.normal(0, 1.5, (n, 4)) if m else np.tile([0.0, 0, 9, 9], (n, 1))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        found.append(Detections(near, rng.uniform(0, 1, n), rng.integers(0, 2, n)))
        truth.append(Truth(true, rng.integers(0, 2, m)))
    for label in (0, 1):
        for threshold in (0.3, 0.5, 0.75):
            assert average_precision(found, truth, label, iou_thresholds=threshold) == pytest.approx(
                second(found, truth, label, threshold), abs=1e-12)


def test_all_right_and_none_found():
    perfect = [Detections(t.boxes, np.ones(len(t.boxes)), t.labels) for t in TRUTH]
    nothing = [Detections(np.zeros((0, 4)), [], []) for _ in TRUTH]
    assert mean_average_precision(perfect, TRUTH, 2, iou_thresholds=COCO_THRESHOLDS) == 1
    assert mean_average_precision(nothing, TRUTH, 2) == 0
    assert np.isnan(average_precision(perfect, TRUTH, 5))
    assert mean_average_precision(perfect, TRUTH, 6) == 1  # classes without a true box are left out


def test_what_is_ignored_is_neither_right_nor_wrong():
    truth = [Truth([box(0), box(100)], [0, IGNORED])]
    found = [Detections([box(100), box(1), box(50)], [0.9, 0.8, 0.7], [0, 0, 0])]
    curve = precision_recall(found, truth, 0)
    assert curve.precision.tolist() == [1, 0.5] and curve.true_boxes == 1 and curve.scores.tolist() == [0.8, 0.7]
    assert average_precision(found, [Truth(truth[0].boxes[:1], [0])], 0) == 0.5


@pytest.mark.parametrize(("call", "words"), [
    (lambda: precision_recall(FOUND[:1], TRUTH, 0), "detections for each of 2 pictures; got 1"),
    (lambda: precision_recall([Detections([box(0)], [np.nan], [0])], TRUTH[:1], 0),
     "precision_recall, picture 0, expects scores that can be ordered; got NaN at index 0"),
    (lambda: precision_recall([Detections([[5, 0, 1, 1]], [1.0], [0])], TRUTH[:1], 0),
     "picture 0, expects boxes as (left, top, right, bottom), upright"),
    (lambda: precision_recall([Detections([box(0)], [1.0, 2.0], [0])], TRUTH[:1], 0), "scores of shape (1,)"),
    (lambda: average_precision(FOUND, TRUTH, 0, iou_thresholds=0), "iou_threshold in (0, 1]; got 0"),
    (lambda: average_precision(FOUND, TRUTH, 0, iou_thresholds=[]), "at least one IoU threshold; got none"),
    (lambda: mean_average_precision(FOUND[:1], [Truth([], [])], 2), "a true box of at least one class; got none"),
], ids=range(7))
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
