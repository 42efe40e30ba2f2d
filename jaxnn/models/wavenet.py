"""Causal convolutions with growing dilation and gates (WaveNet, van den Oord et al. 2016), over symbols.

    x              a row of a table for each symbol
    for each block with dilation d:
        z = tanh(F * x) σ(G * x)          * a causal convolution whose taps stand d apart
        s ← s + S z        x ← x + R z    R and S act at each place; s starts at 0
    logits = W_2 relu(W_1 relu(s) + b_1) + b_2

The logits at place t depend on the last `field` = 1 + Σ_d (window - 1) d symbols up to t alone. The table stands for
the paper's first convolution, which reads one-hot samples. A symbol may be a sample of sound in 256 classes, or a
character.

Symbol by symbol, as the decoders of `jaxnn.decoding` have it, each block remembers the last (window - 1) d rows of its
input, and a step costs the same however long the past is (Paine et al. 2016):

    sequence = sample(functools.partial(net.step, params), net.start(params), first, key, max_length=100)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import at, expect, expect_integers, expect_key, expect_shape, is_integer
from jaxnn.initializers import random_normal
from jaxnn.layers import Conv, Dense, Embedding, Layer
from jaxnn.layers.attention import dense_over_time
from jaxnn.layers.layer import shape_of
from jaxnn.ops.activation import relu, sigmoid, tanh
from jaxnn.ops.conv import conv
from jaxnn.ops.embedding import embedding

__all__ = ["WaveNet", "wavenet"]


def wavenet(symbols: int, n_dim: int = 64, n_skip: int = 128, *, dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
            window: int = 2) -> "WaveNet":
    """The paper's generator of sound repeats dilations 1, 2, 4 ... 512 with windows of 2.

    Args:
      symbols: how many there are.
      n_dim: channels of each block.
      n_skip: channels of the sum over the blocks.
      dilations: of the blocks, the first one next to the symbols.
      window: taps of each convolution.
    """
    return WaveNet(symbols, n_dim, n_skip, dilations, window)


@dataclasses.dataclass(frozen=True)
class WaveNet(Layer):
    """Symbols, integers (T,), -> logits (T, symbols) of the symbol behind each place. The fields: as of `wavenet`."""

    symbols: int
    n_dim: int
    n_skip: int
    dilations: tuple[int, ...]
    window: int
    input_dtype = jnp.int32
    random = False

    def __post_init__(self) -> None:
        for name in ("symbols", "n_dim", "n_skip"):
            n = getattr(self, name)
            expect(is_integer(n, 1), "WaveNet", f"{name}, a positive integer", repr(n))
        expect(is_integer(self.window, 2), "WaveNet", "window, an integer >= 2", repr(self.window),
               "a window of 1 sees the last symbol alone" if self.window == 1 else "")
        is_dilations = isinstance(self.dilations, tuple) and bool(self.dilations) and all(
            is_integer(d, 1) for d in self.dilations)
        expect(is_dilations, "WaveNet", "dilations, a tuple of positive integers", repr(self.dilations))

    @property
    def field(self) -> int:
        """How many symbols the logits of one place depend on."""
        return 1 + sum((self.window - 1) * d for d in self.dilations)

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        symbols = shape_of(self, shape, tree=False)
        expect(len(symbols.shape) == 1, self.name, "symbols of shape (T,)", str(symbols.shape),
               "leave the batch axis out")
        expect_key(self.name, key)
        of_table, of_hidden, of_logits, *keys = jax.random.split(key, 3 + len(self.dilations))
        params: dict[str, Any] = {
            "embedding": Embedding(self.symbols, self.n_dim, random_normal(1.0)).init(of_table, symbols)[0]}
        for n, k in enumerate(keys):
            of_gates, of_skip, of_residual = jax.random.split(k, 3)
            block = {"gates": Conv(2 * self.n_dim, (self.window,)).init(of_gates, (*symbols.shape, self.n_dim))[0],
                     "skip": Dense(self.n_skip).init(of_skip, (self.n_dim,))[0]}
            if n + 1 < len(keys):  # nothing reads the x behind the last block
                block["residual"] = Dense(self.n_dim).init(of_residual, (self.n_dim,))[0]
            params[f"block{n + 1}"] = block
        params["hidden"] = Dense(self.n_skip).init(of_hidden, (self.n_skip,))[0]
        return params | {"logits": Dense(self.symbols).init(of_logits, (self.n_skip,))[0]}, {}

    def apply(self, params, state, x, key, *, train):
        expect_integers(self.name, "x", x)
        expect_shape(self.name, "x", x, ("T",), "for a batch use over_examples around the layer")
        expect(x.shape[0] > 0, self.name, "at least one symbol", "none")
        h, s = embedding(params["embedding"], x), 0
        for n, d in enumerate(self.dilations, 1):
            with at(f"block{n}"):
                gates = conv(params[f"block{n}"]["gates"], h, padding="CAUSAL", dilation=d)
                h, s = self._passed_on(params[f"block{n}"], gates, h, s)
        return self._logits(params, s), state

    def start(self, params: Any) -> tuple[Any, ...]:
        """The carry of `step` before the first symbol: for each block the last (window - 1) d rows of its input, zeros
        as the convolution has them before the first."""
        dtype = params["embedding"]["table"].dtype
        return tuple(jnp.zeros(((self.window - 1) * d, self.n_dim), dtype) for d in self.dilations)

    def step(self, params: Any, carry: tuple[Any, ...], symbol: Any) -> tuple[tuple[Any, ...], Any]:
        """(carry, logits (symbols,)) of the symbol behind `symbol`, an integer ()."""
        expect_integers(self.name, "symbol", symbol)
        expect_shape(self.name, "symbol", symbol, (), "for a batch use jax.vmap")
        expect(len(carry) == len(self.dilations), self.name, f"a carry of {len(self.dilations)} arrays",
               str(len(carry)), "make the first one with start")
        h, s, moved = embedding(params["embedding"], symbol)[None], 0, []
        for n, (d, past) in enumerate(zip(self.dilations, carry, strict=True), 1):
            rows = jnp.concatenate([past, h])
            moved.append(rows[1:])
            gates = conv(params[f"block{n}"]["gates"], rows, padding="VALID", dilation=d)
            h, s = self._passed_on(params[f"block{n}"], gates, h, s)
        return tuple(moved), self._logits(params, s)[0]

    def _passed_on(self, block: Any, gates: Any, h: Any, s: Any) -> tuple[Any, Any]:
        """(x, s) behind a block."""
        f, g = jnp.split(gates, 2, axis=-1)
        z = tanh(f) * sigmoid(g)
        s = s + dense_over_time(block["skip"], z)
        return (h + dense_over_time(block["residual"], z) if "residual" in block else h), s

    def _logits(self, params: Any, s: Any) -> Any:
        return dense_over_time(params["logits"], relu(dense_over_time(params["hidden"], relu(s))))
