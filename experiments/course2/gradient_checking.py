"""Which mistakes in a backward pass does the course's gradient check find, and which does it miss?

    python -m experiments run gradient-checking

The check nudges each parameter by ε in both directions, takes the slope of the cost for its derivative,
and asks whether the whole gradient's ‖g - g'‖ / (‖g‖ + ‖g'‖) is below 2e-7. First on the course's own
numbers; then mistakes are planted in three networks, in float64, and `jaxnn.compare_gradients`, which
compares each leaf with autodiff by its worst element, is asked as well.

Result, on 2 CPU cores, 50 s; the course's own numbers, and what it prints:
    J = θ x                                       2.919335883e-10, as in the course
    network, dW2 doubled and db1 fourfold         0.2850931567, as in the course
    network, right                                1.189e-07 (1.19e-07); from the logits 1.2e-09
The last is rounding, of log(1 - σ(z)) at σ(z) = 0.9989, and above the course's first limit, 1e-7. Of
seven mistakes in each of three networks,
    network                              parameters    the course passes    compare_gradients passes
    the course's, 4-5-3-1                        47                    1                           0
    relu, 64-128-16-1                        10,401                    2                           0
    sigmoid, twelve layers of 20              5,941                    7                           0
where the gradient of the first layers has vanished beside the last one's: dW1 may as well be zero.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.mlp import cost, initial, logits
from experiments.shared.run import say, table
from jaxnn import network, relu, sigmoid
from jaxnn.data import load_digits
from jaxnn.gradients.compare import compare_at
from jaxnn.gradients.leaf import THRESHOLD
from jaxnn.gradients.problem import Problem
from jaxnn.hand_derived import Op

COURSES = "dW2 doubled, db1 fourfold"  # the mistakes that the course plants
NETWORKS = ("course", "relu", "sigmoid")
PASSES = 2e-7  # the course's limit; its first edition has 1e-7


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = knob(1, "seed of the networks; 1 is the course's for its own network", at_least=0)
    epsilon: float = knob(1e-7, "step of the finite differences, the course's", above=0)
    examples: int = knob(16, "digits in the batch: few, since each parameter costs two forward passes", at_least=1)
    units: int = knob(128, "units of the relu network's first layer; 128 make 10,401 parameters", at_least=1)
    depth: int = knob(12, "sigmoid layers of 20 units each, enough for the gradient to vanish", at_least=1)
    networks: tuple[str, ...] = knob(NETWORKS, "networks in which mistakes are planted", choices=NETWORKS)
    sweep: int = knob(9, "number of planted errors, from 1e-16 to 1, that compare_gradients is asked about", at_least=2)


class Case(NamedTuple):
    """A network at one point: (B, n_in) to one logit."""

    activation: Op
    params: Any
    x: Any
    labels: Any

    def cost(self, params: Any) -> Any:
        """The mean loss, nats; its gradient is that of the hand-derived backward passes."""
        return cost(params, self.x, self.labels, self.activation)

    def reference(self, params: Any) -> Any:
        """The same for `jax.grad`."""
        return network(self.cost).reference(params)

    def cost_of_probabilities(self, params: Any) -> Any:
        """The same as the course writes it: of a = σ(z), whose 1 - a has lost digits where a is near 1."""
        a = sigmoid(logits(params, self.x, activation=self.activation))
        return jnp.mean(-jnp.log(a) * self.labels - jnp.log(1 - a) * (1 - self.labels))


def networks(knobs: Knobs) -> dict[str, Case]:
    """The course's test case, and two networks that tell odd from even digits."""

    random = np.random.RandomState(knobs.seed)
    x, labels = jnp.asarray(random.randn(4, 3).T), jnp.asarray([1, 1, 0])
    # The course draws each bias too.
    params = [{"weight": random.randn(n_out, n_in), "bias": random.randn(n_out, 1)[:, 0]}
              for n_in, n_out in ((4, 5), (5, 3), (3, 1))]
    digits = load_digits()
    pixels, odd = jnp.asarray(digits.x[:knobs.examples].reshape(-1, 64)), jnp.asarray(digits.y[:knobs.examples] % 2)
    wide, deep = (64, knobs.units, 16, 1), (64, *[20] * knobs.depth, 1)
    return {
        "course": Case(relu, params, x, labels),
        "relu": Case(relu, initial(wide, lambda n: np.sqrt(2 / n), knobs.seed), pixels, odd),
        "sigmoid": Case(sigmoid, initial(deep, lambda n: np.sqrt(1 / n), knobs.seed), pixels, odd)}


@functools.partial(jax.jit, static_argnames=("cost", "one_sided"))
def slopes(cost: Callable, params: Any, epsilon: Any, *, one_sided: bool = False) -> Any:
    """(cost(θ + ε) - cost(θ - ε)) / 2ε along each parameter, all in one vector; one-sided: from θ to θ + ε."""
    theta, unravel = ravel_pytree(params)
    back = 0.0 if one_sided else epsilon

    def along(i: Any) -> Any:
        ahead, behind = (cost(unravel(theta.at[i].add(step))) for step in (epsilon, -back))
        return (ahead - behind) / (epsilon + back)

    return jax.lax.map(along, jnp.arange(theta.size), batch_size=256)


def difference(grads: Any, approximate: Any) -> float:
    """The course's ‖g - g'‖ / (‖g‖ + ‖g'‖)."""
    g, _ = ravel_pytree(grads)
    norm = jnp.linalg.norm
    return float(norm(g - approximate) / (norm(g) + norm(approximate)))


def change(layer: int, leaf: str, to: Callable) -> Callable:
    """A mistake: a function of the gradient that changes one leaf of it. Layers count from 1."""

    def mistake(grads: Any) -> Any:
        at = layer - 1
        return [*grads[:at], grads[at] | {leaf: to(grads[at][leaf])}, *grads[at + 1:]]

    return mistake


def without_one(g: Any, quantile: float) -> Any:
    """g with one element zero: of all that are not zero, the one at this quantile of their sizes."""
    order = jnp.argsort(jnp.abs(g).ravel())
    zeros = jnp.sum(g == 0)
    at = zeros + (quantile * (g.size - 1 - zeros)).astype(int)
    return g.ravel().at[order[at]].set(0).reshape(g.shape)


MISTAKES: dict[str, Callable] = {
    "none": lambda grads: grads,
    COURSES: lambda grads: change(2, "weight", lambda g: 2 * g)(change(1, "bias", lambda g: 4 * g)(grads)),
    "dW1 zero": change(1, "weight", lambda g: 0 * g),
    "db1 zero": change(1, "bias", lambda g: 0 * g),
    "dW1 negative": change(1, "weight", lambda g: -g),
    "one median element of dW1 zero": change(1, "weight", lambda g: without_one(g, 0.5)),
    "smallest element of dW1 zero": change(1, "weight", lambda g: without_one(g, 0.0)),
    "dW1 larger by 1e-7 of itself": change(1, "weight", lambda g: (1 + 1e-7) * g),
}


def with_gradient(case: Case, grads: Any) -> Callable:
    """The cost with a backward pass that returns the given gradient, right or wrong."""

    @jax.custom_vjp
    def cost(params: Any) -> Any:
        return case.reference(params)

    cost.defvjp(lambda params: (case.reference(params), None),
                lambda cache, dy: (jax.tree.map(lambda g: dy * g, grads),))
    return cost


def one_dimension(epsilon: float) -> float:
    """The course's first check, of J = θ x at x = 2, θ = 4."""
    x, theta = 2.0, 4.0
    slope = ((theta + epsilon) * x - (theta - epsilon) * x) / (2 * epsilon)
    return abs(x - slope) / (abs(x) + abs(slope))


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    with jax.enable_x64(True):
        cases = networks(knobs)
        course = cases["course"]
        grads = jax.jit(jax.grad(course.cost))(course.params)
        numbers = {"one dimension": one_dimension(knobs.epsilon)}
        for name, cost in (("probabilities", course.cost_of_probabilities), ("logits", course.cost)):
            approximate = slopes(cost, course.params, knobs.epsilon)
            numbers[f"of {name}, mistaken"] = difference(MISTAKES[COURSES](grads), approximate)
            numbers[f"of {name}, right"] = difference(grads, approximate)
        say(table(("the course's check on its own numbers", "difference"),
                  [(name, f"{value:.10g}") for name, value in numbers.items()]))
        rows, swept = [], {}
        for name in knobs.networks:
            checked, swept[name] = plant(knobs, name, cases[name])
            rows += checked
        say("\n" + table(("network, planted mistake", "difference", "the course", "worst error / units",
                          "compare_gradients"),
                         [(f"{r['network']}: {r['mistake']}", f"{r['difference']:.2e}",
                           "right" if r["passes"] else "WRONG", f"{r['error']:.3g}",
                           "right" if r["accepted"] else "WRONG") for r in rows]))
        draw(knobs, out, course, grads, swept)
    planted = [r for r in rows if r["mistake"] != "none"]
    missed = {checker: sum(r[key] for r in planted)
              for checker, key in (("course", "passes"), ("compare_gradients", "accepted"))}
    say(f"\nof {len(planted)} mistakes the course's check passes {missed['course']}, "
        f"compare_gradients {missed['compare_gradients']}")
    return {"course_numbers": numbers, "mistakes": rows, "missed": missed, "planted": len(planted)}


def plant(knobs: Knobs, name: str, case: Case) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The verdicts of both checks on each mistake, and their measures of a dW1 that is larger by a part of itself."""
    grads = jax.jit(jax.grad(case.cost))(case.params)
    approximate = slopes(case.cost, case.params, knobs.epsilon)
    problem = Problem(case.reference, (case.params,), names=("params",))

    def compared(mistake: Callable) -> Any:
        return compare_at(with_gradient(case, mistake(grads)), problem, routes="lifted", laws=False)

    rows = []
    for words, mistake in MISTAKES.items():
        d, report = difference(mistake(grads), approximate), compared(mistake)
        rows.append({"network": name, "mistake": words, "difference": d, "passes": d <= PASSES,
                     "error": float(report.worst.error), "accepted": report.ok})

    def larger(error: float) -> Callable:
        return change(1, "weight", lambda g: (1 + error) * g)

    fine, coarse = np.logspace(-16, 0, 100), np.logspace(-16, 0, knobs.sweep)
    return rows, {"difference": (fine, [difference(larger(e)(grads), approximate) for e in fine]),
                  "error": (coarse, [float(compared(larger(e)).worst.error) for e in coarse])}


def draw(knobs: Knobs, out: Path, course: Case, grads: Any, swept: dict[str, Any]) -> None:
    figure, axes = figures.panels(1, 2, (5, 3.8), "dW1 larger by a part of itself: what each check measures")
    for axis, key, limit, y in ((axes[0, 0], "difference", PASSES, "‖g - g'‖ / (‖g‖ + ‖g'‖)"),
                                (axes[0, 1], "error", THRESHOLD, "worst error / (eps · max|leaf|)")):
        figures.curves(axis, {name: s[key] for name, s in swept.items()}, "planted relative error of dW1", y,
                       log=True)
        axis.axhline(limit, color="black", linestyle="--", linewidth=1)
        axis.text(1, limit, f"{limit:g}: wrong above", ha="right", va="bottom", fontsize=9)
        axis.set(xscale="log", title="the course's check" if key == "difference" else
                 "compare_gradients (the lines coincide)")
    figures.save(figure, out / "planted_error.png")

    epsilons = np.logspace(-1, -12, 45)
    lines = {name: (epsilons, [difference(grads, slopes(cost, course.params, e, one_sided=one_sided))
                               for e in epsilons])
             for name, cost, one_sided in (
                 ("one-sided, of logits", course.cost, True),
                 ("two-sided, of probabilities", course.cost_of_probabilities, False),
                 ("two-sided, of logits", course.cost, False))}
    figure, ((axes,),) = figures.panels(1, 1, (7, 4.6), "A right gradient: rounding on the left, the cost's "
                                        "curvature on the right")
    figures.curves(axes, lines, "ε", "‖g - g'‖ / (‖g‖ + ‖g'‖)", log=True)
    axes.set_xscale("log")
    axes.axhline(PASSES, color="black", linestyle="--", linewidth=1)
    axes.text(1e-12, PASSES, f"{PASSES:g}: wrong above", va="bottom", fontsize=9)
    axes.axvline(knobs.epsilon, color="0.5", linestyle=":")
    axes.text(knobs.epsilon, 0.95, " ε of the check", fontsize=9, color="0.3",
              transform=axes.get_xaxis_transform())
    figures.save(figure, out / "epsilon.png")
