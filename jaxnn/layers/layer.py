"""What a layer is: parameters, and a function of them.

    params, state = layer.init(key, shape)                     shape: that of one x, without the batch
    y, state      = layer(params, state, x, key, train=True)   one example

`params` is what the optimiser moves, `state` is what training remembers without a gradient (running statistics), and
`key` is for random numbers. A layer without params or state has {}, and one that draws no random numbers takes None as
key. Nothing is mutated: a layer holds hyperparameters only, and two layers of this library with the same
hyperparameters are equal. A layer needs no backward pass of its own, because it is a function of ops: `network(layer)`
has `forward`, `backward` and `reference`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, at, expect, expect_bool, expect_key, is_integer
from jaxnn.hand_derived import EXAMPLES, Op

__all__ = ["Function", "Layer", "drawn", "expect_options", "output_of", "shape_of", "to_layer"]


@jax.tree_util.register_static
class _Missing:
    """Stands for an argument that was not given; no leaf of a tree, so that a network of a layer passes it on."""


_MISSING = _Missing()


class Layer:
    """The base of all layers. A layer of your own defines `init` and `apply`.

    random: whether it draws random numbers in training. A container gives a key to each of its parts that does.
    input_dtype: the dtype of x, where `init` gets a shape without one.
    """

    @property
    def random(self) -> bool:
        return True

    @property
    def input_dtype(self) -> Any:
        return jnp.float32

    @property
    def name(self) -> str:
        return type(self).__name__

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        """(params, state) for an x of this shape, a tuple of sizes, or a tree of `jax.ShapeDtypeStruct`."""
        try:
            output_of(self, {}, {}, shape_of(self, shape))
        except InputError as error:
            if not isinstance(error.__cause__, KeyError):
                raise
            raise InputError(self.name, f"reads an entry {error.__cause__} and has no parameters; give it init(self, "
                             "key, shape) that returns (params, state)") from error
        return {}, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any, *, train: bool) -> tuple[Any, Any]:
        """(y, state) of one example."""
        raise InputError(self.name, "has no apply; write apply(self, params, state, x, key, *, train) that returns "
                         "(y, state)")

    def __call__(self, params: Any, state: Any = _MISSING, x: Any = _MISSING, key: Any = None, *,
                 train: bool = False) -> tuple[Any, Any]:
        if x is _MISSING:
            raise InputError(self.name, f"expects (params, state, x); got {1 + (state is not _MISSING)} of them; "
                             "params and state come from init, and state is {} where there is none: "
                             "y, state = layer(params, state, x)")
        if not isinstance(train, bool):
            raise InputError(self.name, f"expects train to be True or False; got {train!r}")
        with at(layer=self.name):
            return value_and_state(self, self.apply(params, state, x, key, train=train))


@dataclasses.dataclass(frozen=True, repr=False)
class Function(Layer):
    """A function of x alone as a layer; Sequential makes one of each function among its parts."""

    function: Callable
    random = False

    @property
    def name(self) -> str:
        function = getattr(self.function, "func", self.function)  # of a functools.partial
        return str(getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__))

    def __repr__(self) -> str:
        return self.name

    def apply(self, params, state, x, key, *, train):
        return self.function(x), state


def value_and_state(layer: Layer, out: Any) -> tuple[Any, Any]:
    """What a layer's apply returns, which must be a pair."""
    if not isinstance(out, tuple) or len(out) != 2:
        raise InputError(layer.name, f"expects its apply to return the pair (y, state); got {type(out).__name__}; "
                         "return y with the state that it was given, where that does not change")
    return out


def pair_of(layer: Layer, made: Any) -> tuple[Any, Any]:
    """What a layer's init returns, which must be a pair."""
    if not isinstance(made, tuple) or len(made) != 2:
        raise InputError(layer.name, f"expects its init to return the pair (params, state); got {type(made).__name__}; "
                         "return {} for what there is none of")
    return made


def expect_options(layer: Layer, *, bools: Sequence[str] = (), initializers: Sequence[str] = ()) -> None:
    """Refuses fields of a layer that are no choice and no initializer, when it is made."""
    who = type(layer).__name__
    for name in bools:
        expect_bool(who, name, getattr(layer, name))
    for name in initializers:
        init = getattr(layer, name)
        expect(callable(init) and not isinstance(init, type), who,
               f"{name}, an initializer (key, shape, dtype) -> array", repr(init)[:100],
               "take one of jaxnn.initializers")


def drawn(layer: Layer, name: str, key: Any, shape: tuple[int, ...], *dtype: Any) -> Any:
    """Parameters by an initializer of the layer, the field of this name."""
    expect_key(layer.name, key)
    array = getattr(layer, name)(key, shape, *dtype)
    fits = hasattr(array, "dtype") and array.shape == shape and jnp.issubdtype(array.dtype, jnp.floating)
    if not fits:
        found = f"{array.dtype}{list(array.shape)}" if hasattr(array, "dtype") else type(array).__name__
        expect(False, layer.name, f"{name} to return floating-point numbers of shape {shape}", found)
    return array


def expect_size(layer: Layer, params: Any, name: str, axis: int, size: int) -> None:
    """Refuses the parameters of a layer of another size, which its op would take."""
    array = params.get(name) if hasattr(params, "get") else None
    if array is not None and jnp.ndim(array) and jnp.shape(array)[axis] != size:
        raise InputError(layer.name, f"expects the parameters of {layer!r}, {size} along axis {axis} of {name}; got "
                         f"shape {jnp.shape(array)}; make them with the init of this layer")


def to_layer(who: str, part: Any) -> Any:
    """A part of a container as a layer: a layer as it is, and a function of x as a layer that applies it."""
    if isinstance(part, type):
        raise InputError(who, f"expects a layer; got the class {part.__name__}: write {part.__name__}(...)")
    if isinstance(part, Op) and part.arguments[1:] and part.arguments != ("x",):
        raise InputError(who, f"expects a layer or a function of x alone; got the op '{part.name}' of "
                         f"({', '.join(part.arguments)}): use the layer that makes its parameters")
    if isinstance(part, Layer):
        return part
    if not callable(part):
        raise InputError(who, f"expects a layer or a function of x, such as jaxnn.relu; got {part!r}")
    return Function(part)


def shape_of(layer: Layer, shape: Any, *, tree: bool = True) -> Any:
    """A shape as a user gives it, a tuple of sizes or a tree of such tuples, with the dtype that this layer takes; a
    tree of `ShapeDtypeStruct` stays as it is.

    tree: whether the layer takes more than one array.
    """
    structs = jax.tree.leaves(shape)
    # NumPy's integers have a shape too.
    if structs and not _is_shape(shape) and all(hasattr(s, "shape") and hasattr(s, "dtype") for s in structs):
        expect(tree or structs[0] is shape, layer.name, "one array as x", f"shapes {[s.shape for s in structs]}",
               "join the branches with add or concatenate")
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), shape)
    if tree and structs and not _is_shape(shape) and all(map(_is_shape, jax.tree.leaves(shape, is_leaf=_is_shape))):
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(tuple(map(int, s)), layer.input_dtype), shape,
                            is_leaf=_is_shape)
    expect(_is_shape(shape), layer.name, "shape to be a tuple of positive sizes, that of one x, or a tree of "
           "jax.ShapeDtypeStruct", repr(shape),
           "leave the batch axis out" if isinstance(shape, tuple | list) and None in shape else "")
    return jax.ShapeDtypeStruct(tuple(map(int, shape)), layer.input_dtype)


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple | list) and all(is_integer(n, 1) for n in shape)


def output_of(layer: Callable, params: Any, state: Any, x: Any, train: bool = True) -> Any:
    """The shape of y for an x of a given shape, found by tracing."""
    key = jax.eval_shape(lambda: jax.random.key(0))

    def one(x: Any, key: Any) -> Any:
        return layer(params, state, x, key, train=train)[0]

    # A batch of one, for the layers that average over the examples.
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), x)
    y = jax.eval_shape(jax.vmap(one, in_axes=(0, None), axis_name=EXAMPLES), batch, key)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), y)
