"""What becomes of a network whose weights start at zero, all alike, too large, or at the right size?

    python -m experiments run initialization

Two relu layers, 2-10-5-1, on two noisy circles, by gradient descent over all the points, in float64,
from the course's own random numbers. "zeros", "large" (10 N(0, 1)) and "He" (N(0, 2 / n_in)) are the
course's, and He's costs are the ones it prints. "constant" is beside them, because from zero weights
relu gives no gradient at all, while from equal weights all units of a layer move, as one.

Result, on 2 CPU cores, 6 to 9 s:
    start                                       zeros    constant     large        He
    cost at iteration 0 / nats               0.693147    1.787641  1773.586  0.883054
    cost at iteration 14,000 / nats          0.693147    0.648536  0.382809  0.073579
    train accuracy                            50.00 %     58.00 %   83.00 %   99.33 %
    test accuracy                             50.00 %     59.00 %   86.00 %   96.00 %
    largest difference between two units            0       2e-16        42       6.3
The course prints 50/50, 83/86 and 99.33/96 %. Its first cost of the large weights is infinite, since
it takes the logarithm of a sigmoid that has become 1; the loss of a logit is finite. From there the
descent jumps about, so that its costs, .624 and .383 in the course, hang on the last bits.
"""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.mlp import Points, Trained, descend, initial, report
from experiments.shared.run import say, series, table
from jaxnn.data import noisy_circles

STARTS = ("zeros", "constant", "large", "He")


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = knob(1, "seed of the circles, the course's; the next number draws the test points, the one after it "
                     "the weights", at_least=0)
    hidden: tuple[int, ...] = knob((10, 5), "units of each hidden layer, as many as in the course", at_least=1)
    iterations: int = knob(15_000, "steps of gradient descent, as many as in the course", at_least=1)
    learning_rate: float = knob(0.01, "learning rate of gradient descent, the course's", above=0)
    large: float = knob(10.0, "standard deviation of the weights that are too large, the course's", above=0)
    constant: float = knob(0.5, "value of the weights that are all alike; 0.5 is near the middle of He's", above=0)


def circles(seed: int) -> Points:
    """The course's 300 points, and 100 to test."""
    train, test = (noisy_circles(s, n=n, noise=0.05, factor=0.8) for s, n in ((seed, 300), (seed + 1, 100)))
    return Points(*train, *test)


def start(name: str, knobs: Knobs) -> Any:
    """The initial params, one of STARTS."""
    scales: dict[str, Callable[[int], float]] = {
        "zeros": lambda n_in: 0.0, "constant": lambda n_in: 0.0, "large": lambda n_in: knobs.large,
        "He": lambda n_in: np.sqrt(2 / n_in)}
    params = initial((2, *knobs.hidden, 1), scales[name], knobs.seed + 2)
    if name != "constant":
        return params
    return [layer | {"weight": np.full_like(layer["weight"], knobs.constant)} for layer in params]


def spread(params: Any) -> float:
    """By how much the units of one layer differ at most: in their weights from x, biases and weights onward."""
    return max(float(np.ptp(np.asarray(column), axis=0).max())
               for layer, onward in itertools.pairwise(params)
               for column in (layer["weight"], layer["bias"], onward["weight"].T))


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    points = circles(knobs.seed)
    starts = {name: start(name, knobs) for name in STARTS}
    results = {name: descend(params, points, knobs.learning_rate, knobs.iterations)
               for name, params in starts.items()}
    report(results, max(1, knobs.iterations // 15))
    spreads = {name: {"at first": spread(starts[name]), "at last": spread(results[name].params)}
               for name in STARTS}
    say("\nlargest difference between two units of one layer")
    say(table(("start", "at first", "at last"),
              [(name, *(f"{value:.3g}" for value in s.values())) for name, s in spreads.items()]))
    draw(knobs, out, points, starts, results)
    return {**results["He"].measures(),
            "costs": {name: series(r.costs) for name, r in results.items()},
            "starts": {name: r.measures() for name, r in results.items()}, "differences": spreads}


def draw(knobs: Knobs, out: Path, points: Points, starts: dict[str, Any], results: dict[str, Trained]) -> None:
    title = f"Circles, {'-'.join(map(str, (2, *knobs.hidden, 1)))}, learning rate {knobs.learning_rate:g}"
    figure, ((axes,),) = figures.panels(1, 1, (7, 4.2), title)
    figures.curves(axes, {name: (np.arange(len(r.costs)), r.costs) for name, r in results.items()},
                   "iteration", "training cost / nats", log=True)
    figures.save(figure, out / "cost.png")

    figure, axes = figures.panels(1, len(STARTS), (2.7, 2.7),
                                  "Circles: decision boundary, train accuracy (class 0 red, class 1 blue)")
    for axis, (name, r) in zip(axes[0], results.items(), strict=True):
        figures.boundary(axis, r.logit, points.train_x, points.train_y,
                         f"{name}: {100 * r.train_accuracy:.2f} %")
    figures.save(figure, out / "boundary.png")

    shown = ("zeros", "constant", "He")
    figure, axes = figures.panels(1, len(shown), (3.2, 3.2), f"Weights of the {knobs.hidden[0]} units of the "
                                  "first layer: each a point, moved by training")
    limit = 1.15 * max(np.abs(params[0]["weight"]).max()
                       for name in shown for params in (starts[name], results[name].params))
    for axis, name in zip(axes[0], shown, strict=True):
        before, after = (np.asarray(params[0]["weight"]) for params in (starts[name], results[name].params))
        for a, b in zip(before, after, strict=True):
            axis.plot(*np.stack([a, b]).T, color="0.6", linewidth=1)
        axis.scatter(*before.T, s=50, facecolors="none", edgecolors="tab:orange", label="at first", zorder=3)
        axis.scatter(*after.T, s=14, color="tab:blue", label="at last", zorder=4)
        n = len(np.unique(after.round(9), axis=0))
        alike = f"all {len(after)} alike" if n == 1 else f"{n} different ones"
        axis.set(title=f"{name}: {alike}", xlabel="weight of x₁",
                 ylabel="weight of x₂", xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(loc="lower right")
    figures.save(figure, out / "units.png")
