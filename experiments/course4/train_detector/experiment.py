"""How well does a small one-stage detector find things after minutes of training?

    python -m experiments run train-detector
    python -m experiments run train-detector --data raccoons --network squeezenet --learning-rate 1e-3
    python -m experiments run train-detector --data raccoons --pixels 128 --halvings 4 --epochs 200
    python -m experiments run train-detector --data camvid --width 24 --epochs 80

One map of cells, three anchors and the loss of YOLO in four parts. `--data digits` (the default, which needs no file):
one to four of scikit-learn's digits on a canvas of 64x64. `raccoons`: 200 photographs, 160 to train on and 40 to test,
from scratch or on SqueezeNet with its ImageNet weights; seven of them are copies of others, and copies are on one side
of the split. `camvid`: cars on streets, all 367 training and 233 test frames of the published split at 96x128. There a
box is around a connected piece of the mask, so that cars that touch in the picture are one box, and a car behind a pole
is two; pieces narrower or lower than 6 pixels are ignored, neither to be found nor wrong to find: 705 boxes are left
to train on, 211 to test.

Pictures and boxes change together: mirrored, cut and resized, in other lights; a box of which less than two fifths is
left is ignored. The measure is average precision at an IoU of .5 (AP50). What it must beat is the usual box of the
training set, given for every picture without a look. `hardest.png` has the training pictures that pull hardest: those
with the longest gradient of each part of the loss, and the length of each box's own.

Results of seed 0, AP50 of the test part: raccoons on SqueezeNet (`--epochs 20`) .840 and from scratch (the third
command) .760, where the usual box has .460; cars of CamVid .549 (the last command; .489 with `--epochs 20`), where the
usual box finds none.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course4.train_detector import pictures
from experiments.course4.train_detector.networks import Detector, on_squeezenet, tower
from experiments.course4.train_detector.scenes import CHOICES, Part, Scenes, in_parts, load
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import say, series, table
from jaxnn import summary
from jaxnn.data import Batches
from jaxnn.detection import (
    COCO_THRESHOLDS,
    EMPTY,
    Detections,
    Truth,
    YoloHead,
    YoloWeights,
    assign,
    average_precision,
    best_classes,
    cluster_anchors,
    decode,
    mean_average_precision,
    non_max_suppression,
    pulls,
    yolo_loss,
    yolo_parts,
)
from jaxnn.training import evaluate, fit, freeze, make_step, start_from

NETWORKS = ("scratch", "squeezenet")
SLOTS = 24  # detections of one picture at most; no scene has as many things
LOOKS = 8  # at the network while it trains


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("digits", "what the detector is to find", choices=CHOICES)
    network: str = knob("scratch", "how the network begins: with random weights, or as SqueezeNet with ImageNet "
                        "weights", choices=NETWORKS)
    seed: int = random_seed(0, "seed of the scenes, their split, the initial weights, the batches and the changes")
    pixels: int = count(160, "side in pixels to which the photographs of raccoons are resized")
    width: int = count(16, "channels of the first stage from scratch; each later stage doubles them")
    halvings: int = knob(3, "number of times that a picture is halved from scratch; a cell has 2 to this power pixels "
                         "a side", at_least=1)
    anchors: int = count(3, "number of sizes of boxes, found by k-means on the training set")
    epochs: int = count(30, "passes over the training set of digits; the other sets are measured with other numbers")
    batch_size: int = count(16, "pictures in a batch")
    learning_rate: float = positive(2e-3, "AdamW's highest learning rate, after a warm-up; it falls to zero as a "
                                    "cosine")
    weight_decay: float = knob(1e-3, "weight decay of AdamW", at_least=0)
    box_weight: float = positive(3.0, "weight of the boxes' cost, 1 - IoU, beside a nat")
    background_weight: float = positive(0.5, "weight of the background's cost: small, since there is much of it")


class Task:
    """One head, and what is computed of it for many pictures."""

    def __init__(self, knobs: Knobs, scenes: Scenes):
        height, width = scenes.size
        true = scenes.train.boxes[scenes.train.labels >= 0]
        sizes = (true[:, 2:] - true[:, :2]) / [width, height]
        self.found = cluster_anchors(sizes, knobs.anchors, seed=knobs.seed)
        self.head = YoloHead(tuple(map(tuple, self.found.sizes)), len(scenes.classes), stretch=1.2)
        self.weights = YoloWeights(background=knobs.background_weight, boxes=knobs.box_weight, ignore_above=0.5)
        self.size = scenes.size
        self.parts_of = jax.jit(jax.vmap(self._parts))
        self.pulls_of = jax.jit(jax.vmap(self._pulls))
        self.detect = jax.jit(jax.vmap(self._detect))

    def targets(self, raw: Any, label: Any) -> Any:
        (found,) = assign([self.head], [raw.shape[:2]], label["boxes"], label["labels"], also_above=0.6)
        return found

    def loss(self, raw: Any, label: Any) -> Any:
        return yolo_loss(self.head, raw, self.targets(raw, label), self.weights)

    def _parts(self, raw: Any, label: Any) -> Any:
        return yolo_parts(self.head, raw, self.targets(raw, label), self.weights)

    def _pulls(self, raw: Any, label: Any) -> Any:
        found: Any = pulls(self.head, raw, self.targets(raw, label), self.weights)
        return found._replace(gradients=None)  # of all pictures they are large, and only their lengths are shown

    def _detect(self, raw: Any) -> tuple[Any, Any, Any, Any]:
        """(boxes in pixels, scores, labels, n) of one picture, SLOTS of them."""
        found = decode(self.head, raw)
        scores, labels = best_classes(found.confidence, found.probabilities)
        kept = non_max_suppression(found.boxes, scores, labels, slots=SLOTS, iou_threshold=0.45, score_threshold=0.01)
        height, width = self.size
        boxes = jnp.clip(found.boxes[kept.places], 0, 1) * jnp.array([width, height, width, height])
        return boxes, kept.scores, labels[kept.places], kept.n


def labels_of(part: Part, size: tuple[int, int]) -> dict[str, Any]:
    return {"boxes": np.asarray(in_parts(part.boxes, size)), "labels": part.labels}


def truth_of(part: Part) -> list[Truth]:
    return [Truth(boxes[labels != EMPTY], labels[labels != EMPTY]) for boxes, labels in zip(part.boxes, part.labels)]


def maps_of(detector: Detector, params: Any, state: Any, x: np.ndarray) -> Any:
    return evaluate(detector.net, params, state, x.astype(np.float32) / 255, batch_size=16)


def detections(task: Task, raw: Any) -> list[Detections]:
    boxes, scores, labels, n = map(np.asarray, task.detect(raw))
    return [Detections(b[:k], s[:k], c[:k]) for b, s, c, k in zip(boxes, scores, labels, n)]


def measures_of(found: list[Detections], truth: list[Truth], classes: int) -> dict[str, float]:
    """Mean AP over the classes at an IoU of .5, and over COCO's ten."""
    return {"ap50": mean_average_precision(found, truth, classes),
            "ap": mean_average_precision(found, truth, classes, iou_thresholds=COCO_THRESHOLDS)}


def without_a_look(scenes: Scenes) -> list[Detections]:
    """The usual box of the training set, for every picture: what a detector must beat."""
    true, labels = (a[scenes.train.labels >= 0] for a in (scenes.train.boxes, scenes.train.labels))
    each = [(np.median(true[labels == c], 0), c) for c in range(len(scenes.classes))]
    one = Detections(np.stack([box for box, _ in each]), np.ones(len(each)), np.array([c for _, c in each]))
    return [one] * len(scenes.test.x)


def train(knobs: Knobs, scenes: Scenes, task: Task, detector: Detector) -> tuple[Any, Any, Batches, list[Any]]:
    """(train state, history, batches, looks): at each look the detections of the test pictures."""
    @jax.jit
    def changed(key: Any, x: Any, y: Any) -> Any:
        x, boxes, labels = jax.vmap(scenes.change)(jax.random.split(key, len(x)), x.astype(jnp.float32) / 255,
                                                   y["boxes"], y["labels"])
        return x, {"boxes": in_parts(boxes, scenes.size), "labels": labels}

    part = scenes.train
    batches = Batches(part.x, {"boxes": part.boxes, "labels": part.labels}, min(knobs.batch_size, len(part.x)),
                      seed=knobs.seed, augment=changed)
    steps = batches.steps(knobs.epochs)
    rate = optax.warmup_cosine_decay_schedule(0, knobs.learning_rate, min(100, max(steps // 10, 1)), steps)
    optimizer: Any = optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(rate, weight_decay=knobs.weight_decay))
    if detector.frozen is not None:
        optimizer = freeze(optimizer, detector.frozen)
    begun = start_from(detector.params, detector.state, optimizer, jax.random.key(knobs.seed))
    test, truth = labels_of(scenes.test, scenes.size), truth_of(scenes.test)
    few = np.arange(min(64, len(part.x)))
    train_labels = jax.tree.map(lambda a: a[few], labels_of(part, scenes.size))
    looks: list[Any] = []

    def metrics(params: Any, state: Any) -> dict[str, Any]:
        raw = maps_of(detector, params, state, scenes.test.x)
        looks.append(detections(task, raw))
        of_train = task.parts_of(maps_of(detector, params, state, part.x[few]), train_labels)
        of_test = task.parts_of(raw, test)
        named = {f"{name}_{which}": jnp.mean(value) for which, parts in (("train", of_train), ("test", of_test))
                 for name, value in parts._asdict().items()}
        return {"ap50": mean_average_precision(looks[-1], truth, len(scenes.classes)), **named}

    say(f"{knobs.data}: {len(part.x)} training and {len(scenes.test.x)} test pictures of "
        f"{' x '.join(map(str, scenes.size))}; {steps} steps of {batches.batch_size}")
    train_state, history = fit(begun, make_step(detector.net, task.loss, optimizer), batches, steps=steps,
                               every=max(steps // LOOKS, 1), metrics=metrics)
    return train_state, history, batches, looks


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    scenes = load(knobs.data, data_dir, knobs.seed, knobs.pixels)
    if knobs.data == "digits":
        say("digits on canvases, which need no file; photographs need --data raccoons or --data camvid")
    task = Task(knobs, scenes)
    say(f"anchors, width x height in parts of the picture: "
        f"{', '.join(f'{w:.2f} x {h:.2f}' for w, h in task.head.anchors)}; mean IoU {task.found.mean_iou:.3f}")
    if knobs.network == "squeezenet":
        detector = on_squeezenet(task.head, scenes.size, knobs.seed, data_dir)
    else:
        detector = tower(task.head, scenes.size, knobs.seed, knobs.width, knobs.halvings)
    parameters = summary(detector.net, (*scenes.size, 3)).parameters
    train_state, history, batches, looks = train(knobs, scenes, task, detector)

    params, state, classes = train_state.params, train_state.state, scenes.classes
    truth = truth_of(scenes.test)
    found = {"test": detections(task, maps_of(detector, params, state, scenes.test.x)),
             "train": detections(task, maps_of(detector, params, state, scenes.train.x))}
    measures = {f"test_{name}": value for name, value in measures_of(found["test"], truth, len(classes)).items()}
    measures |= {"train_ap50": mean_average_precision(found["train"], truth_of(scenes.train), len(classes)),
                 "test_ap50_without_a_look": mean_average_precision(without_a_look(scenes), truth, len(classes))}
    say("   ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in measures.items()))
    if len(classes) > 1:
        say(table(("class", "test AP50"), [(name, f"{average_precision(found['test'], truth, c):.3f}")
                                           for c, name in enumerate(classes)]))
    raw = maps_of(detector, params, state, scenes.train.x)
    pulled = task.pulls_of(raw, labels_of(scenes.train, scenes.size))
    rows = [(part, f"{float(jnp.mean(value)):.3f}", f"{float(jnp.mean(length)):.3f}", f"{float(jnp.max(length)):.2f}")
            for part, value, length in zip(pulled.parts._fields, pulled.parts, pulled.of_parts)]
    say(table(("part of the loss, training set", "value", "pull", "hardest pull"), rows))
    pictures.draw(out, knobs.data, scenes, history, batches, looks, found["test"], pulled, measures)
    steps_at, costs = history.curve("cost")
    return {**measures, "parameters": parameters, "anchors": [list(a) for a in task.head.anchors],
            "ap50_at_looks": history.curve("ap50")[1].tolist(), "costs": series(costs, "step", steps_at)}
