"""U-Net (Ronneberger, Fischer & Brox 2015) with the course's paddings: a label for each pixel."""

import dataclasses
from typing import Any

import jax

from jaxnn.checks import expect, is_integer
from jaxnn.layers import BatchNorm, Conv, ConvTranspose, Dropout, Layer, MaxPool, Sequential
from jaxnn.layers.layer import expect_options, output_of, shape_of
from jaxnn.ops import concatenate, relu

__all__ = ["UNet", "unet"]


def unet(classes: int, *, width: int = 32, depth: int = 4, batch_norm: bool = False) -> "UNet":
    """The course's: 8,640,471 parameters for 23 classes and (96, 128, 3).

    Args:
      classes: how many logits each pixel gets.
      width: channels of the first stage; each stage down has twice as many.
      depth: how often the picture is halved.
      batch_norm: normalizes each of a stage's convolutions before its relu, as neither the course's nor the published
        network does; such a network learns in fewer steps.
    """
    return UNet(classes, width, depth, batch_norm)


@dataclasses.dataclass(frozen=True)
class UNet(Layer):
    """(height, width, channels) -> (height, width, classes); 2**depth divides height and width.

    Each stage down is two convolutions and a halving; each stage up a transposed convolution, joined with what the
    stage of its size had before it was halved. classes, width, depth, batch_norm: as of `unet`.
    """

    classes: int
    width: int = 32
    depth: int = 4
    batch_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("classes", "width", "depth"):
            expect(is_integer(getattr(self, name), 1), "UNet", f"{name}, a positive integer", repr(getattr(self, name)))
        expect_options(self, bools=["batch_norm"])

    @property
    def parts(self) -> dict[str, Layer]:
        widths = [self.width * 2**i for i in range(self.depth + 1)]
        norm = self.batch_norm
        down = {f"down{i + 1}": _stage(w, norm, 0.3 if i >= self.depth - 1 else 0) for i, w in enumerate(widths)}
        up: dict[str, Layer] = {}
        for i in reversed(range(self.depth)):
            up |= {f"widen{i + 1}": ConvTranspose(widths[i], (3, 3), stride=2), f"up{i + 1}": _stage(widths[i], norm)}
        return down | up | {"last": Conv(self.width, (3, 3)), "logits": Conv(self.classes, (1, 1))}

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        expect(len(x.shape) == 3 and all(n % 2**self.depth == 0 for n in x.shape[:2]), "UNet",
               f"x of shape (height, width, channels), height and width multiples of {2**self.depth}", str(x.shape))
        params, state = {}, {}
        skips: list[Any] = []
        for (name, part), k in zip(self.parts.items(), jax.random.split(key, len(self.parts)), strict=True):
            if name.startswith("up"):
                skip = skips.pop()
                x = jax.ShapeDtypeStruct((*x.shape[:2], x.shape[2] + skip.shape[2]), x.dtype)
            params[name], part_state = part.init(k, x)
            x = output_of(part, params[name], part_state, x)
            if part_state:
                state[name] = part_state
            if name.startswith("down") and name != f"down{self.depth + 1}":
                skips.append(x)
                x = jax.ShapeDtypeStruct((x.shape[0] // 2, x.shape[1] // 2, x.shape[2]), x.dtype)
        return params, state

    def apply(self, params, state, x, key, *, train):
        keys = iter(jax.random.split(key, 2) if key is not None else (None, None))
        skips: list[Any] = []
        states = {}
        for name, part in self.parts.items():
            if name.startswith("up"):
                x = concatenate((x, skips.pop()))
            x, part_state = part(params[name], state.get(name, {}), x, next(keys) if part.random else None, train=train)
            if name in state:
                states[name] = part_state
            if name == "last":
                x = relu(x)
            if name.startswith("down") and name != f"down{self.depth + 1}":
                skips.append(x)
                x = MaxPool(2)({}, {}, x)[0]
        return x, states


def _stage(width: int, norm: bool, rate: float = 0) -> Sequential:
    parts: dict[str, Any] = {}
    for i in (1, 2):
        # A bias before batch norm, which takes the mean off, would do nothing.
        parts |= {f"conv{i}": Conv(width, (3, 3), use_bias=not norm), **({f"norm{i}": BatchNorm()} if norm else {}),
                  f"relu{i}": relu}
    return Sequential(**parts, **({"drop": Dropout(rate)} if rate else {}))
