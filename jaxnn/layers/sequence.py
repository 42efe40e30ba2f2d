"""Layers over sequences: Embedding, and the recurrent networks RNN, GRU and LSTM."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, expect_key, is_integer
from jaxnn.hand_derived import Op
from jaxnn.initializers import Initializer, orthogonal, random_normal, xavier
from jaxnn.layers.layer import Layer, drawn, expect_options, expect_size, shape_of
from jaxnn.ops.embedding import embedding
from jaxnn.ops.recurrent import gru, gru_reset_after, lstm, rnn

__all__ = ["GRU", "LSTM", "RNN", "Embedding", "recurrent_params"]


@dataclasses.dataclass(frozen=True)
class Embedding(Layer):
    """Integers in 0 .. n_rows - 1, of any shape (...), -> their rows, (..., n_dim).

    n_rows, n_dim: the sizes of the table.
    table_init: initializer of the table (n_rows, n_dim).
    """

    n_rows: int
    n_dim: int
    table_init: Initializer = dataclasses.field(default=random_normal(0.02), repr=False)
    input_dtype = jnp.int32
    random = False

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_dim"):
            size = getattr(self, name)
            expect(is_integer(size, 1), "Embedding", f"{name}, a positive integer", repr(size))
        expect_options(self, initializers=["table_init"])

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shape_of(self, shape, tree=False)
        return {"table": drawn(self, "table_init", key, (self.n_rows, self.n_dim))}, {}

    def apply(self, params, state, x, key, *, train):
        expect_size(self, params, "table", 0, self.n_rows)
        expect_size(self, params, "table", 1, self.n_dim)
        return embedding(params, x), state


def recurrent_params(key: Any, n_in: int, n_hidden: int, blocks: int, weight_x_init: Initializer = xavier,
                     weight_h_init: Initializer = orthogonal) -> dict[str, jax.Array]:
    """Initial weights and zero bias of a recurrent op whose z has `blocks` blocks of n_hidden rows.

    Each gate's block is drawn by itself: it is a layer of n_hidden units, not a part of a wider one.
    """
    def stacked(init: Initializer, key: Any, n_from: int) -> jax.Array:
        return jnp.concatenate([init(k, (n_from, n_hidden)).T for k in jax.random.split(key, blocks)])

    x_key, h_key = jax.random.split(key)
    return {"weight_x": stacked(weight_x_init, x_key, n_in), "weight_h": stacked(weight_h_init, h_key, n_hidden),
            "bias": jnp.zeros(blocks * n_hidden)}


@dataclasses.dataclass(frozen=True)
class RNN(Layer):
    """x (time, n_in) -> the hidden states (time, n_hidden) of `rnn` from zeros, or the last one alone, (n_hidden,).

    n_hidden: units of the hidden state.
    return_sequence: all hidden states, or the last one.
    use_bias: whether there is a bias.
    weight_x_init, weight_h_init: initializers of each gate's block, drawn as (n_in, n_hidden) and (n_hidden, n_hidden).
    """

    n_hidden: int
    return_sequence: bool = True
    use_bias: bool = True
    weight_x_init: Initializer = dataclasses.field(default=xavier, repr=False)
    weight_h_init: Initializer = dataclasses.field(default=orthogonal, repr=False)

    random = False
    blocks = 1

    def __post_init__(self) -> None:
        expect(is_integer(self.n_hidden, 1), self.name, "n_hidden, a positive integer",
               repr(self.n_hidden))
        expect_options(self, bools=["return_sequence", "use_bias"], initializers=["weight_x_init", "weight_h_init"])

    @property
    def op(self) -> Op:
        return rnn

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = shape_of(self, shape, tree=False)
        expect(len(x.shape) == 2, self.name, "x of shape (time, n_in)", str(x.shape))
        expect_key(self.name, key)
        params = recurrent_params(key, x.shape[1], self.n_hidden, self.blocks, self.weight_x_init, self.weight_h_init)
        return params if self.use_bias else {name: w for name, w in params.items() if name != "bias"}, {}

    def apply(self, params, state, x, key, *, train):
        expect_size(self, params, "weight_h", 1, self.n_hidden)
        h, _ = self.op(params, x)
        return h if self.return_sequence else h[-1], state


@dataclasses.dataclass(frozen=True)
class GRU(RNN):
    """x (time, n_in) -> the hidden states (time, n_hidden) of a GRU from zeros, or the last one alone, (n_hidden,).

    reset_after: `gru_reset_after`, as PyTorch and cuDNN have it, in place of `gru`. The other fields: as of RNN.
    """

    reset_after: bool = False
    blocks = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_options(self, bools=["reset_after"])

    @property
    def op(self) -> Op:
        return gru_reset_after if self.reset_after else gru

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        params, state = super().init(key, shape)
        has_bias_h = self.reset_after and self.use_bias
        return params | ({"bias_h": jnp.zeros(self.n_hidden)} if has_bias_h else {}), state


@dataclasses.dataclass(frozen=True)
class LSTM(RNN):
    """x (time, n_in) -> the hidden states (time, n_hidden) of `lstm` from zeros, or the last one alone, (n_hidden,).

    The forget gate's bias starts at 1, so that the cell remembers until it learns to forget (Jozefowicz, Zaremba &
    Sutskever 2015). The fields: as of RNN.
    """

    blocks = 4

    @property
    def op(self) -> Op:
        return lstm

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        params, state = super().init(key, shape)
        n = self.n_hidden
        return params | ({"bias": params["bias"].at[n:2 * n].set(1.0)} if self.use_bias else {}), state
