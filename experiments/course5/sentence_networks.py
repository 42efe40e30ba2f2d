"""Networks that read a sentence and give its class: averaged vectors, an LSTM, a convolution over words.

    net = SentenceNetwork("convolution", n_words=10_000, classes=2)
    params, state = net.init(jax.random.key(0), ((n_time,), ()))
    logits, _ = net(params, state, (ids, length))

All three read rows (time, n_dim), the vectors of the words, and ignore what stands behind the length:

    averaged       h = Σ_t x_t / T
    lstm           h = Σ_t [h_t forward; h_t backward] / T
    convolution    h = max over t of relu(conv_w(x)_t), for windows of w = 3, 4, 5 words
    logits = W h + b, h with dropout in training

In training a word's vector is made 0 by chance, so that the word says nothing: few sentences have a rare word, and
without this the network learns these sentences by heart. Source: Iyyer et al. (2015); Kim (2014).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import LSTM, Conv, Dense, Layer, dropout, embedding, length_mask, relu
from jaxnn.checks import expect
from jaxnn.initializers import random_normal

__all__ = ["NETWORKS", "SentenceNetwork", "marks"]

NETWORKS = ("averaged", "lstm", "convolution")
WIDTHS = (3, 4, 5)


@dataclasses.dataclass(frozen=True)
class SentenceNetwork(Layer):
    """(ids (time,), length) -> logits (classes,); with n_words=0, (rows (time, n_dim), length) -> logits."""

    kind: str
    n_words: int
    classes: int
    n_dim: int = 50
    n_hidden: int = 64
    """Units of the LSTM in each direction, or channels of each window."""
    rate: float = 0.5
    """Fraction of h that is dropped."""
    word_rate: float = 0.3
    """Fraction of the words that is left out."""
    input_dtype = jnp.int32
    random = True

    def __post_init__(self) -> None:
        expect(self.kind in NETWORKS, "SentenceNetwork", f"kind, one of {', '.join(NETWORKS)}", repr(self.kind))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        ids, _ = shape
        n_time = ids.shape[0] if hasattr(ids, "shape") else ids[0]
        rows, keys = jax.ShapeDtypeStruct((n_time, self.n_dim), jnp.float32), jax.random.split(key, 6)
        params: dict[str, Any] = {}
        if self.n_words:
            params["embedding"] = {"table": random_normal(0.1)(keys[0], (self.n_words, self.n_dim), jnp.float32)}
        n_h = self.n_dim
        if self.kind == "lstm":
            params["recurrent"], _ = self._lstm.init(keys[1], rows)
            n_h = 2 * self.n_hidden
        elif self.kind == "convolution":
            wide = jax.ShapeDtypeStruct((n_time, 1, self.n_dim), jnp.float32)
            params |= {f"window{w}": self._conv(w).init(k, wide)[0]
                       for w, k in zip(WIDTHS, keys[2:5], strict=True)}
            n_h = len(WIDTHS) * self.n_hidden
        params["head"], _ = Dense(self.classes).init(keys[5], (n_h,))
        return params, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any, *, train: bool) -> tuple[Any, Any]:
        first, length = x
        rows = embedding(params["embedding"], first) if self.n_words else first
        return self.of_rows(params, rows, length, key, train=train), state

    def of_rows(self, params: Any, rows: Any, length: Any, key: Any = None, *, train: bool = False) -> Any:
        """The logits of a sentence of these vectors."""
        mask = length_mask(length, rows.shape[0])
        if train:
            word_key, key = jax.random.split(key)
            rows = rows * jax.random.bernoulli(word_key, 1 - self.word_rate, mask.shape)[:, None]
        rows = rows * mask[:, None]
        n = jnp.maximum(length, 1).astype(rows.dtype)
        if self.kind == "averaged":
            h = jnp.sum(rows, axis=0) / n
        elif self.kind == "lstm":
            states, _ = self._lstm(params["recurrent"], {}, (rows, mask))
            h = jnp.sum(states * mask[:, None], axis=0) / n
        else:
            # relu is at least 0, so that what is behind the sentence, made 0, is never above the maximum.
            found = [relu(self._conv(w)(params[f"window{w}"], {}, rows[:, None])[0])[:, 0] for w in WIDTHS]
            h = jnp.max(jnp.concatenate(found, axis=1) * mask[:, None], axis=0)
        if train:
            h = dropout(h, key, rate=self.rate)
        return Dense(self.classes)(params["head"], {}, h)[0]

    @property
    def _lstm(self) -> LSTM:
        return LSTM(self.n_hidden, bidirectional=True)

    def _conv(self, width: int) -> Conv:
        return Conv(self.n_hidden, (width, 1))


def marks(net: SentenceNetwork, params: Any, ids: Any, length: Any, classes: tuple[int, int]) -> jax.Array:
    """(time,): how much each word speaks for the second class against the first, its vector times the gradient of the
    difference of the two logits by that vector, Σ_d x_td ∂(z_b - z_a)/∂x_td.

    For averaged vectors their sum, with the bias, is the difference itself; for the others it is that to first order.
    """
    rows = embedding(params["embedding"], ids)

    def difference(rows: Any) -> Any:
        z = net.of_rows(params, rows, length)
        return z[classes[1]] - z[classes[0]]

    return jnp.sum(rows * jax.grad(difference)(rows), axis=1)
