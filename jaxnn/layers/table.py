"""The table of a layer: what each part puts out, learns, and keeps for its backward pass."""

import math
from typing import Any, NamedTuple

import jax
from jax.extend import core

from jaxnn.compose import Chain, Several
from jaxnn.hand_derived import EXAMPLES
from jaxnn.layers.layer import Layer, output_of, to_shape

__all__ = ["Row", "Summary", "summary"]


class Row(NamedTuple):
    """One layer. Bytes of cache are those of one example, in training."""

    path: str
    layer: str
    output_shape: Any
    parameters: int
    cache_bytes: int


class Summary(NamedTuple):
    """A table of rows; print it. Caches that are the parameters themselves cost nothing and count 0."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def cache_bytes(self) -> int:
        return sum(row.cache_bytes for row in self.rows)

    def __str__(self) -> str:
        head = ("path", "layer", "output shape", "parameters", "bytes of cache")
        body = [(r.path, r.layer, _shape(r.output_shape), f"{r.parameters:,}", f"{r.cache_bytes:,}")
                for r in self.rows]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.cache_bytes:,}")
        widths = [max(map(len, column)) for column in zip(head, *body, total, strict=True)]
        line = "  ".join("-" * w for w in widths)
        rows = ["  ".join(c.rjust(w) if i > 2 else c.ljust(w)
                          for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
                for row in (head, *body, total)]
        return "\n".join([rows[0], line, *rows[1:-1], line, rows[-1]])


def summary(layer: Layer, shape: Any) -> Summary:
    """The table of a layer and all layers inside, for an x of this shape, without the batch.

    >>> from jaxnn import Dense, Sequential, relu
    >>> summary(Sequential(Dense(2), relu), (3,)).parameters
    8
    """
    x = to_shape(layer, shape)
    params, state = jax.eval_shape(lambda: layer.init(jax.random.key(0), x))
    return Summary(tuple(_rows("", layer, params, state, x)))


def _rows(path: str, layer: Layer, params: Any, state: Any, x: Any) -> list[Row]:
    op = layer.op(train=True)
    if not isinstance(op, Several):
        parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        y = output_of(layer, params, state, x)
        return [Row(path or ".", layer.name, jax.tree.map(lambda a: a.shape, y), parameters,
                    _cache_bytes(layer, params, state, x))]
    rows = []
    each = zip(op.labels, op.parts, op.entries("params", params), op.entries("state", state), strict=True)
    for label, mode, p, s in each:
        part: Layer = mode.layer  # type: ignore[attr-defined]  # a container's parts are modes
        rows += _rows(f"{path}/{label}" if path else label, part, p, s, x)
        if isinstance(op, Chain):
            x = output_of(part, p, s, x)
    return rows


def _cache_bytes(layer: Layer, params: Any, state: Any, x: Any) -> int:
    """Bytes of the cache of one example, beyond the parameters, which are there anyway."""
    key = jax.eval_shape(lambda: jax.random.key(0))

    def forward(params: Any, state: Any, x: Any, key: Any) -> Any:
        return layer.mode(True).forward(params, state, x, key)[1]

    jaxpr = jax.make_jaxpr(forward, axis_env=[(EXAMPLES, 1)])(params, state, x, key).jaxpr
    shared = set(jaxpr.invars[: len(jax.tree.leaves(params))])
    kept = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)} - shared
    return sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in kept)


def _shape(shape: Any) -> str:
    return str(shape).replace("'", "")
