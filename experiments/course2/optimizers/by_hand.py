"""Gradient descent, momentum, RMSprop and Adam, from their derivations; and learning rates that decay.

    direction, state = optimizer.update(grads, state)        params <- params - learning_rate direction

With the course's letters: v the mean of the gradients, s that of their squares, both exponentially
weighted, t the number of steps. For a weight β such a mean is

    m_t = β m_{t-1} + (1 - β) x_t = (1 - β) Σ_i β^(t-i) x_i        i = 1 .. t

so that it looks back over about 1 / (1 - β) steps. Its weights sum to 1 - β^t, because m_0 = 0 counts
among the x: bias correction divides by that sum, and is felt only in the first steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Optimizer", "adam", "constant_lr", "descend", "gradient_descent", "momentum", "rmsprop",
           "schedule_lr_decay", "update_lr"]


class Optimizer(NamedTuple):
    """Two pure functions; the state is a pytree.

    init: params -> state.
    update: (grads, state) -> (direction, state), the direction to go against.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any], tuple[Any, Any]]


def descend(params: Any, direction: Any, learning_rate: Any) -> Any:
    return jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)


def gradient_descent() -> Optimizer:
    """direction = g.

    Of all steps of one small length, that against g lowers the cost most: cost(θ - r) is cost(θ) - <g, r>
    to first order, and by Cauchy-Schwarz <g, r> is largest for r along g.

    Source: Cauchy (1847).
    """
    return Optimizer(lambda params: (), lambda grads, state: (grads, state))


def momentum(beta: float = 0.9) -> Optimizer:
    """v <- β v + (1 - β) g; direction = v.

    What changes sign from step to step, across a ravine of the cost, cancels in the mean; what stays,
    along its floor, is kept. For a constant g, v tends to g: the learning rate means what it means without.
    Polyak's own form leaves out the factor 1 - β and so steps 1 / (1 - β) times as far.

    Source: Polyak (1964); Rumelhart, Hinton & Williams (1986).
    """

    def update(grads: Any, v: Any) -> tuple[Any, Any]:
        v = average(beta, v, grads)
        return v, v

    return Optimizer(zeros, update)


def rmsprop(beta: float = 0.9, epsilon: float = 1e-8) -> Optimizer:
    """s <- β s + (1 - β) g²; direction = g / (√s + ε).

    Each parameter's gradient in units of its own root mean square: of length about one, however steep the
    cost is along it. So one learning rate serves steep and flat parameters, and rescaling a parameter's
    gradient changes nothing. There is no bias correction: s is too small at first, the first step as large
    as 1 / √(1 - β).

    Source: Hinton (2012), Neural networks for machine learning, lecture 6e.
    """

    def update(grads: Any, s: Any) -> tuple[Any, Any]:
        s = average(beta, s, jax.tree.map(jnp.square, grads))
        return jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + epsilon), grads, s), s

    return Optimizer(zeros, update)


def adam(beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Optimizer:
    """v <- β1 v + (1 - β1) g; s <- β2 s + (1 - β2) g²; direction = (v / (1 - β1^t)) / (√(s / (1 - β2^t)) + ε).

    The mean of the gradients over the root of the mean of their squares: near 1 where they agree, near 0
    where their sign changes. Bias correction matters most to s, which takes 1 / (1 - β2) = 1,000 steps to
    fill: without it the first direction were (1 - β1) / √(1 - β2) = 3.2 times its sign, and with it just 1.

    Source: Kingma & Ba (2015), algorithm 1.
    """

    def init(params: Any) -> Any:
        return zeros(params), zeros(params), jnp.zeros((), jnp.int32)

    def update(grads: Any, state: Any) -> tuple[Any, Any]:
        v, s, t = state
        v, s, t = average(beta1, v, grads), average(beta2, s, jax.tree.map(jnp.square, grads)), t + 1

        def direction(v: Any, s: Any) -> Any:
            v_corrected, s_corrected = v / (1 - beta1**t), s / (1 - beta2**t)
            return v_corrected / (jnp.sqrt(s_corrected) + epsilon)  # ε outside the root

        return jax.tree.map(direction, v, s), (v, s, t)

    return Optimizer(init, update)


def zeros(params: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, params)


def average(beta: float, mean: Any, new: Any) -> Any:
    """The exponentially weighted mean, moved on by one step."""
    return jax.tree.map(lambda m, x: beta * m + (1 - beta) * x, mean, new)


# Learning rates, by the number of the epoch from 0.


def constant_lr(learning_rate0: float, epoch: Any) -> Any:
    return learning_rate0 + 0.0 * epoch


def update_lr(learning_rate0: float, epoch: Any, decay_rate: float = 1.0) -> Any:
    """learning_rate0 / (1 + decay_rate epoch).

    Falling as 1 / epoch it sums up without limit, so that any distance can be covered, while its squares sum
    to a finite number, so that the noise of mini-batches dies out (Robbins & Monro 1951).
    """
    return learning_rate0 / (1 + decay_rate * epoch)


def schedule_lr_decay(learning_rate0: float, epoch: Any, decay_rate: float = 1.0,
                      time_interval: int = 1000) -> Any:
    """learning_rate0 / (1 + decay_rate ⌊epoch / time_interval⌋): the same in steps."""
    return learning_rate0 / (1 + decay_rate * (epoch // time_interval))
