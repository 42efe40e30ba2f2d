"""Can 132 sentences and ready-made word vectors teach a network which emoji suits a sentence?

    python -m experiments run emojify
    python -m experiments run emojify --data course

The course's two models. The first averages the words' GloVe vectors and puts a softmax on the mean, trained one
sentence at a time; the second is an LSTM of two layers over the same vectors, which stay as they are. `--data course`
reads the course's sentences and GloVe's vectors; `--data tiny` (the default) has sentences of its own, whose words have
vectors drawn by chance, so that a word it was not trained on says nothing.

What the course prints, costs 1.95205, .07972, .04456, .03432 and a test accuracy of .857 (LSTM .821), needs all 400,000
words of GloVe (c5/glove.6B.50d.txt). With the subset of 9,187 words only 88 of the 132 training and 46 of the 56 test
sentences have all of their words; the others are read without the words that are missing. One test sentence is 1.8
points, and the interval of a figure is as wide as 20. Sentences with a negation are listed: a mean of vectors cannot
know what "not" stands before.

Result (--data course, GloVe's subset): averaged vectors 45 of 56 test sentences, 80.4 % (68 to 89), 89 % of the 46
that have all of their words; costs of the last sentence 1.944, .035, .011, .005. LSTMs from three seeds 75.0, 73.2 and
73.2 %. "not feeling happy" is read as a smile by the average, as disappointed by the LSTM; "this is not funny" as a
smile by both.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import say, series, table
from jaxnn import LSTM, Dense, Dropout, Layer, Sequential, dense, length_mask, softmax_cross_entropy
from jaxnn.analysis import intervals
from jaxnn.checks import expect
from jaxnn.data import EMOJIS, Batches, LabelledSentences, find_glove, load_emojify
from jaxnn.metrics import confusion_matrix
from jaxnn.training import evaluate, make_step, start
from jaxnn.words import WordVectors, read_word_vectors

DATA = ("tiny", "course")
PRINTED = {0: 1.95205, 100: 0.07972, 200: 0.04456, 300: 0.03432}
NEGATIONS = ("not feeling happy", "i am not happy", "i do not like this food", "this is not funny", "i am happy",
             "i like this food", "this is funny")
TINY = {
    "heart": ("i love you", "i miss my {}", "i adore my {}", "sending love to my {}", "my {} is the love of my life"),
    "baseball": ("throw the ball to my {}", "let us play baseball with my {}", "my {} can pitch the ball",
                 "my {} plays a game", "we play ball"),
    "smile": ("my {} is funny", "what a great joke of my {}", "i laugh with my {}", "a great day with my {}", "haha"),
    "disappointed": ("my {} is sad", "i am upset with my {}", "a bad day for my {}", "my {} is angry", "i feel bad"),
    "fork and knife": ("my {} cooks dinner", "i want to eat with my {}", "food for my {}", "let us have lunch",
                       "my {} is hungry"),
}
PEOPLE = ("mother", "father", "friend", "brother", "sister", "son")


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("tiny", "which sentences: our own, or the course's with GloVe's vectors", choices=DATA)
    seed: int = random_seed(0, "seed of the LSTM's weights and batches; the first model begins as in the course")
    iterations: int = count(400, "epochs of the first model, as in the course")
    learning_rate: float = positive(0.01, "learning rate of the first model, as in the course")
    hidden: int = count(128, "units of each layer of the LSTM, as in the course")
    epochs: int = count(50, "epochs of the LSTM, as in the course")
    batch_size: int = count(32, "sentences in a batch of the LSTM, as in the course")
    lstm_learning_rate: float = positive(0.001, "Adam's learning rate for the LSTM, as in the course")
    trials: int = count(3, "number of LSTMs, each from its own initial weights")


class Task(NamedTuple):
    """Sentences, and vectors of their words."""

    train: LabelledSentences
    test: LabelledSentences
    vectors: WordVectors


def sentence_to_avg(text: str, vectors: WordVectors) -> np.ndarray:
    """The mean of the vectors of a sentence's words, in lower case; words without one are left out, and a sentence of
    such words alone has the mean 0, (n_dim,)."""
    known = vectors.known(text.lower().split())
    rows = vectors.rows(known)
    mean: np.ndarray = rows.mean(axis=0) if known else np.zeros(vectors.n_dim, vectors.matrix.dtype)
    return mean


def sentences_to_indices(texts: Any, index: dict[str, int], max_len: int) -> np.ndarray:
    """(n, max_len) int64: the numbers of a sentence's known words in lower case, 0 behind them.

    Raises:
      InputError: a sentence has more than max_len known words.
    """
    rows = np.zeros((len(texts), max_len), np.int64)
    for row, text in zip(rows, texts):
        known = [index[word] for word in text.lower().split() if word in index]
        expect(len(known) <= max_len, "sentences_to_indices", f"at most {max_len} words", f"{len(known)}: {text!r}")
        row[:len(known)] = known
    return rows


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    task = read(knobs, data_dir)
    whole = {name: [all(word in task.vectors for word in text.lower().split()) for text in part.texts]
             for name, part in (("train", task.train), ("test", task.test))}
    for name, flags in whole.items():
        say(f"{name}: {sum(flags)} of {len(flags)} sentences have a vector for each of their words")
    measures: dict[str, Any] = {"sentences_with_all_words": {name: [sum(f), len(f)] for name, f in whole.items()}}
    first = averaged(knobs, task)
    trials = [lstm(knobs, task, knobs.seed + trial) for trial in range(knobs.trials)]
    rows = []
    models = [("averaged vectors", first), *((f"LSTM, seed {knobs.seed + i}", t) for i, t in enumerate(trials))]
    for name, model in models:
        right = model["read"] == task.test.y
        ends = intervals.of_fraction(int(right.sum()), len(right))
        both = right[np.array(whole["test"])]
        measures[name] = {"train_accuracy": model["train"], "test_accuracy": float(right.mean()), "test_interval": ends,
                          "test_accuracy_of_whole_sentences": float(both.mean()) if len(both) else None}
        rows.append((name, f"{model['train']:.1%}", intervals.shown(float(right.mean()), ends),
                     f"{both.mean():.1%} of {len(both)}" if len(both) else "-"))
    say()
    say(table(("model", "train", "test", "test, sentences with all words"), rows))
    readings = {name: [EMOJIS[k] for k in model["of"](NEGATIONS)] for name, model in models[:2]}
    say(table(("sentence", *readings), zip(NEGATIONS, *readings.values(), strict=True)))
    measures["negations"] = {text: {name: emojis[i] for name, emojis in readings.items()}
                             for i, text in enumerate(NEGATIONS)}
    measures["costs"] = series(first["costs"], "epoch")
    measures["costs_of_the_last_sentence"] = {str(i): first["last"][i] for i in range(0, knobs.iterations, 100)}
    say(f"the first model's costs at epochs 0, 100 ..., of the last sentence: "
        f"{', '.join(f'{v:.5f}' for v in first['last'][::100])}; the course prints {list(PRINTED.values())} with all "
        "of GloVe")
    wrong = [(text, EMOJIS[y], EMOJIS[z]) for text, y, z in zip(task.test.texts, task.test.y, first["read"]) if y != z]
    say(table(("averaged vectors, wrong: sentence", "emoji", "read as"), wrong))
    draw(out, knobs, task, models, measures)
    return measures


def read(knobs: Knobs, data_dir: Path | None) -> Task:
    if knobs.data == "course":
        train, test = (load_emojify(part, data_dir, instead="--data tiny") for part in ("train", "test"))
        vectors = read_word_vectors(find_glove(data_dir, instead="--data tiny"), "glove", dtype=np.float64)
        say(f"GloVe: {len(vectors):,} words")
        return Task(train, test, vectors)
    rng = np.random.default_rng(knobs.seed)
    sets = []
    for n in (12, 5):
        made = [(str(rng.choice(TINY[name])).format(rng.choice(PEOPLE)), k)
                for k, name in enumerate(EMOJIS) for _ in range(n)]
        texts, labels = zip(*made, strict=True)
        sets.append(LabelledSentences(texts, np.array(labels), EMOJIS))
    words = sorted({word for part in sets for text in part.texts for word in text.split()} |
                   {word for text in NEGATIONS for word in text.split()})
    return Task(sets[0], sets[1], WordVectors(words, 0.5 * rng.standard_normal((len(words), 50))))


def averaged(knobs: Knobs, task: Task) -> dict[str, Any]:
    """The course's first model: W (5, n_dim) of RandomState(1), one step for each sentence, in float64."""
    with jax.enable_x64(True):
        x = jnp.asarray(np.stack([sentence_to_avg(text, task.vectors) for text in task.train.texts]), jnp.float64)
        y = jnp.asarray(task.train.y)
        weight = np.random.RandomState(1).randn(len(EMOJIS), x.shape[1]) / np.sqrt(x.shape[1])
        params = {"weight": jnp.asarray(weight), "bias": jnp.zeros(len(EMOJIS), jnp.float64)}

        def one(params: Any, example: Any) -> tuple[Any, Any]:
            cost, grads = jax.value_and_grad(lambda p: softmax_cross_entropy(dense(p, example[0]), example[1]))(params)
            return jax.tree.map(lambda p, g: p - knobs.learning_rate * g, params, grads), cost

        def epoch(params: Any, _: Any) -> tuple[Any, Any]:
            params, costs = jax.lax.scan(one, params, (x, y))
            return params, (jnp.mean(costs), costs[-1])

        params, (means, last) = jax.jit(lambda p: jax.lax.scan(epoch, p, None, length=knobs.iterations))(params)
        weight, bias, means, last = (np.asarray(a) for a in (params["weight"], params["bias"], means, last))

    def of(texts: Any) -> np.ndarray:
        rows = np.stack([sentence_to_avg(text, task.vectors) for text in texts])
        found: np.ndarray = (rows @ weight.T + bias).argmax(axis=1)
        return found

    return {"costs": means, "last": last.tolist(), "train": float(np.mean(of(task.train.texts) == task.train.y)),
            "read": of(task.test.texts), "of": of}


@dataclasses.dataclass(frozen=True)
class Reader(Layer):
    """(rows (time, n_dim), length) -> logits: the course's LSTM of two layers with dropout behind each."""

    hidden: int
    classes: int
    random = True

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        (rows, _), keys = shape, jax.random.split(key)
        recurrent, _ = self._lstm.init(keys[0], rows)
        return {"recurrent": recurrent, "head": self._head.init(keys[1], (self.hidden,))[0]}, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any, *, train: bool) -> tuple[Any, Any]:
        rows, length = x
        keys = jax.random.split(key) if train else (None, None)
        h, _ = self._lstm(params["recurrent"], {}, (rows, length_mask(length, rows.shape[0])), keys[0], train=train)
        return self._head(params["head"], {}, h, keys[1], train=train)[0], state

    @property
    def _lstm(self) -> LSTM:
        return LSTM(self.hidden, return_sequence=False, layers=2, dropout=0.5)

    @property
    def _head(self) -> Sequential:
        return Sequential(drop=Dropout(0.5), logits=Dense(self.classes))


def lstm(knobs: Knobs, task: Task, seed: int) -> dict[str, Any]:
    """The course's second model. Unlike there, what is behind a sentence is masked, and unknown words are left out."""
    n_time = max(len(text.split()) for part in (task.train, task.test) for text in part.texts)
    n_time = max(n_time, *(len(text.split()) for text in NEGATIONS))
    matrix = np.concatenate([np.zeros((1, task.vectors.n_dim)), task.vectors.matrix]).astype(np.float32)
    index = {word: i + 1 for word, i in task.vectors.index.items()}

    def rows(texts: Any) -> tuple[np.ndarray, np.ndarray]:
        ids = sentences_to_indices(texts, index, n_time)
        return matrix[ids], (ids > 0).sum(axis=1).astype(np.int32)

    net = Reader(knobs.hidden, len(EMOJIS))
    batches = Batches(rows(task.train.texts), task.train.y, min(knobs.batch_size, len(task.train.y)), seed=seed)
    optimizer = optax.adam(knobs.lstm_learning_rate)
    step = make_step(net, softmax_cross_entropy, optimizer)
    train_state = start(net, optimizer, ((n_time, task.vectors.n_dim), ()), jax.random.key(seed))
    for i in range(batches.steps(knobs.epochs)):
        train_state, _ = step(train_state, *batches(i))
    params = train_state.params

    def of(texts: Any) -> np.ndarray:
        found: np.ndarray = np.asarray(evaluate(net, params, {}, rows(texts))).argmax(axis=1)
        return found

    return {"train": float(np.mean(of(task.train.texts) == task.train.y)), "read": of(task.test.texts), "of": of}


def draw(out: Path, knobs: Knobs, task: Task, models: Any, measures: dict[str, Any]) -> None:
    counts = np.asarray(confusion_matrix(models[0][1]["read"], task.test.y, len(EMOJIS)))
    figures.confusion(out / "confusion.png", f"Emojify, {knobs.data}, averaged vectors: {int(np.trace(counts))} of "
                      f"{len(task.test.y)} right", counts, [name.replace(" and ", "\nand ") for name in EMOJIS])
    figure, axes = figures.panels(1, 2, (5.2, 3.8), f"Emojify, {knobs.data}")
    figures.curves(axes[0, 0], {"mean over the sentences": (np.arange(knobs.iterations), models[0][1]["costs"]),
                                "last sentence": (np.arange(knobs.iterations), models[0][1]["last"])},
                   "epoch", "cost of averaged vectors / nats", log=True)
    if knobs.data == "course":
        axes[0, 0].plot(list(PRINTED), list(PRINTED.values()), "x", color="black",
                        label="printed by the course,\nall of GloVe")
        axes[0, 0].legend(fontsize=8)
    for i, (name, _) in enumerate(models):
        m = measures[name]
        value, (low, high) = 100 * m["test_accuracy"], m["test_interval"]
        axes[0, 1].errorbar([i], [value], ([value - 100 * low], [100 * high - value]), marker="o", capsize=4,
                            color=f"C{min(i, 1)}")
    axes[0, 1].set(ylabel="test accuracy / %", xlim=(-0.5, len(models) - 0.5))
    axes[0, 1].set_title(f"{len(task.test.y)} sentences, 95 % intervals", fontsize=9)
    axes[0, 1].set_xticks(range(len(models)), [name.replace(", ", ",\n").replace(" v", "\nv") for name, _ in models],
                          fontsize=8)
    axes[0, 1].grid(alpha=0.3)
    figures.save(figure, out / "accuracy.png")
