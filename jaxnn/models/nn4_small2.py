"""NN4.small2 (OpenFace, Amos et al. 2016), a small FaceNet: of a face of 96x96 a point on the unit sphere of R^128.

Inception modules of up to four branches, joined in the order 3x3, 5x5, pool, 1x1. The branch that pools halves the
picture or takes thirds of it, and is then laid into the middle of zeros, as large as the others.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect
from jaxnn.layers import BatchNorm, Conv, Dense, Flatten, MaxPool, Parallel, Sequential
from jaxnn.layers.layer import Function
from jaxnn.models.weights import BadWeights, entries_of, read_npz
from jaxnn.ops import average_pool, concatenate, l2_normalize, l2_pool, relu

__all__ = ["SIZE", "nn4_small2", "read_openface"]

SIZE = (96, 96, 3)
"""Of a face: red, green and blue in [0, 1]. With blue first the distances are others, and look as plausible: the
course's .659 and .862 become .597 and .756."""


class Module(NamedTuple):
    """How many channels the convolutions of an inception module have; None for a branch that is not there."""

    conv3x3: tuple[int, int]
    """Of the 1x1 before it, and of itself."""
    conv5x5: tuple[int, int] | None
    pool: int | None
    """Of the 1x1 after the pool; None for a pool alone."""
    conv1x1: int | None
    pads: tuple[int, int]
    """Zeros before and after, on both axes, that make the pooled branch as large as the others."""
    thirds: bool = False
    """Whether the pool takes the mean of thirds, not the maximum of overlapping halves."""
    stride: int = 1


MODULES = {
    "3a": Module((96, 128), (16, 32), 32, 64, (3, 4)),
    "3b": Module((96, 128), (32, 64), 64, 64, (4, 4), thirds=True),
    "3c": Module((128, 256), (32, 64), None, None, (0, 1), stride=2),
    "4a": Module((96, 192), (32, 64), 128, 256, (2, 2), thirds=True),
    "4e": Module((160, 256), (64, 128), None, None, (0, 1), stride=2),
    "5a": Module((96, 384), None, 96, 256, (1, 1), thirds=True),
    "5b": Module((96, 384), None, 96, 256, (1, 1))}
# The letters that end the published names, by our entry.
LETTERS = {"kernel": "w", "weight": "w", "scale": "w", "bias": "b", "mean": "m", "variance": "v"}


def nn4_small2(*, pooling: str = "average") -> Sequential:
    """3,743,280 numbers for (96, 96, 3), 9,312 of them the statistics of batch norm; y is (128,), of length one.

    Args:
      pooling: of thirds: "average" as in the course, or "l2", the norm of each window, as in OpenFace.
    """
    expect(pooling in ("average", "l2"), "nn4_small2", "pooling 'average' or 'l2'", repr(pooling))
    # The course leaves Keras' own eps to the first norm.
    parts: dict = {"conv1": Conv(64, (7, 7), stride=2, padding=3), "bn1": BatchNorm(eps=1e-3), "relu1": relu,
                   "pool1": MaxPool(3, 2, padding=1), "conv2": Conv(64, (1, 1)), "bn2": BatchNorm(), "relu2": relu,
                   "conv3": Conv(192, (3, 3), padding=1), "bn3": BatchNorm(), "relu3": relu,
                   "pool3": MaxPool(3, 2, padding=1)}
    parts |= {f"inception_{name}": inception(of, pooling) for name, of in MODULES.items()}
    return Sequential(**parts, average=Function(functools.partial(average_pool, window=3, stride=1)), flatten=Flatten(),
                      dense=Dense(128), unit=l2_normalize)


def inception(of: Module, pooling: str) -> Sequential:
    """(height, width, channels) -> (height, width, sum of the branches' channels), halved for stride 2."""
    branches: dict[str, Any] = {"3x3": _two(of.conv3x3, 3, of.stride)}
    if of.conv5x5:
        branches["5x5"] = _two(of.conv5x5, 5, of.stride)
    pool: Any = MaxPool(3, 2)
    if of.thirds:
        pool = Function(functools.partial(average_pool if pooling == "average" else l2_pool, window=3))
    projection = _one(of.pool) if of.pool else {}
    branches["pool"] = Sequential(pool=pool, **projection, pad=Function(functools.partial(laid, pads=of.pads)))
    if of.conv1x1:
        branches["1x1"] = Sequential(**_one(of.conv1x1))
    return Sequential(branches=Parallel(**branches), join=Function(concatenate))


def laid(x: Any, pads: tuple[int, int]) -> Any:
    """x in the middle of zeros, `pads` before and after it on both axes."""
    return jnp.pad(x, (pads, pads, (0, 0)))


def read_openface(file: str | Path) -> tuple[dict, dict]:
    """(params, state) with the published weights, from an .npz with the course's names: inception_3a_3x3_conv1_w and so
    on, kernels (height, width, n_in, n_out), the dense layer (n_in, n_out), ends _w, _b, _m and _v.

    Raises:
      BadWeights: the file is none, or is of another network: an entry is missing, left over, or of another shape.
    """
    shapes = _shapes()
    arrays = read_npz(file, max_bytes=2**24)
    problems, filled = [], []
    for path, leaf in entries_of(*shapes):
        name = "_".join([*(part for part in path[:-1] if part != "branches"), LETTERS[path[-1]]])
        array = arrays.pop(name, None)
        if array is None:
            problems.append(f"missing {name}")
            continue
        array = array.T if path[-1] == "weight" else array
        if array.shape != leaf.shape or not np.issubdtype(array.dtype, np.floating):
            problems.append(f"{name} of {array.dtype}{list(array.shape)} where floating-point numbers of shape "
                            f"{leaf.shape} are expected")
        filled.append(jnp.asarray(array, leaf.dtype))
    problems += [f"left over {name}" for name in arrays]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise BadWeights("weights", f"expects the {len(jax.tree.leaves(shapes))} arrays of NN4.small2; got {shown}")
    return jax.tree.unflatten(jax.tree.structure(shapes), filled)


@functools.cache
def _shapes() -> Any:
    return jax.eval_shape(lambda: nn4_small2().init(jax.random.key(0), SIZE))


def _one(n_out: int) -> dict[str, Any]:
    return {"conv": Conv(n_out, (1, 1)), "bn": BatchNorm(), "relu": relu}


def _two(channels: tuple[int, int], window: int, stride: int) -> Sequential:
    narrow, n_out = channels
    return Sequential(
        conv1=Conv(narrow, (1, 1)), bn1=BatchNorm(), relu1=relu,
        conv2=Conv(n_out, (window, window), stride=stride, padding=window // 2), bn2=BatchNorm(), relu2=relu)
