"""Does a network fail on a new speaker or on new recordings, and does it help to mix noise in?

    python -m experiments run mismatch

A network hears ten digits. It learns from five speakers. A part of their recordings is held out: train-dev, of the same
distribution as the training set. Dev and test are the sixth speaker. So the gap from train to train-dev is variance,
that from train-dev to dev is mismatch, and that from dev to test is what choosing by dev has cost. The gradients of the
network's cost on train-dev and on dev are compared layer by layer: a cosine near 1 says that what would help on the one
set would help on the other; halves of train-dev say what the cosine is of two sets that differ by chance alone.

Then the speech is to be understood in noise, of which there is none in the training set: it is synthesised. One network
hears each recording over the same 0.8 seconds of noise; the other hears each over noise of its own. Both are tested
over those 0.8 seconds, and over noise that neither has heard.

Result of seed 0 on half of the Free Spoken Digit Dataset, 45 s of processor time; errors:
    new speaker    train     train-dev    dev        test
    nicolas        7.8 %     9.6 %        23.1 %     23.3 %    the least mismatch, 13 points
    lucas          5.4 %     6.8 %        32.3 %     36.7 %
    theo           4.1 %     6.0 %        70.0 %     66.7 %    the most, 64 points
After one epoch the gradients of two halves of train-dev have a cosine of .78, those of train-dev and dev of .12. At the
end the halves have -.04: the network rests there, and what is left is chance. With one background the error is 12.4 %
over that background and 32.8 % over others, +20.4 points (+15.0 to +25.5); with many, 22.4 % and 20.0 %, a gap of -2.4
points (-7.2 to +2.5).
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course3 import digits as data
from experiments.course3 import spoken
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, progress, say, series, table
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import cosines, diagnose, find_leaks, intervals
from jaxnn.training import make_step

PARTS = ("train", "train-dev", "dev", "test")
ONE, MANY, CLEAN = "one background", "many backgrounds", "no background"


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the recordings: " + spoken.WHY, choices=spoken.CHOICES)
    seed: int = random_seed(0, "seed of the split, the weights, the batches and the noise")
    speaker: int = knob(2, "number of the speaker, 0 to 5, who is looked at; each of the six is tried as the new one",
                        at_least=0, below=6)
    recordings: int = knob(25, "recordings of each word by each speaker", at_least=4)
    epochs: int = count(8, "epochs of each network; by the last, the errors have stopped falling")
    early: int = count(1, "epochs after which gradients are compared too, while they still have something in common")
    batch_size: int = count(16, "recordings in a batch")
    learning_rate: float = positive(0.003, "Adam's first learning rate, which falls to zero as a cosine")
    level: float = knob(5.0, "level of the speech over the noise, in decibels")
    human_error: float = knob(0.005, "fraction of single digits that people are assumed to get wrong", at_least=0,
                              below=1)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    heard = spoken.load(knobs.data, data_dir, knobs.seed, most=knobs.recordings)
    sound, y = spoken.padded(heard.samples), heard.y
    x, model = spoken.features(sound), spoken.network()
    n = len(parts_of(knobs, heard, knobs.speaker)["train"])
    step = make_step(model, loss, data.adam(knobs.learning_rate, n, knobs.batch_size, knobs.epochs))
    rows, looked_at = {}, {}
    for s, name in progress(list(enumerate(heard.speakers)), "speaker"):
        parts = parts_of(knobs, heard, s)
        params, state, costs = data.train(model, x[parts["train"]], y[parts["train"]], epochs=knobs.epochs, step=step,
                                          batch_size=knobs.batch_size, seed=knobs.seed)
        wrong = data.logits(model, params, state, x).argmax(-1) != y
        rows[name] = judged(knobs, wrong, parts) | {"costs": series(costs, "step")}
        if s == knobs.speaker:
            looked_at = {"params": params, "state": state, "parts": parts, "name": name}
    say(table(("new speaker", *PARTS, "verdict"),
              [(name, *(percent(row["errors"][part]) for part in PARTS), row["verdict"])
               for name, row in rows.items()]))
    name, parts = looked_at["name"], looked_at["parts"]
    say(f"{name}: {rows[name]['text']}")
    leaks = find_leaks(sound, parts, groups=heard.speaker, near=None)
    say(f"what the parts share: {leaks}".replace("; use split_groups", ""))
    early, _, _ = data.train(model, x[parts["train"]], y[parts["train"]], epochs=knobs.early, step=step,
                             batch_size=knobs.batch_size, seed=knobs.seed)
    layers = {when: agreements(knobs, model, values, looked_at, x, y)
              for when, values in (("early", early), ("trained", looked_at["params"]))}
    for when, of_layers in layers.items():
        say(table((f"layer, {when}", "cosine of train-dev and dev", "of two halves of train-dev"),
                  [(layer, f"{r['dev']:.3f}", f"{r['half']:.3f}") for layer, r in of_layers.items()]))
    noise = in_noise(knobs, heard, sound, model, step, parts)
    draw(out, heard, rows, layers, noise, name)
    return {"data": heard.name, "speakers": rows, "looked_at": name, "layers": layers, "noise": noise}


def parts_of(knobs: Knobs, heard: spoken.Spoken, new: int) -> dict[str, np.ndarray]:
    """Places: of the five a fifth of the recordings is held out as train-dev; of the new speaker, half is dev."""
    known = heard.speaker != new
    held_out = heard.number % 5 == 0
    first = heard.number % 2 == 0
    masks = {"train": known & ~held_out, "train-dev": known & held_out, "dev": ~known & first, "test": ~known & ~first}
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


def judged(knobs: Knobs, wrong: np.ndarray, parts: dict[str, np.ndarray]) -> dict[str, Any]:
    errors = {name: float(wrong[places].mean()) for name, places in parts.items()}
    sizes = {name: len(places) for name, places in parts.items()}
    verdict = diagnose(errors["train"], errors["dev"], knobs.human_error, errors["train-dev"], errors["test"],
                       sizes=sizes)
    return {"errors": errors, "verdict": verdict.name, "text": verdict.text, "gaps": verdict.gaps,
            "gap_intervals": verdict.intervals,
            "intervals": {name: intervals.of_fraction(int(wrong[p].sum()), len(p)) for name, p in parts.items()}}


def agreements(knobs: Knobs, model: Any, params: Any, looked_at: dict[str, Any], x: np.ndarray,
               y: np.ndarray) -> dict[str, dict[str, float]]:
    """By layer: the cosine of the gradients on train-dev and dev, and on two halves of train-dev."""
    @jax.jit
    def gradient(params: Any, x: Any, y: Any) -> Any:
        def cost(params: Any) -> Any:
            return jnp.mean(jax.vmap(lambda x, y: loss(model(params, looked_at["state"], x)[0], y))(x, y))

        return jax.grad(cost)(params)

    held, dev = (looked_at["parts"][part] for part in ("train-dev", "dev"))
    order = np.random.default_rng(knobs.seed).permutation(held)
    # Three sets of one size, so that chance does as much to each.
    size = min(len(order) // 2, len(dev))
    of_half, of_other, of_dev = (gradient(params, x[which], y[which])
                                 for which in (order[:size], order[size:2 * size], dev[:size]))
    to_dev, to_half = cosines(of_half, of_dev), cosines(of_half, of_other)
    return {layer: {"dev": to_dev[layer].cosine, "half": to_half[layer].cosine, "norm": to_dev[layer].norms[0],
                    "dev_norm": to_dev[layer].norms[1]} for layer in to_dev}


def backgrounds(n: int, frames: int, seed: int) -> np.ndarray:
    """(n, frames) float32 of noise, each coloured as rooms and engines are: power falling with frequency, and a hum."""
    random = np.random.default_rng(seed)
    f = np.fft.rfftfreq(frames, 1 / spoken.RATE)
    slope = random.uniform(0, 1.5, (n, 1))
    amplitude = 1 / np.maximum(f, 50) ** slope
    centre, width = random.uniform(200, 3000, (n, 1)), random.uniform(50, 400, (n, 1))
    amplitude = amplitude / amplitude.max(1, keepdims=True) + 2 * np.exp(-((f - centre) / width) ** 2)
    phase = random.uniform(0, 2 * np.pi, (n, len(f)))
    noise = np.fft.irfft(amplitude * np.exp(1j * phase), frames)
    return (noise / np.sqrt(np.mean(noise**2, 1, keepdims=True))).astype(np.float32)


def mixed(sound: np.ndarray, noise: np.ndarray, level: float) -> np.ndarray:
    """Speech with noise whose power is `level` decibels below that of the speech, silence around the speech counted."""
    power = np.sqrt(np.mean(np.square(sound), 1, keepdims=True))
    return sound + noise * power * 10 ** (-level / 20)


def in_noise(knobs: Knobs, heard: spoken.Spoken, sound: np.ndarray, model: Any, step: Any,
             parts: dict[str, np.ndarray]) -> dict[str, Any]:
    """Test errors of networks trained without noise, with one background and with many, in several backgrounds.

    All recordings here are of known speakers, train-dev, so that noise is the only thing that is new.
    """
    frames, train, held = sound.shape[1], parts["train"], parts["train-dev"]
    one = backgrounds(1, frames, knobs.seed)
    many, unheard = (backgrounds(len(places), frames, knobs.seed + 1 + i) for i, places in enumerate((train, held)))
    training = {CLEAN: None, ONE: one, MANY: many}
    tests = {"without noise": None, "the one background": one, "unheard backgrounds": unheard}
    x = {name: spoken.features(sound[held] if noise is None else mixed(sound[held], noise, knobs.level))
         for name, noise in tests.items()}
    y, costs = heard.y, {}
    record: dict[str, Any] = {}
    for way, noise in training.items():
        taught = spoken.features(sound[train] if noise is None else mixed(sound[train], noise, knobs.level))
        params, state, of_steps = data.train(model, taught, y[train], epochs=knobs.epochs, step=step, seed=knobs.seed,
                                             batch_size=knobs.batch_size)
        costs[way] = series(of_steps, "step")
        wrong = {name: data.logits(model, params, state, x[name]).argmax(-1) != y[held] for name in tests}
        record[way] = {name: {"error": float(w.mean()), "interval": intervals.of_fraction(int(w.sum()), len(w))}
                       for name, w in wrong.items()}
        gap = wrong["unheard backgrounds"], wrong["the one background"]
        record[way]["gap"] = {"error": float(gap[0].mean() - gap[1].mean()),
                              "interval": intervals.of_paired_difference(*gap)}
    say(table((f"trained with, {knobs.level:g} dB", *tests, "overfitting to the one background"),
              [(way, *(intervals.shown(r[name]["error"], r[name]["interval"]) for name in tests),
                intervals.shown_points(r["gap"]["error"], r["gap"]["interval"])) for way, r in record.items()]))
    return {**record, "costs": costs}


def draw(out: Path, heard: spoken.Spoken, rows: dict[str, Any], layers: dict[str, dict[str, dict[str, float]]],
         noise: dict[str, Any], name: str) -> None:
    figure, axes = figures.panels(1, 3, (5.0, 4.0), f"{heard.name}: train and train-dev of five speakers, dev and "
                                                    "test of the sixth")
    words = {"bias": "avoidable bias", "variance": "variance", "mismatch": "mismatch", "overfitting to dev": "to dev"}
    for i, kind in enumerate(words):
        gaps = 100 * np.array([row["gaps"][kind] for row in rows.values()])
        low, high = 100 * np.array([row["gap_intervals"][kind] for row in rows.values()]).T
        axes[0, 0].bar(np.arange(len(rows)) + 0.2 * (i - 1.5), gaps, 0.2, label=words[kind], capsize=1.5,
                       yerr=np.maximum((gaps - low, high - gaps), 0), error_kw={"linewidth": 0.8})
    axes[0, 0].set_xticks(range(len(rows)), list(rows), rotation=30, ha="right", fontsize=8)
    axes[0, 0].axhline(0, color="black", linewidth=0.8)
    axes[0, 0].set(ylabel="gap / points of error, with 95 %", xlabel="new speaker")
    names = list(layers["early"])
    at = np.arange(len(names))
    for i, (when, key, label) in enumerate((("early", "half", "early: halves of train-dev"),
                                            ("early", "dev", "early: train-dev and dev"),
                                            ("trained", "half", "trained: halves of train-dev"),
                                            ("trained", "dev", "trained: train-dev and dev"))):
        axes[0, 1].bar(at + 0.2 * (i - 1.5), [layers[when][layer][key] for layer in names], 0.2, label=label)
    axes[0, 1].axhline(0, color="black", linewidth=0.8)
    axes[0, 1].set_xticks(at, names, rotation=30, ha="right", fontsize=8)
    axes[0, 1].set(ylabel="cosine of the gradients", xlabel=f"layer; {name} is new")
    ways, tests = [w for w in noise if w != "costs"], list(noise[CLEAN])[:3]
    for i, test in enumerate(tests):
        values = 100 * np.array([noise[way][test]["error"] for way in ways])
        low, high = 100 * np.array([noise[way][test]["interval"] for way in ways]).T
        axes[0, 2].bar(np.arange(len(ways)) + 0.27 * (i - 1), values, 0.27, label=f"heard in: {test}", capsize=2,
                       yerr=np.maximum((values - low, high - values), 0))
    axes[0, 2].set_xticks(range(len(ways)), ways, fontsize=8)
    axes[0, 2].set(ylabel="error on train-dev / %", xlabel="trained with")
    for axis in axes[0]:
        axis.grid(alpha=0.3, axis="y")
        axis.legend(fontsize=7)
    figures.save(figure, out / "mismatch.png")
