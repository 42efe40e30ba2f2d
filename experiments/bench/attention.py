"""Attention: its gradient over the length of a sequence, and one step of decoding with a cache of keys and values."""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench.measure import Side, normal
from jaxnn.compiler_options import compiler_options
from jaxnn.gradients.cost import temporaries
from jaxnn.ops import attend_last, attention, empty_cache, with_next

__all__ = ["decoding", "gradient"]

LONGEST = 4096  # for autodiff: of 8,192 places its scores alone are 2.1 GB, several times over


def gradient(time: int, n_heads: int = 8, d: int = 64) -> list[Side]:
    """Causal self-attention of one sequence, gradients by queries, keys and values: the equation as one writes it, to
    LONGEST places, and the op; beyond, the op at half as many places, which should take half the memory."""
    def side(name: str, f: Any, time: int) -> Side:
        q, k, v, dy = (normal(seed, time, n_heads * d) for seed in range(4))

        def pulled_back(q: Any, k: Any, v: Any, dy: Any) -> Any:
            return jax.vjp(f, q, k, v)[1](dy)

        compiled = jax.jit(pulled_back).lower(q, k, v, dy).compile(compiler_options(pulled_back, q, k, v, dy))
        return Side(name, lambda: compiled(q, k, v, dy), temporaries(compiled))

    def equation(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (a.reshape(-1, n_heads, d).swapaxes(0, 1) for a in (q, k, v))
        scores = q @ k.swapaxes(1, 2) / d**0.5
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[1:], bool)), scores, -jnp.inf)
        return (jax.nn.softmax(scores, -1) @ v).swapaxes(0, 1).reshape(-1, n_heads * d)

    def op(q: Any, k: Any, v: Any) -> Any:
        return attention(q, k, v, n_heads=n_heads, causal=True)

    first = side("autodiff", equation, time) if time <= LONGEST else side("jaxnn, half the time", op, time // 2)
    return [first, side("jaxnn", op, time)]


def decoding(capacities: tuple[int, ...] = (512, 2048, 8192, 32_768), places: int = 100, n_heads: int = 8,
             d: int = 64) -> list[Side]:
    """The next place's keys and values put into a cache in which some places are filled, and its query answered: one
    side for each capacity, that is for how many more could follow."""
    q, k, v = (normal(seed, 1, n_heads * d) for seed in range(3))

    def step(cache: Any, q: Any, k: Any, v: Any) -> Any:
        cache = with_next(cache, k, v)
        # The place is put back, so that every step is of the same.
        return cache._replace(position=cache.position - 1), attend_last(q, cache, n_heads=n_heads)

    def stepping(capacity: int) -> Side:
        cache = empty_cache(capacity, n_heads * d)
        latest = [with_next(cache, normal(3, places, n_heads * d), normal(4, places, n_heads * d))]
        compiled = jax.jit(step, donate_argnums=0).lower(latest[0], q, k, v).compile()

        def call() -> Any:
            latest[0], y = compiled(latest[0], q, k, v)
            return y

        return Side(f"room for {capacity:,}", call, temporaries(compiled))

    return [stepping(capacity) for capacity in capacities]
