"""A memory network that chooses responses: its batches, its training, what it gets right, and its files."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from experiments.course5.restaurants import (
    Examples,
    as_examples,
    encoded,
    entities_of,
    memory_of,
    most_words,
    rows_of,
    vocabulary_of,
)
from experiments.shared.run import percent, say, series
from jaxnn import log_softmax, softmax_cross_entropy
from jaxnn.checks import InputError
from jaxnn.data import RestaurantDialogs, Turn
from jaxnn.models import response_network
from jaxnn.text import WordVocabulary, load_vocabulary, pad
from jaxnn.training import BadCheckpoint, load, make_step, save, start

__all__ = ["BUCKETS", "Measures", "Responder", "Training", "batches_of", "measured", "responder_of", "train"]

BUCKETS = (8, 24, 48, 96, 192)  # facts of a batch: as many programs
AT_ONCE = 128  # turns that are answered side by side


class Measures(NamedTuple):
    """Fractions of the turns whose response is right, and of the dialogs in which all are."""

    responses: float
    dialogs: float


class Training(NamedTuple):
    """How a responder is trained.

    seconds: of processor time, after which no further epoch begins.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seconds: float
    seed: int


class Responder:
    """A response network with its words, its candidates and its params, None before training; notes are whatever else
    is to be kept with them in a file, as JSON has it."""

    def __init__(self, net: Any, params: Any, vocabulary: WordVocabulary, candidates: Sequence[str],
                 notes: dict[str, Any] | None = None):
        self.net, self.params, self.notes = net, params, notes or {}
        self.vocabulary, self.candidates = vocabulary, tuple(candidates)
        self._program = jax.jit(jax.vmap(self._one, (None, 0)))

    def log_probabilities(self, x: dict[str, Any], params: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """((n, candidates) nats, weights (n, hops, facts)) of a padded batch; params: in place of its own."""
        found = self._program(self.params if params is None else params, x)
        return np.asarray(found[0]), np.asarray(found[1])

    def chosen(self, examples: Examples, params: Any = None) -> np.ndarray:
        """(turns,): the candidate that the network chooses."""
        found = np.zeros(len(examples.labels), np.int32)
        for x, _, rows, n in batches_of(examples, AT_ONCE):
            found[rows[:n]] = self.log_probabilities(x, params)[0].argmax(-1)[:n]
        return found

    def respond(self, turns: Sequence[Turn], facts: Sequence[str], user: str) -> tuple[np.ndarray, np.ndarray]:
        """((candidates,) probabilities, weights (hops, facts)) of the next turn of a conversation.

        Raises:
          InputError: the conversation has more facts than the largest bucket.
        """
        memory = [encoded(text, self.vocabulary) for text in memory_of(turns, facts)]
        question = self.vocabulary.encode(user)
        n_words = max(map(len, [question, *memory]))
        texts = pad([[], *memory, question], max(1, 8 * -(-n_words // 8)))[0]  # few shapes, for few programs
        one = Examples(texts, [np.arange(1, len(texts) - 1)], np.array([len(texts) - 1]), np.zeros(1, np.int32),
                       np.zeros(1, np.int32))
        ((x, _, _, _),) = batches_of(one, 1)
        log_p, weights = self.log_probabilities(x)
        return np.exp(log_p[0]), weights[0, :, :len(memory)]

    def save(self, directory: Path) -> None:
        """Writes the params, the vocabulary, the notes and how the network is made."""
        directory.mkdir(parents=True, exist_ok=True)
        self.vocabulary.save(directory / "vocabulary.json")
        net = self.net
        save(directory / "params", 0, self.params, extra={
            "candidates": list(self.candidates), "n_embedding": net.n_embedding, "hops": net.hops, "notes": self.notes,
            "entities": None if net.entities is None else [list(row) for row in net.entities]})

    @classmethod
    def load(cls, directory: Path) -> "Responder":
        """Of what `save` has written.

        Raises:
          InputError: there is none, or the files are damaged.
        """
        try:
            vocabulary: Any = load_vocabulary(directory / "vocabulary.json")
            made = load(directory / "params", other_versions=True).extra
            net = _network(vocabulary, made["candidates"], made["n_embedding"], made["hops"], made["entities"])
            params = load(directory / "params", _shapes(net, 1), other_versions=True).tree
        except (BadCheckpoint, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(str(directory), f"expects a network that was saved there; got {error}; train one anew"
                             ) from error
        return cls(net, params, vocabulary, made["candidates"], made["notes"])

    def _one(self, params: Any, x: Any) -> Any:
        logits, weights = self.net.aligned(params, x)
        return log_softmax(logits), weights


def responder_of(dialogs: RestaurantDialogs, n_embedding: int, hops: int, *, match: bool) -> Responder:
    """An untrained responder of a task's dialogs, with features of matches or without."""
    vocabulary = vocabulary_of(dialogs)
    entities = entities_of(dialogs.candidates, dialogs, vocabulary).tolist() if match else None
    return Responder(_network(vocabulary, dialogs.candidates, n_embedding, hops, entities), None, vocabulary,
                     dialogs.candidates)


def batches_of(examples: Examples, batch_size: int,
               seed: int | None = None) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, int]]:
    """(x, labels, rows, n) of each batch: turns with about as many facts side by side, in batches of one size, of which
    the first n are turns of the set; in an order drawn by the seed, None for none.

    Raises:
      InputError: a turn has more facts than the largest bucket.
    """
    counts = np.array([len(facts) for facts in examples.facts])
    if counts.max() > BUCKETS[-1]:
        raise InputError("batches_of", f"expects turns with at most {BUCKETS[-1]} facts; got one of {counts.max()}; "
                         "begin a new dialog")
    bucket, rng = np.searchsorted(BUCKETS, counts), None if seed is None else np.random.default_rng(seed)
    parts = []
    for k in np.unique(bucket):
        rows = np.flatnonzero(bucket == k)
        rows = rows if rng is None else rng.permutation(rows)
        parts += [(BUCKETS[k], rows[i:i + batch_size]) for i in range(0, len(rows), batch_size)]
    for i in range(len(parts)) if rng is None else rng.permutation(len(parts)):
        n_facts, own = parts[i]
        rows = own[np.minimum(np.arange(batch_size), len(own) - 1)]
        facts = pad([examples.facts[row] for row in rows], n_facts)[0]  # row 0 of the texts is empty
        x = {"facts": examples.texts[facts], "n_facts": counts[rows].astype(np.int32),
             "question": examples.texts[examples.questions[rows]]}
        yield x, examples.labels[rows], rows, len(own)


def measured(responder: Responder, examples: Examples, params: Any = None) -> Measures:
    right = responder.chosen(examples, params) == examples.labels
    wrong = np.bincount(examples.dialogs, ~right)
    return Measures(float(right.mean()), float((wrong == 0).mean()))


def train(responder: Responder, dialogs: RestaurantDialogs, how: Training,
          name: str) -> tuple[Responder, dict[str, Any]]:
    """(the responder with the params of the epoch that was best on dev, what the training was like)."""
    n_words = most_words(dialogs.train, dialogs.dev)
    examples, dev = (as_examples(part, dialogs.candidates, responder.vocabulary, n_words)
                     for part in (dialogs.train, dialogs.dev))
    n_steps = sum(1 for _ in batches_of(examples, how.batch_size))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(
        optax.cosine_decay_schedule(how.learning_rate, how.epochs * n_steps, 0.05)))
    train_state = start(responder.net, optimizer, _inputs(n_words), jax.random.key(how.seed))
    # A step for each bucket, for each is compiled once.
    steps = {n: make_step(responder.net, softmax_cross_entropy, optimizer) for n in BUCKETS}
    begin, costs, found = time.process_time(), [], []
    best = (-1.0, None)
    for epoch in range(how.epochs):
        total = 0.0
        for x, labels, _, n in batches_of(examples, how.batch_size, how.seed + epoch):
            train_state, info = steps[x["facts"].shape[1]](train_state, x, labels, n)
            total += float(info.cost) * n
        costs.append(total / len(examples.labels))
        found.append(measured(responder, dev, train_state.params))
        if found[-1].responses > best[0]:
            best = found[-1].responses, jax.tree.map(np.array, train_state.params)  # the step takes over the buffers
        seconds = time.process_time() - begin
        if seconds > how.seconds or best[0] == 1.0:
            break
    say(f"{name}: {len(costs)} epochs, {seconds:.0f} s of processors, cost {costs[-1]:.4f} nats, "
        f"{percent(best[0])} of the dev responses")
    trained = Responder(responder.net, best[1], responder.vocabulary, responder.candidates)
    return trained, {"costs": series(costs, "epoch", range(1, len(costs) + 1)), "cpu_seconds": seconds,
                     "dev": [m.responses for m in found], "parameters": sum(
                         leaf.size for leaf in jax.tree.leaves(train_state.params))}


def _network(vocabulary: WordVocabulary, candidates: Sequence[str], n_embedding: int, hops: int, entities: Any) -> Any:
    return response_network(vocabulary.size, rows_of(candidates, vocabulary).tolist(), n_embedding, hops,
                            most_facts=BUCKETS[-1], entities=entities)


def _inputs(n_words: int) -> dict[str, tuple[int, ...]]:
    return {"facts": (BUCKETS[0], n_words), "n_facts": (), "question": (n_words,)}


def _shapes(net: Any, n_words: int) -> Any:
    return jax.eval_shape(lambda: net.init(jax.random.key(0), _inputs(n_words)))[0]
