"""The course's runs on the moons, whole, in float64 and from the course's own seeds: each is one `lax.scan`.

Its other small runs (flower, circles, football, the first half of this one) are repeated by the experiments'
own code, in tests/experiments/test_course1.py and test_course2.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from tests import course
from tests.course import accuracy, columns, initial, network
from tests.test_ground_truth import assert_within

CASES = course.load()
pytestmark = [
    pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-"),
    pytest.mark.skipif(course.data_directory() is None,
                       reason="the course's data are not here: set JAXNN_DATA"),
    pytest.mark.usefixtures("x64"),
]


# Moons, in mini-batches of 64. The last batch has 44: it is filled up, and the filling weighs nothing.

SIZE, N = 64, 300


def moons_order(epochs):
    """(epochs, 5, 64) indices and weights: epoch e is shuffled by seed 11 + e."""
    pad = -N % SIZE
    order = np.stack([np.random.RandomState(11 + e).permutation(N) for e in range(epochs)])
    order = np.pad(order, ((0, 0), (0, pad))).reshape(epochs, -1, SIZE)
    return order, np.pad(np.ones(N), (0, pad)).reshape(-1, SIZE)


def moons(start, update, rate, epochs):
    """(cost of each epoch: the sum over its batches divided by m; the accuracy at the end)."""
    with np.load(course.data_directory() / "c2" / "moons_generated.npz") as data:
        X, Y = (jnp.asarray(data[name], float) for name in ("X", "Y"))
    op, params = network(initial((2, 5, 2, 1), 3, lambda n: np.sqrt(2 / n)), ops.relu)
    order, weights = moons_order(epochs)

    def total(params, batch, weight):
        logits = columns(op, shared=1)(params, X[:, batch])[0]
        return jnp.sum(weight * jax.vmap(ops.binary_cross_entropy)(logits, Y[0, batch]))

    def step(carry, at):
        params, moments, t = carry
        batch, weight = at
        value, grads = jax.value_and_grad(total)(params, batch, weight)
        grads = jax.tree.map(lambda g: g / jnp.sum(weight), grads)
        moves, moments = update(grads, moments, t)
        params = jax.tree.map(lambda p, d: p - rate * d, params, moves)
        return (params, moments, t + 1), value

    def one_epoch(carry, order):
        carry, values = jax.lax.scan(step, carry, (order, weights))
        return carry, jnp.sum(values) / N

    @jax.jit
    def run(params):
        carry = params, start(params), 1
        return jax.lax.scan(one_epoch, carry, jnp.asarray(order))

    (params, *_), costs = run(params)
    return costs, accuracy(op, params, X, Y)


def momentum(beta=0.9):
    def update(grads, v, t):
        v = jax.tree.map(lambda v, g: beta * v + (1 - beta) * g, v, grads)
        return v, v

    return lambda params: jax.tree.map(jnp.zeros_like, params), update


def adam(b1=0.9, b2=0.999, eps=1e-8):
    import optax

    optimizer = optax.scale_by_adam(b1, b2, eps)
    return optimizer.init, lambda grads, moments, t: optimizer.update(grads, moments)


@pytest.mark.parametrize(("name", "optimizer"), [
    ("momentum", momentum()), pytest.param("adam", adam(), marks=pytest.mark.exhaustive)])
def test_moons(name, optimizer):
    name = f"run.c2w2.moons_{name}"
    costs, acc = moons(*optimizer, 0.0007, 10_000)
    expected = CASES[name]["expected"]
    assert_within({"costs": costs[::1000], "acc_10000": acc},
                  {k: expected[k] for k in ("costs", "acc_10000")},
                  CASES[name]["tolerance"]["rel_to_max_abs"])
