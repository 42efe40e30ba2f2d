"""The YOLO head: decoding beside a loop, targets by hand, and what is lost or refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.detection import EMPTY, IGNORED, YoloHead, assign, decode, yolo_boxes
from tests.compare import check_backward

HEAD = YoloHead(((0.1, 0.2), (0.5, 0.4)), 3, stretch=1.1)
RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.usefixtures("x64")
def test_gradient_of_the_boxes():
    check_backward(yolo_boxes, RNG.standard_normal((3, 2, 2, 4)), anchors=HEAD.anchors, stretch=1.3, fd_tolerance=1e-6)


@pytest.mark.parametrize("softmax", [False, True])
def test_decoding_beside_a_loop(softmax):
    head = YoloHead(HEAD.anchors, 3, stretch=1.1, softmax=softmax)
    raw = RNG.standard_normal((2, 3, 16)).astype(np.float32)
    found = decode(head, raw)
    row = 0
    for r in range(2):
        for c in range(3):
            for a, (w, h) in enumerate(head.anchors):
                t = raw[r, c, 8 * a:8 * a + 8]
                x, y = (c + 1.1 * sigmoid(t[0]) - 0.05) / 3, (r + 1.1 * sigmoid(t[1]) - 0.05) / 2
                w, h = w * np.exp(t[2]), h * np.exp(t[3])
                np.testing.assert_allclose(found.boxes[row], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=1e-5,
                                           atol=1e-6)
                np.testing.assert_allclose(found.confidence[row], sigmoid(t[4]), rtol=1e-5)
                expected = np.exp(t[5:]) / np.exp(t[5:]).sum() if softmax else sigmoid(t[5:])
                np.testing.assert_allclose(found.probabilities[row], expected, rtol=1e-5)
                row += 1


def test_targets_by_hand():
    """Four cells by two: a small box to the first anchor, a large one to the second; the rim is the last cell's."""
    boxes = jnp.array([[0.3, 0.6, 0.1, 0.2], [0.9, 0.1, 0.6, 0.3], [1.0, 1.0, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1],
                       [0.0, 0.0, 0.0, 0.0]])
    labels = jnp.array([2, 0, 1, IGNORED, EMPTY])
    (found,) = jax.jit(lambda b, c: assign([HEAD], [(2, 4)], b, c))(boxes, labels)
    expected = np.full((2, 4, 2), -1)
    expected[1, 1, 0], expected[0, 3, 1], expected[1, 3, 0] = 0, 1, 2
    np.testing.assert_array_equal(found.slot, expected)
    assert found.lost == 0


def test_of_two_boxes_for_one_cell_the_first_has_it():
    boxes = jnp.array([[0.3, 0.6, 0.1, 0.2], [0.31, 0.61, 0.1, 0.2], [0.3, 0.6, 0.5, 0.4]])
    (found,) = assign([HEAD], [(2, 4)], boxes, jnp.array([0, 1, 2]))
    assert found.slot[1, 1].tolist() == [0, 2] and found.lost == 1
    (found,) = assign([HEAD], [(2, 4)], boxes[1:], jnp.array([1, 2]), also_above=0.0)
    assert found.slot[1, 1].tolist() == [0, 0] and found.lost == 1  # the first in all anchors


def test_one_anchor_of_all_heads_is_the_best():
    heads = YoloHead(((0.1, 0.1),), 1), YoloHead(((0.6, 0.6), (0.3, 0.3)), 1)
    boxes = jnp.array([[0.5, 0.5, 0.12, 0.1], [0.2, 0.2, 0.25, 0.3]])
    fine, coarse = assign(heads, [(8, 8), (4, 4)], boxes, jnp.array([0, 0]))
    assert np.argwhere(np.asarray(fine.slot) >= 0).tolist() == [[4, 4, 0]]
    assert np.argwhere(np.asarray(coarse.slot) >= 0).tolist() == [[0, 0, 1]]
    fine, coarse = assign(heads, [(8, 8), (4, 4)], boxes, jnp.array([0, 0]), also_above=0.1)
    assert (np.asarray(fine.slot) >= 0).sum() == 2 and (np.asarray(coarse.slot) >= 0).sum() == 3


@pytest.mark.parametrize(("call", "words"), [
    (lambda: YoloHead(((0.0, 1.0),), 1), "anchors of finite widths and heights above 0; got [0.0, 1.0] at index 0"),
    (lambda: YoloHead(HEAD.anchors, 0), "classes, a positive integer; got 0"),
    (lambda: YoloHead(HEAD.anchors, 1, stretch=0.5), "stretch, a finite number of at least 1; got 0.5"),
    (lambda: decode(HEAD, jnp.zeros((2, 3, 15))),
     "raw of shape (height, width, 16); got (2, 3, 15); 2 anchors of 5 + 3 numbers"),
    (lambda: assign([HEAD], [(2, 2)], jnp.ones((1, 4)) / 2, jnp.array([3])), "labels from -2 to 2; got 3"),
    (lambda: assign([HEAD], [(2, 2)], jnp.array([[3.0, 0.5, 0.1, 0.1]]), jnp.array([0])),
     "boxes in parts of the picture, (x, y, width, height), their middles in [0, 1]"),
    (lambda: assign([HEAD], [(2, 2)], jnp.array([[0.5, 0.5, 0.0, 0.1]]), jnp.array([0])), "boxes with an area; got one "
     "without at index 0; leave it out, or give it the label IGNORED"),
    (lambda: assign([HEAD], [(2, 2)], jnp.array([[0.5, 0.5, -0.1, 0.1]]), jnp.array([0])), "upright and of numbers"),
    (lambda: assign([HEAD], [(2, 2), (1, 1)], jnp.ones((1, 4)), jnp.array([0])), "as many grids as heads"),
], ids=range(9))
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
