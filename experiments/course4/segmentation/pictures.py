"""The pictures of a segmentation: learning curve, bars, confusions, and the predictions over the pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.course4.segmentation.scenes import Scenes
from experiments.shared import figures
from experiments.shared.run import percent
from jaxnn.data import Batches

__all__ = ["coloured", "draw"]


def draw(out: Path, name: str, scenes: Scenes, found: np.ndarray, counts: np.ndarray, measures: dict[str, Any],
         share: np.ndarray, history: Any, batches: Batches) -> None:
    """All pictures of a run.

    Args:
      name: of the data, for the titles.
      found: (n, height, width), the classes predicted for the test pictures; counts: their confusions.
      share: of each class among the training pixels.
    """
    learning_curve(out / "learning_curve.png", name, history, batches, measures["dev_mean_iou_without_a_look"])
    bars(out / "iou_per_class.png", name, scenes, measures, share)
    confusions(out / "confusion_matrix.png", f"{name}: of each class's test pixels, what they are called / %", counts,
               scenes.classes)
    overlays(out / "overlays.png", f"{name}: test pictures, mean IoU of all {measures['test_mean_iou']:.3f}", scenes,
             found)


def learning_curve(path: Path, name: str, history: Any, batches: Batches, without_a_look: float) -> None:
    figure, axes = figures.panels(1, 2, (5, 3.8), f"{name}: learning curve")
    steps, costs = history.curve("cost")
    figures.curves(axes[0, 0], {"train": ([batches.epoch(s) for s in steps], costs)}, "epoch",
                   "weighted cost / nats per pixel", log=True)
    steps, ious = history.curve("dev_mean_iou")
    epochs = [batches.epoch(s) for s in steps]
    figures.curves(axes[0, 1], {"dev": (epochs, ious), "the most frequent class at each place":
                                (epochs, np.full(len(epochs), without_a_look))}, "epoch", "mean IoU")
    axes[0, 1].set_ylim(0, 1)
    axes[0, 1].legend(loc="upper left")
    for line in (*axes[0, 0].lines, axes[0, 1].lines[0]):
        line.set_marker("o")
    figures.save(figure, path)


def bars(path: Path, name: str, scenes: Scenes, measures: dict[str, Any], share: np.ndarray) -> None:
    """The IoU of each class, the most frequent first."""
    order = np.argsort(-share)
    title = f"{name}: IoU by class, mean {measures['dev_mean_iou']:.3f} (dev), {measures['test_mean_iou']:.3f} (test)"
    figure, ((axes,),) = figures.panels(1, 1, (8.5, 4.4), title)
    places = np.arange(len(order))
    for part, left, width in (("dev", -0.2, 0.4), ("test", 0.2, 0.4)):
        values = [measures[f"{part}_iou"][scenes.classes[c]] for c in order]
        drawn = axes.bar(places + left, values, width, label=part)
        axes.bar_label(drawn, [f"{v:.2f}".removeprefix("0") for v in values], fontsize=7)
    axes.set_xticks(places, [f"{scenes.classes[c]}\n{100 * share[c]:.2g} %" for c in order], fontsize=8)
    axes.set(xlabel="class and its share of the training pixels", ylabel="IoU", ylim=(0, 1.05))
    axes.legend()
    axes.grid(alpha=0.3, axis="y")
    figures.save(figure, path)


def confusions(path: Path, title: str, counts: np.ndarray, classes: tuple[str, ...]) -> None:
    """counts[true, predicted] in per cent of the true class."""
    rows = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, ((axes,),) = figures.panels(1, 1, (7, 6), title)
    axes.imshow(rows, cmap="Blues", vmin=0, vmax=100)
    for (true, predicted), value in np.ndenumerate(rows):
        if value >= 0.5:
            axes.text(predicted, true, f"{value:.0f}", ha="center", va="center", fontsize=8,
                      color="white" if value > 50 else "black")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    figures.save(figure, path)


def coloured(scenes: Scenes, labels: np.ndarray) -> np.ndarray:
    """(..., 3) uint8: each label's colour, void black."""
    return np.concatenate([scenes.colours, np.zeros((1, 3), np.uint8)])[labels]


def overlays(path: Path, title: str, scenes: Scenes, found: np.ndarray) -> None:
    """Of the test pictures the best, two between and the worst, by the pixels that are right."""
    from matplotlib.patches import Patch

    x, y = scenes.test
    known = y != scenes.void
    right = ((found == y) & known).sum((1, 2)) / np.maximum(known.sum((1, 2)), 1)
    order = np.argsort(-right, kind="stable")
    rows = [int(order[round(part * (len(order) - 1))]) for part in (0, 1 / 3, 2 / 3, 1)]
    figure, axes = figures.panels(len(rows), 4, (2.9, 2.9 * x.shape[1] / x.shape[2] + 0.25), title)
    for line, i in zip(axes, rows, strict=True):
        picture = np.repeat(x[i], 3, -1) if x.shape[-1] == 1 else x[i]
        if x.shape[-1] == 1:
            picture = 1 - picture  # ink on paper
        wrong = (found[i] != y[i]) & known[i]
        shown = {"picture": picture,
                 f"predicted, {percent(right[i])} right": _over(picture, coloured(scenes, found[i])),
                 "labels": _over(picture, coloured(scenes, y[i])),
                 "wrong in red, void in black": np.where(wrong[..., None], (0.9, 0, 0), np.where(
                     known[i][..., None], 0.6 + 0.4 * picture, 0.0))}
        for axis, (caption, values) in zip(line, shown.items(), strict=True):
            axis.imshow(np.clip(values, 0, 1), interpolation="nearest")
            axis.set_title(caption, fontsize=9)
            axis.set_axis_off()
    figure.legend(handles=[Patch(facecolor=colour / 255, edgecolor="grey", label=name) for name, colour in
                           zip((*scenes.classes, "void"), coloured(scenes, np.arange(scenes.void + 1)), strict=True)],
                  loc="outside lower center", ncols=6, fontsize=8)
    figures.save(figure, path)


def _over(picture: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The colours with the picture's light in them: three parts of the colour, two of the grey."""
    return 0.6 * colours / 255 + 0.4 * picture.mean(-1, keepdims=True)
