"""Changes of colour: against Pillow and colorsys; mixtures of examples keep what they should."""

import colorsys
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.augmentation import (
    brightness,
    contrast,
    cutmix,
    cutout,
    hue,
    mixup,
    pca_colour,
    saturation,
    to_grey,
)

KEY = jax.random.key(3)
IMAGE = np.random.default_rng(0).random((6, 7, 3)).astype(np.float32)
LABELS = jax.nn.one_hot(jnp.arange(8) % 3, 3)


@pytest.mark.parametrize(("change", "name"), [(brightness, "Brightness"), (contrast, "Contrast"),
                                              (saturation, "Color")])
def test_against_pillow(change, name):
    """Pillow computes in whole numbers of 0..255."""
    image = pytest.importorskip("PIL.Image")
    enhance = pytest.importorskip("PIL.ImageEnhance")
    pixels = np.round(IMAGE * 255).astype(np.uint8)
    factor = float(1 + 0.5 * jax.random.uniform(KEY, minval=-1.0))
    want = np.asarray(getattr(enhance, name)(image.fromarray(pixels)).enhance(factor), np.float32) / 255
    np.testing.assert_allclose(change(KEY, pixels / np.float32(255), limit=0.5), want, atol=2 / 255)


def test_grey_and_hue():
    grey = to_grey(IMAGE)
    np.testing.assert_allclose(grey[..., 0], IMAGE @ np.float32([0.299, 0.587, 0.114]), rtol=1e-6)
    assert grey.shape == IMAGE.shape
    turn = float(0.4 * jax.random.uniform(KEY, minval=-1.0))

    def turned(rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((h + turn) % 1, s, v)

    want = np.array([[turned(map(float, pixel)) for pixel in row] for row in IMAGE])
    np.testing.assert_allclose(hue(KEY, IMAGE, limit=0.4), want, atol=1e-5)
    np.testing.assert_allclose(hue(KEY, grey, limit=0.4), grey, atol=1e-6)


def test_principal_components():
    moved = pca_colour(KEY, 0.5 * np.ones((2, 2, 3), np.float32), 0.1 * np.eye(3))
    want = 0.5 + 0.01 * np.asarray(jax.random.normal(KEY, (3,)))
    np.testing.assert_allclose(moved, np.broadcast_to(want, (2, 2, 3)), rtol=1e-5)


def test_cutout_fills_a_square():
    sizes = {int(np.sum(np.asarray(cutout(jax.random.key(i), np.ones((9, 9, 3), np.float32), size=3)) == 0)) // 3
             for i in range(30)}
    assert max(sizes) == 9 and min(sizes) in (4, 6) and sizes <= {4, 6, 9}


@pytest.mark.exhaustive
def test_mixtures_keep_sums_and_proportions():
    images = jnp.asarray(np.random.default_rng(1).random((8, 6, 6, 3)), jnp.float32)
    for mix, static in ((mixup, {"alpha": 0.4}), (cutmix, {})):
        x, y = jax.jit(lambda k, a, b, mix=mix, static=static: mix(k, a, b, **static))(KEY, images, LABELS)
        assert x.shape == images.shape
        np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)
        assert np.any(np.asarray(y) % 1 > 0.01)
    # A label goes with its pictures: here each picture is its own label, everywhere the same.
    pictures = jnp.broadcast_to(LABELS[:, None, None, :], (8, 6, 6, 3))
    for mix in (mixup, cutmix):
        x, y = mix(KEY, pictures, LABELS)
        np.testing.assert_allclose(x.mean((1, 2)), y, atol=1e-6)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: brightness(KEY, (255 * IMAGE).astype(np.uint8), limit=0.1),
     "brightness expects floating-point numbers in 0 .. 1; got uint8; scale the pixels first: image / 255"),
    (lambda: contrast(KEY, 255 * IMAGE, limit=0.1), "contrast expects pixels in 0 .. 1; got values up to"),
    (lambda: saturation(KEY, IMAGE[..., :1], limit=0.1), "saturation expects image of shape (height, width, 3)"),
    (lambda: hue(KEY, IMAGE, limit=1), "hue expects limit in [0, 0.5]; got 1"),
    (lambda: cutout(KEY, IMAGE, size=0), "cutout expects size, a positive integer; got 0"),
    (lambda: mixup(KEY, IMAGE[None], jnp.array([1])), "mixup expects labels of shape (1, classes), one distribution"),
    (lambda: cutmix(KEY, IMAGE, LABELS[:6]), "cutmix expects images of shape (examples, height, width, channels)"),
    (lambda: pca_colour(KEY, IMAGE, np.eye(2)), "pca_colour expects components of shape (3, 3); got (2, 2)"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
