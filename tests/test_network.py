"""The explicit passes of any function of ops, read off its trace: each kind of argument, transformation and control
flow, beside jax.vjp of the same function with references; what is recorded once; tables; refusals and their places."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    InputError,
    batch_norm,
    by_autodiff,
    dense,
    dropout,
    hand_derived,
    network,
    relu,
    sigmoid,
    softmax_cross_entropy,
    summary,
    tanh,
)
from jaxnn.explicit.program import Glue, OpStep
from jaxnn.linearity import equations
from tests.networks import EXAMPLES, array, tied_autoencoder, weights
from tests.test_networks import check

P = weights(4, 4)
X = array(4)
BATCH = array(3, 4)
KEY = jax.random.key(0)


# Arguments.


def test_pytrees_integers_keys_and_none():
    def f(params, x, n, key, nothing):
        assert nothing is None
        h = dropout(dense(params["layers"][0], x["a"]), key, rate=0.5)
        return {"h": h * n, "sum": (jnp.sum(h), x["count"] + 1)}

    check(f, {"layers": [P]}, {"a": X, "count": jnp.arange(3)}, 2, KEY, None)


def test_cotangents_of_what_has_none():
    net = network(lambda params, key, n, unread: dense(params, X) * n)
    y, cache = net.forward(P, KEY, 3, {"w": X, "count": 1})
    dparams, dkey, dn, dunread = net.backward(cache, jnp.ones_like(y))
    assert dkey is None and dn is None
    assert dunread["count"] is None and dunread["w"].tolist() == [0.0] * 4
    assert jax.tree.structure(dparams) == jax.tree.structure(P)


def test_a_weight_left_out():
    check(lambda params, x: dense(params, x), {"weight": P["weight"], "bias": None}, X)


def test_values_read_by_none_and_by_many():
    def f(params, x):
        h = tanh(dense(params, x))
        relu(h)  # read by none
        return h * h + sigmoid(h), h[:2]

    check(f, P, X)


def test_one_set_of_parameters_used_several_times():
    check(lambda params, x: dense(params, tanh(dense(params, tanh(dense(params, x))))) + params["bias"], P, X)


def test_static_keywords_reach_the_function():
    def f(params, x, *, activation, times=1):
        for _ in range(times):
            x = activation(dense(params, x))
        return x

    net = network(f)
    y, cache = net.forward(P, X, activation=tanh, times=2)
    np.testing.assert_allclose(y, net(P, X, activation=tanh, times=2), rtol=1e-6)
    np.testing.assert_allclose(net.reference(P, X, activation=tanh, times=2), y, rtol=1e-6)
    assert net.backward(cache, y)[1].shape == (4,)


def test_parts_with_a_state():
    state = {"mean": jnp.zeros(4), "variance": jnp.ones(4)}
    norm = {"scale": array(4), "bias": array(4)}

    def f(norm, state, x):
        return jax.vmap(lambda x: batch_norm(norm, state, dense(P, x)), out_axes=(0, None), axis_name="examples")(x)

    net = network(f)
    (y, moved), cache = net.forward(norm, state, BATCH)
    assert moved["mean"].shape == (4,)
    dnorm, dstate, dx = net.backward(cache, (y, None))
    want = jax.vjp(lambda norm, x: net.reference(norm, state, x)[0], norm, BATCH)[1](y)
    for got, wanted in zip(jax.tree.leaves((dnorm, dx)), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(dstate))


# Transformations inside of the function.


@pytest.mark.parametrize(("in_axes", "out_axes", "x"), [
    ((None, 0), 0, (3, 4)), ((None, 1), 1, (4, 3)), ((None, -1), 0, (4, 3))], ids=str)
def test_vmap_along_any_axis(in_axes, out_axes, x):
    check(lambda params, x: jax.vmap(lambda p, x: tanh(dense(p, x)), in_axes, out_axes)(params, x), P, array(*x))


def test_nested_vmaps_with_weights_shared_by_one_or_both():
    each = {"weight": array(2, 4, 4), "bias": array(2, 4)}

    def f(shared, each, x):
        def expert(own, x):
            return jax.vmap(lambda x: dense(own, tanh(dense(shared, x))))(x)

        return jax.vmap(expert, (0, None))(each, x)

    check(f, P, each, BATCH)


def test_vmap_over_named_axes_and_a_mean_over_them():
    def f(params, x):
        def one(x):
            h = dense(params, x)
            return h - jax.lax.pmean(tanh(h), "rows")

        return jax.vmap(one, axis_name="rows")(x)

    check(f, P, BATCH)


def test_an_op_that_takes_a_mean_over_the_examples_for_its_value():
    @hand_derived
    def mean_square(x):
        return jax.lax.pmean(jnp.sum(x * x), "rows"), x

    @mean_square.defbackward
    def mean_square_backward(x, dy):
        # y is one for all: each example is given its share of dy, and sends back the mean of them.
        return (2 * x * jax.lax.pmean(dy, "rows"),)

    def f(x):
        return jax.vmap(mean_square, axis_name="rows", out_axes=None)(x)

    net = network(f)
    y, cache = net.forward(BATCH)
    assert y.shape == ()
    np.testing.assert_allclose(net.backward(cache, 1.0)[0], 2 * BATCH / 3, rtol=1e-6)


def test_jit_inside_and_outside():
    inner = jax.jit(lambda params, x: tanh(dense(params, x)))
    f = lambda params, x: inner(params, inner(params, x))  # noqa: E731
    inner(P, X)  # compiled before: the recording must not find that program
    check(f, P, X)
    assert [step.call.op.name for step in network(f).recorded((P, X), {})[0].program.steps] == ["dense", "tanh"] * 2


def test_under_vmap_jit_and_scan_from_outside():
    net = network(lambda params, x: tanh(dense(params, x)))

    def one(x):
        y, cache = net.forward(P, x)
        return net.backward(cache, y)[1]

    want = jax.vmap(lambda x: jax.vjp(lambda x: tanh(dense(P, x)), x)[1](tanh(dense(P, x)))[0])(BATCH)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(BATCH), want, rtol=1e-5)
    np.testing.assert_allclose(jax.lax.scan(lambda _, x: (None, one(x)), None, BATCH)[1], want, rtol=1e-5)


def test_checkpoint_keeps_its_arguments_and_runs_again():
    f = jax.checkpoint(lambda params, x: tanh(dense(params, tanh(dense(params, x)))))
    check(f, P, X)
    _, cache = network(f).forward(P, X)
    assert sum(leaf.size for leaf in jax.tree.leaves(cache)) == sum(leaf.size for leaf in jax.tree.leaves((P, X)))
    rows = cache.rows
    assert [row.step for row in rows] == ["checkpoint", "dense", "tanh", "dense", "tanh"]
    assert sum(row.cache_bytes for row in rows) == 0


def test_a_checkpoint_runs_again_whole_whatever_its_policy():
    f = jax.checkpoint(lambda params, x: tanh(dense(params, x)), policy=jax.checkpoint_policies.dots_saveable)
    check(f, P, X)
    _, cache = network(f).forward(P, X)
    assert [(row.place, row.step) for row in cache.rows] == [
        ("", "checkpoint; its policy is not kept"), ("checkpoint", "dense"), ("checkpoint", "tanh")]
    assert sum(row.cache_bytes for row in cache.rows) == 0


def test_custom_rules_that_are_no_ops():
    @jax.custom_jvp
    def triple(x):
        return 3 * x

    triple.defjvp(lambda primals, tangents: (3 * primals[0], 5 * tangents[0]))  # 5: the rule counts, not the function

    @jax.custom_vjp
    def half(x):
        return x / 2

    half.defvjp(lambda x: (x / 2, None), lambda _, dy: (dy * 7,))
    net = network(lambda x: half(triple(sigmoid(x))))
    y, cache = net.forward(0.0)
    assert float(net.backward(cache, 1.0)[0]) == pytest.approx(0.25 * 5 * 7)
    assert float(y) == 0.75
    check(lambda x: jax.nn.relu(tanh(x)) + jax.nn.softplus(x), X)


def test_a_gradient_taken_inside():
    """A penalty on the slope: the ops inside of jax.grad go by their lifted rules."""
    def f(params, x):
        slope = jax.grad(lambda x: jnp.sum(tanh(dense(params, x))))(x)
        return jnp.sum(slope**2)

    net = network(f)
    _, cache = net.forward(P, X)
    wanted = jax.tree.leaves(jax.grad(f, (0, 1))(P, X))
    for got, want in zip(jax.tree.leaves(net.backward(cache, 1.0)), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_network_inside_a_network():
    inner = network(lambda params, x: tanh(dense(params, x)))
    check(lambda params, x: inner(params, inner(params, x)), P, X)


# Control flow.


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_with_explicit_caches(reverse):
    def f(params, x, h):
        def step(carry, x_t):
            h, count = carry
            h = tanh(dense(params, h)) + x_t * count
            return (h, count + 1), (h, count)

        return jax.lax.scan(step, (h, 0), x, reverse=reverse)

    check(f, P, BATCH, X)


def test_a_scan_is_unrolled_as_it_was():
    f = lambda params, x: jax.lax.scan(lambda h, _: (tanh(dense(params, h)), None), x, None, length=4, unroll=2)[0]  # noqa: E731
    check(f, P, X)
    net = network(f)
    y, cache = net.forward(P, X)
    for jaxpr in (jax.make_jaxpr(net.forward)(P, X), jax.make_jaxpr(net.backward)(cache, y)):
        assert [eqn.params["unroll"] for eqn in equations(jaxpr.jaxpr) if eqn.primitive.name == "scan"] == [2]


def test_scan_without_slices_and_with_a_value_that_is_not_read():
    def f(params, x):
        return jax.lax.scan(lambda h, _: (tanh(dense(params, h)), h), x, None, length=4)[0]

    check(f, P, X)


def test_a_scan_keeps_a_weight_once():
    def f(params, x):
        return jax.lax.scan(lambda h, _: (tanh(dense(params, h)), None), x, None, length=50)[0]

    _, cache = network(f).forward(P, X)
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(cache))
    assert sizes == [16, 200, 200]  # the weight; the inputs of dense and the values of tanh at 50 steps


def test_scans_in_scans_under_vmap():
    def f(params, x):
        def outer(h, x_t):
            inner = lambda h, _: (tanh(dense(params, h)), jnp.sum(h))  # noqa: E731
            h, ys = jax.lax.scan(inner, h + x_t, None, length=2)
            return h, ys

        return jax.vmap(lambda x: jax.lax.scan(outer, jnp.zeros(4), x))(x)

    check(f, P, array(2, 3, 4))


def test_a_scan_that_does_not_concern_ops_is_glue():
    f = lambda params, x: dense(params, jax.lax.scan(lambda c, x_t: (c + x_t, c * x_t), 0.0, x)[1])  # noqa: E731
    check(f, P, X)
    (glue, _) = network(f).recorded((P, X), {})[0].program.steps
    assert isinstance(glue, Glue) and glue.nonlinear == ("scan",)


def test_cond_and_switch():
    def f(params, x):
        y = jax.lax.cond(x[0] > 0, lambda: tanh(dense(params, x)), lambda: 2 * x)
        return jax.lax.switch(jnp.argmax(x) % 2, [lambda y: relu(y), lambda y: sigmoid(y)], y)

    check(f, P, X)
    check(f, P, -X)


def test_loops_with_a_known_number_of_steps():
    check(lambda params, x: jax.lax.fori_loop(0, 3, lambda i, x: tanh(dense(params, x)) + i, x), P, X)


def test_a_while_loop_that_no_gradient_passes():
    def f(params, x):
        n = jax.lax.while_loop(lambda n: n < 5, lambda n: n + 1, 0)
        return dense(params, x) * n

    check(f, P, X)


def test_a_while_loop_that_a_gradient_passes_is_refused_with_its_line():
    def f(params, x):
        return jax.lax.while_loop(lambda x: jnp.sum(x) < 0, lambda x: x + dense(params, x), x)

    net = network(f)
    y, cache = net.forward(P, X)
    with pytest.raises(InputError, match=r"while_loop at 'f:\d+' has no reverse mode.*use jax.lax.scan"):
        net.backward(cache, y)


# One matrix product; recorded once; caches.


def test_a_shared_weight_under_vmap_is_one_matrix_product():
    net = network(lambda params, x: jax.vmap(jax.vmap(lambda x: dense(params, x)))(x))
    x = array(5, 6, 4)
    y, cache = net.forward(P, x)
    jaxpr = jax.make_jaxpr(net.backward)(cache, y).jaxpr
    products = [eqn for eqn in equations(jaxpr) if eqn.primitive.name == "dot_general"]
    assert sorted(math.prod(eqn.outvars[0].aval.shape) for eqn in products) == [16, 120]  # dW (4, 4), dx (5, 6, 4)
    assert all(var.aval.size <= 120 for eqn in equations(jaxpr) for var in eqn.outvars)
    want = jnp.einsum("abo,abi->oi", y, x)
    np.testing.assert_allclose(net.backward(cache, y)[0]["weight"], want, rtol=1e-5)


def test_an_op_with_reverse_mode_only():
    @hand_derived(reverse_only=True)
    def scaled(weight, x):
        return weight * x, (weight, x)

    scaled.defbackward(lambda cache, dy: (jnp.sum(dy * cache[1]), dy * cache[0]))
    check(lambda w, x: jax.vmap(lambda x: scaled(w, x))(x), jnp.asarray(2.0), BATCH)


def test_a_backward_that_is_not_linear_is_refused_in_a_batch_too():
    @hand_derived
    def wrong(weight, x):
        return weight * x, (weight, x)

    wrong.defbackward(lambda cache, dy: (jnp.sum(dy * cache[1]) + 1, dy * cache[0]))
    net = network(lambda w, x: jax.vmap(lambda x: wrong(w, x))(x))
    y, cache = net.forward(2.0, BATCH)
    with pytest.raises(TypeError, match="'wrong' is not linear in dy: in the cotangent of 'weight' it adds"):
        net.backward(cache, y)


def test_recorded_once_for_the_same_shapes():
    calls = []

    @network
    def f(params, x):
        calls.append(x.shape)
        return tanh(dense(params, x))

    for _ in range(3):
        y, cache = f.forward(P, X)
        f.backward(cache, y)
    assert calls == [(4,)]
    with jax.enable_x64(True):
        f.forward(jax.tree.map(lambda a: a.astype(jnp.float64), P), X.astype(jnp.float64))
    jax.vmap(lambda x: f.forward(P, x)[0])(BATCH)
    assert calls == [(4,)] * 2


def test_a_function_that_closes_over_a_traced_value_is_recorded_anew():
    def outer(scale, x):
        net = network(lambda x: scale * tanh(x))
        y, cache = net.forward(x)
        return net.backward(cache, jnp.ones_like(y))[0]

    got = jax.jit(outer)(3.0, X)
    np.testing.assert_allclose(got, 3 * (1 - jnp.tanh(X) ** 2), rtol=1e-5)
    kept = []

    def keeping(scale, x):
        kept.append(network(lambda x: scale * tanh(x)))
        return kept[0].forward(x)[0]

    jax.jit(keeping)(3.0, X)
    assert not kept[0]._recordings


def test_the_cache_crosses_a_jit_without_tracing_again():
    traces = []
    net = network(lambda params, x: relu(dense(params, x)))

    @jax.jit
    def backward(cache, dy):
        traces.append(1)
        return net.backward(cache, dy)

    for x in (X, 2 * X):
        y, cache = net.forward(P, x)
        want = net.backward(cache, y)
        for a, b in zip(jax.tree.leaves(backward(cache, y)), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    assert traces == [1]


def test_the_cache_prints_as_a_table():
    @network
    def net(params, x):
        with jax.named_scope("first"):
            h = tanh(dense(params, x))
        return relu(h + x)

    text = str(net.forward(P, X)[1])
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert lines[0] == ["net"]
    assert lines[1] == ["place", "step", "backward", "output shape", "parameters", "bytes of cache"]
    assert lines[3] == ["first", "dense", "by hand", "(4,)", "20", "0"]  # what it keeps are the arguments
    assert lines[4] == ["first", "tanh", "by hand", "(4,)", "16"]
    assert lines[5][1:] == ["add", "autodiff", "(4,)", "0"] and re.fullmatch(r"net:\d+", lines[5][0])
    assert lines[6][1:] == ["relu", "by hand", "(4,)", "4"]
    assert lines[8] == ["total", "20", "20"]


def test_places_under_vmap_and_in_an_inner_jit_that_is_used_twice():
    @jax.jit
    def block(params, x):
        with jax.named_scope("inner"):
            return tanh(dense(params, x))

    def f(params, x):
        with jax.named_scope("a"):
            x = jax.vmap(functools.partial(block, params))(x)
        with jax.named_scope("b"):
            return block(params, x[0])

    rows = summary(f, P, BATCH).rows
    assert [row.place for row in rows if row.step == "dense"] == ["a/inner", "b/inner"]


# What is by hand and what is not.


def test_glue_is_listed_and_what_is_not_linear_in_it_is_named():
    def f(params, x):
        h = dense(params, x).reshape(2, 2)
        return jnp.exp(h) * jax.nn.softplus(h) + 1, jnp.concatenate([h, h]) * 3 - 1

    table = summary(f, P, X)
    assert (table.rows[0].step, table.rows[0].backward) == ("dense", "by hand")
    assert f"exp at {table.rows[1].place}" in table.nonlinear
    assert not {"reshape", "add", "sub", "concatenate"} & set(table.rows[1].nonlinear)
    assert "not linear: exp" in str(table)
    assert summary(lambda x: 2 * relu(x)[::-1] + 1, X).nonlinear == ()


def test_by_autodiff_is_marked():
    foreign = by_autodiff(lambda params, x: jnp.sin(x @ params["weight"].T))
    f = lambda params, x: relu(foreign(params, dense(params, x)))  # noqa: E731
    check(f, P, X)
    check(lambda params, x: jax.vmap(functools.partial(f, params))(x), P, BATCH)
    assert [(row.step, row.backward) for row in summary(f, P, X).rows] == [
        ("dense", "by hand"), ("<lambda>", "autodiff"), ("relu", "by hand")]
    assert [row.parameters for row in summary(f, P, X).rows] == [20, 0, 0]  # read twice, counted once


def test_by_autodiff_with_integers_and_static_keywords():
    power = by_autodiff(lambda x, n, *, scale: scale * x**n)
    y, cache = power.forward(2.0, 3, scale=5.0)
    assert (float(y), [None if d is None else float(d) for d in power.backward(cache, 1.0)]) == (40.0, [60.0, None])
    check(lambda x: power(x, 3, scale=2.0), X)


# Refusals.


@pytest.mark.parametrize(("f", "args", "words"), [
    (lambda x: None, (1.0,), "expects a function whose value is an array or a tree of arrays; got NoneType; look at"),
    (lambda x: "y", (1.0,), "expects a function whose value is an array or a tree of arrays; got str"),
    (lambda x: x if x > 0 else -x, (1.0,),
     r"branches in Python on a value that is known at run time only, at <lambda>:\d+; use jnp.where or jax.lax.cond"),
    (lambda p: p.pop("a"), ({"a": 1.0, "b": 2.0},), "changes its argument 'p'; return new values"),
    (lambda p: p.append(1.0) or p[0], ([1.0],), "changes its argument 'p'; return new values"),
    (lambda p, x: dense(p, x), (P, jnp.ones((2, 4))),
     r"dense at '<lambda>:\d+' expects x of shape \(4,\); got \(2, 4\)"),
    (lambda p, x: dense(p, x), (P,), "missing a required argument: 'x'"),
], ids=["nothing", "text", "branch", "dict", "list", "shape", "missing"])
def test_bad_functions(f, args, words):
    with pytest.raises(InputError, match=words):
        network(f).forward(*args)


def test_a_label_that_is_out_of_range_is_refused_where_it_is_known():
    net = network(lambda z, label: softmax_cross_entropy(2 * z, label))
    with pytest.raises(InputError, match=r"softmax_cross_entropy at '<lambda>:\d+' expects labels in 0 [.][.] 3"):
        net.forward(X, 7)


def test_a_batch_norm_outside_of_a_batch():
    norm, state = {"scale": X, "bias": X}, {"mean": X, "variance": X * X}
    words = r"batch_norm at '<lambda>:\d+' expects a batch to average over.*axis_name='examples'"
    with pytest.raises(InputError, match=words):
        network(lambda norm, state, x: batch_norm(norm, state, x)[0]).forward(norm, state, X)


@pytest.mark.parametrize(("dy", "words"), [
    (jnp.ones(3), r"expects dy of the shape of y, \(4,\); got \(3,\)"),
    ((jnp.ones(4), jnp.ones(4)), r"expects dy with the structure of y, PyTreeDef\(\*\); got PyTreeDef\(\(\*, \*\)\)"),
    ("ones", "expects an array as dy; got str"),
])
def test_a_cotangent_of_another_structure(dy, words):
    net = network(lambda params, x: dense(params, x))
    _, cache = net.forward(P, X)
    with pytest.raises(InputError, match=f"<lambda> {words}"):
        net.backward(cache, dy)


def test_an_op_called_with_a_cotangent_of_another_shape():
    _, cache = dense.forward(P, X)
    words = (r"backward of 'dense' raised ValueError at line \d+ of .*; it expects the op's cache, and a dy of the "
             r"structure and the shapes of its value; got dy of \(7,\)")
    with pytest.raises(InputError, match=words):
        dense.backward(cache, jnp.ones(7))


def test_what_is_no_cache_and_no_function():
    with pytest.raises(InputError, match="expects the cache that its forward pass made; got tuple"):
        network(lambda x: relu(x)).backward((), X)
    with pytest.raises(TypeError, match="network expects a function of ops; got int"):
        network(3)


def test_one_per_cent_would_be_seen():
    @hand_derived
    def square(x):
        return x * x, x

    square.defbackward(lambda x, dy: (2.02 * x * dy,))
    with pytest.raises(AssertionError):
        check(lambda x: jnp.sum(square(x)), X)


def test_steps_of_a_program():
    program = network(lambda params, x: relu(dense(params, x) + x)).recorded((P, X), {})[0].program
    assert [type(step) for step in program.steps] == [OpStep, Glue, OpStep]
    assert [step.names for step in program.steps if isinstance(step, Glue)] == [("add",)]


def test_a_weight_that_is_read_twice_counts_once():
    def f(params, x):
        h = tanh(dense(params, x))
        return jax.lax.scan(lambda h, _: (tanh(dense(params, h)), None), h, None, length=3)[0]

    assert summary(f, P, X).parameters == 20


def test_parameters_in_the_branches_of_a_cond_count():
    mixture, (params, x) = next(e for e in EXAMPLES if e.function.__name__ == "mixture_of_experts")
    assert [row.parameters for row in summary(mixture, params, x).rows] == [10, 30]

    def f(params, x):
        x = dense(params, x)
        loop = lambda x: jax.lax.scan(lambda x, _: (dense(params, x), None), x, None, length=2)[0]  # noqa: E731
        return jax.lax.cond(x[0] > 0, lambda: dense({"weight": params["weight"].T}, x), lambda: loop(x))

    assert summary(f, P, X).parameters == 20  # read before the cond; the transposed weight is the same numbers


def test_a_tied_weight_counts_once():
    assert summary(tied_autoencoder, array(3, 5), array(5)).parameters == 15


def test_the_reference_refuses_what_an_op_refuses_for_its_values():
    net = network(lambda z, label: softmax_cross_entropy(2 * z, label))
    with pytest.raises(InputError, match=r"expects labels in 0 .. 3"):
        net.reference(X, 7)
