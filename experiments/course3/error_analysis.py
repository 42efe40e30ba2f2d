"""Which errors are worth mending first?

    python -m experiments run error-analysis

Two networks are looked at by their errors. One hears spoken digits of a speaker that it has not learnt from, each of
six speakers in turn: the tags of a recording are its speaker, its digit, and whether it is short or quiet. The other
finds things in streets, and the tags of a thing are its kind, its size in pixels and whether the picture's edge cuts
it; a thing is wrong where less than half of its pixels are found.

Each row of a table has the error among such examples, their part of all errors and of the batch's gradient, and the
ceiling: the points of error that go away if the tag is mended. An example has several tags, so the ceilings overlap;
the shares add up to the error. Mending tag after tag, the best first, gives ceilings that add up too.

Result of seed 0, speech, 45 s of processor time: 565 of 1,500 recordings of a new speaker are misheard, 37.7 %. Quiet
recordings have the highest ceiling, 11.1 points (9.6 to 12.8), but 140 of their 166 errors are theo's: by shares, where
both count half, lucas comes first with 4.0 points. jackson has 17.5 % of the errors and 23.3 % of the gradient. The
digits 3 and 2 are confused most, "3" heard as "2" 48 times.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments.course3 import digits as data
from experiments.course3 import spoken
from experiments.course4.segmentation import experiment as segmentation
from experiments.course4.segmentation.scenes import class_weights
from experiments.course4.segmentation.scenes import load as load_scenes
from experiments.shared import figures
from experiments.shared.data import real_or_embedded
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import progress, say, series
from jaxnn import per_example
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import ErrorTable, confused_pairs, error_table
from jaxnn.data.extra import import_extra
from jaxnn.models import unet
from jaxnn.training import make_step

SIZES = ((0, 16, "below 16 px"), (16, 64, "16 to 63 px"), (64, 256, "64 to 255 px"), (256, 10**9, "256 px and more"))
THINGS = ("pole", "sign", "car", "pedestrian", "bicyclist")
CROP = (64, 96)  # height and width of the crops of CamVid that are trained on, pixels


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the recordings: " + spoken.WHY, choices=spoken.CHOICES)
    streets: str = knob("auto", "pictures of streets: CamVid where its file is found, else canvases of digits",
                        choices=("auto", "camvid", "digits", "none"))
    seed: int = random_seed(0, "seed of the weights and the batches")
    epochs: int = count(8, "epochs of the network that hears; a new speaker's errors have stopped falling")
    recordings: int = count(25, "recordings of each word by each speaker; 25 are half of them")
    batch_size: int = count(16, "recordings in a batch")
    learning_rate: float = positive(0.003, "Adam's first learning rate, which falls to zero as a cosine")
    street_epochs: int = count(6, "epochs of the network that finds things; after 6 there are errors left to look at")
    street_width: int = count(8, "channels of the first level of the network that finds things")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    record = {"speech": speech(knobs, out, data_dir)}
    if knobs.streets != "none":
        record["streets"] = streets(knobs, out, data_dir)
    return record


def speech(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    heard = spoken.load(knobs.data, data_dir, knobs.seed, most=knobs.recordings)
    x, y = spoken.features(spoken.padded(heard.samples)), heard.y
    model = spoken.network()
    n = int((heard.speaker != 0).sum())  # all speakers have as many
    step = make_step(model, loss, data.adam(knobs.learning_rate, n, knobs.batch_size, knobs.epochs))
    predictions, norms, costs = np.empty(len(y), int), np.empty(len(y)), {}
    for s, name in progress(list(enumerate(heard.speakers)), "speaker"):
        new = heard.speaker == s
        params, state, of_steps = data.train(model, x[~new], y[~new], epochs=knobs.epochs, batch_size=knobs.batch_size,
                                             seed=knobs.seed, step=step)
        predictions[new] = data.logits(model, params, state, x[new]).argmax(-1)
        norms[new] = per_example(model, loss, params, state, x[new], y[new]).norms
        costs[name] = series(of_steps, "step")
    seconds = np.array([len(sound) for sound in heard.samples]) / spoken.RATE
    level = np.array([np.sqrt(np.mean(np.square(sound))) for sound in heard.samples])
    tags = {name: heard.speaker == s for s, name in enumerate(heard.speakers)}
    tags |= {f"digit {d}": y == d for d in range(10)}
    tags |= {"short": seconds < np.quantile(seconds, 0.2), "quiet": level < np.quantile(level, 0.2)}
    found = error_table(predictions != y, tags, norms)
    say(f"\nnew speakers, the shortest and the quietest fifth tagged too:\n{found}")
    pairs = confused_pairs(predictions, y, 10, most=6)
    say("most confused: " + ", ".join(f"{p.label} heard as {p.prediction} {p.n} times" for p in pairs))
    draw(out / "speech.png", f"{heard.name}: errors with a new speaker, {found.n_wrong} of {found.n}", found)
    table = np.array([[(predictions != y)[(heard.speaker == s) & (y == d)].mean() for d in range(10)]
                      for s in range(len(heard.speakers))])
    draw_table(out / "speaker_and_digit.png", f"{heard.name}: error with a new speaker / %", table, heard.speakers)
    return {"data": heard.name, **as_record(found), "confused": [p._asdict() for p in pairs], "costs": costs,
            "by_speaker_and_digit": table.tolist()}


def streets(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    kind, scenes = real_or_embedded(knobs.streets, "camvid",
                                    lambda: ("camvid", load_scenes("camvid", data_dir, knobs.seed, CROP)),
                                    lambda: ("digits", load_scenes("digits", None, knobs.seed, CROP)),
                                    "\ncanvases of digits in place of CamVid")
    settings = segmentation.Knobs(data=kind, seed=knobs.seed, epochs=knobs.street_epochs, width=knobs.street_width)
    model = unet(len(scenes.classes), width=settings.width, depth=settings.depth, batch_norm=True)
    weights = class_weights(scenes.train.y, len(scenes.classes), settings.balance)
    train_state, history, _ = segmentation.train(settings, scenes, model, weights)
    found = segmentation.predict(model, train_state.params, train_state.state, scenes.test.x)
    names = [c for c in scenes.classes if c in THINGS or (kind == "digits" and c != "paper")]
    wrong, tags = things(found, scenes.test.y, scenes.classes, names)
    table = error_table(wrong, tags)
    say(f"\n{kind}: things of which less than half is found\n{table}")
    draw(out / "streets.png", f"{kind}: things of which less than half is found, {table.n_wrong} of {table.n}; their "
         "areas in px", table)
    steps_at, costs = history.curve("cost")
    return {"data": kind, **as_record(table), "costs": {"streets": series(costs, "step", steps_at)}}


def things(found: np.ndarray, labels: np.ndarray, classes: tuple[str, ...],
           names: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(which connected things are found for less than half, their tags): of all pictures (n, height, width)."""
    label = import_extra("scipy.ndimage", "error-analysis").label
    wrong, rows = [], []
    for name in names:
        c = classes.index(name)
        for truth, prediction in zip(labels == c, found == c, strict=True):
            parts, n = label(truth)
            sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
            right = np.bincount(parts[prediction], minlength=n + 1)[1:]
            edges = set(parts[0]) | set(parts[-1]) | set(parts[:, 0]) | set(parts[:, -1])
            for k in range(n):
                wrong.append(2 * right[k] < sizes[k])
                size = next(word for low, high, word in SIZES if low <= sizes[k] < high)
                rows.append((name, size, k + 1 in edges))
    tags = {name: np.array([row[0] == name for row in rows]) for name in names}
    tags |= {word: np.array([row[1] == word for row in rows]) for _, _, word in SIZES}
    tags |= {"cut by the edge": np.array([row[2] for row in rows])}
    return np.array(wrong), {name: column for name, column in tags.items() if column.any()}


def as_record(found: ErrorTable) -> dict[str, Any]:
    return {"n": found.n, "wrong": found.n_wrong, "tags": [row._asdict() for row in (*found.rows, found.untagged)],
            "ceilings": [c._asdict() for c in found.ceilings], "overlaps": found.overlaps.tolist()}


def draw(path: Path, title: str, found: ErrorTable) -> None:
    """For each tag its error, and its parts of the errors and of the gradient; ceilings and shares beside them."""
    rows = found.rows[::-1]
    figure, axes = figures.panels(1, 3, (4.4, 0.28 * len(rows) + 1.6), title)
    at = np.arange(len(rows))
    whole = 100 * found.n_wrong / found.n
    panels = (("which are often wrong?", "error / % of those with the tag", ("error",)),
              ("which make up many errors?", "part / %", ("of_errors", "of_gradient")),
              ("which are worth work?", f"points of the error of {whole:.1f} %", ("ceiling", "share")))
    words = {"error": "95 % intervals as lines", "of_errors": "of all errors",
             "of_gradient": "of the gradient", "ceiling": "gained if all of these were right",
             "share": "share; shares add up"}
    for axis, (question, label, names) in zip(axes[0], panels, strict=True):
        kept = [name for name in names if name != "of_gradient" or not np.isnan(rows[0].of_gradient)]
        height = 0.8 / len(kept)
        for i, name in enumerate(kept):
            values = 100 * np.nan_to_num([getattr(row, name) for row in rows])
            low, high = 100 * np.array([getattr(row, f"{name}_interval") for row in rows]).T
            axis.barh(at - (i - (len(kept) - 1) / 2) * height, values, height, label=words[name], capsize=1.5,
                      xerr=np.maximum((values - low, high - values), 0), error_kw={"linewidth": 0.8})
        axis.set_yticks(at, [f"{row.tag} ({row.n})" for row in rows] if names == ("error",) else [""] * len(rows),
                        fontsize=8)
        axis.set_xlabel(label)
        axis.set_title(question, fontsize=9)
        axis.grid(alpha=0.3, axis="x")
        axis.set_axisbelow(True)
        axis.margins(y=0.01)
    axes[0, 0].axvline(whole, color="grey", linestyle=":", label=f"of all, {whole:.1f} %")
    for axis in axes[0]:
        figures.legend_below(axis)
    figures.save(figure, path)


def draw_table(path: Path, title: str, table: np.ndarray, speakers: tuple[str, ...]) -> None:
    figure, ((axes,),) = figures.panels(1, 1, (6.4, 3.6), title)
    axes.imshow(table, cmap="Reds", vmin=0, vmax=1, aspect="auto")
    for (s, d), value in np.ndenumerate(table):
        axes.text(d, s, f"{100 * value:.0f}", ha="center", va="center", color="white" if value > 0.6 else "black")
    axes.set_yticks(range(len(speakers)), speakers)
    axes.set(xlabel="digit", ylabel="new speaker", xticks=range(10))
    figures.save(figure, path)
