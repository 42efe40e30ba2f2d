"""Bad input ends in a message that says which side did what, and what can be compared is compared."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import InputError, compare_gradients, hand_derived, ops
from tests.cases import array, weights

X = jnp.arange(1.0, 4.0)


def refused(words, f, *args, **options):
    with pytest.raises(InputError, match=re.escape(words)):
        compare_gradients(f, *args, **options)


def test_another_structure():
    report = compare_gradients(lambda x: (x * x, x), X, reference=lambda x: (x * x, x, x))
    assert report.failures == ("the reference returns the value's '2', float32[3], which f does not",)
    assert not report.ok
    assert report.leaves and all(leaf.ok for leaf in report.leaves)
    report = compare_gradients(lambda x: {"a": x * x, "b": x}, X, laws=False,
                               reference=lambda x: {"a": x * x})
    assert report.failures == ("f returns the value's 'b', float32[3], which the reference does not",)
    assert report.verdict == "WRONG: f returns the value's 'b', float32[3], which the reference does not"


def test_another_shape():
    report = compare_gradients(lambda x: (x * x, x[:2]), X, reference=lambda x: (x * x, x))
    assert report.failures == ("the value's '1' is float32[2] by f and float32[3] by the reference",)
    assert all(leaf.ok for leaf in report.leaves)
    refused("expects f and its reference to have a value in common; the value is float32[2] by f and "
            "float32[3] by "
            "the reference", lambda x: x[:2], X, reference=lambda x: x)


def test_another_dtype():
    report = compare_gradients(lambda x: (x * x).astype(jnp.bfloat16), X, laws=False,
                               reference=lambda x: x * x)
    assert report.failures == ("the value is bfloat16[3] by f and float32[3] by the reference",)
    assert {leaf.route for leaf in report.leaves} >= {"lifted"}


def test_nothing_to_differentiate():
    refused("expects at least one floating-point argument; got int32[3], int; pass floats where a "
            "gradient is due",
            lambda n, k: n * k, jnp.arange(3), 3, reference=lambda n, k: n * k)
    refused("expects a function with a floating-point value; the reference returns int32[]: there is "
            "nothing to "
            "differentiate", jnp.argmax, X, reference=jnp.argmax)
    refused("expects f and its reference to have a value in common; the reference returns the value, "
            "float32[3], "
            "which f does not", lambda x: None, X, reference=lambda x: x)


def test_sides_that_cannot_be_called():
    def raises(x):
        raise RuntimeError("no\nand more")

    refused("expects a reference that can be called with these arguments; it raised RuntimeError: no",
            ops.tanh, X, reference=raises)
    refused("expects an f that can be called with these arguments; it raised RuntimeError: no", raises, X,
            reference=jnp.tanh)
    refused("it raised TypeError", ops.tanh, X, X, reference=jnp.tanh)


def test_arguments_that_alias():
    report = compare_gradients(lambda a, b: a * jnp.sin(b), X, X, reference=lambda a, b: a * jnp.sin(b))
    assert report.ok
    assert report.notes == ("a and b are one array: each is moved by itself",)


def rule(backward):
    f = jax.custom_vjp(lambda x: x * x)
    f.defvjp(lambda x: (x * x, x), backward)
    return f


def test_a_backward_that_raises():
    def backward(x, dy):
        raise KeyError("weight")

    report = compare_gradients(rule(backward), X, reference=lambda x: x * x)
    assert report.failures == ("explicit backward: f raised KeyError: 'weight'",
                               "lifted backward: f raised KeyError: 'weight'")
    assert not report.ok
    assert report.verdict.startswith("WRONG: explicit backward: f raised KeyError")
    assert "KeyError" in str(report)


def test_an_explicit_backward_that_raises_leaves_nothing_else_out():
    @hand_derived
    def op(x):
        return x * x, x

    op.defbackward(lambda x, dy: (2 * x * dy, dy))
    report = compare_gradients(op, X)
    assert report.failures[0] == ("explicit backward: f raised TypeError: backward returned 2 cotangents; "
                                  "expected a "
                                  "tuple of 1, one for each of (x)")
    assert report.failures[1].startswith("lifted backward: f raised TypeError: backward of 'op' returned "
                                         "2 cotangents")


def test_a_leaf_of_the_wrong_structure():
    @hand_derived
    def op(params, x):
        return ops.dense.forward(params, x)

    op.defbackward(lambda cache, dy: ({"weight": jnp.outer(dy, cache[1])}, cache[0].T @ dy))
    report = compare_gradients(op, weights(3, 2)(np.random.default_rng(0), jnp.float32), X)
    assert any("for 'params'; the argument has" in failure for failure in report.failures)


def test_a_backward_that_prints(capsys):
    def backward(x, dy):
        print("here\nand there")
        return (2 * x * dy,)

    report = compare_gradients(rule(backward), X, reference=lambda x: x * x)
    assert report.ok
    assert "f printed 'here' ..." in report.notes
    assert capsys.readouterr().out == ""

    def plain(x):
        print("plain")
        return x * x

    assert "the reference printed 'plain'" in compare_gradients(rule(backward), X, reference=plain).notes


def test_a_backward_that_returns_nan():
    report = compare_gradients(rule(lambda x, dy: (2 * x * dy / 0 * 0,)), X, reference=lambda x: x * x)
    assert not report.ok
    assert report.findings[0].kind == "not finite"
    assert report.findings[0].words.startswith("NaN at 3 of 3 elements, first at [0], where the reference "
                                               "is ")


def test_a_report_without_leaves_prints():
    def backward(x, dy):
        raise KeyError("weight")

    report = compare_gradients(rule(backward), X, reference=lambda x: x * x, routes="lifted")
    assert report.leaves == ()
    assert "f raised KeyError" in str(report)
    assert report.to_markdown() and report.to_json()
    report.plot().canvas.draw()


def test_static_positional_arguments_stay_what_they_are():
    """custom_vjp's nondiff_argnums must be hashable: integers and functions are passed as they are."""
    @jax.custom_vjp
    def plain(x):
        return x

    def apply(f, x, n):
        return f(x) ** n

    powered = jax.custom_vjp(apply, nondiff_argnums=(0, 2))
    powered.defvjp(lambda f, x, n: (f(x) ** n, x), lambda f, n, x, dy: (n * f(x) ** (n - 1) * jax.grad(
        lambda x: f(x).sum())(x) * dy,))
    report = compare_gradients(powered, jnp.sin, X, 3, reference=apply)
    assert report.ok, str(report)
    del plain


def test_a_large_leaf_is_drawn_and_compared():
    report = compare_gradients(ops.relu, array(300, 300)(np.random.default_rng(0), jnp.float32),
                               routes=("explicit", "lifted"), laws=False)
    assert report.ok
