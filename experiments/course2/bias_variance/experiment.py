"""Does the error on the dev set come from bias, from variance, or from data of another kind?

    python -m experiments run bias-variance

Networks with one hidden layer learn handwritten digits, each from several seeds at once: from more and
more examples, then with more and more hidden units. The gaps between the errors of people, on the
training and on the dev set give a verdict in words. Then the dev set is made of other pictures, as if
from a phone: blurred and noisy. A train-dev set, like the training set but held out, tells this
mismatch from variance.

Result, on 2 CPU cores shared with other work, 87 s; errors in %, mean ± deviation over 10 seeds:
    1,258 examples, hidden units   2        57.75 ± 16.09 train, 58.70 ± 14.52 dev: high bias
                                   16        1.22 ± 0.18 train,   3.34 ± 0.59 dev: high variance
                                   128       0.02 ± 0.04 train,   2.15 ± 0.53 dev: high variance
    64 hidden units, examples      20        0.00 ± 0.00 train,  33.56 ± 8.07 dev: high variance
                                   1250      0.20 ± 0.11 train,   2.49 ± 0.36 dev: high variance
    from a phone  0 %   0.19 train, 2.52 train-dev, 27.21 dev: high mismatch
                  50 %  1.38 train, 6.59 train-dev, 10.41 dev: high variance and mismatch
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.run import progress, say, series, table
from experiments.shared.trials import draw_batches, error_rates, start_trials, train_trials
from jaxnn import Dense, Sequential, relu, softmax_cross_entropy
from jaxnn.analysis import diagnose
from jaxnn.data import load_digits, split
from jaxnn.training import make_step

N_CLASSES = 10
PARTS = ("train", "train-dev", "dev")


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = knob(0, "seed of the split, the weights and the batches; each further network takes the next number",
                     at_least=0)
    seeds: int = knob(10, "networks of each kind, trained at once; the bands are over them", at_least=2)
    human_error: float = knob(0.002, "fraction that people are taken to get wrong, from MNIST; these 8x8 pixels may "
                              "be harder", at_least=0, below=1)
    sizes: tuple[int, ...] = knob((20, 50, 100, 200, 500, 1250), "numbers of training examples that are compared; "
                                  "1,250 are nearly all", at_least=1)
    hidden: tuple[int, ...] = knob((2, 4, 8, 16, 32, 64, 128), "numbers of hidden units that are compared", at_least=1)
    main_hidden: int = knob(64, "hidden units where the number of examples varies; more units gain nothing", at_least=1)
    mixes: tuple[float, ...] = knob((0.0, 0.2, 0.5), "fractions of the training pictures that a phone takes, compared "
                                    "with one another", at_least=0, below=1)
    noise: float = knob(0.1, "standard deviation of a phone's noise, of ink in [0, 1]", at_least=0)
    steps: int = knob(1500, "steps of each training; by the last, the larger networks' train error is zero", at_least=1)
    batch_size: int = knob(64, "examples in a batch, drawn with replacement, so that small sets need no special case",
                           at_least=1)
    learning_rate: float = knob(0.003, "Adam's first learning rate, which falls to zero as a cosine", above=0)


class Digits:
    """All pictures, sharp ones and then the same from a phone; the sets of each seed as (k, n) indices."""

    def __init__(self, knobs: Knobs):
        sharp, y = load_digits()
        self.n = len(sharp)
        phone = from_a_phone(sharp, knobs.noise, knobs.seed)
        self.x = jnp.asarray(np.concatenate([sharp, phone]).reshape(2 * self.n, -1), jnp.float32)
        self.y = jnp.asarray(np.concatenate([y, y]))
        seeds = range(knobs.seed, knobs.seed + knobs.seeds)
        parts = [split(self.n, (0.7, 0.15, 0.15), seed=seed, labels=y) for seed in seeds]
        self.train, self.half, self.other_half = (np.stack(sets) for sets in zip(*parts, strict=True))
        self.dev = np.concatenate([self.half, self.other_half], axis=1)  # nothing is chosen: no test set


def from_a_phone(pictures: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Blurred by (1, 2, 1) / 4 along both axes, plus noise; (n, 8, 8) in [0, 1]."""
    blurred = pictures
    for axis in (1, 2):
        x = np.moveaxis(blurred, axis, 0)
        padded = np.pad(x, ((1, 1), (0, 0), (0, 0)))
        blurred = np.moveaxis((padded[:-2] + 2 * x + padded[2:]) / 4, 0, axis)
    return np.clip(blurred + noise * np.random.RandomState(seed).randn(*pictures.shape), 0, 1)


@functools.cache
def trainer(hidden: int, learning_rate: float, steps: int) -> tuple[Any, Any, Any]:
    """(network, optimiser, step); kept, so that what is compiled for one set serves the next."""
    model = Sequential(Dense(hidden), relu, Dense(N_CLASSES))
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    return model, optimizer, make_step(model, softmax_cross_entropy, optimizer)


def errors(knobs: Knobs, digits: Digits, hidden: int, sets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The error on each set after training on sets["train"], of each seed: (k,); and "costs", their mean (steps,)."""
    model, optimizer, step = trainer(hidden, knobs.learning_rate, knobs.steps)
    seeds = np.arange(knobs.seeds) + knobs.seed
    states = start_trials(model, optimizer, digits.x.shape[1:], seeds)
    batches = draw_batches(np.random.RandomState(knobs.seed), sets["train"], knobs.steps, knobs.batch_size)
    states, costs = train_trials(step, states, digits.x, digits.y, batches)
    return {"costs": np.asarray(costs).mean(axis=1),
            **{name: error_rates(model, states, digits.x, digits.y, which) for name, which in sets.items()}}


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    digits = Digits(knobs)
    sizes = [n for n in knobs.sizes if n <= digits.train.shape[1]]
    say(f"human error taken as {100 * knobs.human_error:g} %; errors in %, mean ± standard deviation over "
        f"{knobs.seeds} seeds")
    by_size = [errors(knobs, digits, knobs.main_hidden, {"train": digits.train[:, :n], "dev": digits.dev})
               for n in progress(sizes, "size")]
    rows = report(knobs, "examples", sizes, by_size)
    by_hidden = [errors(knobs, digits, n, {"train": digits.train, "dev": digits.dev})
                 for n in progress(knobs.hidden, "size")]
    rows += report(knobs, "hidden units", knobs.hidden, by_hidden)
    by_mix = [errors(knobs, digits, knobs.main_hidden, mixed(digits, fraction)) for fraction in knobs.mixes]
    rows += report(knobs, "from a phone", [f"{100 * m:g} %" for m in knobs.mixes], by_mix)
    draw(knobs, out, digits, sizes, by_size, by_hidden, by_mix)
    best = by_size[-1]
    return {"train_accuracy": 1 - float(best["train"].mean()), "dev_accuracy": 1 - float(best["dev"].mean()),
            "rows": rows, "costs": series(best["costs"], "step")}


def mixed(digits: Digits, fraction: float) -> dict[str, np.ndarray]:
    """Training and train-dev sets of which a fraction is from a phone, and a dev set that is all so."""

    def partly_from_a_phone(which: np.ndarray) -> np.ndarray:
        n = round(fraction * which.shape[1])
        return np.concatenate([which[:, :n] + digits.n, which[:, n:]], axis=1)

    return {"train": partly_from_a_phone(digits.train), "train-dev": partly_from_a_phone(digits.half),
            "dev": digits.other_half + digits.n}


def report(knobs: Knobs, what: str, names: Sequence[Any], measured: list[dict[str, np.ndarray]]) -> list[Any]:
    """Prints the errors and their verdicts, and returns them as records."""
    records = []
    for name, of_seeds in zip(names, measured, strict=True):
        parts = [part for part in PARTS if part in of_seeds]
        mean = {part: float(of_seeds[part].mean()) for part in parts}
        spread = {part: float(of_seeds[part].std(ddof=1)) for part in parts}
        verdict = diagnose(mean["train"], mean["dev"], knobs.human_error, mean.get("train-dev"))
        records.append({what: name, "error": mean, "deviation": spread, "verdict": verdict.name,
                        "text": verdict.text})
    say()
    say(table((what, *(f"{part} error" for part in parts), "verdict"),
              [(r[what], *(f"{100 * r['error'][p]:.2f} ± {100 * r['deviation'][p]:.2f}" for p in parts),
                r["verdict"]) for r in records]))
    for name, record in ((names[0], records[0]), (names[-1], records[-1])):
        say(f"{what} {name}: {record['text']}")
    return records


def draw(knobs: Knobs, out: Path, digits: Digits, sizes: Sequence[int], by_size: Any, by_hidden: Any,
         by_mix: Any) -> None:
    figure, axes = figures.panels(1, 2, (5, 3.9), f"Digits: mean error over {knobs.seeds} seeds; the band is "
                                                  "one standard deviation")
    for axis, at, measured, label in (
            (axes[0, 0], sizes, by_size, f"training examples ({knobs.main_hidden} hidden units)"),
            (axes[0, 1], knobs.hidden, by_hidden, f"hidden units ({digits.train.shape[1]:,} examples)")):
        lines = {}
        for part, colour in (("train", "tab:blue"), ("dev", "tab:orange")):
            values = 100 * np.stack([m[part] for m in measured])
            mean, spread = values.mean(axis=1), values.std(axis=1, ddof=1)
            lines[part] = at, mean
            axis.fill_between(at, np.maximum(mean - spread, 0), mean + spread, color=colour, alpha=0.25)
        axis.axhline(100 * knobs.human_error, color="grey", linestyle="--", label="people (assumed)")
        figures.curves(axis, lines, label, "error / %")
        axis.set(xscale="log")
        axis.set_yscale("symlog", linthresh=1)  # linear below 1 %, so that no error at all can be shown
        axis.set_ylim(0, 100)
        axis.set_yticks([0, 0.5, 1, 2, 5, 10, 20, 50, 100], [0, 0.5, 1, 2, 5, 10, 20, 50, 100])
        axis.set_xticks(at, map(str, at))
        axis.minorticks_off()
    figures.save(figure, out / "errors.png")

    title = ("Trained on sharp pictures and some from a phone, used on a phone's: mean and standard deviation over "
             f"{knobs.seeds} seeds")
    figure, axes = figures.panels(1, len(by_mix), (3.6, 3.6), title)
    top = max(100 * (m["dev"].mean() + m["dev"].std(ddof=1)) for m in by_mix)
    for axis, fraction, measured in zip(axes[0], knobs.mixes, by_mix, strict=True):
        mean = [100 * knobs.human_error, *(100 * measured[part].mean() for part in PARTS)]
        spread = [0, *(100 * measured[part].std(ddof=1) for part in PARTS)]
        bars = axis.bar(("people", *PARTS), mean, yerr=spread, color=["grey", "C0", "C2", "C1"], capsize=3)
        axis.bar_label(bars, [f"{m:.1f}" for m in mean], padding=3)
        axis.set(ylabel="error / %", ylim=(0, 1.15 * top), title=f"{100 * fraction:g} % from a phone")
    figures.save(figure, out / "mismatch.png")
    shown = np.ravel(np.column_stack([digits.other_half[0, :6], digits.other_half[0, :6] + digits.n]), "F")
    figures.images(out / "pictures.png", "Sharp pictures, and the same from a phone",
                   np.asarray(digits.x)[shown].reshape(-1, 8, 8), [str(label) for label in
                                                                 np.asarray(digits.y)[shown]])
