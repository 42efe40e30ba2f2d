"""DenseNet-121 (Huang, Liu, van der Maaten & Weinberger 2017): each layer reads all those before it in its block."""

from jaxnn.layers import AveragePool, BatchNorm, Conv, Dense, MaxPool, Parallel, Sequential
from jaxnn.layers.layer import Function
from jaxnn.models.weights import Published
from jaxnn.ops import concatenate, global_average_pool, relu

__all__ = ["densenet121"]

GROWTH = 32
BLOCKS = (6, 12, 24, 16)
# What torchvision calls the parts.
TORCHVISION = Published({"branches.new": "", "fc": "classifier"} | {
    part: f"features.{part}" for part in ("conv0", "norm0", "norm5", *(f"denseblock{n}" for n in range(1, 5)),
                                          *(f"transition{n}" for n in range(1, 4)))})


def identity(x):
    return x


def densenet121(classes: int = 1000) -> Sequential:
    """7,978,856 parameters for 1,000 classes."""
    parts: dict = {"conv0": Conv(64, (7, 7), stride=2, padding=3, use_bias=False), "norm0": BatchNorm(), "relu0": relu,
                   "pool0": MaxPool(3, 2, padding=1)}
    channels = 64
    for number, n in enumerate(BLOCKS, 1):
        parts[f"denseblock{number}"] = Sequential(**{f"denselayer{i}": dense_layer() for i in range(1, n + 1)})
        channels += n * GROWTH
        if number < len(BLOCKS):
            channels //= 2
            parts[f"transition{number}"] = Sequential(
                norm=BatchNorm(), relu=relu, conv=Conv(channels, (1, 1), padding="VALID", use_bias=False),
                pool=AveragePool(2))
    return Sequential(**parts, norm5=BatchNorm(), relu5=relu, average=global_average_pool, fc=Dense(classes))


def dense_layer() -> Sequential:
    """x and, beside it, 32 new channels made of it: 1x1 to 128, then 3x3."""
    new = Sequential(
        norm1=BatchNorm(), relu1=relu, conv1=Conv(4 * GROWTH, (1, 1), padding="VALID", use_bias=False),
        norm2=BatchNorm(), relu2=relu, conv2=Conv(GROWTH, (3, 3), padding=1, use_bias=False))
    return Sequential(branches=Parallel(old=Function(identity), new=new), join=concatenate)
