"""The explicit passes inside `shard_map`, whose types say which values vary from device to device: each kind of step
beside jax.vjp of the network's reference, in the same `shard_map` on eight virtual devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxnn import dense, hand_derived, lstm, network, softmax_cross_entropy, tanh
from jaxnn.varying import shape_like, varying_like
from tests.compare import assert_close
from tests.networks import array, recurrent, weights

DEVICES = 8
PARAMS = weights(4, 4)
X = array(2 * DEVICES, 4)
OF_LSTM = recurrent(4, 4)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices("cpu"))


@hand_derived
def two_and_three(x):
    """A value in two parts."""
    return (2 * x, 3 * x), None


two_and_three.defbackward(lambda _, dy: (2 * dy[0] + 3 * dy[1],))


@hand_derived(reverse_only=True)
def scaled(params, x):
    return params["bias"] * x, (params["bias"], x)


@scaled.defbackward
def scaled_backward(cache, dy):
    bias, x = cache
    return {"weight": jnp.zeros((4, 4)), "bias": dy * x}, dy * bias  # the zeros do not vary, and the weight does


def dense_layers(params, x):
    """A weight that all examples share, and a part that varies on no device."""
    h = jax.vmap(lambda x: tanh(dense(params, x)))(x)
    return jnp.sum(h**2, -1) + jnp.sum(tanh(params["bias"]))


def nested(params, x):
    pairs = jnp.stack([x, 2 * x], 1)
    return jnp.sum(jax.vmap(jax.vmap(lambda x: tanh(dense(params, x))))(pairs), (1, 2))


def one_example(params, x):
    return jnp.sum(tanh(dense(params, x[0]))) + 0 * x[:, 0]


def loop(params, x):
    def step(h, x_t):
        return tanh(dense(params, h) + x_t), jnp.sum(h)

    return jax.vmap(lambda x: jnp.sum(jax.lax.scan(step, jnp.zeros_like(x), jnp.stack([x, x]))[0]))(x)


def loop_for_its_last_state(params, x):
    step = lambda h, _: (tanh(dense(params, h)), jnp.sum(h))  # noqa: E731
    return jax.vmap(lambda x: jnp.sum(jax.lax.scan(step, x, None, length=3)[0]))(x)


def recomputed(params, x):
    return jax.vmap(jax.checkpoint(lambda x: jnp.sum(tanh(dense(params, x)))))(x)


def branches(params, x):
    """`cond` under `vmap` asks for weights that vary: JAX itself (0.10 to 0.12) refuses others."""
    params = jax.tree.map(lambda p: varying_like(p, x), params)
    return jax.vmap(lambda x: jnp.sum(jax.lax.cond(x[0] > 0, lambda: tanh(dense(params, x)), lambda: 2 * x)))(x)


def parts_that_no_gradient_reaches(params, x):
    """Of an op's value, of glue's value, and of an argument."""
    def one(x):
        first, rest = jnp.split(dense({"weight": params["weight"]}, x), 2)
        halves = tanh(first), jnp.exp(rest)
        return two_and_three(halves[0])[0][0]

    return jax.vmap(one)(x)


def recurrent_network(params, x):
    return jax.vmap(lambda x: jnp.sum(lstm(OF_LSTM, jnp.stack([x, x]))[0]) + jnp.sum(dense(params, x)))(x)


def mean_over_devices(params, x):
    y = jax.vmap(lambda x: jnp.sum(tanh(dense(params, x))))(x)
    return y - jax.lax.pmean(jnp.mean(y), "data")


def sum_over_devices_in_the_middle(params, x):
    h = jax.vmap(lambda x: tanh(dense(params, x)))(x)
    total = jax.lax.psum(jnp.sum(h, 0), "data") / 8
    return jnp.sum(jax.vmap(lambda h: tanh(h) * total)(h), -1)


def reverse_mode_only(params, x):
    return jax.vmap(lambda x: jnp.sum(scaled(params, x)))(x)


def labels(params, x):
    return jax.vmap(lambda x: softmax_cross_entropy(dense(params, x), jnp.argmax(x)))(x)


@pytest.mark.sampled
@pytest.mark.parametrize("f", [
    dense_layers, nested, one_example, loop, loop_for_its_last_state, recomputed, branches,
    parts_that_no_gradient_reaches, recurrent_network, mean_over_devices, sum_over_devices_in_the_middle,
    reverse_mode_only, labels], ids=lambda f: f.__name__)
def test_explicit_passes(f, mesh):
    """Value and gradients; that of the replicated weights is summed over the devices."""
    net = network(f)

    def explicit(params, x):
        y, cache = net.forward(params, x)
        assert net.name in str(cache)
        return y, *net.backward(cache, 2 * np.ones(y.shape, np.float32))

    def by_rule(params, x, of):
        y, pull_back = jax.vjp(of, params, x)
        return y, *pull_back(2 * jnp.ones_like(y))

    on_mesh = functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")),
                                out_specs=(P("data"), P(), P("data")))

    @jax.jit
    def all_three(params, x):
        return [on_mesh(run)(params, x) for run in (explicit, functools.partial(by_rule, of=f),
                                                    functools.partial(by_rule, of=net.reference))]

    got, lifted, want = jax.device_get(all_three(PARAMS, X))
    assert_close(got, want)
    assert_close(lifted, want)


def test_a_shared_weight_is_one_matrix_product_on_each_device(mesh):
    net = network(lambda params, x: jax.vmap(functools.partial(dense, params))(x))

    def gradient(params, x):
        y, cache = net.forward(params, x)
        return net.backward(cache, jnp.ones_like(y))[0]

    on_mesh = jax.shard_map(gradient, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    compiled = jax.jit(on_mesh).lower(PARAMS, X).as_text()
    products = [line for line in compiled.splitlines() if "dot_general" in line]
    assert any("tensor<4x4xf32>" in line.rpartition("->")[2] for line in products)
    assert not any("tensor<2x4x4xf32>" in line for line in compiled.splitlines())


def test_shapes_and_casts_take_the_mesh_axes(mesh):
    def axes(x):
        return jax.typeof(x).manual_axis_type.varying

    def inside(weight, x):
        assert (axes(weight), axes(x)) == (frozenset(), {"data"})
        assert axes(varying_like(weight, x)) == {"data"}
        assert varying_like(x, weight) is x
        longer = shape_like(jax.typeof(x), (3, *x.shape))
        assert longer.shape == (3, 2, 4) and longer.manual_axis_type.varying == {"data"}
        assert not jax.typeof(shape_like(jax.typeof(weight), (3,))).manual_axis_type.varying
        return x

    jax.jit(jax.shard_map(inside, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")))(PARAMS["weight"], X)
    weight = PARAMS["weight"]
    assert varying_like(weight, X) is weight  # outside of shard_map nothing varies
