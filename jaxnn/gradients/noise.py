"""The reference's leaves with their noise: how exact the reference itself is.

Noise is how far a leaf is from the same in float64, and how far one rounding of the arguments moves the leaf,
in units of eps · max|leaf|.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.leaf import ReferenceLeaf, as_wide, difference, largest
from jaxnn.gradients.programs import precision

__all__ = ["JUMP", "ZERO", "one_rounding_away", "with_noise"]

# A leaf below this part of the whole gradient's largest element, in float64, is zero but for rounding:
# the bias ahead of a batch norm, say.
ZERO = 1e-12
# In units of the square root of eps. A leaf that moves by more than this with a rounding, or with the precision, has
# jumped: at a kink, or as another function.
JUMP = 8.0


def with_noise(paths: list[str], values: list[np.ndarray], exact: list[np.ndarray] | None,
               moved: list[list[np.ndarray] | None], eps: list[float]) -> list[ReferenceLeaf]:
    """The reference's leaves, each with the size of a unit and with its noise.

    Args:
      paths, values, eps: of each leaf.
      exact: the same leaves in float64; None where they could not be had.
      moved: the leaves at arguments one rounding away, several times; None where the reference fails there.
    """
    best = values if exact is None else exact
    whole = max(map(largest, best))
    leaves = []
    for i, path in enumerate(paths):
        own = largest(best[i])
        scale = own if own > (eps[i] if exact is None else ZERO) * whole else whole
        leaf = ReferenceLeaf(path, values[i], None if exact is None else exact[i], scale, eps[i], 0.0)
        errors = [difference(values[i], best[i])]
        for other in moved:
            # What jumps with a rounding is no noise but a kink: relu at 0, a tie in a max.
            change = difference(other[i], best[i]) if other is not None else np.zeros(())
            errors.append(np.where(change > JUMP * np.sqrt(eps[i]) * scale, 0, change))
        leaves.append(leaf._replace(noise=max(map(largest, errors)) / leaf.unit))
    return leaves


def one_rounding_away(program: Callable, moving: list[Any], dy: list[Any], rng: np.random.Generator, *,
                      in_float64: bool, eps: float | None = None) -> Any:
    """program(moving, dy), a tree of arrays, with each number moved by up to one unit in its last place; None where
    that fails.

    eps: by which each number is moved, relative to itself; that of its own dtype, if not given.
    """
    def nudge(x: Any) -> Any:
        factor = 1 + (eps or float(jnp.finfo(x.dtype).eps)) * rng.uniform(-1, 1, x.shape)
        nudged = as_wide(x) * factor
        with precision(in_float64):
            return jax.device_put(nudged if in_float64 else nudged.astype(x.dtype))

    moving, dy = ([nudge(x) for x in leaves] for leaves in (moving, dy))
    try:
        with precision(in_float64):
            return jax.tree.map(as_wide, program(moving, dy))
    except Exception:
        return None
