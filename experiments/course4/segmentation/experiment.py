"""How well does a U-Net tell what each pixel of a picture belongs to?

    python -m experiments run segmentation
    python -m experiments run segmentation --data camvid --width 24 --epochs 60

The course trains its U-Net on frames of a driving simulator, which could not be had. `--data camvid` has 701 pictures
from a car in Cambridge in its place, 96x128 pixels, the size to which the course brings its own: 11 classes, the
published split, and void pixels that count nowhere. `--data digits` (the default, which needs no file) has
scikit-learn's digits, four on a canvas: each pixel is paper or one of ten digits.

The network is the course's, narrower and with batch norm. Its cost is cross-entropy, with a weight for each class so
that rare ones are learnt too. The measure is the intersection over the union (IoU) of what is of a class and what is
called so, counted over all pixels of a set. What it must beat is a prediction without a look: the class that is most
frequent at each place. Training has pieces of the streets, mirrored, in other lights; the measures are of whole
pictures.

Result of seed 0, mean IoU; without a look .081 for the digits and .170 for the streets:
                                         dev      test    right pixels    processor time
    digits                               .924     .908    99.25 %         115 s
    camvid, --epochs 32                  .515     .428    80.67 %         700 s
    camvid, --width 24 --epochs 60       .578     .476    83.32 %         1,900 s, about 16 minutes on two cores
The streets' 101 dev pictures are one short stretch of road, each nearly the same as the next, so the dev figure hangs
on few things, and is no forecast of the test set's: their fences have .51, the test set's .10.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course4.segmentation import pictures
from experiments.course4.segmentation.scenes import CHOICES, Scenes, class_weights, load, majority_by_place
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, say, series, table
from jaxnn import softmax_cross_entropy, summary
from jaxnn.checks import expect
from jaxnn.data import Batches
from jaxnn.metrics import confusion_matrix, intersection_over_union
from jaxnn.models import unet
from jaxnn.training import evaluate, fit, make_step, start

AT_ONCE = 16  # pictures at inference, so that the activations of a large set are not in memory at once


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("digits", "which pictures the network learns", choices=CHOICES)
    seed: int = random_seed(0, "seed of the canvases, the initial weights, the batches and the random changes")
    width: int = count(16, "channels of the first stage; the course's 32 take four times as long")
    depth: int = count(4, "number of times that a picture is halved, as in the course")
    epochs: int = count(12, "passes over the training set, enough for the digits; CamVid takes 60")
    batch_size: int = count(8, "pictures in a batch: few, since each has thousands of pixels")
    learning_rate: float = positive(3e-3, "AdamW's highest learning rate, after a warm-up; it falls to zero as a "
                                    "cosine")
    weight_decay: float = knob(1e-4, "weight decay of AdamW", at_least=0)
    balance: float = knob(0.5, "how classes are weighed: 0 weighs all pixels alike, 1 all classes; halfway is all "
                          "that was tried", at_least=0)
    crop: tuple[int, ...] = count((64, 96), "height and width of the pieces on which CamVid is trained, half its "
                                  "pixels")


def pixel_loss(weights: np.ndarray) -> Callable:
    """The mean over the pixels of a picture of w_c times the cross-entropy, c a pixel's class; void weighs nothing.

    weights: (n_classes,). The loss takes logits (height, width, n_classes) and labels (height, width), void n_classes.
    """
    n_classes = len(weights)
    of_label = jnp.append(jnp.asarray(weights), 0)

    def loss(logits: Any, labels: Any) -> Any:
        classes = jnp.where(labels == n_classes, 0, labels)
        losses = jax.vmap(jax.vmap(softmax_cross_entropy))(logits, classes)
        return jnp.mean(of_label[labels] * losses)

    return loss


def counts_of(predictions: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """counts[true, predicted] over the pixels of all pictures that are not void."""
    known = labels != n_classes
    return confusion_matrix(predictions[known], labels[known], n_classes)


def mean_iou(counts: np.ndarray) -> float:
    """Over the classes that the labels have: one that only predictions have is none of them."""
    return float(np.mean(intersection_over_union(counts)[counts.sum(1) > 0]))


def pixel_accuracy(counts: np.ndarray) -> float:
    return float(np.trace(counts) / counts.sum())


def predict(model: Any, params: Any, state: Any, x: np.ndarray) -> np.ndarray:
    """(n, height, width): the class of each pixel."""
    parts = [np.asarray(evaluate(model, params, state, x[i:i + AT_ONCE], batch_size=AT_ONCE)).argmax(-1)
             for i in range(0, len(x), AT_ONCE)]
    return np.concatenate(parts)


def train(knobs: Knobs, scenes: Scenes, model: Any, weights: np.ndarray) -> tuple[Any, Any, Batches]:
    """(train state, history, batches); the dev set is looked at ten times on the way."""
    n_classes = len(scenes.classes)

    @jax.jit
    def changed(key: Any, x: Any, y: Any) -> Any:
        return jax.vmap(scenes.augment)(jax.random.split(key, len(x)), x, y)

    batches = Batches(*scenes.train, min(knobs.batch_size, len(scenes.train.x)), seed=knobs.seed, augment=changed)
    steps = batches.steps(knobs.epochs)
    rate = optax.warmup_cosine_decay_schedule(0, knobs.learning_rate, min(100, steps // 5), steps)
    optimizer = optax.adamw(rate, weight_decay=knobs.weight_decay)
    train_state = start(model, optimizer, scenes.train.x.shape[1:], jax.random.key(knobs.seed))
    say(f"{knobs.data}: {len(scenes.train.x)} training, {len(scenes.dev.x)} dev and {len(scenes.test.x)} test pictures "
        f"of {' x '.join(map(str, scenes.train.x.shape[1:]))}; {steps} steps of {batches.batch_size}")

    def metrics(params: Any, state: Any) -> dict[str, Any]:
        counts = counts_of(predict(model, params, state, scenes.dev.x), scenes.dev.y, n_classes)
        return {"dev_mean_iou": mean_iou(counts), "dev_pixel_accuracy": pixel_accuracy(counts)}

    train_state, history = fit(train_state, make_step(model, pixel_loss(weights), optimizer), batches, steps=steps,
                               every=batches.steps(max(knobs.epochs / 10, 1)), metrics=metrics)
    return train_state, history, batches


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    expect(len(knobs.crop) == 2, "--crop", "a height and a width", str(knobs.crop))
    scenes = load(knobs.data, data_dir, knobs.seed, (knobs.crop[0], knobs.crop[1]))
    if knobs.data == "digits":
        say("digits on canvases; the course's frames of a simulator could not be had, and real streets need CamVid's "
            "file and --data camvid")
    classes, n_classes = scenes.classes, len(scenes.classes)
    model = unet(n_classes, width=knobs.width, depth=knobs.depth, batch_norm=True)
    parameters = summary(model, scenes.train.x.shape[1:]).parameters
    weights = class_weights(scenes.train.y, n_classes, knobs.balance)
    train_state, history, batches = train(knobs, scenes, model, weights)

    baseline = majority_by_place(scenes.train.y, n_classes)
    found: dict[str, np.ndarray] = {}
    measures: dict[str, Any] = {}
    for name, part in (("dev", scenes.dev), ("test", scenes.test)):
        found[name] = predict(model, train_state.params, train_state.state, part.x)
        counts = counts_of(found[name], part.y, n_classes)
        blind = counts_of(np.broadcast_to(baseline, part.y.shape), part.y, n_classes)
        measures |= {f"{name}_mean_iou": mean_iou(counts), f"{name}_pixel_accuracy": pixel_accuracy(counts),
                     f"{name}_iou": dict(zip(classes, intersection_over_union(counts).tolist())),
                     f"{name}_mean_iou_without_a_look": mean_iou(blind)}
        say(f"{name}: mean IoU {measures[f'{name}_mean_iou']:.3f} (without a look {mean_iou(blind):.3f}), "
            f"{percent(pixel_accuracy(counts))} of the pixels")
    share = np.bincount(scenes.train.y.ravel(), minlength=n_classes + 1)[:n_classes] / scenes.train.y.size
    say(table(("class", "training pixels", "weight", "dev IoU", "test IoU"), [
        (name, percent(share[c]), f"{weights[c]:.2f}", *(f"{measures[f'{part}_iou'][name]:.3f}"
                                                         for part in ("dev", "test")))
        for c, name in enumerate(classes)]))
    pictures.draw(out, knobs.data, scenes, found["test"], counts, measures, share, history, batches)
    steps_at, costs = history.curve("cost")
    return {**measures, "parameters": parameters, "weights": dict(zip(classes, weights.tolist())),
            "dev_mean_ious": history.curve("dev_mean_iou")[1].tolist(),
            "costs": series(costs, "step", steps_at)}
