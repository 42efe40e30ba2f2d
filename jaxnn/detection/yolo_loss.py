"""The YOLO loss in four parts, and who pulls by which.

For one head of one picture, over its cells and anchors:

    objects      Σ over those that learn a box             cross-entropy of "there is an object"
    background   Σ over those that learn none              cross-entropy of "there is none"
    boxes        Σ over those that learn a box             1 - complete IoU with the box
    classes      Σ over those that learn a box             cross-entropy of its class

in nats, but for boxes, which have no unit. A prediction that learns no box, and yet has an IoU above a threshold with a
true box or with one that is to be ignored, counts nowhere. The loss is the weighted sum of the parts, made of ops.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, is_number
from jaxnn.detection.boxes import EMPTY
from jaxnn.detection.focal import focal_loss
from jaxnn.detection.overlap import complete_iou, iou
from jaxnn.detection.yolo_head import Targets, YoloHead, yolo_boxes
from jaxnn.ops.loss import binary_cross_entropy, softmax_cross_entropy

__all__ = ["Parts", "Pulls", "YoloWeights", "pulls", "yolo_loss", "yolo_parts"]


class Parts(NamedTuple):
    """Something for each part of the loss."""

    objects: Any
    background: Any
    boxes: Any
    classes: Any


@dataclasses.dataclass(frozen=True)
class YoloWeights:
    """What each part counts, and what counts as background.

    objects, background, boxes, classes: factors of the parts, at least 0.
    ignore_above: predictions of a larger IoU with a box count as no background.
    gamma: of the focal loss for objects and background; 0 for cross-entropy.
    """

    objects: float = 1.0
    background: float = 1.0
    boxes: float = 1.0
    classes: float = 1.0
    ignore_above: float = 0.5
    gamma: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            expect(is_number(getattr(self, field.name), 0), "YoloWeights", f"{field.name}, a finite number >= 0",
                   repr(getattr(self, field.name)))


class Pulls(NamedTuple):
    """How hard the parts of one picture's loss pull at the numbers of a head.

    parts: the four parts, (), weighted.
    gradients: of each part by the head's numbers, (height, width, anchors, 5 + classes).
    of_parts: the length of each of these gradients, ().
    of_boxes: for objects, boxes and classes the length of the gradient at the cells that learn a box, (slots,); for
      background (height, width, anchors), that at each.
    """

    parts: Parts
    gradients: Parts
    of_parts: Parts
    of_boxes: Parts


def yolo_parts(head: YoloHead, raw: Any, targets: Targets, weights: YoloWeights = YoloWeights()) -> Parts:
    """The four parts for one head of one picture, each (), with their weights.

    Args:
      head: what the numbers mean.
      raw: (height, width, channels).
      targets: of `assign`, for this head.
    """
    numbers = head.split(raw)
    expect(targets.slot.shape == numbers.shape[:3], "yolo_parts", f"targets of {numbers.shape[:3]} cells and anchors",
           str(targets.slot.shape), "assign them for the grid of this head")
    learns = targets.slot >= 0
    slot = jnp.maximum(targets.slot, 0)
    dtype = numbers.dtype

    def cross_entropy(logits: Any, label: float, mask: Any) -> Any:
        return focal_loss(logits, jnp.full(logits.shape, label, dtype), mask.astype(dtype), gamma=weights.gamma,
                          alpha=None)

    logits = numbers[..., 4]
    free = ~learns & (_nearest(head, numbers, targets) <= weights.ignore_above)
    # Numbers that learn no box stand for the anchor itself: an infinite size would make 0 times NaN.
    t = jnp.where(learns[..., None], numbers[..., :4], 0)
    true = jnp.where(learns[..., None], targets.boxes.astype(dtype)[slot], jnp.asarray([0.5, 0.5, 0.5, 0.5], dtype))
    overlap = complete_iou(yolo_boxes(t, anchors=head.anchors, stretch=head.stretch), true, form="centre")
    label = jnp.where(learns, targets.labels[slot], 0)
    if head.softmax:
        each = jax.vmap(jax.vmap(jax.vmap(softmax_cross_entropy)))(numbers[..., 5:], label)
        of_class = jnp.sum(jnp.where(learns, each, 0))
    else:
        yes = jax.nn.one_hot(label, head.classes, dtype=dtype)
        of_class = binary_cross_entropy(numbers[..., 5:], yes, learns.astype(dtype))
    return Parts(weights.objects * cross_entropy(logits, 1.0, learns),
                 weights.background * cross_entropy(logits, 0.0, free),
                 weights.boxes * jnp.sum(jnp.where(learns, 1 - overlap, 0)), weights.classes * of_class)


def yolo_loss(head: YoloHead, raw: Any, targets: Targets, weights: YoloWeights = YoloWeights()) -> Any:
    """The sum of the four parts, ()."""
    return sum(yolo_parts(head, raw, targets, weights))


def pulls(head: YoloHead, raw: Any, targets: Targets, weights: YoloWeights = YoloWeights()) -> Pulls:
    """The loss of one picture told apart, by parts and by boxes; under `jax.vmap`, of each picture of a batch."""
    parts, pull_back = jax.vjp(lambda raw: yolo_parts(head, raw, targets, weights), raw)
    unit = jnp.eye(len(parts), dtype=parts.objects.dtype)
    gradients = Parts(*(head.split(pull_back(Parts(*row))[0]) for row in unit))
    squares = Parts(*(jnp.sum(jnp.square(g), -1) for g in gradients))
    n = targets.boxes.shape[0]
    place = jnp.where(targets.slot < 0, n, targets.slot).ravel()
    of_boxes = Parts(*(jnp.sqrt(jax.ops.segment_sum(square.ravel(), place, n + 1)[:n]) for square in squares))
    return Pulls(parts, gradients, Parts(*(jnp.sqrt(jnp.sum(square)) for square in squares)),
                 of_boxes._replace(background=jnp.sqrt(squares.background)))


def _nearest(head: YoloHead, numbers: Any, targets: Targets) -> Any:
    """(height, width, anchors): the largest IoU of each prediction with a box of the picture; no gradient."""
    predicted = jax.lax.stop_gradient(yolo_boxes(numbers[..., :4], anchors=head.anchors, stretch=head.stretch))
    there = targets.labels != EMPTY

    def with_one(box: Any, is_there: Any) -> Any:
        return jnp.where(is_there, iou(predicted, jnp.broadcast_to(box.astype(predicted.dtype), predicted.shape),
                                       form="centre"), 0)

    each = jax.vmap(with_one)(targets.boxes, there)
    return jnp.max(each, 0, initial=0)
