"""When does learning another task first help, and when does it not?

    python -m experiments run transfer

A network that has learnt a source task is trained on: all of it, with a new last layer where its classes are others.
The target are USPS digits, with few labels or many. The sources are scikit-learn's 1,797 digits of other writers, made
as large as USPS; the course's hands that show numbers, in grey, where their file is found, else random labels; and
nothing. The course says: transfer from A to B makes sense where both have the same kind of input, A has much more data
than B, and what A teaches helps with B.

The experiment `transfer-learning` asks another question, what to train of a network from ImageNet.

Result of seed 0 on USPS, two seeds, 45 s of processor time; test errors:
    labels    from nothing    from other writers' digits    from hands
    20        32.8 %          22.4 %                        37.0 %
    50        17.7 %          16.0 %                        21.5 %
    200       12.3 %          12.6 %                        13.9 %
    1,000     9.4 %           8.4 %                         11.3 %
The same task of other writers wins 10 points with 20 labels and next to nothing from 50 on; hands harm at each size.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.course3 import digits as data
from experiments.shared import figures
from experiments.shared.data import real_or_embedded
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, progress, say, series, table
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import intervals
from jaxnn.data import load_digits, load_signs
from jaxnn.training import make_step

NOTHING, SAME, OTHER = "nothing", "digits of other writers", "hands"


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the pictures of the target: " + data.WHY, choices=data.CHOICES)
    seed: int = random_seed(0, "first seed of the weights, the batches and which labels are known; each network has "
                            "the next")
    labels: tuple[int, ...] = knob((20, 50, 200, 1000), "numbers of labelled examples of the target that are compared",
                                   at_least=10)
    seeds: int = knob(2, "networks of each kind; the bands in the pictures are over them", at_least=2)
    steps: int = count(150, "steps of each training on the target, whatever its size; all costs have nearly levelled "
                       "off")
    source_steps: int = count(300, "steps of the training on the source, enough to read it")
    batch_size: int = count(32, "examples in a batch; 32 are more than the fewest labels")
    learning_rate: float = positive(0.001, "Adam's learning rate")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    target = data.load(knobs.data, data_dir, knobs.seed)
    size = target.train_x.shape[1]
    model = data.convnet(size)
    step = make_step(model, loss, optax.adam(knobs.learning_rate))
    sources = {NOTHING: None, **load_sources(knobs, target, data_dir)}
    bases = {}
    for name, source in sources.items():
        if source is None:
            continue
        params, state, _ = fitted(knobs, model, step, *source, knobs.source_steps, knobs.seed)
        right = float((data.logits(model, params, state, source[0]).argmax(-1) == source[1]).mean())
        say(f"{name}: {len(source[1])} examples, of which {percent(right)} are read after the training on them")
        bases[name] = params
    sizes = [n for n in knobs.labels if n <= len(target.train_y)]
    errors: dict[str, list[list[float]]] = {name: [] for name in sources}
    costs: dict[str, Any] = {}
    for n in progress(sizes, "size"):
        for name in sources:
            of_seeds = []
            for seed in range(knobs.seed, knobs.seed + knobs.seeds):
                # The same labels for each source: the difference is the source's.
                chosen = of_each_class(target.train_y, n, seed)
                params, state, of_steps = fitted(knobs, model, step, target.train_x[chosen], target.train_y[chosen],
                                                 knobs.steps, seed, bases.get(name), same_classes=name == SAME)
                of_seeds.append(float((data.logits(model, params, state, target.test_x).argmax(-1)
                                       != target.test_y).mean()))
            errors[name].append(of_seeds)
            costs[f"{n} labels from {name}"] = series(of_steps, "step")
    won = {name: [intervals.of_mean(np.array(none) - np.array(some))
                  for none, some in zip(errors[NOTHING], errors[name], strict=True)]
           for name in bases}
    say(table(("labels", *(f"from {name}" for name in sources), *(f"{name} wins" for name in bases)),
              [(n, *(percent(float(np.mean(errors[name][i]))) for name in sources),
                *(f"{100 * float(np.mean(errors[NOTHING][i]) - np.mean(errors[name][i])):+.2f} points"
                  for name in bases))
               for i, n in enumerate(sizes)]))
    draw(out, target, sizes, errors)
    return {"data": target.name, "labels": sizes, "test_errors": errors, "won_interval": won, "costs": costs}


def load_sources(knobs: Knobs, target: data.Digits, data_dir: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pictures of the target's size and their classes, at most ten."""
    size = target.train_x.shape[1]
    digits = load_digits()
    if target.name == "usps":
        x = np.kron(digits.x.astype(np.float32) / digits.x.max(), np.ones((1, 2, 2), np.float32))
        for axis in (1, 2):  # smooth, as pictures of that size are
            x = np.apply_along_axis(np.convolve, axis, x, np.array([0.25, 0.5, 0.25], np.float32), "same")
        x = x.astype(np.float32)[..., None]
        same = {SAME: (x, digits.y)}
    else:  # the target is of these writers, so that half of its own training set must do
        half = len(target.train_y) // 2
        same = {SAME: (target.train_x[:half, :, ::-1], target.train_y[:half])}
        say("the source are mirrored digits, for there are no others without USPS")
    x = same[SAME][0]
    random = np.random.default_rng(knobs.seed).integers(0, 10, len(x))
    return same | real_or_embedded("auto", "hands", lambda: {OTHER: grey_hands(size, data_dir)},
                                   lambda: {"random labels": (x, random)}, "random labels in place of the hands")


def grey_hands(size: int, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    signs = load_signs(data_dir)
    grey = signs.train_x.astype(np.float32).mean(-1) / 255
    block = 64 // size
    return 1 - grey.reshape(len(grey), size, block, size, block).mean((2, 4))[..., None], signs.train_y.astype(np.int64)


def fitted(knobs: Knobs, model: Any, step: Any, x: np.ndarray, y: np.ndarray, steps: int, seed: int,
           base: Any = None, *, same_classes: bool = False) -> tuple[Any, Any, list[float]]:
    """A training of so many steps; from a base, whose last layer is new where the classes are others."""
    begin = None
    if base is not None:
        fresh, state = model.init(jax.random.key(seed), x.shape[1:])
        begin = {**base, **({} if same_classes else {"dense2": fresh["dense2"]})}, state
    size = min(knobs.batch_size, len(x))
    return data.train(model, x, y, epochs=steps * size / len(x), batch_size=size, seed=seed, step=step, begin=begin)


def of_each_class(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n examples, the classes as even as can be."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(y))
    # The k-th example of its class comes before the (k + 1)-th of any other.
    rank = np.empty(len(y), int)
    for label in np.unique(y):
        members = order[y[order] == label]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")][:n]


def draw(out: Path, target: data.Digits, sizes: list[int], errors: dict[str, list[list[float]]]) -> None:
    title = f"{target.name}: what is learnt first, and how many labels are there"
    figure, axes = figures.panels(1, 2, (5.4, 4.0), title)
    for i, (name, values) in enumerate(errors.items()):
        mean = 100 * np.array(values).mean(1)
        spread = 100 * np.array(values).std(1, ddof=1)
        axes[0, 0].errorbar(np.array(sizes) * 1.03 ** (i - 1), mean, spread, fmt=f"C{i}o-", capsize=3,
                            label=f"from {name}")
        if name != NOTHING:
            won = 100 * (np.array(errors[NOTHING]) - np.array(values))
            axes[0, 1].errorbar(np.array(sizes) * 1.03 ** (i - 1), won.mean(1), won.std(1, ddof=1), fmt=f"C{i}o-",
                                capsize=3, label=f"from {name}")
    axes[0, 1].axhline(0, color="grey", linewidth=0.8)
    axes[0, 0].set(ylabel="test error / %, mean and deviation", yscale="log")
    axes[0, 1].set(ylabel="points won over starting from nothing")
    for axis in axes[0]:
        axis.set(xlabel="labelled examples of the target", xscale="log")
        axis.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figures.save(figure, out / "transfer.png")
