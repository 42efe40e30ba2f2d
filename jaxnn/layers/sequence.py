"""Layers over sequences: Embedding, and the recurrent networks RNN, GRU and LSTM."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, expect_key, is_integer, is_number
from jaxnn.hand_derived import Op
from jaxnn.initializers import Initializer, orthogonal, random_normal, xavier
from jaxnn.layers.layer import Layer, drawn, expect_options, expect_size, shape_of
from jaxnn.ops.embedding import embedding
from jaxnn.ops.recurrent import gru, gru_reset_after, lstm, rnn
from jaxnn.ops.shape import concatenate
from jaxnn.ops.stacks import bidirectional, stacked

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

    x may be the pair (x, mask), mask (time,) of bool as in `rnn`: padding is then left out.

    n_hidden: units of the hidden state.
    return_sequence: all hidden states, or the last one.
    use_bias: whether there is a bias.
    weight_x_init, weight_h_init: initializers of each gate's block, drawn as (n_in, n_hidden) and (n_hidden, n_hidden).
    layers: one on top of another, as `stacked` has them; params are then {"layer1": ..., "layer2": ...}.
    bidirectional: both directions in each layer, as `bidirectional` has them: 2 n_hidden values in place of n_hidden.
    dropout: the fraction dropped between the layers in training; same_mask: the same units at all times.
    """

    n_hidden: int
    return_sequence: bool = True
    use_bias: bool = True
    weight_x_init: Initializer = dataclasses.field(default=xavier, repr=False)
    weight_h_init: Initializer = dataclasses.field(default=orthogonal, repr=False)
    layers: int = dataclasses.field(default=1, kw_only=True)
    bidirectional: bool = dataclasses.field(default=False, kw_only=True)
    dropout: float = dataclasses.field(default=0.0, kw_only=True)
    same_mask: bool = dataclasses.field(default=False, kw_only=True)

    blocks = 1

    def __post_init__(self) -> None:
        for name in ("n_hidden", "layers"):
            expect(is_integer(getattr(self, name), 1), self.name, f"{name}, a positive integer",
                   repr(getattr(self, name)))
        expect_options(self, bools=["return_sequence", "use_bias", "bidirectional", "same_mask"],
                       initializers=["weight_x_init", "weight_h_init"])
        expect(is_number(self.dropout, 0) and self.dropout < 1, self.name, "dropout, the fraction dropped, in [0, 1)",
               repr(self.dropout))
        expect(self.dropout == 0 or self.layers > 1, self.name, "dropout between layers, of two or more",
               f"layers={self.layers}", "put Dropout(...) behind it in a Sequential")

    @property
    def random(self) -> bool:
        return self.dropout > 0

    @property
    def op(self) -> Op:
        return rnn

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        given = shape_of(self, shape)
        x = given[0] if isinstance(given, tuple) and len(given) == 2 else given
        expect(len(getattr(x, "shape", ())) == 2, self.name, "x of shape (time, n_in)",
               str(jax.tree.map(lambda leaf: leaf.shape, given)))
        expect_key(self.name, key)
        if self.layers == 1:
            return self._directions(key, x.shape[1]), {}
        n_below = (1 + self.bidirectional) * self.n_hidden
        keys = jax.random.split(key, self.layers)
        return {f"layer{i + 1}": self._directions(keys[i], n_below if i else x.shape[1])
                for i in range(self.layers)}, {}

    def _directions(self, key: Any, n_in: int) -> Any:
        """The parameters of one layer."""
        if not self.bidirectional:
            return self._drawn(key, n_in)
        there, back = jax.random.split(key)
        return {"forward": self._drawn(there, n_in), "reversed": self._drawn(back, n_in)}

    def _drawn(self, key: Any, n_in: int) -> dict[str, Any]:
        """The parameters of one op."""
        params = recurrent_params(key, n_in, self.n_hidden, self.blocks, self.weight_x_init, self.weight_h_init)
        return params if self.use_bias else {name: w for name, w in params.items() if name != "bias"}

    def apply(self, params, state, x, key, *, train):
        expect(not isinstance(x, list) and (not isinstance(x, tuple) or len(x) == 2), self.name,
               "x, an array, or the pair (x, mask)", f"a {type(x).__name__}")
        x, mask = x if isinstance(x, tuple) else (x, None)
        if self.layers == 1 and not self.bidirectional:
            expect_size(self, params, "weight_h", 1, self.n_hidden)
        op: Any = bidirectional(self.op) if self.bidirectional else self.op
        if self.layers == 1:
            h, last = op(params, x, None, mask)
        else:
            stack = stacked(*(op,) * self.layers, rate=self.dropout, same_mask=self.same_mask)
            if train and self.random:
                expect_key(self.name, key)
            h, last = stack(params, x, None, mask, key if train and self.random else None)
            last = last[-1]
        if self.return_sequence:
            return h, state
        directions = last if self.bidirectional else (last,)
        ends = [jax.tree.leaves(last)[0] for last in directions]  # h of (h, c)
        return concatenate(tuple(ends), axis=0) if self.bidirectional else ends[0], state


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

    def _drawn(self, key: Any, n_in: int) -> dict[str, Any]:
        has_bias_h = self.reset_after and self.use_bias
        return super()._drawn(key, n_in) | ({"bias_h": jnp.zeros(self.n_hidden)} if has_bias_h else {})


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

    def _drawn(self, key: Any, n_in: int) -> dict[str, Any]:
        params, n = super()._drawn(key, n_in), self.n_hidden
        return params | ({"bias": params["bias"].at[n:2 * n].set(1.0)} if self.use_bias else {})
