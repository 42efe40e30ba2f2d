"""`reverse_only=True`: the rule by custom_vjp, for a backward that JAX cannot transpose."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxnn import Static, compare_gradients, hand_derived, ops
from tests.compare import assert_close

STEPS = 3


@hand_derived(reverse_only=True)
def powered(params, x, n, *, steps=STEPS):
    """y = w^steps x + x_n, with a while loop each way."""
    w = params["w"]

    def loop(x):
        return lax.while_loop(lambda at: at[0] < steps, lambda at: (at[0] + 1, at[1] * w), (0, x))[1]

    return loop(x) + x[n], (w, x, n, Static(steps))


@powered.defbackward
def powered_backward(cache, dy):
    """dx = w^k dy, by a while loop in dy; dw = k w^(k-1) x · dy."""
    w, x, n, static = cache
    steps = static.value
    dx = lax.while_loop(lambda at: at[0] < steps, lambda at: (at[0] + 1, at[1] * w), (0, dy))[1]
    dw = steps * w ** (steps - 1) * jnp.vdot(x, dy)
    return {"w": dw}, dx.at[n].add(jnp.sum(dy)), None


def plain(params, x, n, *, steps=STEPS):
    return params["w"] ** steps * x + x[n]


PARAMS = {"w": jnp.asarray(1.5)}
X = jnp.asarray([1.0, -2.0, 0.5])
LABEL = jnp.asarray(1)


def cost(f, params, x, n):
    return jnp.sum(jnp.sin(f(params, x, n)))


gradient = jax.grad(cost, argnums=(1, 2))


@pytest.mark.parametrize("transform", {
    "grad": lambda g: g,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
}.items(), ids=lambda item: item[0])
def test_gradient(transform):
    transform = transform[1]
    assert_close(transform(functools.partial(gradient, powered))(PARAMS, X, LABEL),
                 gradient(plain, PARAMS, X, LABEL))


def test_value_faces():
    assert_close(powered(PARAMS, X, LABEL), plain(PARAMS, X, LABEL))
    assert_close(powered(PARAMS, X, LABEL, steps=1), plain(PARAMS, X, LABEL, steps=1))
    y, cache = powered.forward(PARAMS, X, LABEL)
    assert_close(y, powered.reference(PARAMS, X, LABEL))
    assert powered.backward(cache, jnp.ones(3))[2] is None


def test_static_keyword_reaches_the_rule():
    got = jax.grad(lambda x: jnp.sum(powered(PARAMS, x, LABEL, steps=5)))(X)
    assert_close(got, jax.grad(lambda x: jnp.sum(plain(PARAMS, x, LABEL, steps=5)))(X))


def test_vmap_both_ways():
    x, n = jnp.stack([X, 2 * X]), jnp.asarray([0, 2])
    for transform in (lambda f: jax.vmap(functools.partial(gradient, f), (None, 0, 0)),
                      lambda f: jax.grad(lambda p, x, n: jnp.sum(jax.vmap(
                          functools.partial(cost, f), (None, 0, 0))(p, x, n)), (0, 1))):
        assert_close(transform(powered)(PARAMS, x, n), transform(plain)(PARAMS, x, n))


def test_prng_key_gets_no_gradient():
    @hand_derived(reverse_only=True)
    def noisy(x, key):
        noise = jax.random.normal(key, x.shape)
        return x * noise, noise

    noisy.defbackward(lambda noise, dy: (dy * noise, None))
    key = jax.random.key(3)
    assert_close(jax.grad(lambda x: jnp.sum(noisy(x, key)))(X), jax.random.normal(key, X.shape))


def test_integer_output_and_pytrees():
    @hand_derived(reverse_only=True)
    def f(x):
        return {"y": x * x, "where": jnp.argmax(x)}, x

    @f.defbackward
    def f_backward(x, dy):
        assert dy["where"] is None
        return (2 * x * dy["y"],)

    assert_close(jax.grad(lambda x: jnp.sum(f(x)["y"]))(X), 2 * X)


def test_inside_shard_map():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices("cpu"))
    x = jnp.arange(24.0).reshape(8, 3) / 10
    n = jnp.arange(8) % 3

    def total(f, params, x, n):
        return jnp.sum(jax.vmap(functools.partial(cost, f), (None, 0, 0))(params, x, n))

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data"), P("data")),
                       out_specs=(P(), P("data")))
    def inside(params, x, n):
        return jax.grad(functools.partial(total, powered), (0, 1))(params, x, n)

    want = jax.grad(functools.partial(total, plain), (0, 1))(PARAMS, x, n)
    assert_close(jax.device_get(inside(PARAMS, x, n)), jax.device_get(want))


def test_in_a_network():
    @hand_derived(reverse_only=True)
    def doubled(x):
        return 2 * x, None

    doubled.defbackward(lambda _, dy: (2 * dy,))
    report = compare_gradients(lambda x: ops.softmax(doubled(ops.tanh(x))), X, laws=False)
    assert report.ok


def test_hessian_goes_through_the_rule():
    """Forward over reverse differentiates the two passes themselves."""
    hessian = jax.hessian(cost, argnums=2)
    assert_close(hessian(powered, PARAMS, X, LABEL), hessian(plain, PARAMS, X, LABEL))


@pytest.mark.parametrize("forward_mode", [
    lambda f: jax.jvp(f, (X,), (X,)),
    lambda f: jax.jacfwd(f)(X),
    lambda f: jax.linearize(f, X)[1](X),
], ids=["jvp", "jacfwd", "linearize"])
def test_forward_mode_is_refused(forward_mode):
    with pytest.raises(TypeError, match="forward-mode autodiff"):
        forward_mode(lambda x: powered(PARAMS, x, LABEL))


@pytest.mark.parametrize(("backward", "words"), [
    (lambda x, dy: dy, "backward of 'f' returned"),
    (lambda x, dy: (dy, dy), "returned 2 cotangents; expected a tuple of 1"),
    (lambda x, dy: (dy[:2],), r"the cotangent of 'x' has shape \(2,\); the argument has shape \(3,\)"),
    (lambda x, dy: ({"x": dy},), "the cotangent of 'x' "),
])
def test_wrong_backward_is_refused(backward, words):
    @hand_derived(reverse_only=True)
    def f(x):
        return x * 2, x

    f.defbackward(backward)
    with pytest.raises(TypeError, match=words):
        jax.grad(lambda x: jnp.sum(f(x)))(X)


def test_without_it_the_same_rule_says_what_to_do():
    @hand_derived
    def f(x):
        return x * 2, None

    f.defbackward(lambda _, dy: (opaque(dy),))
    with pytest.raises(TypeError, match=r"if it is linear, use @hand_derived\(reverse_only=True\)"):
        jax.grad(lambda x: jnp.sum(f(x)))(X)


@jax.custom_vjp
def opaque(x):
    return 2 * x


opaque.defvjp(lambda x: (2 * x, None), lambda _, dy: (2 * dy,))
