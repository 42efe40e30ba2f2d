"""The transformer (Vaswani et al. 2017): an encoder, a decoder, and both, with norms behind or before their parts.

    encoder     tokens (T,) -> (T, n_dim)
    decoder     {"tokens": (T,), "memory": (S, n_dim)} -> (T, n_dim)
    both        {"source": (S,), "target": (T,)} -> logits (T, n_rows)

Tokens become rows of a table times √n_dim, to which sines and cosines of their places are added.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import at, expect, expect_integers, expect_key, is_integer, is_number
from jaxnn.layers import Dense, Dropout, Embedding, Layer, LayerNorm
from jaxnn.layers.attention import TransformerBlock, dense_over_time, parts_of
from jaxnn.layers.layer import shape_of
from jaxnn.ops.activation import relu
from jaxnn.ops.embedding import embedding
from jaxnn.ops.positions import sinusoidal_positions

__all__ = ["Stack", "Transformer", "course_transformer", "decoder", "encoder", "transformer"]


@dataclasses.dataclass(frozen=True)
class Stack(Layer):
    """Tokens, integers (T,), or a mapping {"tokens", "memory", "mask", "length", "memory_mask", "memory_length"}, ->
    (T, n_dim): embedding times √n_dim plus positions, dropout, and blocks, with a norm at the end where the blocks have
    theirs in front. The mapping's other entries are those of TransformerBlock. Made by `encoder` and `decoder`.

    n_rows, n_dim: of the table of tokens.
    n_layers: how many blocks.
    block: one of them.
    rate: the fraction of the sum of embedding and positions that is dropped in training.
    """

    n_rows: int
    n_dim: int
    n_layers: int
    block: TransformerBlock
    rate: float = 0.0
    input_dtype = jnp.int32

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_dim", "n_layers"):
            n = getattr(self, name)
            expect(is_integer(n, 1), "Stack", f"{name}, a positive integer", repr(n))
        expect(is_number(self.rate, 0) and self.rate < 1, "Stack", "rate, the fraction dropped, in [0, 1)",
               repr(self.rate))

    @property
    def random(self) -> bool:
        return self.rate > 0 or self.block.random

    @property
    def _norm(self) -> LayerNorm | None:
        return LayerNorm(self.block.eps) if self.block.pre_norm else None

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shapes = self._parts_of(shape_of(self, shape))
        tokens, memory = shapes["tokens"], shapes["memory"]
        expect(len(tokens.shape) == 1, self.name, "tokens of shape (T,)", str(tokens.shape), "leave the batch axis out")
        expect_key(self.name, key)
        own, *keys = jax.random.split(key, 1 + self.n_layers)
        x = jax.ShapeDtypeStruct((*tokens.shape, self.n_dim), jnp.float32)
        memory = {} if memory is None else {"memory": jax.ShapeDtypeStruct(memory.shape, jnp.float32)}
        params: dict[str, Any] = {"embedding": Embedding(self.n_rows, self.n_dim).init(own, tokens)[0]}
        params |= {f"block{n + 1}": self.block.init(k, {"x": x, **memory})[0] for n, k in enumerate(keys)}
        return params | ({} if self._norm is None else {"norm": self._norm.init(None, x)[0]}), {}

    def apply(self, params, state, x, key, *, train):
        given = self._parts_of(x)
        tokens = given.pop("tokens")
        expect_integers(self.name, "tokens", tokens)
        expect(jnp.ndim(tokens) == 1, self.name, "tokens of shape (T,)", str(jnp.shape(tokens)),
               "for a batch use over_examples around the layer")
        keys: list[Any] = [None] * (1 + self.n_layers)
        if train and self.random:
            expect_key(self.name, key)
            keys = list(jax.random.split(key, 1 + self.n_layers))
        x = embedding(params["embedding"], tokens) * self.n_dim**0.5
        x = x + sinusoidal_positions(x.shape[0], self.n_dim).astype(x.dtype)
        x, _ = Dropout(self.rate)({}, {}, x, keys[0], train=train)
        surroundings = {name: a for name, a in given.items() if a is not None}
        for n in range(self.n_layers):
            name = f"block{n + 1}"
            with at(name):
                x, _ = self.block(params[name], {}, {"x": x, **surroundings}, keys[n + 1], train=train)
        return x if self._norm is None else self._norm(params["norm"], {}, x)[0], state

    def _parts_of(self, x: Any) -> dict[str, Any]:
        return parts_of(self, x, "tokens", "memory", "mask", "length", "memory_mask", "memory_length")


def encoder(n_rows: int, n_dim: int, n_layers: int, n_heads: int, n_hidden: int, *, rate: float = 0.0,
            **choices: Any) -> Stack:
    """A stack whose places see all places.

    Args:
      n_rows, n_dim, n_layers, n_heads, n_hidden: sizes; n_hidden of the feed-forward networks.
      rate: the fraction dropped of the input, and of each part's output.
      choices: of TransformerBlock: pre_norm, activation, eps, d_head ..., and rates of its own in place of `rate`.
    """
    outputs: dict[str, Any] = {"rate_attention": rate, "rate_output": rate}
    return Stack(n_rows, n_dim, n_layers, TransformerBlock(n_heads, n_hidden, **{**outputs, **choices}), rate)


def decoder(n_rows: int, n_dim: int, n_layers: int, n_heads: int, n_hidden: int, *, rate: float = 0.0,
            cross: bool = True, **choices: Any) -> Stack:
    """A stack whose places see those up to their own, and with `cross` a memory. The arguments: as of `encoder`."""
    return encoder(n_rows, n_dim, n_layers, n_heads, n_hidden, rate=rate, causal=True, cross=cross, **choices)


@dataclasses.dataclass(frozen=True)
class Transformer(Layer):
    """{"source": (S,), "target": (T,)} -> logits (T, target rows) of the token behind each place of the target.

    The mapping may have "source_length" and "target_length", how many tokens there are before the padding; and
    "memory_mask" (T, S) of bool, True where a target's place may see a source's, in place of the source's length.

    encoder, decoder: of the functions of these names; the decoder with a memory.
    """

    encoder: Stack
    decoder: Stack
    input_dtype = jnp.int32

    def __post_init__(self) -> None:
        for name in ("encoder", "decoder"):
            expect(isinstance(getattr(self, name), Stack), "Transformer", f"{name}, a Stack",
                   type(getattr(self, name)).__name__)
        expect(self.decoder.block.cross, "Transformer", "a decoder with a memory", "cross=False")

    @property
    def random(self) -> bool:
        return self.encoder.random or self.decoder.random

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shapes = self._parts_of(shape_of(self, shape))
        keys = jax.random.split(key, 3)
        memory = jax.ShapeDtypeStruct((*shapes["source"].shape, self.encoder.n_dim), jnp.float32)
        return {"encoder": self.encoder.init(keys[0], shapes["source"])[0],
                "decoder": self.decoder.init(keys[1], {"tokens": shapes["target"], "memory": memory})[0],
                "logits": Dense(self.decoder.n_rows).init(keys[2], (self.decoder.n_dim,))[0]}, {}

    def apply(self, params, state, x, key, *, train):
        given = self._parts_of(x)
        keys: Any = [None, None]
        if train and self.random:
            expect_key(self.name, key)
            keys = jax.random.split(key)

        def present(**entries: Any) -> dict[str, Any]:
            return {name: a for name, a in entries.items() if a is not None}

        with at("encoder"):
            memory, _ = self.encoder(params["encoder"], {}, present(
                tokens=given["source"], length=given["source_length"]), keys[0], train=train)
        length = given["source_length"] if given["memory_mask"] is None else None
        with at("decoder"):
            y, _ = self.decoder(params["decoder"], {}, present(
                tokens=given["target"], length=given["target_length"], memory=memory, memory_length=length,
                memory_mask=given["memory_mask"]), keys[1], train=train)
        return dense_over_time(params["logits"], y), state

    def _parts_of(self, x: Any) -> dict[str, Any]:
        parts = parts_of(self, x, "source", "target", "source_length", "target_length", "memory_mask")
        expect(parts["target"] is not None, self.name, 'a mapping {"source": ..., "target": ...}', "no target")
        return parts


def transformer(source_rows: int, target_rows: int, n_dim: int = 512, n_layers: int = 6, n_heads: int = 8,
                n_hidden: int = 2048, *, rate: float = 0.1, pre_norm: bool = False, activation: Callable = relu,
                **choices: Any) -> Transformer:
    """The base model of the paper: six layers each way, post-norm, dropout of each part's output."""
    choices |= {"rate": rate, "pre_norm": pre_norm, "activation": activation}
    sizes = n_dim, n_layers, n_heads, n_hidden
    return Transformer(encoder(source_rows, *sizes, **choices), decoder(target_rows, *sizes, **choices))


def course_transformer(source_rows: int, target_rows: int, n_dim: int, n_layers: int, n_heads: int, n_hidden: int, *,
                       rate: float = 0.1) -> Transformer:
    """The course's (course 5 week 4): each head is as wide as the model, so that scores are scaled by 1 / √n_dim; norms
    stand behind, with eps 1e-6; dropped are the input, the attention's weights and the feed-forward network's output.

    The course ends with a softmax, of which these are the logits. The course masks the source by the padding of the
    target: pass that as "memory_mask" for its numbers.
    """
    choices: dict[str, Any] = {"d_head": n_dim, "eps": 1e-6, "pre_norm": False, "rate": rate, "rate_weights": rate,
               "rate_attention": 0.0}
    sizes = n_dim, n_layers, n_heads, n_hidden
    return Transformer(encoder(source_rows, *sizes, **choices), decoder(target_rows, *sizes, **choices))
