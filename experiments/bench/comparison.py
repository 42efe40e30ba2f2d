"""The gradient comparison at the size of a real network, beside tracing, compiling and running one gradient of the
reference. Both sides start from nothing each time: what JAX has traced and compiled is dropped."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.measure import Side
from jaxnn import compare_gradients
from jaxnn.layers import BatchNorm, Conv, Dense, Flatten, Residual, Sequential, over_examples
from jaxnn.network import network
from jaxnn.ops import relu, softmax_cross_entropy

__all__ = ["LIMIT", "comparison", "residual", "transformer"]

LIMIT = 4.0  # times one gradient of the reference


def comparison(name: str = "residual") -> list[Side]:
    """One gradient of the reference, and the comparison, of `residual` or `transformer`."""
    f, reference, args = residual() if name == "residual" else transformer()

    def gradient() -> Any:
        jax.clear_caches()

        def pulled_back(args: Any) -> Any:
            y, pull = jax.vjp(reference, *args)
            return pull(jax.tree.map(jnp.ones_like, y))

        return jax.block_until_ready(jax.jit(pulled_back)(args))

    def compared() -> Any:
        jax.clear_caches()
        report = compare_gradients(f, *args, reference=reference)
        if not report.ok:
            raise AssertionError(str(report))
        return [leaf.error for leaf in report.leaves]

    return [Side("one gradient", gradient), Side("comparison", compared)]


def residual(n_blocks: int = 6, n_channels: int = 16, batch: int = 4) -> tuple[Callable, Callable, tuple[Any, ...]]:
    """(f, its reference, arguments): the cost of a residual network at 16x16 (He et al. 2016) in training."""
    def block() -> Residual:
        return Residual(Sequential(Conv(n_channels, use_bias=False), BatchNorm(), relu,
                                   Conv(n_channels, use_bias=False), BatchNorm()))

    blocks = [stage for _ in range(n_blocks) for stage in (block(), relu)]
    net = Sequential(Conv(n_channels, use_bias=False), BatchNorm(), relu, *blocks, Flatten(), Dense(10))
    params, state = net.init(jax.random.key(0), (16, 16, 3))
    x = jax.random.normal(jax.random.key(1), (batch, 16, 16, 3))
    labels = jax.random.randint(jax.random.key(2), (batch,), 0, 10)

    @network
    def cost(params: Any, x: Any) -> Any:
        logits, _ = over_examples(net)(params, state, x, train=True)
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, labels))

    return cost, cost.reference, (params, x)


def _plain_norm(x: Any, scale: Any, bias: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * scale + bias


def _norm_by_hand() -> Callable:
    """Layer norm with a rule of its own: dx = r (dh - mean dh - h mean(dh h)), h = r (x - mean x), dh = scale dy."""
    def forward(x: Any, scale: Any, bias: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        r = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        return centred * r * scale + bias, (centred * r, r, scale)

    def backward(cache: Any, dy: Any) -> Any:
        h, r, scale = cache
        dh, axes = dy * scale, tuple(range(dy.ndim - 1))
        dx = r * (dh - dh.mean(-1, keepdims=True) - h * (dh * h).mean(-1, keepdims=True))
        return dx, (dy * h).sum(axes), dy.sum(axes)

    norm = jax.custom_vjp(_plain_norm)
    norm.defvjp(forward, backward)
    return norm


def _transformer_with(norm: Callable) -> Callable:
    def block(p: Any, x: Any) -> Any:
        h = norm(x, *p["norm1"])
        q, k, v = (jnp.einsum("btd,dhe->bhte", h, p[name]) for name in "qkv")
        scores = jnp.einsum("bhte,bhse->bhts", q, k) / np.sqrt(q.shape[-1])
        scores = jnp.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -1e9)
        y = jnp.einsum("bhts,bhse->bhte", jax.nn.softmax(scores), v)
        x = x + jnp.einsum("bhte,hed->btd", y, p["out"])
        return x + jax.nn.gelu(norm(x, *p["norm2"]) @ p["up"] + p["up_bias"]) @ p["down"] + p["down_bias"]

    def transformer(params: Any, x: Any) -> Any:
        for p in params:
            x = block(p, x)
        return x

    return transformer


def transformer(n_layers: int = 2, width: int = 64, n_heads: int = 4, time: int = 32,
                batch: int = 4) -> tuple[Callable, Callable, tuple[Any, ...]]:
    """(f, its reference, arguments): blocks of a transformer (Vaswani et al. 2017) in plain JAX, norms by hand."""
    rng = np.random.default_rng(0)

    def array(*shape: int, scale: float) -> Any:
        return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)

    def norm() -> Any:
        return 1 + array(width, scale=0.1), array(width, scale=0.1)

    d, e = width**-0.5, width // n_heads
    params = [{"norm1": norm(), "norm2": norm(), **{name: array(width, n_heads, e, scale=d) for name in "qkv"},
               "out": array(n_heads, e, width, scale=d), "up": array(width, 4 * width, scale=d),
               "up_bias": array(4 * width, scale=0.1), "down": array(4 * width, width, scale=d / 2),
               "down_bias": array(width, scale=0.1)} for _ in range(n_layers)]
    return (_transformer_with(_norm_by_hand()), _transformer_with(_plain_norm),
            (params, array(batch, time, width, scale=1.0)))
