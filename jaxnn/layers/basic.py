"""Layers without spatial structure: Dense, Dropout, Flatten, and any parameterless op as a layer."""

import dataclasses
from typing import Any

from jaxnn.checks import expect
from jaxnn.hand_derived import Op
from jaxnn.initializers import Initializer, he, zeros
from jaxnn.layers.layer import Layer, to_shape
from jaxnn.ops.dense import dense
from jaxnn.ops.dropout import dropout
from jaxnn.ops.shape import flatten
from jaxnn.stage import Identity, bind

__all__ = ["Activation", "Dense", "Dropout", "Flatten"]


@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    """y = W x + b, x (n_in,) -> y (n_out,)."""

    n_out: int
    weight_init: Initializer = dataclasses.field(default=he, repr=False)
    bias_init: Initializer = dataclasses.field(default=zeros, repr=False)
    use_bias: bool = True

    def __post_init__(self) -> None:
        expect(isinstance(self.n_out, int) and self.n_out > 0, "Dense", "n_out, a positive integer",
               repr(self.n_out))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shape = to_shape(self, shape).shape
        expect(len(shape) == 1, "Dense", "x of shape (n_in,)", str(shape), "put Flatten() before it")
        params = {"weight": self.weight_init(key, (shape[0], self.n_out)).T}
        if self.use_bias:
            params["bias"] = self.bias_init(key, (self.n_out,), params["weight"].dtype)
        return params, ()

    def op(self, train: bool) -> Op:
        return dense


@dataclasses.dataclass(frozen=True)
class Dropout(Layer):
    """Drops a fraction `rate` of x in training (1 - the course's keep_prob); does nothing at inference."""

    rate: float

    def __post_init__(self) -> None:
        expect(isinstance(self.rate, int | float) and 0 <= self.rate < 1, "Dropout",
               "rate, the fraction dropped, in [0, 1)", repr(self.rate))

    def op(self, train: bool) -> Op:
        return bind(dropout, rate=self.rate) if train and self.rate > 0 else Identity()


@dataclasses.dataclass(frozen=True)
class Flatten(Layer):
    """x of any shape -> y in one row."""

    def op(self, train: bool) -> Op:
        return flatten


@dataclasses.dataclass(frozen=True, repr=False)
class Activation(Layer):
    """A parameterless op x -> y as a layer. `Sequential` makes one of each op it is given."""

    function: Op

    def __post_init__(self) -> None:
        if not isinstance(self.function, Op) or self.function.arguments != ("x",):
            came = (f"'{self.function.name}' of ({', '.join(self.function.arguments)})"
                    if isinstance(self.function, Op) else repr(self.function))
            raise TypeError(f"Activation expects an op of x alone, such as jaxnn.relu; got {came}")

    @property
    def name(self) -> str:
        return self.function.name

    def __repr__(self) -> str:
        return self.name

    def op(self, train: bool) -> Op:
        return self.function
