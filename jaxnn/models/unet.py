"""U-Net (Ronneberger, Fischer & Brox 2015) with the course's paddings: a label for each pixel."""

import dataclasses
from typing import Any

import jax

from jaxnn.checks import expect, is_integer
from jaxnn.layers import Conv, ConvTranspose, Dropout, Layer, MaxPool, Sequential
from jaxnn.layers.layer import output_of, shape_of
from jaxnn.ops import concatenate, relu

__all__ = ["UNet", "unet"]


def unet(classes: int, *, width: int = 32, depth: int = 4) -> "UNet":
    """The course's: 8,640,471 parameters for 23 classes and (96, 128, 3).

    Args:
      classes: how many logits each pixel gets.
      width: channels of the first stage; each stage down has twice as many.
      depth: how often the picture is halved.
    """
    return UNet(classes, width, depth)


@dataclasses.dataclass(frozen=True)
class UNet(Layer):
    """(height, width, channels) -> (height, width, classes); 2**depth divides height and width.

    Each stage down is two convolutions and a halving; each stage up a transposed convolution, joined with what the
    stage of its size had before it was halved. classes, width, depth: as of `unet`.
    """

    classes: int
    width: int = 32
    depth: int = 4

    def __post_init__(self) -> None:
        for name in ("classes", "width", "depth"):
            expect(is_integer(getattr(self, name), 1), "UNet", f"{name}, a positive integer", repr(getattr(self, name)))

    @property
    def parts(self) -> dict[str, Layer]:
        widths = [self.width * 2**i for i in range(self.depth + 1)]
        down = {f"down{i + 1}": _stage(w, 0.3 if i >= self.depth - 1 else 0) for i, w in enumerate(widths)}
        up: dict[str, Layer] = {}
        for i in reversed(range(self.depth)):
            up |= {f"widen{i + 1}": ConvTranspose(widths[i], (3, 3), stride=2), f"up{i + 1}": _stage(widths[i])}
        return down | up | {"last": Conv(self.width, (3, 3)), "logits": Conv(self.classes, (1, 1))}

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        expect(len(x.shape) == 3 and all(n % 2**self.depth == 0 for n in x.shape[:2]), "UNet",
               f"x of shape (height, width, channels), height and width multiples of {2**self.depth}", str(x.shape))
        params = {}
        skips: list[Any] = []
        for (name, part), k in zip(self.parts.items(), jax.random.split(key, len(self.parts)), strict=True):
            if name.startswith("up"):
                skip = skips.pop()
                x = jax.ShapeDtypeStruct((*x.shape[:2], x.shape[2] + skip.shape[2]), x.dtype)
            params[name], _ = part.init(k, x)
            x = output_of(part, params[name], {}, x)
            if name.startswith("down") and name != f"down{self.depth + 1}":
                skips.append(x)
                x = jax.ShapeDtypeStruct((x.shape[0] // 2, x.shape[1] // 2, x.shape[2]), x.dtype)
        return params, {}

    def apply(self, params, state, x, key, *, train):
        keys = iter(jax.random.split(key, 2) if key is not None else (None, None))
        skips: list[Any] = []
        for name, part in self.parts.items():
            if name.startswith("up"):
                x = concatenate((x, skips.pop()))
            x, _ = part(params[name], {}, x, next(keys) if part.random else None, train=train)
            if name == "last":
                x = relu(x)
            if name.startswith("down") and name != f"down{self.depth + 1}":
                skips.append(x)
                x = MaxPool(2)({}, {}, x)[0]
        return x, state


def _stage(width: int, rate: float = 0) -> Sequential:
    parts: dict = {"conv1": Conv(width, (3, 3)), "relu1": relu, "conv2": Conv(width, (3, 3)), "relu2": relu}
    return Sequential(**parts, **({"drop": Dropout(rate)} if rate else {}))
