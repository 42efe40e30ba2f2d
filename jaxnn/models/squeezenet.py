"""SqueezeNet 1.0 (Iandola et al. 2016): fire modules squeeze the channels by 1x1 and widen them by 1x1 and 3x3."""

from pathlib import Path

import jax
import numpy as np

from jaxnn.layers import Conv, Dropout, MaxPool, Parallel, Sequential
from jaxnn.models.weights import Published, from_published, read_npz
from jaxnn.ops import concatenate, global_average_pool, relu

__all__ = ["read_imagenet", "squeezenet"]

# Channels of the squeezing and of each widening convolution, and where the picture is halved before (table 1).
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
POOL_BEFORE = (2, 5, 9)
# What torchvision calls the parts.
TORCHVISION = Published({
    "conv1": "features.0", "fire2": "features.3", "fire3": "features.4", "fire4": "features.5", "fire5": "features.7",
    "fire6": "features.8", "fire7": "features.9", "fire8": "features.10", "fire9": "features.12",
    "conv10": "classifier.1", "expand": ""})
# What the published Caffe model calls them.
CAFFE = Published({"squeeze": "conv1x1_1", "expand.expand1x1": "conv1x1_2", "expand.expand3x3": "conv3x3_2",
                   "conv10": "conv_final"})
CAFFE_MEAN = (104.0, 117.0, 123.0)
"""Of blue, green and red."""


def squeezenet(classes: int = 1000) -> Sequential:
    """1,248,424 parameters; x is (227, 227, 3) as published, or another size."""
    parts: dict = {"conv1": Conv(96, (7, 7), stride=2, padding="VALID"), "relu1": relu}
    for number, (squeeze, expand) in FIRES.items():
        if number in POOL_BEFORE:
            parts[f"pool{number - 1}"] = MaxPool(3, 2, ceil=True)
        parts[f"fire{number}"] = fire(squeeze, expand)
    return Sequential(**parts, drop9=Dropout(0.5), conv10=Conv(classes, (1, 1)), relu10=relu,
                      pool10=global_average_pool)


def fire(squeeze: int, expand: int) -> Sequential:
    """(height, width, channels) -> (height, width, 2 expand)."""
    return Sequential(
        squeeze=Conv(squeeze, (1, 1)), relu1=relu,
        expand=Parallel(expand1x1=Conv(expand, (1, 1)), expand3x3=Conv(expand, (3, 3), padding=1)),
        join=concatenate, relu2=relu)


def read_imagenet(file: str | Path) -> dict:
    """Params with the weights of the published Caffe model, from an .npz with its names, kernels (height, width, n_in,
    n_out). They read a picture of 227x227 in blue-green-red, 0 to 255, from which `CAFFE_MEAN` is taken.

    Raises:
      BadWeights: the file is none, or lacks an entry or has another.
    """
    params = jax.eval_shape(lambda: squeezenet().init(jax.random.key(0), (227, 227, 3))[0])
    largest = max(leaf.size for leaf in jax.tree.leaves(params))
    arrays = read_npz(file, max_bytes=4 * largest)
    # As if they came from a file with PyTorch's layout, for which names and shapes are checked.
    turned = {name.replace("kernel", "weight"): np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim == 4 else a
              for name, a in arrays.items()}
    return from_published(turned, params, {}, CAFFE)[0]
