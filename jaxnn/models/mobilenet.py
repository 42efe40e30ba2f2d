"""MobileNet v1 (Howard et al. 2017) and v2 (Sandler et al. 2018): depthwise convolutions between 1x1 convolutions."""

from typing import Any, NamedTuple

from jax.nn.initializers import variance_scaling

from jaxnn.layers import BatchNorm, Conv, Dense, Dropout, Residual, Sequential
from jaxnn.models.weights import Published
from jaxnn.ops import global_average_pool, relu6

__all__ = ["mobilenet_v1", "mobilenet_v1_keras", "mobilenet_v2", "mobilenet_v2_keras"]

# v1: channels out and stride of each pair of a depthwise and a 1x1 convolution (table 1).
PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# v2: expansion, channels out, repetitions and stride of each stage (table 2).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


# As torchvision draws them. Counted by the channels out, a depthwise kernel is drawn smaller than by its nine inputs:
# batch norm takes the size out of the values again, and a step of Adam turns the kernel further.
FAN_OUT = variance_scaling(2.0, "fan_out", "normal")


class Style(NamedTuple):
    """In what the published networks differ."""

    halving: Any = 1
    """The padding of a 3x3 convolution of stride 2."""
    momentum: float = 0.9
    eps: float = 1e-5

    def norm(self) -> BatchNorm:
        return BatchNorm(momentum=self.momentum, eps=self.eps)

    def unit(self, window: int, n_out: int, stride: int = 1, groups: int = 1) -> Sequential:
        """A convolution without bias, batch norm, relu6."""
        padding = window // 2 if stride == 1 else self.halving
        return Sequential(conv=Conv(n_out, (window, window), stride=stride, padding=padding, groups=groups,
                                    use_bias=False, kernel_init=FAN_OUT), norm=self.norm(), relu=relu6)


TORCH = Style()
KERAS_V1 = Style(((0, 1), (0, 1)), 0.99, 1e-3)
KERAS_V2 = Style("SAME", 0.999, 1e-3)


def mobilenet_v1(classes: int = 1000) -> Sequential:
    """Width 1: 4,231,976 parameters for 1,000 classes."""
    return _v1(classes, TORCH)


def mobilenet_v1_keras(classes: int = 1000) -> Sequential:
    """That of `keras.applications`, for its weights: where it halves a picture, the padding is at the high side alone;
    batch norm has eps 1e-3 and keeps 0.99."""
    return _v1(classes, KERAS_V1)


def mobilenet_v2(classes: int = 1000) -> Sequential:
    """Width 1: 3,504,872 parameters for 1,000 classes."""
    return _v2(classes, TORCH)


def mobilenet_v2_keras(classes: int = 1000) -> Sequential:
    """That of `keras.applications`, for its weights: padding "SAME", which at an even size is at the high side alone;
    batch norm has eps 1e-3 and keeps 0.999. 3,538,984 parameters with the running statistics, as Keras counts."""
    return _v2(classes, KERAS_V2)


def _v1(classes: int, style: Style) -> Sequential:
    parts: dict = {"stem": style.unit(3, 32, stride=2)}
    n_in = 32
    for number, (n_out, stride) in enumerate(PAIRS, 1):
        parts[f"depthwise{number}"] = style.unit(3, n_in, stride=stride, groups=n_in)
        parts[f"pointwise{number}"] = style.unit(1, n_out)
        n_in = n_out
    return Sequential(**parts, average=global_average_pool, fc=Dense(classes))


def _v2(classes: int, style: Style) -> Sequential:
    parts: dict = {"stem": style.unit(3, 32, stride=2)}
    n_in, number = 32, 0
    for expansion, n_out, n, first in STAGES:
        for i in range(n):
            number += 1
            parts[f"block{number}"] = inverted_residual(n_in, n_out, first if i == 0 else 1, expansion, style)
            n_in = n_out
    return Sequential(**parts, last=style.unit(1, 1280), average=global_average_pool, drop=Dropout(0.2),
                      fc=Dense(classes))


def inverted_residual(n_in: int, n_out: int, stride: int, expansion: int, style: Style = TORCH) -> Any:
    """Widened by 1x1, convolved channel by channel, narrowed by 1x1 without an activation; x is added where it fits."""
    width = n_in * expansion
    parts: dict = {} if expansion == 1 else {"expand": style.unit(1, width)}
    parts |= {"depthwise": style.unit(3, width, stride=stride, groups=width),
              "project": Conv(n_out, (1, 1), padding="VALID", use_bias=False, kernel_init=FAN_OUT),
              "norm": style.norm()}
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


def timm_v2() -> Published:
    """What timm calls the parts of v2: by stage and block, the first block without a widening."""
    names = {"stem.conv": "conv_stem", "stem.norm": "bn1", "last.conv": "conv_head", "last.norm": "bn2",
             "fc": "classifier"}
    number = 0
    for stage, (expansion, _, n, _) in enumerate(STAGES):
        for i in range(n):
            number += 1
            theirs = [("depthwise.conv", "conv_dw"), ("depthwise.norm", "bn1"), ("project", "conv_pw"),
                      ("norm", "bn2")] if expansion == 1 else [
                ("expand.conv", "conv_pw"), ("expand.norm", "bn1"), ("depthwise.conv", "conv_dw"),
                ("depthwise.norm", "bn2"), ("project", "conv_pwl"), ("norm", "bn3")]
            names |= {f"block{number}.{body}{ours}": f"blocks.{stage}.{i}.{name}"
                      for body in ("", "body.") for ours, name in theirs}
    return Published(names)


def keras_v1() -> dict[str, str]:
    """What Keras calls the layers of v1, by our dotted path; its last layer is a 1x1 convolution."""
    names = {"stem.conv": "conv1", "stem.norm": "conv1_bn", "fc": "conv_preds"}
    for number in range(1, len(PAIRS) + 1):
        for ours, theirs in (("depthwise", "dw"), ("pointwise", "pw")):
            names |= {f"{ours}{number}.conv": f"conv_{theirs}_{number}",
                      f"{ours}{number}.norm": f"conv_{theirs}_{number}_bn"}
    return names


def keras_v2() -> dict[str, str]:
    """What Keras calls the layers of v2, by our dotted path."""
    names = {"stem.conv": "Conv1", "stem.norm": "bn_Conv1", "last.conv": "Conv_1", "last.norm": "Conv_1_bn",
             "fc": "predictions"}
    for number in range(1, sum(n for _, _, n, _ in STAGES) + 1):
        theirs = "expanded_conv" if number == 1 else f"block_{number - 1}"
        for body in ("", "body."):
            for part in ("expand", "depthwise"):
                names |= {f"block{number}.{body}{part}.conv": f"{theirs}_{part}",
                          f"block{number}.{body}{part}.norm": f"{theirs}_{part}_BN"}
            names |= {f"block{number}.{body}project": f"{theirs}_project",
                      f"block{number}.{body}norm": f"{theirs}_project_BN"}
    return names
