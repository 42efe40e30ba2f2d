"""VGG-16 and VGG-19 (Simonyan & Zisserman 2015): stacks of 3x3 convolutions between halvings of the picture."""

from jaxnn.layers import Conv, Dense, Dropout, Flatten, MaxPool, Sequential
from jaxnn.layers.layer import Function
from jaxnn.models.weights import Published
from jaxnn.ops import adaptive_average_pool, relu

__all__ = ["vgg16", "vgg19"]

# How many convolutions each stage has (table 1, D and E), and its channels.
STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


def to_seven(x):
    """The mean of 7x7 parts, whatever the size of the picture."""
    return adaptive_average_pool(x, size=7)


def vgg16(classes: int = 1000, *, hidden: int = 4096) -> Sequential:
    """Configuration D: 138,357,544 parameters for (224, 224, 3); `hidden` units of fc6 and fc7."""
    return _vgg(16, classes, hidden)


def vgg19(classes: int = 1000, *, hidden: int = 4096) -> Sequential:
    """Configuration E: 143,667,240 parameters for (224, 224, 3); `hidden` units of fc6 and fc7."""
    return _vgg(19, classes, hidden)


def torchvision(depth: int) -> Published:
    """What torchvision calls the parts: it counts convolutions, activations and pools in one row."""
    names, place = {}, 0
    for stage, n in enumerate(STAGES[depth], 1):
        for i in range(1, n + 1):
            names[f"conv{stage}_{i}"] = f"features.{place}"
            place += 2
        place += 1
    return Published(names | {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}, {"fc6": (7, 7)})


def timm(depth: int) -> Published:
    """What timm calls the parts: fc6 and fc7 are convolutions of 7x7 and 1x1 there. For a picture larger than 224 timm
    slides them over it and takes the mean, where torchvision and this first shrink it to 7x7."""
    names = {ours: theirs for ours, theirs in torchvision(depth).parts.items() if not ours.startswith("fc")}
    return Published(names | {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}, {"fc6": (7, 7)},
                     as_kernels=("fc6", "fc7"))


def keras(depth: int) -> dict[str, str]:
    """What Keras calls the layers, by our name."""
    names = {f"conv{stage}_{i}": f"block{stage}_conv{i}"
             for stage, n in enumerate(STAGES[depth], 1) for i in range(1, n + 1)}
    return names | {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def _vgg(depth: int, classes: int, hidden: int) -> Sequential:
    parts: dict = {}
    for stage, (n, channels) in enumerate(zip(STAGES[depth], CHANNELS, strict=True), 1):
        for i in range(1, n + 1):
            parts |= {f"conv{stage}_{i}": Conv(channels, (3, 3), padding=1), f"relu{stage}_{i}": relu}
        parts[f"pool{stage}"] = MaxPool(2)
    return Sequential(
        **parts, average=Function(to_seven), flatten=Flatten(), fc6=Dense(hidden), relu6=relu, drop6=Dropout(0.5),
        fc7=Dense(hidden), relu7=relu, drop7=Dropout(0.5), fc8=Dense(classes))
