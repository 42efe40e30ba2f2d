"""How does batch norm change the landscape that gradient descent walks in, and the descent's speed?

    python -m experiments run batch-norm

Two networks of six dense layers with relu learn handwritten digits by plain gradient descent, one with
batch norm after each hidden layer, one without. First at many learning rates, several seeds each, all at
once. Then at one rate: along the training, the cost and its gradient g are measured at steps of many
lengths in the direction of -g, as by Santurkar et al. (2018), How does batch normalization help
optimization?: the less the cost varies and the less g turns, the further a step can be trusted. And
the values that the last hidden layer's relu is given are counted.

Result, on 2 CPU cores shared with other work, 98 s. The costs at which a network counts as trained are
means over 15 steps; range, change and β are medians along the training at learning rate 0.1:
                                                         without      with batch norm
    learning rates that train                            0.03 to 0.3  0.03 to 3
    steps to a cost of 0.1 nats, at the best rate        139 (0.1)    28 (1)
    error on held-out digits there                       2.47 %       1.79 %
    range of the cost at steps of 0.5 to 4 times -0.1 g  0.066 nats   0.0061 nats
    largest change of the gradient at these              2.35         0.146
    effective β, largest ‖g' - g‖ / ‖step‖               13.2         4.7
    time per step of 128 examples                        0.31 ms      0.44 ms
At one and the same small rate neither is faster: what batch norm gives is the larger rates.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course2.batch_norm.landscape import BINS, Landscape, around, before_last_relu
from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.run import counted, device, progress, say, table
from experiments.shared.trials import draw_batches, error_rates, start_trials, train_trials
from jaxnn import BatchNorm, Dense, Sequential, relu
from jaxnn import softmax_cross_entropy as loss
from jaxnn.data import load_digits, split
from jaxnn.training import make_step

N_CLASSES = 10
NAMES = {False: "without batch norm", True: "with batch norm"}
AVERAGED = 15  # steps, over whose batches every cost that is printed, drawn or compared is averaged


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = knob(0, "seed of the split and the batches, and of the first network's weights; the next networks' "
                     "follow", at_least=0)
    seeds: int = knob(3, "networks at each learning rate, each from its own initial weights", at_least=1)
    hidden: int = knob(64, "units of each hidden layer", at_least=1)
    depth: int = knob(5, "number of hidden layers; with one or two there is little for batch norm to help", at_least=1)
    rates: tuple[float, ...] = knob((0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
                                    "learning rates that are tried, from too slow to hopeless", above=0)
    landscape_rate: float = knob(0.1, "learning rate at which the landscape is measured, good for both networks",
                                 above=0)
    steps: int = knob(600, "steps of each training; by then both networks have converged at their best rate",
                      at_least=1)
    batch_size: int = knob(128, "examples in a batch, drawn with replacement; batch norm wants many", at_least=2)
    every: int = knob(10, "steps between two measurements of the landscape", at_least=1)
    trained: float = knob(0.1, "cost in nats at which a network counts as trained", above=0)


def network(knobs: Knobs, batch_norm: bool) -> Sequential:
    """Batch norm's own bias takes the place of the dense layer's, which it would subtract."""
    normalized = Dense(knobs.hidden, use_bias=False), BatchNorm(), relu
    hidden = normalized if batch_norm else (Dense(knobs.hidden), relu)
    return Sequential(*hidden * knobs.depth, Dense(N_CLASSES))


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    digits = load_digits()
    x, y = jnp.asarray(digits.x.reshape(len(digits.x), -1), jnp.float32), jnp.asarray(digits.y)
    parts = split(len(x), (0.7, 0.15, 0.15), seed=knobs.seed, labels=digits.y)
    held_out = np.concatenate([parts.dev, parts.test])  # nothing is chosen here
    random = np.random.RandomState(knobs.seed)
    batches = draw_batches(random, parts.train[None], knobs.steps, knobs.batch_size)

    swept, landscapes, seconds = {}, {}, {}
    for batch_norm, name in NAMES.items():
        model = network(knobs, batch_norm)
        optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=knobs.landscape_rate)
        step = make_step(model, loss, optimizer)
        say(f"{name}: {counted(len(knobs.rates), 'learning rate')}, {counted(knobs.seeds, 'network')} at each, "
            f"{counted(knobs.steps, 'step')}")
        swept[name] = sweep(knobs, model, optimizer, step, x, y, batches, held_out)
        landscapes[name] = walk(knobs, model, optimizer, step, x, y, batches, parts.train)
        seconds[name] = seconds_per_step(model, optimizer, step, x[batches[0, 0]], y[batches[0, 0]])
    measures = {name: report(knobs, name, *swept[name], landscapes[name], seconds[name]) for name in swept}

    finals = [final_cost(costs) for costs, _ in swept.values()]
    say(f"\ncost in nats, mean over {counted(knobs.seeds, 'seed')} and the last {min(AVERAGED, knobs.steps)} of "
        f"{counted(knobs.steps, 'step')}; nan where one was not finite")
    say(table(("learning rate", *swept), [(f"{rate:g}", *(f"{c:.4f}" if c < 100 else f"{c:.2g}" for c in costs))
                                          for rate, *costs in zip(knobs.rates, *finals, strict=True)]))
    draw_speed(knobs, out, {name: costs for name, (costs, _) in swept.items()})
    draw_landscape(knobs, out, landscapes)
    draw_histograms(knobs, out, landscapes)
    return measures


def sweep(knobs: Knobs, model: Any, optimizer: Any, step: Any, x: Any, y: Any, batches: np.ndarray,
          held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(costs (steps, rates, seeds), errors on the examples held out (rates, seeds))."""
    rates = np.repeat(knobs.rates, knobs.seeds)
    seeds = np.tile(np.arange(knobs.seeds) + knobs.seed, len(knobs.rates))
    states = start_trials(model, optimizer, x.shape[1:], seeds, learning_rate=rates)
    states, costs = train_trials(step, states, x, y, np.repeat(batches, len(rates), axis=1))
    shape = len(knobs.rates), knobs.seeds
    wrong = error_rates(model, states, x, y, np.tile(held_out, (len(rates), 1)))
    return np.asarray(costs).reshape(knobs.steps, *shape), wrong.reshape(shape)


def averaged(costs: np.ndarray) -> np.ndarray:
    """The mean over the seeds and over the last `AVERAGED` steps, or those so far: (steps, rates, seeds) to (steps,
    rates). Not finite only where one of these is not."""
    means = costs.mean(axis=2)
    return np.stack([means[max(0, end - AVERAGED):end].mean(axis=0) for end in range(1, len(means) + 1)])


def final_cost(costs: np.ndarray) -> np.ndarray:
    """At each rate, the averaged cost of the last step; NaN where a cost was not finite."""
    final = averaged(costs[-AVERAGED:])[-1]
    return np.where(np.isfinite(final), final, np.nan)


def speed(costs: np.ndarray, trained: float) -> str:
    """In words, after how many steps the averaged cost of one rate, (steps,), is under that of a trained network."""
    below = costs < trained
    first = counted(int(below.argmax()) + 1, "step")
    if not below.any():
        return "that cost is not reached"
    return f"{first} to that cost" if below[-1] else f"that cost is reached after {first}, and lost again"


def walk(knobs: Knobs, model: Any, optimizer: Any, step: Any, x: Any, y: Any, batches: np.ndarray,
         train: np.ndarray) -> Landscape:
    """The training of one network, with a look around before every so many steps."""
    states = start_trials(model, optimizer, x.shape[1:], [knobs.seed], learning_rate=[knobs.landscape_rate])
    # From half a step to four steps, as in the paper.
    lengths = knobs.landscape_rate * jnp.linspace(0.5, 4, 8)
    looks = []
    for first in progress(range(0, knobs.steps, knobs.every), "look"):
        train_state = jax.tree.map(lambda a: a[0], states)
        which = batches[first, 0]
        values = np.asarray(before_last_relu(model, train_state, x[train]))
        density = np.histogram(values, BINS)[0] / (values.size * np.diff(BINS))  # of all, in the bins or not
        looks.append((*map(np.asarray, around(model, train_state, x[which], y[which], lengths)), density))
        states, _ = train_trials(step, states, x, y, batches[first:first + knobs.every])
    return Landscape(*map(np.stack, zip(*looks, strict=True)))


def seconds_per_step(model: Any, optimizer: Any, step: Any, x: Any, labels: Any) -> float:
    """The median over 50 steps of one network, after the first, which compiles."""
    train_state = jax.tree.map(lambda a: a[0], start_trials(model, optimizer, x.shape[1:], [0]))
    took = []
    for _ in range(51):
        begin = time.perf_counter()
        train_state, _ = jax.block_until_ready(step(train_state, x, labels))
        took.append(time.perf_counter() - begin)
    return float(np.median(took[1:]))


def report(knobs: Knobs, name: str, costs: np.ndarray, wrong: np.ndarray, landscape: Landscape,
         seconds: float) -> dict[str, Any]:
    """Prints the measures of one network, and returns them as a record."""
    final = final_cost(costs)
    good = [rate for rate, cost in zip(knobs.rates, final, strict=True) if cost < knobs.trained]
    reach = f"{min(good):g} to {max(good):g}, a factor of {max(good) / min(good):,.0f}" if good else "none"
    variation = float(np.median(np.ptp(landscape.costs, axis=1)))
    turned = float(np.median(landscape.turned.max(axis=1)))
    beta = float(np.median(landscape.beta))
    best = int(np.nanargmin(final)) if np.isfinite(final).any() else 0
    reached = speed(averaged(costs)[:, best], knobs.trained)
    say(f"\n{name}: {1000 * seconds:.2f} ms per step of {knobs.batch_size} on {device()}\n"
        f"  learning rates that train (cost under {knobs.trained:g} nats): {reach}\n"
        f"  best rate {knobs.rates[best]:g}: {reached}, "
        f"error on held-out digits {100 * wrong[best].mean():.2f} %\n"
        f"  at rate {knobs.landscape_rate:g}, medians along the training: the cost varies by {variation:.4f} "
        f"nats, the gradient changes by {turned:.3f}, β = {beta:.1f}")
    return {"costs": [float(c) if np.isfinite(c) else None for c in final], "rates_that_train": good,
            "best_rate": knobs.rates[best], "held_out_error": float(wrong[best].mean()),
            "cost_variation": variation, "gradient_change": turned, "beta": beta,
            "milliseconds_per_step": 1000 * seconds}


def draw_speed(knobs: Knobs, out: Path, costs: dict[str, np.ndarray]) -> None:
    """The cost over the steps at each rate, each network in its panel, and the final costs side by side."""
    figure, axes = figures.panels(1, 3, (4.6, 4), "Digits: gradient descent at many learning rates")
    limits = knobs.trained / 300, 20
    for axis, (name, values) in zip(axes[0], costs.items(), strict=False):
        lines = {f"{rate:g}": (np.arange(knobs.steps), cost)
                 for rate, cost in zip(knobs.rates, averaged(values).T, strict=True)}
        axis.set_prop_cycle(color=_rainbow(len(lines)))
        figures.curves(axis, lines, "step", f"training cost / nats, mean of {AVERAGED} steps", log=True,
                       legend=False)
        axis.set(title=name, ylim=limits)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), title="learning rate", loc="outside right upper")
    final = {name: (knobs.rates, final_cost(values)) for name, values in costs.items()}
    figures.curves(axes[0, 2], final, "learning rate", f"cost of the last {AVERAGED} steps / nats", log=True)
    for line in axes[0, 2].lines:
        line.set_marker("o")
    axes[0, 2].axhline(knobs.trained, color="grey", linestyle="--", linewidth=1, label="counts as trained")
    axes[0, 2].legend(loc="lower left")
    axes[0, 2].set(xscale="log", ylim=limits, title=f"after {counted(knobs.steps, 'step')}",
                   xlabel=f"learning rate (no point: above {limits[1]:g} nats, or not finite)")
    figures.save(figure, out / "cost_by_learning_rate.png")


def draw_landscape(knobs: Knobs, out: Path, landscapes: dict[str, Landscape]) -> None:
    title = (f"Digits with and without batch norm at learning rate {knobs.landscape_rate:g}: "
             "the landscape 0.5 to 4 gradient steps ahead")
    figure, axes = figures.panels(1, 3, (4.6, 4), title)
    for (name, landscape), colour in zip(landscapes.items(), ("tab:blue", "tab:orange"), strict=True):
        at = knobs.every * np.arange(len(landscape.cost))
        for axis, values in ((axes[0, 0], landscape.costs), (axes[0, 1], landscape.turned)):
            axis.fill_between(at, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.4, label=name)
        axes[0, 2].plot(at, landscape.beta, color=colour, label=name)
    for axis, label in zip(axes[0], ("cost / nats (band: range over the steps)",
                                     "change of the gradient, ‖g' - g‖ (band: range)",
                                     "effective β, the largest ‖g' - g‖ / ‖step‖"), strict=True):
        axis.set(xlabel="step of the training", ylabel=label, yscale="log")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figures.save(figure, out / "landscape.png")


def draw_histograms(knobs: Knobs, out: Path, landscapes: dict[str, Landscape]) -> None:
    title = f"What the last hidden layer's relu is given, at learning rate {knobs.landscape_rate:g}"
    figure, axes = figures.panels(1, 2, (5, 3.8), title)
    # One scale of colours for both; the root shows the tails.
    top = max(np.sqrt(landscape.histograms).max() for landscape in landscapes.values())
    for axis, (name, landscape) in zip(axes[0], landscapes.items(), strict=True):
        edges = knobs.every * np.arange(len(landscape.histograms) + 1)
        shown = axis.pcolormesh(edges, BINS, np.sqrt(landscape.histograms).T, vmin=0, vmax=top)
        axis.axhline(0, color="white", linewidth=0.8)
        axis.set(xlabel="step of the training", ylabel="value before relu", title=name)
    figure.colorbar(shown, ax=axes, label="√ of the density")
    figures.save(figure, out / "activations.png")


def _rainbow(n: int) -> Any:
    from matplotlib import colormaps

    return colormaps["turbo"](np.linspace(0.05, 0.95, n))
