"""How well does a network predict the next chord of a chorale, and what does it compose?

    python -m experiments run chorales
    python -m experiments run chorales --data nottingham --epochs 20 --semitones 0 --dropout 0.2 --learning-rate 0.005

A piece is a piano roll: which of 88 keys sounds in each frame. An LSTM reads the frames so far and gives a probability
for each key of the next one; the cost is the negative log-likelihood of a frame, summed over the keys. Beside it stand
two predictions by counting: how often each key sounds (marginals), and how often after it has sounded or not (Markov).
Training pieces are transposed at random, so that a progression is learnt in every key. The network is the one of the
best dev cost. It then continues the beginnings of test pieces, each key drawn by itself, at several temperatures:
entropies tell whether the pieces collapse onto one note, and as MIDI and WAV they can be heard.

--data auto takes the chorales, and a round in twelve keys where the file is missing: enough to see it run.

Result of seed 0, on a busy machine of 2 CPU cores, in nats per frame of the test pieces; the published LSTM and TCN are
those of Bai et al. (2018):
               marginals    Markov    LSTM here    LSTM, published    TCN, published
    chorales       11.09     10.49         8.41               8.45              8.10    170 s
    nottingham     10.26      5.15         3.35               3.29              3.07    261 s
The folk tunes are many, and are learnt best in their own keys: transposed by up to 3 semitones, 25 epochs end at 3.74.
The composed chorales keep the keys' entropy of the test pieces (4.76 bits) at temperatures from 0.8 on (4.33 to 4.85).
At 0.5 notes get rare (1.35 at once, not 3.89), and of the folk tunes every eighth piece stands still on one chord.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course5.chorales import pictures
from experiments.course5.chorales.baselines import marginal_cost, markov_cost
from experiments.course5.chorales.measures import described
from experiments.course5.chorales.network import CELLS, Composer, cost_of, loss, network_of
from experiments.course5.chorales.pieces import canon, in_length_groups, transposition, windows
from experiments.course5.copied import longest_copy
from experiments.shared.data import real_or_embedded
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, say, series, table
from jaxnn import summary
from jaxnn.audio import write_wav
from jaxnn.checks import expect
from jaxnn.data import Batches, PianoRolls, load_chorales, load_nottingham
from jaxnn.data.music import N_KEYS
from jaxnn.music import in_seconds, midi_of, notes_of_roll, render, tempos_of, write_midi
from jaxnn.training import fit, make_step, start

DATA = ("auto", "chorales", "nottingham", "canon")
FRAMES = {"chorales": 1.0, "nottingham": 0.5, "canon": 0.5}  # quarter notes
PUBLISHED = {"chorales": {"LSTM, published": 8.45, "TCN, published": 8.10},
             "nottingham": {"LSTM, published": 3.29, "TCN, published": 3.07}, "canon": {}}  # Bai et al. (2018)
BEATS_PER_MINUTE = 80.0


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "which music: the chorales where their file is found, the folk tunes, or a round made "
                     "here", choices=DATA)
    seed: int = random_seed(0, "seed of the initial weights, the batches, the transpositions and the pieces composed")
    cell: str = knob("LSTM", "kind of the recurrent layer", choices=tuple(CELLS))
    hidden: int = count(200, "units of the recurrent layer")
    dropout: float = knob(0.3, "fraction of the recurrent layer's states dropped before the last layer", at_least=0,
                          below=1)
    semitones: int = knob(4, "semitones by which a training window is moved up or down at most", at_least=0,
                          below=N_KEYS)
    window: int = count(128, "frames of a training window; most chorales are shorter")
    batch_size: int = count(8, "windows in a batch")
    epochs: int = count(120, "epochs at most, after which the dev cost of the chorales no longer falls")
    learning_rate: float = positive(0.006, "Adam's first learning rate, which falls to zero as a cosine")
    patience: int = count(10, "measurements of the dev cost, of thirty in all, without a new best that end the "
                          "training")
    temperatures: tuple[float, ...] = positive((0.5, 0.8, 1.0, 1.2), "temperatures of the pieces composed; 1 is the "
                                               "model's own")
    samples: int = count(16, "pieces composed at each temperature; the first is written as MIDI and WAV")
    beginning: int = count(8, "frames of a test piece that each composed one begins with")
    length: int = count(56, "frames that are composed behind that beginning")


def load(knobs: Knobs, data_dir: Path | None) -> tuple[str, PianoRolls]:
    """(what the pieces are, the pieces)."""
    if knobs.data == "nottingham":
        return "nottingham", load_nottingham(data_dir, instead="--data canon")
    return real_or_embedded(
        knobs.data, "chorales", lambda: ("chorales", load_chorales(data_dir, instead="--data canon")),
        lambda: ("canon", canon()), "a round in twelve keys in place of the chorales")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    name, pieces = load(knobs, data_dir)
    say(f"{name}: {len(pieces.train)} pieces to train on, {len(pieces.dev)} dev, {len(pieces.test)} test; "
        f"{sum(map(len, pieces.train)):,} frames to train on")
    shortest = min(map(len, pieces.test))
    expect(knobs.beginning <= shortest, "--beginning", f"at most {shortest} frames, the length of the shortest test "
           "piece", str(knobs.beginning))
    net = network_of(knobs.cell, knobs.hidden, knobs.dropout)
    n_parameters = summary(net, (knobs.window, N_KEYS)).parameters
    params, measures = train(knobs, net, pieces)
    costs = {part: cost_of(net, params, in_length_groups(getattr(pieces, part))) for part in ("train", "dev", "test")}
    baselines = {kind: {part: of(pieces.train, getattr(pieces, part)) for part in costs}
                 for kind, of in (("marginals", marginal_cost), ("Markov", markov_cost))}
    say()
    say(table(("nats per frame, over 88 keys", *costs), [
        *((kind, *(f"{cost:.2f}" for cost in of.values())) for kind, of in baselines.items()),
        *((kind, "", "", f"{cost:.2f}") for kind, cost in PUBLISHED[name].items()),
        (f"{knobs.cell}, {n_parameters:,} parameters", *(f"{cost:.2f}" for cost in costs.values()))]))
    composed = compose(knobs, net, params, pieces)
    show(composed, described(pieces.test))
    sounds = {f"{t:g}": write(out, f"composed_{t:g}", rolls[0], FRAMES[name]) for t, (rolls, _) in composed.items()}
    write(out, "test_piece", pieces.test[0][:knobs.beginning + knobs.length], FRAMES[name])
    pictures.draw(out, name, measures, {**{kind: of["test"] for kind, of in baselines.items()}, **PUBLISHED[name],
                                        f"{knobs.cell}, here": costs["test"]}, composed, pieces, knobs.beginning)
    return {"data": name, **{f"{part}_nats_per_frame": cost for part, cost in costs.items()}, "baselines": baselines,
            "parameters": n_parameters, **measures,
            "test_pieces": {**described(pieces.test), "longest_copy": copied(pieces.test, pieces.train)},
            "composed": {f"{t:g}": {**described(list(rolls[:, knobs.beginning:])),
                                    "model_entropy": float(entropies.mean()), "seconds": sounds[f"{t:g}"],
                                    "longest_copy": copied(rolls[:, knobs.beginning:], pieces.train)}
                         for t, (rolls, entropies) in composed.items()}}


def train(knobs: Knobs, net: Any, pieces: PianoRolls) -> tuple[Any, dict[str, Any]]:
    """(params of the best dev cost, the costs along the way)."""
    of_train = windows(pieces.train, knobs.window)
    batches = Batches(of_train.before.astype(np.float32), (of_train.frames, of_train.weights),
                      min(knobs.batch_size, len(of_train.before)), seed=knobs.seed,
                      augment=transposition(pieces.train, knobs.semitones))
    steps, dev = batches.steps(knobs.epochs), in_length_groups(pieces.dev)
    optimizer = optax.chain(optax.clip_by_global_norm(50.0 * knobs.window / 128),
                            optax.adam(optax.cosine_decay_schedule(knobs.learning_rate, steps)))
    frames = float(of_train.weights.sum(axis=1).mean())  # of a window: the cost is summed over these
    every, costs_of_dev = batches.steps(max(knobs.epochs / 30, 1)), []

    def metrics(params: Any, state: Any) -> dict[str, float]:
        costs_of_dev.append(cost_of(net, params, dev))
        if len(costs_of_dev) % 5 == 1:
            epoch = min(batches.epoch((len(costs_of_dev) - 1) * every), knobs.epochs)
            say(f"epoch {epoch:5.0f}: dev {costs_of_dev[-1]:.3f} nats per frame")
        return {"dev": costs_of_dev[-1]}

    _, history = fit(
        start(net, optimizer, (knobs.window, N_KEYS), jax.random.key(knobs.seed)), make_step(net, loss, optimizer),
        batches, steps=steps, every=every, patience=knobs.patience, watch="dev", metrics=metrics, progress=False)
    assert history.best is not None
    at, costs = history.curve("cost")
    steps_of_dev, dev_costs = history.curve("dev")
    say(f"best dev {history.best.value:.3f} at epoch {batches.epoch(history.best.step):.0f}")
    return jax.tree.map(jnp.asarray, history.best.params), {
        "training": series(costs / frames, "epoch", [batches.epoch(int(step)) for step in at],
                           start=float(dev_costs[0])),
        "dev_costs": {"epochs": [batches.epoch(int(step)) for step in steps_of_dev], "nats": dev_costs.tolist()}}


def compose(knobs: Knobs, net: Any, params: Any, pieces: PianoRolls) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """{temperature: (rolls, entropies of each frame)}, all from the same beginnings of test pieces."""
    composer = Composer(net, params)
    beginnings = np.stack([pieces.test[i % len(pieces.test)][:knobs.beginning] for i in range(knobs.samples)])
    return {t: composer.pieces(beginnings, knobs.length, t, jax.random.key(knobs.seed)) for t in knobs.temperatures}


def show(composed: dict[float, tuple[np.ndarray, np.ndarray]], of_test: dict[str, Any]) -> None:
    def row(name: str, of: dict[str, Any], bits: str) -> tuple[Any, ...]:
        return (name, f"{of['keys_entropy']:.2f}", of["keys"], f"{of['chords_entropy']:.2f}", f"{of['notes']:.2f}",
                of["longest_still"], percent(of["stuck"]), bits)

    rows = [row(f"composed, temperature {t:g}", described(list(rolls)), f"{entropies.mean():.2f}")
            for t, (rolls, entropies) in composed.items()]
    say()
    say(table(("pieces", "entropy of keys / bits", "keys", "of chords / bits", "notes at once", "longest still",
               "stuck", "model / bits a frame"), [row("test", of_test, ""), *rows]))


def copied(rolls: Any, train: list[np.ndarray]) -> int:
    """The most frames in a row, up to a transposition, that stand in a row in a training piece too. Frames that stand
    still are one."""
    def moves(roll: np.ndarray) -> list[Any]:
        kept = roll[np.concatenate([[True], (roll[1:] != roll[:-1]).any(axis=1)])]
        lowest = [int(np.flatnonzero(frame).min(initial=N_KEYS)) for frame in kept]
        shapes = [np.roll(frame, -low).tobytes() for frame, low in zip(kept, lowest, strict=True)]
        return list(zip(shapes, np.diff(lowest, prepend=lowest[:1]).tolist(), strict=True))

    sources = list(map(moves, train))
    return max(longest_copy(moves(roll), sources) for roll in rolls)


def write(out: Path, name: str, roll: np.ndarray, frame: float) -> float:
    """A roll as MIDI and WAV; how many seconds it lasts."""
    midi = midi_of(notes_of_roll(roll, frame), beats_per_minute=BEATS_PER_MINUTE)
    write_midi(out / f"{name}.mid", midi)
    rate = 22_050
    samples = render(in_seconds(notes_of_roll(roll, frame), tempos_of(midi)), rate)
    write_wav(out / f"{name}.wav", samples, rate)
    return len(samples) / rate
