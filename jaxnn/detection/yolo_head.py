"""A YOLO head: what its numbers mean, and which of them a true box is to be learnt by.

A head is a map of cells, (height, width, anchors (5 + classes)): for each cell and anchor t_x, t_y, t_w, t_h, then the
logit of an object, then those of the classes. With c the cell's column and row, (p_w, p_h) the anchor, s = `stretch`,
(W, H) the number of cells, a box is, in parts of the picture's width and height,

    x = (c_x + s σ(t_x) - (s - 1)/2) / W        w = p_w e^t_w
    y = (c_y + s σ(t_y) - (s - 1)/2) / H        h = p_h e^t_h

so that its middle stays near the cell. Source: Redmon & Farhadi (2017, 2018); s: Bochkovskiy et al. (2020).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_bool, expect_float, expect_shape, is_integer, is_number, known
from jaxnn.detection.anchors import expect_anchors
from jaxnn.detection.boxes import EMPTY, IGNORED, expect_boxes, expect_labels, expect_upright, to_corners
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.activation import sigmoid
from jaxnn.ops.dtypes import wide
from jaxnn.ops.softmax import softmax

__all__ = ["Decoded", "Targets", "YoloHead", "assign", "decode", "yolo_boxes"]


@dataclasses.dataclass(frozen=True)
class YoloHead:
    """What the numbers of a head mean.

    anchors: (width, height) of each, in parts of the picture's.
    classes: how many.
    stretch: s, at least 1: with more than 1 a middle can reach its cell's rim.
    softmax: whether the classes exclude one another (YOLOv2), or each is a question of its own (v3, v4).
    """

    anchors: tuple[tuple[float, float], ...]
    classes: int
    stretch: float = 1.0
    softmax: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", expect_anchors("YoloHead", self.anchors))
        expect(is_integer(self.classes, 1), "YoloHead", "classes, a positive integer", repr(self.classes))
        expect(is_number(self.stretch, 1), "YoloHead", "stretch, a finite number of at least 1", repr(self.stretch))
        expect_bool("YoloHead", "softmax", self.softmax)

    @property
    def channels(self) -> int:
        return len(self.anchors) * (5 + self.classes)

    def split(self, raw: Any) -> Any:
        """(height, width, channels) as (height, width, anchors, 5 + classes)."""
        expect_float("YoloHead", "raw", raw)
        expect_shape("YoloHead", "raw", raw, ("height", "width", self.channels),
                     f"{len(self.anchors)} anchors of 5 + {self.classes} numbers")
        return jnp.reshape(raw, (*raw.shape[:2], len(self.anchors), 5 + self.classes))


class Decoded(NamedTuple):
    """The predictions of one picture, a row for each cell and anchor.

    boxes: (n, 4), corners in parts of the picture. confidence: (n,). probabilities: (n, classes).
    """

    boxes: Any
    confidence: Any
    probabilities: Any


class Targets(NamedTuple):
    """What each cell and anchor of one head is to learn.

    slot: (height, width, anchors) int32, which of the boxes; -1 for none.
    boxes: (slots, 4), centre and size in parts of the picture. labels: (slots,), classes, EMPTY or IGNORED.
    lost: (), boxes of a class that no head learns, because others have their cell and anchor.
    """

    slot: Any
    boxes: Any
    labels: Any
    lost: Any


@hand_derived
def yolo_boxes(t: Any, *, anchors: Sequence[Sequence[float]], stretch: float = 1.0) -> Any:
    """(x, y, w, h) of each cell and anchor, in parts of the picture: the equations at the head of this file.

    Args:
      t: (height, width, anchors, 4), t_x, t_y, t_w, t_h.
      anchors: (p_w, p_h) of each. stretch: s.
    Returns:
      (height, width, anchors, 4).

    >>> yolo_boxes(jnp.zeros((1, 2, 1, 4)), anchors=((0.5, 1.0),))[0, :, 0].tolist()
    [[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]]
    """
    who = yolo_boxes.name
    expect_float(who, "t", t)
    sizes = expect_anchors(who, anchors)
    expect(is_number(stretch, 1), who, "stretch, a finite number of at least 1", repr(stretch))
    expect_shape(who, "t", t, ("height", "width", len(sizes), 4), f"there are {len(sizes)} anchors")
    height, width = t.shape[:2]
    places = jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), -1)[:, :, None].astype(t.dtype)
    cells = np.array([width, height])
    inside = jax.nn.sigmoid(t[..., :2])
    middle = (places + stretch * inside - (stretch - 1) / 2) / jnp.asarray(cells, t.dtype)
    size = jnp.asarray(sizes, t.dtype) * jnp.exp(t[..., 2:])
    scale = tuple((stretch / cells).tolist())
    return jnp.concatenate([middle, size], -1), (inside, size, Static(scale))


@yolo_boxes.defbackward
def yolo_boxes_backward(cache: Any, dy: Any) -> Any:
    """σ' = σ (1 - σ), and w is its own derivative by t_w:

        dt_x = dx s σ(t_x) (1 - σ(t_x)) / W        dt_w = dw w
        dt_y = dy s σ(t_y) (1 - σ(t_y)) / H        dt_h = dh h
    """
    inside, size, scale = cache
    middle = dy[..., :2] * inside * (1 - inside) * jnp.asarray(scale.value, dy.dtype)
    return (jnp.concatenate([middle, dy[..., 2:] * size], -1),)


def decode(head: YoloHead, raw: Any) -> Decoded:
    """The boxes of one head, (height, width, channels), with their probabilities."""
    parts = head.split(raw)
    boxes = to_corners(yolo_boxes(parts[..., :4], anchors=head.anchors, stretch=head.stretch))
    logits = parts[..., 5:]
    probabilities = softmax(logits) if head.softmax else sigmoid(logits)
    return Decoded(boxes.reshape(-1, 4), sigmoid(parts[..., 4]).reshape(-1),
                   probabilities.reshape(-1, head.classes))


def assign(heads: Sequence[YoloHead], grids: Sequence[tuple[int, int]], boxes: Any, labels: Any, *,
           also_above: float = 1.0) -> tuple[Targets, ...]:
    """Each true box to the cell that has its middle, and to the anchor whose size is most like its own.

    Of two boxes for one cell and anchor the one in the first slot has it; the other is counted as lost, unless another
    anchor learns it. A middle on the far rim belongs to the last cell.

    Args:
      heads: all heads of the network: one anchor among all of theirs is the best.
      grids: (height, width) of each in cells.
      boxes: (slots, 4), centre and size in parts of the picture, their middles inside.
      labels: (slots,) a class, or EMPTY for a slot without a box, or IGNORED.
      also_above: anchors whose IoU with the box's size is above this learn the box too.
    Returns:
      Targets for each head; lost is the same in all.
    Raises:
      InputError: a box of a class has no area, is upside down or lies outside, or a label is no class of the heads.
    """
    who = "assign"
    expect(len(heads) == len(grids) >= 1, who, "as many grids as heads, at least one", f"{len(heads)} and {len(grids)}")
    expect_boxes(who, "boxes", boxes, rank=2)
    slots, classes = jnp.shape(boxes)[0], heads[0].classes
    expect_labels(who, labels, slots, classes, least=EMPTY)
    expect(is_number(also_above, 0, 1), who, "also_above in [0, 1]", repr(also_above))
    _expect_inside(who, boxes, labels)
    boxes, labels = jax.lax.stop_gradient(wide(jnp.asarray(boxes))), jnp.asarray(labels)
    anchors = jnp.asarray([anchor for head in heads for anchor in head.anchors], boxes.dtype)
    shared = jnp.prod(jnp.minimum(boxes[:, None, 2:], anchors), -1)
    overlap = shared / (jnp.prod(boxes[:, 2:], -1)[:, None] + jnp.prod(anchors, -1) - shared)
    best = jnp.arange(len(anchors)) == jnp.argmax(overlap, -1)[:, None]
    chosen = (best | (overlap > also_above)) & (labels >= 0)[:, None]
    numbers = jnp.arange(slots, dtype=jnp.int32)
    found, first, learnt = [], 0, jnp.zeros(slots, bool)
    for head, (height, width) in zip(heads, grids, strict=True):
        k = len(head.anchors)
        column, row = (jnp.minimum((boxes[:, i] * n).astype(jnp.int32), n - 1) for i, n in ((0, width), (1, height)))
        mine = chosen[:, first:first + k]
        slot = jnp.full((height, width, k), slots, jnp.int32)
        slot = slot.at[row[:, None], column[:, None], jnp.arange(k)].min(jnp.where(mine, numbers[:, None], slots))
        slot = jnp.where(slot == slots, -1, slot)
        learnt = learnt | jnp.any(slot[..., None] == numbers, (0, 1, 2))
        found.append(slot)
        first += k
    lost = jnp.sum((labels >= 0) & ~learnt)
    return tuple(Targets(slot, boxes, labels, lost) for slot in found)


def _expect_inside(who: str, boxes: Any, labels: Any) -> None:
    values, classes = known(boxes), known(labels)
    if values is None or classes is None:
        return
    mine = np.where((classes != EMPTY)[..., None], values, 0.5)
    expect_upright(who, "boxes", mine, "centre")
    without = (mine[..., 2:] == 0).any(-1) & (classes != IGNORED)
    expect(not without.any(), who, "boxes with an area", f"one without at index {int(without.ravel().argmax())}",
           "leave it out, or give it the label IGNORED")
    outside = ((mine[..., :2] < 0) | (mine[..., :2] > 1)).any(-1)
    expect(not outside.any(), who, "boxes in parts of the picture, (x, y, width, height), their middles in [0, 1]",
           f"{mine[outside][0].tolist() if outside.any() else ''}", "divide pixels by the picture's size, and turn "
           "corners into centres with to_centre")
