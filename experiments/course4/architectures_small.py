"""The named networks made fit for pictures of 32x32: a gentler stem, and a fraction of the channels.

The published networks halve a photograph of 224 pixels five times, twice of these in their first layers. Of a picture
of 32 pixels that leaves one. So the first convolution is one of 3x3 without a stride, and the pool after it goes; the
rest is the published network, with its channels divided by `thinner`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxnn import Conv, Dense, Sequential, models
from jaxnn.layers import Parallel, Residual

__all__ = ["NETWORKS", "Small", "narrowed", "network_of"]


class Small(NamedTuple):
    """published: classes -> network; stem: its parts that are replaced, None leaves one out; adapted: that in words."""

    published: Callable[[int], Sequential]
    stem: dict[str, Any]
    adapted: str


def convolution(n_out: int, *, use_bias: bool = True, stride: int = 1) -> Conv:
    return Conv(n_out, (3, 3), stride=stride, padding=1, use_bias=use_bias)


NETWORKS = {
    "LeNet-5": Small(models.lenet5, {}, "as published"),
    "AlexNet": Small(lambda n: models.alexnet(n, hidden=1024), {"conv1": convolution(64, stride=2), "average": None},
                     "conv1 3x3 with stride 2, no average before fc6 and fc7 of 1,024 units"),
    "VGG-16": Small(lambda n: models.vgg16(n, hidden=1024), {"average": None},
                    "no average before fc6 and fc7 of 1,024 units"),
    "GoogLeNet": Small(models.googlenet, {"conv1.conv": convolution(64, use_bias=False), "pool1": None, "pool2": None},
                       "conv1 3x3, without pool1 and pool2"),
    "SqueezeNet": Small(models.squeezenet, {"conv1": convolution(96), "relu10": None},
                        "conv1 3x3, no relu before the mean of the logits"),
    "ResNet-18": Small(models.resnet18, {"conv1": convolution(64, use_bias=False), "maxpool": None},
                       "conv1 3x3, without its pool"),
    "MobileNet v1": Small(models.mobilenet_v1, {"stem.conv": convolution(32, use_bias=False)}, "stem without stride"),
    "MobileNet v2": Small(models.mobilenet_v2, {"stem.conv": convolution(32, use_bias=False)}, "stem without stride"),
    "DenseNet-121": Small(models.densenet121, {"conv0": convolution(64, use_bias=False), "pool0": None},
                          "conv0 3x3, without its pool"),
}


def network_of(name: str, classes: int, thinner: int) -> Sequential:
    """The network of this name for pictures of 32x32. LeNet-5, which was made for them, keeps its channels."""
    published, stem, _ = NETWORKS[name]
    net = replaced(published(classes), stem)
    return net if name == "LeNet-5" or thinner == 1 else narrowed(net, thinner, last=classes)


def replaced(net: Sequential, parts: dict[str, Any]) -> Sequential:
    """The network with other parts at these paths; where None stands, the part is left out."""
    kept: dict[str, Any] = {}
    for name, part in net.parts.items():
        inner = {path.partition(".")[2]: new for path, new in parts.items() if path.startswith(f"{name}.")}
        new = parts.get(name, replaced(part, inner) if inner and isinstance(part, Sequential) else part)
        if new is not None:
            kept[name] = new
    return Sequential(**kept)


def narrowed(layer: Any, thinner: int, *, last: int) -> Any:
    """The layer with the channels of each convolution, and the units of each dense layer, divided by `thinner`.

    last: how many logits there are; a layer with as many outputs keeps them. Channels that a depthwise convolution has
    in groups are as many groups less.
    """
    if isinstance(layer, Sequential):  # and what is made of it
        parts = {name: narrowed(part, thinner, last=last) for name, part in layer.parts.items()}
        if isinstance(layer, Residual):
            return Residual(parts["body"], parts.get("shortcut"))
        return Parallel(**parts) if isinstance(layer, Parallel) else Sequential(**parts)
    if isinstance(layer, Conv) and layer.n_out != last:
        groups = max(layer.groups // thinner, 1)
        return dataclasses.replace(layer, n_out=max(layer.n_out // thinner, 1), groups=groups)
    if isinstance(layer, Dense) and layer.n_out != last:
        return dataclasses.replace(layer, n_out=max(layer.n_out // thinner, 1))
    return layer
