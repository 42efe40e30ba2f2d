"""How much do features that were learnt elsewhere help as the training set shrinks?

    python -m experiments run transfer-learning
    python -m experiments run transfer-learning --data alpacas --parts 1 --epochs 2 --learning-rate 1e-4 \\
        --scratch-epochs 0

Three ways to a classifier of new classes: a linear probe on the features of a trained network, fine-tuning the last
part of that network from the probe on, and the same network from scratch. `--data alpacas`: SqueezeNet 1.0 with its
ImageNet weights, on the course's 327 photographs with and without an alpaca; the course's MobileNetV2 prints .754 after
training its head and .9385 after fine-tuning, on 65 of them. `--data digits` (the default, which needs no file): a
small network trained on the digits 0 to 4, on the digits 5 to 9.

The photographs are few, so each is a test picture once: of five folds four are trained on, and the fifth is read. What
is chosen, the probe's strength of decay and the epochs of fine-tuning, is chosen within the four. What is frozen is
computed once. From scratch one fold is enough to see the distance.

The features of the alpacas are what SqueezeNet says of ImageNet's 1,000 classes, of which one is the llama: the mean
over all places of the picture, in three sizes, since an animal may fill the photograph or stand far away.
They and the learning rate were chosen once, with all folds in view, so that the figures are a little too good.

Results of seed 0. Alpacas, by the second command, 11 minutes on two busy CPU cores: probe 90.8 % (87.2 to 93.5),
fine-tuned 91.4 % (87.9 to 94.0), 3 photographs mended and 1 spoilt, so the difference may be chance. The photographs
that are misread have right labels: small animals in wide landscapes, camels and ostriches. Digits, with 44 training
pictures: probe 83.7 %, fine-tuned 84.0 %, from scratch 47.8 %.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course4.transfer_probe import choose_strength, fit_probe, folds_of, logits_of
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, progress, say, table
from jaxnn import Conv, Dense, MaxPool, Sequential, global_average_pool, relu, resize
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import intervals
from jaxnn.data import Batches, find, load_alpacas, load_digits
from jaxnn.layers.layer import Function
from jaxnn.metrics import accuracy
from jaxnn.models import squeezenet
from jaxnn.models.squeezenet import CAFFE_MEAN, read_imagenet
from jaxnn.training import evaluate, fit, make_step, start_from

DATA = ("digits", "alpacas")
WAYS = ("linear probe", "fine-tuned", "from scratch")
SIZES = (160, 227, 320)  # of the photographs, in pixels: as they come, as SqueezeNet was trained, and twice as large


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("digits", "which pictures hold the new classes", choices=DATA)
    seed: int = random_seed(0, "seed of the folds, the initial weights and the batches")
    folds: int = knob(5, "parts into which the pictures are dealt; each part is the test set once", at_least=2)
    parts: tuple[int, ...] = knob((1, 4, 16), "parts of the training set that are compared: the whole, a quarter and "
                                  "a sixteenth", at_least=1)
    epochs: int = count(10, "epochs of fine-tuning at most; the best is chosen on a quarter of the training set")
    scratch_epochs: int = knob(30, "epochs of training from scratch; 10 do for the alpacas, and 0 leaves it out",
                               at_least=0)
    batch_size: int = count(16, "pictures in a batch; a sixteenth of the alpacas is 16 photographs")
    learning_rate: float = positive(1e-3, "Adam's learning rate, for the head and for training from scratch; the "
                                    "probe of the alpacas is spoilt by 1e-3")
    slower: float = positive(0.2, "factor by which the features learn more slowly than the head")


class Task(NamedTuple):
    """What is learnt, and from where."""

    sizes: tuple[int, ...]
    """Of the pictures that the trained network reads, in pixels."""
    lower: Sequential
    """The part of the trained network that stays as it is."""
    upper: Sequential
    """The part that fine-tuning moves; the features are what this part makes of a picture."""
    params: dict[str, Any]
    """Of lower and upper, learnt elsewhere."""
    x: np.ndarray
    """The pictures, (n, height, width, channels)."""
    has_mirror_images: bool
    """Whether a mirror image is of the same class; training from scratch learns from them too."""
    y: np.ndarray
    classes: tuple[str, ...]
    shown: np.ndarray
    """The pictures as people look at them."""


def alpacas(data_dir: Path | None) -> Task:
    photographs = load_alpacas(data_dir, instead="--data digits")
    weights = find("c4/squeezenet/squeezenet_1.0_imagenet.npz", data_dir, instead="--data digits",
                   how_to_get="decode the published weights of SqueezeNet 1.0 into an .npz with its prototxt's names")
    net, params = squeezenet(), read_imagenet(weights)
    names = list(net.parts)
    cut = names.index("fire9")
    lower = Sequential(**{name: net.parts[name] for name in names[:cut]})
    upper = Sequential(**{name: net.parts[name] for name in names[cut:] if name != "drop9"})
    x = photographs.x[..., ::-1].astype(np.float32) - np.array(CAFFE_MEAN, np.float32)
    return Task(SIZES, lower, upper, params, x, True, photographs.y, photographs.classes, photographs.x)


def digits(knobs: Knobs) -> Task:
    """The base is trained on the digits 0 to 4 first."""
    data = load_digits()
    x, y = data.x.astype(np.float32)[..., None], data.y
    lower = Sequential(conv1=Conv(16), relu1=relu, pool1=MaxPool(2))
    upper = Sequential(conv2=Conv(32), relu2=relu, average=global_average_pool)
    model = Sequential(lower=lower, upper=upper, head=Dense(5))
    old, new = np.flatnonzero(y < 5), np.flatnonzero(y >= 5)
    params, _ = model.init(jax.random.key(knobs.seed), x.shape[1:])
    step = make_step(model, loss, optax.adam(2e-3))
    params, _ = train(step, params, Batches(x[old], y[old], 32, seed=knobs.seed), 30, knobs.seed)
    say(f"the base reads the digits 0 to 4: {percent(accuracy(logits(model, params, x[old]).argmax(-1), y[old]))} of "
        f"{len(old)}, on which it was trained")
    return Task((8,), lower, upper, params["lower"] | params["upper"], x[new], False, y[new] - 5, tuple("56789"),
                x[new, ..., 0])


def over_sizes(layer: Any) -> Any:
    """A layer of a picture in several sizes, given as a tuple: the mean of the outputs for each."""
    def mean(params: Any, state: Any, maps: tuple[Any, ...], key: Any, *, train: bool) -> tuple[Any, Any]:
        return sum(layer(params, state, m, key, train=train)[0] for m in maps) / len(maps), state

    return mean


def logits(model: Any, params: Any, x: Any) -> np.ndarray:
    return np.asarray(evaluate(model, params, {}, x, batch_size=64))  # one program for every number of pictures


def maps_of(task: Task) -> tuple[np.ndarray, ...]:
    """What the lower part makes of the pictures in each size, (n, height, width, channels)."""
    lower = params_of(task, task.lower)
    return tuple(logits(Sequential(large=Function(functools.partial(resize, size=size)), lower=task.lower),
                        {"lower": lower}, task.x) for size in task.sizes)


def train(step: Any, params: Any, batches: Batches, epochs: float, seed: int, *,
          metrics: Any = None) -> tuple[Any, Any]:
    """(params after so many epochs, history); the metrics, of which the dev cost is watched, after each epoch."""
    state = start_from(params, {}, step.optimizer, jax.random.key(seed))
    state, history = fit(state, step, batches, steps=batches.steps(epochs), every=batches.steps(1), metrics=metrics,
                         watch="dev_cost" if metrics else None, progress=False)
    return state.params, history


def step_of_fine_tuning(knobs: Knobs, model: Any) -> Any:
    """One step for all training sets: the features are learnt more slowly than the head."""
    rate = {"upper": knobs.slower * knobs.learning_rate, "head": knobs.learning_rate}
    return make_step(model, loss, optax.partition({name: optax.adam(r) for name, r in rate.items()},
                                                  {name: name for name in rate}))


def fine_tuned(knobs: Knobs, task: Task, step: Any, maps: tuple[np.ndarray, ...], features: np.ndarray,
               chosen: np.ndarray, strength: float) -> tuple[Any, int]:
    """(params of upper part and head, epochs) after fine-tuning from the probe on.

    A fourth of the pictures decides for how many epochs, by its cost; then all of them are trained on for as long.
    """
    def begin(places: np.ndarray) -> tuple[Any, Batches]:
        head = fit_probe(features[places], task.y[places], len(task.classes), strength)
        return ({"upper": params_of(task, task.upper), "head": jax.tree.map(jnp.float32, head)},
                Batches(rows(maps, places), task.y[places], min(knobs.batch_size, len(places)), seed=knobs.seed))

    fold = folds_of(task.y[chosen], 4, knobs.seed)
    dev_x, dev_y = rows(maps, chosen[fold == 0]), task.y[chosen[fold == 0]]

    def metrics(params: Any, state: Any) -> dict[str, Any]:
        return {"dev_cost": float(jnp.mean(jax.vmap(loss)(logits(step.layer, params, dev_x), dev_y)))}

    params, batches = begin(chosen[fold > 0])
    _, history = train(step, params, batches, knobs.epochs, knobs.seed, metrics=metrics)
    epochs = round(batches.epoch(history.best.step))
    params, batches = begin(chosen)
    # 0 epochs: no training improves on the probe.
    return train(step, params, batches, epochs, knobs.seed)[0] if epochs else params, epochs


def params_of(task: Task, part: Sequential) -> dict[str, Any]:
    return {name: task.params[name] for name in part.parts if name in task.params}


def rows(maps: tuple[np.ndarray, ...], places: np.ndarray) -> tuple[np.ndarray, ...]:
    """The maps of the pictures at these places, in each size."""
    return tuple(m[places] for m in maps)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    task = digits(knobs) if knobs.data == "digits" else alpacas(data_dir)
    n_classes, y = len(task.classes), task.y
    model = over_sizes(Sequential(upper=task.upper, head=Dense(n_classes)))
    step = step_of_fine_tuning(knobs, model)
    maps = maps_of(task)
    features = logits(over_sizes(task.upper), params_of(task, task.upper), maps)
    say(f"{knobs.data}: {len(y)} pictures; {features.shape[-1]} features of maps of "
        f"{', '.join(' x '.join(map(str, m.shape[1:])) for m in maps)}")
    fold = folds_of(y, knobs.folds, knobs.seed)
    read = {way: np.full((len(knobs.parts), len(y)), -1) for way in WAYS}
    notes: list[dict[str, Any]] = []
    for k in progress(range(knobs.folds), "fold"):
        test = np.flatnonzero(fold == k)
        order = np.random.default_rng((knobs.seed, k)).permutation(np.flatnonzero(fold != k))
        for i, part in enumerate(knobs.parts):
            chosen = of_each_class(order, y, max(len(order) // part, 2 * n_classes))
            strength = choose_strength(features[chosen], y[chosen], n_classes, knobs.seed)
            head = fit_probe(features[chosen], y[chosen], n_classes, strength)
            read["linear probe"][i, test] = logits_of(head, features[test]).argmax(-1)
            params, epochs = fine_tuned(knobs, task, step, maps, features, chosen, strength)
            read["fine-tuned"][i, test] = logits(model, params, rows(maps, test)).argmax(-1)
            notes.append({"fold": k, "pictures": len(chosen), "strength": strength, "epochs": epochs})
            if k == 0 and knobs.scratch_epochs:
                read["from scratch"][i, test] = from_scratch(knobs, task, chosen, test)
            say(f"fold {k + 1}, {len(chosen)} training pictures, strength {strength:g}, {epochs} epochs: " + ", ".join(
                f"{way} {percent(accuracy(r[i, test], y[test]))}" for way, r in read.items() if r[i, test[0]] >= 0))
    return summarize(out, knobs, task, fold, read, notes)


def of_each_class(order: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """The first n of the pictures in this order, but two of each class at least."""
    first = [place for label in np.unique(y) for place in order[y[order] == label][:2]]
    others = [place for place in order if place not in first]
    return np.array([*first, *others[:max(n - len(first), 0)]])


def from_scratch(knobs: Knobs, task: Task, chosen: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The classes that the whole network gives to the test pictures after training on the chosen ones alone."""
    views = (task.x, task.x[:, :, ::-1]) if task.has_mirror_images else (task.x,)
    x, y = np.concatenate([view[chosen] for view in views]), np.tile(task.y[chosen], len(views))
    model = Sequential(lower=task.lower, upper=task.upper, head=Dense(len(task.classes)))
    params, _ = model.init(jax.random.key(knobs.seed), x.shape[1:])
    batches = Batches(x, y, min(knobs.batch_size, len(x)), seed=knobs.seed)
    # As many steps as epochs of the pictures, each a view of one by chance.
    epochs = knobs.scratch_epochs / len(views)
    optimizer = optax.adam(optax.cosine_decay_schedule(knobs.learning_rate, max(batches.steps(epochs), 1)))
    params, _ = train(make_step(model, loss, optimizer), params, batches, epochs, knobs.seed)
    return np.mean([logits(model, params, view[test]) for view in views], 0).argmax(-1)


def summarize(out: Path, knobs: Knobs, task: Task, fold: np.ndarray, read: dict[str, np.ndarray],
              notes: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracies with their intervals, over all pictures that a way has read; the table and the pictures."""
    sizes = [note["pictures"] for note in notes if note["fold"] == 0]
    ways = WAYS if knobs.scratch_epochs else WAYS[:2]
    accuracies: dict[str, list[float]] = {way: [] for way in ways}
    ends: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for way in ways:
        tested = fold == 0 if way == "from scratch" else fold >= 0
        for i in range(len(sizes)):
            right, n = int((read[way][i] == task.y)[tested].sum()), int(tested.sum())
            accuracies[way].append(right / n)
            ends[way].append(intervals.of_fraction(right, n))
    n_read = (len(fold), len(fold), int((fold == 0).sum()))
    say(table(("training pictures", *(f"{way}, of {n}" for way, n in zip(ways, n_read, strict=False))),
              [(n, *(intervals.shown(accuracies[way][i], ends[way][i]) for way in ways)) for i, n in enumerate(sizes)]))
    is_right = {way: read[way][0] == task.y for way in WAYS}
    better = int((is_right["fine-tuned"] & ~is_right["linear probe"]).sum())
    worse = int((is_right["linear probe"] & ~is_right["fine-tuned"]).sum())
    say(f"with {sizes[0]} training pictures fine-tuning mends {better} that the probe gets wrong, and spoils {worse}")
    draw(out, knobs, task, sizes, accuracies, ends, read["fine-tuned"][0])
    return {"sizes": sizes, "test_accuracy": accuracies, "test_interval": ends, "fits": notes,
            "mended_by_fine_tuning": better, "spoilt_by_fine_tuning": worse}


def draw(out: Path, knobs: Knobs, task: Task, sizes: list[int], accuracies: dict[str, list[float]],
         ends: dict[str, list[tuple[float, float]]], read: np.ndarray) -> None:
    """Accuracy over the size of the training set; what fine-tuning on all of it makes of the pictures."""
    figure, ((axes,),) = figures.panels(1, 1, (6.4, 4.2), f"{knobs.data}: test accuracy, with its 95 % interval")
    for i, way in enumerate(accuracies):
        values, (low, high) = 100 * np.array(accuracies[way]), 100 * np.array(ends[way]).T
        # Side by side, so that no interval hides another.
        at = np.array(sizes) * 1.04 ** (i - 1)
        axes.errorbar(at, values, (values - low, high - values), marker="o", capsize=3, linewidth=1.5, label=way)
    most = 100 * np.bincount(task.y).max() / len(task.y)
    axes.axhline(most, color="grey", linestyle=":", label="the most frequent class")
    axes.set(xlabel="training pictures", ylabel="test accuracy / %", xscale="log")
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figures.save(figure, out / "accuracy.png")
    wrong = read != task.y
    order = np.argsort(~wrong, kind="stable")[:18]
    captions = [f"{task.classes[task.y[i]]}\nread as {task.classes[read[i]]}" for i in order]
    title = f"{knobs.data}, fine-tuned: {int(wrong.sum())} of {len(wrong)} wrong" + (
        ", and others" if wrong.sum() < len(order) else "")
    figures.images(out / "test_pictures.png", title, task.shown[order], captions, wrong[order])
