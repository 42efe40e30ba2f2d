"""BatchNorm, of the batch in training and of running statistics after it; LayerNorm and GroupNorm, of one example."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.layers.layer import Layer, expect_options, shape_of
from jaxnn.ops.normalization import batch_norm, batch_norm_inference
from jaxnn.ops.norms import group_norm, layer_norm

__all__ = ["BatchNorm", "GroupNorm", "LayerNorm"]


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
        params, channels = _scale_and_bias(self, shape)
        return params, {"mean": jnp.zeros(channels), "variance": jnp.ones(channels)}

    def apply(self, params, state, x, key, *, train):
        if train:
            return batch_norm(params, state, x, momentum=self.momentum, eps=self.eps)
        return batch_norm_inference(params, state, x, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalizes the last axis of x, each place by itself; the same in training and at inference.

    eps: added to the variance, > 0.
    use_scale, use_bias: whether a scale and a bias are learnt after it.
    """

    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    random = False

    def __post_init__(self) -> None:
        expect(is_number(self.eps) and self.eps > 0, "LayerNorm", "a finite eps > 0", repr(self.eps))
        expect_options(self, bools=["use_scale", "use_bias"])

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        return _scale_and_bias(self, shape)[0], {}

    def apply(self, params, state, x, key, *, train):
        return layer_norm(params, x, eps=self.eps), state


@dataclasses.dataclass(frozen=True)
class GroupNorm(Layer):
    """Normalizes the channels of each group over all places; the same in training and at inference.

    groups: how many, a divisor of the channels; as many as channels for instance norm.
    eps: added to the variance, > 0.
    use_scale, use_bias: whether a scale and a bias are learnt after it.
    """

    groups: int
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    random = False

    def __post_init__(self) -> None:
        expect(is_integer(self.groups, 1), "GroupNorm", "groups, a positive integer", repr(self.groups))
        expect(is_number(self.eps) and self.eps > 0, "GroupNorm", "a finite eps > 0", repr(self.eps))
        expect_options(self, bools=["use_scale", "use_bias"])

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        params, channels = _scale_and_bias(self, shape)
        expect(channels % self.groups == 0, "GroupNorm", f"channels that the {self.groups} groups divide",
               str(channels))
        return params, {}

    def apply(self, params, state, x, key, *, train):
        return group_norm(params, x, groups=self.groups, eps=self.eps), state


def _scale_and_bias(layer: Any, shape: Any) -> tuple[Any, int]:
    """(params, channels)."""
    x = shape_of(layer, shape, tree=False)
    expect(len(x.shape) >= 1, layer.name, "x of shape (..., channels)", str(x.shape))
    channels = x.shape[-1]
    return ({"scale": jnp.ones(channels)} if layer.use_scale else {}) | (
        {"bias": jnp.zeros(channels)} if layer.use_bias else {}), channels
