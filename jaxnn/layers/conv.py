"""Layers over images: Conv and MaxPool. x is (height, width, channels)."""

import dataclasses
from typing import Any

from jaxnn.checks import expect, is_integer
from jaxnn.initializers import Initializer, he, zeros
from jaxnn.layers.layer import Layer, drawn, expect_options, expect_size, output_of, shape_of
from jaxnn.ops.conv import conv
from jaxnn.ops.pool import max_pool
from jaxnn.ops.window import expect_padding, per_axis

__all__ = ["Conv", "MaxPool"]


@dataclasses.dataclass(frozen=True)
class Conv(Layer):
    """Convolution, (height, width, n_in) -> (height out, width out, n_out).

    n_out: channels out.
    window: the kernel's size along each axis; one or three sizes make it 1-D or 3-D.
    stride, padding: as of the op `conv`.
    kernel_init, bias_init: initializers of the kernel (*window, n_in, n_out) and of the bias (n_out,).
    use_bias: whether there is a bias.
    """

    n_out: int
    window: tuple[int, ...] = (3, 3)
    stride: int | tuple[int, ...] = 1
    padding: Any = "SAME"
    kernel_init: Initializer = dataclasses.field(default=he, repr=False)
    bias_init: Initializer = dataclasses.field(default=zeros, repr=False)
    use_bias: bool = True
    random = False

    def __post_init__(self) -> None:
        expect(is_integer(self.n_out, 1), "Conv", "n_out, a positive integer",
               repr(self.n_out))
        for name in ("window", "stride", "padding"):  # a list would make the layer unhashable
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, _as_tuple(getattr(self, name)))
        is_window = isinstance(self.window, tuple) and 1 <= len(self.window) <= 3 and all(
            is_integer(n, 1) for n in self.window)
        expect(is_window, "Conv", "window to be a tuple of one to three sizes", repr(self.window))
        per_axis("Conv", "stride", self.stride, len(self.window))
        expect_padding("Conv", self.padding, len(self.window))
        expect_options(self, bools=["use_bias"], initializers=["kernel_init", "bias_init"])

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        rank = len(self.window)
        expect(len(x.shape) == rank + 1, "Conv", f"x with {rank} spatial axes and channels", str(x.shape))
        params = {"kernel": drawn(self, "kernel_init", key, (*self.window, x.shape[-1], self.n_out))}
        if self.use_bias:
            params["bias"] = drawn(self, "bias_init", key, (self.n_out,), params["kernel"].dtype)
        output_of(self, params, {}, x)  # refuses a stride or padding that does not fit
        return params, {}

    def apply(self, params, state, x, key, *, train):
        expect_size(self, params, "kernel", -1, self.n_out)
        return conv(params, x, stride=self.stride, padding=self.padding), state


@dataclasses.dataclass(frozen=True)
class MaxPool(Layer):
    """The largest x in each window, channel by channel.

    window, stride, padding: as of the op `max_pool`; windows tile unless a stride is given.
    """

    window: int | tuple[int, ...] = (2, 2)
    stride: int | tuple[int, ...] | None = None
    padding: Any = "VALID"
    random = False

    def __post_init__(self) -> None:
        for name in ("window", "stride", "padding"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, _as_tuple(getattr(self, name)))
        rank = len(self.window) if isinstance(self.window, tuple) else None
        expect(rank is None or 1 <= rank <= 3, "MaxPool", "window to be one to three sizes", repr(self.window))
        per_axis("MaxPool", "window", self.window, rank)
        if self.stride is not None:
            per_axis("MaxPool", "stride", self.stride, rank)
        expect_padding("MaxPool", self.padding, rank)

    def apply(self, params, state, x, key, *, train):
        return max_pool(x, window=self.window, stride=self.stride, padding=self.padding), state


def _as_tuple(x: Any) -> Any:
    return tuple(map(_as_tuple, x)) if isinstance(x, list | tuple) else x
