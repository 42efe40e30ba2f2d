"""The YOLO loss: its four parts and their gradients beside PyTorch, and who pulls."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import network
from jaxnn.detection import (
    EMPTY,
    IGNORED,
    YoloHead,
    YoloWeights,
    assign,
    pulls,
    yolo_loss,
    yolo_parts,
)
from tests.detection.test_overlap import complete_iou, in_torch

GRID, CLASSES = (3, 4), 3
ANCHORS = ((0.2, 0.3), (0.6, 0.5))
WEIGHTS = YoloWeights(objects=1.5, background=0.7, boxes=2.0, classes=0.6, ignore_above=0.3)
BOXES = np.array([[0.3, 0.6, 0.25, 0.3], [0.8, 0.2, 0.5, 0.4], [0.32, 0.62, 0.6, 0.55], [0.6, 0.8, 0.2, 0.2], [0] * 4])
LABELS = np.array([2, 0, 1, IGNORED, EMPTY])


def setting(softmax, dtype=np.float64):
    head = YoloHead(ANCHORS, CLASSES, stretch=1.1, softmax=softmax)
    raw = jnp.asarray(0.5 * np.random.default_rng(0).standard_normal((*GRID, head.channels)), dtype)
    (targets,) = assign([head], [GRID], jnp.asarray(BOXES, dtype), jnp.asarray(LABELS))
    return head, raw, targets


def parts_in_torch(torch, raw, softmax):
    """Cell by cell, in loops; the places that learn are written down."""
    z = raw.reshape(*GRID, len(ANCHORS), 5 + CLASSES)
    learns = {(1, 1, 0): 0, (0, 3, 1): 1, (1, 1, 1): 2}
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    objects, background, boxes, classes = (torch.zeros((), dtype=raw.dtype) for _ in range(4))
    one = torch.ones((), dtype=raw.dtype)

    def corners(x, y, w, h):
        return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2])

    true = [corners(*map(torch.tensor, box)) for box in BOXES[:4]]
    free = 0
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            for a, (w, h) in enumerate(ANCHORS):
                t = z[row, column, a]
                x = (column + 1.1 * torch.sigmoid(t[0]) - 0.05) / GRID[1]
                y = (row + 1.1 * torch.sigmoid(t[1]) - 0.05) / GRID[0]
                box = corners(x, y, w * torch.exp(t[2]), h * torch.exp(t[3]))
                slot = learns.get((row, column, a))
                if slot is None:
                    from jaxnn.detection import iou
                    if max(in_torch(torch, iou, box, other) for other in true) <= WEIGHTS.ignore_above:
                        background = background + bce(t[4], 0 * one)
                        free += 1
                    continue
                objects = objects + bce(t[4], one)
                boxes = boxes + 1 - in_torch(torch, complete_iou, box, true[slot])
                if softmax:
                    classes = classes - torch.log_softmax(t[5:], 0)[LABELS[slot]]
                else:
                    yes = torch.zeros(CLASSES, dtype=raw.dtype)
                    yes[LABELS[slot]] = 1
                    classes = classes + bce(t[5:], yes, reduction="sum")
    assert 0 < free < 24 - 3  # some are ignored
    return (WEIGHTS.objects * objects, WEIGHTS.background * background, WEIGHTS.boxes * boxes,
            WEIGHTS.classes * classes)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.usefixtures("x64")
def test_each_part_and_its_gradient_beside_pytorch(softmax, torch):
    head, raw, targets = setting(softmax)
    found = jax.jit(lambda raw: pulls(head, raw, targets, WEIGHTS))(raw)
    z = torch.tensor(np.asarray(raw), requires_grad=True)
    expected = parts_in_torch(torch, z, softmax)
    slot = np.asarray(targets.slot)
    for name, want in zip(found.parts._fields, expected):
        np.testing.assert_allclose(getattr(found.parts, name), want.item(), rtol=1e-12)
        (slope,) = torch.autograd.grad(want, z, retain_graph=True)
        slope = slope.numpy().reshape(getattr(found.gradients, name).shape)
        np.testing.assert_allclose(getattr(found.gradients, name), slope, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(getattr(found.of_parts, name), np.linalg.norm(slope), rtol=1e-10)
        for k in range(len(BOXES)) if name != "background" else ():
            np.testing.assert_allclose(getattr(found.of_boxes, name)[k], np.linalg.norm(slope[slot == k]), rtol=1e-10)
    background = np.linalg.norm(np.asarray(found.gradients.background), axis=-1)
    np.testing.assert_allclose(found.of_boxes.background, background)
    total = jax.jit(jax.grad(lambda raw: yolo_loss(head, raw, targets, WEIGHTS)))(raw)
    np.testing.assert_allclose(head.split(total), sum(found.gradients), rtol=1e-12, atol=1e-15)


def test_the_explicit_passes_are_the_lifted_ones():
    """The loss is a function of ops: read forward and backward op by op, it has the same gradient."""
    head, raw, targets = setting(False, np.float32)
    loss = network(lambda raw: yolo_loss(head, raw, targets, WEIGHTS))

    @jax.jit
    def routes(raw):
        value, cache = loss.forward(raw)
        explicit = loss.backward(cache, jnp.ones(()))[0]
        return (value, explicit), jax.value_and_grad(loss)(raw), jax.grad(loss.reference)(raw)

    (value, explicit), (lifted_value, lifted), reference = routes(raw)
    np.testing.assert_allclose(value, lifted_value, rtol=1e-6)
    for slope in (explicit, reference):
        np.testing.assert_allclose(slope, lifted, rtol=1e-5, atol=1e-6)


def test_of_a_batch():
    head, raw, _ = setting(False, np.float32)
    boxes = jnp.asarray(np.stack([BOXES, BOXES[[1, 0, 4, 4, 4]]]), jnp.float32)
    labels = jnp.asarray(np.stack([LABELS, [0, 2, EMPTY, EMPTY, EMPTY]]))

    def one(raw, boxes, labels):
        return pulls(head, raw, assign([head], [GRID], boxes, labels)[0])

    found = jax.jit(jax.vmap(one))(jnp.stack([raw, raw]), boxes, labels)
    of_one = jax.jit(one)
    for i in range(2):
        alone = of_one(raw, boxes[i], labels[i])
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone)):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6)
    assert found.of_boxes.boxes[1, 2:].tolist() == [0, 0, 0]


def test_no_box_at_all():
    head, raw, _ = setting(False, np.float32)
    (targets,) = assign([head], [GRID], jnp.zeros((2, 4)), jnp.array([EMPTY, EMPTY]))
    parts, slope = jax.jit(lambda raw: (yolo_parts(head, raw, targets),
                                         jax.grad(lambda raw: yolo_loss(head, raw, targets))(raw)))(raw)
    assert parts.objects == parts.boxes == parts.classes == 0 and parts.background > 0
    assert np.isfinite(slope).all() and not np.asarray(head.split(slope))[..., [0, 1, 2, 3, 5]].any()


def test_a_huge_prediction_elsewhere_is_no_nan():
    """e^t of a cell that learns nothing overflows; its gradient is that of the background alone."""
    head, raw, targets = setting(False, np.float32)
    raw = head.split(raw).at[2, 3, 0, 2:4].set(200.0).reshape(raw.shape)
    value, slope = jax.jit(jax.value_and_grad(lambda raw: yolo_loss(head, raw, targets)))(raw)
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_errors():
    head, raw, targets = setting(False, np.float32)
    with pytest.raises(ValueError, match=re.escape("targets of (3, 3, 2) cells and anchors; got (3, 4, 2)")):
        yolo_parts(head, raw[:, :3], targets)
    with pytest.raises(ValueError, match="background, a finite number >= 0; got -1"):
        YoloWeights(background=-1)
