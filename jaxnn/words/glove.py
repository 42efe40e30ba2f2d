"""GloVe: word vectors whose inner products are the logarithms of how often words stand together.

    J = Σ_ij f(X_ij) (w_i·v_j + b_i + c_j - log X_ij)²        f(X) = min(1, X / x_max)^α

X_ij counts how often word j is within the window of word i, a word at distance k counted as 1/k. Pairs that never
stand together have no term, so the time of an epoch goes by the number of different pairs, not by the length of the
corpus. A word's vector is w + v, as J is symmetric in the two.
Source: Pennington, Socher & Manning (2014).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.ops import embedding, squared_error
from jaxnn.training import by_rows, make_step, row_adagrad, start_from
from jaxnn.words.corpus import Corpus
from jaxnn.words.vectors import WordVectors

__all__ = ["Cooccurrences", "cooccurrences", "fit_glove", "weight_of"]


class Cooccurrences(NamedTuple):
    """The entries of X that are not 0, in the order of rows, then columns."""

    words: tuple[str, ...]
    rows: np.ndarray
    """(n,) int32, i."""
    columns: np.ndarray
    """(n,) int32, j."""
    values: np.ndarray
    """(n,) float32, X_ij."""


def cooccurrences(corpus: Corpus, *, window: int = 10) -> Cooccurrences:
    """How often each two words stand together: X_ij = Σ 1/k over all places where j is k words beside i, k <= window,
    in the same sentence, before or after.

    >>> from jaxnn.words.corpus import encode_corpus
    >>> counted = cooccurrences(encode_corpus(["a b a"], min_count=1), window=2)
    >>> [(int(i), int(j), float(x)) for i, j, x in zip(counted.rows, counted.columns, counted.values)]
    [(0, 0, 1.0), (0, 1, 2.0), (1, 0, 2.0)]
    """
    who = "cooccurrences"
    expect(isinstance(corpus, Corpus), who, "a corpus, made by encode_corpus", type(corpus).__name__)
    expect(is_integer(window, 1), who, "window, a positive integer", repr(window))
    n_words = len(corpus.words)
    starts = np.concatenate([[0], corpus.ends[:-1]])
    sentence = np.repeat(np.arange(len(starts)), corpus.ends - starts)
    tokens = corpus.tokens.astype(np.int64)
    keys, sums = np.zeros(0, np.int64), np.zeros(0)
    for k in range(1, window + 1):
        together = sentence[k:] == sentence[:-k]
        before, after = tokens[:-k][together], tokens[k:][together]
        found, counts = np.unique(before * n_words + after, return_counts=True)
        keys, sums = _merged(np.concatenate([keys, found]), np.concatenate([sums, counts / k]))
    expect(len(keys) > 0, who, "a corpus with two words in one sentence", "none")
    mirrored = keys % n_words * n_words + keys // n_words
    keys, sums = _merged(np.concatenate([keys, mirrored]), np.concatenate([sums, sums]))
    return Cooccurrences(corpus.words, (keys // n_words).astype(np.int32), (keys % n_words).astype(np.int32),
                         sums.astype(np.float32))


def _merged(keys: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, with its sum."""
    order = np.argsort(keys, kind="stable")
    keys, sums = keys[order], sums[order]
    first = np.flatnonzero(np.concatenate([np.full(min(len(keys), 1), True), keys[1:] != keys[:-1]]))
    return keys[first], np.add.reduceat(sums, first) if len(first) else sums


def weight_of(values: Any, x_max: float = 100.0, alpha: float = 0.75) -> np.ndarray:
    """f(X) = min(1, X / x_max)^α, of the shape of X: how much a pair counts that stands together X times.

    Args:
      values: X, counts >= 0 of any shape.
      x_max: from which count on a pair has the whole weight, > 0.
      alpha: α.
    Source: Pennington, Socher & Manning (2014), equation 9.
    """
    weights: np.ndarray = np.minimum(1, np.asarray(values) / x_max) ** alpha
    return weights


def model(params: Any, state: Any, x: Any, key: Any = None, *, train: bool = False) -> tuple[Any, Any]:
    """w_i·v_j + b_i + c_j of one pair (i, j). The last number of a row is its bias."""
    w, v = embedding(params["word"], x[0]), embedding(params["context"], x[1])
    return w[:-1] @ v[:-1] + w[-1] + v[-1], state


def loss(prediction: Any, label: Any) -> Any:
    """f(X) (prediction - log X)²; label: (log X, f(X))."""
    return squared_error(prediction, label[0], label[1])


def fit_glove(counted: Cooccurrences, *, n_dim: int = 100, epochs: int = 15, learning_rate: float = 0.05,
              x_max: float = 100.0, alpha: float = 0.75, batch_size: int = 4096, seed: int = 0,
              report: Callable[[int, float, Callable[[], WordVectors]], Any] | None = None) -> WordVectors:
    """GloVe's vectors w + v, by Adagrad on the rows of a batch of pairs, each epoch in another order; bitwise the same
    for the same arguments on the same machine.

    Args:
      counted: of a corpus, as `cooccurrences` makes it.
      n_dim: numbers in a vector.
      learning_rate: Adagrad's, whose sums of squares begin at 1. Those are squares of a batch's sums, which grow faster
        than the paper's, of single pairs: with batches of thousands take more than the paper's .05, such as .3.
      x_max, alpha: of the weight f; a small corpus wants a small x_max.
      batch_size: pairs of a step. A row that is read several times in a step moves by the sum of its gradients.
      report: called after each epoch with its number from 0, the mean weighted loss of a pair, and a function that
        gives the vectors so far.
    Raises:
      InputError: an argument is not as above.
    """
    who = "fit_glove"
    expect(isinstance(counted, Cooccurrences), who, "counted, made by cooccurrences", type(counted).__name__)
    for name, value, least in (("n_dim", n_dim, 1), ("epochs", epochs, 1), ("batch_size", batch_size, 1),
                               ("seed", seed, 0)):
        expect(is_integer(value, least), who, f"{name}, an integer >= {least}", repr(value))
    for name, number in (("learning_rate", learning_rate), ("x_max", x_max), ("alpha", alpha)):
        expect(is_number(number, 0) and (number > 0 or name != "x_max"), who, f"{name}, a number >= 0", repr(number))
    n_words, n = len(counted.words), len(counted.values)
    batch_size = min(batch_size, n)
    rng = np.random.default_rng(seed)
    params = {name: {"table": jnp.asarray((rng.random((n_words, n_dim + 1), np.float32) - 0.5) / n_dim)}
              for name in ("word", "context")}
    # The cost is a mean over the batch; its weights make a row's gradient the sum that Adagrad's squares are of.
    labels = np.stack([np.log(counted.values), batch_size * weight_of(counted.values, x_max, alpha)], axis=1)
    labels = labels.astype(np.float32)
    optimizer = by_rows(optax.sgd(0.0), row_adagrad(learning_rate, initial=1.0, eps=0.0), True)
    step = make_step(model, loss, optimizer)
    train_state = start_from(params, {}, optimizer, jax.random.key(seed))

    def vectors() -> WordVectors:
        w, v = (np.asarray(train_state.params[name]["table"])[:, :-1] for name in ("word", "context"))
        return WordVectors(counted.words, w + v)

    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(n)
        costs = []
        for first in range(0, n, batch_size):
            # The last batch is filled up with pairs of the weight 0, so that every step has one shape.
            chosen = order[np.minimum(np.arange(first, first + batch_size), n - 1)]
            label = labels[chosen]
            label[n - first:, 1] = 0
            train_state, info = step(train_state, (counted.rows[chosen], counted.columns[chosen]),
                                     (label[:, 0], label[:, 1]))
            costs.append(info.cost)
        if report is not None:
            report(epoch, float(np.sum(np.asarray(jnp.stack(costs), np.float64))) / n, vectors)
    return vectors()
