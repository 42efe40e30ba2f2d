"""Networks, each beside the same in plain JAX, or in PyTorch."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.bench.measure import Side, classes, normal, of_gradient
from experiments.shared.mlp import mlp
from jaxnn import network
from jaxnn.gradients.cost import temporaries
from jaxnn.inside import clipped_gradient_sum, look_inside, per_example
from jaxnn.layers import BatchNorm, Conv, Dense, Flatten, Residual, Sequential, over_examples
from jaxnn.ops import relu, softmax_cross_entropy

__all__ = ["clipped", "explicit_passes", "looking_inside", "mlp_gradient", "per_example_norms",
           "per_example_statistics", "resnet"]


def cost_of(net: Callable, loss: Callable) -> Callable:
    return lambda params, x, labels: jnp.mean(jax.vmap(loss)(jax.vmap(lambda x: net(params, x))(x), labels))


def mlp_arguments() -> tuple[Any, Any, Any]:
    """(params, x, labels) of an MLP 784-1024-1024-10."""
    params = [{"weight": normal(i, n_out, n_in) / n_in**0.5, "bias": jnp.zeros(n_out)}
              for i, (n_in, n_out) in enumerate(itertools.pairwise((784, 1024, 1024, 10)))]
    return params, normal(9, 256, 784), classes(10, 256, 10)


def mlp_of(params: Any, x: Any) -> Any:
    return mlp(params, x)


def plain_mlp(params: Any, x: Any) -> Any:
    for layer in params[:-1]:
        x = jax.nn.relu(layer["weight"] @ x + layer["bias"])
    return params[-1]["weight"] @ x + params[-1]["bias"]


def mlp_gradient() -> list[Side]:
    args = mlp_arguments()
    autodiff = cost_of(plain_mlp, optax.softmax_cross_entropy_with_integer_labels)
    return [of_gradient("autodiff", autodiff, *args),
            of_gradient("jaxnn", cost_of(mlp_of, softmax_cross_entropy), *args)]


def explicit_passes() -> list[Side]:
    """The gradient of one cost by `jax.grad`, and by the forward and the backward pass of `network(cost)`."""
    args, cost = mlp_arguments(), cost_of(mlp_of, softmax_cross_entropy)
    explicit = network(cost)

    def passes(params: Any, x: Any, labels: Any) -> Any:
        _, cache = explicit.forward(params, x, labels)
        return explicit.backward(cache, 1.0)[0]

    return [of_gradient("jax.grad", cost, *args), compiled_side("forward, backward", passes, *args)]


def per_example_norms() -> list[Side]:
    """One gradient of the mean loss, beside the norms of all examples' gradients: by forming each of them, and from
    (cache, dy). Under `jit` whatever else `per_example` gives is left out."""
    args = mlp_arguments()

    def norms_of_all(params: Any, x: Any, labels: Any) -> Any:
        gradient = jax.grad(lambda p, x, label: softmax_cross_entropy(mlp_of(p, x), label))
        grads = jax.vmap(gradient, (None, 0, 0))(params, x, labels)
        return jnp.sqrt(sum(jnp.sum(g**2, tuple(range(1, g.ndim))) for g in jax.tree.leaves(grads)))

    return [one_gradient(), compiled_side("vmap(grad)", norms_of_all, *args),
            compiled_side("jaxnn", lambda *args: statistics(*args).norms, *args)]


def per_example_statistics() -> list[Side]:
    """The same gradient, beside all that `per_example` gives: norms, the gradient, the variance, the noise scale."""
    return [one_gradient(), compiled_side("jaxnn", statistics, *mlp_arguments())]


def clipped() -> list[Side]:
    """The same gradient, beside the sum of clipped gradients."""
    def clip(params: Any, x: Any, labels: Any) -> Any:
        return clipped_gradient_sum(mlp_of, softmax_cross_entropy, params, {}, x, labels, 1.0)

    return [one_gradient(), compiled_side("jaxnn", clip, *mlp_arguments())]


def looking_inside() -> list[Side]:
    """The same gradient, beside `look_inside`, with its table on the host."""
    params, x, labels = mlp_arguments()

    def batch(params: Any, x: Any) -> Any:
        return jax.vmap(lambda x: mlp_of(params, x))(x)

    def cost(logits: Any, labels: Any) -> Any:
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, labels))

    return [one_gradient(), Side("jaxnn", lambda: look_inside(batch, params, x, loss=cost, labels=labels))]


def statistics(params: Any, x: Any, labels: Any) -> Any:
    return per_example(mlp_of, softmax_cross_entropy, params, {}, x, labels)


def one_gradient() -> Side:
    return of_gradient("one gradient", cost_of(mlp_of, softmax_cross_entropy), *mlp_arguments())


def compiled_side(name: str, f: Callable, *args: Any) -> Side:
    compiled = jax.jit(f).lower(*args).compile()
    return Side(name, lambda: compiled(*args), temporaries(compiled))


def resnet_18(n_classes: int) -> Sequential:
    """ResNet-18 for images of 32x32 (He et al. 2016, section 4.2), with Flatten for its last average."""
    def block(n: int, stride: int, n_before: int) -> Residual:
        body = Sequential(Conv(n, stride=stride, use_bias=False), BatchNorm(), relu,
                          Conv(n, use_bias=False), BatchNorm())
        if stride == 1 and n == n_before:
            return Residual(body)
        return Residual(body, Sequential(Conv(n, (1, 1), stride=stride, use_bias=False), BatchNorm()))

    blocks: list[Any] = []
    n_before = 64
    for n, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            blocks += [block(n, stride, n_before), relu]
            n_before = n
    return Sequential(Conv(64, use_bias=False), BatchNorm(), relu, *blocks, Flatten(), Dense(n_classes))


def resnet() -> list[Side]:
    net, optimizer = resnet_18(10), optax.adam(1e-3)
    batch = over_examples(net)
    x, labels = normal(0, 32, 32, 32, 3), classes(1, 32, 10)

    def side(name: str, call: Callable) -> Side:
        params, state = net.init(jax.random.key(0), (32, 32, 3))

        def cost(params: Any, state: Any) -> Any:
            logits, state = call(params, state, x, train=True)
            return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, labels)), state

        def step(before: Any) -> Any:
            params, state, opt_state = before
            grads, state = jax.grad(cost, has_aux=True)(params, state)
            updates, opt_state = optimizer.update(grads, opt_state)
            return optax.apply_updates(params, updates), state, opt_state

        latest = [(params, state, optimizer.init(params))]
        compiled = jax.jit(step, donate_argnums=0).lower(latest[0]).compile()

        def run() -> Any:
            latest[0] = compiled(latest[0])
            return latest[0]

        return Side(name, run, temporaries(compiled))

    return [side("reference", network(batch).reference), *_torch_resnet(), side("jaxnn", batch)]


def _torch_resnet() -> list[Side]:
    try:
        import torch
        from torch import nn
    except ImportError:
        return []

    def conv(n_in: int, n_out: int, window: int, stride: int) -> Any:
        return nn.Conv2d(n_in, n_out, window, stride, window // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, n_in: int, n: int, stride: int):
            super().__init__()
            self.body = nn.Sequential(conv(n_in, n, 3, stride), nn.BatchNorm2d(n), nn.ReLU(),
                                      conv(n, n, 3, 1), nn.BatchNorm2d(n))
            self.shortcut = nn.Identity() if n == n_in and stride == 1 else nn.Sequential(
                conv(n_in, n, 1, stride), nn.BatchNorm2d(n))

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.shortcut(x))

    stages = [Block(n_in, n, s) for n_in, n, s in (
        (64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1),
        (256, 512, 2), (512, 512, 1))]
    net = nn.Sequential(conv(3, 64, 3, 1), nn.BatchNorm2d(64), nn.ReLU(), *stages, nn.Flatten(),
                        nn.Linear(4 * 4 * 512, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    x, labels = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))

    def step() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return [Side("PyTorch", step)]
