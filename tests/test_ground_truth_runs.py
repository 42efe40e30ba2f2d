"""The course's small training runs, whole: the planar flower, circles, football and moons, in float64
and from the course's own seeds. Each is one `lax.scan`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from tests import course
from tests.course import accuracy, columns, cost, initial, network
from tests.test_ground_truth import assert_within

CASES = course.load()
pytestmark = [
    pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-"),
    pytest.mark.skipif(course.data_directory() is None,
                       reason="the course's data are not here: set JAXNN_DATA"),
    pytest.mark.usefixtures("x64"),
]


def read(name):
    """The arrays of a set; labels as 0.0 and 1.0."""
    path = course.data_directory() / name
    if path.suffix == ".mat":
        from scipy.io import loadmat

        raw = loadmat(path)
        return {"X": raw["X"].T, "Y": raw["y"].T, "Xtest": raw["Xval"].T, "Ytest": raw["yval"].T}
    with np.load(path) as arrays:
        return dict(arrays)


def descend(op, params, X, Y, learning_rate, steps, every, l2=0.0):
    """(params, cost before every `every`-th step, ...)."""
    X, Y = jnp.asarray(X, float), jnp.asarray(Y, float)

    def step(params, _):
        value, grads = jax.value_and_grad(lambda p: cost(op, p, X, Y, l2))(params)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), value

    params, costs = jax.jit(lambda params: jax.lax.scan(step, params, length=steps))(params)
    return params, costs[::every]


def check(name, got):
    assert_within(got, CASES[name]["expected"], CASES[name]["tolerance"]["rel_to_max_abs"])


def test_planar_flower():
    data = read("c1/planar_generated.npz")
    op, params = network(initial((2, 4, 1), 2, lambda n: 0.01), ops.tanh)
    params, costs = descend(op, params, data["X"], data["Y"], 1.2, 10_000, 1000)
    expected, tolerance = (CASES["run.c1w3.planar_4"][k] for k in ("expected", "tolerance"))
    assert_within(costs[:8], expected["costs"][:8], tolerance["rel_to_max_abs"])
    # The last two lie where the descent oscillates: the order of a sum moves them by 1e-4.
    assert_within(costs[8:], expected["costs"][8:], 2e-4)
    assert np.floor(accuracy(op, params, **data)) == expected["acc_percent_floor"]


@pytest.mark.parametrize("n_hidden", [1, 2, 3, 4])
def test_planar_hidden_sizes(n_hidden):
    data = read("c1/planar_generated.npz")
    op, params = network(initial((2, n_hidden, 1), 2, lambda n: 0.01), ops.tanh)
    params, _ = descend(op, params, data["X"], data["Y"], 1.2, 5000, 5000)
    check(f"run.c1w3.planar_h{n_hidden}", accuracy(op, params, **data))


def test_circles_he():
    data = read("c2/circles_generated.npz")
    op, params = network(initial((2, 10, 5, 1), 3, lambda n: np.sqrt(2 / n)), ops.relu)
    params, costs = descend(op, params, data["X"], data["Y"], 0.01, 15_000, 1000)
    check("run.c2w1.circles_he", {
        "costs": costs, "train_acc": accuracy(op, params, data["X"], data["Y"]),
        "test_acc": accuracy(op, params, data["Xtest"], data["Ytest"])})


def test_circles_zeros():
    """From zero weights nothing ever moves but the last bias: the cost stays ln 2."""
    data = read("c2/circles_generated.npz")
    op, params = network(initial((2, 10, 5, 1), 3, lambda n: 0.0), ops.relu)
    params, costs = descend(op, params, data["X"], data["Y"], 0.01, 1000, 999)
    check("run.c2w1.circles_zeros", {
        "cost": costs[-1], "train_acc": accuracy(op, params, data["X"], data["Y"]),
        "test_acc": accuracy(op, params, data["Xtest"], data["Ytest"])})


@pytest.mark.parametrize(("name", "l2"), [("football_none", 0.0), ("football_l2_0.7", 0.7)])
def test_football(name, l2):
    data = read("c2/data.mat")
    op, params = network(initial((2, 20, 3, 1), 3, lambda n: 1 / np.sqrt(n)), ops.relu)
    params, costs = descend(op, params, data["X"], data["Y"], 0.3, 30_000, 10_000, l2)
    check(f"run.c2w1.{name}", {
        "costs": costs, "train_acc": accuracy(op, params, data["X"], data["Y"]),
        "test_acc": accuracy(op, params, data["Xtest"], data["Ytest"])})


# Moons, in mini-batches of 64. The last batch has 44: it is filled up, and the filling weighs nothing.

SIZE, N = 64, 300


def moons_order(epochs):
    """(epochs, 5, 64) indices and weights: epoch e is shuffled by seed 11 + e."""
    pad = -N % SIZE
    order = np.stack([np.random.RandomState(11 + e).permutation(N) for e in range(epochs)])
    order = np.pad(order, ((0, 0), (0, pad))).reshape(epochs, -1, SIZE)
    return order, np.pad(np.ones(N), (0, pad)).reshape(-1, SIZE)


def moons(start, update, rate, epochs):
    """(op, params, cost of each epoch): the sum over its batches divided by m."""
    data = read("c2/moons_generated.npz")
    X, Y = (jnp.asarray(data[name], float) for name in ("X", "Y"))
    op, params = network(initial((2, 5, 2, 1), 3, lambda n: np.sqrt(2 / n)), ops.relu)
    order, weights = moons_order(epochs)

    def total(params, batch, weight):
        logits = columns(op, shared=1)(params, X[:, batch])[0]
        return jnp.sum(weight * jax.vmap(ops.binary_cross_entropy)(logits, Y[0, batch]))

    def step(carry, at):
        params, moments, t, epoch = carry
        batch, weight = at
        value, grads = jax.value_and_grad(total)(params, batch, weight)
        grads = jax.tree.map(lambda g: g / jnp.sum(weight), grads)
        moves, moments = update(grads, moments, t)
        params = jax.tree.map(lambda p, d: p - rate(epoch) * d, params, moves)
        return (params, moments, t + 1, epoch), value

    def one_epoch(carry, at):
        epoch, order = at
        carry, values = jax.lax.scan(step, (*carry, epoch), (order, weights))
        return carry[:3], jnp.sum(values) / N

    @jax.jit
    def run(params):
        carry = params, start(params), 1
        return jax.lax.scan(one_epoch, carry, (jnp.arange(epochs), jnp.asarray(order)))

    (params, *_), costs = run(params)
    return op, params, costs, accuracy(op, params, X, Y)


def momentum(beta=0.9):
    def update(grads, v, t):
        v = jax.tree.map(lambda v, g: beta * v + (1 - beta) * g, v, grads)
        return v, v

    return lambda params: jax.tree.map(jnp.zeros_like, params), update


def adam(b1=0.9, b2=0.999, eps=1e-8):
    import optax

    optimizer = optax.scale_by_adam(b1, b2, eps)
    return optimizer.init, lambda grads, moments, t: optimizer.update(grads, moments)


@pytest.mark.parametrize(("name", "optimizer"), [("momentum", momentum()), ("adam", adam())])
def test_moons(name, optimizer):
    name = f"run.c2w2.moons_{name}"
    _, _, costs, acc = moons(*optimizer, lambda epoch: 0.0007, 10_000)
    expected = CASES[name]["expected"]
    assert_within({"costs": costs[::1000], "acc_10000": acc},
                  {k: expected[k] for k in ("costs", "acc_10000")},
                  CASES[name]["tolerance"]["rel_to_max_abs"])


def test_moons_with_a_falling_rate():
    def start(params):
        return ()

    _, _, costs, acc = moons(start, lambda grads, moments, t: (grads, ()), rate_of_epoch, 5000)
    check("run.c2w2.moons_gd_decay_every_epoch", {"costs": costs[::1000], "acc": acc})


def rate_of_epoch(epoch):
    """0.1 in the first epoch; after epoch e the course sets it to 0.1 / (1 + e)."""
    return jnp.where(epoch == 0, 0.1, 0.1 / jnp.maximum(epoch, 1))
