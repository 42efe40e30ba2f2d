"""BatchNorm: statistics of the batch in training, running ones at inference."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect, is_number
from jaxnn.layers.layer import Layer, expect_options, shape_of
from jaxnn.ops.normalization import batch_norm, batch_norm_inference

__all__ = ["BatchNorm"]


@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalizes each channel, the last axis of x, over the batch and all other axes.

    In training it needs the axis "examples": put the network into `over_examples`.

    momentum: the part of the running statistics that each step keeps, in [0, 1] (one minus PyTorch's momentum).
    eps: added to the variance, > 0.
    use_scale, use_bias: whether a scale and a bias are learnt after it.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    random = False

    def __post_init__(self) -> None:
        expect(is_number(self.momentum, 0, 1), "BatchNorm", "momentum in [0, 1]", repr(self.momentum))
        expect(is_number(self.eps) and self.eps > 0, "BatchNorm", "a finite eps > 0", repr(self.eps))
        expect_options(self, bools=["use_scale", "use_bias"])

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        expect(len(x.shape) >= 1, "BatchNorm", "x of shape (..., channels)", str(x.shape))
        channels = x.shape[-1]
        params = ({"scale": jnp.ones(channels)} if self.use_scale else {}) | (
            {"bias": jnp.zeros(channels)} if self.use_bias else {})
        return params, {"mean": jnp.zeros(channels), "variance": jnp.ones(channels)}

    def apply(self, params, state, x, key, *, train):
        if train:
            return batch_norm(params, state, x, momentum=self.momentum, eps=self.eps)
        return batch_norm_inference(params, state, x, eps=self.eps)
