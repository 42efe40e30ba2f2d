"""Batch norm's statistics are those of the whole batch, on however many devices it lies; those of a frozen part stay.

Four virtual CPU devices (set in conftest.py) beside one: the same value, gradients and running statistics.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxnn import at_inference, ops
from jaxnn.layers import BatchNorm, Conv, Dense, Sequential, over_examples
from jaxnn.training import make_step, start

NET = Sequential(
    conv1=Conv(4, (3, 3), use_bias=False), norm1=BatchNorm(), relu1=ops.relu, conv2=Conv(4, (3, 3), stride=2),
    norm2=BatchNorm(momentum=0.5), relu2=ops.relu, average=ops.global_average_pool, fc=Dense(3))
RNG = np.random.default_rng(0)
# The examples of each quarter are of another brightness and contrast: means of a device's own would be far off.
X = (RNG.standard_normal((16, 6, 5, 2)) * np.repeat([1, 2, 3, 4], 4)[:, None, None, None]
     + np.repeat([0, 3, -2, 5], 4)[:, None, None, None]).astype(np.float32)
Y = RNG.integers(0, 3, 16)


@functools.cache
def begun():
    return NET.init(jax.random.key(0), X.shape[1:])


def cost(params, state, x, y):
    logits, state = over_examples(NET)(params, state, x, train=True)
    return jnp.mean(jax.vmap(ops.softmax_cross_entropy)(logits, y)), state


@functools.cache
def alone():
    return jax.jit(jax.value_and_grad(cost, has_aux=True))(*begun(), X, Y)


@pytest.mark.parametrize("devices", [1, 4])
def test_sharded_jit(devices):
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,),
                         devices=jax.devices()[:devices])
    x, y = (jax.device_put(a, NamedSharding(mesh, P("data"))) for a in (X, Y))
    params, state = jax.device_put(begun(), NamedSharding(mesh, P()))
    found = jax.jit(jax.value_and_grad(cost, has_aux=True))(params, state, x, y)
    assert len(jax.tree.leaves(found)[0].devices()) == devices
    chex.assert_trees_all_close(found, alone(), rtol=1e-5, atol=1e-5)


def local_cost(params, state, x, y):
    """The network in `shard_map`, where JAX (0.10 to 0.12) takes no mean over an axis of `vmap`: the axis "examples" is
    that of the mesh, convolutions are mapped over the examples of the device, and batch norm reads all of these
    at once. The state gets a leading axis of devices."""
    new = {}
    for name in ("conv1", "norm1", "relu1", "conv2", "norm2", "relu2"):
        part = NET.parts[name]
        if name.startswith("norm"):
            x, new[name] = part(params[name], state[name], x, train=True)
        else:
            x = jax.vmap(lambda x, name=name, part=part: part(params.get(name, {}), {}, x, train=True)[0])(x)
    logits = jax.vmap(lambda x: ops.dense(params["fc"], ops.global_average_pool(x)))(x)
    cost = jax.lax.pmean(jnp.mean(jax.vmap(ops.softmax_cross_entropy)(logits, y)), "examples")
    return cost, jax.tree.map(lambda a: a[None], new)


@pytest.mark.parametrize("devices", [1, 4])
def test_shard_map(devices):
    mesh = jax.make_mesh((devices,), ("examples",), axis_types=(jax.sharding.AxisType.Auto,),
                         devices=jax.devices()[:devices])
    batch = P("examples")

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), batch, batch), out_specs=((P(), batch), P()))
    def step(params, state, x, y):
        return jax.value_and_grad(local_cost, has_aux=True)(params, state, x, y)

    (value, state), grads = step(*begun(), X, Y)
    for device in range(devices):
        of_device = jax.tree.map(lambda a, device=device: a[device], state)
        chex.assert_trees_all_close(((value, of_device), grads), alone(), rtol=1e-5, atol=1e-5)


def test_statistics_of_each_device_alone_would_be_found_out():
    """What the tests above compare with: the mean of four devices' own results is far from the whole batch's."""
    parts = [cost(*begun(), X[i:i + 4], Y[i:i + 4]) for i in range(0, 16, 4)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 4, *parts)
    assert abs(mean[0] - alone()[0][0]) > 1e-2
    variance = alone()[0][1]["norm1"]["variance"]
    assert np.abs(mean[1]["norm1"]["variance"] / variance - 1).max() > 0.1


def test_a_frozen_part_keeps_its_statistics_in_training():
    """`at_inference`: batch norm uses its running statistics and keeps them, and the gradient still passes through."""
    body = Sequential(conv=Conv(4, (3, 3)), norm=BatchNorm(), relu=ops.relu, average=ops.global_average_pool)
    net = Sequential(body=at_inference(body), norm=BatchNorm(), head=Dense(3))
    optimizer = optax.sgd(0.1)
    train_state = start(net, optimizer, X.shape[1:], jax.random.key(0))
    statistics = jax.tree.map(lambda a: a + 0.5, train_state.state["body"])
    state = {**train_state.state, "body": statistics}
    params = jax.tree.map(jnp.copy, train_state.params)
    after, _ = make_step(net, ops.softmax_cross_entropy, optimizer)(
        train_state._replace(state=jax.tree.map(jnp.copy, state)), X, Y)
    chex.assert_trees_all_equal(after.state["body"], statistics)
    assert not np.array_equal(after.state["norm"]["mean"], state["norm"]["mean"])
    assert not np.array_equal(after.params["body"]["conv"]["kernel"], params["body"]["conv"]["kernel"])
    features = [over_examples(part)(params["body"], statistics, X, train=train)[0]
                for part, train in ((at_inference(body), True), (body, False), (body, True))]
    chex.assert_trees_all_equal(features[0], features[1])
    assert not np.allclose(features[0], features[2])
