"""BatchNorm: statistics of the batch in training, running ones at inference."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect
from jaxnn.hand_derived import Op
from jaxnn.layers.layer import Layer, to_shape
from jaxnn.ops.normalization import batch_norm, batch_norm_inference
from jaxnn.stage import bind

__all__ = ["BatchNorm"]


@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalizes each channel, the last axis of x, over the batch and all other axes.

    In training it needs the axis "examples": put the network into `over_examples`. momentum is the
    part of the running statistics kept at each step (PyTorch's is one minus that).
    """

    momentum: float = 0.9
    eps: float = 1e-5

    def __post_init__(self) -> None:
        expect(0 <= self.momentum <= 1, "BatchNorm", "momentum in [0, 1]", repr(self.momentum))
        expect(self.eps > 0, "BatchNorm", "eps > 0", repr(self.eps))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = to_shape(self, shape)
        expect(len(x.shape) >= 1, "BatchNorm", "x of shape (..., channels)", str(x.shape))
        channels = x.shape[-1]
        return ({"scale": jnp.ones(channels), "bias": jnp.zeros(channels)},
                {"mean": jnp.zeros(channels), "variance": jnp.ones(channels)})

    def op(self, train: bool) -> Op:
        if train:
            return bind(batch_norm, momentum=self.momentum, eps=self.eps)
        return bind(batch_norm_inference, eps=self.eps)
