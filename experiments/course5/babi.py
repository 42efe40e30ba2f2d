"""Does attention over facts answer questions that a bag of words and an LSTM cannot?

    python -m experiments run babi

Two facts put places beside each other, and a question asks for one of them (bAbI, task 4; Weston et al. 2015): "The
office is north of the kitchen. The garden is south of the kitchen. What is north of the kitchen?" All three places may
stand in both the facts and the question, so only the order of the words tells them apart. A memory network (Sukhbaatar
et al. 2015) attends to the facts, several times, and knows each word's position in its sentence; beside it stand the
same without the positions, an LSTM that reads facts and question in one row, and a sum of words without an order. All
answer with a word, learn from the same 1,000 questions, and never see which fact is the right one.

The pictures show the training and the attention. Of the 1,000 test questions 134 stand in training too, with the same
story; the accuracy on the others is given as well. Without the files, stories of the same kind are made here. Width,
decay and learning rate were chosen on 200 of the training questions; a first search, of other settings, had looked at
the test questions.

Result of seeds 0, 1 and 2, right answers on test; 60 s of processor time in all:
                                     parameters     mean    lowest    highest    not in training
    memory network                        3,456   97.5 %    92.4 %    100.0 %             97.2 %
    memory network, bags of words         3,456   68.0 %    67.0 %     68.6 %             67.4 %
    LSTM                                 35,088   71.2 %    69.5 %     72.2 %             66.8 %
    bag of words                          3,088   67.7 %    67.6 %     67.7 %             67.6 %
Two of three memory networks answer all questions, and their last hop reads the right fact in all of them, which nothing
told them to do; one settles in a poorer place. Published are 96.2 % (three hops, 20 numbers for a word). Without the
order of the words the place that is asked for cannot be told from the one that is given; the LSTM, which has the order,
learns the training questions by heart.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course5.stories import (
    CHOICES,
    WHY,
    as_arrays,
    as_one_sequence,
    load_stories,
    vocabulary_of,
)
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, progress, say, series, table
from jaxnn import LSTM, dense, embedding, softmax, softmax_cross_entropy
from jaxnn.analysis import intervals
from jaxnn.data import Batches, Question
from jaxnn.data.babi import words_of
from jaxnn.initializers import random_normal, xavier
from jaxnn.layers import Layer
from jaxnn.models import memory_network, sequence_classifier
from jaxnn.training import evaluate, fit, make_step, start

BEST = "memory network"
PUBLISHED = 0.962  # of Sukhbaatar et al. (2015), table 1: 1,000 questions of task 4, three hops with positions


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the stories: " + WHY, choices=CHOICES)
    seed: int = random_seed(0, "seed of the initial weights, the batches and the stories made here")
    trials: int = count(3, "networks of each kind, from other weights: one may settle in a poor place")
    steps: int = count(3000, "steps of each training; 3,000 are 96 epochs")
    batch_size: int = count(32, "questions in a batch")
    embedding: int = count(64, "numbers that stand for a word; with 20, as published, trials settle in poor places")
    hops: int = count(2, "times that the memory is read: once to find the fact, once to read it")
    hidden: int = count(64, "units of the LSTM, which gives it more parameters than the memory network")
    learning_rate: float = positive(0.03, "Adam's largest rate for memory networks, to zero as a cosine; at 0.01 some "
                                    "settle in poor places")
    other_rate: float = positive(0.005, "Adam's largest rate for the other networks; an LSTM does not bear the larger "
                                 "one")
    weight_decay: float = knob(0.1, "weight decay, which pulls all weights to zero: there are 1,000 questions only",
                               at_least=0)


@dataclasses.dataclass(frozen=True)
class BagOfWords(Layer):
    """x of `memory_network` -> logits (words,): a dense layer of two sums of words, the facts' and the question's."""

    words: int
    n_embedding: int
    input_dtype = jnp.int32
    random = False

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        of_table, of_head = jax.random.split(key)
        return {"embedding": {"table": random_normal(0.1)(of_table, (self.words, self.n_embedding))},
                "head": {"weight": xavier(of_head, (2 * self.n_embedding, self.words)).T,
                         "bias": jnp.zeros(self.words)}}, {}

    def apply(self, params, state, x, key, *, train):
        sums = [jnp.sum(jnp.where((ids != 0)[:, None], embedding(params["embedding"], ids), 0), 0)
                for ids in (x["facts"].ravel(), x["question"])]
        return dense(params["head"], jnp.concatenate(sums)), state


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    stories = load_stories(knobs.data, data_dir, knobs.seed)
    vocabulary = vocabulary_of(stories.train)
    both = (*stories.train, *stories.test)
    sizes = max(len(q.facts) for q in both), max(len(words_of(text)) for q in both for text in (*q.facts, q.question))
    x, labels = as_arrays(stories.train, vocabulary, *sizes)
    test_x, test_labels = as_arrays(stories.test, vocabulary, *sizes)
    known = set(stories.train)
    new = np.array([q not in known for q in stories.test])
    say(f"{stories.name}: {len(labels):,} questions to train on, {len(test_labels):,} to test with, of which "
        f"{np.sum(~new)} stand in training too; {vocabulary.size} words")
    measures: dict[str, Any] = {}
    chosen: tuple[float, Any, Any] = (np.inf, None, None)
    for name, net, as_input, rate in progress(networks(knobs, vocabulary.size, sizes[0]), "networks"):
        trials = [train(knobs, net, rate, (as_input(x), labels), knobs.seed + trial) for trial in range(knobs.trials)]
        measures[name] = measured(name, net, trials, (as_input(test_x), test_labels), new)
        if name == BEST:  # the trial that fits its training best is looked into
            chosen = min(((trial["costs"]["cost"][-1], net, trial["params"]) for trial in trials), key=lambda c: c[0])
    say()
    say(table(("network", "parameters", "s of processors", "test", "lowest", "highest", "not in training"),
              [(name, f"{m['parameters']:,}", f"{m['cpu_seconds']:.0f}", percent(m["test_accuracy"]),
                percent(min(m["test_accuracies"])), percent(max(m["test_accuracies"])), percent(m["new_accuracy"]))
               for name, m in measures.items()]))
    _, net, params = chosen
    logits, weights = look(net, params, test_x)
    looked = attention_measures(weights, stories.test, logits.argmax(-1) == test_labels)
    low, high = intervals.of_fraction(round(looked["accuracy"] * len(new)), len(new))
    say(f"the {BEST} that fits its training best has {percent(looked['accuracy'])}, 95 % interval {percent(low)} to "
        f"{percent(high)}; the supporting fact has the largest weight of its last hop in "
        f"{percent(looked['last_hop_on_support'])} of the test questions")
    draw_training(out, measures, stories.name)
    draw_attention(out, stories.test, logits, weights, vocabulary)
    return {"data": stories.name, "networks": measures, "test_accuracy": measures[BEST]["test_accuracy"],
            "attention": looked, "test_in_training": int(np.sum(~new))}


def networks(knobs: Knobs, words: int, n_facts: int) -> list[tuple[str, Any, Any, float]]:
    """(name, network, the function that makes its x, learning rate)."""
    def as_given(x: Any) -> Any:
        return x

    options: dict[str, Any] = {"n_embedding": knobs.embedding, "hops": knobs.hops, "most_facts": n_facts}
    return [(BEST, memory_network(words, **options), as_given, knobs.learning_rate),
            ("memory network, bags of words", memory_network(words, **options, encoding="bag"), as_given,
             knobs.learning_rate),
            ("LSTM", sequence_classifier(words, LSTM(knobs.hidden, return_sequence=False), words, knobs.embedding),
             as_one_sequence, knobs.other_rate),
            ("bag of words", BagOfWords(words, knobs.embedding), as_given, knobs.other_rate)]


def train(knobs: Knobs, net: Any, rate: float, examples: Any, seed: int) -> dict[str, Any]:
    """{"params", "costs", "cpu_seconds"} of one trial."""
    x, labels = examples
    optimizer = optax.adamw(optax.cosine_decay_schedule(rate, knobs.steps), weight_decay=knobs.weight_decay)
    shape = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)
    begin = time.process_time()
    train_state, history = fit(
        start(net, optimizer, shape, jax.random.key(seed)), make_step(net, softmax_cross_entropy, optimizer),
        Batches(x, labels, min(knobs.batch_size, len(labels)), seed=seed), steps=knobs.steps,
        every=max(1, knobs.steps // 30), progress=False)
    at, costs = history.curve("cost")
    return {"params": train_state.params, "costs": series(costs, "step", at),
            "cpu_seconds": time.process_time() - begin}


def measured(name: str, net: Any, trials: list[dict[str, Any]], test: Any, new: np.ndarray) -> dict[str, Any]:
    x, labels = test
    right = np.stack([np.asarray(evaluate(net, trial["params"], {}, x)).argmax(-1) == labels for trial in trials])
    accuracies = right.mean(1)
    say(f"{name}: {', '.join(map(percent, accuracies))} of the test questions")
    return {"parameters": sum(leaf.size for leaf in jax.tree.leaves(trials[0]["params"])),
            "cpu_seconds": sum(trial["cpu_seconds"] for trial in trials), "test_accuracies": accuracies.tolist(),
            "test_accuracy": float(accuracies.mean()),
            "new_accuracy": float(right[:, new].mean()) if new.any() else None, "costs": trials[0]["costs"]}


def look(net: Any, params: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """(logits (n, words), weights (n, hops, facts)) of the memory network."""
    found = jax.jit(jax.vmap(lambda x: net.aligned(params, x)))(x)
    return np.asarray(found[0]), np.asarray(found[1])


def attention_measures(weights: np.ndarray, questions: tuple[Question, ...], right: np.ndarray) -> dict[str, float]:
    """How often each hop reads most the fact that the file names as support."""
    support = np.array([q.supporting[0] if q.supporting else -1 for q in questions])
    hits = weights.argmax(-1) == support[:, None]
    return {**{f"hop_{hop + 1}_on_support": float(hits[:, hop].mean()) for hop in range(hits.shape[1])},
            "last_hop_on_support": float(hits[:, -1].mean()), "accuracy": float(right.mean())}


def draw_training(out: Path, measures: dict[str, Any], data: str) -> None:
    figure, axes = figures.panels(1, 2, (5.4, 3.8), f"Questions about two facts ({data}), by networks")
    figures.curves(axes[0, 0], {name: (m["costs"]["step"], m["costs"]["cost"]) for name, m in measures.items()},
                   "step", "training cost of the first trial / nats per answer", log=True, legend=False)
    axis = axes[0, 1]
    for place, (name, m) in enumerate(measures.items()):
        axis.barh(place, 100 * m["test_accuracy"], color=f"C{place}", alpha=0.5)
        axis.plot(100 * np.array(m["test_accuracies"]), [place] * len(m["test_accuracies"]), "o", color=f"C{place}")
        axis.text(1, place, name, va="center", fontsize=9)  # the colours are those of the curves
    axis.axvline(100 * PUBLISHED, color="grey", linestyle="--", linewidth=1, label="published, three hops")
    axis.set(xlabel="right answers on test / %; a point is one trial", yticks=[], xlim=(0, 103))
    axis.invert_yaxis()
    axis.legend(fontsize=8, loc="lower right")
    figures.save(figure, out / "training.png")


def draw_attention(out: Path, questions: tuple[Question, ...], logits: np.ndarray, weights: np.ndarray,
                   vocabulary: Any) -> None:
    """Six questions, three of them answered wrongly if there are as many: for each hop how much it reads each fact."""
    answers = [vocabulary.token_of(int(word)) for word in logits.argmax(-1)]
    p = np.asarray(softmax(jnp.asarray(logits))).max(-1)
    wrong = [i for i, (q, answer) in enumerate(zip(questions, answers, strict=True)) if q.answer != answer]
    fine = [i for i in range(len(questions)) if i not in set(wrong)]
    shown = (fine[:max(3, 6 - len(wrong))] + wrong)[:6]
    figure, axes = figures.panels(-(-len(shown) // 2), 2, (6.4, 1.7), "Which fact each hop of the memory network reads "
                                  "(*: the fact that the answer follows from)")
    for axis in axes.flat[len(shown):]:
        axis.set_axis_off()
    for axis, i in zip(axes.flat, shown, strict=False):
        q = questions[i]
        shades = weights[i][:, :len(q.facts)].T
        image = axis.imshow(shades, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (fact, hop), weight in np.ndenumerate(shades):
            axis.text(hop, fact, f"{weight:.2f}", ha="center", va="center", color="white" if weight > 0.6 else "black")
        axis.set_yticks(range(len(q.facts)), [f"{'* ' if n in q.supporting else ''}{fact}"
                                              for n, fact in enumerate(q.facts)], fontsize=8)
        axis.set_xticks(range(len(shades[0])), [f"hop {hop + 1}" for hop in range(len(shades[0]))], fontsize=8)
        verdict = "" if answers[i] == q.answer else f"; right is {q.answer}"
        axis.set_title(f"{q.question} {answers[i]} ({100 * p[i]:.0f} %){verdict}", fontsize=9,
                       color="black" if not verdict else "tab:red")
    figure.colorbar(image, ax=axes, label="weight of the attention", shrink=0.6)
    figures.save(figure, out / "attention.png")
