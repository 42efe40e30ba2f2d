"""What does a recurrent network do at each step, and how much faster is it as one operation?

    python -m experiments run recurrent-by-hand

The course's loops (`experiments.course5.loops`: recurrent network and LSTM, forward and through time backward) beside
the ops `rnn` and `lstm`, in float64: the largest difference of the states and of all gradients, and the seconds of
both. A network of two units is printed step by step, with what each step caches and what comes back to that step. The
picture shows the gates of an LSTM over time, and its cotangents on their way back.

Result: no difference above 2e-13 over 40 steps. At the assignment's sizes, on 2 CPU cores, the ops are 6 times (RNN)
and 18 times (LSTM) as fast as NumPy's loops.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course5 import loops
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, random_seed
from experiments.shared.run import say, table
from jaxnn import lstm, rnn

LSTM_GATES = "ifco"  # the order of the op's blocks, i f g o, in the course's letters


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = random_seed(0, "seed of the weights and sequences that are compared")
    examples: int = count(10, "columns of a batch, as in the assignment")
    steps: int = count(40, "steps of each sequence; the course has 4, where rounding has nothing to add up")
    n_in: int = count(3, "rows of x_t, as in the assignment")
    hidden: int = count(5, "units of the recurrent layer, as in the assignment")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    with jax.enable_x64(True):
        say(step_by_step())
        say()
        rows = compare(knobs)
    head = ("what", "largest difference", "loops / s", "op / s", "times as fast")
    say(table(head, [(name, f"{error:.1e}", f"{slow:.3g}", f"{fast:.3g}", f"{slow / fast:,.0f}")
                     for name, error, slow, fast in rows]))
    draw(out, knobs)
    return {"differences": {name: error for name, error, _, _ in rows},
            "largest_difference": max(error for _, error, _, _ in rows),
            "seconds": {name: {"loops": slow, "op": fast} for name, _, slow, fast in rows}}


def narrow(rng: Any, n_a: int) -> Callable[..., np.ndarray]:
    """A function from a shape to normal numbers of width 1 / √(n_a): the states stay off the flat ends of tanh."""
    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) / np.sqrt(n_a)

    return normal


def rnn_parameters(rng: Any, n_x: int, n_a: int, n_y: int = 2) -> loops.Arrays:
    normal = narrow(rng, n_a)
    return {"Wax": normal(n_a, n_x), "Waa": normal(n_a, n_a), "Wya": normal(n_y, n_a), "ba": normal(n_a, 1),
            "by": normal(n_y, 1)}


def lstm_parameters(rng: Any, n_x: int, n_a: int, n_y: int = 2) -> loops.Arrays:
    normal = narrow(rng, n_a)
    gates = {f"W{g}": normal(n_a, n_a + n_x) for g in loops.GATES} | {f"b{g}": normal(n_a, 1) for g in loops.GATES}
    return {**gates, "Wy": normal(n_y, n_a), "by": normal(n_y, 1)}


def rnn_params(p: loops.Arrays) -> dict[str, Any]:
    """The op's params of the course's."""
    return {"weight_x": p["Wax"], "weight_h": p["Waa"], "bias": jnp.ravel(p["ba"])}


def lstm_params(p: loops.Arrays) -> dict[str, Any]:
    """The op's params of the course's: the blocks of the gates one under another, the columns of a and of x apart."""
    rows, n_a = jnp.concatenate([p[f"W{g}"] for g in LSTM_GATES]), p["Wf"].shape[0]
    return {"weight_h": rows[:, :n_a], "weight_x": rows[:, n_a:],
            "bias": jnp.concatenate([jnp.ravel(p[f"b{g}"]) for g in LSTM_GATES])}


def rnn_gradients(dparams: Any) -> loops.Arrays:
    """The op's gradient under the course's names."""
    return {"dWax": dparams["weight_x"], "dWaa": dparams["weight_h"], "dba": dparams["bias"][:, None]}


def lstm_gradients(dparams: Any) -> dict[str, Any]:
    rows = jnp.concatenate([dparams["weight_h"], dparams["weight_x"]], axis=1)
    blocks = zip(LSTM_GATES, jnp.split(rows, 4), jnp.split(dparams["bias"], 4), strict=True)
    return {name: block for g, dW, db in blocks for name, block in ((f"dW{g}", dW), (f"db{g}", db[:, None]))}


def compare(knobs: Knobs) -> list[tuple[str, float, float, float]]:
    """(what, largest difference of states and gradients, seconds of the loops and of the op) for each."""
    rng = np.random.default_rng(knobs.seed)
    x = rng.standard_normal((knobs.n_in, knobs.examples, knobs.steps))
    a0 = rng.standard_normal((knobs.hidden, knobs.examples))
    rows = []
    for name, p, forward, backward, op, params_of, names_of in (
            ("recurrent network", rnn_parameters(rng, knobs.n_in, knobs.hidden), loops.rnn_forward, loops.rnn_backward,
             rnn, rnn_params, rnn_gradients),
            ("LSTM", lstm_parameters(rng, knobs.n_in, knobs.hidden), loops.lstm_forward, loops.lstm_backward, lstm,
             lstm_params, lstm_gradients)):
        begin = time.perf_counter()
        a, *_, caches = forward(x, a0, p)
        want = {"a": a, **backward(np.cos(a), caches)}  # cos a differs from place to place
        slow = time.perf_counter() - begin
        program = jax.jit(_program(op, names_of))
        args = params_of(p), x, a0
        got = jax.block_until_ready(program(*args))
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            jax.block_until_ready(program(*args))
            seconds.append(time.perf_counter() - begin)
        error = max(float(np.abs(np.asarray(got[key]) - value).max()) for key, value in want.items())
        rows.append((name, error, slow, min(seconds)))
    return rows


def _program(op: Any, names_of: Callable) -> Callable:
    """States and gradients in the course's layout, by the op."""
    def states(params: Any, x: Any, a0: Any) -> Any:
        def one(x: Any, a: Any) -> Any:
            return op(params, x, (a, jnp.zeros_like(a)) if op is lstm else a)[0]

        return jnp.transpose(jax.vmap(one)(jnp.transpose(x, (1, 2, 0)), a0.T), (2, 0, 1))

    def program(params: Any, x: Any, a0: Any) -> Any:
        a, pull_back = jax.vjp(states, params, x, a0)
        dparams, dx, da0 = pull_back(jnp.cos(a))
        return {"a": a, "dx": dx, "da0": da0, **names_of(dparams)}

    return program


def step_by_step() -> str:
    """A network of two units reads 1, 0, 0, 0; the cost is the first unit at the end. What each step caches, and the
    cotangents that come back to that step."""
    p = {"Wax": np.array([[1.0], [0.5]]), "Waa": np.array([[0.5, -0.5], [0.5, 0.5]]), "ba": np.zeros((2, 1)),
         "Wya": np.eye(2), "by": np.zeros((2, 1))}
    x = np.zeros((1, 1, 4))
    x[0, 0, 0] = 1
    _, _, (caches, _) = loops.rnn_forward(x, np.zeros((2, 1)), p)
    da, rows = np.array([[1.0], [0.0]]), []
    for t in reversed(range(4)):
        found = loops.rnn_cell_backward(da, caches[t])
        a_next, a_prev, xt, _ = caches[t]
        rows.append((t, f"{xt[0, 0]:g}", _pair(a_prev), _pair(a_next), _pair(da), _pair(found["da_prev"]),
                     f"{found['dxt'][0, 0]:.3f}"))
        da = found["da_prev"]
    head = ("t", "x_t", "a_{t-1}", "a_t", "da_t", "da_{t-1}", "dx_t")
    return ("a_t = tanh(Waa a_{t-1} + Wax x_t), Waa = [[.5, -.5], [.5, .5]], Wax = [1, .5]; cost: a_t's first unit at "
            "the end\n" + table(head, reversed(rows)))


def _pair(column: np.ndarray) -> str:
    return " ".join(f"{v:6.3f}" for v in column[:, 0])


def draw(out: Path, knobs: Knobs) -> None:
    """One sequence through an LSTM: each unit's gates and cell over time, and the cotangents of cell and state."""
    rng = np.random.default_rng(knobs.seed)
    p = lstm_parameters(rng, knobs.n_in, knobs.hidden)
    x = rng.standard_normal((knobs.n_in, 1, knobs.steps))
    _, _, _, (caches, _) = loops.lstm_forward(x, np.zeros((knobs.hidden, 1)), p)
    da, dc, back = np.ones((knobs.hidden, 1)), np.zeros((knobs.hidden, 1)), []
    for cache in reversed(caches):
        found = loops.lstm_cell_backward(da, dc, cache)
        back.append((da, dc))
        da, dc = found["da_prev"], found["dc_prev"]
    back.reverse()
    shown = {"forget gate f": [c[4] for c in caches], "input gate i": [c[5] for c in caches],
             "candidate g": [c[6] for c in caches], "output gate o": [c[7] for c in caches],
             "cell c": [c[1] for c in caches], "hidden state a": [c[0] for c in caches],
             "cotangent of a, from the last step back": [da for da, _ in back],
             "cotangent of c": [dc for _, dc in back]}
    figure, axes = figures.panels(4, 2, (5.2, 1.7), "An LSTM on one random sequence: each row of a panel is a unit")
    for axis, (name, columns) in zip(axes.flat, shown.items(), strict=True):
        values = np.concatenate(columns, axis=1)
        limit, is_gate = float(np.abs(values).max()) or 1.0, "gate" in name
        colours = {"cmap": "Greys", "vmin": 0, "vmax": 1} if is_gate else {
            "cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        image = axis.imshow(values, aspect="auto", interpolation="nearest", **colours)
        axis.set_title(name, fontsize=9)
        axis.set(ylabel="unit", yticks=range(knobs.hidden))
        axis.set_xlabel("step", fontsize=8)
        figure.colorbar(image, ax=axis)
    figures.save(figure, out / "gates.png")
