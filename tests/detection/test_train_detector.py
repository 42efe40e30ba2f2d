"""The trained detector: its scenes, boxes and pictures that change together, the split, and cars from masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.course4.train_detector import scenes
from experiments.course4.train_detector.experiment import Knobs, Task, truth_of
from jaxnn.data import load_digits
from jaxnn.detection import EMPTY, IGNORED, iou, pairwise
from tests import course


def test_digits_are_within_their_boxes():
    digits = load_digits()
    part = scenes.digit_scenes(digits.x[:40], digits.y[:40], seed=1)
    assert (part.labels >= 0).sum() >= 36  # a digit for which no place is found is left out
    for x, boxes, labels in zip(part.x, part.boxes, part.labels):
        ink = np.zeros(x.shape[:2], bool)
        for left, top, right, bottom in boxes[labels != EMPTY].astype(int):
            inside = x[top:bottom, left:right, 0] > 0
            assert inside.any(0)[[0, -1]].all() and inside.any(1)[[0, -1]].all()  # ink at each side
            ink[top:bottom, left:right] = True
        assert not x[~ink].any()
        overlap = np.asarray(pairwise(iou, jnp.asarray(boxes), jnp.asarray(boxes)))
        assert (overlap[~np.eye(len(boxes), dtype=bool)] < 0.2).all()


def test_alike_pictures_are_on_one_side():
    alike = np.array([0, 1, 1, 3, 4, 5, 0, 7, 8, 9])
    for seed in range(8):
        chosen = scenes.split_alike(alike, 6, seed)
        assert chosen.sum() == 6 and chosen[0] == chosen[6] and chosen[1] == chosen[2]


def test_picture_and_boxes_change_together(monkeypatch):
    """A white block on black stays in its box, whatever is cut and resized."""
    for name in ("brightness", "contrast", "saturation"):
        monkeypatch.setattr(scenes, name, lambda key, x, limit: x)
    changed = jax.jit(jax.vmap(scenes._changes((40, 48), 8, (0.2, 1.0)), (0, None, None, None)))
    x = np.zeros((40, 48, 3), np.float32)
    x[10:22, 20:38] = 1
    boxes = np.array([[20, 10, 38, 22], [0, 0, 0, 0]], np.float32)
    keys = jax.random.split(jax.random.key(0), 40)
    outcomes = set()
    for new_x, new, label in zip(*map(np.asarray, changed(keys, x, boxes, np.array([0, EMPTY])))):
        block = new_x[..., 0] > 0.75
        outcomes.add(int(label[0]))
        assert label[1] == EMPTY and not new[1].any()
        if label[0] == EMPTY:
            assert not new[0].any()
            continue
        left, top, right, bottom = new[0]
        rows, columns = np.flatnonzero((block & (new_x[..., 1] > 0.75)).any(1)), np.flatnonzero(block.any(0))
        if label[0] >= 0:
            assert abs(rows[0] - top) <= 1.5 and abs(rows[-1] + 1 - bottom) <= 1.5
            assert abs(columns[0] - left) <= 1.5 and abs(columns[-1] + 1 - right) <= 1.5
    assert outcomes == {0, IGNORED, EMPTY}


def test_streets():
    """Two cars that touch are one box, and what is narrower than 6 pixels is ignored; a frame may have none."""
    is_car = np.zeros((2, 20, 30), bool)
    is_car[0, 2:10, 3:12] = is_car[0, 10:18, 12:20] = True  # they meet at a corner
    is_car[0, 0:5, 25:29] = True
    part = scenes.street_scenes(np.zeros((2, 20, 30, 3), np.uint8), is_car)
    by_label = dict(zip(part.labels[0].tolist(), part.boxes[0].tolist()))
    assert by_label == {0: [3, 2, 20, 18], IGNORED: [25, 0, 29, 5]}
    assert (part.labels[1] == EMPTY).all()
    assert [len(t.boxes) for t in truth_of(part)] == [2, 0]


@pytest.mark.exhaustive
def test_a_head_that_is_right_finds_what_is_there():
    """Numbers that decode to the true boxes have a small loss and an AP of 1."""
    from experiments.course4.train_detector.experiment import detections, labels_of, measures_of
    digits = load_digits()
    part = scenes.digit_scenes(digits.x[:12], digits.y[:12], seed=2)
    data = scenes.Scenes(part, part, tuple("0123456789"), None)
    task = Task(Knobs(anchors=2), data)
    grid, head = (8, 8), task.head
    labels = labels_of(part, data.size)
    raw = []
    for boxes, classes in zip(labels["boxes"], labels["labels"]):
        z = np.full((*grid, 2, 15), -8.0, np.float32)
        targets = task.targets(jnp.zeros((*grid, head.channels)), {"boxes": boxes, "labels": classes})
        for row, column, a in np.argwhere(np.asarray(targets.slot) >= 0):
            k = int(targets.slot[row, column, a])
            inside = (boxes[k, :2] * 8 - [column, row] + 0.1) / 1.2
            z[row, column, a, :2] = np.log(inside / (1 - inside))
            z[row, column, a, 2:4] = np.log(boxes[k, 2:] / np.array(head.anchors[a]))
            z[row, column, a, 4] = z[row, column, a, 5 + classes[k]] = 8
        raw.append(z.reshape(*grid, -1))
    raw = jnp.asarray(np.stack(raw))
    measures = measures_of(detections(task, raw), truth_of(part), 10)
    assert measures["ap50"] == 1 and measures["ap"] > 0.99
    parts = task.parts_of(raw, labels)
    assert max(float(jnp.max(p)) for p in parts) < 0.2
    moved = raw.at[:, :, :, 4].add(-6)
    assert measures_of(detections(task, moved), truth_of(part), 10)["ap50"] <= 1
    assert float(jnp.mean(task.pulls_of(moved, labels).of_parts.objects)) > float(
        jnp.mean(task.pulls_of(raw, labels).of_parts.objects))


@pytest.mark.skipif(course.data_directory() is None, reason="the data are not here: set JAXNN_DATA")
def test_the_published_parts():
    street = scenes.load("camvid", None, 0, 160)
    assert (len(street.train.x), len(street.test.x)) == (367, 233)
    assert ((street.train.labels == 0).sum(), (street.test.labels == 0).sum()) == (705, 211)
    raccoons = scenes.load("raccoons", None, 0, 64)
    assert (len(raccoons.train.x), len(raccoons.test.x)) == (160, 40)
    assert (raccoons.train.labels == 0).sum() + (raccoons.test.labels == 0).sum() == 217
