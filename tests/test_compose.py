"""Networks of ops: the explicit walk through the caches, the lifted rule and autodiff agree; and an
error says where in the network it is."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import bind, chain, compare_gradients, hand_derived, ops, over_examples, parallel, residual
from jaxnn.stage import Stage, stage
from tests.compare import QUICKLY, assert_close, check_backward
from tests.random_arguments import NONE, Case, array, key, several, weights

KEY = jax.random.key(0)
quickly = functools.partial(jax.jit, compiler_options=QUICKLY)
dense, tanh, gelu, add, concatenate = ops.dense, ops.tanh, ops.gelu, ops.add, ops.concatenate
drop = bind(ops.dropout, rate=0.3)
mlp = chain(dense, tanh, dense)


@hand_derived
def counted(params, state, x):
    """y = x² p, and the state counts the calls and remembers x."""
    y = params["p"] * x * x
    return (y, {"calls": state["calls"] + 1, "x": jax.lax.stop_gradient(x)}), (params["p"], x)


@counted.defbackward
def counted_backward(cache, dy):
    p, x = cache
    dy, _ = dy
    return {"p": jnp.vdot(dy, x * x)}, None, 2 * p * x * dy


def pair(n_in, n_hidden, n_out):
    return several(weights(n_in, n_hidden), NONE, weights(n_hidden, n_out))


def state(rng, dtype):
    return {"calls": jnp.asarray(3), "x": jnp.zeros(4, dtype)}


def gain(rng, dtype):
    return {"p": jnp.asarray(1.3, dtype)}


NETWORKS = [
    Case("chain of one", chain(dense), (several(weights(4, 2)), array(4))),
    Case("chain", mlp, (pair(4, 3, 2), array(4))),
    Case("chain without parameters", chain(tanh, ops.softmax, gelu), (array(4),)),
    Case("chain in a chain", chain(chain(dense, tanh), chain(gelu, dense)),
         (several(several(weights(4, 3), NONE), several(NONE, weights(3, 2))), array(4))),
    Case("residual", residual(mlp), (several(pair(4, 3, 4), NONE), array(4))),
    Case("residual without parameters", residual(tanh), (array(4),)),
    Case("residual in a residual", residual(residual(chain(dense, tanh))),
         (several(several(several(weights(4, 4), NONE), NONE), NONE), array(4))),
    Case("residual with a shortcut", residual(chain(dense, tanh), dense),
         (several(several(weights(4, 3), NONE), weights(4, 3)), array(4))),
    Case("parallel, added", chain(parallel(dense, chain(dense, tanh), gelu), add),
         (several(several(weights(4, 4), several(weights(4, 4), NONE), NONE), NONE), array(4))),
    Case("parallel, concatenated", chain(parallel(dense, dense), concatenate, tanh),
         (several(several(weights(4, 2), weights(4, 3)), NONE, NONE), array(4))),
    Case("parallel, left apart", parallel(dense, tanh), (several(weights(4, 2), NONE), array(4))),
    Case("over a batch", over_examples(mlp), (pair(4, 3, 2), array(5, 4))),
    Case("over a batch of batches", over_examples(over_examples(mlp)), (pair(4, 3, 2), array(2, 3, 4))),
    Case("over a batch of one", over_examples(mlp), (pair(4, 3, 2), array(1, 4))),
    Case("over a batch, with a branch", over_examples(residual(chain(dense, tanh), dense)),
         (several(several(weights(4, 3), NONE), weights(4, 3)), array(5, 4))),
    Case("over a batch of pairs", over_examples(chain(add, tanh)), (several(array(5, 4), array(5, 4)),)),
    Case("dropout in a chain", chain(dense, drop, tanh, drop),
         (several(weights(4, 6), NONE, NONE, NONE), array(4), key)),
    Case("dropout in a residual over a batch", over_examples(residual(chain(dense, drop))),
         (several(several(weights(4, 4), NONE), NONE), array(5, 4), key)),
    Case("state in a chain", chain(dense, counted, tanh),
         (several(weights(4, 4), gain, NONE), several(NONE, state, NONE), array(4))),
    Case("static arguments", chain(bind(ops.elu, alpha=0.3), bind(ops.leaky_relu, slope=0.2)), (array(4),)),
]
BOTH = ("explicit", "lifted")
EACH = pytest.mark.parametrize("case", NETWORKS, ids=[case.name for case in NETWORKS])


@EACH
@pytest.mark.usefixtures("x64")
def test_explicit_lifted_reference_and_finite_differences(case):
    has_state = "state" in case.op.arguments
    check_backward(case.op, *case.example(0, jnp.float64), differentiable=lambda y: y[0] if has_state else y)


@pytest.mark.parametrize("name", ["chain", "residual with a shortcut", "over a batch", "dropout in a chain"])
def test_compared_as_one_op(name):
    case = next(case for case in NETWORKS if case.name == name)
    report = compare_gradients(case.op, *case.example(0), routes=BOTH, laws=False)
    assert report.ok
    assert {leaf.route for leaf in report.leaves} == set(BOTH)


# The chain rule, by hand.


@pytest.mark.usefixtures("x64")
def test_chain_multiplies_jacobians():
    params, x = NETWORKS[1].example(0, jnp.float64)

    @quickly
    def both_ways(params, x):
        w1, b1, w2 = params[0]["weight"], params[0]["bias"], params[2]["weight"]
        slope = 1 - jnp.tanh(w1 @ x + b1) ** 2
        return jax.jacrev(mlp, 1)(params, x), w2 @ (slope[:, None] * w1)

    assert_close(*both_ways(params, x))


@pytest.mark.usefixtures("x64")
def test_residual_adds_the_identity():
    make = several(several(weights(4, 4), NONE), NONE)
    params, x = make(np.random.default_rng(0), jnp.float64), jnp.ones(4)
    body = chain(dense, tanh)

    def value_and_jacobian(op, params):
        return quickly(lambda params, x: (op(params, x), jax.jacrev(op, 1)(params, x)))(params, x)

    y, jacobian = map(np.asarray, value_and_jacobian(body, params[0]))
    assert_close(value_and_jacobian(residual(body), params), (y + np.asarray(x), jacobian + np.eye(4)))


@pytest.mark.usefixtures("x64")
def test_parallel_sums_what_reaches_x():
    params, x = (weights(4, 2)(np.random.default_rng(0), jnp.float64), ()), jnp.ones(4)
    op = parallel(dense, tanh)
    _, cache = op.forward(params, x)
    d_dense, d_tanh = jnp.asarray([1.0, -2.0]), jnp.arange(4.0)
    _, dx = op.backward(cache, (d_dense, d_tanh))
    assert_close(dx, params[0]["weight"].T @ d_dense + d_tanh * (1 - jnp.tanh(x) ** 2))


@pytest.mark.usefixtures("x64")
def test_a_batch_is_the_sum_of_its_examples():
    params, x = NETWORKS[11].example(0, jnp.float64)
    dy = jnp.asarray(np.random.default_rng(1).standard_normal((5, 2)))

    def both_passes(op):
        @quickly
        def program(params, x, dy):
            y, cache = op.forward(params, x)
            return y, op.backward(cache, dy)

        return lambda *args: jax.device_get(program(*args))

    y, (dparams, dx) = both_passes(over_examples(mlp))(params, x, dy)
    of_one, total = both_passes(mlp), jax.tree.map(np.zeros_like, dparams)
    for b in range(5):
        y_b, (dparams_b, dx_b) = of_one(params, x[b], dy[b])
        assert_close((y[b], dx[b]), (y_b, dx_b))
        total = jax.tree.map(np.add, total, dparams_b)
    assert_close(dparams, total)


def test_state_passes_through_and_moves():
    case = next(c for c in NETWORKS if c.name == "state in a chain")
    params, states, x = case.example(0)
    y, new = case.op(params, states, x)
    assert (new[0], new[2]) == ((), ())
    assert new[1]["calls"] == 4
    assert_close(new[1]["x"], dense(params[0], x))
    assert_close(case.op.reference(params, states, x), (y, new))
    (y_forward, _), cache = case.op.forward(params, states, x)
    assert_close(y_forward, y)
    assert case.op.backward(cache, (jnp.ones_like(y), None))[1] is None  # the state has no gradient


# Keys.


def test_each_random_part_draws_for_itself():
    op = chain(drop, drop)
    x = jnp.ones(200)
    once, twice, reference = quickly(
        lambda x, key: (ops.dropout(x, key, rate=0.3), op(x, key), op.reference(x, key)))(x, KEY)
    assert np.mean(twice == 0) == pytest.approx(1 - 0.7**2, abs=0.12)
    assert not np.array_equal(once == 0, twice == 0)
    assert_close(twice, reference)


def test_each_example_draws_for_itself():
    y = np.asarray(quickly(over_examples(drop))(jnp.ones((3, 50)), KEY))
    assert len({tuple(row.tolist()) for row in y}) == 3


def test_forward_and_call_draw_alike():
    op = over_examples(chain(drop, tanh))
    forward, called = quickly(lambda x, key: (op.forward(x, key)[0], op(x, key)))(jnp.ones((3, 50)), KEY)
    assert_close(forward, called)


# Arguments and errors.


def test_an_op_takes_what_it_uses():
    assert chain(tanh, gelu).arguments == ("x",)
    assert mlp.arguments == ("params", "x")
    assert chain(dense, drop).arguments == ("params", "x", "key")
    assert chain(tanh, counted).arguments == ("params", "state", "x")
    assert over_examples(chain(drop)).arguments == ("x", "key")


def test_stages_compare_and_hash():
    assert stage(chain(dense, tanh)) == stage(chain(dense, tanh))
    assert hash(chain(dense, tanh)) == hash(chain(dense, tanh))
    assert chain(dense, tanh) != chain(dense, gelu)
    assert bind(ops.elu, alpha=0.1) == bind(ops.elu, alpha=0.1)
    assert bind(ops.elu, alpha=0.1) != bind(ops.elu, alpha=0.2)
    assert isinstance(stage(dense), Stage)


W = {"weight": jnp.ones((3, 4)), "bias": jnp.ones(3)}


@pytest.mark.parametrize(("call", "words"), [
    (lambda: chain(dense, tanh, dense)((W, (), W), jnp.ones(4)),
     "dense at '2' expects x of shape (4,); got (3,)"),
    (lambda: chain(tanh, chain(tanh, dense))(((), ((), W)), jnp.ones(5)),
     "dense at '1/1' expects x of shape (4,); got (5,)"),
    (lambda: chain(tanh, parallel(tanh, residual(chain(tanh, dense))))(
        ((), ((), (((), W), ()))), jnp.ones(5)), "dense at '1/1/0/1' expects x of shape (4,); got (5,)"),
    (lambda: residual(chain(dense))(((W,), ()), jnp.ones(4)),
     "residual expects its branches to agree in shape; got [(3,), (4,)]; give it a shortcut that changes the "
     "shape alike"),
    (lambda: chain(tanh, residual(dense))(((), (W, ())), jnp.ones(4)),
     "residual at '1' expects its branches"),
    (lambda: mlp((W, W), jnp.ones(4)),
     "chain(dense, tanh, dense) expects params to be a tuple of 3 entries, one for each part; got 2 entries"),
    (lambda: mlp(W, jnp.ones(4)),
     "expects params to be a tuple of 3 entries, one for each part; got keys ['weight', 'bias']"),
    (lambda: mlp(jnp.ones(3), jnp.ones(4)), "one for each part; got "),
    (lambda: over_examples(mlp)((W, (), W), jnp.ones(())),
     "over_examples(chain(dense, tanh, dense)) expects x with a leading axis of at least one example, alike "
     "in all leaves; got ()"),
    (lambda: over_examples(tanh)(jnp.ones((0, 3))), "at least one example, alike in all leaves; got (0, 3)"),
    (lambda: over_examples(chain(add))((jnp.ones((2, 3)), jnp.ones((3, 3)))), "got ((2, 3), (3, 3))"),
    (lambda: over_examples(dense)(W, jnp.ones((2, 5))), "dense expects x of shape (4,); got (5,)"),
    (lambda: chain(tanh, drop)(jnp.ones(3), None), "dropout at '1' expects a PRNG key; got None"),
])
def test_an_error_says_where(call, words):
    for run in (call, lambda: jax.jit(call)(), lambda: jax.eval_shape(call)):
        with pytest.raises(ValueError, match=re.escape(words)):
            run()


@pytest.mark.parametrize("face", ["forward", "reference", "__call__"])
def test_every_face_says_where(face):
    with pytest.raises(ValueError, match=re.escape("dense at '2' expects x of shape (4,); got (3,)")):
        getattr(mlp, face)((W, (), W), jnp.ones(4))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: chain(), "chain expects at least one op; got none"),
    (lambda: parallel(), "parallel expects at least one op; got none"),
    (lambda: chain(jnp.tanh), "expected an op; got"),
    (lambda: chain(ops.huber),
     "'huber' takes (predictions, targets); an op that composes takes x and, of params, state and key, what "
     "it needs"),
    (lambda: mlp(jnp.ones(4)), "takes (params, x); got 1 arguments"),
])
def test_what_does_not_compose(make, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        make()


# A wrong backward inside a network is found.


def wrong(factor):
    @hand_derived
    def planted(params, x):
        y, cache = ops.dense.forward(params, x)
        return y, cache

    @planted.defbackward
    def planted_backward(cache, dy):
        dparams, dx = ops.dense.backward(cache, dy)
        return {"weight": factor(dparams["weight"]), "bias": dparams["bias"]}, dx

    return planted


FACTORS = {
    "one per cent": lambda g: g * 1.01,
    "a tenth of a per cent": lambda g: g * 0.999,
    "one element": lambda g: g.at[1, 2].set(0),
    "a sign": lambda g: -g,
    "nothing": lambda g: 0 * g,
    "rows and columns changed": lambda g: g[::-1],
}
BUILDS = {
    "chain": lambda op: (chain(dense, tanh, op), lambda p: (p, (), p), "2"),
    "residual": lambda op: (chain(residual(op)), lambda p: ((p, ()),), "0/0"),
    "over a batch": lambda op: (over_examples(chain(tanh, op)), lambda p: ((), p), "1"),
}


@pytest.mark.parametrize(("build", "factor"), [
    *(("chain", factor) for factor in FACTORS),
    *((build, factor) for build in ("residual", "over a batch") for factor in ("one per cent", "one element"))])
def test_a_wrong_backward_is_found_and_named(build, factor):
    op, params_of, place = BUILDS[build](wrong(FACTORS[factor]))
    params = params_of(weights(4, 4)(np.random.default_rng(0), jnp.float32))
    x = array(5, 4)(np.random.default_rng(1), jnp.float32)
    report = compare_gradients(op, params, x if "over" in op.name else x[0], routes=BOTH, laws=False)
    assert not report.ok
    assert report.worst.path == f"params/{place}/weight"
    assert report.verdict.startswith(f"WRONG at params/{place}/weight")
    bad = {(leaf.path, leaf.route) for leaf in report.wrong}
    assert bad == {(f"params/{place}/weight", route) for route in ("lifted", "explicit")}


def test_deep_chains_stay_accurate():
    """Fifty layers, float32: the rounding of both routes stays far under what an error would be."""
    depth = 50
    op = chain(*[dense, tanh] * depth)
    rng = np.random.default_rng(0)
    params = tuple(p for _ in range(depth) for p in ({"weight": jnp.asarray(
        rng.standard_normal((8, 8)) / np.sqrt(8), jnp.float32), "bias": jnp.zeros(8)}, ()))
    x = jnp.ones(8)
    gradient = jax.jit(lambda f, p: jax.grad(lambda p: jnp.sum(f(p, x)))(p), static_argnums=0)
    got, want = gradient(op, params), gradient(functools.partial(op.reference), params)
    assert_close(got, want, threshold=128)
