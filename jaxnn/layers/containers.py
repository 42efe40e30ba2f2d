"""Layers made of layers: Sequential, Parallel, Residual; and a layer over the examples of a batch.

Params and state are dicts with an entry for each part that has any. A part's name is the keyword that it is given by,
Sequential(hidden=Dense(20), head=Dense(5)), or else its kind and its number among the parts of that kind, "dense1",
"dense2". So a Dropout that is inserted renames nothing.
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, at, expect, expect_array, expect_key
from jaxnn.hand_derived import EXAMPLES
from jaxnn.layers.layer import Layer, output_of, pair_of, shape_of, to_layer, value_and_state
from jaxnn.ops.shape import add

__all__ = ["OverExamples", "Parallel", "Residual", "Sequential", "over_examples"]


class Sequential(Layer):
    """Layers one after another: Sequential(Dense(20), relu, Dense(5)).

    A function of x alone, such as the op relu, stands for the layer that applies it.
    """

    def __init__(self, *parts: Any, **named: Any):
        who = type(self).__name__
        expect(bool(parts) != bool(named), who, "either positional or named layers, at least one",
               f"{len(parts)} positional and {len(named)} named")
        layers = [to_layer(who, part) for part in parts or named.values()]
        self.parts: dict[str, Layer] = dict(zip(named or _labels(layers), layers, strict=True))

    @property
    def random(self) -> bool:
        return any(part.random for part in self.parts.values())

    @property
    def input_dtype(self) -> Any:
        return next(iter(self.parts.values())).input_dtype

    def init(self, key, shape):
        x = shape_of(self, shape)
        expect_key(self.name, key)
        entries = {}
        for (label, part), k in zip(self.parts.items(), jax.random.split(key, len(self.parts)), strict=True):
            with at(label):
                entries[label] = pair_of(part, part.init(k, x))
                x = self._passed_on(part, *entries[label], x)
        params, state = ({label: entry[i] for label, entry in entries.items() if jax.tree.leaves(entry[i])}
                         for i in (0, 1))
        self._check(params, state, shape_of(self, shape))
        return params, state

    def apply(self, params, state, x, key, *, train):
        states, keys = {}, self._keys(params, state, key)
        for label, part in self.parts.items():
            with at(label, layer=part.name):
                out = part.apply(params.get(label, {}), state.get(label, {}), x, keys.get(label), train=train)
                x, states[label] = value_and_state(part, out)
        return x, _nonempty(states, state)

    def _passed_on(self, part: Layer, params: Any, state: Any, x: Any) -> Any:
        """The shape that the next part is given."""
        return output_of(part, params, state, x)

    def _check(self, params: Any, state: Any, x: Any) -> None:
        """Refuses parts that do not fit together."""

    def _keys(self, params: Any, state: Any, key: Any) -> dict[str, Any]:
        """A key for each part that draws random numbers; params and state are checked first."""
        for what, tree in (("params", params), ("state", state)):
            if not isinstance(tree, Mapping) or not tree.keys() <= self.parts.keys():
                raise InputError(self.name, f"expects {what} by the names of its parts, {list(self.parts)}; got "
                                 + (f"keys {list(tree)}" if isinstance(tree, Mapping) else type(tree).__name__)
                                 + "; make them with init, and pass (params, state, x)")
        random = [label for label, part in self.parts.items() if part.random]
        if key is None or not random:
            return {}
        expect_key(self.name, key)
        return dict(zip(random, jax.random.split(key, len(random)), strict=True))

    def __repr__(self) -> str:
        given = list(self.parts) == _labels(list(self.parts.values()))
        parts = (repr(part) if given else f"{label}={part!r}" for label, part in self.parts.items())
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(vars(self) == vars(other)) and (
            list(self.parts) == list(vars(other)["parts"]))

    def __hash__(self) -> int:
        return hash((type(self), *self.parts.items()))


class Parallel(Sequential):
    """Layers side by side on the same x. y is the tuple of their values, which `add` or `concatenate` joins:
    Sequential(Parallel(Dense(3), Dense(4)), concatenate)."""

    def apply(self, params, state, x, key, *, train):
        ys, states, keys = [], {}, self._keys(params, state, key)
        for label, part in self.parts.items():
            with at(label, layer=part.name):
                out = part.apply(params.get(label, {}), state.get(label, {}), x, keys.get(label), train=train)
                y, states[label] = value_and_state(part, out)
            ys.append(y)
        return tuple(ys), _nonempty(states, state)

    def _passed_on(self, part, params, state, x):
        return x

    def _check(self, params, state, x):
        output_of(self, params, state, x)


class Residual(Parallel):
    """y = body(x) + shortcut(x), or body(x) + x without a shortcut (He et al. 2016)."""

    def __init__(self, body: Any, shortcut: Any = None):
        super().__init__(body=body, **({} if shortcut is None else {"shortcut": shortcut}))

    def apply(self, params, state, x, key, *, train):
        ys, state = super().apply(params, state, x, key, train=train)
        ys = ys if len(ys) == 2 else (*ys, x)
        shapes = [jnp.shape(y) for y in ys]
        if shapes[0] != shapes[1]:
            raise InputError(self.name, f"expects its branches to agree in shape; got {shapes}; give it a shortcut "
                             "that changes the shape alike")
        return add(ys), state


@dataclasses.dataclass(frozen=True)
class OverExamples(Layer):
    """A layer over the leading axis of x; see `over_examples`."""

    layer: Any

    @property
    def name(self) -> str:
        part = self.layer
        return f"over_examples({getattr(part, 'name', None) or getattr(part, '__name__', type(part).__name__)})"

    @property
    def random(self) -> bool:
        return getattr(self.layer, "random", True)

    @property
    def input_dtype(self) -> Any:
        return getattr(self.layer, "input_dtype", jnp.float32)

    def init(self, key, shape):
        x = shape_of(self, shape)
        expect(all(leaf.shape for leaf in jax.tree.leaves(x)), self.name, "shape with a leading axis of examples",
               str(jax.tree.map(lambda leaf: leaf.shape, x)))
        expect(hasattr(self.layer, "init"), self.name, "a layer, whose init makes params", type(self.layer).__name__,
               "make the params of a function yourself, and pass (params, state, x)")
        return self.layer.init(key, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x))

    def apply(self, params, state, x, key, *, train):
        for path, leaf in jax.tree_util.tree_leaves_with_path(x):
            expect_array(self.name, f"x{jax.tree_util.keystr(path)}", leaf)
        x = jax.tree.map(jnp.asarray, x)  # JAX cannot map a NumPy array that a jit function holds
        sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(x)}
        if len(sizes) != 1 or 0 in sizes:
            expect(False, self.name, "x with a leading axis of at least one example, alike in all leaves",
                   str(jax.tree.map(jnp.shape, x)))
        try:
            return self._over(params, state, x, key, sizes.pop(), train)
        except InputError as error:
            if self._lacks_axis(params, state, x, key, train):
                raise InputError(self.name, "expects x with a leading axis of examples; got one example, of shape "
                                 f"{jax.tree.map(jnp.shape, x)}; give it that axis, x[None], or call the layer without "
                                 f"over_examples ({error})") from error
            raise

    def _lacks_axis(self, params: Any, state: Any, x: Any, key: Any, train: bool) -> bool:
        """Whether the layer refuses the shape of x, and takes it with one more axis in front: x is one example. Values
        that are refused are no matter of shape: they are not looked at."""
        def fits(x: Any, n: int) -> bool:
            try:
                jax.eval_shape(lambda p, s, x, k: self._over(p, s, x, k, n, train), params, state, x, key)
            except Exception:  # of any kind: the first error is the one that is raised
                return False
            return True

        return not fits(x, len(jax.tree.leaves(x)[0])) and fits(jax.tree.map(lambda leaf: leaf[None], x), 1)

    def _over(self, params: Any, state: Any, x: Any, key: Any, n: int, train: bool) -> tuple[Any, Any]:
        """(y, state) of n examples."""
        keys = None
        if key is not None and self.random:
            expect_key(self.name, key)
            keys = jax.random.split(key, n)
        one = jax.vmap(lambda p, s, x, k: self.layer(p, s, x, k, train=train), axis_name=EXAMPLES,
                       in_axes=(None, None, 0, None if keys is None else 0), out_axes=(0, None))
        try:
            return one(params, state, x, keys)
        except ValueError as error:
            if "out_axes is None" in str(error):
                raise InputError(self.name, "expects a state that all examples share; got one of each example's own; "
                                 "take the mean over the axis 'examples', that of the innermost over_examples"
                                 ) from error
            raise


def over_examples(layer: Callable) -> OverExamples:
    """A layer over a batch: x and y get a leading axis, params and state are shared and are the layer's own.

    It is `jax.vmap` over an axis named "examples", over which batch norm averages; each example has a key of its own.
    layer: a layer, or a function (params, state, x, key, *, train) -> (y, state).
    """
    if isinstance(layer, type) or not callable(layer):
        raise InputError("over_examples", "expects a layer, or a function (params, state, x, key, *, train); got "
                         + (f"the class {layer.__name__}: write {layer.__name__}(...)" if isinstance(layer, type)
                            else repr(layer)))
    return OverExamples(layer)


def _labels(layers: list[Layer]) -> list[str]:
    """The kind of each layer and its number among those of its kind: dense1, relu1, dense2."""
    counts: collections.Counter[str] = collections.Counter()
    labels = []
    for layer in layers:
        kind = re.sub(r"\W+", "_", layer.name.lower()).strip("_") or "part"  # a label is a part of a path
        counts[kind] += 1
        labels.append(f"{kind}{counts[kind]}")
    return labels


def _nonempty(states: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The parts' states, of those that have any."""
    return {label: state for label, state in states.items() if label in before or jax.tree.leaves(state)}
