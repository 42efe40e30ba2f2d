"""What is segmented: streets of CamVid, or canvases of handwritten digits; class weights and random changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.augmentation import brightness, contrast, crop, flip, saturation
from jaxnn.checks import expect
from jaxnn.data import load_camvid, load_digits, split

__all__ = ["CHOICES", "Part", "Scenes", "canvases", "class_weights", "load", "majority_by_place"]

CHOICES = ("digits", "camvid")
# CamVid's own, so that its pictures look as they do elsewhere.
STREET_COLOURS = ((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
                  (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192))
DIGIT_COLOURS = ((235, 235, 235), (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
                 (140, 86, 75), (227, 119, 194), (57, 59, 121), (188, 189, 34), (23, 190, 207))
CELL, CELLS = 16, (2, 2)  # a digit of 8x8 anywhere in each cell of a canvas
INK, PAPER = 0.25, 0.0  # a pixel with at least INK belongs to its digit, one with some, but less, to none


class Part(NamedTuple):
    """x (n, height, width, channels) float32 in 0..1; y (n, height, width) int32, classes and void."""

    x: np.ndarray
    y: np.ndarray


class Scenes(NamedTuple):
    """Pictures whose pixels have classes 0 .. n-1, or `void`, which is n: such pixels count nowhere."""

    train: Part
    dev: Part
    test: Part
    classes: tuple[str, ...]
    colours: np.ndarray
    """(n, 3) uint8, one for each class."""
    augment: Callable
    """(key, x, y) -> (x, y) of one picture: random changes for the training."""

    @property
    def void(self) -> int:
        return len(self.classes)


def load(name: str, data_dir: Path | None, seed: int, size: tuple[int, int]) -> Scenes:
    """The scenes by name, one of CHOICES.

    Args:
      size: (height, width) of the crops that CamVid is trained on.
    Raises:
      MissingData: CamVid is not there.
      BadFile: it is damaged.
    """
    if name == "camvid":
        data = load_camvid(data_dir, instead="--data digits")
        train, dev, test = (Part(x.astype(np.float32) / 255, y.astype(np.int32)) for x, y in (
            (data.train_x, data.train_y), (data.val_x, data.val_y), (data.test_x, data.test_y)))
        whole = train.x.shape[1:3]
        expect(all(n <= m for n, m in zip(size, whole, strict=True)), "--crop", f"at most {whole}", str(size))
        return Scenes(train, dev, test, data.classes, np.array(STREET_COLOURS, np.uint8),
                      _street_changes(whole, size, data.void))
    digits = load_digits()
    train, dev, test = (canvases(digits.x[places], digits.y[places], seed)
                        for places in split(len(digits.x), (0.8, 0.1, 0.1), seed=seed, labels=digits.y))
    return Scenes(train, dev, test, ("paper", *map(str, range(10))), np.array(DIGIT_COLOURS, np.uint8),
                  lambda key, x, y: (x, y))


def canvases(digits: np.ndarray, labels: np.ndarray, seed: int) -> Part:
    """Canvases of 32x32 with four digits each, one in each quarter, at a random place in it.

    Each digit is used once, so the digits of two canvases are different; up to three are left over. Class 0 is paper,
    1 + d the digit d. The rim of a stroke, which has a little ink, is void.

    Args:
      digits: (n, 8, 8) ink in [0, 1]. labels: (n,) digits.
    """
    random = np.random.RandomState(seed)
    per_canvas, pixels = CELLS[0] * CELLS[1], digits.shape[1]
    n = len(digits) // per_canvas
    x = np.zeros((n, CELLS[0] * CELL, CELLS[1] * CELL), np.float32)
    y = np.zeros(x.shape, np.int32)
    void = 1 + 10
    for i, digit in enumerate(digits[:n * per_canvas]):
        canvas, cell = divmod(i, per_canvas)
        top, left = CELL * np.array(divmod(cell, CELLS[1])) + random.randint(CELL - pixels + 1, size=2)
        place = canvas, slice(top, top + pixels), slice(left, left + pixels)
        x[place] = digit
        y[place] = np.select([digit >= INK, digit > PAPER], [1 + labels[i], void], 0)
    return Part(x[..., None], y)


def class_weights(labels: np.ndarray, n_classes: int, balance: float) -> np.ndarray:
    """The weight of a pixel of each class in the cost, (n_classes,) float32, of mean one over the pixels.

    With f_c the share of class c among the pixels of the pictures that have it, w_c ∝ (median(f) / f_c)^balance: with
    balance 1 median frequency balancing, with 0 equal weights.

    Source: Eigen & Fergus (2015), section 4.3.
    """
    pixels = np.bincount(labels.ravel(), minlength=n_classes + 1)[:n_classes]
    area = labels[0].size * np.array([(labels == c).any((1, 2)).sum() for c in range(n_classes)])
    expect(pixels.min() > 0, "class_weights", "pixels of each class in the training set",
           f"none of class {int(pixels.argmin())}")
    frequency = pixels / area
    weights = (np.median(frequency) / frequency) ** balance
    return (weights * pixels.sum() / (weights * pixels).sum()).astype(np.float32)


def majority_by_place(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(height, width): the class that the training set most often has at each pixel, a prediction without a look."""
    votes = np.stack([(labels == c).sum(0) for c in range(n_classes)])
    return votes.argmax(0)


def _street_changes(size: tuple[int, int], to: tuple[int, int], void: int) -> Callable:
    """Left and right exchanged, a piece cut out, picture and labels alike; then the picture's light and colours."""
    def changed(key: Any, x: Any, y: Any) -> tuple[Any, Any]:
        keys = jax.random.split(key, 5)
        warp = flip(keys[0], size).then(crop(keys[1], size, to=to))
        x, y = warp.image(x), warp.mask(y, void)
        x = brightness(keys[2], x, limit=0.4)
        x = contrast(keys[3], x, limit=0.3)
        return saturation(keys[4], x, limit=0.3), y

    return changed
