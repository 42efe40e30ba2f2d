"""Is it the same training on 1, 2, 4 and 8 devices?"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.scale.train import begin
from experiments.shared.run import say, table
from jaxnn.training import make_mesh
from jaxnn.training.mesh import place

__all__ = ["Curve", "curve", "report"]

COUNTS = (1, 2, 4, 8)


class Curve(NamedTuple):
    """The cost before each step, and the gradient's norm at the first."""

    costs: np.ndarray
    gradient_norm: float


def curve(n_devices: int, *, fully: bool, steps: int = 50, hidden: int = 64, batch: int = 64) -> Curve:
    mesh = make_mesh(n_devices)
    state, step, batches = begin(hidden, batch, mesh, fully=fully)
    infos = []
    for s in range(steps):
        state, info = step(state, *place(batches(s), mesh))
        infos.append(jax.device_get(info))
    return Curve(np.array([i.cost for i in infos]), float(infos[0].gradient_norm))


def report(steps: int = 50) -> list[tuple[str, int, float, float]]:
    """Prints, and gives, for each placement and number of devices the largest difference of the costs from
    those on one device, and the ratio of the first gradients' norms."""
    alone = curve(1, fully=False, steps=steps)
    differences = []
    for fully in (False, True):
        for n in COUNTS[1:]:
            spread = curve(n, fully=fully, steps=steps)
            difference = float(np.max(np.abs(spread.costs - alone.costs)))
            differences.append(("fully sharded" if fully else "data parallel", n, difference,
                                spread.gradient_norm / alone.gradient_norm))
    rows = [(name, n, f"{error:.1e}", f"{ratio:.6f}") for name, n, error, ratio in differences]
    say(f"{steps} steps on the digits, cost {alone.costs[0]:.4f} at first and {alone.costs[-1]:.4f} nats at last "
        "on one device; beside it:\n")
    say(table(("placement", "devices", "cost differs by", "gradient's norm, ratio"), rows))
    return differences
