"""Which labels are wrong, and does one training find them as well as cross-validation does?

    python -m experiments run mislabelled

A tenth of the labels of a training set are changed, once to any other class, once to the class that looks most like the
true one. Each example then gets a score, and the first tenth by that score are the suspects. Scores are

    gradient norm      of all params, the mean over the first epochs of one training
    last layer's       the same of the last bias alone, ‖p - y‖, which comes with it
    loss               the same mean of the example's loss
    cross-validation   1 - p(label) by a network that was trained on the four other fifths, as cleanlab ranks

The suspects are then deleted, or relabelled with the class that the same training gives them, and a new network learns
from what results. Last, a network reads the course's file of 10,000 dates, some of which contradict their texts: the
generator wrote the year of the week. Their ranks by gradient norm say how soon a person would come upon them.

Result of seed 0 on USPS, 656 of 6,562 labels wrong, 160 s of processor time; precision among the first 656:
                            uniform    look-alikes    cost / trainings
    gradient norm           94.8 %     91.5 %         4.3
    last layer's            97.3 %     93.9 %         4.3
    loss                    97.3 %     91.3 %         2.1
    cross-validation        96.5 %     86.3 %         4.3
    cleanlab, its margin    94.8 %     89.3 %         4.3
So the norm of the last layer's gradient is as good as the loss, and better among look-alikes; the norm of the whole
gradient is not better than the loss among digits. Both beat cross-validation among look-alikes, at half of its cost or
the same. Among the dates the whole norm is better: half of the 33 contradictory ones are in the first 32 of 10,000,
all in the first 221; by loss in the first 77 and 386.

What is won by the repair: of uniformly flipped labels nothing. Test errors are 4.0 % as given, 4.4 % with the suspects
deleted, 4.3 % relabelled and 4.1 % with the true labels, each within its interval of about a point: a network that
learns for so few epochs is not led astray by them.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.course3 import digits as data
from experiments.course3 import wrong_dates
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, say, series, table
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import Suspects, intervals, scores_in_training, suspects
from jaxnn.data.extra import import_extra
from jaxnn.training import make_step

KINDS = ("uniform", "look-alikes")
NORM, LAST, LOSS, FOLDS = "gradient norm", "last layer's", "loss", "cross-validation"


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the pictures: " + data.WHY, choices=data.CHOICES)
    seed: int = random_seed(0, "seed of the split, the wrong labels, the weights and the batches")
    fraction: float = knob(0.1, "fraction of the training labels that are changed", above=0, below=0.5)
    epochs: int = count(8, "epochs of the training that is watched; in later ones, wrong labels are known by heart")
    folds: int = knob(5, "number of folds of the cross-validation, the usual one", at_least=2)
    batch_size: int = count(32, "examples in a batch: few, so that the small set has enough steps")
    learning_rate: float = positive(0.001, "Adam's learning rate, so slow that the first epochs differ")
    dates: int = knob(10_000, "pairs of dates, from the course's file or generated; 0 leaves the dates out", at_least=0)
    date_epochs: int = count(8, "epochs of the training on dates; most dates are read by the last")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    digits = data.load(knobs.data, data_dir, knobs.seed)
    model = data.convnet(digits.train_x.shape[1])
    step = make_step(model, loss, optax.adam(knobs.learning_rate))
    data.train(model, digits.train_x, digits.train_y, epochs=0, batch_size=knobs.batch_size, step=step)  # compiles
    records, curves, shown = {}, {}, {}
    for kind in KINDS:
        given, is_wrong = changed(knobs, digits, kind)
        records[kind], curves[kind], ranking = find(knobs, digits, model, step, given, is_wrong, kind)
        shown[kind] = given, is_wrong, ranking
        records[kind]["after"] = learn_again(knobs, digits, model, given, is_wrong, ranking)
    draw(out, digits, curves, shown)
    if knobs.dates:
        records["dates"] = wrong_dates.rank(out, data_dir, knobs.dates, knobs.date_epochs, knobs.seed)
    return {"data": digits.name, **records}


def changed(knobs: Knobs, digits: data.Digits, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(the labels given, which of them are wrong)."""
    random = np.random.default_rng(knobs.seed)
    y = digits.train_y
    places = random.choice(len(y), round(knobs.fraction * len(y)), replace=False)
    given, is_wrong = y.copy(), np.zeros(len(y), bool)
    is_wrong[places] = True
    if kind == "uniform":
        given[places] = (y[places] + random.integers(1, data.N_CLASSES, len(places))) % data.N_CLASSES
    else:
        given[places] = look_alikes(digits.train_x, y)[y[places]]
    return given, is_wrong


def look_alikes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n_classes,): of each class the other one whose mean picture is nearest."""
    means = np.stack([x[y == c].mean(0).ravel() for c in range(data.N_CLASSES)])
    distances = np.linalg.norm(means[:, None] - means, axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest: np.ndarray = distances.argmin(1)
    return nearest


def find(knobs: Knobs, digits: data.Digits, model: Any, step: Any, given: np.ndarray, is_wrong: np.ndarray,
         kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray], tuple[Suspects, np.ndarray]]:
    """(the record, precision over k of each score, (suspects, the classes that the training itself gives))."""
    metrics = import_extra("sklearn.metrics", "mislabelled")
    x, k = digits.train_x, int(is_wrong.sum())
    begin = time.process_time()
    _, _, costs = data.train(model, x, given, epochs=knobs.epochs, batch_size=knobs.batch_size, seed=knobs.seed,
                             step=step)
    alone = time.process_time() - begin
    begin = time.process_time()
    scores = scores_in_training(step, x, given, epochs=knobs.epochs, batch_size=knobs.batch_size, seed=knobs.seed)
    watched = time.process_time() - begin
    begin = time.process_time()
    p = out_of_fold(knobs, digits, model, given)
    folded = time.process_time() - begin
    rankings = {NORM: suspects(scores.norms), LAST: suspects(scores.leaf_norms["dense2"]["bias"]),
                LOSS: suspects(scores.losses)}
    rankings |= {FOLDS: suspects(1 - p[np.arange(len(p)), given])} | by_cleanlab(p, given)
    # The loss costs a forward pass each epoch: less than a third of forward, backward and the norms.
    seconds = {NORM: watched, LAST: watched, LOSS: alone + (watched - alone) / 3, FOLDS: folded}
    rows, record = [], {}
    for name, ranking in rankings.items():
        precision, ends = ranking.precision_at(k, is_wrong)
        area = float(metrics.average_precision_score(is_wrong, ranking.scores))
        cost = seconds.get(name, folded) / alone
        record[name] = {"precision_at_k": precision, "interval": ends, "average_precision": area, "trainings": cost}
        if name != NORM:
            found, by_norm = (np.isin(np.flatnonzero(is_wrong), r.order[:k]) for r in (ranking, rankings[NORM]))
            record[name]["more_than_norm"] = intervals.of_paired_difference(found, by_norm)
        rows.append((name, intervals.shown(precision, ends), f"{area:.3f}", f"{cost:.1f}"))
    say(f"\n{kind}: {k} of {len(x)} labels are wrong; of the first {k} suspects those that are")
    say(table(("ranked by", "precision at k", "average precision", "cost / trainings"), rows))
    per_epoch = [suspects(norms).precision_at(k, is_wrong)[0] for norms in scores.norms]
    say(f"by the norms of one epoch alone: {', '.join(f'{v:.3f}' for v in per_epoch)}")
    at = np.unique(np.geomspace(10, len(x), 60).astype(int).clip(max=len(x)))
    curves = {"k": at, **{name: np.cumsum(is_wrong[r.order])[at - 1] / at for name, r in rankings.items()}}
    read = data.logits(model, scores.params, scores.state, x).argmax(-1)
    return ({"wrong": k, "found_by": record, "precision_of_each_epoch": per_epoch,
             "seconds": {"training": alone, **seconds}, "costs": series(costs, "step")}, curves, (rankings[NORM], read))


def out_of_fold(knobs: Knobs, digits: data.Digits, model: Any, given: np.ndarray) -> np.ndarray:
    """(n, n_classes): the probabilities of each example by a network that did not learn from that example."""
    n = len(given)
    fold = np.random.default_rng(knobs.seed).permutation(n) % knobs.folds
    step = make_step(model, loss, optax.adam(knobs.learning_rate))
    z = np.empty((n, data.N_CLASSES), np.float32)
    for f in range(knobs.folds):
        kept = fold != f
        params, state, _ = data.train(model, digits.train_x[kept], given[kept], epochs=knobs.epochs,
                                      batch_size=knobs.batch_size, seed=knobs.seed, step=step)
        z[~kept] = data.logits(model, params, state, digits.train_x[~kept])
    return np.asarray(jax.nn.softmax(z))


def by_cleanlab(p: np.ndarray, given: np.ndarray) -> dict[str, Suspects]:
    """cleanlab's own ranks from the same probabilities; {} and a line where the package is missing."""
    try:
        rank = import_extra("cleanlab.rank", "mislabelled", extra="labels")
    except ModuleNotFoundError as missing:
        say(f"cleanlab's ranks are left out: {missing}")
        return {}
    quality = rank.get_label_quality_scores
    return {f"cleanlab, {method.replace('_', ' ')}": suspects(1 - quality(given, p, method=method))
            for method in ("self_confidence", "normalized_margin")}


def learn_again(knobs: Knobs, digits: data.Digits, model: Any, given: np.ndarray, is_wrong: np.ndarray,
                ranking: tuple[Suspects, np.ndarray]) -> dict[str, Any]:
    """Test errors after training on the labels as given, without the suspects, with them relabelled, on the truth."""
    order, read = ranking[0].order[:int(is_wrong.sum())], ranking[1]
    # A rate that falls to zero: at a constant one the last step says more about chance than about the labels.
    step = make_step(model, loss, data.adam(2 * knobs.learning_rate, len(given), knobs.batch_size, knobs.epochs))
    mended = given.copy()
    mended[order] = read[order]
    kept = np.ones(len(given), bool)
    kept[order] = False
    right = float((mended == digits.train_y).mean())
    sets = {"as given": (digits.train_x, given), "deleted": (digits.train_x[kept], given[kept]),
            "relabelled": (digits.train_x, mended), "the truth": (digits.train_x, digits.train_y)}
    wrong: dict[str, np.ndarray] = {}
    record: dict[str, Any] = {}
    for name, (x, y) in sets.items():
        params, state, _ = data.train(model, x, y, epochs=knobs.epochs, batch_size=knobs.batch_size, seed=knobs.seed,
                                      step=step)
        wrong[name] = data.logits(model, params, state, digits.test_x).argmax(-1) != digits.test_y
        ends = intervals.of_fraction(int(wrong[name].sum()), len(wrong[name]))
        record[name] = {"test_error": float(wrong[name].mean()), "interval": ends, "training_examples": len(x)}
    less = float(wrong["as given"].mean() - wrong["relabelled"].mean())
    ends = intervals.of_paired_difference(wrong["as given"], wrong["relabelled"])
    say(table(("training labels", "test error"),
              [(name, intervals.shown(r["test_error"], r["interval"])) for name, r in record.items()]))
    say(f"relabelling leaves {percent(right)} of the labels right, of which {percent(1 - knobs.fraction)} were, and "
        f"takes off {intervals.shown_points(less, ends)}")
    return {**record, "right_after_relabelling": right, "won_by_relabelling": less, "won_interval": ends}


def draw(out: Path, digits: data.Digits, curves: dict[str, dict[str, np.ndarray]], shown: dict[str, Any]) -> None:
    figure, axes = figures.panels(1, len(curves), (5.2, 3.9), f"{digits.name}: of the first k suspects, those with a "
                                                              "wrong label")
    for axis, (kind, lines) in zip(axes[0], curves.items(), strict=True):
        figures.curves(axis, {name: (lines["k"], v) for name, v in lines.items() if name != "k"},
                       "suspects k", "precision")
        k = int(shown[kind][1].sum())
        axis.axvline(k, color="grey", linestyle=":", label=f"as many as wrong labels, {k}")
        axis.legend(fontsize=8)
        axis.set(xscale="log", ylim=(0, 1.03), title=kind)
    figures.save(figure, out / "precision.png")
    for kind, (given, is_wrong, (ranking, _)) in shown.items():
        first = ranking.order[:24]
        captions = [f"given {given[i]}, is {digits.train_y[i]}" for i in first]
        figures.images(out / f"suspects_{kind}.png", f"{kind}: the first suspects by gradient norm; red: right labels",
                       digits.train_x[first, ..., 0], captions, ~is_wrong[first])
