"""The cost and its gradient around a place, and the values that a layer is given there.

Source: Santurkar, Tsipras, Ilyas & Madry (2018), How does batch normalization help optimization?
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import Sequential, over_examples, softmax_cross_entropy

__all__ = ["BINS", "Landscape", "around", "before_last_relu"]

BINS = np.linspace(-6, 6, 121)


class Landscape(NamedTuple):
    """At n places along the training, and m step lengths from each.

    cost: (n,) where it is; costs: (n, m) after the steps. turned: (n, m), ‖g' - g‖ of the gradients there.
    beta: (n,), the largest ‖g' - g‖ / ‖step‖, the paper's effective β: the larger, the less smooth.
    histograms: (n, bins), densities of the values before the last relu.
    """

    cost: np.ndarray
    costs: np.ndarray
    turned: np.ndarray
    beta: np.ndarray
    histograms: np.ndarray


def norm(tree: Any) -> Any:
    """The Euclidean norm of all leaves together."""
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))


@functools.partial(jax.jit, static_argnames="model")
def around(model: Sequential, train_state: Any, x: Any, labels: Any, lengths: Any) -> Any:
    """(cost, costs, ‖g' - g‖, the largest ‖g' - g‖ / ‖step‖) at steps of these lengths times -g."""

    def cost(params: Any) -> Any:
        logits, _ = over_examples(model)(params, train_state.state, x, None, train=True)
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, labels))

    cost_before, g = jax.value_and_grad(cost)(train_state.params)

    def after_step(length: Any) -> Any:
        value, moved = jax.value_and_grad(cost)(jax.tree.map(lambda p, d: p - length * d, train_state.params, g))
        return value, norm(jax.tree.map(jnp.subtract, moved, g))

    costs, turned = jax.lax.map(after_step, lengths)
    return cost_before, costs, turned, jnp.max(turned / (lengths * norm(g)))


@functools.partial(jax.jit, static_argnames="model")
def before_last_relu(model: Sequential, train_state: Any, x: Any) -> Any:
    body = Sequential(**dict(list(model.parts.items())[:-2]))
    params, state = ({label: tree[label] for label in body.parts if label in tree}
                     for tree in (train_state.params, train_state.state))
    return over_examples(body)(params, state, x, None, train=True)[0]
