"""Layers over sequences: Embedding and LSTM."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect
from jaxnn.initializers import Initializer, orthogonal, random_normal, xavier
from jaxnn.layers.layer import Layer, shape_of
from jaxnn.ops.embedding import embedding
from jaxnn.ops.recurrent import lstm_hidden, lstm_last

__all__ = ["LSTM", "Embedding"]


@dataclasses.dataclass(frozen=True)
class Embedding(Layer):
    """Integers in 0 .. n_rows - 1, of any shape (...), -> their rows, (..., n_dim)."""

    n_rows: int
    n_dim: int
    table_init: Initializer = dataclasses.field(default=random_normal(0.02), repr=False)
    input_dtype = jnp.int32
    random = False

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_dim"):
            size = getattr(self, name)
            expect(isinstance(size, int) and size > 0, "Embedding", f"{name}, a positive integer", repr(size))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shape_of(self, shape, tree=False)
        return {"table": self.table_init(key, (self.n_rows, self.n_dim))}, {}

    def apply(self, params, state, x, key, *, train):
        return embedding(params, x), state


@dataclasses.dataclass(frozen=True)
class LSTM(Layer):
    """x (time, n_in) -> the hidden states (time, n_hidden), or the last one alone, (n_hidden,).

    It starts from a hidden state and cell of zeros. The forget gate's bias starts at 1, so that the
    cell remembers until it learns to forget (Jozefowicz, Zaremba & Sutskever 2015).
    """

    n_hidden: int
    return_sequence: bool = True
    weight_x_init: Initializer = dataclasses.field(default=xavier, repr=False)
    weight_h_init: Initializer = dataclasses.field(default=orthogonal, repr=False)
    random = False

    def __post_init__(self) -> None:
        expect(isinstance(self.n_hidden, int) and self.n_hidden > 0, "LSTM", "n_hidden, a positive integer",
               repr(self.n_hidden))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        expect(len(x.shape) == 2, "LSTM", "x of shape (time, n_in)", str(x.shape))
        n, n_in = self.n_hidden, x.shape[1]
        x_key, h_key = jax.random.split(key)

        # Each gate's block is drawn by itself: it is a layer of n_hidden units, not a quarter of one.
        def four(init: Initializer, key: Any, n_from: int) -> jax.Array:
            return jnp.concatenate([init(k, (n_from, n)).T for k in jax.random.split(key, 4)])

        params = {
            "weight_x": four(self.weight_x_init, x_key, n_in),
            "weight_h": four(self.weight_h_init, h_key, n),
            "bias": jnp.zeros(4 * n).at[n:2 * n].set(1.0)}
        return params, {}

    def apply(self, params, state, x, key, *, train):
        return (lstm_hidden if self.return_sequence else lstm_last)(params, x), state
