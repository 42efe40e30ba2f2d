"""What is to be found: digits on canvases, raccoons on photographs, cars on streets; pictures and boxes that change
together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.augmentation import brightness, contrast, crop, flip, resized_crop, saturation
from jaxnn.data import load_camvid, load_digits, load_raccoons, split
from jaxnn.detection import EMPTY, IGNORED, areas, mask_boxes, pad_boxes, to_centre

__all__ = ["CHOICES", "Part", "Scenes", "digit_scenes", "in_parts", "load", "split_alike"]

CHOICES = ("digits", "raccoons", "camvid")
SMALLEST = 6  # pixels: a car of CamVid that is narrower or lower is ignored, neither to be found nor wrong to find
VISIBLE = 0.4  # of a box that a crop cuts; with less of it left it is ignored
CAR = "car"


class Part(NamedTuple):
    """x (n, height, width, 3) uint8; boxes (n, slots, 4) float32, corners in pixels; labels (n, slots) int32."""

    x: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class Scenes(NamedTuple):
    train: Part
    test: Part
    classes: tuple[str, ...]
    change: Callable
    """(key, x, boxes, labels) -> the same of one picture, changed at random for training."""

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.train.x.shape[1:3]
        return height, width


def load(name: str, data_dir: Path | None, seed: int, pixels: int) -> Scenes:
    """The scenes by name, one of CHOICES.

    Args:
      seed: of the canvases, and of the split of the raccoons.
      pixels: the side to which raccoons are resized; their boxes are stretched with them.
    Raises:
      MissingData: the files of raccoons or of CamVid are not there.
      BadFile: they are damaged.
    """
    if name == "digits":
        digits = load_digits()
        parts = split(len(digits.x), (0.8, 0.1, 0.1), seed=seed, labels=digits.y)
        train, test = (digit_scenes(digits.x[places], digits.y[places], seed) for places in (parts.train, parts.test))
        return Scenes(train, test, tuple("0123456789"), lambda key, x, boxes, labels: (x, boxes, labels))
    if name == "camvid":
        data = load_camvid(data_dir, instead="--data digits")
        car = data.classes.index(CAR)
        train, test = (street_scenes(x, y == car) for x, y in ((data.train_x, data.train_y),
                                                               (data.test_x, data.test_y)))
        return Scenes(train, test, (CAR,), _changes(train.x.shape[1:3], padding=0, scale=(0.35, 1.0)))
    raccoons = load_raccoons(data_dir, instead="--data digits")
    in_train = split_alike(raccoons.alike, 160, seed)
    train, test = (raccoon_scenes(raccoons, np.flatnonzero(chosen), pixels) for chosen in (in_train, ~in_train))
    return Scenes(train, test, ("raccoon",), _changes((pixels, pixels), padding=pixels // 6, scale=(0.25, 1.0)))


def split_alike(alike: np.ndarray, n_train: int, seed: int) -> np.ndarray:
    """(n,) bools, n_train of them True: pictures that are alike are on one side."""
    random = np.random.default_rng(seed)
    groups = random.permutation(np.unique(alike))
    chosen = np.zeros(len(alike), bool)
    for group in groups:
        mine = alike == group
        if chosen.sum() + mine.sum() <= n_train:
            chosen |= mine
    return chosen


def digit_scenes(digits: np.ndarray, labels: np.ndarray, seed: int, side: int = 64, most: int = 4) -> Part:
    """Canvases with one to four digits, each two or three times its size, at places where none covers another.

    digits: (n, 8, 8) ink in [0, 1], each of which is on one canvas.
    """
    random = np.random.default_rng(seed)
    canvases, boxes, classes = [], [], []
    place = 0
    while place < len(digits):
        canvas, mine = np.zeros((side, side)), []
        for i in range(place, min(place + int(random.integers(1, most + 1)), len(digits))):
            factor = int(random.integers(2, 4))
            ink = np.kron(digits[i], np.ones((factor, factor)))
            rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
            ink = ink[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
            for _ in range(20):
                top, left = (int(random.integers(0, side - n + 1)) for n in ink.shape)
                spot = np.s_[top:top + ink.shape[0], left:left + ink.shape[1]]
                if not canvas[spot].any():
                    canvas[spot] = ink
                    mine.append(((left, top, left + ink.shape[1], top + ink.shape[0]), labels[i]))
                    break
            place = i + 1
        canvases.append(np.repeat(255 * canvas[..., None], 3, -1).astype(np.uint8))
        padded = pad_boxes([box for box, _ in mine], [label for _, label in mine], most)
        boxes.append(padded[0])
        classes.append(padded[1])
    return Part(np.stack(canvases), np.stack(boxes), np.stack(classes))


def street_scenes(x: np.ndarray, is_car: np.ndarray) -> Part:
    """All frames, those without a car too. A piece of the mask is a box; small ones are ignored."""
    each = [mask_boxes(mask) for mask in is_car]
    slots = max(len(boxes) for boxes in each)
    padded = [pad_boxes(boxes, np.where((boxes[:, 2:] - boxes[:, :2]).min(1, initial=SMALLEST) < SMALLEST, IGNORED, 0)
                        if len(boxes) else [], slots) for boxes in each]
    return Part(x, np.stack([boxes for boxes, _ in padded]), np.stack([labels for _, labels in padded]))


def raccoon_scenes(raccoons: Any, places: np.ndarray, pixels: int) -> Part:
    from PIL import Image

    x, boxes, labels = [], [], []
    slots = max(len(b) for b in raccoons.boxes)
    for i in places:
        picture = raccoons.pictures[i]
        height, width = picture.shape[:2]
        x.append(np.asarray(Image.fromarray(picture).resize((pixels, pixels), Image.Resampling.BILINEAR)))
        padded = pad_boxes(raccoons.boxes[i] * (pixels / np.array([width, height] * 2)), [0] * len(raccoons.boxes[i]),
                           slots)
        boxes.append(padded[0])
        labels.append(padded[1])
    return Part(np.stack(x), np.stack(boxes), np.stack(labels))


def in_parts(boxes: Any, size: tuple[int, int]) -> Any:
    """Corners in pixels as centre and size in parts of the picture, as a head has them."""
    height, width = size
    return to_centre(jnp.asarray(boxes, jnp.float32)) / jnp.array([width, height, width, height], jnp.float32)


def _changes(size: tuple[int, int], padding: int, scale: tuple[float, float]) -> Callable:
    """Left and right exchanged; a piece of the picture, with a margin around, made as large as the picture; then its
    light and colours. What a box loses is cut off; a box that loses too much is ignored, one that is gone is none."""
    wide = size[0] + 2 * padding, size[1] + 2 * padding

    def changed(key: Any, x: Any, boxes: Any, labels: Any) -> tuple[Any, Any, Any]:
        keys = jax.random.split(key, 6)
        warp = flip(keys[0], size).then(crop(keys[1], size, to=wide, padding=padding))
        warp = warp.then(resized_crop(keys[2], wide, to=size, scale=scale, ratio=(0.7, 1.4)))
        new = warp.boxes(boxes)
        whole = areas(boxes) / jnp.abs(jnp.linalg.det(warp.matrix[:, :2]))
        area = areas(new)
        labels = jnp.where((labels >= 0) & (area < VISIBLE * whole), IGNORED, labels)
        labels = jnp.where(area > 0, labels, EMPTY)
        x = warp.image(x, fill=0.5)
        x = brightness(keys[3], x, limit=0.3)
        x = contrast(keys[4], x, limit=0.3)
        return saturation(keys[5], x, limit=0.4), jnp.where((area > 0)[:, None], new, 0), labels

    return changed
