"""Layers without spatial structure: Dense, Dropout, Flatten; and a layer that stays at inference."""

import dataclasses
from typing import Any

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.initializers import Initializer, he, zeros
from jaxnn.layers.layer import Layer, drawn, expect_options, expect_size, shape_of, to_layer
from jaxnn.ops.dense import dense
from jaxnn.ops.dropout import dropout
from jaxnn.ops.shape import flatten

__all__ = ["Dense", "Dropout", "Flatten", "at_inference"]


@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    """y = W x + b, x (n_in,) -> y (n_out,).

    n_out: units.
    weight_init, bias_init: initializers of W, drawn as (n_in, n_out), and of b, (n_out,).
    use_bias: whether there is b.
    """

    n_out: int
    weight_init: Initializer = dataclasses.field(default=he, repr=False)
    bias_init: Initializer = dataclasses.field(default=zeros, repr=False)
    use_bias: bool = True
    random = False

    def __post_init__(self) -> None:
        expect(is_integer(self.n_out, 1), "Dense", "n_out, a positive integer", repr(self.n_out))
        advice = "n_in is found by init, from the shape of x: Dense(n_out)"
        expect(not is_integer(self.weight_init), "Dense", "weight_init, an initializer", repr(self.weight_init), advice)
        expect_options(self, bools=["use_bias"], initializers=["weight_init", "bias_init"])

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shape = shape_of(self, shape, tree=False).shape
        expect(len(shape) == 1, "Dense", "x of shape (n_in,)", str(shape), "put Flatten() before it")
        params = {"weight": drawn(self, "weight_init", key, (shape[0], self.n_out)).T}
        if self.use_bias:
            params["bias"] = drawn(self, "bias_init", key, (self.n_out,), params["weight"].dtype)
        return params, {}

    def apply(self, params, state, x, key, *, train):
        expect_size(self, params, "weight", 0, self.n_out)
        return dense(params, x), state


@dataclasses.dataclass(frozen=True)
class Dropout(Layer):
    """Drops a fraction of x in training; does nothing at inference.

    rate: the fraction dropped, in [0, 1): 1 - the course's keep_prob.
    """

    rate: float

    def __post_init__(self) -> None:
        expect(is_number(self.rate, 0) and self.rate < 1, "Dropout", "rate, the fraction dropped, in [0, 1)",
               repr(self.rate))

    @property
    def random(self) -> bool:
        return self.rate > 0

    def apply(self, params, state, x, key, *, train):
        return dropout(x, key, rate=self.rate) if train and self.rate > 0 else x, state


@dataclasses.dataclass(frozen=True)
class Flatten(Layer):
    """x of any shape -> y in one row."""

    random = False

    def apply(self, params, state, x, key, *, train):
        return flatten(x), state


@dataclasses.dataclass(frozen=True)
class _AtInference(Layer):
    part: Any
    random = False

    @property
    def name(self) -> str:
        return self.part.name

    @property
    def input_dtype(self) -> Any:
        return self.part.input_dtype

    def init(self, key, shape):
        return self.part.init(key, shape)

    def apply(self, params, state, x, key, *, train):
        return self.part.apply(params, state, x, None, train=False)


def at_inference(layer: Any) -> Layer:
    """A layer that behaves in training as at inference: batch norm uses and keeps its running statistics, and dropout
    drops nothing. It serves the frozen part of a network that is fine-tuned."""
    return _AtInference(to_layer("at_inference", layer))
