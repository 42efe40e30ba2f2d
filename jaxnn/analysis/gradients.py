"""Gradients beside each other: of two sets, of several tasks, of each example and its batch.

    cosine of two gradients    <g, h> / (‖g‖ ‖h‖): 1 the same direction, 0 nothing in common, below 0 a conflict:
                               a small step down one cost goes up the other
    pull of an example         <g_b, ḡ> / ‖ḡ‖, with ḡ = Σ_b g_b / B: how far it pulls along the batch's gradient

The pulls of a batch have the mean ‖ḡ‖. <g_b, ḡ> is the derivative of the example's loss along ḡ, so that one
forward-mode pass gives it for all examples, and no g_b is formed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect
from jaxnn.inside import per_example
from jaxnn.network import network

__all__ = ["Agreement", "conflicts", "cosine", "cosines", "pulls"]


class Agreement(NamedTuple):
    """Two gradients of the same params, or of one layer's."""

    cosine: float
    """In [-1, 1]; NaN where one of them is 0."""
    norms: tuple[float, float]


def cosine(g: Any, h: Any) -> Agreement:
    """The agreement of two trees of arrays of one structure, over all leaves."""
    _expect_alike("cosine", g, h)
    pairs = list(zip(jax.tree.leaves(g), jax.tree.leaves(h), strict=True))
    # In float64, which JAX may not have: the squares of many small numbers.
    flat = [tuple(np.asarray(leaf, np.float64).ravel() for leaf in pair) for pair in pairs]
    a, b = (np.concatenate([np.zeros(0), *(pair[i] for pair in flat)]) for i in (0, 1))
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not all(norms):
        return Agreement(math.nan, norms)
    return Agreement(float(np.clip((a / norms[0]) @ (b / norms[1]), -1, 1)), norms)


def cosines(g: Mapping[str, Any], h: Mapping[str, Any]) -> dict[str, Agreement]:
    """The agreement layer by layer, by the names at the top of params; "all" is that of the whole.

    Args:
      g, h: gradients of the same params, {layer: tree}. A layer without params is left out.
    """
    for name, tree in (("g", g), ("h", h)):
        expect(isinstance(tree, Mapping), "cosines", f"{name}, a gradient as {{layer: tree}}", type(tree).__name__)
    _expect_alike("cosines", g, h)
    return {**{name: cosine(g[name], h[name]) for name in g if jax.tree.leaves(g[name])}, "all": cosine(g, h)}


def conflicts(gradients: Mapping[str, Any]) -> tuple[tuple[str, ...], np.ndarray]:
    """(names, cosines): of the gradients of several tasks by shared params, each beside each other, (n, n)."""
    expect(isinstance(gradients, Mapping) and len(gradients) >= 2, "conflicts",
           "gradients, {task: tree}, at least two", type(gradients).__name__)
    trees = list(gradients.values())
    return tuple(gradients), np.array([[cosine(g, h).cosine for h in trees] for g in trees])


def pulls(net: Callable, loss: Callable, params: Any, state: Any, x: Any, labels: Any, **static: Any) -> np.ndarray:
    """How far each example of a batch pulls along the batch's gradient, (B,) float32, in units of the loss per unit of
    params.

    Args: as of `jaxnn.per_example`: a network of one example and the loss of one example.
    """
    found = per_example(net, loss, params, state, x, labels, **static)
    length = _norm(found.gradient)
    if not length > 0:
        return np.zeros(len(found.losses), np.float32)
    direction = jax.tree.map(lambda g: (g / length).astype(g.dtype), found.gradient)
    names = network(net).arguments

    def losses(params: Any) -> Any:
        def of_one(x: Any, label: Any) -> Any:
            given = {"params": params, "state": state, "x": x, "key": None}
            y = net(*(given[name] for name in names), **static)
            return loss(y[0] if "state" in names else y, label)

        return jax.vmap(of_one)(x, labels)

    return np.asarray(jax.jit(lambda p, t: jax.jvp(losses, (p,), (t,))[1])(params, direction))


def _norm(tree: Any) -> float:
    return float(jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree))))


def _expect_alike(who: str, g: Any, h: Any) -> None:
    structures: list[Any] = [jax.tree.structure(tree) for tree in (g, h)]
    expect(structures[0] == structures[1], who, "two gradients of one structure",
           f"{structures[0]} and {structures[1]}")
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (g, h)]
    expect(shapes[0] == shapes[1], who, "two gradients of the same shapes", f"{shapes[0]} and {shapes[1]}")
