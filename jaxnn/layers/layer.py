"""What a layer is: an op that can make its own parameters.

    params, state = layer.init(key, shape)                 shape: that of one x, without the batch
    y, state      = layer(params, state, x, key, train=True)

`params` is what the optimiser moves, `state` what training remembers without a gradient (running
statistics), `key` feeds what is random. Nothing is mutated: a layer holds hyperparameters only, and
two layers with the same hyperparameters are equal.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import at, expect
from jaxnn.hand_derived import EXAMPLES, Op, Static
from jaxnn.stage import Stage, stage

__all__ = ["Layer", "Mode", "output_of", "to_shape"]


class Layer(Op):
    """The base of all layers. A layer gives `op(train)` and, if it has parameters, `init`."""

    input_dtype: Any = jnp.float32

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("params", "state", "x", "key")

    @property
    def name(self) -> str:
        return type(self).__name__

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        """(params, state) for an x of this shape; () for what a layer does not have."""
        output_of(self, (), (), to_shape(self, shape, tree=True))
        return (), ()

    def op(self, train: bool) -> Op:
        """The op this layer is in training, or at inference, on arguments among params, state, x, key."""
        raise NotImplementedError

    def mode(self, train: bool) -> "Mode":
        """The layer in training or at inference, as an op (params, state, x, key) -> (y, state)."""
        expect(isinstance(train, bool), self.name, "train to be True or False", repr(train))
        return Mode(self, train)

    def __call__(self, params: Any, state: Any, x: Any, key: Any = None, *, train: bool = False) -> Any:
        return self.mode(train)(params, state, x, key)

    def reference(self, params: Any, state: Any, x: Any, key: Any = None, *, train: bool = False) -> Any:
        return self.mode(train).reference(params, state, x, key)

    def forward(self, params: Any, state: Any, x: Any, key: Any = None, *, train: bool = False) -> Any:
        mode = self.mode(train)
        out, cache = mode.forward(params, state, x, key)
        return out, (Static(mode), cache)

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        """(dparams, None, dx, None) from the cache and dy = (∂L/∂y, None): the state has no gradient."""
        mode, inner = cache
        return mode.value.backward(inner, dy)


@dataclasses.dataclass(frozen=True)
class Mode(Stage):
    """A layer in one of its two modes, which an error names by its layer."""

    layer: Layer
    train: bool

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def _stage(self) -> Stage:
        return stage(self.layer.op(self.train))

    @property
    def uses(self) -> frozenset[str]:
        return self._stage.uses

    def run(self, face, params, state, x, key):
        with at(layer=self.layer.name):
            return self._stage.run(face, params, state, x, key)

    def forward(self, params, state, x, key=None):
        with at(layer=self.layer.name):
            return self._stage.forward(params, state, x, key)

    def backward(self, cache, dy):
        return self._stage.backward(cache, dy)


def to_shape(layer: Layer, shape: Any, *, tree: bool = False) -> Any:
    """A shape as given by the user, with the dtype this layer takes; structs pass, with `tree` also
    a tree of them, as Parallel hands on."""
    structs = jax.tree.leaves(shape)
    if structs and all(hasattr(s, "shape") and hasattr(s, "dtype") for s in structs):
        expect(tree or structs[0] is shape, layer.name, "one array as x",
               f"shapes {[s.shape for s in structs]}", "join the branches with add or concatenate")
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), shape)
    is_shape = isinstance(shape, tuple | list) and all(isinstance(n, int) and n > 0 for n in shape)
    expect(is_shape, layer.name, "shape to be a tuple of positive sizes, that of one x", repr(shape),
           "leave the batch axis out" if isinstance(shape, tuple | list) and None in shape else "")
    return jax.ShapeDtypeStruct(tuple(shape), layer.input_dtype)


def output_of(layer: Layer, params: Any, state: Any, x: Any, train: bool = True) -> Any:
    """The shape of y for an x of a given shape, found by tracing."""
    key = jax.eval_shape(lambda: jax.random.key(0))

    def one(x: Any, key: Any) -> Any:
        return layer.mode(train)(params, state, x, key)[0]

    # A batch of one, for the layers that average over the examples.
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), x)
    y = jax.eval_shape(jax.vmap(one, in_axes=(0, None), axis_name=EXAMPLES), batch, key)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), y)
