"""Random changes of place: flips, crops, rotations, as pure functions of a key and the size of a picture.

A change of place is drawn as a `Warp`, which says for each pixel of the new picture where it lies in the old one. The
same warp then moves the picture, a mask of labels and boxes alike, and several warps become one, so that a picture is
resampled once:

    warp = flip(key1, size).then(rotation(key2, size, degrees=10))
    image, mask, boxes = warp.image(image), warp.mask(mask), warp.boxes(boxes)

All of it runs under `jit` and `vmap`. For a batch: keys = jax.random.split(key, len(images)), and
jax.vmap(lambda key, image: flip(key, (32, 32)).image(image))(keys, images).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jaxnn.checks import expect, expect_array, expect_shape, is_integer

__all__ = ["Warp", "crop", "flip", "resized_crop", "rotation", "shear", "shift"]

Size = tuple[int, int]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Warp:
    """Where each pixel of the new picture lies in the old one: (y, x) old = matrix (y, x, 1) new, in pixels, the whole
    numbers being the pixels' centres.

    matrix: (2, 3). size, new_size: (height, width) of the old picture and of the new one.
    """

    matrix: Any
    size: Size = dataclasses.field(metadata={"static": True})
    new_size: Size = dataclasses.field(metadata={"static": True})

    def then(self, other: "Warp") -> "Warp":
        """This warp, and the other one of what it gives, as one."""
        expect(self.new_size == other.size, "then", f"a warp of a picture of {self.new_size}", str(other.size))
        a, b = (jnp.vstack([w.matrix, jnp.array([[0.0, 0, 1]])]) for w in (self, other))
        return Warp((a @ b)[:2], self.size, other.new_size)

    def image(self, image: Any, fill: float = 0.0) -> Any:
        """The picture, between pixels a mixture of the four around; `fill` beyond its rim.

        Args:
          image: (height, width, channels), of floating-point numbers or of integers, to which it is rounded.
        """
        self._expect("image", image, ("channels",))
        pixels = jnp.asarray(image, jnp.promote_types(jnp.result_type(image), jnp.float32))
        coordinates = self._old_places()
        new = jnp.stack([map_coordinates(pixels[..., c], coordinates, 1, "constant", fill)
                         for c in range(pixels.shape[-1])], -1)
        is_float = jnp.issubdtype(jnp.result_type(image), jnp.floating)
        return (new if is_float else jnp.round(new)).astype(jnp.result_type(image))

    def mask(self, mask: Any, fill: int = 0) -> Any:
        """The labels of the pixels, each that of the nearest; `fill` beyond the rim. mask: (height, width)."""
        self._expect("mask", mask, ())
        y, x = (jnp.round(c).astype(jnp.int32) for c in self._old_places())
        height, width = self.size
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        near = jnp.asarray(mask)[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)]
        return jnp.where(inside, near, jnp.asarray(fill, near.dtype))

    def boxes(self, boxes: Any) -> Any:
        """The boxes around what was in them, cut off at the rim; one that left the picture has no area.

        Args:
          boxes: (n, 4): left, top, right, bottom in pixels, 0 and width being the picture's edges.
        """
        expect_shape("boxes", "boxes", boxes, ("n", 4))
        boxes = jnp.asarray(boxes, jnp.float32)
        inverse = jnp.linalg.inv(self.matrix[:, :2])
        corners = jnp.stack([boxes[:, jnp.array(pair)] for pair in ((1, 0), (1, 2), (3, 0), (3, 2))], 1)
        # An edge at e lies half a pixel before the centre of pixel e.
        new = (corners - 0.5 - self.matrix[:, 2]) @ inverse.T + 0.5
        (top, left), (bottom, right) = (jnp.moveaxis(f(new, 1), -1, 0) for f in (jnp.min, jnp.max))
        height, width = self.new_size
        return jnp.stack([jnp.clip(left, 0, width), jnp.clip(top, 0, height), jnp.clip(right, 0, width),
                          jnp.clip(bottom, 0, height)], -1)

    def _old_places(self) -> list[Any]:
        y, x = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in self.new_size), indexing="ij")
        (a, b, c), (d, e, f) = self.matrix
        return [a * y + b * x + c, d * y + e * x + f]

    def _expect(self, name: str, array: Any, more: tuple[str, ...]) -> None:
        expect_array(name, name, array)
        expect_shape(name, name, array, (*self.size, *more))


def flip(key: Any, size: Size, *, probability: float = 0.5) -> Warp:
    """Left and right exchanged, or not."""
    _expect_size("flip", size)
    expect(0 <= probability <= 1, "flip", "probability in [0, 1]", repr(probability))
    turned = jax.random.bernoulli(key, jnp.float32(probability))
    sign = jnp.where(turned, -1.0, 1.0)
    return _warp([[1, 0, 0], [0, sign, jnp.where(turned, size[1] - 1.0, 0.0)]], size)


def crop(key: Any, size: Size, *, to: Size | None = None, padding: int = 0) -> Warp:
    """A piece at a random place, of the picture with `padding` pixels around it.

    Args:
      to: (height, width) of the piece; None for the picture's own size.
    """
    to = size if to is None else to
    _expect_size("crop", size)
    _expect_size("crop", to)
    expect(is_integer(padding, 0), "crop", "padding, an integer >= 0", repr(padding))
    room = [n + 2 * padding - m for n, m in zip(size, to, strict=True)]
    expect(min(room) >= 0, "crop", f"a piece within {size} and padding {padding}", str(to))
    keys = jax.random.split(key)
    top, left = (jax.random.randint(k, (), 0, r + 1) - float(padding) for k, r in zip(keys, room, strict=True))
    return _warp([[1, 0, top], [0, 1, left]], size, to)


def resized_crop(key: Any, size: Size, *, to: Size, scale: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> Warp:
    """A piece of random area and shape at a random place, resized: GoogLeNet's training crop (Szegedy et al. 2015).

    Args:
      to: (height, width) of the new picture.
      scale: the least and the largest area, in parts of the picture's.
      ratio: the least and the largest width by height; its logarithm is uniform. A side that would be longer than the
        picture's is cut to it.
    """
    _expect_size("resized_crop", size)
    _expect_size("resized_crop", to)
    _expect_range("resized_crop", "scale", scale, 0, 1)
    _expect_range("resized_crop", "ratio", ratio, 0, math.inf)
    k_area, k_ratio, k_top, k_left = jax.random.split(key, 4)
    area = size[0] * size[1] * jax.random.uniform(k_area, minval=scale[0], maxval=scale[1])
    shape = jnp.exp(jax.random.uniform(k_ratio, minval=math.log(ratio[0]), maxval=math.log(ratio[1])))
    height, width = jnp.minimum(jnp.sqrt(area / shape), size[0]), jnp.minimum(jnp.sqrt(area * shape), size[1])
    top = jax.random.uniform(k_top) * (size[0] - height)
    left = jax.random.uniform(k_left) * (size[1] - width)
    a, d = height / to[0], width / to[1]
    return _warp([[a, 0, top + a / 2 - 0.5], [0, d, left + d / 2 - 0.5]], size, to)


def rotation(key: Any, size: Size, *, degrees: float) -> Warp:
    """Turned about the middle by an angle in ±degrees."""
    angle = jnp.deg2rad(_within(key, "rotation", "degrees", degrees))
    c, s = jnp.cos(angle), jnp.sin(angle)
    return _about_the_middle("rotation", [[c, -s], [s, c]], size)


def shear(key: Any, size: Size, *, degrees: float) -> Warp:
    """Rows shifted against each other, so that an upright line leans by an angle in ±degrees."""
    slope = jnp.tan(jnp.deg2rad(_within(key, "shear", "degrees", degrees)))
    return _about_the_middle("shear", [[1, 0], [slope, 1]], size)


def shift(key: Any, size: Size, *, fraction: float) -> Warp:
    """Moved by up to this fraction of its height and width."""
    _expect_size("shift", size)
    expect(0 <= fraction <= 1, "shift", "fraction in [0, 1]", repr(fraction))
    dy, dx = jax.random.uniform(key, (2,), minval=-1.0) * fraction * jnp.array(size, jnp.float32)
    return _warp([[1, 0, dy], [0, 1, dx]], size)


def _warp(rows: Any, size: Size, new_size: Size | None = None) -> Warp:
    matrix = jnp.stack([jnp.stack([jnp.asarray(a, jnp.float32) for a in row]) for row in rows])
    height, width = size
    new_height, new_width = new_size or size
    return Warp(matrix, (height, width), (new_height, new_width))


def _about_the_middle(who: str, rows: Any, size: Size) -> Warp:
    _expect_size(who, size)
    y, x = ((n - 1) / 2 for n in size)
    return _warp([[a, b, m - a * y - b * x] for (a, b), m in zip(rows, (y, x), strict=True)], size)


def _within(key: Any, who: str, name: str, limit: float) -> Any:
    expect(isinstance(limit, int | float) and 0 <= limit < 90, who, f"{name} in [0, 90)", repr(limit))
    return jax.random.uniform(key, minval=-1.0) * limit


def _expect_size(who: str, size: Any) -> None:
    fits = isinstance(size, tuple | list) and len(size) == 2 and all(is_integer(n, 1) for n in size)
    expect(fits, who, "a size (height, width) of positive integers", repr(size))


def _expect_range(who: str, name: str, pair: Any, low: float, high: float) -> None:
    fits = isinstance(pair, tuple | list) and len(pair) == 2 and low < pair[0] <= pair[1] <= high
    expect(fits, who, f"{name}, two numbers in ({low}, {high}], the smaller first", repr(pair))
