"""From how many examples on is end-to-end learning better than a pipeline?

    python -m experiments run end-to-end

Strings of three spoken digits, close to each other or overlapping, over a little noise, are to be written down. The
pipeline cuts a string where it is quiet, and a network reads each piece; it was taught with single recordings, cut and
labelled by people. The end-to-end network hears the whole string and is taught what was said, not where: by CTC. Both
learn from the same recordings, more and more of them, and are tested on strings of the official test recordings.

The hand-designed cut is knowledge that no data have to teach, and mistakes that no data can mend. The third line in the
picture is the pipeline with cuts in the true places: what is lost to the cuts is between the two.

Result of seed 0 on the Free Spoken Digit Dataset, 65 s of processor time; strings that are not all right, of 200:
    strings to learn from    30        100       300       1,200
    cut and read             75.0 %    68.0 %    64.5 %    61.0 %
    the same, true cuts      56.0 %    26.0 %    21.5 %    20.0 %
    end to end               99.5 %    100 %     99.5 %    49.0 %
They cross at about 840 strings. The cuts find three pieces in 75.0 % of the strings, and no data mend the others.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course3 import digits as data
from experiments.course3 import spoken
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import progress, say, series, table
from jaxnn import Conv, MaxPool, Sequential, ctc, relu
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import intervals
from jaxnn.decoding import ctc_greedy
from jaxnn.text.metrics import edit_distance
from jaxnn.training import evaluate, make_step

N_DIGITS, LONGEST = 3, 4400  # samples of one recording: 0.55 s; longer ones, a sixth, are left out
FRAMES = N_DIGITS * LONGEST + 3000
BLANK = 10
PIPELINE, TRUE_CUTS, CTC = "cut and read", "the same with true cuts", "end to end"


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the recordings: " + spoken.WHY, choices=spoken.CHOICES)
    seed: int = random_seed(0, "seed of the strings, the weights and the batches")
    strings: tuple[int, ...] = knob((30, 100, 300, 1200), "numbers of strings to learn from, each used in three "
                                    "recordings", at_least=4)
    test_strings: int = count(200, "strings of the test; 200 give an interval of about 5 points")
    steps: int = count(450, "steps of the end-to-end network; its cost on 1,200 strings has nearly levelled off")
    reader_steps: int = count(250, "steps of the network that reads single digits, which are learnt sooner")
    batch_size: int = count(16, "strings in a batch; of single recordings, twice as many")
    learning_rate: float = positive(0.003, "Adam's first learning rate, which falls to zero as a cosine")
    gap: tuple[float, ...] = knob((-0.06, 0.12), "shortest and longest pause between two digits, in seconds; below 0 "
                                  "they overlap")
    noise: float = knob(0.004, "standard deviation of the noise; the speech has about 0.05", at_least=0)


class Strings(NamedTuple):
    """sound (n, FRAMES) float32, labels (n, N_DIGITS), and where each recording begins and ends, (n, N_DIGITS, 2)."""

    sound: np.ndarray
    labels: np.ndarray
    places: np.ndarray


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    heard = spoken.load(knobs.data, data_dir, knobs.seed)
    short = np.array([len(sound) <= LONGEST for sound in heard.samples])
    is_test = heard.number < (5 if heard.name == "fsdd" else 2)
    pool, held = (np.flatnonzero(short & mask) for mask in (~is_test, is_test))
    say(f"{len(pool)} recordings to learn from and {len(held)} for the test are at most {LONGEST / spoken.RATE:.2f} s "
        "long")
    test = strings(knobs, heard, held, knobs.test_strings, knobs.seed + 1)
    most = strings(knobs, heard, pool, max(knobs.strings), knobs.seed)
    cuts = [cut(sound, knobs.noise) for sound in test.sound]
    right_number = float(np.mean([len(c) == N_DIGITS for c in cuts]))
    say(f"the cuts find three pieces in {100 * right_number:.1f} % of the test strings")
    reader, listener = spoken.network(), end_to_end_network()
    steps = {"reader": make_step(reader, loss, optax.adam(optax.cosine_decay_schedule(knobs.learning_rate,
                                                                                      knobs.reader_steps))),
             "listener": make_step(listener, string_loss, optax.adam(optax.cosine_decay_schedule(
                 knobs.learning_rate, knobs.steps)))}
    features = spoken.features(most.sound), spoken.features(test.sound)
    errors: dict[str, list[dict[str, Any]]] = {way: [] for way in (PIPELINE, TRUE_CUTS, CTC)}
    costs: dict[str, Any] = {}
    for n in progress(knobs.strings, "size"):
        some = Strings(*(array[:n] for array in most))
        pieces = spoken.features(spoken.padded(pieces_of(some.sound, some.places)))
        size = min(2 * knobs.batch_size, len(pieces))
        params, state, of_reader = data.train(reader, pieces, some.labels.ravel(), seed=knobs.seed,
                                              step=steps["reader"], batch_size=size,
                                              epochs=knobs.reader_steps * size / len(pieces))
        for way, places in ((PIPELINE, cuts), (TRUE_CUTS, test.places)):
            errors[way].append(measured(read_pieces(reader, params, state, test.sound, places), test.labels))
        size = min(knobs.batch_size, n)
        params, state, of_listener = data.train(listener, features[0][:n], some.labels, seed=knobs.seed,
                                                step=steps["listener"], epochs=knobs.steps * size / n, batch_size=size)
        errors[CTC].append(measured(transcribed(listener, params, state, features[1]), test.labels))
        costs |= {f"reader, {n}": series(of_reader, "step"), f"end to end, {n}": series(of_listener, "step")}
    say(table(("strings", *(f"{way}: strings wrong" for way in errors)),
              [(n, *(intervals.shown(errors[way][i]["strings"], errors[way][i]["interval"]) for way in errors))
               for i, n in enumerate(knobs.strings)]))
    crossing = where_they_cross(knobs.strings, *([e["strings"] for e in errors[way]] for way in (PIPELINE, CTC)))
    say("they do not cross at these sizes" if crossing is None else f"they cross at about {crossing:.0f} strings")
    draw(out, heard.name, knobs.strings, errors, crossing, test, cuts)
    return {"data": heard.name, "strings": list(knobs.strings), "errors": errors, "crossing": crossing,
            "three_pieces": right_number, "costs": costs}


def strings(knobs: Knobs, heard: spoken.Spoken, pool: np.ndarray, n: int, seed: int) -> Strings:
    """n strings of one speaker each; gaps, the place in the recording and the noise are drawn."""
    random = np.random.default_rng(seed)
    sound = random.normal(0, max(knobs.noise, 1e-6), (n, FRAMES)).astype(np.float32)
    labels, places = np.empty((n, N_DIGITS), np.int32), np.empty((n, N_DIGITS, 2), int)
    low, high = (round(seconds * spoken.RATE) for seconds in (min(knobs.gap), max(knobs.gap)))
    for i in range(n):
        speaker = heard.speaker[random.choice(pool)]
        chosen = random.choice(pool[heard.speaker[pool] == speaker], N_DIGITS)
        begin = int(random.integers(100, 800))
        for j, k in enumerate(chosen):
            recording = heard.samples[k]
            end = begin + len(recording)
            sound[i, begin:end] += recording * (0.05 / max(float(np.sqrt(np.mean(recording**2))), 1e-4))
            labels[i, j], places[i, j] = heard.y[k], (begin, end)
            begin = max(end + int(random.integers(low, high + 1)), 0)
    return Strings(sound, labels, places)


def cut(sound: np.ndarray, noise: float, *, window: int = 160, shortest: float = 0.1,
        pause: float = 0.02) -> np.ndarray:
    """(n, 2) where pieces begin and end: runs that are louder than the noise, pauses shorter than `pause` seconds
    bridged, and pieces shorter than `shortest` seconds dropped."""
    n = len(sound) // window
    level = np.sqrt(np.mean(np.square(sound[:n * window]).reshape(n, window), 1))
    is_loud = np.concatenate([[False], level > max(3 * noise, 0.008), [False]]).astype(int)
    begins, ends = (np.flatnonzero(np.diff(is_loud) == sign) for sign in (1, -1))
    pieces: list[list[int]] = []
    for begin, end in zip((begins * window).tolist(), (ends * window).tolist(), strict=True):
        if pieces and begin - pieces[-1][1] < pause * spoken.RATE:
            pieces[-1][1] = end
        else:
            pieces.append([begin, end])
    kept = [piece for piece in pieces if piece[1] - piece[0] >= shortest * spoken.RATE]
    return np.array(kept, int).reshape(-1, 2)


def pieces_of(sound: np.ndarray, places: Any) -> list[np.ndarray]:
    return [row[begin:end] for row, of_row in zip(sound, places, strict=True) for begin, end in of_row]


def read_pieces(reader: Any, params: Any, state: Any, sound: np.ndarray, places: Any) -> list[list[int]]:
    """The digits of each string, one for each piece."""
    pieces = pieces_of(sound, places)
    read: list[int] = []
    if pieces:
        read = data.logits(reader, params, state, spoken.features(spoken.padded(pieces))).argmax(-1).tolist()
    result, at = [], 0
    for of_row in places:
        result.append(read[at:at + len(of_row)])
        at += len(of_row)
    return result


def end_to_end_network() -> Sequential:
    """(time, N_MELS, 1) -> (time / 2, 11): two convolutions over time and pitch, then two over time."""
    return Sequential(Conv(12), relu, MaxPool(2), Conv(24), relu, MaxPool((1, 2)), bands_as_channels,
                      Conv(48, (7, 1)), relu, Conv(48, (5, 1)), relu, Conv(BLANK + 1, (1, 1)), without_bands)


def bands_as_channels(x: Any) -> Any:
    return x.reshape(x.shape[0], 1, -1)


def without_bands(x: Any) -> Any:
    return x[:, 0]


def string_loss(logits: Any, labels: Any) -> Any:
    return ctc(logits, labels, blank=BLANK)


def transcribed(listener: Any, params: Any, state: Any, x: np.ndarray) -> list[list[int]]:
    z = jnp.asarray(evaluate(listener, params, state, x, batch_size=100))
    path = jax.vmap(lambda z: ctc_greedy(z, blank=BLANK))(z)
    return [labels[:n].tolist() for labels, n in zip(np.asarray(path.labels), np.asarray(path.length), strict=True)]


def measured(found: list[list[int]], labels: np.ndarray) -> dict[str, Any]:
    """Strings that are not exactly right, and digits put in, left out or mistaken for each digit."""
    wrong = [row != truth.tolist() for row, truth in zip(found, labels, strict=True)]
    edits = sum(edit_distance(row, truth.tolist()) for row, truth in zip(found, labels, strict=True))
    return {"strings": float(np.mean(wrong)), "interval": intervals.of_fraction(sum(wrong), len(wrong)),
            "digits": edits / labels.size}


def where_they_cross(sizes: tuple[int, ...], first: list[float], second: list[float]) -> float | None:
    """The size, between two tried ones on a logarithmic scale, from which on the second has the smaller error."""
    d = np.array(second) - np.array(first)
    for i in range(len(d) - 1, 0, -1):
        if d[i] < 0 <= d[i - 1]:
            share = d[i - 1] / (d[i - 1] - d[i])
            return float(np.exp(np.log(sizes[i - 1]) + share * np.log(sizes[i] / sizes[i - 1])))
    return None


def draw(out: Path, name: str, sizes: tuple[int, ...], errors: dict[str, list[dict[str, Any]]],
         crossing: float | None, test: Strings, cuts: list[np.ndarray]) -> None:
    figure, axes = figures.panels(1, 2, (5.8, 4.0), f"{name}: strings of three digits, written down")
    for i, (way, values) in enumerate(errors.items()):
        error = 100 * np.array([v["strings"] for v in values])
        low, high = 100 * np.array([v["interval"] for v in values]).T
        axes[0, 0].errorbar(np.array(sizes) * 1.03 ** (i - 1), error, np.maximum((error - low, high - error), 0),
                            fmt=f"C{i}o" + ("--" if way == TRUE_CUTS else "-"), capsize=3, label=way)
    if crossing is not None:
        axes[0, 0].axvline(crossing, color="grey", linestyle=":", label=f"they cross at {crossing:.0f}")
    axes[0, 0].set(xlabel="strings to learn from", ylabel="test strings that are wrong / %", xscale="log")
    axes[0, 0].set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes[0, 0].minorticks_off()
    axes[0, 0].grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    bad = next((i for i, c in enumerate(cuts) if len(c) != N_DIGITS), 0)
    seconds = np.arange(FRAMES) / spoken.RATE
    axes[0, 1].plot(seconds, test.sound[bad], linewidth=0.4, color="black")
    for j, (begin, end) in enumerate(test.places[bad] / spoken.RATE):
        axes[0, 1].axvspan(begin, end, 0.85, 0.95, color="C2", alpha=0.5, label="a digit" if j == 0 else None)
    for j, (begin, end) in enumerate(cuts[bad] / spoken.RATE):
        axes[0, 1].axvspan(begin, end, 0.05, 0.15, color="C3", alpha=0.5, label="a piece as cut" if j == 0 else None)
    axes[0, 1].set(xlabel="time / s", ylabel="sound pressure", title=f"{test.labels[bad].tolist()}, cut into "
                                                                     f"{len(cuts[bad])}")
    axes[0, 1].legend(fontsize=8)
    figures.save(figure, out / "end_to_end.png")
