"""From a section of a .cfg to a layer of ours. `pad=1` means half of the kernel; max pooling pads size - 1.

Of two programs named Darknet this follows the newer one (A. Bochkovskiy's), with which YOLO-Fastest was trained: batch
norm divides by sqrt(σ² + 1e-5).
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxnn.detection.darknet_file import Section
from jaxnn.layers import BatchNorm, Conv, Dropout, MaxPool, Sequential
from jaxnn.layers.layer import Function, Layer
from jaxnn.ops import (
    add,
    concatenate,
    global_average_pool,
    leaky_relu,
    mish,
    relu,
    relu6,
    resize,
    sigmoid,
    silu,
)

__all__ = ["LAYERS", "darknet_reorg", "passthrough"]

EPS = 1e-5


def leaky(x: Any) -> Any:
    return leaky_relu(x, slope=0.1)


ACTIVATIONS: dict[str, Callable | None] = {
    "linear": None, "leaky": leaky, "relu": relu, "relu6": relu6, "mish": mish, "swish": silu, "logistic": sigmoid}


def activation(section: Section, default: str) -> Callable | None:
    word = section.options.get("activation", default)
    if word not in ACTIVATIONS:
        raise section.bad(f"activation, one of {', '.join(ACTIVATIONS)}", repr(word))
    return ACTIVATIONS[word]


def convolutional(section: Section) -> Layer:
    size, normalized = section.integer("size", 1, least=1), section.integer("batch_normalize", 0)
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0, least=0)
    filters, groups = section.integer("filters", 1, least=1), section.integer("groups", 1, least=1)
    if filters % groups:
        raise section.bad(f"groups that divide filters = {filters}", str(groups))
    for name in ("dilation", "antialiasing", "binary", "xnor", "deform", "share_index"):
        if section.integer(name, 1 if name == "dilation" else 0) != (1 if name == "dilation" else 0):
            raise section.bad(f"no {name}, which is not built here", section.options[name])
    parts: dict[str, Any] = {"conv": Conv(filters, (size, size), stride=section.integer("stride", 1, least=1),
                                          padding=padding, groups=groups, use_bias=not normalized)}
    if normalized:
        parts["norm"] = BatchNorm(eps=EPS)
    after = activation(section, "logistic")
    return Sequential(**parts, **({} if after is None else {"activation": after}))


def maxpool(section: Section) -> Layer:
    """Windows begin (size - 1) / 2 before x, rounded down, and there are n / stride of them, rounded up."""
    stride = section.integer("stride", 1, least=1)
    size = section.integer("size", stride, least=1)
    around = section.integer("padding", size - 1, least=0)
    pads = around // 2, around - around // 2
    return MaxPool((size, size), (stride, stride), padding=(pads, pads))


def route(section: Section) -> Layer:
    groups, chosen = section.integer("groups", 1, least=1), section.integer("group_id", 0, least=0)

    def part(x: Any) -> Any:
        n = x.shape[-1] // groups
        return x[..., chosen * n:(chosen + 1) * n]

    def routed(x: Any) -> Any:
        each = x if isinstance(x, tuple) else (x,)
        if groups > 1:
            each = tuple(map(part, each))
        return concatenate(each) if len(each) > 1 else each[0]

    return Function(routed)


def shortcut(section: Section) -> Layer:
    after = activation(section, "linear")

    def joined(x: Any) -> Any:
        if x[0].shape != x[1].shape:
            raise section.bad("two layers of one shape", f"{x[0].shape} and {x[1].shape}")
        y = add(x)
        return y if after is None else after(y)

    return Function(joined)


def upsample(section: Section) -> Layer:
    factor = section.integer("stride", 2, least=1)
    return Function(lambda x: resize(x, size=(factor * x.shape[0], factor * x.shape[1]), method="nearest"))


def reorg(section: Section) -> Layer:
    factor = section.integer("stride", 1, least=1)
    rearranged = passthrough if section.kind == "reorg3d" else darknet_reorg

    def checked(x: Any) -> Any:
        height, width, channels = x.shape
        if height % factor or width % factor or channels % factor**2 * (rearranged is darknet_reorg):
            raise section.bad(f"x whose sides {factor} divides, and its channels {factor**2}", str(x.shape))
        return rearranged(x, factor)

    return Function(checked)


def passthrough(x: Any, factor: int) -> Any:
    """(r h, r w, c) -> (h, w, r² c): the pixels of each square of r x r, row by row, each with its channels. The
    course's network has this, and Darknet calls it reorg3d."""
    height, width, channels = x.shape
    squares = jnp.reshape(x, (height // factor, factor, width // factor, factor, channels))
    return jnp.reshape(jnp.transpose(squares, (0, 2, 1, 3, 4)), (height // factor, width // factor, -1))


def darknet_reorg(x: Any, factor: int) -> Any:
    """The sizes of `passthrough`, in the order of Darknet's [reorg], for which its own YOLOv2 weights were trained.

    Its loop takes the memory of x, of c channels, for a picture of c / r² channels and sides r times as long; what it
    writes, channel k = o c / r² + m of that, is pixel (o / r, o mod r) of each square of its channel m.
    """
    height, width, channels = x.shape
    few = channels // factor**2
    memory = jnp.ravel(jnp.moveaxis(x, -1, 0))
    squares = jnp.reshape(memory, (few, height, factor, width, factor))
    written = jnp.ravel(jnp.transpose(squares, (2, 4, 0, 1, 3)))
    return jnp.moveaxis(jnp.reshape(written, (channels * factor**2, height // factor, width // factor)), 0, -1)


LAYERS: dict[str, Callable[[Section], Layer]] = {
    "convolutional": convolutional, "maxpool": maxpool, "route": route, "shortcut": shortcut, "upsample": upsample,
    "reorg": reorg, "reorg3d": reorg, "avgpool": lambda section: Function(global_average_pool),
    "dropout": lambda section: Dropout(section.number("probability", 0.5))}
