"""Spread over devices it is the same training."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from jaxnn import ops
from jaxnn.data import Batches
from jaxnn.layers import BatchNorm, Dense, Sequential
from jaxnn.training import fit, make_mesh, make_step, shard, start
from jaxnn.training.mesh import place, sharding_of

NET = Sequential(Dense(16), BatchNorm(), ops.relu, Dense(8), ops.relu, Dense(2))
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 8)).astype(np.float32), RNG.integers(0, 2, 64)


def train(mesh, fully, **options):
    optimizer = optax.adam(0.01)
    state, step = start(NET, optimizer, (8,), jax.random.key(0)), make_step(
        NET, ops.softmax_cross_entropy, optimizer, **options)
    state = state if mesh is None else shard(state, mesh, fully=fully)
    layout = jax.tree.map(lambda a: a.sharding, state)
    state, history = fit(state, step, Batches(X, Y, 32), steps=10, every=1, progress=False, mesh=mesh)
    assert jax.tree.map(lambda a: a.sharding, state) == layout, "every array stays where it was"
    return history.column("cost"), history.column("gradient_norm")


@pytest.fixture(scope="module")
def alone():
    return train(None, False)


@pytest.mark.sampled
@pytest.mark.parametrize(("data", "model", "fully"), [(8, 1, False), (8, 1, True), (2, 4, True)])
def test_the_same_costs_and_gradients(alone, data, model, fully):
    costs, norms = train(make_mesh(data, model), fully)
    np.testing.assert_allclose(costs[1:], alone[0][1:], rtol=0, atol=1e-5)
    np.testing.assert_allclose(norms[1:] / alone[1][1:], 1, atol=1e-3)


def test_in_parts(alone):
    """Each device takes its own examples, part by part: without batch norm the same gradient."""
    net, optimizer = Sequential(Dense(4), ops.tanh, Dense(2)), optax.sgd(0.1)
    state = start(net, optimizer, (8,), jax.random.key(0))
    x, y = X[:32], Y[:32]
    cost, grads = make_step(net, ops.softmax_cross_entropy, optimizer).cost_and_gradient(state, x, y)
    mesh = make_mesh(4)
    step = make_step(net, ops.softmax_cross_entropy, optimizer, accumulate=2)
    there, there_grads = step.cost_and_gradient(shard(state, mesh), *place((x, y), mesh))
    np.testing.assert_allclose(there, cost, rtol=1e-6)
    chex.assert_trees_all_close(there_grads, grads, atol=1e-6)


def test_a_state_on_one_device_is_copied_to_all(alone, tmp_path):
    """And gone on with; the last batch of an epoch is filled up before it is spread."""
    net, optimizer = Sequential(Dense(8), ops.relu, Dense(2)), optax.adam(0.01)
    step = make_step(net, ops.softmax_cross_entropy, optimizer)

    def batches(s):
        rows = slice(24 * (s % 3), 24 * (s % 3) + 24)  # of 24, 24 and 16
        return X[rows], Y[rows]

    for steps in (4, 6):
        state, _ = fit(start(net, optimizer, (8,), jax.random.key(0)), step, batches, steps=steps, every=2,
                       progress=False, directory=tmp_path, mesh=make_mesh(4))
    assert all(len(leaf.devices()) == 4 for leaf in jax.tree.leaves(state))
    expected = start(net, optimizer, (8,), jax.random.key(0))
    for s in range(6):
        expected, _ = make_step(net, ops.softmax_cross_entropy, optimizer)(expected, *batches(s))
    chex.assert_trees_all_close(state.params, expected.params, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="a mesh with an axis 'data'"):
        fit(start(net, optimizer, (8,), jax.random.key(0)), step, batches, steps=1,
            mesh=jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,)))


def test_where_arrays_lie():
    mesh = make_mesh(4, 2)
    for shape, spec in (((8, 4), ("data", "model")), ((4, 8), ("model", "data")), ((6, 8), ("model", "data")),
                        ((3, 5), (None, None)), ((2, 3), ("model", None)), ((), ()), ((4,), ("data",))):
        assert sharding_of(shape, mesh, fully=True).spec == PartitionSpec(*spec), shape
        assert sharding_of(shape, mesh, fully=False).is_fully_replicated


def test_a_mesh_of_all_devices():
    assert dict(make_mesh().shape) == {"data": 8, "model": 1}
    assert dict(make_mesh(model=2).shape) == {"data": 4, "model": 2}


@pytest.mark.parametrize(("call", "words"), [
    (lambda: make_mesh(16), "at most the 8 devices there are; got 16 x 1"),
    (lambda: make_mesh(model=3), "model, a divisor of the 8 devices"),
    (lambda: make_mesh(0), "data, a positive number"),
    (lambda: make_mesh(model=None), "model, a positive number"),
    (lambda: place(jnp.zeros((30, 2)), make_mesh(8)), "a batch whose size the 8 devices .*divide; got 30; take 32"),
])
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
