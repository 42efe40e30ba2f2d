"""The pictures of a trained detector: what it costs and finds over time, its curves, and the pictures that pull
hardest."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.course4.train_detector.scenes import Scenes
from experiments.shared import figures
from jaxnn.data import Batches
from jaxnn.detection import IGNORED, Detections, Parts, Pulls, Truth, precision_recall

__all__ = ["draw", "hardest"]

TRUE, OURS, LEFT_OUT = "lime", "tab:orange", "silver"
SHOWN = 0.3  # the least score of a box that is drawn
COLUMNS = 5


def draw(out: Path, name: str, scenes: Scenes, history: Any, batches: Batches, looks: list[list[Detections]],
         found: list[Detections], pulled: Pulls, measures: dict[str, float]) -> None:
    """All pictures of a run.

    Args:
      name: of the data, for the titles.
      looks: the detections of the test pictures at each record; found: those of the trained network.
      pulled: of each training picture, by the trained network.
    """
    learning_curve(out / "learning_curve.png", name, history, batches, measures["test_ap50_without_a_look"])
    over_time(out / "over_time.png", name, scenes, history, batches, looks)
    predictions(out / "predictions.png", f"{name}: test pictures, AP50 {measures['test_ap50']:.3f}; true boxes green, "
                f"ours orange from a score of {SHOWN:g}, ignored ones grey", scenes, found)
    curves(out / "precision_recall.png", f"{name}: {len(found)} test pictures", scenes, found)
    hardest(out / "hardest.png", f"{name}: the training pictures whose boxes, or background, pull hardest", scenes,
            pulled)


def learning_curve(path: Path, name: str, history: Any, batches: Batches, without_a_look: float) -> None:
    figure, axes = figures.panels(1, 3, (4.6, 3.8), f"{name}: learning curve")
    for axis, which in zip(axes[0], ("train", "test"), strict=False):
        lines = {part: history.curve(f"{part}_{which}") for part in Parts._fields}
        figures.curves(axis, {part: ([batches.epoch(s) for s in steps], values) for part, (steps, values) in
                              lines.items()}, "epoch", f"{which}: parts of the loss, weighted / picture", log=True)
    steps, values = history.curve("ap50")
    epochs = [batches.epoch(s) for s in steps]
    figures.curves(axes[0, 2], {"test": (epochs, values), "without a look":
                                (epochs, np.full(len(epochs), without_a_look))}, "epoch", "AP50")
    axes[0, 2].set_ylim(0, 1)
    figures.save(figure, path)


def over_time(path: Path, name: str, scenes: Scenes, history: Any, batches: Batches,
              looks: list[list[Detections]]) -> None:
    """Three test pictures with most boxes, at five looks while the network was trained."""
    steps, _ = history.curve("ap50")
    chosen = np.unique(np.linspace(0, len(looks) - 1, COLUMNS).astype(int))
    rows = np.argsort(-(scenes.test.labels >= 0).sum(1), kind="stable")[:3]
    figure, axes = panels(len(rows), len(chosen), scenes, f"{name}: test pictures while the network is trained; ours "
                          f"from a score of {SHOWN:g}")
    for line, i in zip(axes, rows, strict=True):
        for axis, look in zip(line, chosen, strict=True):
            show(axis, scenes, i, looks[look][i])
            axis.set_title(f"epoch {batches.epoch(int(steps[look])):.0f}", fontsize=8)
    figures.save(figure, path)


def predictions(path: Path, title: str, scenes: Scenes, found: list[Detections]) -> None:
    """Test pictures at even distances of the set."""
    rows = np.unique(np.linspace(0, len(found) - 1, 3 * COLUMNS).astype(int))
    figure, axes = panels(3, COLUMNS, scenes, title)
    for axis, i in zip(axes.flat, rows, strict=False):
        show(axis, scenes, i, found[i])
    figures.save(figure, path)


def curves(path: Path, title: str, scenes: Scenes, found: list[Detections]) -> None:
    figure, axes = figures.panels(1, 2, (5, 4), title)
    truth = [Truth(boxes[labels >= IGNORED], labels[labels >= IGNORED])
             for boxes, labels in zip(scenes.test.boxes, scenes.test.labels, strict=True)]
    for axis, threshold in zip(axes[0], (0.5, 0.75), strict=True):
        lines = {}
        for label, name in enumerate(scenes.classes):
            curve = precision_recall(found, truth, label, iou_threshold=threshold)
            lines[f"{name}, AP {curve.area():.3f}"] = curve.recall, curve.precision
        figures.curves(axis, lines, "recall", f"precision at an IoU of {threshold:g}", legend=False)
        axis.set(xlim=(0, 1), ylim=(0, 1.02))
        axis.legend(list(lines), fontsize=7)
    figures.save(figure, path)


def hardest(path: Path, title: str, scenes: Scenes, pulled: Pulls) -> None:
    """For each part of the loss the five training pictures with the longest gradient at the head's numbers; at a box
    the length of its own."""
    figure, axes = panels(len(Parts._fields), COLUMNS, scenes, title)
    for line, part in zip(axes, Parts._fields, strict=True):
        lengths = np.asarray(getattr(pulled.of_parts, part))
        of_boxes = None if part == "background" else np.asarray(getattr(pulled.of_boxes, part))
        for axis, i in zip(line, np.argsort(-lengths, kind="stable")[:COLUMNS], strict=False):
            axis.imshow(scenes.train.x[i])
            axis.set_title(f"{part}: {lengths[i]:.2g}", fontsize=8)
            for slot, (box, label) in enumerate(zip(scenes.train.boxes[i], scenes.train.labels[i], strict=True)):
                if label >= IGNORED:
                    rectangle(axis, box, LEFT_OUT if label == IGNORED else TRUE)
                if label >= 0 and of_boxes is not None:
                    axis.text(box[0], box[1], f"{of_boxes[i, slot]:.2g}", fontsize=7, color="black", clip_on=True,
                              bbox={"facecolor": TRUE, "edgecolor": "none", "pad": 0.5})
    figures.save(figure, path)


def panels(rows: int, columns: int, scenes: Scenes, title: str) -> tuple[Any, np.ndarray]:
    height, width = scenes.size
    figure, axes = figures.panels(rows, columns, (2.5, 2.5 * height / width + 0.25), title)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def show(axis: Any, scenes: Scenes, i: int, found: Detections) -> None:
    """A test picture, its true boxes and those found."""
    axis.imshow(scenes.test.x[i])
    for box, label in zip(scenes.test.boxes[i], scenes.test.labels[i], strict=True):
        if label >= IGNORED:
            rectangle(axis, box, LEFT_OUT if label == IGNORED else TRUE)
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        if score >= SHOWN:
            rectangle(axis, box, OURS, linestyle="--")
            words = f"{score:.2f}" if len(scenes.classes) == 1 else f"{scenes.classes[label]} {score:.2f}"
            axis.text(box[0], box[1], words, fontsize=6, color="black", clip_on=True,
                      bbox={"facecolor": OURS, "edgecolor": "none", "pad": 0.5})


def rectangle(axis: Any, box: Any, colour: str, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = map(float, box)
    axis.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=colour,
                             linewidth=1.3, **style))
