"""Does a sentence praise a film or not, and which of its words say so?

    python -m experiments run sentiment
    python -m experiments run sentiment --data sst2 --sentences "not a bad film at all" "i want my money back"

Averaged word vectors, an LSTM in both directions, and a convolution over words, from scratch: no vectors that were
learnt elsewhere. `--data sst2`: the Stanford Sentiment Treebank, 6,920 sentences to train on, and none of its phrases.
`--data tiny` (the default): reviews made by rules, with "not" in a quarter of them. Each network is trained several
times from other weights; the figure of a network is the mean of its trials, and that of the vote is of the mean of
their logits. The epoch is chosen on the dev set. Sentences of one's own are read too, and every word is marked by its
gradient times its value (`sentence_networks.marks`): red against the film, blue for it.

Averaging cannot know what "not" stands before: of "not good" and "good" it reads two words for, or one against and one
for. What each network makes of such pairs is printed.

Result (--data sst2 --trials 1), of the 1,821 test sentences: averaged vectors 81.3 % (79.5 to 83.1), LSTM 82.0 % (80.2
to 83.7), convolution 80.6 % (78.7 to 82.4), 70 s together. "not a bad film at all" is read as against the film by each.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course5.marked_words import draw_marks
from experiments.course5.sentence_networks import NETWORKS, SentenceNetwork, marks
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import say, series, table
from jaxnn import softmax_cross_entropy
from jaxnn.analysis import intervals
from jaxnn.checks import expect
from jaxnn.data import Batches, LabelledSentences, load_sst2
from jaxnn.text import WordVocabulary, pad
from jaxnn.training import evaluate, make_step, start

DATA = ("tiny", "sst2")
NEGATIONS = (("a good film", "not a good film"), ("it is bad", "it is not bad"), ("it works", "it never works"),
             ("i like the story", "i do n't like the story"), ("it is boring", "it is never boring"))
ADJECTIVES = {1: ("good", "great", "moving", "funny", "clever", "lovely"),
              0: ("bad", "dull", "boring", "awful", "silly", "weak")}


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("tiny", "which sentences: reviews made by rules, or the Stanford Sentiment Treebank", choices=DATA)
    seed: int = random_seed(0, "seed of the weights, the batches and what is dropped")
    networks: tuple[str, ...] = knob(NETWORKS, "networks that read the sentences", choices=NETWORKS)
    n_dim: int = count(50, "numbers that stand for a word")
    n_hidden: int = count(64, "units of the LSTM in each direction, channels of each window of the convolution")
    epochs: int = count(8, "passes over the training set; the dev accuracy has its maximum before the last")
    batch_size: int = count(64, "sentences in a batch; 64 make a hundred steps in an epoch of the treebank")
    learning_rate: float = positive(0.003, "Adam's first learning rate, which falls linearly to 0. Averaged vectors "
                                    "take three times as much: each word has only its share of the mean's gradient")
    rate: float = knob(0.3, "fraction of the sentence's vector that is dropped", at_least=0, below=1)
    word_rate: float = knob(0.3, "fraction of the words that is left out in training", at_least=0, below=1)
    trials: int = count(3, "trainings of each network")
    sentences: tuple[str, ...] = knob(("a clever film with a heart", "not a bad film at all",
                                       "i wanted to like this film but it is dull"),
                                      "sentences that the networks judge at the end, each in quotes")


class Task(NamedTuple):
    """The sentences as integers; "<unk>" stands for what training does not know."""

    vocabulary: WordVocabulary
    n_time: int
    parts: dict[str, tuple[Any, np.ndarray]]
    """For train, dev and test: ((ids, lengths), labels)."""
    texts: LabelledSentences
    """Of the test set."""


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    task = read(knobs, data_dir)
    say(", ".join(f"{len(y):,} {name}" for name, (_, y) in task.parts.items()) + f" sentences, "
        f"{task.vocabulary.size:,} words; longest {task.n_time}")
    own = [words(text) for text in knobs.sentences]
    measures: dict[str, Any] = {"networks": {}, "costs": {}, "sentences": {}}
    best: dict[str, tuple[SentenceNetwork, Any]] = {}
    logits: dict[str, np.ndarray] = {}
    curves: dict[str, list[list[float]]] = {}
    for kind in dict.fromkeys(knobs.networks):
        net = SentenceNetwork(kind, task.vocabulary.size, 2, knobs.n_dim, knobs.n_hidden, knobs.rate, knobs.word_rate)
        trials = [train(knobs, net, task, knobs.seed + trial) for trial in range(knobs.trials)]
        curves[kind] = [t["dev"] for t in trials]
        logits[kind] = np.mean([t["test_logits"] for t in trials], axis=0)
        best[kind] = net, max(trials, key=lambda t: max(t["dev"]))["params"]
        test = [t["test"] for t in trials]
        y = task.parts["test"][1]
        right = int(np.sum(logits[kind].argmax(1) == y))
        measures["networks"][kind] = {
            "test": test, "dev": [max(t["dev"]) for t in trials], "test_vote": right / len(y),
            "test_vote_interval": intervals.of_fraction(right, len(y)),
            "parameters": sum(int(np.size(leaf)) for leaf in jax.tree.leaves(trials[0]["params"]))}
        measures["costs"][kind] = series(trials[0]["costs"], "step")
    say()
    say(table(("network", "parameters", "test, mean of trials", "test, their vote"),
              [(kind, f"{m['parameters']:,}", f"{np.mean(m['test']):.1%}",
                intervals.shown(m["test_vote"], m["test_vote_interval"])) for kind, m in measures["networks"].items()]))
    measures["negations"] = negations(task, best)
    for text in own:
        measures["sentences"][" ".join(text)] = {
            kind: read_sentence(net, params, task, text) for kind, (net, params) in best.items()}
        say("  ".join([" ".join(text), *(f"{kind}: {found['probability_good']:.2f} for it" for kind, found in
                                        measures["sentences"][" ".join(text)].items())]))
    draw(out, knobs, curves, measures, logits, task)
    draw_marks(out / "marked_words.png", measures["sentences"], "against the film", "for the film")
    return measures


def words(text: str) -> list[str]:
    """A sentence as the treebank writes one: lower case, without punctuation, n't apart."""
    spaced = text.lower().replace("n't", " n't")
    return "".join(c if c.isalnum() or c in "' " else " " for c in spaced).split()


def read(knobs: Knobs, data_dir: Path | None) -> Task:
    if knobs.data == "tiny":
        sets = {name: made(n, knobs.seed + i) for i, (name, n) in enumerate((("train", 400), ("dev", 80),
                                                                             ("test", 200)))}
    else:
        sets = {name: load_sst2(name, data_dir, instead="--data tiny") for name in ("train", "dev", "test")}
    vocabulary = WordVocabulary.of(sets["train"].texts, special=["<pad>", "<unk>"], unknown="<unk>")
    encoded = {name: [vocabulary.encode(text) for text in part.texts] for name, part in sets.items()}
    n_time = max(len(ids) for part in encoded.values() for ids in part)
    return Task(vocabulary, n_time, {name: (pad(ids, n_time), sets[name].y) for name, ids in encoded.items()},
                sets["test"])


def made(n: int, seed: int) -> LabelledSentences:
    """Reviews made by rules: an adjective of one side, behind "not" in a quarter of the sentences."""
    rng = np.random.default_rng((seed, 5))
    texts, labels = [], []
    for _ in range(n):
        side, is_negated = int(rng.integers(2)), bool(rng.random() < 0.25)
        word = str(rng.choice(ADJECTIVES[side]))
        template = str(rng.choice(["the film is {}", "i find the story {}", "it was {} from the start",
                                   "a {} film with a plot", "the actors are {} and the plot is long"]))
        texts.append(template.format(f"not {word}" if is_negated else word))
        labels.append(side ^ is_negated)
    return LabelledSentences(tuple(texts), np.array(labels, np.int64), ("bad", "good"))


def train(knobs: Knobs, net: SentenceNetwork, task: Task, seed: int) -> dict[str, Any]:
    """One network: its dev accuracy at each epoch, and its test logits at the epoch where that is best."""
    x, y = task.parts["train"]
    batches = Batches(x, y, min(knobs.batch_size, len(y)), seed=seed)
    steps = max(batches.steps(knobs.epochs), 1)
    rate = knobs.learning_rate * (3 if net.kind == "averaged" else 1)
    optimizer = optax.adam(optax.linear_schedule(rate, 0.0, steps))
    step = make_step(net, softmax_cross_entropy, optimizer)
    train_state = start(net, optimizer, ((task.n_time,), ()), jax.random.key(seed))
    costs, dev, best = [], [], train_state.params
    every = batches.steps(1)
    for i in range(steps):
        train_state, info = step(train_state, *batches(i))
        costs.append(info.cost)
        if (i + 1) % every == 0 or i == steps - 1:
            dev.append(accuracy(net, train_state.params, *task.parts["dev"]))
            if dev[-1] == max(dev):
                best = jax.tree.map(np.asarray, train_state.params)
    logits = np.asarray(evaluate(net, best, {}, task.parts["test"][0], batch_size=512))
    test = float(np.mean(logits.argmax(1) == task.parts["test"][1]))
    say(f"{net.kind}, seed {seed}: dev {max(dev):.1%} at epoch {int(np.argmax(dev)) + 1}, test {test:.1%}")
    return {"costs": np.asarray(jnp.stack(costs)), "dev": dev, "test": test, "test_logits": logits, "params": best}


def accuracy(net: SentenceNetwork, params: Any, x: Any, y: np.ndarray) -> float:
    return float(np.mean(np.asarray(evaluate(net, params, {}, x, batch_size=512)).argmax(1) == y))


def read_sentence(net: SentenceNetwork, params: Any, task: Task, text: list[str]) -> dict[str, Any]:
    """A sentence's probability of being for the film, and the mark of each word.

    Raises:
      InputError: the sentence has no word.
    """
    expect(bool(text), "--sentences", "sentences of at least one word", repr(" ".join(text)))
    ids = task.vocabulary.encode(" ".join(text))
    (rows,), (length,) = pad([ids], max(len(ids), task.n_time))
    z, found = _read_and_mark(net, params, rows, length)
    return {"probability_good": float(jax.nn.softmax(z)[1]), "words": text,
            "unknown": [word for word, n in zip(text, ids, strict=True) if n == 1],
            "marks": np.asarray(found)[:len(ids)].tolist()}


@functools.partial(jax.jit, static_argnums=0)
def _read_and_mark(net: SentenceNetwork, params: Any, ids: Any, length: Any) -> tuple[Any, Any]:
    return net(params, {}, (ids, length))[0], marks(net, params, ids, length, (0, 1))


def negations(task: Task, best: dict[str, Any]) -> dict[str, Any]:
    """How likely each network finds a sentence and its opposite to be for the film."""
    found: dict[str, Any] = {}
    rows = []
    for pair in NEGATIONS:
        found[" / ".join(pair)] = {
            kind: [read_sentence(net, params, task, words(text))["probability_good"] for text in pair]
            for kind, (net, params) in best.items()}
        rows.append((" / ".join(pair), *(f"{a:.2f} / {b:.2f}" for a, b in found[" / ".join(pair)].values())))
    say(table(("a sentence / its opposite: probability that it is for the film", *best), rows))
    return found


def draw(out: Path, knobs: Knobs, curves: dict[str, list[list[float]]], measures: dict[str, Any],
         logits: dict[str, np.ndarray], task: Task) -> None:
    figure, axes = figures.panels(1, 2, (5.2, 3.8), f"Sentiment, {knobs.data}, trials of each: "
                                  f"{knobs.trials}, no pretrained vectors")
    for i, (kind, trials) in enumerate(curves.items()):
        at = np.arange(1, len(trials[0]) + 1)
        for k, dev in enumerate(trials):
            axes[0, 0].plot(at, 100 * np.array(dev), color=f"C{i}", alpha=0.7, label=kind if k == 0 else None)
        m = measures["networks"][kind]
        low, high = m["test_vote_interval"]
        value = 100 * m["test_vote"]
        axes[0, 1].errorbar([i], [value], ([value - 100 * low], [100 * high - value]), marker="o", capsize=4,
                            color=f"C{i}")
        axes[0, 1].scatter(np.full(len(m["test"]), i + 0.15), 100 * np.array(m["test"]), s=12, color=f"C{i}")
    axes[0, 0].set(xlabel="epoch", ylabel="dev accuracy / %")
    axes[0, 0].grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    axes[0, 1].set(ylabel="test accuracy / %", xlim=(-0.5, len(curves) - 0.5),
                   title="vote of the trials with its 95 % interval; small: each trial")
    axes[0, 1].title.set_fontsize(9)
    axes[0, 1].set_xticks(range(len(curves)), list(curves))
    axes[0, 1].grid(alpha=0.3)
    figures.save(figure, out / "accuracy.png")
