"""MobileNet v1 (Howard et al. 2017) and v2 (Sandler et al. 2018): depthwise convolutions between 1x1 convolutions."""

from typing import Any

from jaxnn.layers import BatchNorm, Conv, Dense, Dropout, Residual, Sequential
from jaxnn.models.weights import Published
from jaxnn.ops import global_average_pool, relu6

__all__ = ["mobilenet_v1", "mobilenet_v2"]

# v1: channels out and stride of each pair of a depthwise and a 1x1 convolution (table 1).
PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# v2: expansion, channels out, repetitions and stride of each stage (table 2).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v1(classes: int = 1000) -> Sequential:
    """Width 1: 4,231,976 parameters for 1,000 classes."""
    parts: dict = {"stem": _conv(3, 32, stride=2)}
    n_in = 32
    for number, (n_out, stride) in enumerate(PAIRS, 1):
        parts[f"depthwise{number}"] = _conv(3, n_in, stride=stride, groups=n_in)
        parts[f"pointwise{number}"] = _conv(1, n_out)
        n_in = n_out
    return Sequential(**parts, average=global_average_pool, fc=Dense(classes))


def mobilenet_v2(classes: int = 1000) -> Sequential:
    """Width 1: 3,504,872 parameters for 1,000 classes."""
    parts: dict = {"stem": _conv(3, 32, stride=2)}
    n_in, number = 32, 0
    for expansion, n_out, n, first in STAGES:
        for i in range(n):
            number += 1
            parts[f"block{number}"] = inverted_residual(n_in, n_out, first if i == 0 else 1, expansion)
            n_in = n_out
    return Sequential(**parts, last=_conv(1, 1280), average=global_average_pool, drop=Dropout(0.2), fc=Dense(classes))


def inverted_residual(n_in: int, n_out: int, stride: int, expansion: int) -> Any:
    """Widened by 1x1, convolved channel by channel, narrowed by 1x1 without an activation; x is added where it fits."""
    width = n_in * expansion
    parts: dict = {} if expansion == 1 else {"expand": _conv(1, width)}
    parts |= {"depthwise": _conv(3, width, stride=stride, groups=width),
              "project": Conv(n_out, (1, 1), padding="VALID", use_bias=False), "norm": BatchNorm()}
    body = Sequential(**parts)
    return Residual(body) if stride == 1 and n_in == n_out else body


def torchvision_v2() -> Published:
    """What torchvision calls the parts of v2: it counts them in one row."""
    names = {"stem.conv": "features.0.0", "stem.norm": "features.0.1", "last.conv": "features.18.0",
             "last.norm": "features.18.1", "fc": "classifier.1"}
    blocks = [(expansion, i == 0) for expansion, _, n, _ in STAGES for i in range(n)]
    for number, (expansion, _) in enumerate(blocks, 1):
        parts = ["depthwise"] if expansion == 1 else ["expand", "depthwise"]
        for place, part in enumerate(parts):
            for body in ("", "body."):
                for inner, index in (("conv", 0), ("norm", 1)):
                    names[f"block{number}.{body}{part}.{inner}"] = f"features.{number}.conv.{place}.{index}"
        for body in ("", "body."):
            names[f"block{number}.{body}project"] = f"features.{number}.conv.{len(parts)}"
            names[f"block{number}.{body}norm"] = f"features.{number}.conv.{len(parts) + 1}"
    return Published(names)


def _conv(window: int, n_out: int, stride: int = 1, groups: int = 1) -> Sequential:
    return Sequential(conv=Conv(n_out, (window, window), stride=stride, padding=window // 2, groups=groups,
                                use_bias=False), norm=BatchNorm(), relu=relu6)
