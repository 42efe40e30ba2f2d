"""Do deeper networks train worse, and do shortcuts mend that?

    python -m experiments run degradation
    python -m experiments run degradation --data signs --steps 1000

The figure of He et al. (2016): networks of 8 to 44 layers with and without the shortcuts around each two convolutions,
all else alike, trained for as many steps. A deep plain network could copy a shallow one and add layers that change
nothing; that its training error is higher shows that it is harder to train, not that it overfits. `--data digits` are
scikit-learn's 1,797 digits of 8x8 (the default, which needs no file), `signs` the course's hands at 32x32. In training
the pictures are distorted by chance.

Result of seed 0 on digits, test errors plain and residual: 8 layers 1.1 and 1.1 %, 20 layers 1.1 and 1.1 %, 32 layers
19.6 and 2.2 %, 44 layers 61.5 and 3.9 % (training errors 61.4 and 1.8 %).
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course4 import convnet
from experiments.course4.signs_resnet import small
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, progress, say, series, table
from jaxnn import Sequential, resize
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import intervals
from jaxnn.checks import expect
from jaxnn.data import Batches
from jaxnn.layers import Residual
from jaxnn.metrics import accuracy
from jaxnn.training import evaluate, fit, make_step, start

KINDS = ("plain", "residual")
MOST_PIXELS = 32


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("digits", "which pictures the networks learn", choices=convnet.DATA)
    seed: int = random_seed(0, "seed of the split, the initial weights, the batches and the distortions")
    depths: tuple[int, ...] = knob((8, 14, 20, 32, 44), "numbers of layers that are compared: 2 + 6 n for n blocks in "
                                   "each of three stages", at_least=8)
    channels: int = count(8, "channels of the first stage; the later ones have two and four times as many")
    steps: int = count(300, "steps of each training; at 8 layers the cost has nearly stopped falling by then")
    batch_size: int = count(64, "pictures in a batch, as many as where LeNet-5 is benchmarked")
    learning_rate: float = positive(0.1, "first rate of gradient descent with momentum 0.9, the paper's; it falls to "
                                    "zero as a cosine")


def plain(net: Any) -> Any:
    """The network without its shortcuts: each Residual is its body alone."""
    if isinstance(net, Residual):
        return net.parts["body"]
    if isinstance(net, Sequential):
        return Sequential(**{name: plain(part) for name, part in net.parts.items()})
    return net


def network_of(kind: str, depth: int, channels: int, classes: int) -> Sequential:
    expect(depth >= 8 and depth % 6 == 2, "--depths", "2 + 6 n layers: 8, 14, 20, ...", str(depth))
    net = small((channels, 2 * channels, 4 * channels), (depth - 2) // 6, classes, MOST_PIXELS)
    return plain(net) if kind == "plain" else net


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    pictures = convnet.load(convnet.Knobs(data=knobs.data, seed=knobs.seed), data_dir)
    x, y = pictures.x, pictures.y
    if x.shape[1] > MOST_PIXELS:
        x = np.asarray(jax.vmap(lambda image: resize(image, size=(MOST_PIXELS, MOST_PIXELS)))(jnp.asarray(x)))
    train, test = np.concatenate([pictures.train, pictures.dev]), pictures.test  # nothing is chosen, so no dev set
    say(f"{knobs.data}: {len(train)} training and {len(test)} test pictures; {knobs.steps} steps of {knobs.batch_size}")
    rows: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in KINDS}
    for depth in progress(knobs.depths, "depth"):
        for kind in KINDS:
            rows[kind][depth] = trained(knobs, network_of(kind, depth, knobs.channels, len(pictures.classes)), x, y,
                                        train, test)
            row = rows[kind][depth]
            say(f"{depth} layers, {kind}: training error {percent(row['train_error'])}, cost "
                f"{row['costs']['cost'][-1]:.3g}; test error {percent(row['test_error'])}")
    say(table(("layers", *(f"{kind}, {part} error" for kind in KINDS for part in ("train", "test"))),
              [(depth, *(intervals.shown(rows[kind][depth][f"{part}_error"], rows[kind][depth][f"{part}_interval"])
                         for kind in KINDS for part in ("train", "test"))) for depth in knobs.depths]))
    draw(out, knobs, rows)
    return {kind: {str(depth): row for depth, row in of_kind.items()} for kind, of_kind in rows.items()}


def trained(knobs: Knobs, net: Sequential, x: np.ndarray, y: np.ndarray, train: np.ndarray,
            test: np.ndarray) -> dict[str, Any]:
    """The errors of one network on the training and the test pictures as they are, and its costs on the way."""
    batches = Batches(x[train], y[train], min(knobs.batch_size, len(train)), seed=knobs.seed,
                      augment=convnet.distort(convnet.Knobs.turn, convnet.Knobs.shift, x.shape[1:3]))
    rate = optax.warmup_cosine_decay_schedule(0.0, knobs.learning_rate, knobs.steps // 20, max(knobs.steps, 2))
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(rate, momentum=0.9))  # the paper's
    state = start(net, optimizer, x.shape[1:], jax.random.key(knobs.seed))
    state, history = fit(state, make_step(net, loss, optimizer), batches, steps=knobs.steps,
                         every=max(knobs.steps // 30, 1), progress=False)
    steps, costs = history.curve("cost")
    row: dict[str, Any] = {"costs": series(costs, "step", steps)}
    for part, places in (("train", train), ("test", test)):
        z = np.asarray(evaluate(net, state.params, state.state, x[places], batch_size=min(len(places), 200)))
        error = 1 - accuracy(z.argmax(-1), y[places])
        row[f"{part}_error"] = error
        row[f"{part}_interval"] = intervals.of_fraction(round(error * len(places)), len(places))
    return row


def draw(out: Path, knobs: Knobs, rows: dict[str, dict[int, dict[str, Any]]]) -> None:
    """Errors and the last cost over depth; the cost over the steps of the shallowest and the deepest networks."""
    title = f"{knobs.data}: plain and residual networks after {knobs.steps} steps"
    figure, axes = figures.panels(1, 3, (4.6, 4), title)
    depths = sorted(knobs.depths)
    for kind, colour in zip(KINDS, ("C3", "C0"), strict=True):
        for axis, part in zip(axes[0], ("train", "test")):
            values = 100 * np.array([rows[kind][depth][f"{part}_error"] for depth in depths])
            low, high = 100 * np.array([rows[kind][depth][f"{part}_interval"] for depth in depths]).T
            axis.errorbar(depths, values, (values - low, high - values), color=colour, marker="o", capsize=3,
                          label=kind)
            axis.set(xlabel="layers", ylabel=f"{'training' if part == 'train' else 'test'} error / %", xticks=depths)
        for depth, style in {depths[0]: ":", depths[-1]: "-"}.items():
            record = rows[kind][depth]["costs"]
            axes[0, 2].plot(record["step"], record["cost"], style, color=colour, label=f"{kind}, {depth} layers")
    axes[0, 2].set(xlabel="step", ylabel="cost of distorted training pictures / nats", yscale="log")
    for axis in axes[0]:
        axis.grid(alpha=0.3, which="both")
        axis.legend()
    figures.save(figure, out / "depth.png")
