"""Boxes from a mask: around each connected piece of the pixels of a class."""

from typing import Any

import numpy as np
from scipy import ndimage

from jaxnn.checks import as_numpy, expect

__all__ = ["mask_boxes"]


def mask_boxes(mask: Any) -> np.ndarray:
    """(n, 4) float32, corners in pixels: the box around each piece of a mask, from the top down.

    Pixels that meet at a side or a corner are of one piece, so that two cars that touch make one box, and a car behind
    a pole makes two.

    Args:
      mask: (height, width) bools.

    >>> mask_boxes([[True, False, False], [True, False, True]]).tolist()
    [[0.0, 0.0, 1.0, 2.0], [2.0, 1.0, 3.0, 2.0]]
    """
    values = as_numpy("mask_boxes", "mask", mask)
    expect(values.ndim == 2 and values.dtype == bool, "mask_boxes", "mask of shape (height, width), of bools",
           f"{values.dtype}{list(values.shape)}", "compare the labels first: labels == 8")
    pieces, _ = ndimage.label(values, structure=np.ones((3, 3)))
    found = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(pieces)]
    return np.array(found, np.float32).reshape(-1, 4)
