"""Small one-stage detectors: a head of one map of cells on SqueezeNet with its ImageNet weights, or on a network that
is trained from scratch."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import BatchNorm, Conv, Dropout, Residual, Sequential, initializers, leaky_relu
from jaxnn.data import find
from jaxnn.detection import YoloHead
from jaxnn.layers.layer import Function
from jaxnn.models import squeezenet
from jaxnn.models.squeezenet import CAFFE_MEAN, read_imagenet

__all__ = ["Detector", "on_squeezenet", "tower"]

RARE = -4.0  # the logit of an object at the start: nearly all cells have none
FROZEN = ("conv1", "fire2", "fire3")  # edges and colours, which are the same for raccoons


class Detector(NamedTuple):
    net: Sequential
    """(height, width, 3) in 0..1 -> (rows, columns, channels of the head)."""
    params: dict[str, Any]
    state: dict[str, Any]
    frozen: Any
    """Which params stay as they are: a tree of bools, a prefix of params; None for none."""


def tower(head: YoloHead, size: tuple[int, int], seed: int, width: int, halvings: int) -> Detector:
    """Halved by each stage, with a residual block after all but the first."""
    parts: dict[str, Any] = {}
    for i in range(halvings):
        n = width * 2**i
        parts[f"down{i}"] = unit(n, stride=2)
        if i:
            parts[f"block{i}"] = Residual(Sequential(first=unit(n // 2, 1), second=unit(n)))
    net = Sequential(**parts, drop=Dropout(0.1), head=output(head))
    params, state = net.init(jax.random.key(seed), (*size, 3))
    return Detector(net, params, state, None)


def on_squeezenet(head: YoloHead, size: tuple[int, int], seed: int, data_dir: Path | None) -> Detector:
    """SqueezeNet up to its last fire module, and three convolutions of the head's own."""
    weights = find("c4/squeezenet/squeezenet_1.0_imagenet.npz", data_dir, instead="--network scratch",
                   how_to_get="decode the published weights of SqueezeNet 1.0 into an .npz with its prototxt's names")
    published = read_imagenet(weights)
    parts = squeezenet().parts
    kept = [name for name in parts if name not in ("drop9", "conv10", "relu10", "pool10")]
    net = Sequential(caffe=Function(as_caffe), **{name: parts[name] for name in kept}, norm=BatchNorm(),
                     narrow=unit(128, 1), wide=unit(128), drop=Dropout(0.2), head=output(head))
    params, state = net.init(jax.random.key(seed), (*size, 3))
    params |= {name: published[name] for name in kept if name in published}
    return Detector(net, params, state, {name: name in FROZEN for name in params})


def unit(n: int, window: int = 3, stride: int = 1) -> Sequential:
    return Sequential(conv=Conv(n, (window, window), stride=stride, use_bias=False), norm=BatchNorm(), act=leaky)


def leaky(x: Any) -> Any:
    return leaky_relu(x, slope=0.1)


def output(head: YoloHead) -> Conv:
    """A 1x1 convolution whose first guess is the anchors, and hardly an object."""
    def bias(key: Any, shape: Any, dtype: Any = jnp.float32) -> Any:
        each = np.zeros((len(head.anchors), 5 + head.classes))
        each[:, 4] = RARE
        return jnp.asarray(each.reshape(shape), dtype)

    return Conv(head.channels, (1, 1), kernel_init=initializers.random_normal(0.01), bias_init=bias)


def as_caffe(x: Any) -> Any:
    """Red-green-blue in 0..1 as SqueezeNet was trained: blue-green-red in 0..255, less the means."""
    return 255 * x[..., ::-1] - jnp.asarray(CAFFE_MEAN, x.dtype)
