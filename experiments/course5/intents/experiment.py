"""Which network reads a request better, an LSTM in both directions or a small transformer?

    python -m experiments run intents

A sentence to a voice assistant has an intent, such as PlayMusic, and slots: the words that name the artist, the city,
the time. Each network gives both at once, from the words and their first and last three letters; rare words are left
unread at random in training, so that a word it has never read costs less. It is measured by the part of the intents
that are right, and by F1 of the slots by the rule of CoNLL: a slot counts if its kind and both its ends are right. The
network is the one of the best dev measure, the mean of both.

--data auto takes SNIPS (13,084 sentences, 700 dev, 700 test; 7 intents, 39 kinds of slots), and a few sentences made of
patterns where its files are missing: enough to see it run.

Result of seed 0 on the 700 test sentences, each network about four minutes on a busy machine of 2 CPU cores; the LSTM
after 10 epochs, the transformer after 12:
                   parameters    intents right             slot F1    all words known    a word unknown
    LSTM            1,109,159    97.71 % (96.3 to 98.6)      .8956              .9150             .8670
    transformer     1,156,703    97.71 % (96.3 to 98.6)      .8645              .8923             .8235
With positions added to the rows and the LSTM's rates the transformer had .81: it needs distances between words, by
rotations, and less dropout. Most intents that are wrong are a film or a song that is only looked for.
"""

import dataclasses
import functools
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from experiments.course5.intents.network import KINDS, SentenceReader, loss
from experiments.course5.intents.sentences import BucketedBatches, Encoding, Sentences, embedded_utterances
from experiments.shared import figures
from experiments.shared.data import real_or_embedded
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, say, series, table
from jaxnn.analysis.intervals import of_fraction, shown
from jaxnn.data import Snips, Utterance, load_snips
from jaxnn.metrics import accuracy, confusion_matrix
from jaxnn.text import ChunkScores, chunk_scores
from jaxnn.training import evaluate, fit, make_step, start
from jaxnn.training.tracing import Retraced

DATA = ("auto", "snips", "embedded")
N_MISTAKES = 8  # shown


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "which sentences: SNIPS where its files are found, or sentences of a few patterns",
                     choices=DATA)
    seed: int = random_seed(0, "seed of the initial weights, the batches and the words left unread")
    networks: tuple[str, ...] = knob(KINDS, "networks that are compared", choices=KINDS)
    width: int = count(64, "numbers of a word's row; its beginning and its end have half as many each")
    hidden: int = count(100, "units of each direction of the LSTM; twice as many in the transformer's layers")
    heads: int = count(4, "attention heads of the transformer; they divide twice the width")
    blocks: int = count(2, "number of blocks of the transformer")
    dropout: float = knob(0.4, "fraction of rows and states that is dropped for the LSTM", at_least=0, below=1)
    transformer_dropout: float = knob(0.1, "fraction that is dropped for the transformer, which learns slowly",
                                      at_least=0, below=1)
    unread: float = knob(0.5, "number u: a word that occurs n times is left unread with probability u / (u + n)",
                         at_least=0)
    epochs: int = count(12, "epochs of each training; by the last, the dev measure has stopped rising")
    batch_size: int = count(64, "sentences in a batch")
    learning_rate: float = positive(0.004, "Adam's largest learning rate for the LSTM, falling to zero as a cosine")
    transformer_rate: float = positive(0.003, "Adam's largest learning rate for the transformer")


class Answers(NamedTuple):
    """intents: a name for each sentence; slots: a list of tags for each."""

    intents: list[str]
    slots: list[list[str]]


def load(knobs: Knobs, data_dir: Path | None) -> tuple[str, Snips]:
    """(what the sentences are, the sentences)."""
    return real_or_embedded(knobs.data, "snips", lambda: ("SNIPS", load_snips(data_dir, instead="--data embedded")),
                            lambda: ("embedded", embedded_utterances()),
                            "sentences of a few patterns in place of SNIPS")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    name, data = load(knobs, data_dir)
    encoding = Encoding.of(data.train)
    longest = max(len(u.words) for part in data for u in part)
    known = set(encoding.words.tokens)
    is_new = np.array([any(word not in known for word in u.words) for u in data.test])
    n_words = sum(len(u.words) for u in data.test)
    say(f"{name}: {len(data.train):,} sentences to train on, {len(data.dev)} dev, {len(data.test)} test; "
        f"{len(encoding.intents)} intents, {len(encoding.tags)} tags, {len(known):,} words; "
        f"{percent(sum(word not in known for u in data.test for word in u.words) / n_words)} of the test words are not "
        "among them")
    strange = {part: sum(bool(encoding.missing(u)) for u in getattr(data, part)) for part in ("dev", "test")}
    if any(strange.values()):
        say(f"{strange['dev']} dev and {strange['test']} test sentences have an intent or a slot that no training "
            "sentence has: these labels count as wrong")
    runs: dict[str, Any] = {}
    answers: dict[str, Answers] = {}
    for kind in knobs.networks:
        net, params, measures = train(knobs, kind, encoding, data, longest)
        answers[kind] = answer(net, params, encoding, data.test, longest)
        runs[kind] = measures | measured(answers[kind], data.test, is_new)
    say()
    say(table(("network", "parameters", "intents right", "95 % interval", "slot F1", "F1, all words known",
               "F1, a word unknown"),
              [(kind, f"{m['parameters']:,}", percent(m["intent_accuracy"]), shown(
                  m["intent_accuracy"], of_fraction(round(m["intent_accuracy"] * len(data.test)), len(data.test)))
                .split("(")[1].rstrip(")"), f"{m['slot_f1']:.4f}", f"{m['slot_f1_known']:.4f}",
                f"{m['slot_f1_unknown']:.4f}") for kind, m in runs.items()]))
    mistakes = show_mistakes(answers, data.test)
    draw(out, name, runs, answers, data.test, encoding.intents)
    best = max(runs.values(), key=lambda m: m["intent_accuracy"] + m["slot_f1"])
    return {"data": name, "intent_accuracy": best["intent_accuracy"], "slot_f1": best["slot_f1"], "networks": runs,
            "mistakes": mistakes}


def train(knobs: Knobs, kind: str, encoding: Encoding, data: Snips, longest: int) -> tuple[Any, Any, dict[str, Any]]:
    """(network, params of the best dev measure, measures along the way)."""
    is_lstm = kind == "LSTM"
    net = SentenceReader(kind, encoding.words.size, encoding.prefixes.size, encoding.suffixes.size, len(encoding.tags),
                         len(encoding.intents), knobs.width, knobs.hidden * (1 if is_lstm else 2), knobs.heads,
                         knobs.blocks, knobs.dropout if is_lstm else knobs.transformer_dropout)
    batches = BucketedBatches(encoding, data.train, knobs.batch_size, knobs.unread, knobs.seed)
    steps = knobs.epochs * batches.per_epoch
    rate = knobs.learning_rate if is_lstm else knobs.transformer_rate
    schedule = optax.warmup_cosine_decay_schedule(0, rate, max(steps // 50, 1), max(steps, 2))
    optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))
    shape = {"words": (longest,), "prefixes": (longest,), "suffixes": (longest,), "lengths": ()}
    train_state = start(net, optimizer, shape, jax.random.key(knobs.seed))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(train_state.params))
    first = cost_of(net, train_state.params, encoding, data.dev, longest)

    def metrics(params: Any, state: Any) -> dict[str, float]:
        answers = answer(net, params, encoding, data.dev, longest)
        intents, f1 = intent_accuracy(answers, data.dev), slot_scores(answers, data.dev).f1
        say(f"{kind}: dev intents {percent(intents)}, slot F1 {f1:.4f}")
        return {"intents": intents, "f1": f1, "both": (intents + f1) / 2}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Retraced)  # one program for each bucket
        _, history = fit(train_state, make_step(net, loss, optimizer), batches, steps=steps, every=batches.per_epoch,
                         metrics=metrics, watch="both", goal="max", progress=False)
    assert history.best is not None
    at, costs = history.curve("cost")
    epochs = [float(step / batches.per_epoch) for step in at]
    return net, history.best.params, {
        "parameters": int(parameters), "best_epoch": history.best.step / batches.per_epoch,
        "training": series(costs, "epoch", epochs, start=first),
        "dev": {name: history.curve(name)[1].tolist() for name in ("intents", "f1")}}


def cost_of(net: Any, params: Any, encoding: Encoding, utterances: list[Utterance], longest: int) -> float:
    """The mean loss, in nats, of the sentences whose intent and slots the training set has; NaN where there is none.
    The others have no finite loss: the network has no logit for what the training set lacks."""
    utterances = [utterance for utterance in utterances if not encoding.missing(utterance)]
    if not utterances:
        return float("nan")
    sentences = Sentences.of(encoding, utterances, longest)
    mask = (np.arange(longest) < sentences.x["lengths"][:, None]).astype(np.float32)
    logits = evaluate(net, params, {}, sentences.x, batch_size=100)
    losses = jax.vmap(loss)(logits, (sentences.tags, mask, sentences.intents))
    return float(np.mean(np.asarray(losses)))


def answer(net: Any, params: Any, encoding: Encoding, utterances: list[Utterance], longest: int) -> Answers:
    """The likeliest intent of each sentence, and the likeliest tag of each word."""
    x = encoding.read([utterance.words for utterance in utterances], longest)
    logits = jax.tree.map(np.asarray, evaluate(net, params, {}, x, batch_size=min(100, len(utterances))))
    tags = logits["tags"].argmax(axis=-1)
    return Answers([encoding.intents[n] for n in logits["intent"].argmax(axis=-1)],
                   [[encoding.tags[n] for n in row[:len(utterance.words)]]
                    for row, utterance in zip(tags, utterances, strict=True)])


def intent_accuracy(answers: Answers, utterances: list[Utterance]) -> float:
    return float(np.mean([a == u.intent for a, u in zip(answers.intents, utterances, strict=True)]))


def slot_scores(answers: Answers, utterances: list[Utterance], which: Any = None) -> ChunkScores:
    """which: (n,) of bool, the sentences that count; None for all."""
    chosen = range(len(utterances)) if which is None else np.flatnonzero(which)
    return chunk_scores([answers.slots[i] for i in chosen], [utterances[i].slots for i in chosen])


def measured(answers: Answers, utterances: list[Utterance], is_new: np.ndarray) -> dict[str, Any]:
    scores = slot_scores(answers, utterances)
    whole = np.mean([answers.intents[i] == u.intent and answers.slots[i] == u.slots for i, u in enumerate(utterances)])
    of_part = functools.partial(slot_scores, answers, utterances)
    return {"intent_accuracy": intent_accuracy(answers, utterances), "slot_f1": scores.f1,
            "slot_precision": scores.precision, "slot_recall": scores.recall, "sentences_right": float(whole),
            "slot_f1_known": of_part(~is_new).f1 if (~is_new).any() else float("nan"),
            "slot_f1_unknown": of_part(is_new).f1 if is_new.any() else float("nan"),
            "slots": {kind: {"f1": f1, "n": n} for kind, (f1, n) in scores.by_kind.items()}}


def show_mistakes(answers: dict[str, Answers], test: list[Utterance]) -> list[dict[str, str]]:
    """Sentences whose intent the first network gets wrong."""
    kind, found = next(iter(answers.items()))
    wrong = [i for i, u in enumerate(test) if found.intents[i] != u.intent]
    say()
    say(f"{kind}: {len(wrong)} of {len(test)} intents wrong")
    for i in wrong[:N_MISTAKES]:
        say(f"  {' '.join(test[i].words)}: {test[i].intent} read as {found.intents[i]}")
    return [{"words": " ".join(test[i].words), "intent": test[i].intent, "read_as": found.intents[i]}
            for i in wrong[:N_MISTAKES]]


def draw(out: Path, name: str, runs: dict[str, Any], answers: dict[str, Answers], test: list[Utterance],
         intents: list[str]) -> None:
    """intents: those of the training set. What a test sentence has beyond them gets a row, in which all are wrong."""
    intents = [*intents, *sorted({u.intent for u in test} - set(intents))]
    figure, axes = figures.panels(1, 3, (4.4, 3.8), f"{name}: learning curves")
    for kind, m in runs.items():
        axes[0, 0].plot(m["training"]["epoch"], m["training"]["cost"], label=kind)
        for axis, measure, scale in ((axes[0, 1], "intents", 100), (axes[0, 2], "f1", 1)):
            axis.plot(range(1, len(m["dev"][measure])), scale * np.array(m["dev"][measure][1:]), label=kind)
    for axis, y in zip(axes[0], ("training cost, words left unread / nats", "dev intents right / %", "dev slot F1"),
                       strict=True):
        axis.set(xlabel="epoch", ylabel=y)
        axis.grid(alpha=0.3)
        axis.legend()
    figures.save(figure, out / "learning_curves.png")
    short = [re.sub(r"^(Search|Add|Book)", r"\1\n", intent) for intent in intents]
    for kind, found in answers.items():
        predicted, true = (np.array([intents.index(name) for name in names])
                           for names in (found.intents, [u.intent for u in test]))
        figure, ((axis,),) = figures.panels(1, 1, (6.6, 5.8), f"{name}, {kind}: {len(test)} test sentences, "
                                            f"{percent(accuracy(predicted, true))} of the intents right")
        counts = confusion_matrix(predicted, true, len(intents))
        axis.imshow(np.sqrt(counts), cmap="Blues")
        for (row, column), n in np.ndenumerate(counts):
            if n:
                axis.text(column, row, str(n), ha="center", va="center",
                          color="white" if n > counts.max() / 3 else "black")
        axis.set(xlabel="predicted intent", ylabel="true intent", xticks=range(len(intents)),
                 yticks=range(len(intents)), yticklabels=short)
        axis.set_xticklabels(short, rotation=40, ha="right")
        figures.save(figure, out / f"confusion_{kind}.png")
    kinds = sorted({slot for m in runs.values() for slot in m["slots"]},
                   key=lambda slot: -max(m["slots"].get(slot, {"n": 0})["n"] for m in runs.values()))
    figure, ((axis,),) = figures.panels(1, 1, (7, 2 + 0.24 * len(kinds)), f"{name}: slots found, F1 by kind")
    for n, (kind, m) in enumerate(runs.items()):
        axis.barh(np.arange(len(kinds)) + 0.4 * n - 0.2, [m["slots"].get(slot, {"f1": 0})["f1"] for slot in kinds], 0.4,
                  label=f"{kind}, all {m['slot_f1']:.3f}")
    n_true = [max(m["slots"].get(slot, {"n": 0})["n"] for m in runs.values()) for slot in kinds]
    axis.set(yticks=range(len(kinds)), yticklabels=[f"{slot} ({n})" for slot, n in zip(kinds, n_true, strict=True)],
             xlabel="F1 on the test set (in brackets: how many there are)", xlim=(0, 1))
    axis.set_ylim(len(kinds) - 0.4, -0.6)
    axis.grid(alpha=0.3, axis="x")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1))
    figures.save(figure, out / "slots.png")
