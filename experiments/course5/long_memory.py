"""Over how many steps can a recurrent network remember, and where does its gradient vanish?

    python -m experiments run long-memory

Two tasks of Hochreiter & Schmidhuber (1997) over growing lengths. Adding: of a sequence of numbers in [0, 1] two are
marked; the answer is their sum. Copy: five symbols, then blanks, then the five again. The networks, of as many units: a
simple recurrent network from independent random weights, the same from an orthogonal matrix, a GRU, an LSTM. The
pictures show the costs over the lengths, and the look inside the backward pass that explains them: the size of the
cotangent dz_t of each step when only the last step has a cost, before and after training, at the greatest length.

Result of seed 0, one network each, 13 minutes on 2 busy CPU cores; knowing nothing costs 0.1667 and 2.0794:
                                 adding, mean squared error      copy, nats per symbol
    steps to remember over       20      50      100             20      50      100
    RNN, random start            0.0219  0.1536  0.1579          0.1927  1.1294  1.7833
    RNN, orthogonal start        0.0123  0.1768  0.1583          0.0019  0.5529  1.8219
    GRU                          0.0001  0.0004  0.0012          0.2083  2.0807  2.0807
    LSTM                         0.0002  0.0008  0.0010          0.6204  2.0810  2.0805
What the gates buy depends on the task. Adding: they hold two numbers over 100 steps, and after training a fifth (GRU)
and an eleventh (LSTM) of the last step's gradient reaches the first; of the plain networks' 1.6e-5 and less than 1e-12.
Copy: within 1,500 steps the gated ones have not begun to learn over 50, where a plain network from an orthogonal
matrix has.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, positive, random_seed
from experiments.shared.run import progress, say, table
from jaxnn import GRU, LSTM, RNN, Dense, Sequential, initializers, softmax_cross_entropy, squared_error
from jaxnn.layers import over_examples
from jaxnn.losses import mean_over_time
from jaxnn.ops.over_time import through_time
from jaxnn.training import fit, make_step, start

SYMBOLS, COPIED = 8, 5


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = random_seed(0, "seed of the weights and the sequences")
    lengths: tuple[int, ...] = dataclasses.field(default=(20, 50, 100), metadata={
        "meaning": "steps of the adding task, and blanks of the copy task", "at_least": 2, "above": None,
        "below": None, "choices": None})
    hidden: int = count(48, "units of each recurrent layer; the tasks need few")
    steps: int = count(1500, "steps of each training; the gated networks have learnt to add before the last")
    batch_size: int = count(64, "sequences in a batch, drawn anew at each step: nothing can be learnt by heart")
    learning_rate: float = positive(0.003, "Adam's learning rate")
    trials: int = count(1, "trainings of each network at each task and length")


NETWORKS: dict[str, Callable[..., RNN]] = {
    "RNN, random start": lambda n, **options: RNN(n, weight_h_init=initializers.xavier, **options),
    "RNN, orthogonal start": lambda n, **options: RNN(n, **options),  # the layer's default
    "GRU": lambda n, **options: GRU(n, **options),
    "LSTM": lambda n, **options: LSTM(n, **options),
}


class Task(NamedTuple):
    """A task of one length: draw(key, n) -> (x, labels), the loss of one, and the cost of knowing nothing."""

    draw: Callable
    loss: Callable
    head: Callable  # the layer RNN with options -> the network
    shape: tuple[int, int]
    blind: float


def adding(length: int) -> Task:
    """x_t = (number, 1 where it is marked): one mark in each half. Always answering 1 costs 1/6, the variance."""
    def draw(key: Any, n: int) -> Any:
        values, first, second = jax.random.split(key, 3)
        half = length // 2
        numbers = jax.random.uniform(values, (n, length))
        marks = (jax.nn.one_hot(jax.random.randint(first, (n,), 0, half), length)
                 + jax.nn.one_hot(jax.random.randint(second, (n,), half, length), length))
        return jnp.stack([numbers, marks], -1), jnp.sum(numbers * marks, 1, keepdims=True)

    def head(make: Callable) -> Sequential:
        return Sequential(recurrent=make(return_sequence=False), head=Dense(1))

    return Task(draw, squared_error, head, (length, 2), 1 / 6)


def copying(length: int) -> Task:
    """Five of eight symbols, length blanks, a signal and blanks where the five are due. Guessing costs ln 8 nats."""
    def draw(key: Any, n: int) -> Any:
        symbols = jax.random.randint(key, (n, COPIED), 0, SYMBOLS)
        blank = jnp.full((n, length + COPIED), SYMBOLS).at[:, length].set(SYMBOLS + 1)
        return jax.nn.one_hot(jnp.concatenate([symbols, blank], 1), SYMBOLS + 2), symbols

    def head(make: Callable) -> Sequential:
        return Sequential(recurrent=make(), end=lambda h: h[-COPIED:], head=over_examples(Dense(SYMBOLS)))

    return Task(draw, mean_over_time(softmax_cross_entropy), head, (length + 2 * COPIED, SYMBOLS + 2),
                float(np.log(SYMBOLS)))


TASKS = {"adding": (adding, "mean squared error"), "copy": (copying, "cost / nats per symbol")}
WHEN = ("before training", "after training")
SMALLEST = 1e-12  # of what is drawn


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    jobs = [(task, length, name) for task in TASKS for length in knobs.lengths for name in NETWORKS]
    costs: dict[str, dict[str, list[list[float]]]] = {task: {name: [] for name in NETWORKS} for task in TASKS}
    sizes: dict[str, dict[str, Any]] = {task: {} for task in TASKS}
    for task, length, name in progress(jobs, "networks"):
        found = [train(knobs, TASKS[task][0](length), name, knobs.seed + trial) for trial in range(knobs.trials)]
        costs[task][name].append([cost for cost, *_ in found])
        say(f"{task} over {length} steps, {name}: {np.mean(costs[task][name][-1]):.4f}")
        if length == max(knobs.lengths):
            sizes[task][name] = dict(zip(WHEN, found[0][1:], strict=True))
    for task, (of_length, measure) in TASKS.items():
        blind = of_length(knobs.lengths[0]).blind
        say()
        say(table((f"{task}: {measure}", *map(str, knobs.lengths)),
                  [*((name, *(f"{np.mean(c):.4f}" for c in rows)) for name, rows in costs[task].items()),
                   ("knowing nothing", *[f"{blind:.4f}"] * len(knobs.lengths))]))
    draw_costs(out, knobs, costs)
    draw_gradients(out, sizes, max(knobs.lengths))
    reach = {task: {name: {when: float(of[0] / of[-1]) for when, of in pair.items()} for name, pair in by_name.items()}
             for task, by_name in sizes.items()}
    say()
    say(table(("first ‖dz_t‖ over the last", *(f"{task}, {when}" for task in TASKS for when in WHEN)),
              [(name, *(f"{reach[task][name][when]:.1e}" for task in TASKS for when in WHEN)) for name in NETWORKS]))
    return {"lengths": list(knobs.lengths), "costs_of_networks": costs, "first_step_over_last": reach,
            "sizes_of_dz": jax.tree.map(lambda of: [float(f"{size:.4g}") for size in of], sizes)}


def train(knobs: Knobs, task: Task, name: str, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """(the cost of 1,000 new sequences, the sizes of dz_t before training and after)."""
    net = task.head(lambda **options: NETWORKS[name](knobs.hidden, **options))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(knobs.learning_rate))
    train_state = start(net, optimizer, task.shape, jax.random.key(seed))
    drawn = jax.jit(lambda step: task.draw(jax.random.fold_in(jax.random.key(seed + 1000), step), knobs.batch_size))
    before = cotangents(net, train_state.params, drawn(0)[0])
    train_state, _ = fit(train_state, make_step(net, task.loss, optimizer), lambda step: drawn(step), steps=knobs.steps,
                         every=knobs.steps, progress=False)
    x, labels = task.draw(jax.random.key(seed + 2000), 1000)

    @jax.jit
    def cost(params: Any) -> Any:
        return jnp.mean(jax.vmap(lambda x, label: task.loss(net(params, {}, x)[0], label))(x, labels))

    return float(cost(train_state.params)), before, cotangents(net, train_state.params, x[:knobs.batch_size])


def cotangents(net: Any, params: Any, x: Any) -> np.ndarray:
    """‖dz_t‖ for each step t, the root mean square over the sequences, where the cost is the sum of the last state
    alone: what the backward loop hands to each step's weights, read from inside of that loop."""
    op = net.parts["recurrent"].op

    @jax.jit
    def sizes(params: Any, x: Any) -> Any:
        def one(x: Any) -> Any:
            (h, last), cache = op.forward(params, x)
            dlast = jax.tree.map(jnp.zeros_like, last)
            factors, *_ = through_time(cache, (jnp.zeros_like(h).at[-1].set(1), dlast))
            return jnp.sum(factors["bias"] ** 2, -1)  # db = Σ_t dz_t

        return jnp.sqrt(jnp.mean(jax.vmap(one)(x), 0))

    return np.asarray(sizes(params["recurrent"], x))


def draw_costs(out: Path, knobs: Knobs, costs: Any) -> None:
    figure, axes = figures.panels(1, len(TASKS), (5, 3.8), f"{knobs.hidden} units, after {knobs.steps:,} steps")
    for axis, (task, (of_length, measure)) in zip(axes.flat, TASKS.items(), strict=True):
        for (name, rows), marker in zip(costs[task].items(), "os^v", strict=False):
            axis.plot(knobs.lengths, [np.mean(row) for row in rows], label=name, marker=marker, markersize=6, alpha=0.8)
        axis.axhline(of_length(knobs.lengths[0]).blind, color="grey", linestyle="--", label="knowing nothing")
        axis.set(xlabel="steps to remember over", ylabel=measure, yscale="log", title=task, xticks=knobs.lengths)
        axis.grid(alpha=0.3, which="both")
    axes[0, -1].legend(fontsize=8)
    figures.save(figure, out / "costs.png")


def draw_gradients(out: Path, sizes: dict[str, dict[str, Any]], length: int) -> None:
    """The sizes of dz_t over the steps back from the last one, as parts of that at the last step; a line ends where it
    falls below SMALLEST."""
    lowest = min(np.min(of / of[-1]) for by_name in sizes.values() for pair in by_name.values() for of in pair.values())
    figure, axes = figures.panels(len(TASKS), 2, (5, 3.4), f"What of the gradient of the last state reaches each step "
                                  f"before, over {length} steps")
    for row, (task, by_name) in zip(axes, sizes.items(), strict=True):
        for axis, when in zip(row, WHEN, strict=True):
            for name, pair in by_name.items():
                part = pair[when][::-1] / pair[when][-1]
                axis.plot(np.where(part >= SMALLEST, part, np.nan), label=name, linewidth=1.5)
            axis.set(xlabel="steps back from the last", ylabel="‖dz_t‖ / ‖dz_T‖", yscale="log", title=f"{task}, {when}")
            axis.set_ylim(bottom=max(SMALLEST, 0.5 * lowest))
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    figures.save(figure, out / "gradients.png")
