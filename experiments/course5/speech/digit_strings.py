"""Can a network write down a string of digits when nobody tells it which sound is which digit?

    python -m experiments run digit-strings

Three to seven digits of one speaker, one behind another, with pauses of up to 0.2 seconds or none, over noise: the
label is the string alone. Connectionist temporal classification (CTC) adds up all the ways in which it may lie over the
steps; `jaxnn.ctc` is its loss with the gradient by hand. The strings are made anew at each step, of the recordings that
the official split trains on; the test's strings are made of its test recordings. Beside the likeliest path stands the
beam search over prefixes. Then a speaker is left out of training: what a new voice costs. The picture shows where the
network hears each digit beside where it is.

Result of seed 0, 300 test strings of 1,499 digits, digits that are wrong; 86 s of training for each on a CPU core:
                               likeliest path    beam of 10    strings that are right
    all speakers, known                0.73 %        0.73 %                   96.67 %
    theo, known                        0.33 %        0.26 %                   98.67 %
    theo, left out of training         4.23 %        3.97 %                   82.67 %
The network speaks up once in each digit, for a step or two, near its end, and is silent otherwise.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.course5.speech.listener import as_batch, hide, listener, read, steps_of, train
from experiments.course5.speech.recordings import (
    CHOICES,
    HOP,
    RATE,
    WHY,
    at_speeds,
    features,
    frames_of,
    levelled,
    load,
    loudest,
)
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, say, series, table
from jaxnn.checks import InputError
from jaxnn.data import SpokenDigits
from jaxnn.text import word_error_rate
from jaxnn.training import evaluate

SHORTEST, LONGEST = 3, 7  # digits
SAMPLES = 5 * RATE
PAUSE = 0.2  # seconds at most
SPEEDS = (0.9, 1.0, 1.1)


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the recordings: " + WHY, choices=CHOICES)
    seed: int = random_seed(0, "seed of the strings, the initial weights and what is hidden")
    steps: int = count(1200, "steps of the training; 1,200 read 19,200 strings")
    batch_size: int = count(16, "strings in a batch, made anew at each step")
    learning_rate: float = positive(0.004, "Adam's largest learning rate")
    channels: int = count(64, "channels of both convolutions")
    hidden: int = count(64, "units of the GRU in each direction")
    dropout: float = knob(0.1, "fraction that is dropped before the GRU", at_least=0, below=1)
    test: int = count(300, "strings in each test")
    beam: int = count(10, "prefixes that the beam search keeps")
    held_out: tuple[str, ...] = knob(("theo",), 'speakers, each left out of a training of its own; "none" for none')


class Strings(NamedTuple):
    """Strings of digits.

    samples: (n, SAMPLES), over faint noise that goes on behind the end.
    lengths: (n,), in samples.
    digits: for each string an array of 0 .. 9.
    bounds: for each string the first sample of each digit, and the first behind it.
    """

    samples: np.ndarray
    lengths: np.ndarray
    digits: list[np.ndarray]
    bounds: list[list[tuple[int, int]]]


class Pool:
    """Recordings from which strings are made.

    speeds: versions of each in training; the test takes speed 1 alone.
    """

    def __init__(self, digits: SpokenDigits, chosen: np.ndarray, speeds: Sequence[float]):
        places = np.flatnonzero(chosen)
        sounds = [levelled(loudest(digits.samples[i], RATE) if len(digits.samples[i]) > RATE else digits.samples[i])
                  for i in places]
        versions = at_speeds(sounds, speeds)
        self.speakers = np.unique(digits.speaker[places])
        self.words = {(s, d): [[version[i] for i in np.flatnonzero((digits.speaker[places] == s)
                                                                   & (digits.y[places] == d))] for version in versions]
                      for s in self.speakers for d in range(10)}

    def draw(self, rng: np.random.Generator, n: int) -> Strings:
        samples, lengths = np.zeros((n, SAMPLES), np.float32), np.zeros(n, np.int64)
        all_digits, all_bounds = [], []
        for row in range(n):
            while True:
                digits, sounds, bounds = self._one(rng)
                if len(sounds) <= SAMPLES:
                    break
            samples[row, :len(sounds)] = sounds
            samples[row] += rng.normal(size=SAMPLES).astype(np.float32) * 10 ** rng.uniform(-4.0, -2.6)
            lengths[row] = len(sounds)
            all_digits.append(digits)
            all_bounds.append(bounds)
        return Strings(samples, lengths, all_digits, all_bounds)

    def _one(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
        """A string that may be longer than there is room for: then another is drawn."""
        digits = rng.integers(0, 10, rng.integers(SHORTEST, LONGEST + 1))
        speaker = rng.choice(self.speakers)
        n_versions = len(next(iter(self.words.values())))
        version = rng.integers(n_versions)
        parts, bounds = [np.zeros(int(rng.uniform(0, PAUSE) * RATE), np.float32)], []
        at = len(parts[0])
        for digit in digits:
            words = self.words[speaker, digit][version]
            word = words[rng.integers(len(words))]
            pause = np.zeros(int(rng.uniform(0, PAUSE) * RATE), np.float32)
            bounds.append((at, at + len(word)))
            at += len(word) + len(pause)
            parts += [word, pause]
        return digits, np.concatenate(parts), bounds


def batch_of(strings: Strings, hidden: Any = None) -> tuple[Any, Any]:
    """(x, labels) as the network has them; digit d is class d + 1."""
    lengths = frames_of(strings.lengths)
    x = features(strings.samples)
    if hidden is not None:
        x = hide(hidden, x, lengths, time_width=12)
    return as_batch(x, lengths, [digits + 1 for digits in strings.digits], LONGEST)


def train_on(knobs: Knobs, pool: Pool, what: str) -> tuple[Any, Any, Any]:
    """(the network, its train state, the history)."""
    net = listener(11, knobs.channels, knobs.hidden, knobs.dropout)
    begin = time.perf_counter()

    def batches(step: int) -> tuple[Any, Any]:
        strings = pool.draw(np.random.default_rng((knobs.seed, 1, step)), knobs.batch_size)
        return batch_of(strings, jax.random.fold_in(jax.random.key(knobs.seed), step))

    state, history = train(net, batches, frames_of(SAMPLES), steps=knobs.steps, learning_rate=knobs.learning_rate,
                           seed=knobs.seed)
    say(f"{what}: cost {history.records[-1]['cost']:.3f} nats a string after {knobs.steps:,} steps, "
        f"{time.perf_counter() - begin:.0f} s")
    return net, state, history


def test_on(knobs: Knobs, net: Any, state: Any, strings: Strings) -> tuple[dict[str, Any], np.ndarray]:
    """(the error rates, the logits)."""
    parts = []
    for first in range(0, len(strings.lengths), 50):
        some = Strings(strings.samples[first:first + 50], strings.lengths[first:first + 50],
                       strings.digits[first:first + 50], [])
        x, _ = batch_of(some)
        parts.append(np.asarray(evaluate(net, state.params, state.state, x, batch_size=50)))
    logits = np.concatenate(parts)
    greedy, beam = read(logits, np.asarray(steps_of(frames_of(strings.lengths)), np.int32), knobs.beam)
    truth = [as_text(digits) for digits in strings.digits]
    measures: dict[str, Any] = {"strings": len(truth), "digits": sum(map(len, strings.digits))}
    for name, found in (("greedy", greedy), ("beam", beam)):
        texts = [as_text(labels - 1) for labels in found]
        measures[name] = {"word_error_rate": word_error_rate(texts, truth),
                          "strings_right": float(np.mean([a == b for a, b in zip(texts, truth, strict=True)])),
                          "wrong": [pair for pair in zip(truth, texts, strict=True) if pair[0] != pair[1]][:10]}
    return measures, logits


def as_text(digits: Any) -> str:
    return " ".join(map(str, digits))


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    data, digits = load(knobs.data, data_dir, knobs.seed)
    held_out = [] if knobs.held_out == ("none",) else list(knobs.held_out)
    if data == "synthetic" and held_out and not set(held_out) & set(digits.speakers):
        held_out = [digits.speakers[0]]  # the recordings' speakers are not among the voices made here
    for name in held_out:
        if name not in digits.speakers:
            raise InputError("--held-out", f"expects speakers among {', '.join(digits.speakers)}; got {name!r}")
    n_long = sum(len(x) > RATE for x in digits.samples)
    if n_long:
        say(f"of {n_long} recordings longer than a second the loudest second is taken")
    is_test = digits.is_test
    rng = np.random.default_rng((knobs.seed, 2))
    test = Pool(digits, is_test, (1.0,)).draw(rng, knobs.test)
    say(f"{data}: strings of {SHORTEST} to {LONGEST} digits, of {np.mean(test.lengths) / RATE:.1f} s on average; "
        f"{sum(map(len, test.digits)):,} digits in {knobs.test} test strings")
    net, state, history = train_on(knobs, Pool(digits, ~is_test, SPEEDS), "all speakers")
    known, logits = test_on(knobs, net, state, test)
    rows = {"all known": (known, known)}
    for name in held_out:
        i = digits.speakers.index(name)
        theirs = Pool(digits, is_test & (digits.speaker == i), (1.0,)).draw(rng, knobs.test)
        before, _ = test_on(knobs, net, state, theirs)
        _, without, _ = train_on(knobs, Pool(digits, ~is_test & (digits.speaker != i), SPEEDS), f"without {name}")
        rows[name] = before, test_on(knobs, net, without, theirs)[0]
    say()
    say(table(("word error rate", "greedy", f"beam of {knobs.beam}", "strings right", "new: greedy", "new: beam",
               "strings right"),
              [(name, *shown(before), *(shown(new) if name != "all known" else ("", "", "")))
               for name, (before, new) in rows.items()]))
    for true, found in known["beam"]["wrong"][:5]:
        say(f"  {true} is heard as {found}")
    draw_alignment(out, test, logits)
    draw_training(out, history)
    at, costs = history.curve("cost")
    return {"data": data, "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            "word_error_rate": known["greedy"]["word_error_rate"],
            "word_error_rate_beam": known["beam"]["word_error_rate"], "known_speakers": known,
            "new_speakers": {name: {"known": before, "new": new} for name, (before, new) in rows.items()
                             if name != "all known"}, "costs": series(costs, "step", at)}


def shown(measures: dict[str, Any]) -> tuple[str, str, str]:
    return (percent(measures["greedy"]["word_error_rate"]), percent(measures["beam"]["word_error_rate"]),
            percent(measures["beam"]["strings_right"]))


def draw_training(out: Path, history: Any) -> None:
    figure, ((axis,),) = figures.panels(1, 1, (6, 3.8), "Strings of digits: CTC's cost in training")
    figures.curves(axis, {"cost": history.curve("cost")}, "step", "training cost / nats per string", log=True)
    figures.save(figure, out / "training.png")


def draw_alignment(out: Path, strings: Strings, logits: np.ndarray) -> None:
    """The first two test strings: the sound, where its digits are, and each class's probability at each step."""
    n_shown = min(2, len(strings.lengths))
    figure, axes = figures.panels(2, n_shown, (7, 3.2), "Where the digits are (bars), and where the network hears them")
    for column, i in zip(axes.T, range(n_shown), strict=True):
        seconds = strings.lengths[i] / RATE
        n = int(frames_of(strings.lengths[i]))
        image = np.asarray(features(strings.samples[i:i + 1]))[0, :n]
        column[0].imshow(image.T, origin="lower", aspect="auto", extent=(0, n * HOP / RATE, 0, image.shape[1]))
        column[0].set(title=f"said: {as_text(strings.digits[i])}", ylabel="mel band", xlim=(0, seconds))
        p = np.asarray(jax.nn.softmax(logits[i], -1))[:int(steps_of(n))]
        at = (np.arange(len(p)) * 4 + 1.5) * HOP / RATE
        column[1].plot(at, p[:, 0], color="grey", linewidth=0.8, linestyle=":", label="blank")
        for digit in range(10):
            if p[:, digit + 1].max() > 0.1:
                column[1].plot(at, p[:, digit + 1], linewidth=1.5, label=str(digit), color=f"C{digit}")
        for digit, (first, last) in zip(strings.digits[i], strings.bounds[i], strict=True):
            column[1].plot([first / RATE, last / RATE], [1.06, 1.06], color=f"C{digit}", linewidth=5,
                           solid_capstyle="butt")
            column[1].text((first + last) / 2 / RATE, 1.1, str(digit), ha="center")
            for axis in column:
                axis.axvline(first / RATE, color="white" if axis is column[0] else "lightgrey", linewidth=0.7)
        column[1].set(xlabel="time / s", ylabel="probability", xlim=(0, seconds), ylim=(0, 1.22))
        column[1].legend(fontsize=7, loc="center right", ncols=1)
    figures.save(figure, out / "alignment.png")
