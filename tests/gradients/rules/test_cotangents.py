"""A rule is compared at the cotangents that f's own backward pass sends to it; declared rules; steps of scans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn import compare_gradients, network, ops
from jaxnn.checks import InputError
from jaxnn.gradients.rules.walk import uses_of_rules
from tests.gradients.routes.test_routes import rule

X = jnp.asarray(np.random.default_rng(0).standard_normal(5), jnp.float32)
W = jnp.asarray(np.random.default_rng(1).standard_normal((5, 5)), jnp.float32)

sine = rule(jnp.sin, lambda a, dy: (jnp.cos(*a) * dy,))


def cotangents(f, *args, **options):
    uses, why = uses_of_rules(f, args, {}, **options)
    assert why == ""
    return [None if use.cotangents is None else np.asarray(use.cotangents[0]) for use in uses if use.is_reached]


def sent(tail, x):
    """What the backward pass of tail(sin(x)) sends to sin."""
    return jax.grad(lambda y: tail(y))(jnp.sin(x))


def tail(y):
    return jnp.sum((W @ y) ** 2)


@pytest.mark.parametrize("around", [
    lambda f: f, jax.jit, jax.checkpoint,
    lambda f: lambda x: lax.cond(x[0] < 100, f, lambda x: x, x)], ids=["plain", "jit", "checkpoint", "cond"])
def test_of_one_rule(around):
    (found,) = cotangents(lambda x: tail(around(sine)(x)), X)
    np.testing.assert_allclose(found, sent(tail, X), rtol=1e-5)


def test_under_vmap_and_of_an_op():
    batch = jnp.stack([X, 2 * X])
    (found,) = cotangents(lambda xs: jnp.sum(jax.vmap(lambda x: tail(sine(x)))(xs)), batch)
    np.testing.assert_allclose(found, jax.vmap(lambda x: sent(tail, x))(batch), rtol=1e-5)
    (found,) = cotangents(network(lambda x: tail(ops.tanh(x))), X)
    np.testing.assert_allclose(found, jax.grad(tail)(jnp.tanh(X)), rtol=1e-5)


def scanned(function, reverse=False):
    def f(x):
        last, ys = lax.scan(lambda h, w: (function(w * h), h), x, jnp.arange(1.0, 6.0) / 3, reverse=reverse)
        return tail(last) + jnp.sum(ys ** 3)
    return f


@pytest.mark.parametrize(("steps", "numbers"), [(None, [0, 2, 4]), ([1, -1], [1, 4]), ([99], [4])])
@pytest.mark.parametrize("reverse", [False, True])
def test_at_the_steps_of_a_scan(steps, numbers, reverse):
    def perturbed(es, x):
        last, ys = lax.scan(lambda h, a: (jnp.sin(a[0] * h) + a[1], h), x, (jnp.arange(1.0, 6.0) / 3, es),
                            reverse=reverse)
        return tail(last) + jnp.sum(ys ** 3)

    each = jax.grad(perturbed)(jnp.zeros((5, 5)), X)
    each = each[::-1] if reverse else each
    found = cotangents(scanned(sine, reverse), X, steps=steps)
    np.testing.assert_allclose(found, each[jnp.asarray(numbers)], rtol=1e-4)


def test_a_rule_that_is_wrong_at_those_alone_is_found():
    """It is right for all cotangents whose sum is not zero; the softmax after it sends others."""
    f = rule(jnp.sin, lambda a, dy: (jnp.cos(*a) * jnp.where(jnp.abs(jnp.sum(dy)) < 1e-5, 2 * dy, dy),))
    report = compare_gradients(lambda x: jax.nn.log_softmax(f(x))[0], X, by="rule")
    assert not report.ok
    assert [r.name for r in report.wrong] == ["sin"]


def test_what_the_report_says_of_cotangents_and_steps():
    inner = rule(lambda x: sine(x) * 2, lambda a, dy: (2 * jnp.cos(*a) * dy,))
    report = compare_gradients(lambda x: scanned(sine)(x) + jnp.sum(inner(x)), X, by="rule")
    assert report.ok
    first, plain, loop = report.notes
    assert first.startswith("each rule was compared at the cotangents that f's own backward pass sends to it")
    assert plain == "at random ones alone, in the plain function of another rule: sin"
    assert loop.startswith("of a loop of 5 steps those compared are 1, 3, 5; steps=[...]")
    assert all(note in str(report) and note in report.to_markdown() for note in report.notes)
    no_backward = jax.custom_vjp(jnp.sin)
    no_backward.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: 1 / 0)
    report = compare_gradients(lambda x: jnp.sum(no_backward(sine(x))), X, by="rule")
    assert not report.ok
    assert "ZeroDivisionError" in report.notes[0]


def straight_through(differs=True):
    def fake_quantised(x):
        return jnp.round(x)

    return rule(fake_quantised, lambda a, dy: (dy if differs else 0 * dy,))


def test_a_rule_that_is_declared_to_differ():
    def f(x):
        return jnp.sum(straight_through()(3 * sine(x)) ** 2)

    report = compare_gradients(f, X, by="rule")
    (wrong,) = report.wrong
    declared = compare_gradients(f, X, by="rule", intended=[wrong.name])
    assert declared.ok
    assert [rule.verdict for rule in declared.declared] == ["differs as declared"]
    assert not any(rule.is_right for rule in declared.declared)
    assert declared.verdict == (
        "as declared: fake_quantised differs from the plain function; the others, 1 of 2 rules inside, are right")
    right = compare_gradients(lambda x: jnp.sum(straight_through(False)(x) * x), X, by="rule",
                              intended="fake_quantised")
    assert right.ok
    assert right.rules[0].verdict == "declared to differ, and does not: it has its plain function's gradient"


def test_bad_declarations():
    with pytest.raises(InputError, match="expects intended to name rules inside of the function, 'sin'; got 'cos'"):
        compare_gradients(lambda x: jnp.sum(sine(x)), X, by="rule", intended=["cos"])
    with pytest.raises(InputError, match="intended and steps beside by='rule' alone"):
        compare_gradients(sine, X, reference=jnp.sin, intended=["sin"])
    with pytest.raises(InputError, match="steps, numbers of the steps of scans"):
        compare_gradients(lambda x: jnp.sum(sine(x)), X, by="rule", steps=[0.5])
