"""The comparison itself: right gradients pass at every size and dtype, wrong ones do not, and the report
says where."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Network, compare_gradients, hand_derived, ops
from jaxnn.layers import Dense, Dropout, Sequential
from tests.cases import CASES, array, weights
from tests.compare import pulled_back

RNG = np.random.default_rng(0)
PARAMS = weights(6, 5)(RNG, jnp.float32)
X = array(6)(RNG, jnp.float32)
# What the comparison stands on, where a test is about neither routes nor laws.
BOTH = {"routes": ("explicit", "lifted"), "laws": False}


@pytest.mark.sampled
@pytest.mark.parametrize("name", [
    "softmax", "dense", "softmax_cross_entropy-distribution", "pytrees", "an integer output",
    "an argument without gradient", "static keywords", "a scan", "dropout-net"])
def test_right_ones_pass(name):
    case = next(case for case in CASES if case.name == name)
    report = compare_gradients(case.op, *case.args(), **case.static)
    assert report.ok, str(report)
    judged = [leaf for leaf in report.leaves if not leaf.excused]
    assert all(leaf.error <= 6 * max(1, leaf.noise) for leaf in judged)  # the threshold is 16


def planted(change):
    """A dense layer whose weight gradient is changed."""
    @hand_derived
    def op(params, x):
        return ops.dense.forward(params, x)

    @op.defbackward
    def op_backward(cache, dy):
        dparams, dx = ops.dense.backward(cache, dy)
        return change(dparams, dx)

    return op


WRONG = {
    "one per cent": (lambda d, dx: (d | {"weight": d["weight"] * 1.01}, dx), "params/weight"),
    "a thousandth": (lambda d, dx: (d | {"weight": d["weight"] * 1.001}, dx), "params/weight"),
    "one element": (lambda d, dx: (d | {"weight": d["weight"].at[3, 2].mul(1.01)}, dx), "params/weight"),
    "one element missing": (lambda d, dx: (d | {"weight": d["weight"].at[0, 0].set(0)}, dx), "params/weight"),
    "a sign": (lambda d, dx: (d | {"bias": -d["bias"]}, dx), "params/bias"),
    "no bias": (lambda d, dx: (d | {"bias": 0 * d["bias"]}, dx), "params/bias"),
    "no dx": (lambda d, dx: (d, 0 * dx), "x"),
    "twice dx": (lambda d, dx: (d, 2 * dx), "x"),
    "NaN in one element": (lambda d, dx: (d, dx.at[1].mul(jnp.nan)), "x"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_are_found(name):
    change, path = WRONG[name]
    report = compare_gradients(planted(change), PARAMS, X, **BOTH)
    assert not report.ok
    assert report.worst.path == path
    bad = {(leaf.path, leaf.route) for leaf in report.wrong}
    assert bad == {(path, "explicit"), (path, "lifted")}  # and no other leaf is blamed
    assert [finding.path for finding in report.findings] == [path]


@pytest.mark.parametrize(("change", "path"), [
    (lambda d, dx: (d | {"bias": None}, dx), "params/bias"), (lambda d, dx: (d, None), "x")], ids=["bias", "x"])
def test_a_gradient_that_is_left_out_is_found(change, path):
    """The explicit backward pass is compared; where the rule is lifted, None is refused by name."""
    report = compare_gradients(planted(change), PARAMS, X, **BOTH)
    assert not report.ok
    assert {(leaf.path, leaf.route) for leaf in report.wrong} == {(path, "explicit")}
    assert any("is None" in words for words in report.failures)


@pytest.mark.parametrize("n", [1, 10, 100_000])
def test_one_wrong_element_among_many(n):
    """The course's ‖a - b‖ / (‖a‖ + ‖b‖) would shrink as the array grows; the worst element does not."""
    @hand_derived
    def op(x):
        return 3 * x, None

    op.defbackward(lambda _, dy: ((3 * dy).at[n // 2].mul(1.01),))
    # The cotangent's own element decides how large the error is: here all are 1.
    x = jnp.ones(n)
    (_, (right,)), (_, (wrong,)) = pulled_back(op.reference, x), pulled_back(op, x)
    assert np.max(np.abs(wrong - right)) / (3 * np.finfo(np.float32).eps) > 50_000
    report = compare_gradients(op, x, **BOTH)
    assert not report.ok
    assert report.worst.element == (n // 2,)


def test_index_and_values_of_the_worst_element():
    report = compare_gradients(planted(WRONG["one element missing"][0]), PARAMS, X, **BOTH)
    worst = report.worst
    assert (worst.element, worst.value, worst.shape) == ((0, 0), 0.0, (5, 6))
    assert worst.reference != 0
    assert report.verdict.startswith(
        f"WRONG at params/weight[0, 0]: 0, reference {worst.reference:.6g} (explicit, ")


def test_a_route_wrong_alone():
    """An explicit backward that differs from the lifted one, as in a network of one's own: said by route."""
    class Broken(Network):
        def backward(self, cache, dy):
            dparams, dx = super().backward(cache, dy)
            return dparams, dx * 2

    report = compare_gradients(Broken(lambda params, x: ops.dense(params, x)), PARAMS, X, laws=False)
    assert (report.worst.path, report.worst.route) == ("x", "explicit")
    assert {leaf.route for leaf in report.wrong} == {"explicit"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.usefixtures("x64")
def test_one_threshold_serves_every_dtype(dtype):
    args = (weights(6, 5)(RNG, dtype), array(6)(RNG, dtype))
    assert compare_gradients(ops.dense, *args, **BOTH).ok
    name = "a thousandth" if dtype in ("float64", "float32") else "twice dx"
    assert not compare_gradients(planted(WRONG[name][0]), *args, **BOTH).ok


def test_integers_and_keys_are_left_out():
    report = compare_gradients(ops.softmax_cross_entropy, jnp.ones(4), jnp.asarray(2), **BOTH)
    assert {leaf.path for leaf in report.leaves} == {"logits"}
    report = compare_gradients(ops.dropout, jnp.ones(4), jax.random.key(0), rate=0.5, **BOTH)
    assert {leaf.path for leaf in report.leaves} == {"x"}


def test_numbers_and_numpy_arrays():
    assert compare_gradients(ops.sigmoid, 0.3).ok
    assert compare_gradients(ops.squared_error, np.ones(3, np.float32), np.zeros(3, np.float32), **BOTH).ok


def test_the_cotangent_follows_its_seed():
    op = planted(WRONG["one element"][0])
    errors = {compare_gradients(op, PARAMS, X, seed=seed, routes="lifted", laws=False).worst.error
              for seed in range(3)}
    assert len(errors) == 3
    assert min(errors) > 16


def test_layers():
    net = Sequential(Dense(5), ops.tanh, Dropout(0.5), Dense(2))
    params, state = net.init(jax.random.key(0), (6,))
    report = compare_gradients(net, params, state, X, jax.random.key(1), train=True, **BOTH)
    assert report.ok
    assert {leaf.path for leaf in report.leaves} == {
        "params/dense1/weight", "params/dense1/bias", "params/dense2/weight", "params/dense2/bias", "x"}


def test_a_batch():
    def one(params, x):
        return ops.dense(params[1], ops.gelu(ops.dense(params[0], x)))

    params = (PARAMS, weights(5, 3)(RNG, jnp.float32))
    report = compare_gradients(jax.vmap(one, (None, 0)), params, array(7, 6)(RNG, jnp.float32), routes=BOTH["routes"])
    assert report.ok
    assert [law.holds for law in report.laws] == [True] * 8  # with those of a batch


# A stranger's function with a reference beside it.


@jax.custom_vjp
def cube(x, n):
    return x**3 + n


cube.defvjp(lambda x, n: (cube(x, n), x), lambda x, dy: (3 * x * x * dy, None))


@jax.custom_vjp
def wrong_cube(x):
    return x**3


wrong_cube.defvjp(lambda x: (x**3, x), lambda x, dy: (2 * x * x * dy,))


def test_a_strangers_function():
    report = compare_gradients(cube, jnp.arange(1.0, 4.0), 2, reference=lambda x, n: x**3 + n)
    assert report.ok
    assert {(leaf.path, leaf.route) for leaf in report.leaves} == {
        ("x", route) for route in (
            "explicit", "lifted", "float64", "finite differences", "taylor", "second order")}
    assert report.notes == ("f has no forward mode: TypeError: can't apply forward-mode autodiff (jvp) to a "
                            "custom_vjp function.",)
    report = compare_gradients(wrong_cube, jnp.arange(1.0, 4.0), reference=lambda x: x**3)
    assert not report.ok
    assert report.worst.path == "x"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: compare_gradients(jnp.sin, 1.0),
     "compare_gradients expects an op, a function of ops, or reference= beside a plain function; got"),
    (lambda: compare_gradients(ops.flatten, jnp.arange(3)),
     "compare_gradients expects at least one floating-point argument; got int32[3]; pass floats where"),
    (lambda: compare_gradients(3, 1.0), "compare_gradients expects a callable as f; got int"),
    (lambda: compare_gradients(ops.tanh, 1.0, routes="backward"),
     "compare_gradients expects routes among 'explicit', 'lifted', 'float64', 'forward', 'finite "
     "differences', 'taylor', 'second order', or 'all'; got 'backward'"),
    (lambda: compare_gradients(ops.tanh, 1.0, under="pmap"), "expects under among 'eager', 'jit', 'vmap', "),
    (lambda: compare_gradients(ops.tanh, 1.0, dtypes=jnp.int32), "expects dtypes among 'float64', "
                                                                 "'float32', "),
])
def test_errors(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


@pytest.mark.parametrize("by", [None, "rule"])
def test_products_are_not_rounded_on_a_gpu(monkeypatch, by):
    """JAX would compute them in TF32 there, by which right gradients differ."""
    precisions = set()

    def half(x):
        precisions.add(jax.config.jax_default_matmul_precision)
        return x / 2

    @hand_derived
    def op(x):
        return half(x), ()

    @op.defbackward
    def op_backward(cache, dy):
        return (half(dy),)

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compare_gradients(op, 1.0, by=by).ok
    assert precisions == {"highest"}
    assert jax.config.jax_default_matmul_precision is None
