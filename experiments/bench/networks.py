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
from jaxnn.ops import softmax_cross_entropy

__all__ = ["clipped", "explicit_passes", "looking_inside", "mlp_gradient", "per_example_norms",
           "per_example_statistics"]


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
