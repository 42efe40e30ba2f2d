"""How much do features that were learnt elsewhere help, as the training set shrinks?

    python -m experiments run transfer-learning
    python -m experiments run transfer-learning --data alpacas

Three ways to a classifier of new classes: a linear probe on the features of a trained network, fine-tuning the last
part of that network with the rest frozen by a mask, and the same network from scratch. `--data alpacas`: SqueezeNet 1.0
with its ImageNet weights, on the course's 327 photographs with and without an alpaca, of which 65 are the test set; the
course's MobileNetV2 prints .754 after training its head and .9385 after fine-tuning. `--data digits` (the default,
which needs no file): a small network trained on the digits 0 to 4, on the digits 5 to 9.

Test accuracy of the linear probe, fine-tuned and from scratch, seed 0 (a minute for the digits, six for the alpacas):
    digits                   448 pictures    94.42 %    96.88 %    98.88 %
                             112             87.72 %    89.51 %    87.50 %
                              28             80.13 %    80.80 %    32.59 %
    alpacas                  262             89.23 %    87.69 %    64.62 %
    --learning-rate 2e-4      65             80.00 %    69.23 %    63.08 %
    --epochs 8                16             67.69 %    58.46 %    66.15 %
On the alpacas fine-tuning does not improve on the probe in so few epochs.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.run import percent, say, table
from jaxnn import Conv, Dense, MaxPool, Sequential, global_average_pool, relu
from jaxnn import softmax_cross_entropy as loss
from jaxnn.augmentation import flip
from jaxnn.data import Batches, find, load_alpacas, load_digits
from jaxnn.metrics import accuracy
from jaxnn.models import squeezenet
from jaxnn.models.squeezenet import CAFFE_MEAN, read_imagenet
from jaxnn.training import evaluate, fit, freeze, make_step, start_from

DATA = ("digits", "alpacas")
WAYS = ("linear probe", "fine-tuned", "from scratch")


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("digits", f"new classes: {', '.join(DATA)}", choices=DATA)
    seed: int = knob(0, "of the split, the initial weights and the batches", at_least=0)
    parts: tuple[int, ...] = knob((1, 4, 16), "the training set whole, a quarter and a sixteenth of it", at_least=1)
    epochs: int = knob(30, "of fine-tuning and of training from scratch; 8 do for the alpacas", at_least=1)
    batch_size: int = knob(16, "a sixteenth of the alpacas is 16 photographs", at_least=1)
    learning_rate: float = knob(1e-3, "Adam's; a large network is fine-tuned by less, 2e-4", above=0)
    probe_steps: int = knob(300, "of the linear probe, on the whole training set at once", at_least=1)


class Task(NamedTuple):
    """What is learnt, and from where."""

    base: Sequential
    """The network whose features are used."""
    params: Any
    """Of the base, learnt elsewhere."""
    free: tuple[str, ...]
    """The parts of the base that fine-tuning moves."""
    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...]
    augment: Callable | None
    shown: np.ndarray
    """The pictures as people look at them."""


def alpacas(knobs: Knobs, data_dir: Path | None) -> Task:
    photographs = load_alpacas(data_dir, instead="--data digits")
    weights = find("c4/squeezenet/squeezenet_1.0_imagenet.npz", data_dir, instead="--data digits",
                   how_to_get="decode the published weights of SqueezeNet 1.0 into an .npz with its prototxt's names")
    net, params = squeezenet(), read_imagenet(weights)
    names = [name for name in net.parts if name not in ("drop9", "conv10", "relu10", "pool10")]
    base = Sequential(**{name: net.parts[name] for name in names})
    order = np.random.default_rng(knobs.seed).permutation(len(photographs.y))
    x = photographs.x[..., ::-1].astype(np.float32) - np.array(CAFFE_MEAN, np.float32)

    @jax.jit
    def flipped(key: Any, x: Any) -> Any:
        return jax.vmap(lambda key, x: flip(key, x.shape[:2]).image(x))(jax.random.split(key, len(x)), x)

    return Task(base, {name: params[name] for name in names if name in params}, ("fire8", "fire9"), x, photographs.y,
                order[65:], order[:65], photographs.classes, lambda key, x, y: (flipped(key, x), y), photographs.x)


def digits(knobs: Knobs) -> Task:
    """The base is trained on the digits 0 to 4 first."""
    data = load_digits()
    x, y = data.x.astype(np.float32)[..., None], data.y
    base = Sequential(conv1=Conv(16), relu1=relu, pool1=MaxPool(2), conv2=Conv(32), relu2=relu)
    old, new = np.flatnonzero(y < 5), np.random.default_rng(knobs.seed).permutation(np.flatnonzero(y >= 5))
    model = classifier(base, 5)
    params, _ = model.init(jax.random.key(knobs.seed), x.shape[1:])
    params = train(model, params, Batches(x[old], y[old], 32, seed=knobs.seed), 30, 2e-3, None, knobs.seed)
    say(f"the base reads the digits 0 to 4: {percent(accuracy(predictions(model, params, x[old]), y[old]))} of "
        f"{len(old)}, on which it was trained")
    return Task(base, params["base"], ("conv2",), x, y - 5, new[len(new) // 2:], new[:len(new) // 2],
                tuple("56789"), None, x[..., 0])


def classifier(base: Sequential, classes: int) -> Sequential:
    return Sequential(base=base, average=global_average_pool, head=Dense(classes))


def predictions(model: Any, params: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(evaluate(model, params, {}, x, batch_size=min(len(x), 64))).argmax(-1)


def train(model: Any, params: Any, batches: Batches, epochs: int, rate: float, frozen: Any, seed: int) -> Any:
    """The parameters after so many epochs of Adam, its rate falling to zero as a cosine."""
    steps = batches.steps(epochs)
    optimizer: Any = optax.adam(optax.cosine_decay_schedule(rate, steps))
    if frozen is not None:
        optimizer = freeze(optimizer, frozen)
    state = start_from(params, {}, optimizer, jax.random.key(seed))
    state, _ = fit(state, make_step(model, loss, optimizer), batches, steps=steps, progress=False)
    return state.params


def probe(features: np.ndarray, y: np.ndarray, classes: int, steps: int) -> Any:
    """The parameters of a linear layer on the features as they are, found on standardized ones.

    With x̂ = (x - μ) / σ, W x̂ + b = (W / σ) x + b - (W / σ) μ.
    """
    mean, deviation = features.mean(0), features.std(0) + 1e-3
    x = (features - mean) / deviation
    head = Dense(classes)
    optimizer = optax.adamw(0.01, weight_decay=0.1)
    params, _ = head.init(jax.random.key(0), x.shape[1:])
    state = start_from(params, {}, optimizer, jax.random.key(0))
    batches = Batches(x, y, len(x), shuffle=False)
    state, _ = fit(state, make_step(head, loss, optimizer), batches, steps=steps, progress=False)
    weight = np.asarray(state.params["weight"]) / deviation
    return {"weight": jnp.asarray(weight), "bias": jnp.asarray(np.asarray(state.params["bias"]) - weight @ mean)}


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    task = digits(knobs) if knobs.data == "digits" else alpacas(knobs, data_dir)
    base, x, y, n_classes = task.base, task.x, task.y, len(task.classes)
    model = classifier(base, n_classes)
    feature = Sequential(base=base, average=global_average_pool)
    features = np.asarray(evaluate(feature, {"base": task.params}, {}, x, batch_size=64))
    frozen = {"base": {name: jax.tree.map(lambda _, name=name: name not in task.free, part)
                       for name, part in task.params.items()}, "head": {"weight": False, "bias": False}}
    start, _ = model.init(jax.random.key(knobs.seed), x.shape[1:])
    results: dict[str, list[float]] = {way: [] for way in WAYS}
    sizes: list[int] = []
    best: dict[str, np.ndarray] = {}
    for part in knobs.parts:
        chosen = task.train[:max(len(task.train) // part, n_classes)]
        sizes.append(len(chosen))
        head = probe(features[chosen], y[chosen], n_classes, knobs.probe_steps)
        batches = functools.partial(Batches, x[chosen], y[chosen], min(knobs.batch_size, len(chosen)), seed=knobs.seed,
                                    augment=task.augment)
        tuned = train(model, {"base": task.params, "head": head}, batches(), knobs.epochs, knobs.learning_rate, frozen,
                      knobs.seed)
        scratch = train(model, start, batches(), knobs.epochs, max(knobs.learning_rate, 1e-3), None, knobs.seed)
        for way, params in zip(WAYS, ({"base": task.params, "head": head}, tuned, scratch), strict=True):
            read = predictions(model, params, x[task.test])
            results[way].append(accuracy(read, y[task.test]))
            best.setdefault(way, read)
        say(f"{len(chosen)} training pictures: " + ", ".join(
            f"{way} {percent(values[-1])}" for way, values in results.items()) + f" of {len(task.test)} test pictures")
    say(table(("training pictures", *WAYS), [(n, *(percent(results[way][i]) for way in WAYS))
                                             for i, n in enumerate(sizes)]))
    draw(out, knobs, task, sizes, results, best["fine-tuned"])
    return {"sizes": sizes, "test_accuracy": results, "test_pictures": len(task.test)}


def draw(out: Path, knobs: Knobs, task: Task, sizes: list[int], results: dict[str, list[float]],
         read: np.ndarray) -> None:
    """Accuracy over the size of the training set; what fine-tuning on all of it makes of the test pictures."""
    figure, ((axes,),) = figures.panels(1, 1, (6, 4), f"{knobs.data}: {len(task.test)} test pictures")
    figures.curves(axes, {way: (sizes, 100 * np.array(values)) for way, values in results.items()},
                   "training pictures", "test accuracy / %")
    for line in axes.lines:
        line.set_marker("o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(n) for n in sizes])
    figures.save(figure, out / "accuracy.png")
    wrong = read != task.y[task.test]
    order = np.argsort(~wrong, kind="stable")[:18]
    captions = [f"{task.classes[task.y[task.test[i]]]}\nread as {task.classes[read[i]]}" for i in order]
    title = f"{knobs.data}, fine-tuned: {int(wrong.sum())} of {len(wrong)} wrong, and others"
    figures.images(out / "test_pictures.png", title, task.shown[task.test[order]], captions, wrong[order])
