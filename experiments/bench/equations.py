"""Equations as one writes them in JAX, without a thought of their gradient: what autodiff makes of each is the first
side of a benchmark.

An op of the catalogue that has no entry in EQUATIONS is measured beside its own reference. An entry takes the
arguments of one example, as the op does, and the static options that the catalogue gives the op are in it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["EQUATIONS"]


def max_pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (2, 2, 1), (2, 2, 1), "VALID")


def batch_norm(params: Any, state: Any, x: Any) -> Any:
    """Over all examples. Each has the moved statistics beside its value, as `vmap` gives them."""
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axes)
    variance = jnp.mean((x - mean) ** 2, axes)
    y = params["scale"] * (x - mean) / jnp.sqrt(variance + 1e-5) + params["bias"]
    moved = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, state, {"mean": mean, "variance": variance})
    return y, lax.stop_gradient(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(x), *leaf.shape)), moved))


def attention(q: Any, k: Any, v: Any, *, causal: bool) -> Any:
    scores = q @ k.T / q.shape[-1] ** 0.5
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape, bool)), scores, -jnp.inf)
    return jax.nn.softmax(scores, -1) @ v


def lstm(params: Any, x: Any, initial: Any = None) -> Any:
    def step(carry: Any, x_t: Any) -> Any:
        h, c = carry
        z = params["weight_x"] @ x_t + params["weight_h"] @ h + params["bias"]
        i, f, g, o = jnp.split(z, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros(params["weight_h"].shape[1], x.dtype)
    last, hs = lax.scan(step, (zeros, zeros) if initial is None else initial, x)
    return hs, last


EQUATIONS: dict[str, Callable] = {
    "max_pool": max_pool,
    "batch_norm": batch_norm,
    "attention": functools.partial(attention, causal=True),
    "attention-full": functools.partial(attention, causal=False),
    "lstm": lstm,
    "lstm-from-zeros": lstm,
}
