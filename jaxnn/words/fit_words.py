"""Training of word vectors by skip-gram or CBOW."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.training import by_rows, make_step, row_sgd, start_from
from jaxnn.training.rows import row_clip
from jaxnn.words.chunks import Epochs, pairs_of
from jaxnn.words.corpus import Corpus
from jaxnn.words.objectives import WordModel, initial_tables
from jaxnn.words.parts import Parts
from jaxnn.words.tree import huffman_tree
from jaxnn.words.vectors import WordVectors

__all__ = ["EpochNote", "fit_words"]

LEAST_RATE = 1e-2  # of the rate at first; word2vec ends at 1e-4 where it begins at .025


class EpochNote(NamedTuple):
    """What an epoch was."""

    epoch: int
    """From 0."""
    loss: float
    """Nats for each pair; for CBOW for each centre."""
    words: int
    """Of the corpus, those that were left out by chance among them."""
    pairs: int
    cpu_seconds: float
    """Of this process, all its threads."""
    seconds: float


def fit_words(corpus: Corpus, *, kind: str = "skip-gram", output: str = "negative sampling", n_dim: int = 100,
              window: int = 5, negatives: float = 5, sample: float = 1e-3, epochs: int = 5,
              learning_rate: float | None = None, parts: Parts | None = None, n_centres: int = 32,
              n_negatives: int = 32, batch_size: int = 128, longest_step: float = 1.0, seed: int = 0,
              initial: WordVectors | None = None,
              report: Callable[[EpochNote, Callable[[], WordVectors]], Any] | None = None) -> WordVectors:
    """Word vectors of a corpus, bitwise the same for the same arguments on the same machine.

    One step reads batch_size n_centres words of the corpus with their windows, gathers their rows once, and moves each
    row by the sum, not the mean, of the gradients of all its places. That is what one step for each word does, but for
    one thing: within a step all rows are as they were before the step. The rate falls linearly to a hundredth.

    Args:
      corpus: as `encode_corpus` makes it.
      kind: "skip-gram" or "cbow".
      output: "negative sampling" or "hierarchical softmax".
      n_dim: numbers in a vector.
      window: words at each side at most; each centre draws its own between 1 and this.
      negatives: samples that stand against a pair.
      sample: as in `keep_probabilities`; 0 keeps every word.
      epochs: how often the corpus is read.
      learning_rate: at first; None for .025 of skip-gram and .05 of CBOW.
      parts: character n-grams (`character_parts`), of which an input vector is the mean; None for whole words.
      longest_step: no row moves farther than this in one step, at the first rate, and less as the rate falls. Without
        a limit a frequent word, which a large batch reads hundreds of times, overshoots, and the loss grows to inf.
      n_centres, n_negatives, batch_size: the words of a chunk, the samples they share, and the chunks of a step.
      initial: vectors to begin with, of every word of the corpus in any order; None draws them.
      report: called after each epoch with its EpochNote and a function that gives the vectors so far.
    Returns:
      the input vectors.
    Raises:
      InputError: an argument is not as above; `initial` has fewer words than the corpus.
    """
    who = "fit_words"
    expect(isinstance(corpus, Corpus), who, "a corpus, made by encode_corpus", type(corpus).__name__)
    for name, value, least in (("n_dim", n_dim, 1), ("epochs", epochs, 1)):
        expect(is_integer(value, least), who, f"{name}, an integer >= {least}", repr(value))
    expect(is_number(longest_step, 0) and longest_step > 0, who, "longest_step, a number > 0", repr(longest_step))
    expect(is_number(negatives, 0), who, "negatives, a number >= 0", repr(negatives))
    learning_rate = {"skip-gram": 0.025}.get(kind, 0.05) if learning_rate is None else learning_rate
    expect(is_number(learning_rate, 0), who, "learning_rate, a number >= 0", repr(learning_rate))
    model = WordModel(kind, output, window, negatives)
    is_tree = output == "hierarchical softmax"
    expect(is_tree or is_integer(n_negatives, 1), who, "n_negatives, a positive integer", repr(n_negatives))
    expect(initial is None or isinstance(initial, WordVectors), who, "initial, WordVectors or None",
           type(initial).__name__)
    batches = Epochs(corpus, window=window, n_centres=n_centres, n_negatives=0 if is_tree else n_negatives,
                     batch_size=batch_size, sample=sample, seed=seed)
    extras: dict[str, np.ndarray] = {}
    if is_tree:
        tree = huffman_tree(corpus.counts)
        extras |= {"nodes": tree.nodes, "signs": tree.signs}
    if parts is not None:
        expect(len(parts.rows) == len(corpus.words), who, f"parts of the corpus's {len(corpus.words)} words",
               f"of {len(parts.rows)}", "make them of corpus.words")
        extras |= {"parts": parts.rows, "shares": parts.shares}
    n_words = len(corpus.words)
    params = initial_tables(n_words if parts is None else parts.n_rows, n_words - 1 if is_tree else n_words, n_dim,
                            seed)
    if initial is not None:
        expect(parts is None, who, "initial vectors for whole words", "parts as well")
        params["input"]["table"] = jnp.asarray(initial.rows(corpus.words), jnp.float32)
        expect(params["input"]["table"].shape[1] == n_dim, who, f"initial vectors of {n_dim} numbers",
               str(initial.n_dim))
    steps = max(round(batches.steps * epochs), 1)
    # The cost is a mean over the chunks of a batch, and what moves a row is a sum.
    rate = optax.linear_schedule(learning_rate * batch_size, learning_rate * batch_size * LEAST_RATE, steps)
    longest = longest_step / (max(learning_rate, 1e-30) * batch_size)
    optimizer = by_rows(optax.sgd(0.0), row_clip(row_sgd(rate), longest), True)
    step = make_step(model, _loss_itself, optimizer)
    train_state = start_from(params, {}, optimizer, jax.random.key(seed))
    labels = np.zeros(batch_size, np.float32)

    def vectors() -> WordVectors:
        return _vectors(corpus, train_state.params, parts)

    for epoch in range(epochs):
        cpu, begin = time.process_time(), time.perf_counter()
        costs, pairs, centres = [], 0, 0
        for batch in batches.batches(epoch):
            x = batch._asdict() | {name: table[batch.tokens] for name, table in extras.items()}
            train_state, info = step(train_state, x, labels)
            costs.append(info.cost)
            pairs += pairs_of(batch)
            centres += int(np.count_nonzero(batch.left + batch.right))
        total = float(np.sum(np.asarray(jnp.stack(costs), np.float64))) * batch_size
        note = EpochNote(epoch, total / max(pairs if kind == "skip-gram" else centres, 1), len(corpus.tokens), pairs,
                         time.process_time() - cpu, time.perf_counter() - begin)
        if report is not None:
            report(note, vectors)
    return vectors()


def _loss_itself(loss: Any, label: Any) -> Any:
    return loss


def _vectors(corpus: Corpus, params: Any, parts: Parts | None) -> WordVectors:
    table = np.asarray(params["input"]["table"])
    return WordVectors(corpus.words, table.copy() if parts is None else parts.means(table))
