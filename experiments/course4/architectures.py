"""How well do the well-known architectures learn the same pictures in the same time?

    python -m experiments run architectures
    python -m experiments run architectures --data usps --clock processor

LeNet-5, AlexNet, VGG-16, GoogLeNet, SqueezeNet, ResNet-18, MobileNet v1 and v2 and DenseNet-121, made fit for
pictures of 32x32 as `architectures_small` says, each trained by Adam for so many seconds on the same task. `--data
digits` are scikit-learn's 1,797 digits (the default, which needs no file), `usps` 9,298 digits of postal codes, `signs`
the course's 1,200 hands, all resized to 32x32. What counts is the time, not the steps: a network that takes ten times
as long for a step takes a tenth of the steps. Compiling is not counted.

Result of the second command, seed 0, 16 minutes on 2 CPU cores; of 2,007 test pictures
    AlexNet   LeNet-5   ResNet-18   VGG-16   SqueezeNet   DenseNet-121   GoogLeNet   MobileNet v2   v1
     97.4 %    97.3 %      96.4 %   95.6 %       95.1 %         88.7 %      79.5 %         78.3 %   69.1 %
    7,252     12,929         380      529        1,385             78          80            517      713   steps
A minute favours what is shallow: the deep ones are not done, and the MobileNets, whose layers are thin, save arithmetic
and not time.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course4 import convnet
from experiments.course4.architectures_small import NETWORKS, network_of
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import progress, say, table
from jaxnn import Sequential, resize, summary
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import intervals
from jaxnn.data import Batches
from jaxnn.training import evaluate, make_step, start

PIXELS = 32
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("digits", "which pictures the networks learn", choices=convnet.DATA)
    networks: tuple[str, ...] = knob(tuple(NETWORKS), "which networks are compared", choices=tuple(NETWORKS))
    seed: int = random_seed(0, "seed of the split, the initial weights, the batches and the distortions")
    seconds: float = positive(60.0, "seconds of training for each network")
    clock: str = knob("wall", "clock that counts these seconds; where others use the machine, the processor's is "
                      "fairer", choices=tuple(CLOCKS))
    thinner: int = count(4, "number by which the published channels are divided; undivided, a minute is some hundred "
                         "steps")
    batch_size: int = count(32, "pictures in a batch, as many as in the course")
    learning_rate: float = positive(0.001, "Adam's first learning rate, which falls to zero as a cosine of the time")
    turn: float = knob(10.0, "degrees by which a training picture is turned and sheared at most", at_least=0, below=90)
    shift: float = knob(0.06, "fraction of its size by which a training picture is moved at most", at_least=0, below=1)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    pictures = convnet.load(convnet.Knobs(data=knobs.data, seed=knobs.seed), data_dir)
    x = np.asarray(jax.vmap(lambda image: resize(image, size=(PIXELS, PIXELS)))(jnp.asarray(pictures.x)))
    pictures = pictures._replace(x=x - x[pictures.train].mean((0, 1, 2)))
    say(f"{knobs.data}: {len(pictures.train)} training and {len(pictures.test)} test pictures of {PIXELS}x{PIXELS}; "
        f"{knobs.seconds:g} s of training each, by the {knobs.clock} clock")
    rows = {name: measured(knobs, name, pictures) for name in progress(knobs.networks, "network")}
    head = ("network", "test accuracy, 95 % interval", "parameters", "multiply-adds", "ms a step", "ms a forward",
            "steps", "compile / s")
    say(table(head, [(name, intervals.shown(row["test_accuracy"], row["test_interval"]), f"{row['parameters']:,}",
                      f"{row['multiply_adds']:,}", f"{row['step_ms']:.1f}", f"{row['forward_ms']:.1f}", row["steps"],
                      f"{row['compile_seconds']:.1f}") for name, row in rows.items()]))
    say(f"a step and a forward are of {knobs.batch_size} pictures; multiply-adds are of one")
    draw(out, knobs, rows, len(pictures.test))
    return {"networks": rows, "test_pictures": len(pictures.test)}


def measured(knobs: Knobs, name: str, pictures: convnet.Pictures) -> dict[str, Any]:
    """Trains one network for the seconds, and measures it."""
    x, y, train, _, test, classes = pictures
    net, clock = network_of(name, len(classes), knobs.thinner), CLOCKS[knobs.clock]
    distorted = convnet.distort(knobs.turn, knobs.shift, (PIXELS, PIXELS))
    batches = Batches(x[train], y[train], min(knobs.batch_size, len(train)), seed=knobs.seed, augment=distorted)
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=knobs.learning_rate)
    state = start(net, optimizer, x.shape[1:], jax.random.key(knobs.seed))
    step = make_step(net, loss, optimizer)
    begin = time.perf_counter()
    state, info = step(state, *batches(0))
    jax.block_until_ready(info)
    compile_seconds, spent, steps, times, costs = time.perf_counter() - begin, 0.0, 0, [], []
    while spent < knobs.seconds:
        rate = knobs.learning_rate * (1 + math.cos(math.pi * spent / knobs.seconds)) / 2
        opt_state = state.opt_state._replace(
            hyperparams={**state.opt_state.hyperparams, "learning_rate": jnp.float32(rate)})
        batch = batches(steps)
        begin = clock()
        state, info = step(state._replace(opt_state=opt_state), *batch)
        costs.append(float(info.cost))  # waits for the step
        times.append(clock() - begin)
        spent, steps = spent + times[-1], steps + 1
    read = np.asarray(evaluate(net, state.params, state.state, x[test], batch_size=min(len(test), 100))).argmax(-1)
    right = int((read == y[test]).sum())
    interval = intervals.of_fraction(right, len(test))
    say(f"{name}: {steps} steps, cost {np.mean(costs[-max(1, steps // 10):]):.3g}, test "
        f"{intervals.shown(right / len(test), interval)}")
    return {"test_accuracy": right / len(test), "test_interval": interval, "steps": steps,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            "multiply_adds": summary(net, x.shape[1:]).multiply_adds,
            "step_ms": 1e3 * float(np.median(times)), "compile_seconds": compile_seconds,
            "forward_ms": 1e3 * forward_seconds(net, state, x[test[:knobs.batch_size]], clock),
            "adapted": NETWORKS[name].adapted}


def forward_seconds(net: Sequential, state: Any, x: np.ndarray, clock: Any) -> float:
    """The median of five forward passes of these pictures, after one that compiles."""
    times = []
    for _ in range(6):
        begin = clock()
        jax.block_until_ready(evaluate(net, state.params, state.state, x))
        times.append(clock() - begin)
    return float(np.median(times[1:]))


def draw(out: Path, knobs: Knobs, rows: dict[str, dict[str, Any]], n_test: int) -> None:
    """Test accuracy over the milliseconds of a forward pass, each network a disc as large as its parameters."""
    title = f"{knobs.data}, {n_test} test pictures: accuracy after {knobs.seconds:g} s of training"
    figure, ((axes,),) = figures.panels(1, 1, (8, 5), title)
    largest = max(row["parameters"] for row in rows.values())
    across = sorted(rows, key=lambda name: rows[name]["forward_ms"])
    for i, (name, row) in enumerate(rows.items()):
        at, accuracy = row["forward_ms"], 100 * row["test_accuracy"]
        low, high = (100 * end for end in row["test_interval"])
        axes.errorbar(at, accuracy, [[accuracy - low], [high - accuracy]], color=f"C{i}", capsize=3, linewidth=1,
                      zorder=1)
        axes.scatter(at, accuracy, 40 + 800 * row["parameters"] / largest, color=f"C{i}", alpha=0.5, zorder=2)
        above = across.index(name) % 2 == 0  # of two neighbours one name stands above, one below
        axes.annotate(f"{name}\n{row['parameters']:,}", (at, accuracy), (8, 8 if above else -8), va="bottom" if above
                      else "top", textcoords="offset points", fontsize=8)
    axes.set(xlabel=f"forward pass of {knobs.batch_size} pictures / ms of the {knobs.clock} clock",
             ylabel="test accuracy / %, with its 95 % interval", xscale="log")
    axes.text(0.99, 0.01, "discs grow with the parameters, which stand below the names", transform=axes.transAxes,
              ha="right", va="bottom", fontsize=8, color="grey")
    axes.margins(x=0.15, y=0.15)
    axes.grid(alpha=0.3, which="both")
    figures.save(figure, out / "accuracy_and_time.png")
