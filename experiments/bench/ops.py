"""Ops, each beside what autodiff makes of the same equation.

"autodiff" is the equation as one writes it in JAX, and what JAX makes of it; "reference" is the op's own forward pass
without its rule, where that differs; "jaxnn" is the op.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from experiments.bench.measure import Side, classes, normal, of_gradient, of_pull_back
from jaxnn.gradients.cost import temporaries
from jaxnn.ops import attention, batch_norm, embedding, lstm, max_pool

__all__ = ["attention_of", "embedding_step", "normalization", "pool", "recurrent"]


def pool() -> list[Side]:
    x, dy = normal(0, 64, 32, 32, 64), normal(1, 64, 16, 16, 64)

    def plain(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    return [of_pull_back("autodiff", plain, dy, x), of_pull_back("jaxnn", jax.vmap(max_pool), dy, x)]


def normalization() -> list[Side]:
    x, dy = normal(0, 256, 32, 32, 64), normal(1, 256, 32, 32, 64)
    params = {"scale": jnp.ones(64), "bias": jnp.zeros(64)}
    state = {"mean": jnp.zeros(64), "variance": jnp.ones(64)}

    def plain(params: Any, x: Any) -> Any:
        mean = jnp.mean(x, (0, 1, 2))
        variance = jnp.mean((x - mean) ** 2, (0, 1, 2))
        return params["scale"] * (x - mean) / jnp.sqrt(variance + 1e-5) + params["bias"]

    def over_batch(op: Callable) -> Callable:
        return lambda p, x: jax.vmap(lambda x: op(p, state, x)[0], axis_name="examples")(x)

    return [of_pull_back("autodiff", plain, dy, params, x),
            of_pull_back("reference", over_batch(batch_norm.reference), dy, params, x),
            of_pull_back("jaxnn", over_batch(batch_norm), dy, params, x)]


def attention_of(length: int) -> Callable[[], list[Side]]:
    def sides() -> list[Side]:
        q, k, v = (normal(i, 8, length, 64) for i in range(3))

        def plain(q: Any, k: Any, v: Any) -> Any:
            scores = q @ k.T / 8
            visible = jnp.tril(jnp.ones(scores.shape, bool))
            return jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), -1) @ v

        def cost(f: Callable) -> Callable:
            return lambda q, k, v: jnp.sum(jax.vmap(f)(q, k, v) ** 2)

        return [of_gradient(name, cost(f), q, k, v, argnums=(0, 1, 2))
                for name, f in (("autodiff", plain), ("jaxnn", functools.partial(attention, causal=True)))]

    return sides


def embedding_step() -> list[Side]:
    """One gradient-descent step on 1,024 rows: the dense gradient, and the rows alone from the cache."""
    rows, dy = classes(0, 1024, 1_000_000), normal(1, 1024, 64)

    def by_gradient(table: Any) -> Any:
        grad = jax.grad(lambda t: jnp.sum(embedding({"table": t}, rows) * dy))(table)
        return table - 0.1 * grad

    def by_rows(table: Any) -> Any:
        _, (ids, *_) = embedding.forward({"table": table}, rows)
        return table.at[ids].add(-0.1 * dy)

    def stepping(name: str, step: Callable) -> Side:
        table = normal(2, 1_000_000, 64)
        compiled = jax.jit(step, donate_argnums=0).lower(table).compile()
        latest = [table]

        def call() -> Any:
            latest[0] = compiled(latest[0])
            return latest[0]

        return Side(name, call, temporaries(compiled))

    return [stepping("dense gradient", by_gradient), stepping("rows in place", by_rows)]


def recurrent() -> list[Side]:
    n, n_in = 100, 100
    params = {"weight_x": normal(0, 4 * n, n_in) / 10, "weight_h": normal(1, 4 * n, n) / 10,
              "bias": jnp.zeros(4 * n)}
    x = normal(2, 64, 40, n_in)

    def plain(params: Any, x: Any) -> Any:
        def step(carry: Any, x_t: Any) -> Any:
            h, c = carry
            z = params["weight_x"] @ x_t + params["weight_h"] @ h + params["bias"]
            i, f, g, o = jnp.split(z, 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        return lax.scan(step, (jnp.zeros(n), jnp.zeros(n)), x)[1]

    def cost(f: Callable) -> Callable:
        return lambda params, x: jnp.sum(jax.vmap(lambda x: f(params, x))(x) ** 2)

    sides = [of_gradient(name, cost(f), params, x, argnums=(0, 1)) for name, f in (
        ("autodiff", plain), ("reference", lambda p, x: lstm.reference(p, x)[0]),
        ("jaxnn", lambda p, x: lstm(p, x)[0]))]
    return [*sides[:1], *_torch_lstm(x), *sides[1:]]


def _torch_lstm(x: Any) -> list[Side]:
    try:
        import torch
    except ImportError:
        return []
    net = torch.nn.LSTM(100, 100, batch_first=True)
    x_torch = torch.tensor(x.tolist(), requires_grad=True)

    def call() -> Any:
        return torch.autograd.grad((net(x_torch)[0] ** 2).sum(), [x_torch, *net.parameters()])[0].numpy()

    return [Side("PyTorch", call)]
