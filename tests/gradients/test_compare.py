"""The comparison itself: right gradients pass at every size and dtype, wrong ones do not, and the report
says where."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import chain, compare_gradients, hand_derived, ops, over_examples
from jaxnn.layers import Dense, Dropout, Sequential
from tests.cases import CASES, array, weights

RNG = np.random.default_rng(0)
PARAMS = weights(6, 5)(RNG, jnp.float32)
X = array(6)(RNG, jnp.float32)


@pytest.mark.parametrize("name", [
    "softmax", "dense", "softmax_cross_entropy of a distribution", "pytrees", "an integer output",
    "an argument without gradient", "static keywords", "a scan", "chain with dropout"])
def test_right_ones_pass(name):
    case = next(case for case in CASES if case.name == name)
    report = compare_gradients(case.op, *case.example(0), **case.static)
    assert report.ok, str(report)
    assert report.worst.error < 16  # far below the threshold of 1,000


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
    "None for the bias": (lambda d, dx: (d | {"bias": None}, dx), "params/bias"),
    "no dx": (lambda d, dx: (d, 0 * dx), "x"),
    "None for x": (lambda d, dx: (d, None), "x"),
    "twice dx": (lambda d, dx: (d, 2 * dx), "x"),
    "NaN in one element": (lambda d, dx: (d, dx.at[1].mul(jnp.nan)), "x"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_are_found(name):
    change, path = WRONG[name]
    report = compare_gradients(planted(change), PARAMS, X)
    assert not report.ok
    assert report.worst.path == path
    bad = {(leaf.path, leaf.route) for leaf in report.leaves if leaf.error > report.threshold}
    assert bad == {(path, "explicit"), (path, "lifted")}  # and no other leaf is blamed


@pytest.mark.parametrize("n", [1, 10, 100_000])
def test_one_wrong_element_among_many(n):
    """The course's ‖a - b‖ / (‖a‖ + ‖b‖) would shrink as the array grows; the worst element does not."""
    @hand_derived
    def op(x):
        return 3 * x, None

    op.defbackward(lambda _, dy: ((3 * dy).at[n // 2].mul(1.01),))
    # The cotangent's own element decides how large the error is: here all are 1.
    x = jnp.ones(n)
    (right,), (wrong,) = (jax.vjp(f, x)[1](jnp.ones(n)) for f in (op.reference, op))
    assert float(jnp.max(jnp.abs(wrong - right)) / (3 * jnp.finfo(jnp.float32).eps)) > 50_000
    assert not compare_gradients(op, x).ok
    assert compare_gradients(op, x).worst.element == (n // 2,)


def test_index_and_values_of_the_worst_element():
    report = compare_gradients(planted(WRONG["one element missing"][0]), PARAMS, X)
    worst = report.worst
    assert (worst.element, worst.value, worst.shape) == ((0, 0), 0.0, (5, 6))
    assert worst.reference != 0
    assert f"WRONG at params/weight[0, 0]: 0, reference {worst.reference:.6g}" in str(report)


def test_a_route_wrong_alone():
    """An explicit backward that differs from the lifted one, as in a combinator: said by route."""
    class Broken(type(chain(ops.dense))):
        def backward(self, cache, dy):
            dparams, dx = super().backward(cache, dy)
            return dparams, dx * 2

    op = Broken(chain(ops.dense).stage)
    report = compare_gradients(op, (PARAMS,), X)
    assert (report.worst.path, report.worst.route) == ("x", "explicit")
    assert all(leaf.error < 10 for leaf in report.leaves if leaf.route == "lifted")


def test_the_table():
    text = str(compare_gradients(ops.dense, PARAMS, X))
    lines = text.splitlines()
    assert re.fullmatch(r"leaf +route +shape +error / \(eps max\|leaf\|\)", lines[0])
    assert [line.split()[:2] for line in lines[1:-1]] == [
        [path, route] for route in ("lifted", "explicit") for path in ("params/bias", "params/weight", "x")]
    assert lines[-1] == "equal to jax.grad of the reference (threshold 1000)"


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.usefixtures("x64")
def test_one_threshold_serves_every_dtype_where_eps_is_small_enough(dtype):
    args = (weights(6, 5)(RNG, dtype), array(6)(RNG, dtype))
    assert compare_gradients(ops.dense, *args).worst.error < 16
    if dtype in ("float64", "float32"):
        assert not compare_gradients(planted(WRONG["a thousandth"][0]), *args).ok


def test_integers_and_keys_are_left_out():
    report = compare_gradients(ops.softmax_cross_entropy, jnp.ones(4), jnp.asarray(2))
    assert {leaf.path for leaf in report.leaves} == {"logits"}
    report = compare_gradients(ops.dropout, jnp.ones(4), jax.random.key(0), rate=0.5)
    assert {leaf.path for leaf in report.leaves} == {"x"}


def test_numbers_and_numpy_arrays():
    assert compare_gradients(ops.sigmoid, 0.3).ok
    assert compare_gradients(ops.squared_error, np.ones(3, np.float32), np.zeros(3, np.float32)).ok


def test_the_cotangent_follows_its_key():
    """An error that one cotangent cannot see, another does: dy = 0 in the wrong place is improbable."""
    op = planted(WRONG["one element"][0])
    for seed in range(3):
        assert not compare_gradients(op, PARAMS, X, key=jax.random.key(seed)).ok


def test_layers():
    net = Sequential(Dense(5), ops.tanh, Dropout(0.5), Dense(2))
    params, state = net.init(jax.random.key(0), (6,))
    report = compare_gradients(net, params, state, X, jax.random.key(1), train=True)
    assert report.ok
    assert {leaf.path for leaf in report.leaves} == {
        "params/0/weight", "params/0/bias", "params/3/weight", "params/3/bias", "x"}


def test_a_batch():
    params = (PARAMS, (), weights(5, 3)(RNG, jnp.float32))
    op = over_examples(chain(ops.dense, ops.gelu, ops.dense))
    assert compare_gradients(op, params, array(7, 6)(RNG, jnp.float32)).worst.error < 16


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
    assert [(leaf.path, leaf.route) for leaf in report.leaves] == [("x", "lifted")]
    report = compare_gradients(wrong_cube, jnp.arange(1.0, 4.0), reference=lambda x: x**3)
    assert not report.ok
    assert report.worst.path == "x"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: compare_gradients(jnp.sin, 1.0),
     "compare_gradients expects an op, or reference= beside a plain function; got"),
    (lambda: compare_gradients(ops.flatten, jnp.arange(3)),
     "compare_gradients expects at least one floating-point argument; got none"),
])
def test_errors(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()
