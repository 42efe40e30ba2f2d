"""Boxes: conversions that come back exactly, slots, boxes of masks, errors."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.detection import EMPTY, IGNORED, areas, exchanged, mask_boxes, pad_boxes, to_centre, to_corners, upright


def test_conversions_of_whole_pixels_are_exact():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 4000, (200, 2))
    corners = jnp.asarray(np.concatenate([low, low + rng.integers(0, 4000, (200, 2))], 1), jnp.float32)
    centre = to_centre(corners)
    np.testing.assert_array_equal(to_corners(centre), corners)
    np.testing.assert_array_equal(centre[:, 2] * centre[:, 3], areas(corners))
    np.testing.assert_array_equal(2 * centre[:, 0], corners[:, 0] + corners[:, 2])
    np.testing.assert_array_equal(exchanged(exchanged(corners)), corners)
    np.testing.assert_array_equal(exchanged(corners)[:, 1], corners[:, 0])
    np.testing.assert_array_equal(upright(corners[:, jnp.array([2, 1, 0, 3])]), corners)


def test_slots():
    boxes, labels = pad_boxes([[0, 0, 2, 2], [1, 1, 2, 3]], [3, IGNORED], 4)
    assert boxes.tolist() == [[0, 0, 2, 2], [1, 1, 2, 3], [0] * 4, [0] * 4]
    assert labels.tolist() == [3, IGNORED, EMPTY, EMPTY]
    boxes, labels = pad_boxes([], [], 2)
    assert boxes.shape == (2, 4) and (labels == EMPTY).all()


def test_boxes_of_a_mask():
    """Pixels that meet at a corner are one piece; a gap makes two."""
    mask = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 1, 1, 1]], bool)
    assert mask_boxes(mask).tolist() == [[0, 0, 2, 2], [4, 0, 5, 2], [2, 3, 5, 4]]
    assert mask_boxes(np.zeros((3, 3), bool)).shape == (0, 4)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: pad_boxes(np.ones((3, 4)), [0, 0, 0], 2),
     "expects at most slots = 2 boxes; got 3; make room for all of them"),
    (lambda: pad_boxes(np.ones((3, 4)), [0], 4), "a label for each of 3 boxes; got 1"),
    (lambda: pad_boxes([[3, 0, 1, 1]], [0], 4), "got (3, 0, 1, 1) at index (0,); put its corners in order"),
    (lambda: to_centre(jnp.ones((3, 5))), "to_centre expects boxes of shape (..., 4)"),
    (lambda: to_corners(jnp.ones(4, int)), "to_corners expects floating-point boxes; got int32"),
    (lambda: mask_boxes(np.ones((3, 3))), "mask of shape (height, width), of bools; got float64[3, 3]"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
