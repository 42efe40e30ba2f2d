"""Ops on a mesh of eight virtual CPU devices: sharded `jit`, and `shard_map` with the gradient
taken outside and inside of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.catalogue import Case
from jaxnn import ops
from tests.cases import find, rows
from tests.compare import assert_close
from tests.test_hand_derived_transformations import Smooth, weigh

DEVICES = 8


@pytest.fixture(scope="module")
def mesh():
    devices = jax.devices("cpu")
    if len(devices) != DEVICES:
        pytest.fail(f"expected {DEVICES} virtual CPU devices, set in conftest.py; got {len(devices)}")
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def spec(axis):
    return P() if axis is None else P("data")


@pytest.mark.sampled
@pytest.mark.parametrize("case", rows())
def test_data_parallel(case, mesh, request):
    """Sharded jit, and shard_map, both ways, give the gradient that one device gives."""
    if case.name == "batch_norm":
        request.applymarker(pytest.mark.xfail(raises=AssertionError, strict=True, reason="JAX itself (0.10 to 0.12) "
                                              "fails an assertion for pmean over a vmap axis in shard_map"))
    smooth_args = Smooth(case, DEVICES)
    m, r = smooth_args.smooth, smooth_args.rough
    specs = tuple([spec(axis) for axis in axes] for axes in smooth_args.axes)
    put = jax.tree.map(lambda leaf, s: jax.device_put(leaf, NamedSharding(mesh, s)), (m, r), specs)

    def cost_of(f):
        value = smooth_args.value(functools.partial(f, **case.static))
        return lambda m, r: jnp.sum(jax.vmap(lambda m, r: weigh(value(m, r)), in_axes=smooth_args.axes,
                                             axis_name="examples")(m, r))

    cost = cost_of(case.op)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=specs, out_specs=P())
    def summed(m, r):
        return jax.lax.psum(cost(m, r), "data")

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=specs, out_specs=specs[0])
    def inside(m, r):
        # The gradient of a replicated weight comes out summed over the devices already.
        return jax.grad(cost)(m, r)

    @jax.jit
    def sharded(m, r):
        return jax.grad(cost)(m, r), jax.grad(summed)(m, r), inside(m, r)

    want = jax.jit(jax.grad(cost_of(case.op.reference)))(m, r)
    for got in sharded(*put):
        assert_close(jax.device_get(got), jax.device_get(want))


NETWORK = Case("two layers", ops.dense, "weight",
               "({weight: f32[8,4], bias: f32[8]}, {weight: f32[2,8], bias: f32[2]}) f32[4]", {})


def two_layers(params, x):
    return ops.dense(params[1], ops.gelu(ops.dense(params[0], x)))


def reference(params, x):
    dense = ops.dense.reference
    return dense(params[1], ops.gelu.reference(dense(params[0], x)))


@pytest.mark.parametrize("columns", [False, True], ids=["rows of the weights", "columns of the weights"])
def test_sharded_parameters(columns):
    """Weights split over one mesh axis, examples over the other."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2,
                         devices=jax.devices("cpu"))
    (params, x), _ = NETWORK.batch(8)

    def split(leaf):
        return P(None, "model") if columns and leaf.ndim == 2 else P("model")

    put = jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, split(leaf))), params)
    x_put = jax.device_put(x, NamedSharding(mesh, P("data")))

    def cost(f, params, x):
        return jnp.mean(jax.vmap(f, in_axes=(None, 0))(params, x) ** 2)

    gradient = jax.grad(cost, argnums=(1, 2))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, (put, x_put))
    got = jax.jit(functools.partial(gradient, two_layers), out_shardings=shardings)(put, x_put)
    want = jax.jit(functools.partial(gradient, reference))(params, x)
    assert_close(jax.device_get(got), jax.device_get(want))


def test_batch_norm_over_a_sharded_batch(mesh):
    """Its statistics are those of the whole batch, wherever the examples lie."""
    case = find("batch_norm")
    params, state, x = case.args(examples=16)
    gradient = jax.grad(lambda f, params, x: weigh(f(params, state, x)[:1]), (1, 2))
    put = jax.device_put(x, NamedSharding(mesh, P("data")))
    got = jax.jit(functools.partial(gradient, case.op))(params, put)
    want = jax.jit(functools.partial(gradient, case.op.reference))(params, x)
    assert_close(jax.device_get(got), jax.device_get(want))


def test_mean_over_devices_inside_shard_map(mesh):
    """The mean cost: a weight's gradient is the sum over devices already, so it is divided, and not
    averaged once more."""
    (params, x), _ = NETWORK.batch(16)

    def cost(f, params, x):
        return jnp.mean(jax.vmap(f, in_axes=(None, 0))(params, x) ** 2)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P()))
    def value_and_grad(params, x):
        value, grads = jax.value_and_grad(functools.partial(cost, two_layers))(params, x)
        mean = jax.tree.map(lambda g: g / jax.lax.axis_size("data"), grads)
        return jax.lax.pmean(value, "data"), mean

    got = jax.jit(value_and_grad)(params, x)
    want = jax.jit(jax.value_and_grad(functools.partial(cost, reference)))(params, x)
    assert_close(jax.device_get(got), jax.device_get(want))


def test_shard_map_with_labels_and_forward_mode(mesh):
    """Integer labels ride along, and the push-forward works inside shard_map too."""
    case = find("softmax_cross_entropy")
    (logits, labels), _ = case.batch(DEVICES)
    tangent = jnp.asarray(np.random.default_rng(0).standard_normal(logits.shape), jnp.float32)

    def push(f, logits, labels, tangent):
        return jax.jvp(lambda z: jax.vmap(f)(z, labels), (logits,), (tangent,))

    on_mesh = jax.shard_map(functools.partial(push, case.op), mesh=mesh, in_specs=P("data"),
                            out_specs=P("data"))
    assert_close(jax.device_get(jax.jit(on_mesh)(logits, labels, tangent)),
                 jax.device_get(push(case.op.reference, logits, labels, tangent)))
