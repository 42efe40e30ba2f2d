"""Boxes: the two ways to write one, and what a box must be.

    corners  (left, top, right, bottom)            l, t, r, b
    centre   (x, y, width, height) of its middle   x = (l + r) / 2, w = r - l

along the last axis, in any one unit: pixels, or parts of the picture. Pixel i reaches from i to i + 1, so that a box of
the pixels 3 to 5 is (3, 6), and no size has a 1 added. The corners of jaxnn.augmentation's `Warp.boxes` are these. The
course's evaluation writes (top, left, bottom, right): `exchanged` turns one into the other.

A box is upright where right >= left and bottom >= top; one without an area overlaps nothing.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError, expect, expect_array, expect_float, known

__all__ = ["FORMS", "areas", "exchanged", "expect_boxes", "expect_labels", "expect_scores", "expect_upright",
           "pad_boxes", "to_centre", "to_corners", "upright"]

FORMS = ("corners", "centre")
EMPTY, IGNORED = -2, -1
"""In the place of a class: of a slot without a box, and of a box that is neither to be found nor wrong to find."""


def to_centre(boxes: Any) -> Any:
    """Corners as centre and size. Exact where l + r and r - l are, as for pixels counted in whole numbers.

    >>> to_centre(jnp.array([2.0, 1.0, 5.0, 3.0])).tolist()
    [3.5, 2.0, 3.0, 2.0]
    """
    expect_boxes("to_centre", "boxes", boxes)
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], -1)


def to_corners(boxes: Any) -> Any:
    """Centre and size as corners.

    >>> to_corners(jnp.array([3.5, 2.0, 3.0, 2.0])).tolist()
    [2.0, 1.0, 5.0, 3.0]
    """
    expect_boxes("to_corners", "boxes", boxes)
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return jnp.concatenate([middle - half, middle + half], -1)


def exchanged(boxes: Any) -> Any:
    """(left, top, right, bottom) as (top, left, bottom, right), and the other way round."""
    expect_boxes("exchanged", "boxes", boxes)
    return boxes[..., jnp.array([1, 0, 3, 2])]


def upright(boxes: Any) -> Any:
    """Corners in order: where right < left, or bottom < top, the two are exchanged."""
    expect_boxes("upright", "boxes", boxes)
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([jnp.minimum(low, high), jnp.maximum(low, high)], -1)


def areas(boxes: Any) -> Any:
    """(r - l) (b - t) of each box given by its corners."""
    expect_boxes("areas", "boxes", boxes)
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0] * sides[..., 1]


def pad_boxes(boxes: Any, labels: Any, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of one picture and their classes in a fixed number of slots: (slots, 4) float32, (slots,) int32.

    Slots that are left over have boxes of zeros and the label EMPTY.

    Raises:
      InputError: there are more boxes than slots; or a box is not upright, or a label is missing.
    """
    who = "pad_boxes"
    values, classes = np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(labels).reshape(-1)
    expect(len(values) == len(classes), who, f"a label for each of {len(values)} boxes", str(len(classes)))
    expect_upright(who, "boxes", values, "corners")
    if len(values) > slots:
        raise InputError(who, f"expects at most slots = {slots} boxes; got {len(values)}; make room for all of them: "
                         "none is left out in silence")
    padded, of_slot = np.zeros((slots, 4), np.float32), np.full(slots, EMPTY, np.int32)
    padded[:len(values)], of_slot[:len(values)] = values, classes
    return padded, of_slot


def expect_boxes(who: str, name: str, boxes: Any, rank: int | None = None) -> None:
    """Floating-point numbers of shape (..., 4); with a rank, of as many axes."""
    expect_float(who, name, boxes)
    shape = jnp.shape(boxes)
    fits = len(shape) >= 1 and shape[-1] == 4 and (rank is None or len(shape) == rank)
    expect(fits, who, f"{name} of shape {'(n, 4)' if rank == 2 else '(..., 4)'}, four numbers for each box",
           f"shape {shape}")


def expect_upright(who: str, name: str, boxes: Any, form: str) -> None:
    """Refuses boxes that are known at the call to be upside down or not numbers."""
    values = known(boxes)
    if values is None:
        return
    sides = values[..., 2:] - values[..., :2] if form == "corners" else values[..., 2:]
    wrong = (sides < 0).any(-1) | np.isnan(values).any(-1)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        advice = ("put its corners in order with upright(boxes)" if form == "corners"
                  else "a width or a height is not negative")
        numbers = ", ".join(f"{v:.6g}" for v in values[place].tolist())
        order = "(left, top, right, bottom)" if form == "corners" else "(x, y, width, height)"
        raise InputError(who, f"expects {name} as {order}, upright and of numbers; got ({numbers})"
                         + (f" at index {place}" if place else "") + f"; {advice}")


def expect_scores(who: str, name: str, scores: Any, n: int) -> None:
    """(n,) floating-point numbers; NaN is refused where it is known at the call."""
    expect_float(who, name, scores)
    expect(jnp.shape(scores) == (n,), who, f"{name} of shape ({n},), one for each box", str(jnp.shape(scores)))
    values = known(scores)
    if values is not None and np.isnan(values).any():
        raise InputError(who, f"expects {name} that can be ordered; got NaN at index "
                         f"{int(np.argwhere(np.isnan(values))[0, -1])}; look for it where the network computes them")


def expect_labels(who: str, labels: Any, n: int, classes: int | None, *, least: int = 0) -> None:
    """(n,) integers from `least` to classes - 1."""
    expect_array(who, "labels", labels)
    fits = jnp.shape(labels) == (n,) and jnp.issubdtype(jnp.result_type(labels), jnp.integer)
    expect(fits, who, f"integer labels of shape ({n},), one for each box",
           f"{jnp.result_type(labels)}{list(jnp.shape(labels))}")
    values = known(labels)
    if values is not None and values.size:
        wrong = (values < least) | (values >= (np.inf if classes is None else classes))
        expect(not wrong.any(), who, f"labels from {least} to {'any class' if classes is None else classes - 1}",
               f"{values[wrong].ravel()[0] if wrong.any() else ''}", "check how many classes the head has")
