"""Changes of place: against SciPy's affine transform; pictures, masks and boxes go the same way."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.augmentation import Warp, crop, flip, resized_crop, rotation, shear, shift

SIZE = (9, 12)
IMAGE = np.random.default_rng(0).random((*SIZE, 2)).astype(np.float32)
MAKERS = {
    "flip": lambda key: flip(key, SIZE, probability=1.0), "crop": lambda key: crop(key, SIZE, to=(5, 6), padding=2),
    "resized_crop": lambda key: resized_crop(key, SIZE, to=(7, 5)),
    "rotation": lambda key: rotation(key, SIZE, degrees=30),
    "shear": lambda key: shear(key, SIZE, degrees=20), "shift": lambda key: shift(key, SIZE, fraction=0.3)}
EACH = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@EACH
def test_against_scipy(make):
    ndimage = pytest.importorskip("scipy.ndimage")
    warp = make(jax.random.key(1))
    matrix = np.asarray(warp.matrix, np.float64)
    want = np.stack([ndimage.affine_transform(
        np.pad(IMAGE[..., c].astype(np.float64), 20, constant_values=0.25), matrix[:, :2],
        matrix[:, 2] + 20, warp.new_size, order=1) for c in range(2)], -1)
    np.testing.assert_allclose(warp.image(IMAGE, fill=0.25), want, atol=2e-5)


@pytest.mark.sampled
@EACH
def test_a_mask_goes_where_the_picture_goes(make):
    """A block of ones: the picture is above 1/2 where the mask is 1, and the box is around both."""
    warp = make(jax.random.key(2))
    block = np.zeros(SIZE, np.float32)
    block[3:7, 2:9] = 1
    picture, mask = warp.image(block[..., None])[..., 0], np.asarray(warp.mask(block.astype(np.int32)))
    sure = np.abs(picture - 0.5) > 0.3
    np.testing.assert_array_equal(mask[sure], (picture > 0.5)[sure])
    left, top, right, bottom = np.asarray(warp.boxes(np.array([[2, 3, 9, 7]]))[0])
    rows, columns = np.nonzero(mask)
    assert top <= rows.min() + 0.5 and rows.max() + 0.5 <= bottom and left <= columns.min() + 0.5
    assert columns.max() + 0.5 <= right
    if abs(warp.matrix[0, 1]) + abs(warp.matrix[1, 0]) < 1e-6:  # not turned: the box fits
        assert abs(rows.min() - top) <= 1 and abs(columns.max() + 1 - right) <= 1


def test_flips_and_crops_are_exact():
    np.testing.assert_array_equal(flip(jax.random.key(0), SIZE, probability=1).image(IMAGE), IMAGE[:, ::-1])
    np.testing.assert_array_equal(flip(jax.random.key(0), SIZE, probability=0).image(IMAGE), IMAGE)
    warp = crop(jax.random.key(3), SIZE, padding=3)
    top, left = (int(n) for n in warp.matrix[:, 2])
    padded = np.pad(IMAGE, ((3, 3), (3, 3), (0, 0)))
    np.testing.assert_array_equal(warp.image(IMAGE), padded[top + 3:top + 12, left + 3:left + 15])
    # Integers stay integers.
    pixels = (255 * IMAGE).astype(np.uint8)
    flipped = flip(jax.random.key(0), SIZE, probability=1).image(pixels)
    assert flipped.dtype == np.uint8
    np.testing.assert_array_equal(flipped, pixels[:, ::-1])


def test_several_warps_are_one():
    """A quarter turn is a transposition and a flip; four of them are none."""
    size = (6, 6)
    turn = Warp(jnp.array([[0.0, 1, 0], [-1, 0, 5]]), size, size)
    image = IMAGE[:6, :6]
    np.testing.assert_allclose(turn.image(image), np.rot90(image), atol=1e-6)
    np.testing.assert_allclose(turn.then(turn).then(turn).then(turn).image(image), image, atol=1e-6)
    first, second = crop(jax.random.key(4), SIZE, to=(6, 7)), flip(jax.random.key(5), (6, 7), probability=1)
    np.testing.assert_array_equal(first.then(second).image(IMAGE), second.image(first.image(IMAGE)))


def test_draws_differ_and_a_batch_is_vmapped():
    keys = jax.random.split(jax.random.key(0), 50)
    images = jnp.broadcast_to(IMAGE, (50, *IMAGE.shape))

    @jax.jit
    @jax.vmap
    def augmented(key, image):
        a, b = jax.random.split(key)
        return flip(a, SIZE).then(crop(b, SIZE, padding=2)).image(image)

    out = np.asarray(augmented(keys, images))
    assert len({image.tobytes() for image in out}) > 25
    flips = jax.vmap(lambda key: flip(key, SIZE).matrix[1, 1])(keys)
    assert 15 < int(np.sum(np.asarray(flips) < 0)) < 35
    shapes = jax.vmap(lambda key: resized_crop(key, (100, 100), to=(10, 10), scale=(0.25, 0.5)).matrix)(keys)
    area = np.asarray(shapes[:, 0, 0] * shapes[:, 1, 1]) * 100
    assert area.min() > 2499 and area.max() < 5001


def test_a_box_that_leaves_has_no_area():
    boxes = Warp(jnp.array([[1.0, 0, 0], [0, 1, 50]]), SIZE, SIZE).boxes(np.array([[1, 1, 4, 4]]))
    left, top, right, bottom = boxes[0]
    assert (right - left) * (bottom - top) == 0


@pytest.mark.parametrize(("call", "words"), [
    (lambda: flip(jax.random.key(0), (0, 3)), "flip expects a size (height, width) of positive integers; got (0, 3)"),
    (lambda: crop(jax.random.key(0), SIZE, to=(20, 3)),
     "crop expects a piece within (9, 12) and padding 0; got (20, 3)"),
    (lambda: resized_crop(jax.random.key(0), SIZE, to=(3, 3), scale=(0.5, 0.2)),
     "resized_crop expects scale, two numbers in (0, 1], the smaller first; got (0.5, 0.2)"),
    (lambda: rotation(jax.random.key(0), SIZE, degrees=100), "rotation expects degrees in [0, 90); got 100"),
    (lambda: shift(jax.random.key(0), SIZE, fraction=-1), "shift expects fraction in [0, 1]; got -1"),
    (lambda: flip(jax.random.key(0), SIZE).image(IMAGE[None]), "image expects image of shape (9, 12, channels)"),
    (lambda: flip(jax.random.key(0), SIZE).mask(IMAGE), "mask expects mask of shape (9, 12); got (9, 12, 2)"),
    (lambda: flip(jax.random.key(0), SIZE).boxes(np.ones(4)), "boxes expects boxes of shape (n, 4); got (4,)"),
    (lambda: flip(jax.random.key(0), SIZE).then(flip(jax.random.key(0), (3, 3))),
     "then expects a warp of a picture of (9, 12); got (3, 3)"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
