"""What word vectors are trained on: skip-gram and continuous bags of words, each with one of two outputs.

    skip-gram       a word foretells the words in its window:          h_i = u_i,  targets: all j in window(i)
    CBOW            the mean of the window foretells the word:         h_i = Σ_j u_j / |window(i)|,  target: i itself

    negative sampling       L = Σ softplus(-h·v_j) + Σ_k softplus(h·v_k)    k drawn from the noise distribution
    hierarchical softmax    L = Σ_n softplus(-s_n h·v_n)    over the nodes n on the path to word j, s_n = ±1 for the
                            way taken there; the product of the σ(s_n h·v_n) is the probability of j

    u_i     the word's row of the input table; with character n-grams the mean of that row and of its n-grams' rows
    v_j     a row of the output table: of a word, or of an inner node of the tree

The functions here are layers of one example, a chunk of a corpus (`jaxnn.words.chunks`): their output is the chunk's
loss, in nats, summed over its pairs. Rows are read by `embedding`, so that `by_rows` moves only these. Here a loss is
the sum of softplus by its own rule, and what is between is matrix products.
Source: Mikolov et al. (2013a, 2013b); Morin & Bengio (2005); Bojanowski et al. (2017).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect
from jaxnn.ops import embedding, softplus

__all__ = ["INPUTS", "OUTPUTS", "WordModel", "window_mask"]

INPUTS = ("skip-gram", "cbow")
OUTPUTS = ("negative sampling", "hierarchical softmax")


def window_mask(left: Any, right: Any, window: int) -> jax.Array:
    """(n_centres, n_centres + 2 window): 1 where place j of the chunk is in the window of centre i, which itself is at
    place i + window and is not in that window.

    >>> window_mask(jnp.array([0, 1]), jnp.array([1, 1]), 1).tolist()
    [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    """
    n = left.shape[0]
    distance = jnp.arange(n + 2 * window)[None] - window - jnp.arange(n)[:, None]
    return ((distance >= -left[:, None]) & (distance <= right[:, None]) & (distance != 0)).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class WordModel:
    """A layer: (params, state, x, key, train=...) -> (the loss of a chunk, state).

    params: {"input": {"table": (n_rows, n_dim)}, "output": {"table": (n_words or n_words - 1 nodes, n_dim)}}.
    x: a dictionary of one chunk: tokens, left, right, and
      for negative sampling       negatives (n_negatives,)
      for hierarchical softmax    nodes and signs (window + n_centres + window, depth), of each word's path; a sign of
                                  0 is beyond the path
      for character n-grams       parts and shares (window + n_centres + window, n_parts): the rows that are a word's
                                  parts, and the share of each in the mean; 0 beyond them.
    """

    kind: str = "skip-gram"
    output: str = "negative sampling"
    window: int = 5
    negatives: float = 5
    """How many samples a pair is worth, whatever number a chunk shares."""

    def __post_init__(self) -> None:
        for name, value, among in (("kind", self.kind, INPUTS), ("output", self.output, OUTPUTS)):
            expect(value in among, "WordModel", f"{name}, one of {', '.join(among)}", repr(value))

    def __call__(self, params: Any, state: Any, x: Any, key: Any = None, *, train: bool = False) -> tuple[Any, Any]:
        mask = window_mask(x["left"], x["right"], self.window)
        count = (x["left"] + x["right"]).astype(jnp.float32)
        n, centres = mask.shape[0], slice(self.window, self.window + mask.shape[0])
        if self.kind == "skip-gram":
            hidden, targets = self._inputs(params, x, centres), slice(None)
        else:
            hidden = (mask / jnp.maximum(count, 1)[:, None]) @ self._inputs(params, x, slice(None))
            # A centre without a window has no mean, and is not foretold.
            targets, mask = centres, jnp.eye(n) * (count > 0)[:, None]
        of = self._by_negatives if self.output == "negative sampling" else self._by_tree
        return of(params, x, hidden, mask, targets), state

    def _inputs(self, params: Any, x: Any, places: slice) -> Any:
        """u of the words at these places, (n, n_dim)."""
        if "parts" not in x:
            return embedding(params["input"], x["tokens"][places])
        rows = embedding(params["input"], x["parts"][places])
        return jnp.einsum("ng,ngd->nd", x["shares"][places], rows)

    def _by_negatives(self, params: Any, x: Any, hidden: Any, mask: Any, targets: slice) -> Any:
        """A sample that is the target itself is left out, as if it had not been drawn."""
        words, drawn = x["tokens"][targets], x["negatives"]
        scores = hidden @ embedding(params["output"], jnp.concatenate([words, drawn])).T
        positive, negative = scores[:, :len(words)], scores[:, len(words):]
        others = mask @ (words[:, None] != drawn[None]).astype(jnp.float32)
        weights = jax.lax.stop_gradient(self.negatives / len(drawn) * others)
        return jnp.sum(mask * softplus(-positive)) + jnp.sum(weights * softplus(negative))

    def _by_tree(self, params: Any, x: Any, hidden: Any, mask: Any, targets: slice) -> Any:
        nodes, signs = x["nodes"][targets], x["signs"][targets].astype(jnp.float32)
        rows = embedding(params["output"], nodes.reshape(-1))
        scores = (hidden @ rows.T).reshape(hidden.shape[0], *nodes.shape)
        losses = softplus(-signs * scores) * jnp.abs(signs)
        return jnp.einsum("ij,ijl->", mask, losses)


def initial_tables(n_inputs: int, n_outputs: int, n_dim: int, seed: int) -> dict[str, Any]:
    """As word2vec begins: inputs even in ±1 / 2 n_dim, outputs 0, so that at first every probability is 1/2."""
    rng = np.random.default_rng((seed, 2**31))
    drawn = (rng.random((n_inputs, n_dim), np.float32) - 0.5) / n_dim
    return {"input": {"table": jnp.asarray(drawn)}, "output": {"table": jnp.zeros((n_outputs, n_dim))}}
