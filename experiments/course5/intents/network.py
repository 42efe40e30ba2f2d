"""Two networks that read a sentence at once for its slots and its intent: a bidirectional LSTM, and a transformer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import (
    LSTM,
    Dense,
    Embedding,
    Layer,
    LayerNorm,
    TransformerBlock,
    dense,
    dropout,
    length_mask,
    softmax_cross_entropy,
)
from jaxnn.initializers import random_normal
from jaxnn.layers.attention import dense_over_time
from jaxnn.layers.layer import shape_of

__all__ = ["KINDS", "SentenceReader", "loss"]

KINDS = ("LSTM", "transformer")


@dataclasses.dataclass(frozen=True)
class SentenceReader(Layer):
    """x {"words", "prefixes", "suffixes": (time,), "lengths": ()} -> {"tags": (time, n_tags), "intent": (n_intents,)},
    logits.

    Word, beginning and end of it are three rows of tables, side by side; the body reads these; each state gives a tag,
    and the largest of each number over the sentence together the intent.

    kind: of the body, "LSTM" in both directions or "transformer".
    n_words, n_prefixes, n_suffixes, n_tags, n_intents: how many there are.
    width: numbers of a word's row, and twice half as many of its beginning and end; of the transformer's states twice
      this.
    hidden: units of each direction of the LSTM, and of the feed-forward layers of the transformer.
    rate: the fraction dropped in training.
    """

    kind: str
    n_words: int
    n_prefixes: int
    n_suffixes: int
    n_tags: int
    n_intents: int
    width: int
    hidden: int
    heads: int
    blocks: int
    rate: float
    input_dtype = jnp.int32

    @property
    def random(self) -> bool:
        return self.rate > 0

    @property
    def tables(self) -> dict[str, Embedding]:
        sizes = {"words": (self.n_words, self.width), "prefixes": (self.n_prefixes, self.width // 2),
                 "suffixes": (self.n_suffixes, self.width // 2)}
        return {name: Embedding(*size, random_normal(0.3)) for name, size in sizes.items()}

    @property
    def body(self) -> dict[str, Layer]:
        if self.kind == "LSTM":
            return {"lstm": LSTM(self.hidden, bidirectional=True)}
        # Rotations tell how far apart two words are: what a word is depends on its neighbours, not on its place.
        block = TransformerBlock(self.heads, self.hidden, rotary="halves", rate_attention=self.rate,
                                 rate_output=self.rate)
        return {**{f"block{i + 1}": block for i in range(self.blocks)}, "norm": LayerNorm()}

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        time = shape_of(self, shape)["words"].shape
        keys = iter(jax.random.split(key, 8 + self.blocks))
        width = self.width + 2 * (self.width // 2)
        states = 2 * self.hidden if self.kind == "LSTM" else width
        params = {name: table.init(next(keys), time)[0] for name, table in self.tables.items()}
        params |= {name: layer.init(next(keys), (*time, width))[0] for name, layer in self.body.items()}
        params |= {name: Dense(n).init(next(keys), (states,))[0]
                   for name, n in (("tags", self.n_tags), ("intent", self.n_intents))}
        return params, {}

    def apply(self, params, state, x, key, *, train):
        keys = iter(jax.random.split(key, 2 + self.blocks)) if train and self.random else None

        def dropped(a: Any) -> Any:
            return a if keys is None else dropout(a, next(keys), rate=self.rate)

        mask = length_mask(x["lengths"], x["words"].shape[0])
        rows = dropped(jnp.concatenate([table(params[name], {}, x[name])[0] for name, table in self.tables.items()], 1))
        if self.kind == "LSTM":
            h = self.body["lstm"](params["lstm"], {}, (rows, mask))[0]
        else:
            h = rows
            for name, layer in self.body.items():
                if name == "norm":
                    h = layer(params[name], {}, h)[0]
                else:
                    h = layer(params[name], {}, {"x": h, "length": x["lengths"]},
                              None if keys is None else next(keys), train=train)[0]
        h = dropped(h)
        largest = jnp.max(jnp.where(mask[:, None], h, -1e9), axis=0)
        return {"tags": dense_over_time(params["tags"], h), "intent": dense(params["intent"], largest)}, state


def loss(logits: Any, label: Any) -> Any:
    """The mean cross-entropy of the tags plus that of the intent, nats. label: (tags (time,), mask (time,), intent)."""
    tags, mask, intent = label
    of_tags = softmax_cross_entropy(logits["tags"], tags, mask) / jnp.maximum(jnp.sum(mask), 1)
    return of_tags + softmax_cross_entropy(logits["intent"], intent)
