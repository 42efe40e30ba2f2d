"""How well does a small convolutional network read digits, and what does it look at?

    python -m experiments run convnet
    python -m experiments run convnet --data usps

LeNet-5 in today's dress: two convolutions with max pooling, then dense layers. `--data digits` are scikit-learn's
1,797 digits of 8x8 pixels (the default, which needs no file), `usps` the 9,298 digits of 16x16 of postal codes on which
LeCun's network of 1989 made 5.0 % errors and people make 2.37 %, and `signs` the course's hands of 64x64, on which its
ConvNet has .94 (train) and .78 (test).

Result of seed 0, on 2 CPU cores, compile included:
    --data      train      dev       test
    digits      99.72 %    98.33 %   100 %      15 s
    usps        99.98 %    99.73 %   97.61 %    33 s
    signs       96.30 %    98.15 %   94.17 %    69 s; 93.52 % of the 108 test pictures that are no training pictures
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course4 import looking
from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.run import percent, say
from jaxnn import Conv, Dense, Dropout, Flatten, MaxPool, Sequential, relu, summary
from jaxnn import softmax_cross_entropy as loss
from jaxnn.augmentation import rotation, shear, shift
from jaxnn.data import Batches, load_digits, load_signs, load_usps, split
from jaxnn.metrics import accuracy, confusion_matrix
from jaxnn.training import evaluate, fit, make_step, start

DATA = ("digits", "usps", "signs")


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("digits", "which pictures the network learns", choices=DATA)
    seed: int = knob(0, "seed of the split, the initial weights, the batches and the distortions", at_least=0)
    channels: tuple[int, ...] = knob((16, 32), "channels of each of the two convolutions", at_least=1)
    hidden: int = knob(128, "units of the dense layer", at_least=1)
    dropout: float = knob(0.3, "fraction dropped before the last layer", at_least=0, below=1)
    epochs: int = knob(40, "passes over the training set; by the last, the dev error has stopped falling", at_least=1)
    batch_size: int = knob(64, "pictures in a batch, as many as where LeNet-5 is benchmarked", at_least=1)
    learning_rate: float = knob(0.002, "Adam's first learning rate, which falls to zero as a cosine", above=0)
    turn: float = knob(10.0, "degrees by which a training picture is turned and sheared at most", at_least=0, below=90)
    shift: float = knob(0.06, "fraction of its size by which a training picture is moved at most", at_least=0, below=1)


class Pictures(NamedTuple):
    """x (n, height, width, channels) in 0..1, y (n,), and the places of each part."""

    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...]


def load(knobs: Knobs, data_dir: Path | None) -> Pictures:
    """Digits are dealt by class; the others have a test set of their own, and dev is a tenth of the training set."""
    if knobs.data == "digits":
        digits = load_digits()
        parts = split(len(digits.x), (0.8, 0.1, 0.1), seed=knobs.seed, labels=digits.y)
        x = digits.x.astype(np.float32)[..., None] / digits.x.max()
        return Pictures(x, digits.y, *parts, tuple(map(str, range(10))))
    if knobs.data == "usps":
        source: Any = load_usps(data_dir, instead="--data digits")
        classes = source.classes
    else:
        source = load_signs(data_dir, instead="--data digits")
        classes = tuple(map(str, range(6)))
    x = np.concatenate([source.train_x, source.test_x]).astype(np.float32) / 255
    y = np.concatenate([source.train_y, source.test_y])
    n = len(source.train_x)
    parts = split(n, (0.8, 0.1, 0.1), seed=knobs.seed, labels=source.train_y)  # it has a test set: two parts are train
    return Pictures(x, y, np.concatenate([parts.train, parts.test]), parts.dev, np.arange(n, len(x)), classes)


def network_of(knobs: Knobs, size: int, classes: int) -> Sequential:
    """Kernels of 5x5, or of 3x3 where a picture has 8 pixels; large pictures are halved once more."""
    window = (3, 3) if size < 12 else (5, 5)
    first, second = knobs.channels
    more = (MaxPool(2),) if size > 32 else ()
    return Sequential(
        Conv(first, window), relu, MaxPool(2), *more, Conv(second, window), relu, MaxPool(2), *more, Flatten(),
        Dense(knobs.hidden), relu, Dropout(knobs.dropout), Dense(classes))


def distort(turn: float, move: float, size: tuple[int, int]) -> Any:
    """Each picture of a batch turned and sheared by up to `turn` degrees and moved by up to `move`, a fraction of its
    size, by random amounts of its own, in one resampling."""
    def of_one(key: Any, image: Any) -> Any:
        turned, leaning, moved = jax.random.split(key, 3)
        warp = rotation(turned, size, degrees=turn).then(shear(leaning, size, degrees=turn))
        return warp.then(shift(moved, size, fraction=move)).image(image)

    @jax.jit
    def of_batch(key: Any, x: Any) -> Any:
        return jax.vmap(of_one)(jax.random.split(key, len(x)), x)

    return lambda key, x, y: (of_batch(key, x), y)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    pictures = load(knobs, data_dir)
    x, y, train, dev, test, classes = pictures
    batches = Batches(x[train], y[train], min(knobs.batch_size, len(train)), seed=knobs.seed,
                      augment=distort(knobs.turn, knobs.shift, x.shape[1:3]))
    steps = batches.steps(knobs.epochs)
    say(f"{knobs.data}: {len(train)} training, {len(dev)} dev and {len(test)} test pictures; {steps} steps of "
        f"{batches.batch_size}")
    model = network_of(knobs, x.shape[1], len(classes))
    table = summary(model, x.shape[1:])
    say(str(table))

    optimizer = optax.adam(optax.cosine_decay_schedule(knobs.learning_rate, steps))
    train_state = start(model, optimizer, x.shape[1:], jax.random.key(knobs.seed))
    step = make_step(model, loss, optimizer)

    def metrics(params: Any, state: Any) -> dict[str, Any]:
        z = evaluate(model, params, state, x[dev])
        return {"dev_cost": jnp.mean(jax.vmap(loss)(z, jnp.asarray(y[dev]))),
                "dev_error": 1 - accuracy(np.asarray(z).argmax(axis=-1), y[dev])}

    train_state, history = fit(train_state, step, batches, steps=steps, every=batches.steps(max(knobs.epochs / 20, 1)),
                               metrics=metrics)
    z = np.asarray(evaluate(model, train_state.params, train_state.state, x))
    read = z.argmax(axis=-1)
    measures: dict[str, Any] = {f"{part}_accuracy": accuracy(read[places], y[places])
                                for part, places in (("train", train), ("dev", dev), ("test", test))}
    say("   ".join(f"{name.replace('_', ' ')} {percent(value)}" for name, value in measures.items()))
    if knobs.data == "signs":
        known = {picture.tobytes() for picture in x[np.concatenate([train, dev])]}
        new = np.array([picture.tobytes() not in known for picture in x[test]])
        measures |= {"repeated_test_pictures": int((~new).sum()),
                     "test_accuracy_without_them": accuracy(read[test][new], y[test][new])}
        say(f"{(~new).sum()} test pictures are training pictures too; without them "
            f"{percent(measures['test_accuracy_without_them'])}")
    draw(out, knobs, history, batches, pictures, model, train_state, z)
    return {**measures, "parameters": table.parameters, "dev_errors": history.curve("dev_error")[1].tolist()}


def draw(out: Path, knobs: Knobs, history: Any, batches: Any, pictures: Pictures, model: Any, train_state: Any,
         z: np.ndarray) -> None:
    """The learning curve; confusions, the worst test pictures; filters, activations, what the network looks at."""
    x, y, _, _, test, classes = pictures
    curves = {name: ([batches.epoch(step) for step in steps], values) for name, (steps, values) in (
        (name, history.curve(name)) for name in ("cost", "dev_cost", "dev_error"))}
    figure, axes = figures.panels(1, 2, (5, 3.8), f"{knobs.data}: learning curve")
    figures.curves(axes[0, 0], {"train, distorted, with dropout": curves["cost"], "dev": curves["dev_cost"]}, "epoch",
                   "cost / nats", log=True)
    figures.curves(axes[0, 1], {"dev": (curves["dev_error"][0], 100 * curves["dev_error"][1])}, "epoch",
                   "dev error / %")
    figures.save(figure, out / "learning_curve.png")
    draw_mistakes(out, knobs.data, pictures, z)
    read = z.argmax(axis=-1)

    params, state = train_state.params, train_state.state
    looking.filters(out / "filters.png", f"{knobs.data}: kernels of the first convolution", params["conv1"]["kernel"])
    first = test[0]
    looking.activations(out / "activations.png", f"{knobs.data}: a {classes[y[first]]}, layer by layer", model, params,
                        state, x[first])
    # Of each class the first that is read right; where there is none, the first.
    is_right = read[test] == y[test]
    of_class = [max(np.flatnonzero(y[test] == c), key=lambda i: is_right[i], default=None) for c in range(len(classes))]
    each = [int(test[i]) for i in of_class if i is not None]
    looking.attention(out / "attention.png", f"{knobs.data}: what each class hangs on", model, params, state, x[each],
                      y[each], classes)


def draw_mistakes(out: Path, title: str, pictures: Pictures, z: np.ndarray) -> None:
    """The confusions of the test set, and the test pictures with the largest loss. z: the logits of all pictures."""
    x, y, _, _, test, classes = pictures
    read = z.argmax(axis=-1)
    figures.confusion(out / "confusion_matrix.png",
                      f"{title}: {len(test)} test pictures, {percent(accuracy(read[test], y[test]))} right",
                      confusion_matrix(read[test], y[test], len(classes)), classes)
    losses = np.asarray(jax.vmap(loss)(z[test], y[test]))
    worst = test[np.argsort(-losses)[:18]]
    shown = x[..., 0] if x.shape[-1] == 1 else x
    misread = read[worst] != y[worst]
    figures.images(out / "largest_losses.png", f"{title}: the test pictures with the largest loss, of which "
                   f"{misread.sum()} of {len(worst)} are misread (red)", shown[worst],
                   [f"{classes[y[i]]} read as {classes[read[i]]}\n{float(loss(z[i], int(y[i]))):.2g} nats"
                    for i in worst], misread)
