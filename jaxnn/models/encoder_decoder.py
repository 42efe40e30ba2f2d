"""Translation by a recurrent encoder and a recurrent decoder with additive attention (Bahdanau, Cho & Bengio 2015).

    m_j            what an LSTM in both directions knows at place j of the source        (S, 2 n_encoder)
    h_0            tanh(W m'), m' the state of the reversed direction at place 0
    P_i, a_i       additive attention of h_{i-1} to all m_j: its weights, and their mean of the m_j
    h_i            LSTM of [row of token i, a_i]
    logits_i       W [h_i, a_i] + b, of the token behind token i

    net = encoder_decoder(n_human, n_machine)
    params, state = net.init(jax.random.key(0), {"source": (S,), "target": (T,)})
    logits, _ = over_examples(net)(params, state, {"source": ..., "source_length": ..., "target": ...})

and token by token, as the decoders of `jaxnn.decoding` have it:

    memory, carry = net.start(params, source, length)
    sequence = greedy(functools.partial(net.step, params, memory), carry, start, max_length=10)
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import at, expect, expect_integers, expect_key, expect_shape, is_integer
from jaxnn.initializers import random_normal, xavier, zeros
from jaxnn.layers import LSTM, Dense, Embedding, Layer
from jaxnn.layers.attention import parts_of
from jaxnn.layers.layer import shape_of
from jaxnn.ops.activation import tanh
from jaxnn.ops.alignment import additive_attention
from jaxnn.ops.dense import dense
from jaxnn.ops.embedding import embedding
from jaxnn.ops.masks import length_mask
from jaxnn.ops.recurrent import lstm
from jaxnn.ops.stacks import bidirectional

__all__ = ["EncoderDecoder", "Memory", "encoder_decoder"]


class Memory(NamedTuple):
    """What the decoder attends to: m (S, 2 n_encoder), and which places are no padding, (S,) of bool, or None."""

    m: jax.Array
    mask: jax.Array | None


def encoder_decoder(source_rows: int, target_rows: int, n_encoder: int = 32, n_decoder: int = 64, *,
                    n_embedding: int = 32, n_attention: int = 32) -> "EncoderDecoder":
    """Sized for short texts of characters: dates, names, numbers in words.

    Args:
      source_rows, target_rows: how many tokens each language has.
      n_encoder: units of each of the encoder's two directions.
      n_decoder: units of the decoder.
      n_embedding: numbers that stand for a token, on both sides.
      n_attention: hidden units of the attention.
    """
    return EncoderDecoder(source_rows, target_rows, n_encoder, n_decoder, n_embedding, n_attention)


@dataclasses.dataclass(frozen=True)
class EncoderDecoder(Layer):
    """{"source": (S,), "target": (T,)} -> logits (T, target_rows) of the token behind each place of the target: in
    training the decoder reads the right tokens, a start token first. The mapping may have "source_length", how many
    tokens of the source there are before the padding.

    source_rows, target_rows, n_encoder, n_decoder, n_embedding, n_attention: as of `encoder_decoder`.
    """

    source_rows: int
    target_rows: int
    n_encoder: int
    n_decoder: int
    n_embedding: int
    n_attention: int
    input_dtype = jnp.int32
    random = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            n = getattr(self, field.name)
            expect(is_integer(n, 1), "EncoderDecoder", f"{field.name}, a positive integer", repr(n))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shapes = self._parts_of(shape_of(self, shape))
        for name in ("source", "target"):
            expect(len(shapes[name].shape) == 1, self.name, f"{name} of shape (time,)", str(shapes[name].shape),
                   "leave the batch axis out")
        expect_key(self.name, key)
        of_source, of_target, of_encoder, of_start, of_decoder, of_attention, of_head = jax.random.split(key, 7)
        n_m = 2 * self.n_encoder
        # Of standard deviation 1: rows that start small give a recurrent network little to read.
        rows = {name: Embedding(n, self.n_embedding, random_normal(1.0)).init(k, shapes[name])[0]
                for name, n, k in (("source", self.source_rows, of_source), ("target", self.target_rows, of_target))}
        return {
            **rows,
            "encoder": self._encoder.init(of_encoder, (*shapes["source"].shape, self.n_embedding))[0],
            "start": Dense(self.n_decoder, xavier).init(of_start, (self.n_encoder,))[0],
            "attention": self._attention_params(of_attention, n_m),
            "decoder": LSTM(self.n_decoder).init(of_decoder, (*shapes["target"].shape, self.n_embedding + n_m))[0],
            "logits": Dense(self.target_rows, xavier).init(of_head, (self.n_decoder + n_m,))[0]}, {}

    def apply(self, params, state, x, key, *, train):
        return self.aligned(params, x)[0], state

    def aligned(self, params: Any, x: Any) -> tuple[Any, Any]:
        """(logits (T, target_rows), weights (T, S)): for each token of the target how much the decoder, to find the
        token behind, attends to each place of the source. x: as of the layer."""
        given = self._parts_of(x)
        target = given["target"]
        expect_integers(self.name, "target", target)
        expect_shape(self.name, "target", target, ("T",), "for a batch use over_examples around the layer")
        expect(target.shape[0] > 0, self.name, "a target of at least one token", "none", "begin with a start token")
        memory, carry = self.start(params, given["source"], given["source_length"])

        def advance(carry: Any, token: Any) -> Any:
            carry, logits, weights = self.step(params, memory, carry, token)
            return carry, (logits, weights)

        return jax.lax.scan(advance, carry, target)[1]

    def start(self, params: Any, source: Any, length: Any = None) -> tuple[Memory, Any]:
        """What `step` needs before the first token: (the Memory of the source, the carry (h, c)).

        Args:
          source: integers (S,).
          length: how many of them count, an integer (); None for all. Under `jit`, where its value is not known, one
            that is too large counts as S.
        """
        expect_integers(self.name, "source", source)
        expect_shape(self.name, "source", source, ("S",), "for a batch use jax.vmap" if jnp.ndim(source) > 1 else "")
        expect(source.shape[0] > 0, self.name, "a source of at least one token", "none")
        mask = None if length is None else length_mask(length, source.shape[0])
        with at("source"):
            rows = embedding(params["source"], source)
        with at("encoder"):
            m, (_, (reversed_h, _)) = bidirectional(lstm)(params["encoder"], rows, None, mask)
        h = tanh(dense(params["start"], reversed_h))
        return Memory(m, mask), (h, jnp.zeros_like(h))

    def step(self, params: Any, memory: Memory, carry: Any, token: Any) -> tuple[Any, Any, Any]:
        """(carry, logits (target_rows,), weights (S,)) of the token behind `token`, an integer ()."""
        expect_integers(self.name, "token", token)
        expect_shape(self.name, "token", token, (), "for a batch use jax.vmap")
        with at("target"):
            row = embedding(params["target"], token)
        a, weights = additive_attention(params["attention"], carry[0][None], memory.m, memory.m, memory.mask)
        x = jnp.concatenate([row, a[0]])
        h, carry = lstm(params["decoder"], x[None], carry)
        return carry, dense(params["logits"], jnp.concatenate([h[0], a[0]])), weights[0]

    @property
    def _encoder(self) -> LSTM:
        return LSTM(self.n_encoder, bidirectional=True)

    def _attention_params(self, key: Any, n_m: int) -> dict[str, Any]:
        of_q, of_k, of_score = jax.random.split(key, 3)
        return {"weight_q": Dense(self.n_attention, xavier, zeros, False).init(of_q, (self.n_decoder,))[0]["weight"],
                "weight_k": Dense(self.n_attention, xavier, zeros, False).init(of_k, (n_m,))[0]["weight"],
                "bias": jnp.zeros(self.n_attention),
                "score": xavier(of_score, (self.n_attention, 1))[:, 0]}

    def _parts_of(self, x: Any) -> dict[str, Any]:
        parts = parts_of(self, x, "source", "target", "source_length")
        expect(parts["target"] is not None, self.name, 'a mapping {"source": ..., "target": ...}', "no target")
        return parts
