"""GoogLeNet (Szegedy et al. 2015) with batch norm, as torchvision has it: inception modules of four branches."""

from jaxnn.layers import BatchNorm, Conv, Dense, Dropout, MaxPool, Parallel, Sequential
from jaxnn.models.weights import Published
from jaxnn.ops import concatenate, global_average_pool, relu

__all__ = ["googlenet"]

# Channels of: 1x1; 3x3 and the 1x1 before it; 5x5 and the 1x1 before it; the 1x1 after the pool (table 1).
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)}
# What torchvision calls the parts.
TORCHVISION = Published({
    "branches": "", "branch2.reduce": "branch2.0", "branch2.conv3x3": "branch2.1", "branch3.reduce": "branch3.0",
    "branch3.conv3x3": "branch3.1", "branch4.project": "branch4.1"})


def googlenet(classes: int = 1000) -> Sequential:
    """6,624,904 parameters for 1,000 classes, without the two classifiers that the paper trains half way.

    torchvision's third branch has 3x3 kernels where the paper has 5x5; so has this, for its weights.
    """
    parts: dict = {"conv1": _conv(64, 7, 2), "pool1": MaxPool(3, 2, ceil=True), "conv2": _conv(64, 1),
                   "conv3": _conv(192, 3), "pool2": MaxPool(3, 2, ceil=True)}
    for name, channels in INCEPTIONS.items():
        parts[f"inception{name}"] = inception(*channels)
        if name == "3b":
            parts["pool3"] = MaxPool(3, 2, ceil=True)
        if name == "4e":
            parts["pool4"] = MaxPool(2, 2, ceil=True)
    return Sequential(**parts, average=global_average_pool, drop=Dropout(0.2), fc=Dense(classes))


def inception(n1: int, reduce3: int, n3: int, reduce5: int, n5: int, n_pool: int) -> Sequential:
    """(height, width, channels) -> (height, width, n1 + n3 + n5 + n_pool)."""
    return Sequential(
        branches=Parallel(
            branch1=_conv(n1, 1), branch2=Sequential(reduce=_conv(reduce3, 1), conv3x3=_conv(n3, 3)),
            branch3=Sequential(reduce=_conv(reduce5, 1), conv3x3=_conv(n5, 3)),
            branch4=Sequential(pool=MaxPool(3, 1, padding=1), project=_conv(n_pool, 1))),
        join=concatenate)


def _conv(n_out: int, window: int, stride: int = 1) -> Sequential:
    return Sequential(conv=Conv(n_out, (window, window), stride=stride, padding=window // 2, use_bias=False),
                      bn=BatchNorm(eps=1e-3), relu=relu)
