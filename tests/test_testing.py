"""`assert_gradients_match`: what its message shows, in which order, and what it leaves out."""

import re
import warnings

import jax
import jax.numpy as jnp
import pytest

from jaxnn import ops
from jaxnn.checks import InputError
from jaxnn.gradients import Finding, GradientReport, Kind, Law, Leaf, Remark
from jaxnn.testing import assert_gradients_match, failure_message

X = jnp.linspace(-1.0, 2.0, 4)
QUICK: dict = {"laws": False, "routes": "lifted"}


def plain(scale, x):
    return scale * x * x


def made(backward):
    f = jax.custom_vjp(plain)
    f.defvjp(lambda scale, x: (plain(scale, x), (scale, x)), backward)
    return f


def message(f, *args, **options) -> str:
    with pytest.raises(AssertionError) as failure:
        assert_gradients_match(f, *args, **options)
    return str(failure.value)


def test_a_right_gradient_gives_its_report():
    assert assert_gradients_match(ops.sigmoid, X, **QUICK).ok


def test_static_arguments_reach_the_function():
    report = assert_gradients_match(ops.leaky_relu, X, slope=0.3, laws=False, routes=("explicit", "lifted"))
    assert {leaf.route for leaf in report.leaves} == {"explicit", "lifted"}


def test_the_verdict_heads_its_leaf_and_other_wrong_leaves_follow():
    f = made(lambda c, dy: (dy * c[1] ** 2 * 1.01, c[0] * c[1] * dy))
    lines = message(f, jnp.ones(4), X, reference=plain, **QUICK).splitlines()
    number = r"-?\d\S*"
    assert re.fullmatch(rf"WRONG at x\[\d\]: {number}, reference {number} \(\w+, .+ units\)", lines[0])
    assert lines[1:3] == ["    exactly half the reference", ""]
    assert re.fullmatch(rf"scale\[\d\]: {number}, reference {number} \(\w+; {number} units of eps · "
                        r"max\|leaf\|\)", lines[3])
    assert lines[4].startswith("    ") and len(lines) == 5


def test_what_is_wrong_only_in_one_dtype_says_so():
    f = made(lambda c, dy: (dy * c[1] ** 2, 2 * c[0] * c[1] * dy * (3 if dy.dtype == jnp.bfloat16 else 1)))
    text = message(f, jnp.ones(4), X, reference=plain, **QUICK, under=("jit", "vmap"),
                   dtypes=("float32", "bfloat16"))
    assert "under jit in bfloat16" in text
    assert "also under vmap in bfloat16" in text
    assert "float32" not in text


def test_a_broken_law():
    f = jax.custom_vjp(lambda scale, x: plain(scale, x) + 1)
    f.defvjp(lambda scale, x: (plain(scale, x) + 1, (scale, x)),
             lambda c, dy: (dy * c[1] ** 2, 2 * c[0] * c[1] * dy))
    verdict, empty, law = message(f, jnp.ones(4), X, reference=plain, routes="lifted").splitlines()
    assert (verdict, empty) == ("WRONG: not f(x) is the reference's value", "")
    assert law.startswith("law broken: f(x) is the reference's value (")


def test_what_f_cannot_do_and_the_reference_can():
    def backward(c, dy):
        if dy.dtype == jnp.float16:
            raise NotImplementedError("no half precision")
        return dy * c[1] ** 2, 2 * c[0] * c[1] * dy

    text = message(made(backward), jnp.ones(4), X, reference=plain, dtypes="float16", **QUICK)
    assert text == "WRONG: under jit in float16 f raises NotImplementedError: no half precision"


def leaf(path, route, error, element=(), **more):
    return Leaf(path, route, (3,), error, 1.0, element, 1.0, 2.0, **{"dtype": "float32", **more})


def test_each_leaf_is_shown_once_by_the_route_that_says_most():
    leaves = (leaf("x", "forward", 9e3), leaf("x", "explicit", 5e3, (1,), note="f is NaN at 1 of 3 elements"),
              leaf("x", "taylor", 1e6), leaf("y", "taylor", 1e5), leaf("z", "lifted", 1.0, (0,)))
    under = (leaf("x", "lifted", 1e4, (2,), under="scan"), leaf("x", "lifted", 1e4, (0,), under="eager"),
             leaf("x", "lifted", 1e4, (2,), under="scan", dtype="bfloat16"))
    report = GradientReport(
        "f", leaves, under,
        laws=(Law("linear in dy", False, "off by 3"), Law("twice the same", True), Law("a batch", None)),
        findings=(Finding("x", "factor", "exactly half the reference"), Finding("z", "factor", "not shown")),
        remarks=(Remark(Kind.FAILURE, "cost: f raised ValueError: no"), Remark(Kind.NOTE, "f has no forward mode"),
                 Remark(Kind.NOT_RUN, "sharded: not run, one device")))
    assert failure_message(report).splitlines() == [
        "WRONG at x[1]: 1, reference 2 (explicit, 5,000 units)",
        "    exactly half the reference",
        "    f is NaN at 1 of 3 elements",
        "    also by forward, taylor; under scan in float32, bfloat16; under eager in float32",
        "",
        "y: the Taylor remainder falls with order 1.00; that of a right gradient with 2",
        "",
        "law broken: linear in dy (off by 3)",
        "cost: f raised ValueError: no",
        "sharded: not run, one device",
    ]


def test_bad_usage_is_no_failure_of_the_gradient():
    with pytest.raises(TypeError, match="compare_gradients expects an op, a function of ops, or reference= beside a"):
        assert_gradients_match(jnp.sin, X)
    with pytest.raises(InputError, match=re.escape("compare_gradients expects under among 'eager'")):
        assert_gradients_match(ops.sigmoid, X, under="sideways")
    with pytest.raises(InputError, match="compare_gradients expects at least one floating-point argument"):
        assert_gradients_match(ops.flatten, jnp.arange(3))


def test_what_was_asked_for_and_not_run_is_a_warning():
    with pytest.warns(UserWarning, match=r"sigmoid: x: has 10,001 coordinates, more than 10,000: not run"):
        assert_gradients_match(ops.sigmoid, jnp.zeros(10_001), **QUICK, every_coordinate=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_gradients_match(ops.sigmoid, X, **QUICK)


def test_the_call_is_where_a_traceback_ends():
    with pytest.raises(AssertionError) as failure:
        assert_gradients_match(made(lambda c, dy: (dy, dy)), jnp.ones(4), X, reference=plain, **QUICK)
    assert failure.traceback[-1].frame.f_locals["__tracebackhide__"] is True
