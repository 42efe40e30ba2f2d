"""What does a convolution do, window by window, and how much faster is it as one operation?

    python -m experiments run convolution-step-by-step

The course's loops over windows (`experiments.course4.loops`, forward and backward) beside the ops `conv`, `max_pool`
and `average_pool`, in float64: the largest difference of the values and of the gradients, and the seconds of both. The
picture shows the course's edge detectors on handwritten digits, by the op.

Result: no difference above 2e-13; on 2 CPU cores the ops are 130 to 260 times as fast as the loops.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course4 import loops
from experiments.shared import figures
from experiments.shared.knobs import Configuration, knob
from experiments.shared.run import say, table
from jaxnn import average_pool, conv, max_pool
from jaxnn.data import load_digits

# Of the course's lectures: the middle of a kernel is where the edge is.
DETECTORS = {
    "vertical edges": [[1, 0, -1], [1, 0, -1], [1, 0, -1]], "horizontal edges": [[1, 1, 1], [0, 0, 0], [-1, -1, -1]],
    "Sobel": [[1, 0, -1], [2, 0, -2], [1, 0, -1]], "Scharr": [[3, 0, -3], [10, 0, -10], [3, 0, -3]]}


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = knob(0, "seed of the pictures and kernels that are compared", at_least=0)
    examples: int = knob(8, "pictures in a batch; the loops take a tenth of a second for them", at_least=1)
    size: int = knob(12, "side of a picture in pixels", at_least=4)
    channels: int = knob(4, "channels of the pictures; the convolution gives twice as many", at_least=1)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    with jax.enable_x64(True):
        rows = compare(knobs)
    head = ("what", "largest difference", "loops / s", "op / s", "times as fast")
    say(table(head, [(name, f"{error:.1e}", f"{slow:.3g}", f"{fast:.3g}", f"{slow / fast:,.0f}")
                     for name, error, slow, fast in rows]))
    draw(out)
    return {"differences": {name: error for name, error, _, _ in rows},
            "largest_difference": max(error for _, error, _, _ in rows),
            "seconds": {name: {"loops": slow, "op": fast} for name, _, slow, fast in rows}}


def compare(knobs: Knobs) -> list[tuple[str, float, float, float]]:
    """(what, largest difference of value and gradients, seconds of the loops and of the op) for each."""
    rng = np.random.default_rng(knobs.seed)
    A = rng.standard_normal((knobs.examples, knobs.size, knobs.size, knobs.channels))
    W = rng.standard_normal((3, 3, knobs.channels, 2 * knobs.channels))
    b = rng.standard_normal((1, 1, 1, 2 * knobs.channels))
    rows = []
    for stride, pad in ((1, 1), (2, 0), (3, 2)):
        hparameters = {"stride": stride, "pad": pad}

        def by_loops(hparameters: Any = hparameters) -> Any:
            Z, cache = loops.conv_forward(A, W, b, hparameters)
            return Z, loops.conv_backward(np.cos(Z), cache)

        def by_op(A: Any, W: Any, b: Any, stride: int = stride, pad: int = pad) -> Any:
            params = {"kernel": W, "bias": jnp.ravel(b)}
            return jax.vmap(functools.partial(conv, params, stride=stride, padding=pad))(A)

        rows.append(_row(f"convolution, stride {stride}, padding {pad}", by_loops, by_op, A, W, b))
    for mode, op in (("max", max_pool), ("average", average_pool)):
        for f, stride in ((2, 2), (3, 2)):
            def pooled_by_loops(mode: str = mode, f: int = f, stride: int = stride) -> Any:
                Z, cache = loops.pool_forward(A, {"f": f, "stride": stride}, mode)
                return Z, (loops.pool_backward(np.cos(Z), cache, mode),)

            def pooled(A: Any, op: Any = op, f: int = f, stride: int = stride) -> Any:
                return jax.vmap(functools.partial(op, window=(f, f), stride=stride))(A)

            rows.append(_row(f"{mode} pooling, window {f}, stride {stride}", pooled_by_loops, pooled, A))
    return rows


def _row(name: str, by_loops: Callable, by_op: Callable, *args: Any) -> tuple[str, float, float, float]:
    """The cotangent is cos Z, so that it differs from place to place."""
    begin = time.perf_counter()
    want = by_loops()
    slow = time.perf_counter() - begin

    @jax.jit
    def program(*args: Any) -> Any:
        Z, pull_back = jax.vjp(by_op, *args)
        return Z, pull_back(jnp.cos(Z))

    got = jax.block_until_ready(program(*args))
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        jax.block_until_ready(program(*args))
        seconds.append(time.perf_counter() - begin)
    differences = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - b).max()), got, want)
    return name, max(jax.tree.leaves(differences)), slow, min(seconds)


def draw(out: Path) -> None:
    """Digits, and where each detector answers: red where there is more ink on the left or above, blue where less."""
    digits = load_digits()
    pictures = [digits.x[np.flatnonzero(digits.y == label)[0]].astype(np.float32) for label in range(8)]
    figure, axes = figures.panels(len(DETECTORS) + 1, len(pictures), (1.3, 1.4), "Edge detectors on handwritten digits")
    for column, picture in enumerate(pictures):
        axes[0, column].imshow(picture, cmap="gray_r")
    for row, (name, detector) in enumerate(DETECTORS.items(), 1):
        kernel = jnp.array(detector, jnp.float32)[..., None, None]
        answers = [np.asarray(conv({"kernel": kernel}, jnp.asarray(x)[..., None]))[..., 0] for x in pictures]
        limit = max(np.abs(answer).max() for answer in answers)
        for column, answer in enumerate(answers):
            shown = axes[row, column].imshow(answer, cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.colorbar(shown, ax=axes[row].tolist(), label=name, shrink=0.9)
    for axis in axes.flat:
        axis.set_axis_off()
    figures.save(figure, out / "edges.png")
