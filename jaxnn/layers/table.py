"""The table of a layer, or of any function of ops: what each op puts out and learns, its multiply-adds, and what it
keeps for its backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxnn.checks import InputError
from jaxnn.explicit.table import Row, table_of
from jaxnn.hand_derived import EXAMPLES
from jaxnn.layers.layer import Layer, shape_of
from jaxnn.network import network

__all__ = ["Summary", "summary"]


class Summary(NamedTuple):
    """A table of rows, one for each op and for the glue between ops; print it. Bytes of cache are those of one example
    in training; caches that are the arguments themselves cost nothing and count 0."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """How many numbers the ops learn."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Products of one forward pass, each with its sum: of matrices and kernels, as `jaxnn.explicit.multiply_adds`
        counts them."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def cache_bytes(self) -> int:
        return sum(row.cache_bytes for row in self.rows)

    @property
    def nonlinear(self) -> tuple[str, ...]:
        """The operations of the glue that are not linear, and so not derived by hand: "exp at siamese:12"."""
        return tuple(f"{name} at {row.place}" for row in self.rows for name in row.nonlinear)

    def __str__(self) -> str:
        return table_of(self.rows)


def summary(f: Callable, *args: Any, **static: Any) -> Summary:
    """The table of a layer for an x of this shape, without the batch, or of a function of ops at these arguments.

    summary(layer, shape) or summary(function, *args, **static); args are arrays or `jax.ShapeDtypeStruct`.

    >>> from jaxnn import Dense, Sequential, relu
    >>> table = summary(Sequential(Dense(2), relu), (3,))
    >>> table.parameters, table.multiply_adds
    (8, 6)
    """
    if isinstance(f, Layer) and not args:
        raise InputError("summary", "expects a layer and the shape of one x, or all arguments of a function; got "
                         f"{f!r} alone: summary(layer, shape)")
    if isinstance(f, Layer) and len(args) == 1:
        x = shape_of(f, args[0])
        key = jax.eval_shape(lambda: jax.random.key(0))
        args = (*jax.eval_shape(lambda: f.init(jax.random.key(0), x)), x, key)
        static = {"train": True} | static
    recording, _ = network(f).recorded(args, static, axes=((EXAMPLES, 1),))
    return Summary(recording.rows)
