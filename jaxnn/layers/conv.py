"""Layers over images: Conv and MaxPool. x is (height, width, channels)."""

import dataclasses
from typing import Any

from jaxnn.checks import expect
from jaxnn.hand_derived import Op
from jaxnn.initializers import Initializer, he, zeros
from jaxnn.layers.layer import Layer, output_of, to_shape
from jaxnn.ops.conv import conv
from jaxnn.ops.pool import max_pool
from jaxnn.stage import bind

__all__ = ["Conv", "MaxPool"]


@dataclasses.dataclass(frozen=True)
class Conv(Layer):
    """Convolution, (height, width, n_in) -> (height out, width out, n_out).

    A window of one or three sizes makes it 1-D or 3-D. padding: "SAME", "VALID", an integer, or an
    integer or (low, high) for each axis.
    """

    n_out: int
    window: tuple[int, ...] = (3, 3)
    stride: int | tuple[int, ...] = 1
    padding: Any = "SAME"
    kernel_init: Initializer = dataclasses.field(default=he, repr=False)
    bias_init: Initializer = dataclasses.field(default=zeros, repr=False)
    use_bias: bool = True

    def __post_init__(self) -> None:
        expect(isinstance(self.n_out, int) and self.n_out > 0, "Conv", "n_out, a positive integer",
               repr(self.n_out))
        is_window = isinstance(self.window, tuple) and 1 <= len(self.window) <= 3 and all(
            isinstance(n, int) and n > 0 for n in self.window)
        expect(is_window, "Conv", "window to be a tuple of one to three sizes", repr(self.window))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = to_shape(self, shape)
        rank = len(self.window)
        expect(len(x.shape) == rank + 1, "Conv", f"x with {rank} spatial axes and channels", str(x.shape))
        params = {"kernel": self.kernel_init(key, (*self.window, x.shape[-1], self.n_out))}
        if self.use_bias:
            params["bias"] = self.bias_init(key, (self.n_out,), params["kernel"].dtype)
        output_of(self, params, (), x)  # refuses a stride or padding that does not fit
        return params, ()

    def op(self, train: bool) -> Op:
        return bind(conv, stride=self.stride, padding=self.padding)


@dataclasses.dataclass(frozen=True)
class MaxPool(Layer):
    """The largest x in each window, channel by channel; windows tile unless a stride is given."""

    window: int | tuple[int, ...] = (2, 2)
    stride: int | tuple[int, ...] | None = None
    padding: Any = "VALID"

    def op(self, train: bool) -> Op:
        return bind(max_pool, window=self.window, stride=self.stride, padding=self.padding)
