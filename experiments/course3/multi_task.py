"""When does one network for several tasks beat one network for each task?

    python -m experiments run multi-task

Which things are in a street's picture: a pole, a sign, a fence, a car, a pedestrian, a bicyclist? Each is a task of yes
and no, and a picture may have all of them. One network with a shared trunk and an output for each task is compared with
one network of the same trunk for each task. A share of the labels is masked, each by itself, as where people labelled
some things and not others: what is masked counts nowhere in the cost, and the pictures stay of use to the other tasks.

The course says that one network wins where tasks share low features, each has little data by itself, and the network is
large enough. So the share that is masked and the width of the trunk are varied. Last, the gradients of the tasks by the
shared trunk are laid beside each other: their norms say which task rules the trunk, their cosines which are in
conflict.

Result of seed 0 on CamVid, 50 s of processor time: no winner. Five tasks, 540 training pictures; the mean average
precision is .776 to .845, where the mean share of yes, which needs no look, is .640. One network is within 0.027 of
five, for both widths and all shares, every interval holds 0, and with seeds 1 and 2 (`--widths 8 --masked 0 0.85 0.95`)
the signs change. On the trunk 6 of 10 pairs of tasks are in conflict, slightly: the lowest cosine is -.27, of car and
pedestrian. On the streets of the published test set (`--test streets`) both ways have .59 to .62, which is next to
nothing.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course3 import digits as data
from experiments.course4.segmentation import scenes
from experiments.shared import figures
from experiments.shared.data import real_or_embedded
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import progress, say, series, table
from jaxnn import Conv, Dense, Flatten, MaxPool, Sequential, binary_cross_entropy, relu
from jaxnn.analysis import conflicts, cosine, intervals
from jaxnn.data import load_camvid
from jaxnn.data.extra import import_extra
from jaxnn.training import make_step

CHOICES = ("auto", "camvid", "digits")
STRETCH = 20  # pictures, which stand in the order of the drives, a second or more apart


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the pictures: CamVid where its file is found, else canvases of four of scikit-learn's "
                     "digits", choices=CHOICES)
    test: str = knob("stretches", "the test pictures of CamVid: every fourth stretch of 20 pictures of all its "
                     "streets, or the published test set, whose streets the training set does not have",
                     choices=("stretches", "streets"))
    seed: int = random_seed(0, "seed of the masks, the weights and the batches")
    least: float = knob(0.002, "fraction of a picture's pixels from which on a thing counts as present", above=0,
                        below=1)
    masked: tuple[float, ...] = knob((0.0, 0.6, 0.85), "fractions of the labels that are masked", at_least=0, below=1)
    widths: tuple[int, ...] = knob((2, 8), "channels of the first convolution that are compared; the later ones have "
                                   "twice as many", at_least=1)
    steps: int = count(200, "steps of each training; by the last, the cost has nearly levelled off")
    batch_size: int = count(32, "pictures in a batch; 32 are a tenth of all")
    learning_rate: float = positive(0.002, "Adam's first learning rate, which falls to zero as a cosine")


class Presence(NamedTuple):
    """Pictures (n, height, width, channels) float32, and which tasks they are a yes of, (n, n_tasks) float32."""

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    tasks: tuple[str, ...]


def load(knobs: Knobs, data_dir: Path | None) -> Presence:
    """The streets, four times smaller, or canvases; and the things that 10 to 90 % of the training pictures have."""
    return real_or_embedded(knobs.data, "camvid", lambda: streets(knobs, data_dir), lambda: canvases(knobs),
                            "canvases of digits in place of CamVid")


def streets(knobs: Knobs, data_dir: Path | None) -> Presence:
    camvid = load_camvid(data_dir, instead="--data digits")
    x, y, test_x, test_y = camvid.train_x, camvid.train_y, camvid.test_x, camvid.test_y
    if knobs.test == "stretches":
        x, y = np.concatenate([x, camvid.val_x, test_x]), np.concatenate([y, camvid.val_y, test_y])
        is_test = np.arange(len(x)) // STRETCH % 4 == 3
        x, y, test_x, test_y = x[~is_test], y[~is_test], x[is_test], y[is_test]
    x, test_x = (v.reshape(len(v), 24, 4, 32, 4, 3).mean((2, 4), dtype=np.float32) / 255 - 0.4 for v in (x, test_x))
    return _common(knobs, "camvid", x, y, test_x, test_y, camvid.classes)


def canvases(knobs: Knobs) -> Presence:
    found = scenes.load("digits", None, knobs.seed, (64, 96))
    return _common(knobs, "digits", found.train.x, found.train.y, found.test.x, found.test.y, found.classes)


def _common(knobs: Knobs, name: str, x: Any, y: Any, test_x: Any, test_y: Any, classes: tuple[str, ...]) -> Presence:
    of_train, of_test = (np.stack([(labels == c).mean((1, 2)) >= knobs.least for c in range(len(classes))], 1)
                         for labels in (y, test_y))
    kept = [c for c in range(len(classes)) if 0.1 <= of_train[:, c].mean() <= 0.9 and of_test[:, c].any()]
    tasks = tuple(classes[c] for c in kept)
    say(f"{name}: {len(x)} training and {len(test_x)} test pictures; present in training: " + ", ".join(
        f"{classes[c]} {100 * of_train[:, c].mean():.0f} %" for c in kept))
    return Presence(name, x, of_train[:, kept].astype(np.float32), test_x, of_test[:, kept].astype(np.float32), tasks)


def network(width: int, n_tasks: int) -> Sequential:
    trunk = Sequential(Conv(width), relu, MaxPool(2), Conv(2 * width), relu, MaxPool(2), Conv(2 * width), relu,
                       MaxPool(2), Flatten(), Dense(4 * width), relu)
    return Sequential(trunk=trunk, heads=Dense(n_tasks))


def loss(logits: Any, labels: Any) -> Any:
    """Of one picture: the mean over the tasks of their cross-entropies, nats; a masked one adds 0.

    Args:
      logits: (n_tasks,).
      labels: (n_tasks, 2): the label, and 1 where it counts or 0 where it is masked.
    """
    return jnp.mean(labels[:, 1] * jax.vmap(binary_cross_entropy)(logits, labels[:, 0]))


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    presence = load(knobs, data_dir)
    n_tasks, random = len(presence.tasks), np.random.default_rng(knobs.seed)
    draws = random.random(presence.train_y.shape)  # one for all shares: what is masked stays masked as the share grows
    records, costs = [], {}
    last: tuple[Any, ...] = ()
    for width in knobs.widths:
        model = network(width, n_tasks)
        epochs = knobs.steps * min(knobs.batch_size, len(presence.train_x)) / len(presence.train_x)
        step = make_step(model, loss, data.adam(knobs.learning_rate, len(presence.train_x), knobs.batch_size, epochs))

        def train(labels: np.ndarray, model: Any = model, step: Any = step, epochs: float = epochs) -> Any:
            params, _, of_steps = data.train(model, presence.train_x, labels, epochs=epochs, step=step, seed=knobs.seed,
                                             batch_size=knobs.batch_size)
            return params, of_steps

        for share in progress(knobs.masked, "share"):
            counts = (draws >= share).astype(np.float32)
            labels = np.stack([presence.train_y, counts], -1)
            params, of_steps = train(labels)
            one = data.logits(model, params, {}, presence.test_x)
            costs[f"width {width}, {share:g} masked"] = series(of_steps, "step")
            each = np.empty_like(one)
            for t in range(n_tasks):
                alone = labels.copy()
                # The mean is over all tasks, so that the only one left counts as much as all do together.
                alone[..., 1] *= n_tasks * (np.arange(n_tasks) == t)
                each[:, t] = data.logits(model, train(alone)[0], {}, presence.test_x)[:, t]
            records.append(compared(presence, width, share, one, each))
            if share == knobs.masked[0]:
                last = model, params, labels
    chance = float(presence.test_y.mean())
    say(f"average precision without a look at the pictures: {chance:.3f}, the mean share of yes")
    say(table(("width", "masked", "one network", "one for each task", "difference"),
              [(r["width"], f"{100 * r['masked']:g} %", f"{r['one']:.3f}", f"{r['each']:.3f}",
                f"{r['difference']:+.3f} ({r['interval'][0]:+.3f} to {r['interval'][1]:+.3f})") for r in records]))
    model, params, labels = last
    agreement = on_the_trunk(presence, model, params, labels)
    draw(out, presence, records, agreement)
    return {"data": presence.name, "tasks": list(presence.tasks), "without_a_look": chance, "compared": records,
            "trunk": agreement, "costs": costs}


def compared(presence: Presence, width: int, share: float, one: np.ndarray, each: np.ndarray) -> dict[str, Any]:
    """Average precision of each task by both ways, and the mean difference with its interval over the tasks."""
    score = import_extra("sklearn.metrics", "multi-task").average_precision_score
    of_one, of_each = (np.array([score(presence.test_y[:, t], z[:, t]) for t in range(len(presence.tasks))])
                       for z in (one, each))
    return {"width": width, "masked": share, "one": float(of_one.mean()), "each": float(of_each.mean()),
            "difference": float((of_one - of_each).mean()), "interval": intervals.of_mean(of_one - of_each),
            "of_one": of_one.tolist(), "of_each": of_each.tolist()}


def on_the_trunk(presence: Presence, model: Any, params: Any, labels: np.ndarray) -> dict[str, Any]:
    """Norms and cosines of the tasks' gradients by the trunk: of new weights, and of the trained ones."""
    x, given = jnp.asarray(presence.train_x), jnp.asarray(labels)

    @jax.jit
    def gradient(params: Any, weights: Any) -> Any:
        def cost(params: Any) -> Any:
            z = jax.vmap(lambda x: model(params, {}, x)[0])(x)
            return jnp.mean(jax.vmap(loss)(z, given.at[..., 1].multiply(weights)))

        return jax.grad(cost)(params)["trunk"]

    fresh, _ = model.init(jax.random.key(0), presence.train_x.shape[1:])
    record = {}
    for when, values in (("new weights", fresh), ("trained", params)):
        of_task = {task: gradient(values, jnp.eye(len(presence.tasks))[t]) for t, task in enumerate(presence.tasks)}
        names, cosines = conflicts(of_task)
        norms = {task: cosine(g, g).norms[0] for task, g in of_task.items()}
        worst = np.unravel_index(np.argmin(cosines), cosines.shape)
        n_below = int((cosines[np.triu_indices(len(names), 1)] < 0).sum())
        say(f"{when}: {n_below} of {len(names) * (len(names) - 1) // 2} pairs of tasks are in conflict, most "
            f"{names[worst[0]]} and {names[worst[1]]}, cosine {cosines[worst]:.2f}; the largest norm is "
            f"{max(norms.values()) / min(norms.values()):.1f} times the smallest")
        record[when] = {"norms": norms, "cosines": cosines.tolist()}
    return record


def draw(out: Path, presence: Presence, records: list[dict[str, Any]], agreement: dict[str, Any]) -> None:
    widths = sorted({r["width"] for r in records})
    figure, axes = figures.panels(1, 2, (5.6, 4.0), f"{presence.name}: one network for {len(presence.tasks)} tasks, "
                                                    "and one for each")
    for i, width in enumerate(widths):
        rows = [r for r in records if r["width"] == width]
        at = [100 * r["masked"] for r in rows]
        axes[0, 0].plot(at, [r["one"] for r in rows], f"C{i}o-", label=f"one network, width {width}")
        axes[0, 0].plot(at, [r["each"] for r in rows], f"C{i}s--", label=f"one for each, width {width}")
        values = np.array([r["difference"] for r in rows])
        ends = np.nan_to_num(np.array([r["interval"] for r in rows]).T, posinf=1, neginf=-1)
        # Side by side, two points of the axis apart: both stand at the same share.
        axes[0, 1].errorbar(np.array(at) + 2 * (i - (len(widths) - 1) / 2), values,
                            (values - ends[0], ends[1] - values), fmt=f"C{i}o-", capsize=3, label=f"width {width}")
    axes[0, 0].axhline(float(presence.test_y.mean()), color="grey", linestyle=":", label="without looking at a picture")
    axes[0, 0].set(xlabel="labels masked / %", ylabel="test average precision, mean of the tasks")
    axes[0, 0].set_title("precision of both ways", fontsize=9)
    axes[0, 1].axhline(0, color="grey", linewidth=0.8)
    axes[0, 1].set(xlabel="labels masked / %", ylabel="difference of average precision")
    axes[0, 1].set_title("above 0 one network is better; bars: 95 % interval over the tasks", fontsize=9)
    for axis in axes[0]:
        axis.grid(alpha=0.3)
        figures.legend_below(axis)
    figures.save(figure, out / "one_or_each.png")
    figure, axes = figures.panels(1, 3, (4.6, 4.2), f"{presence.name}: each task's gradient by the shared trunk")
    n = len(presence.tasks)
    for axis, (when, record) in zip(axes[0], agreement.items(), strict=False):
        cosines = np.array(record["cosines"])
        axis.imshow(cosines, cmap="RdBu", vmin=-1, vmax=1)
        for (i, j), value in np.ndenumerate(cosines):
            axis.text(j, i, f"{value:.2f}".replace("-0.00", "0.00"), ha="center", va="center", fontsize=8,
                      color="white" if abs(value) > 0.6 else "black")
        axis.set_xticks(range(n), presence.tasks, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(n), presence.tasks, fontsize=8)
        axis.set_title(f"cosine of two tasks' gradients, {when}:\nbelow 0 (red) the tasks are in conflict", fontsize=9)
    for i, (when, record) in enumerate(agreement.items()):
        axes[0, 2].bar(np.arange(n) + 0.4 * i - 0.2, list(record["norms"].values()), 0.4, label=when)
    axes[0, 2].set_xticks(range(n), presence.tasks, rotation=60, ha="right", fontsize=8)
    axes[0, 2].set(ylabel="gradient norm / nats per unit", yscale="log")
    axes[0, 2].yaxis.set_major_formatter("{x:g}")
    axes[0, 2].yaxis.set_minor_formatter("{x:g}")
    axes[0, 2].tick_params(axis="y", which="both", labelsize=8)
    axes[0, 2].set_title("how hard each task pulls", fontsize=9)
    axes[0, 2].grid(alpha=0.3, axis="y", which="both")
    axes[0, 2].set_axisbelow(True)
    figures.legend_below(axes[0, 2], 0.75)
    figures.save(figure, out / "trunk.png")
