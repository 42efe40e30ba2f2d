"""Squeeze-and-excitation: a picture's own means decide how much each of its channels counts."""

import dataclasses
from typing import Any

import jax

from jaxnn.checks import expect, expect_key, is_integer
from jaxnn.layers.basic import Dense
from jaxnn.layers.layer import Layer, shape_of
from jaxnn.ops.activation import relu, sigmoid
from jaxnn.ops.average_pool import global_average_pool
from jaxnn.ops.dense import dense
from jaxnn.ops.scale import scale_channels

__all__ = ["SqueezeExcitation"]


@dataclasses.dataclass(frozen=True)
class SqueezeExcitation(Layer):
    """y_pc = s_c x_pc with s = sigmoid(W₂ relu(W₁ mean_p(x_p) + b₁) + b₂), x and y (..., channels).

    In a residual block it stands last in the body: Residual(Sequential(Conv(64), BatchNorm(), SqueezeExcitation())).

    reduction: r; W₁ is (channels / r, channels) and W₂ (channels, channels / r).
    Source: Hu, Shen & Sun (2018), eq. 2-4, r = 16.
    """

    reduction: int = 16
    random = False

    def __post_init__(self) -> None:
        expect(is_integer(self.reduction, 1), self.name, "reduction, a positive integer", repr(self.reduction))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        expect(len(x.shape) >= 2, self.name, "x of places and channels, such as (height, width, channels)",
               str(x.shape))
        channels = x.shape[-1]
        expect(channels % self.reduction == 0, self.name, f"channels that reduction = {self.reduction} divides",
               str(channels), "pass a smaller reduction")
        expect_key(self.name, key)
        hidden = channels // self.reduction
        squeeze, excite = jax.random.split(key)
        return {"squeeze": Dense(hidden).init(squeeze, (channels,))[0],
                "excite": Dense(channels).init(excite, (hidden,))[0]}, {}

    def apply(self, params, state, x, key, *, train):
        means = global_average_pool(x)
        scale = sigmoid(dense(params["excite"], relu(dense(params["squeeze"], means))))
        return scale_channels(scale, x), state
