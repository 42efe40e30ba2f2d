"""Segmentation: the canvases, class weights and the cost beside other routes; picture and labels change together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.course4.segmentation import scenes
from experiments.course4.segmentation.experiment import counts_of, mean_iou, pixel_accuracy, pixel_loss
from experiments.course4.segmentation.pictures import coloured
from jaxnn.checks import InputError
from jaxnn.data import load_digits
from tests import course

RNG = np.random.default_rng(0)


def test_canvases_have_each_digit_once():
    digits = load_digits()
    x, y = scenes.canvases(digits.x[:41], digits.y[:41], seed=3)
    assert x.shape == (10, 32, 32, 1) and y.shape == (10, 32, 32)
    np.testing.assert_allclose(x.sum(), digits.x[:40].sum(), rtol=1e-6)
    for i in range(40):
        canvas, (row, column) = i // 4, divmod(i % 4, 2)
        quarter = np.s_[canvas, 16 * row:16 * row + 16, 16 * column:16 * column + 16]
        ink, labels = x[quarter][..., 0], y[quarter]
        assert ink.sum() == pytest.approx(digits.x[i].sum())
        np.testing.assert_array_equal(labels == 0, ink == 0)
        np.testing.assert_array_equal(labels == 1 + digits.y[i], ink >= 0.25)
        np.testing.assert_array_equal(labels == 11, (ink > 0) & (ink < 0.25))
    assert (scenes.canvases(digits.x[:40], digits.y[:40], seed=4)[0] != x).any()


def test_digits_are_in_one_part_only():
    parts = scenes.load("digits", None, 0, (64, 96))[:3]
    assert [len(part.x) for part in parts] == [359, 45, 44]  # 4 canvases a digit, of 1,438, 180 and 179 digits


def test_class_weights():
    """By hand: class 2 is in one of two pictures, so its share is of that one."""
    labels = np.array([[[0, 0, 0, 1]], [[0, 1, 2, 3]]])  # 3 is void
    shares = np.array([4 / 8, 2 / 8, 1 / 4])
    for balance in (0, 0.5, 1):
        weights = scenes.class_weights(labels, 3, balance)
        raw = (1 / 4 / shares) ** balance
        np.testing.assert_allclose(weights / weights[0], raw / raw[0], rtol=1e-6)
        assert (4 * weights[0] + 2 * weights[1] + weights[2]) / 7 == pytest.approx(1)
    with pytest.raises(InputError, match="pixels of each class in the training set; got none of class 3"):
        scenes.class_weights(labels % 3, 4, 1)


def test_the_most_frequent_class_of_each_place():
    labels = np.array([[[0, 3]], [[2, 1]], [[2, 3]]])  # 3 is void, and no class
    assert scenes.majority_by_place(labels, 3).tolist() == [[2, 1]]


def test_the_cost_is_pytorchs(torch):
    """PyTorch divides by the weights of the pixels, where ours divides by all pixels, the void ones too."""
    weights = np.array([0.5, 2, 1], np.float32)
    logits, labels = RNG.standard_normal((4, 5, 3)).astype(np.float32), RNG.integers(0, 4, (4, 5))
    labels[0, 0], labels[1, 1] = 3, 0
    value, slope = jax.value_and_grad(pixel_loss(weights))(jnp.asarray(logits), jnp.asarray(labels))
    z = torch.tensor(logits).requires_grad_()
    total = torch.nn.functional.cross_entropy(z.reshape(-1, 3), torch.tensor(labels).reshape(-1),
                                              torch.tensor(weights), ignore_index=3, reduction="sum") / labels.size
    total.backward()
    assert float(value) == pytest.approx(total.item(), rel=1e-6)
    np.testing.assert_allclose(slope, z.grad, atol=1e-7)
    assert not np.asarray(slope)[labels == 3].any() and np.asarray(slope)[labels != 3].any()


def test_picture_and_labels_change_together(monkeypatch):
    """A picture whose light tells the label of its pixel still does; the colours are left as they are."""
    for name in ("brightness", "contrast", "saturation"):
        monkeypatch.setattr(scenes, name, lambda key, x, limit: x)
    changed = scenes._street_changes((12, 16), (8, 10), 11)
    y = RNG.integers(0, 12, (12, 16))
    x = np.repeat(y[..., None], 3, -1).astype(np.float32) / 11
    places = set()
    keys = jax.random.split(jax.random.key(0), 20)
    for new_x, new_y in zip(*map(np.asarray, jax.jit(jax.vmap(changed, (0, None, None)))(keys, x, y))):
        assert new_x.shape == (8, 10, 3) and new_y.shape == (8, 10)
        np.testing.assert_allclose(new_x[..., 0] * 11, new_y, atol=1e-5)
        places |= {(t, left, flipped) for t in range(5) for left in range(7) for flipped in (1, -1)
                   if (new_y == y[:, ::flipped][t:t + 8, left:left + 10]).all()}
    assert len(places) > 8 and {flipped for *_, flipped in places} == {1, -1}


def test_measures_leave_void_out():
    """Two pictures of four pixels: the void one counts neither as right nor as wrong, and class 2 is nowhere."""
    labels = np.array([[[0, 0, 1, 3]], [[1, 1, 0, 3]]])
    found = np.array([[[0, 1, 1, 2]], [[1, 1, 2, 0]]])
    counts = counts_of(found, labels, 3)
    assert counts.tolist() == [[1, 1, 1], [0, 3, 0], [0, 0, 0]]
    assert pixel_accuracy(counts) == 4 / 6
    assert mean_iou(counts) == (1 / 3 + 3 / 4) / 2  # of the classes that there are


def test_void_is_black():
    street = scenes.Scenes(None, None, None, ("a", "b"), np.array([[9, 9, 9], [1, 2, 3]], np.uint8), None)
    assert coloured(street, np.array([[0, 1, 2]])).tolist() == [[[9, 9, 9], [1, 2, 3], [0, 0, 0]]]


@pytest.mark.exhaustive  # the pictures take 200 MB
@pytest.mark.skipif(course.data_directory() is None, reason="CamVid is not here: set JAXNN_DATA")
def test_streets():
    street = scenes.load("camvid", None, 0, (64, 96))
    assert [len(part.x) for part in street[:3]] == [367, 101, 233] and len(street.colours) == len(street.classes) == 11
    assert street.train.x.max() == 1 and street.train.x.dtype == np.float32
    weights = dict(zip(street.classes, scenes.class_weights(street.train.y, 11, 1.0)))
    # Median frequency balancing as published: rare things count most, the road least.
    assert min(weights, key=weights.get) == "road" and weights["bicyclist"] > 20 * weights["road"]
    with pytest.raises(InputError, match=r"--crop expects at most \(96, 128\)"):
        scenes.load("camvid", None, 0, (97, 96))
