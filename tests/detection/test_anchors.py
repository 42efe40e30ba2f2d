"""Anchors by k-means: beside an exhaustive search, and what cannot be clustered."""

import itertools
import re

import numpy as np
import pytest

from jaxnn.detection import cluster_anchors, iou, size_iou, to_corners


def test_size_iou_is_that_of_boxes_with_one_middle():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.1, 2, (2, 20, 2))
    boxes = [to_corners(np.concatenate([np.zeros((20, 2)), sizes], 1)) for sizes in (a, b)]
    np.testing.assert_allclose(np.diag(size_iou(a, b)), iou(*boxes), rtol=1e-5)


def test_groups_are_found():
    """Three clear groups: their medians, the smallest first."""
    rng = np.random.default_rng(1)
    middles = np.array([[3.0, 1.0], [0.2, 0.3], [1.0, 2.0]])
    sizes = np.concatenate([m * rng.uniform(0.9, 1.1, (15, 2)) for m in middles])
    found = cluster_anchors(sizes, 3, seed=2)
    expected = [np.median(sizes[15 * i:15 * i + 15], 0) for i in (1, 2, 0)]
    np.testing.assert_allclose(found.sizes, expected)
    assert found.cluster.tolist() == [2] * 15 + [0] * 15 + [1] * 15
    assert found.mean_iou == pytest.approx(size_iou(sizes, found.sizes).max(1).mean())


def test_beside_every_partition():
    """Two anchors for seven boxes, by trying all ways to part them."""
    sizes = np.random.default_rng(3).uniform(0.2, 3, (7, 2))
    best = 0
    for chosen in itertools.product([False, True], repeat=6):
        mask = np.array([False, *chosen])
        if mask.any():
            anchors = np.stack([np.median(sizes[m], 0) for m in (mask, ~mask)])
            best = max(best, size_iou(sizes, anchors).max(1).mean())
    assert cluster_anchors(sizes, 2, tries=20).mean_iou >= best - 0.01


def test_as_many_anchors_as_sizes_fit_exactly():
    sizes = np.array([[1, 2], [2, 2], [4, 1], [1, 2]])
    found = cluster_anchors(sizes, 3, tries=1)
    assert found.mean_iou == 1 and sorted(map(tuple, found.sizes)) == [(1, 2), (2, 2), (4, 1)]
    assert (cluster_anchors(sizes, 2, seed=5).sizes == cluster_anchors(sizes, 2, seed=5).sizes).all()


@pytest.mark.parametrize(("call", "words"), [
    (lambda: cluster_anchors([[1, 0], [1, 1]], 1),
     "sizes of finite widths and heights above 0; got [1, 0] at index 0; leave out boxes without an area"),
    (lambda: cluster_anchors([[1, 1], [1, 1]], 2), "k from 1 to the 1 different sizes; got 2"),
    (lambda: cluster_anchors(np.ones((3, 4)), 1), "sizes of shape (n, 2), width and height; got float64[3, 4]"),
    (lambda: cluster_anchors(np.zeros((0, 2)), 1), "at least one of sizes; got none"),
    (lambda: cluster_anchors([[np.nan, 1.0]], 1), "finite widths"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
