"""Suppression: beside a plain loop, per class and over all, soft; ties, slots, NaN, no box."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.detection import (
    best_classes,
    filter_scores,
    iou,
    non_max_suppression,
    pairwise,
    soft_non_max_suppression,
)
from tests.detection.test_overlap import random_boxes

BOXES = random_boxes(40, 0).astype(np.float32)
SCORES = np.random.default_rng(1).uniform(0, 1, 40).astype(np.float32)
LABELS = np.random.default_rng(2).integers(0, 3, 40)


def in_a_loop(boxes, scores, labels, iou_threshold, score_threshold, soften=None):
    """[(row, score)], the best first; soften: (score, IoU) -> score in place of suppression."""
    left = {i: float(s) for i, s in enumerate(scores)}
    overlap = np.asarray(pairwise(iou, boxes, boxes))
    kept = []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        if left[best] < score_threshold:
            break
        kept.append((best, left.pop(best)))
        for i in list(left):
            if labels is not None and labels[i] != labels[best]:
                continue
            if soften:
                left[i] = soften(left[i], overlap[best, i])
            elif overlap[best, i] > iou_threshold:
                del left[i]
    return kept


@pytest.mark.sampled
@pytest.mark.parametrize("labels", [None, LABELS], ids=["over all", "per class"])
@pytest.mark.parametrize("iou_threshold", [0.1, 0.5])
def test_beside_a_loop(labels, iou_threshold):
    kept = jax.jit(lambda b, s: non_max_suppression(b, s, labels, slots=50, iou_threshold=iou_threshold,
                                                    score_threshold=0.2))(BOXES, SCORES)
    expected = in_a_loop(BOXES, SCORES, labels, iou_threshold, 0.2)
    n = int(kept.n)
    assert 3 < n == len(expected) and not kept.more
    assert kept.places[:n].tolist() == [i for i, _ in expected] and (kept.places[n:] == -1).all()
    np.testing.assert_array_equal(kept.scores[:n], [s for _, s in expected])


def test_per_class_is_each_class_by_itself():
    kept = non_max_suppression(BOXES, SCORES, LABELS, slots=40, iou_threshold=0.3)
    rows = []
    for label in range(3):
        mine = np.flatnonzero(label == LABELS)
        one = non_max_suppression(BOXES[mine], SCORES[mine], slots=40, iou_threshold=0.3)
        rows += mine[np.asarray(one.places[:int(one.n)])].tolist()
    assert sorted(rows) == sorted(kept.places[:int(kept.n)].tolist())


@pytest.mark.parametrize(("options", "soften"), [
    ({"sigma": 0.4}, lambda s, q: s * np.exp(-q * q / 0.4)),
    ({"iou_threshold": 0.3}, lambda s, q: s * (1 - q) if q > 0.3 else s)], ids=["gaussian", "linear"])
def test_soft(options, soften):
    kept = jax.jit(lambda b, s: soft_non_max_suppression(b, s, LABELS, slots=40, score_threshold=0.05, **options))(
        BOXES, SCORES)
    expected = in_a_loop(BOXES, SCORES, LABELS, None, 0.05, soften)
    n = int(kept.n)
    assert kept.places[:n].tolist() == [i for i, _ in expected]
    np.testing.assert_allclose(kept.scores[:n], [s for _, s in expected], rtol=1e-5)
    assert n > int(non_max_suppression(BOXES, SCORES, LABELS, slots=40, iou_threshold=0.3).n)


def test_few_slots_are_told():
    every, few = (non_max_suppression(BOXES, SCORES, slots=slots, iou_threshold=0.9) for slots in (40, 5))
    assert few.more and int(few.n) == 5 and not every.more
    assert few.places.tolist() == every.places[:5].tolist()


def test_of_equal_scores_the_first_and_at_the_threshold_both_stay():
    boxes = jnp.array([[0.0, 0, 2, 1], [1, 0, 3, 1], [0, 0, 2, 1]])
    kept = non_max_suppression(boxes, jnp.full(3, 0.5), slots=3, iou_threshold=1 / 3, score_threshold=0.5)
    assert kept.places.tolist() == [0, 1, -1]  # an IoU of just 1/3, and of 1


def test_no_box_and_nothing_above_the_threshold():
    for boxes, scores in ((jnp.zeros((0, 4)), jnp.zeros(0)), (BOXES, 0.1 * SCORES)):
        for suppress in (non_max_suppression, soft_non_max_suppression):
            kept = suppress(boxes, scores, slots=3, score_threshold=0.5)
            assert int(kept.n) == 0 and kept.places.tolist() == [-1] * 3 and not kept.more and not kept.scores.any()


def test_nan_scores_in_a_compiled_program_are_never_kept():
    scores = jnp.asarray(SCORES).at[jnp.argmax(SCORES)].set(jnp.nan)
    kept = jax.jit(lambda b, s: non_max_suppression(b, s, slots=40, iou_threshold=0.9))(BOXES, scores)
    assert int(np.argmax(SCORES)) not in kept.places and np.isfinite(kept.scores).all()
    assert int(np.argmax(SCORES)) not in jax.jit(lambda s: filter_scores(s, threshold=0.0, slots=40))(scores).places


def test_a_batch_of_pictures():
    """The examples of a `vmap` have their own numbers of boxes."""
    scores = np.stack([SCORES, SCORES[::-1], 0 * SCORES])
    kept = jax.vmap(lambda s: non_max_suppression(jnp.asarray(BOXES), s, slots=40, score_threshold=0.3))(scores)
    for i in range(3):
        one = non_max_suppression(BOXES, scores[i], slots=40, score_threshold=0.3)
        assert kept.places[i].tolist() == one.places.tolist() and kept.n[i] == one.n


def test_filter_and_best_class():
    confidence, probabilities = jnp.array([0.5, 1.0, 0.2]), jnp.array([[0.2, 0.8], [0.3, 0.3], [1, 0]])
    scores, labels = best_classes(confidence, probabilities)
    np.testing.assert_allclose(scores, [0.4, 0.3, 0.2])
    assert labels.tolist() == [1, 0, 0]
    kept = filter_scores(scores, threshold=0.3, slots=5)  # just at the threshold stays
    assert kept.places.tolist() == [0, 1, -1, -1, -1] and int(kept.n) == 2 and not kept.more
    kept = filter_scores(jnp.asarray(SCORES), threshold=0.1, slots=3)
    assert kept.more and kept.places.tolist() == np.argsort(-SCORES)[:3].tolist()


@pytest.mark.parametrize(("call", "words"), [
    (lambda: non_max_suppression(BOXES, SCORES[:3], slots=3), "scores of shape (40,), one for each box; got (3,)"),
    (lambda: non_max_suppression(BOXES, SCORES, slots=0), "slots, a positive integer; got 0"),
    (lambda: non_max_suppression(BOXES, SCORES, slots=3, iou_threshold=1.5), "iou_threshold in [0, 1]; got 1.5"),
    (lambda: non_max_suppression(BOXES[:, ::-1], SCORES, slots=3), "upright and of numbers"),
    (lambda: non_max_suppression(BOXES, np.where(SCORES > 0.9, np.nan, SCORES), slots=3),
     "expects scores that can be ordered; got NaN at index"),
    (lambda: non_max_suppression(BOXES, SCORES, LABELS, slots=3, classes=2),
     "labels from 0 to 1; got 2; check how many classes the head has"),
    (lambda: non_max_suppression(BOXES, SCORES, LABELS.astype(float), slots=3), "integer labels of shape (40,)"),
    (lambda: soft_non_max_suppression(BOXES, SCORES, slots=3, sigma=0.0), "sigma, a finite number above 0; got 0.0"),
    (lambda: filter_scores(SCORES, threshold=np.nan, slots=3), "threshold, a finite number; got nan"),
], ids=range(9))
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
