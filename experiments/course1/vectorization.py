"""How much time does it save to take a gradient over all the examples at once, and to compile it?

    python -m experiments run vectorization

The same gradient of the same cost, of a small dense network on real digits: by a Python loop over
the examples, by `vmap`, and jit-compiled. The loop is also timed with the gradient of one example
compiled, which shows what a loop alone costs.

Result, 64 examples, median of 5 rounds on 2 CPU cores (11 s in all): loop 779 ms; loop over one
compiled 19 ms; vmap 13.5 ms; vmap, compiled 0.19 ms, 4,090 times as fast. Their values agree to 3e-7.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.run import device, progress, say, table
from jaxnn import Dense, Flatten, Sequential, relu, softmax_cross_entropy
from jaxnn.checks import InputError
from jaxnn.data import load_digits


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = knob(0, "seed of the weights, on which no time depends", at_least=0)
    examples: int = knob(64, "examples in a batch: enough to show the loop's price, few enough to wait for", at_least=1)
    hidden: int = knob(32, "units of the hidden layer: few, so that the overhead is timed", at_least=1)
    rounds: int = knob(5, "times that each way is timed, all ways in turn, so that a slow moment hits each", at_least=1)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    digits = load_digits()
    if knobs.examples > len(digits.x):
        raise InputError("--examples", f"expects at most the {len(digits.x)} digits; got {knobs.examples}")
    x = jnp.asarray(digits.x[: knobs.examples], jnp.float32)
    labels = jnp.asarray(digits.y[: knobs.examples], jnp.int32)
    model = Sequential(Flatten(), Dense(knobs.hidden), relu, Dense(10))
    params, state = model.init(jax.random.key(knobs.seed), x.shape[1:])

    def loss(params: Any, x: Any, label: Any) -> Any:
        """Of one example; its gradient is that of the ops' hand-derived backwards."""
        return softmax_cross_entropy(model(params, state, x)[0], label)

    def loop(gradient: Any) -> Any:
        total = gradient(params, x[0], labels[0])
        for i in range(1, len(x)):
            total = jax.tree.map(jnp.add, total, gradient(params, x[i], labels[i]))
        return jax.tree.map(lambda g: g / len(x), total)

    def cost(params: Any, x: Any, labels: Any) -> Any:
        return jnp.mean(jax.vmap(loss, in_axes=(None, 0, 0))(params, x, labels))

    of_one, of_all = jax.jit(jax.grad(loss)), jax.jit(jax.grad(cost))
    ways = {
        "loop over examples": lambda: loop(jax.grad(loss)),
        "loop, one example compiled": lambda: loop(of_one),
        "vmap": lambda: jax.grad(cost)(params, x, labels),
        "vmap, compiled": lambda: of_all(params, x, labels),
    }
    gradients = {name: jax.block_until_ready(way()) for name, way in ways.items()}  # and compiles
    disagreement = max(difference(g, gradients["loop over examples"]) for g in gradients.values())
    say(f"gradient over {len(x)} examples; the ways agree to {disagreement:.1e} of the largest element")

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in progress(range(knobs.rounds), "round"):
        for name, way in ways.items():
            begin = time.perf_counter()
            jax.block_until_ready(way())
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    slowest = medians["loop over examples"]
    say(table((f"median of {knobs.rounds} rounds", "time / ms", "times as fast as the loop"),
              [(name, f"{1e3 * t:.3f}", f"{slowest / t:.1f}") for name, t in medians.items()]))
    draw(medians, len(x), out)
    return {"seconds_by_way": medians, "largest_disagreement": disagreement}


def difference(a: Any, b: Any) -> float:
    """The largest difference in any leaf, as a fraction of the leaf's largest element."""
    return max(float(jnp.max(jnp.abs(p - q)) / jnp.max(jnp.abs(q)))
               for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def draw(medians: dict[str, float], n_examples: int, out: Path) -> None:
    title = f"One gradient over {n_examples} examples, on {device()}"
    figure, ((axes,),) = figures.panels(1, 1, (7, 3), title)
    names = list(medians)[::-1]
    bars = axes.barh(names, [1e3 * medians[name] for name in names], color="tab:blue")
    axes.bar_label(bars, [f"{1e3 * medians[name]:,.4g} ms" for name in names], padding=4)
    axes.set(xlabel="time / ms", xscale="log")
    # Room for the longest bar's label, and for the shortest bar.
    axes.set_xlim(2e2 * min(medians.values()), 1e4 * max(medians.values()))
    figures.save(figure, out / "times.png")
