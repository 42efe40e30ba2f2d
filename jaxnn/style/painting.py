"""The painting itself: a picture moved by an optimiser of optax until its cost is small.

The picture is a sum of levels, x = start + Σ_k up(z_k), z_k of 1/2^k of its height and width, and the optimiser moves
the z_k. A pixel's gradient through strides and max pools is speckled: each level of twice the size takes what four
neighbours agree on, so that large strokes move first and the speckles average out. Without levels the speckles are
painted, and stay.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import expect, is_integer
from jaxnn.ops import resize
from jaxnn.style.features import expect_picture

__all__ = ["Painting", "paint", "picture_of", "zero_levels"]


class Painting(NamedTuple):
    """picture: (height, width, 3), cut to [0, 1].
    outside: the fraction of its numbers that were cut.
    steps: after which costs and frames were taken, 0 first.
    costs: {"cost": the sum, "parts": as the cost function has them} at each.
    frames: the pictures at each, in bytes.
    """

    picture: np.ndarray
    outside: float
    steps: list[int]
    costs: list[dict[str, Any]]
    frames: list[np.ndarray]


def paint(cost: Callable[[Any], tuple[Any, Any]], start: Any, *, optimizer: optax.GradientTransformation,
          steps: int = 120, levels: int = 5, every: int = 10,
          progress: Callable[[Sequence[int]], Any] = iter) -> Painting:
    """Minimises cost(picture) from `start` on.

    Args:
      cost: from a picture (height, width, 3) to (the cost (), its parts, a tree of numbers that is recorded).
      start: the content, or noise.
      optimizer: of optax: `adam`, or `lbfgs` with its line search, which calls the cost several times in a step.
      steps: how many, at least one.
      levels: how many sizes the picture is a sum of; 1 moves the pixels alone.
      every: after so many steps costs and a frame are recorded.
      progress: wraps the steps, as a progress bar does.
    Raises:
      InputError: an argument is not as above.
    Where a recorded cost is no longer finite the painting ends: that cost is the last of `costs`, and the picture is
    the last frame before.
    """
    who = "paint"
    expect_picture(who, "start", start)
    for name, n in (("steps", steps), ("levels", levels), ("every", every)):
        expect(is_integer(n, 1), who, f"{name}, a positive integer", repr(n))
    start = jnp.asarray(start)
    moves = optax.with_extra_args_support(optimizer)

    def of_levels(z: Any) -> Any:
        return cost(picture_of(start, z))

    @jax.jit
    def step(z: Any, opt_state: Any) -> Any:
        (value, parts), grads = jax.value_and_grad(of_levels, has_aux=True)(z)
        updates, opt_state = moves.update(grads, opt_state, z, value=value, grad=grads,
                                          value_fn=lambda z: of_levels(z)[0])
        return optax.apply_updates(z, updates), opt_state, value, parts

    z = zero_levels(start.shape, levels, start.dtype)
    opt_state = moves.init(z)
    taken: list[int] = []
    costs: list[dict[str, Any]] = []
    frames: list[np.ndarray] = []

    def record(i: int, value: Any, parts: Any, picture: Any) -> bool:
        """Whether the cost is finite."""
        taken.append(i)
        costs.append({"cost": float(value), "parts": jax.tree.map(float, parts)})
        is_finite = bool(np.isfinite(value))
        frames.append(_as_bytes(picture) if is_finite or not frames else frames[-1])
        return is_finite

    for i in progress(range(steps)):
        before = picture_of(start, z) if i % every == 0 else None
        z, opt_state, value, parts = step(z, opt_state)
        if before is not None and not record(i, value, parts, before):
            return Painting(frames[-1].astype(np.float32) / 255, 0.0, taken, costs, frames)
    picture = picture_of(start, z)
    value, parts = jax.jit(cost)(picture)
    if not record(steps, value, parts, picture):
        return Painting(frames[-1].astype(np.float32) / 255, 0.0, taken, costs, frames)
    outside = float(jnp.mean((picture < 0) | (picture > 1)))
    return Painting(np.clip(np.asarray(picture), 0, 1), outside, taken, costs, frames)


def zero_levels(shape: Sequence[int], levels: int, dtype: Any) -> list[Any]:
    """z_k = 0, the finest first; no level has a side of less than one pixel."""
    height, width, channels = shape
    return [jnp.zeros((-(-height // 2**k), -(-width // 2**k), channels), dtype) for k in range(levels)]


def picture_of(start: Any, z: Sequence[Any]) -> Any:
    """start + Σ_k up(z_k)."""
    size = start.shape[:2]
    return start + sum(level if level.shape[:2] == size else resize(level, size=size) for level in z)


def _as_bytes(picture: Any) -> np.ndarray:
    return np.round(np.clip(np.asarray(picture), 0, 1) * 255).astype(np.uint8)
