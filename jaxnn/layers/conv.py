"""Layers over images: Conv, ConvTranspose, MaxPool and AveragePool. x is (height, width, channels)."""

import dataclasses
import warnings
from typing import Any

from jaxnn.checks import expect, is_integer
from jaxnn.initializers import Initializer, he, zeros
from jaxnn.layers.layer import Layer, drawn, expect_options, expect_size, output_of, shape_of
from jaxnn.ops.average_pool import average_pool
from jaxnn.ops.conv import conv, conv_transpose
from jaxnn.ops.pool import max_pool
from jaxnn.ops.window import expect_padding, per_axis

__all__ = ["AveragePool", "Conv", "ConvTranspose", "MaxPool"]


LIKE_A_PICTURE = 28
"""From this height and width on, (3, n, n) looks like a picture with its channels first."""


class _Windowed(Layer):
    """What the layers of this file share: options that may be lists, which would make the layer unhashable."""

    random = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, _as_tuple(getattr(self, field.name)))


@dataclasses.dataclass(frozen=True)
class _Convolution(_Windowed):
    n_out: int
    window: tuple[int, ...] = (3, 3)
    stride: int | tuple[int, ...] = 1
    padding: Any = "SAME"
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    kernel_init: Initializer = dataclasses.field(default=he, repr=False)
    bias_init: Initializer = dataclasses.field(default=zeros, repr=False)
    use_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(is_integer(self.n_out, 1), self.name, "n_out, a positive integer", repr(self.n_out))
        is_window = isinstance(self.window, tuple) and 1 <= len(self.window) <= 3 and all(
            is_integer(n, 1) for n in self.window)
        expect(is_window, self.name, "window to be a tuple of one to three sizes", repr(self.window))
        expect(is_integer(self.groups, 1) and self.n_out % self.groups == 0, self.name,
               f"groups, a positive integer that divides n_out = {self.n_out}", repr(self.groups))
        for name in ("stride", "dilation"):
            per_axis(self.name, name, getattr(self, name), len(self.window))
        expect_padding(self.name, self.padding, len(self.window), crops=True)
        expect_options(self, bools=["use_bias"], initializers=["kernel_init", "bias_init"])

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        rank = len(self.window)
        expect(len(x.shape) == rank + 1, self.name, f"x with {rank} spatial axes and channels", str(x.shape))
        expect(x.shape[-1] % self.groups == 0, self.name, f"channels that the {self.groups} groups divide",
               str(x.shape))
        if rank == 2 and x.shape[0] in (1, 3) and x.shape[1] == x.shape[2] >= LIKE_A_PICTURE:
            warnings.warn(f"{self.name} gets x of shape {x.shape}, which is (height, width, channels); a picture whose "
                          f"channels come first is to be turned: jnp.moveaxis(x, 0, -1)", stacklevel=2)
        params = {"kernel": drawn(
            self, "kernel_init", key, (*self.window, x.shape[-1] // self.groups, self.n_out))}
        if self.use_bias:
            params["bias"] = drawn(self, "bias_init", key, (self.n_out,), params["kernel"].dtype)
        output_of(self, params, {}, x)  # refuses a stride or padding that does not fit
        return params, {}


@dataclasses.dataclass(frozen=True)
class Conv(_Convolution):
    """Convolution, (height, width, n_in) -> (height out, width out, n_out).

    n_out: channels out.
    window: the kernel's size along each axis; one or three sizes make it 1-D or 3-D.
    stride, padding, dilation, groups: as of the op `conv`.
    kernel_init, bias_init: initializers of the kernel (*window, n_in / groups, n_out) and of the bias (n_out,).
    use_bias: whether there is a bias.
    """

    def apply(self, params, state, x, key, *, train):
        expect_size(self, params, "kernel", -1, self.n_out)
        return conv(params, x, stride=self.stride, padding=self.padding, dilation=self.dilation,
                    groups=self.groups), state


@dataclasses.dataclass(frozen=True)
class ConvTranspose(_Convolution):
    """Transposed convolution, (height, width, n_in) -> (height out, width out, n_out); "SAME" multiplies by the stride.

    As `Conv`; stride, padding, dilation, groups and output_padding are those of the op `conv_transpose`.
    """

    output_padding: int | tuple[int, ...] = 0

    def apply(self, params, state, x, key, *, train):
        expect_size(self, params, "kernel", -1, self.n_out)
        return conv_transpose(params, x, stride=self.stride, padding=self.padding, dilation=self.dilation,
                              groups=self.groups, output_padding=self.output_padding), state


@dataclasses.dataclass(frozen=True)
class _Pool(_Windowed):
    window: int | tuple[int, ...] = (2, 2)
    stride: int | tuple[int, ...] | None = None
    padding: Any = "VALID"
    ceil: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        rank = len(self.window) if isinstance(self.window, tuple) else None
        expect(rank is None or 1 <= rank <= 3, self.name, "window to be one to three sizes", repr(self.window))
        per_axis(self.name, "window", self.window, rank)
        if self.stride is not None:
            per_axis(self.name, "stride", self.stride, rank)
        expect_padding(self.name, self.padding, rank)
        expect_options(self, bools=[f.name for f in dataclasses.fields(self) if isinstance(f.default, bool)])


@dataclasses.dataclass(frozen=True)
class MaxPool(_Pool):
    """The largest x in each window, channel by channel.

    window, stride, padding, ceil: as of the op `max_pool`; windows tile unless a stride is given.
    """

    def apply(self, params, state, x, key, *, train):
        return max_pool(x, window=self.window, stride=self.stride, padding=self.padding, ceil=self.ceil), state


@dataclasses.dataclass(frozen=True)
class AveragePool(_Pool):
    """The mean of x in each window, channel by channel.

    window, stride, padding, ceil, count_padding: as of the op `average_pool`; windows tile unless a stride is given.
    """

    count_padding: bool = False

    def apply(self, params, state, x, key, *, train):
        return average_pool(x, window=self.window, stride=self.stride, padding=self.padding, ceil=self.ceil,
                            count_padding=self.count_padding), state


def _as_tuple(x: Any) -> Any:
    return tuple(map(_as_tuple, x)) if isinstance(x, list | tuple) else x
