"""Layers made of layers: Sequential, Parallel, Residual, over_examples."""

import dataclasses
from typing import Any

import jax

from jaxnn import compose
from jaxnn.checks import at, expect
from jaxnn.examples import OverExamples as OverExamplesStage
from jaxnn.examples import over_examples_op
from jaxnn.hand_derived import Op
from jaxnn.layers.basic import Activation
from jaxnn.layers.layer import Layer, output_of, to_shape
from jaxnn.stage import Identity

__all__ = ["Parallel", "Residual", "Sequential", "over_examples"]


class Container(Layer):
    """What Sequential, Parallel and Residual share: parts with their entries of params and state."""

    parts: tuple[Layer, ...]
    names: tuple[str, ...] | None
    combinator: type[compose.Several]

    @property
    def input_dtype(self) -> Any:
        return self.parts[0].input_dtype

    def op(self, train: bool) -> compose.Several:
        return self.combinator(tuple(part.mode(train) for part in self.parts), self.names)

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = to_shape(self, shape, tree=True)
        op = self.op(train=True)
        params, state = [], []
        for label, part, k in zip(op.labels, self.parts, jax.random.split(key, len(self.parts)), strict=True):
            with at(label):
                p, s = part.init(k, x)
                if self.combinator is compose.Chain:
                    x = output_of(part, p, s, x)
            params.append(p)
            state.append(s)
        packed = op.pack("params", params), op.pack("state", state)
        if self.combinator is not compose.Chain:
            output_of(self, *packed, x)  # refuses branches that do not fit together
        return packed

    def __repr__(self) -> str:
        parts = map(repr, self.parts)
        named = (f"{n}={p}" for n, p in zip(self.names, parts, strict=True)) if self.names else parts
        return f"{type(self).__name__}({', '.join(named)})"


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Sequential(Container):
    """Layers one after another: Sequential(Dense(20), relu, Dense(5)).

    An op of x alone stands for the layer that applies it. Named parts, Sequential(hidden=Dense(20),
    head=Dense(5)), give params the keys "hidden", "head"; else they are a tuple.
    """

    parts: tuple[Layer, ...]
    names: tuple[str, ...] | None
    combinator = compose.Chain

    def __init__(self, *parts: Layer | Op, **named: Layer | Op):
        _set_parts(self, parts, named)


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Parallel(Container):
    """Layers side by side on the same x; y is the tuple of their values, which `add` or
    `concatenate` joins: Sequential(Parallel(Dense(3), Dense(4)), concatenate)."""

    parts: tuple[Layer, ...]
    names: tuple[str, ...] | None
    combinator = compose.Parallel

    def __init__(self, *parts: Layer | Op, **named: Layer | Op):
        _set_parts(self, parts, named)


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Residual(Container):
    """y = body(x) + shortcut(x), or + x without a shortcut (He et al. 2016)."""

    parts: tuple[Layer, ...]
    names: tuple[str, ...] | None
    combinator = compose.Residual

    def __init__(self, body: Layer | Op, shortcut: Layer | Op | None = None):
        _set_parts(self, (), {"body": body, "shortcut": _Identity() if shortcut is None else shortcut})


@dataclasses.dataclass(frozen=True)
class _Identity(Layer):
    def op(self, train: bool) -> Op:
        return Identity()


def _set_parts(container: Container, parts: tuple, named: dict[str, Any]) -> None:
    who = type(container).__name__
    expect(bool(parts) != bool(named), who, "either positional or named layers, at least one",
           f"{len(parts)} positional and {len(named)} named")
    layers = tuple(map(_as_layer, parts or named.values()))
    object.__setattr__(container, "parts", layers)
    object.__setattr__(container, "names", tuple(named) or None)


def _as_layer(part: Layer | Op) -> Layer:
    if isinstance(part, Layer):
        return part
    if isinstance(part, type) and issubclass(part, Layer):
        raise TypeError(f"expected a layer; got the class {part.__name__}: write {part.__name__}(...)")
    return Activation(part)


@dataclasses.dataclass(frozen=True)
class OverExamples(Layer):
    part: Layer

    @property
    def input_dtype(self) -> Any:
        return self.part.input_dtype

    def op(self, train: bool) -> OverExamplesStage:
        return OverExamplesStage(self.part.mode(train))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = to_shape(self, shape)
        expect(len(x.shape) >= 1, self.name, "shape with a leading axis of examples", str(x.shape))
        return self.part.init(key, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))


def over_examples(layer: Op) -> Op:
    """A layer, or an op, over a batch: x and y get a leading axis, params and state are shared.

    It is `jax.vmap` over an axis named "examples", over which batch norm averages; each example has
    a key of its own. The parameters are those of the layer itself.
    """
    if isinstance(layer, Layer):
        return OverExamples(layer)
    return over_examples_op(layer)
