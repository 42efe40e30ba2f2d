"""Layers over sequences: Embedding, and the recurrent networks RNN, GRU and LSTM."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect
from jaxnn.hand_derived import HandDerived, Op, Static
from jaxnn.initializers import Initializer, orthogonal, random_normal, xavier
from jaxnn.layers.layer import Layer, to_shape
from jaxnn.ops.embedding import embedding
from jaxnn.ops.recurrent import gru, gru_reset_after, lstm, rnn

__all__ = ["GRU", "LSTM", "RNN", "Embedding", "hidden_states", "op_cache_and_dy", "recurrent_params"]


@dataclasses.dataclass(frozen=True)
class Embedding(Layer):
    """Integers in 0 .. n_rows - 1, of any shape (...), -> their rows, (..., n_dim)."""

    n_rows: int
    n_dim: int
    table_init: Initializer = dataclasses.field(default=random_normal(0.02), repr=False)
    input_dtype = jnp.int32

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_dim"):
            size = getattr(self, name)
            expect(isinstance(size, int) and size > 0, "Embedding", f"{name}, a positive integer", repr(size))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        to_shape(self, shape)
        return {"table": self.table_init(key, (self.n_rows, self.n_dim))}, ()

    def op(self, train: bool) -> Op:
        return embedding


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


@functools.cache
def hidden_states(op: HandDerived, all_times: bool) -> HandDerived:
    """A recurrent op from zeros, (params, x) -> its hidden states (time, n_hidden), or that after the last step."""
    def forward(params: Any, x: Any) -> Any:
        (h, _), cache = op.forward(params, x)
        return (h if all_times else h[-1]), (cache, Static(None if all_times else h.shape[0]))

    forward.__name__ = op.name
    hidden = HandDerived(forward)

    @hidden.defbackward
    def backward(cache: Any, dy: Any) -> Any:
        """The op's own, with no cotangent for what is not read."""
        dparams, dx, _, _ = op.backward(*op_cache_and_dy(cache, dy))
        return dparams, dx

    return hidden


def op_cache_and_dy(cache: Any, dy: Any) -> tuple[Any, Any]:
    """The cache of `hidden_states` and dy, as the op within has them."""
    inner, time = cache
    if time.value is not None:
        dy = jnp.zeros_like(dy, shape=(time.value, *dy.shape)).at[-1].set(dy)
    return inner, (dy, None)


@dataclasses.dataclass(frozen=True)
class _Recurrent(Layer):
    """What the recurrent layers share: x (time, n_in) -> the hidden states (time, n_hidden), or the last one."""

    n_hidden: int
    return_sequence: bool = True
    weight_x_init: Initializer = dataclasses.field(default=xavier, repr=False)
    weight_h_init: Initializer = dataclasses.field(default=orthogonal, repr=False)

    blocks = 1

    def __post_init__(self) -> None:
        expect(isinstance(self.n_hidden, int) and self.n_hidden > 0, self.name, "n_hidden, a positive integer",
               repr(self.n_hidden))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        x = to_shape(self, shape)
        expect(len(x.shape) == 2, self.name, "x of shape (time, n_in)", str(x.shape))
        params = recurrent_params(key, x.shape[1], self.n_hidden, self.blocks, self.weight_x_init, self.weight_h_init)
        return params, ()

    def recurrent_op(self) -> HandDerived:
        raise NotImplementedError

    def op(self, train: bool) -> Op:
        return hidden_states(self.recurrent_op(), self.return_sequence)


@dataclasses.dataclass(frozen=True)
class RNN(_Recurrent):
    """x (time, n_in) -> the hidden states (time, n_hidden) of `rnn` from zeros, or the last one alone, (n_hidden,)."""

    def recurrent_op(self) -> HandDerived:
        return rnn


@dataclasses.dataclass(frozen=True)
class GRU(_Recurrent):
    """x (time, n_in) -> the hidden states (time, n_hidden) of a GRU from zeros, or the last one alone, (n_hidden,).

    reset_after: `gru_reset_after`, as PyTorch and cuDNN have it, in place of `gru`.
    """

    reset_after: bool = False
    blocks = 3

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        params, state = super().init(key, shape)
        return params | ({"bias_h": jnp.zeros(self.n_hidden)} if self.reset_after else {}), state

    def recurrent_op(self) -> HandDerived:
        return gru_reset_after if self.reset_after else gru


@dataclasses.dataclass(frozen=True)
class LSTM(_Recurrent):
    """x (time, n_in) -> the hidden states (time, n_hidden) of `lstm`, or the last one alone, (n_hidden,).

    It starts from a hidden state and cell of zeros. The forget gate's bias starts at 1, so that the
    cell remembers until it learns to forget (Jozefowicz, Zaremba & Sutskever 2015).
    """

    blocks = 4

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        params, state = super().init(key, shape)
        n = self.n_hidden
        return params | {"bias": params["bias"].at[n:2 * n].set(1.0)}, state

    def recurrent_op(self) -> HandDerived:
        return lstm
