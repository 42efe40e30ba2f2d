"""Residual networks (He, Zhang, Ren & Sun 2016): ResNet-18, 34, 50, 101 as in torchvision, the 50 with
squeeze-and-excitation (Hu, Shen & Sun 2018), and the 50 of the course and of Keras."""

from typing import Any

from jaxnn.layers import AveragePool, BatchNorm, Conv, Dense, Flatten, MaxPool, Residual, Sequential, SqueezeExcitation
from jaxnn.models.weights import Published
from jaxnn.ops import global_average_pool, relu

__all__ = ["resnet18", "resnet34", "resnet50", "resnet50_course", "resnet50_keras", "resnet101", "se_resnet50"]

# What torchvision calls the parts.
TORCHVISION = Published({"residual.body": "", "residual.shortcut.conv": "downsample.0",
                         "residual.shortcut.norm": "downsample.1"})
# timm has the same names; its squeeze-and-excitation is of 1x1 convolutions.
TIMM_SE = Published({**TORCHVISION.parts, "squeeze": "fc1", "excite": "fc2"}, as_kernels=("squeeze", "excite"))


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


def se_resnet50(classes: int = 1000) -> Sequential:
    """`resnet50` with squeeze-and-excitation (r = 16) at the end of each block's body: 28,088,024 parameters for 1,000
    classes."""
    return _resnet(squeezed_bottleneck, (3, 4, 6, 3), classes)


def basic_block(width: int, stride: int, shortcut: bool) -> Sequential:
    """Two 3x3 convolutions around which x is passed; channels = width."""
    body = Sequential(conv1=_conv(width, 3, stride), bn1=BatchNorm(), relu1=relu,
                      conv2=_conv(width, 3), bn2=BatchNorm())
    return _block(body, width, stride, shortcut)


def bottleneck(width: int, stride: int, shortcut: bool) -> Sequential:
    """1x1 to a quarter of the channels, 3x3, and 1x1 back; channels = 4 width."""
    return _block(Sequential(**_narrow(width, stride)), 4 * width, stride, shortcut)


def squeezed_bottleneck(width: int, stride: int, shortcut: bool) -> Sequential:
    """A bottleneck whose body ends with squeeze-and-excitation."""
    return _block(Sequential(**_narrow(width, stride), se=SqueezeExcitation()), 4 * width, stride, shortcut)


def _narrow(width: int, stride: int) -> dict[str, Any]:
    return {"conv1": _conv(width, 1), "bn1": BatchNorm(), "relu1": relu, "conv2": _conv(width, 3, stride),
            "bn2": BatchNorm(), "relu2": relu, "conv3": _conv(4 * width, 1), "bn3": BatchNorm()}


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
        changes = [i == 0 and (stage > 1 or block is not basic_block) for i in range(n)]
        stages[f"layer{stage}"] = Sequential(**{
            str(i): block(width, 2 if i == 0 and stage > 1 else 1, changes[i]) for i in range(n)})
    return Sequential(conv1=_conv(64, 7, 2), bn1=BatchNorm(), relu=relu, maxpool=MaxPool(3, 2, padding=1), **stages,
                      avgpool=global_average_pool, fc=Dense(classes))


def resnet50_course(classes: int = 6) -> Sequential:
    """The course's, for (64, 64, 3): 23,600,006 parameters with the running statistics, for six classes.

    Keras' convolutions have biases, the stride is that of the first 1x1 convolution as in the paper, the picture is
    padded by 3 and the last stage is pooled by 2x2. Its batch norm has eps 1e-3 and keeps 0.99 of its statistics.
    """
    return Sequential(**_keras_stages(1e-3, MaxPool(3, 2)), average=AveragePool(2), flatten=Flatten(),
                      fc=Dense(classes))


def resnet50_keras(classes: int = 1000) -> Sequential:
    """That of `keras.applications`, for its weights: 25,583,592 parameters for 1,000 classes, 25,636,712 with the
    running statistics, as Keras counts. Beside `resnet50` its convolutions have biases, the stride is that of the first
    1x1 convolution, and batch norm has eps 1.001e-5 and keeps 0.99."""
    return Sequential(**_keras_stages(1.001e-5, MaxPool(3, 2, padding=1)), average=global_average_pool,
                      fc=Dense(classes))


def _keras_stages(eps: float, pool: MaxPool) -> dict[str, Any]:
    stages = {}
    for stage, n in enumerate((3, 4, 6, 3), 2):
        width = 16 * 2**stage
        stages[f"stage{stage}"] = Sequential(**{
            letter: block_course((width, width, 4 * width), 1 if stage == 2 or i else 2, i == 0, eps=eps)
            for i, letter in enumerate("abcdef"[:n])})
    return {"conv1": Conv(64, (7, 7), stride=2, padding=3), "norm1": _keras_norm(eps), "relu1": relu, "pool1": pool,
            **stages}


def block_course(widths: tuple[int, int, int], stride: int, shortcut: bool, window: int = 3,
                 eps: float = 1e-3) -> Sequential:
    """The course's `convolutional_block` (with a shortcut) and `identity_block` (without)."""
    a, b, c = widths
    body = Sequential(
        conv_a=Conv(a, (1, 1), stride=stride, padding="VALID"), norm_a=_keras_norm(eps), relu_a=relu,
        conv_b=Conv(b, (window, window)), norm_b=_keras_norm(eps), relu_b=relu,
        conv_c=Conv(c, (1, 1)), norm_c=_keras_norm(eps))
    way = Sequential(conv=Conv(c, (1, 1), stride=stride, padding="VALID"), norm=_keras_norm(eps)) if shortcut else None
    return Sequential(residual=Residual(body, way), relu=relu)


def _keras_norm(eps: float) -> BatchNorm:
    return BatchNorm(momentum=0.99, eps=eps)


def keras_names(*, course: bool = False) -> dict[str, str]:
    """What Keras calls the layers of `resnet50_keras`, by our dotted path; of `resnet50_course` what the course and
    Keras before 2.2.5 do: "res2a_branch2a" and "bn2a_branch2a"."""
    names = {"conv1": "conv1", "norm1": "bn_conv1"} if course else {"conv1": "conv1_conv", "norm1": "conv1_bn"}
    for stage, n in enumerate((3, 4, 6, 3), 2):
        for i, letter in enumerate("abcdef"[:n]):
            at = f"stage{stage}.{letter}.residual"
            for place, part in enumerate("abc", 1):
                old, new = f"{stage}{letter}_branch2{part}", f"conv{stage}_block{i + 1}_{place}"
                names[f"{at}.body.conv_{part}"] = f"res{old}" if course else f"{new}_conv"
                names[f"{at}.body.norm_{part}"] = f"bn{old}" if course else f"{new}_bn"
            if i == 0:
                old, new = f"{stage}{letter}_branch1", f"conv{stage}_block1_0"
                names[f"{at}.shortcut.conv"] = f"res{old}" if course else f"{new}_conv"
                names[f"{at}.shortcut.norm"] = f"bn{old}" if course else f"{new}_bn"
    return names | {"fc": "fc1000" if course else "predictions"}
