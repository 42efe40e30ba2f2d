"""Random changes of colour, and mixtures of examples: pure functions of (key, picture).

Pictures are floating-point numbers in 0..1, (height, width, channels), and stay in 0..1. All of it runs under `jit`,
and the functions of one picture under `vmap`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, expect, expect_float, expect_shape, is_integer, known

__all__ = ["brightness", "contrast", "cutmix", "cutout", "hue", "mixup", "pca_colour", "saturation", "to_grey"]

# How much red, green and blue count in the brightness of a pixel (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def to_grey(image: Any) -> Any:
    """The brightness of each pixel in all three channels."""
    _expect_rgb("to_grey", image)
    return jnp.broadcast_to((image @ jnp.array(LUMA, image.dtype))[..., None], image.shape)


def brightness(key: Any, image: Any, *, limit: float) -> Any:
    """Each pixel times a factor in [1 - limit, 1 + limit]."""
    return _blend(_factor(key, "brightness", image, limit), image, jnp.zeros_like(image))


def contrast(key: Any, image: Any, *, limit: float) -> Any:
    """Differences from the mean brightness times a factor in [1 - limit, 1 + limit]."""
    factor = _factor(key, "contrast", image, limit)
    return _blend(factor, image, jnp.broadcast_to(jnp.mean(to_grey(image)), image.shape))


def saturation(key: Any, image: Any, *, limit: float) -> Any:
    """Differences from grey times a factor in [1 - limit, 1 + limit]."""
    return _blend(_factor(key, "saturation", image, limit), image, to_grey(image))


def hue(key: Any, image: Any, *, limit: float) -> Any:
    """Colours turned around the circle of hues by up to this part of it, in [0, 0.5]."""
    _expect_rgb("hue", image)
    expect(0 <= limit <= 0.5, "hue", "limit in [0, 0.5]", repr(limit))
    turn = jax.random.uniform(key, minval=-1.0) * limit
    value, low = jnp.max(image, -1), jnp.min(image, -1)
    spread = value - low
    safe = jnp.where(spread > 0, spread, 1)
    r, g, b = jnp.moveaxis(image, -1, 0)
    sixths = jnp.where(value == r, (g - b) / safe, jnp.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sixths = (sixths + 6 * turn)[..., None] % 6
    # Each channel is a trapezium on the circle, 2 sixths apart from the next.
    distance = jnp.abs((sixths - jnp.array([0.0, 2, 4], image.dtype) + 3) % 6 - 3)
    return low[..., None] + spread[..., None] * jnp.clip(2 - distance, 0, 1)


def pca_colour(key: Any, image: Any, components: Any, *, scale: float = 0.1) -> Any:
    """Colours moved along the principal components of the training set's (Krizhevsky et al. 2012, section 4.1).

    Args:
      components: (3, 3), each row a principal component of the pixels' colours times the root of its variance.
      scale: the standard deviation of the three factors.
    """
    _expect_rgb("pca_colour", image)
    expect_shape("pca_colour", "components", components, (3, 3))
    expect(scale >= 0, "pca_colour", "scale >= 0", repr(scale))
    factors = scale * jax.random.normal(key, (3,), image.dtype)
    return jnp.clip(image + factors @ jnp.asarray(components, image.dtype), 0, 1)


def cutout(key: Any, image: Any, *, size: int, fill: float = 0.0) -> Any:
    """A square of `size` pixels filled, its middle at a random pixel (DeVries & Taylor 2017)."""
    expect_float("cutout", "image", image)
    expect_shape("cutout", "image", image, ("height", "width", "channels"))
    expect(is_integer(size, 1), "cutout", "size, a positive integer", repr(size))
    inside = _rectangle(key, image.shape[:2], (size, size))
    return jnp.where(inside[..., None], jnp.asarray(fill, image.dtype), image)


def mixup(key: Any, images: Any, labels: Any, *, alpha: float = 0.2) -> tuple[Any, Any]:
    """Each example mixed with another one of the batch, its label in the same proportion (Zhang et al. 2018).

    Args:
      images: (examples, ...).
      labels: (examples, classes), distributions; jax.nn.one_hot makes them.
      alpha: of the Beta distribution from which the proportion of each example is drawn.
    """
    _expect_batch("mixup", images, labels, alpha)
    k_order, k_share = jax.random.split(key)
    order = jax.random.permutation(k_order, images.shape[0])
    share = jax.random.beta(k_share, alpha, alpha, (images.shape[0],))

    def mixed(x: Any) -> Any:
        lam = share.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
        return lam * x + (1 - lam) * x[order]

    return mixed(images), mixed(labels)


def cutmix(key: Any, images: Any, labels: Any, *, alpha: float = 1.0) -> tuple[Any, Any]:
    """A rectangle of another example in each, its label in proportion to the area (Yun et al. 2019).

    Args: as for `mixup`; images are (examples, height, width, channels).
    """
    _expect_batch("cutmix", images, labels, alpha)
    expect_shape("cutmix", "images", images, ("examples", "height", "width", "channels"))
    n, *size, _ = images.shape
    k_order, k_share, k_place = jax.random.split(key, 3)
    order = jax.random.permutation(k_order, n)
    side = jnp.sqrt(1 - jax.random.beta(k_share, alpha, alpha, (n,)))

    def of_one(k: Any, s: Any) -> Any:
        return _rectangle(k, size, [jnp.round(s * m) for m in size])

    inside = jax.vmap(of_one)(jax.random.split(k_place, n), side)
    kept = 1 - jnp.mean(inside, (1, 2), dtype=labels.dtype)[:, None]
    return jnp.where(inside[..., None], images[order], images), kept * labels + (1 - kept) * labels[order]


def _rectangle(key: Any, size: Any, sides: Any) -> Any:
    """The pixels of a rectangle whose middle is a random pixel, cut off at the rim."""
    middle = [jax.random.randint(k, (), 0, n) for k, n in zip(jax.random.split(key), size, strict=True)]
    rows, columns = ((jnp.arange(n) >= m - s // 2) & (jnp.arange(n) < m - s // 2 + s)
                     for n, m, s in zip(size, middle, sides, strict=True))
    return rows[:, None] & columns


def _blend(factor: Any, image: Any, other: Any) -> Any:
    return jnp.clip(other + factor.astype(image.dtype) * (image - other), 0, 1)


def _factor(key: Any, who: str, image: Any, limit: float) -> Any:
    _expect_rgb(who, image)
    expect(0 <= limit <= 1, who, "limit in [0, 1]", repr(limit))
    return 1 + limit * jax.random.uniform(key, minval=-1.0)


def _expect_rgb(who: str, image: Any) -> None:
    if jnp.issubdtype(jnp.result_type(image), jnp.integer):
        raise InputError(who, f"expects floating-point numbers in 0 .. 1; got {jnp.result_type(image)}; scale the "
                         "pixels first: image / 255")
    expect_float(who, "image", image)
    expect_shape(who, "image", image, ("height", "width", 3))
    values = known(image)
    if values is not None and values.size and values.max() > 1.5:
        raise InputError(who, f"expects pixels in 0 .. 1; got values up to {values.max()}; scale them: image / 255")


def _expect_batch(who: str, images: Any, labels: Any, alpha: float) -> None:
    expect_float(who, "images", images)
    expect(alpha > 0, who, "alpha > 0", repr(alpha))
    fits = jnp.ndim(labels) == 2 and jnp.issubdtype(jnp.result_type(labels), jnp.floating) and (
        labels.shape[0] == images.shape[0] >= 1)
    expect(fits, who, f"labels of shape ({images.shape[0]}, classes), one distribution for each example",
           f"{jnp.result_type(labels)}{list(jnp.shape(labels))}", "make them with jax.nn.one_hot")
