"""Residual networks (He, Zhang, Ren & Sun 2016): ResNet-18, 34, 50, 101 as in torchvision, and the course's 50."""

from typing import Any

from jaxnn.layers import AveragePool, BatchNorm, Conv, Dense, Flatten, MaxPool, Residual, Sequential
from jaxnn.models.weights import Published
from jaxnn.ops import global_average_pool, relu

__all__ = ["resnet18", "resnet34", "resnet50", "resnet50_course", "resnet101"]

# What torchvision calls the parts.
TORCHVISION = Published({"residual.body": "", "residual.shortcut.conv": "downsample.0",
                         "residual.shortcut.norm": "downsample.1"})


def resnet18(classes: int = 1000) -> Sequential:
    """Blocks 2-2-2-2 of two 3x3 convolutions: 11,689,512 parameters for 1,000 classes."""
    return _resnet(basic_block, (2, 2, 2, 2), classes)


def resnet34(classes: int = 1000) -> Sequential:
    """Blocks 3-4-6-3 of two 3x3 convolutions: 21,797,672 parameters for 1,000 classes."""
    return _resnet(basic_block, (3, 4, 6, 3), classes)


def resnet50(classes: int = 1000) -> Sequential:
    """Blocks 3-4-6-3 of 1x1, 3x3, 1x1 convolutions: 25,557,032 parameters for 1,000 classes. The stride is that of the
    3x3 convolution, as in torchvision; the paper has it in the 1x1 before."""
    return _resnet(bottleneck, (3, 4, 6, 3), classes)


def resnet101(classes: int = 1000) -> Sequential:
    """Blocks 3-4-23-3 of 1x1, 3x3, 1x1 convolutions: 44,549,160 parameters for 1,000 classes."""
    return _resnet(bottleneck, (3, 4, 23, 3), classes)


def basic_block(width: int, stride: int, shortcut: bool) -> Sequential:
    """Two 3x3 convolutions around which x is passed; channels = width."""
    body = Sequential(conv1=_conv(width, 3, stride), bn1=BatchNorm(), relu1=relu,
                      conv2=_conv(width, 3), bn2=BatchNorm())
    return _block(body, width, stride, shortcut)


def bottleneck(width: int, stride: int, shortcut: bool) -> Sequential:
    """1x1 to a quarter of the channels, 3x3, and 1x1 back; channels = 4 width."""
    body = Sequential(conv1=_conv(width, 1), bn1=BatchNorm(), relu1=relu, conv2=_conv(width, 3, stride),
                      bn2=BatchNorm(), relu2=relu, conv3=_conv(4 * width, 1), bn3=BatchNorm())
    return _block(body, 4 * width, stride, shortcut)


def _block(body: Sequential, n_out: int, stride: int, shortcut: bool) -> Sequential:
    way = Sequential(conv=_conv(n_out, 1, stride), norm=BatchNorm()) if shortcut else None
    return Sequential(residual=Residual(body, way), relu=relu)


def _conv(n_out: int, window: int, stride: int = 1) -> Conv:
    return Conv(n_out, (window, window), stride=stride, padding=window // 2, use_bias=False)


def _resnet(block: Any, blocks: tuple[int, ...], classes: int) -> Sequential:
    stages = {}
    for stage, n in enumerate(blocks, 1):
        width = 32 * 2**stage
        # The first block of a stage changes the channels or halves the picture, but for the narrow blocks' first.
        changes = [i == 0 and (stage > 1 or block is bottleneck) for i in range(n)]
        stages[f"layer{stage}"] = Sequential(**{
            str(i): block(width, 2 if i == 0 and stage > 1 else 1, changes[i]) for i in range(n)})
    return Sequential(conv1=_conv(64, 7, 2), bn1=BatchNorm(), relu=relu, maxpool=MaxPool(3, 2, padding=1), **stages,
                      avgpool=global_average_pool, fc=Dense(classes))


def resnet50_course(classes: int = 6) -> Sequential:
    """The course's, for (64, 64, 3): 23,600,006 parameters with the running statistics, for six classes.

    Keras' convolutions have biases, the stride is that of the first 1x1 convolution as in the paper, the picture is
    padded by 3 and the last stage is pooled by 2x2. Its batch norm has eps 1e-3 and keeps 0.99 of its statistics.
    """
    stages = {}
    for stage, n in enumerate((3, 4, 6, 3), 2):
        width = 16 * 2**stage
        stages[f"stage{stage}"] = Sequential(**{
            letter: block_course((width, width, 4 * width), 1 if stage == 2 or i else 2, i == 0)
            for i, letter in enumerate("abcdef"[:n])})
    return Sequential(conv1=Conv(64, (7, 7), stride=2, padding=3), norm1=_norm_course(), relu1=relu, pool1=MaxPool(3, 2),
                      **stages, average=AveragePool(2), flatten=Flatten(), fc=Dense(classes))


def block_course(widths: tuple[int, int, int], stride: int, shortcut: bool, window: int = 3) -> Sequential:
    """The course's `convolutional_block` (with a shortcut) and `identity_block` (without)."""
    a, b, c = widths
    body = Sequential(
        conv_a=Conv(a, (1, 1), stride=stride, padding="VALID"), norm_a=_norm_course(), relu_a=relu,
        conv_b=Conv(b, (window, window)), norm_b=_norm_course(), relu_b=relu,
        conv_c=Conv(c, (1, 1)), norm_c=_norm_course())
    way = Sequential(conv=Conv(c, (1, 1), stride=stride, padding="VALID"), norm=_norm_course()) if shortcut else None
    return Sequential(residual=Residual(body, way), relu=relu)


def _norm_course() -> BatchNorm:
    return BatchNorm(momentum=0.99, eps=1e-3)
