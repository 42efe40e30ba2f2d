"""Where the reference has no gradient: finite differences of f's own value judge f, or nothing does: not right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients
from jaxnn.gradients import Problem
from jaxnn.gradients.page import units
from tests.gradients.routes.test_routes import by_route, rule

ROWS = jnp.array([[0.0, 0, 0], [1, 2, 3], [-1, 0.5, 2]])


def norm(x):
    return jnp.sqrt(jnp.sum(x * x, -1))


def sinc(x):
    return jnp.where(x == 0, 1.0, jnp.sin(x) / x)


def norm_rule(at_zero):
    """The norm's rule, with another gradient of a row of zeros."""
    def backward(args, dy):
        (x,) = args
        is_zero = jnp.all(x == 0, -1, keepdims=True)
        right = x / jnp.where(is_zero, 1.0, norm(x)[:, None])
        return (jnp.where(is_zero, jnp.asarray(at_zero), right) * dy[:, None],)

    return rule(norm, backward)


def test_a_wrong_rule_where_the_reference_is_nan():
    report = compare_gradients(rule(norm, lambda a, dy: (dy * (a[0] + 9),)), jnp.zeros(3), reference=norm)
    assert not report.ok
    assert {leaf.route for leaf in report.wrong} == {"explicit", "lifted"}
    dy = float(Problem(norm, (jnp.zeros(3),)).dy[0])
    worst = by_route(report)["lifted"]
    assert worst.value == pytest.approx(9 * dy, rel=1e-6)
    assert worst.reference == pytest.approx(abs(dy), rel=1e-6)  # the slope of the norm at zero from above
    assert worst.judge == "finite differences"
    assert worst.note.endswith(f"f's own value has slopes from {-abs(dy):.6g} to {abs(dy):.6g} there")
    assert report.verdict.startswith("WRONG at x[0]: ") and report.verdict.endswith(
        f", where the reference has no gradient and finite differences of f's own value give {abs(dy):.6g} (explicit, "
        f"{units(worst.error)} units)")
    assert [law.name for law in report.broken_laws] == ["right at other arguments"]


@pytest.mark.parametrize(("at_zero", "ok"), [
    ([0.0, 0, 0], True), ([0.5, -0.5, 0.5], True), ([0.0, 9, 0], False), ([jnp.nan, 0, 0], False),
    ([0.9, 0.9, 0.9], False)])  # each alone lies between -1 and 1, but the three have a norm above 1
def test_one_row_of_a_batch(at_zero, ok):
    report = compare_gradients(norm_rule(at_zero), ROWS, reference=norm)
    assert report.ok == ok, str(report)
    assert ("x: the reference's gradient is not finite at 3 of 9 elements; at 3 of them finite differences of f's own "
            "value judge f") in report.notes
    assert all(leaf.element[0] == 0 for leaf in report.wrong)


def test_a_smooth_function_has_one_slope():
    def with_slope(s):
        return rule(sinc, lambda a, dy: (dy * jnp.where(
            a[0] == 0, s, (jnp.cos(a[0]) - sinc(a[0])) / jnp.where(a[0] == 0, 1.0, a[0])),))

    x = jnp.array([0.0, 1, 2])
    assert compare_gradients(with_slope(0.0), x, reference=sinc).ok
    report = compare_gradients(with_slope(5.0), x, reference=sinc)
    assert (report.ok, report.worst.element) == (False, (0,))
    assert not compare_gradients(with_slope(1e-3), x, reference=sinc).ok


def test_what_nothing_judges_is_not_right():
    f = rule(jnp.sqrt, lambda a, dy: (jnp.where(a[0] == 0, 3, 0.5 / jnp.sqrt(a[0])) * dy,))
    report = compare_gradients(f, jnp.array([0.0, 1, 2]), reference=jnp.sqrt)
    assert not report.ok and not report.wrong and not report.failures
    (words,) = report.unjudged
    assert words.startswith("x: the reference's gradient is not finite at 1 of 3 elements, and at 1 of them, first at "
                            "[0], nothing judges f, since f's own value has no finite slope there: give a reference")
    assert report.verdict == f"NOT JUDGED: {words}"
    assert compare_gradients(jnp.sqrt, jnp.array([0.0, 1, 2]), reference=jnp.sqrt).ok  # infinite on both sides
    (words,) = compare_gradients(f, jnp.array([0.0, 1]), reference=jnp.sqrt, routes="second order").unjudged
    assert "nothing judges f, by these routes" in words


def test_an_edge_of_the_domain_has_one_slope():
    """x^1.5 has the slope 0 at 0 from above, and no value below; written as a root it has no gradient there."""
    def plain(x):
        return jnp.sqrt(x * x * x)

    def with_slope(s):
        return rule(plain, lambda a, dy: (jnp.where(a[0] == 0, s, 1.5 * jnp.sqrt(a[0])) * dy,))

    assert compare_gradients(with_slope(1.0), jnp.array([0.0, 1, 2]), reference=plain).ok is False


def test_nan_on_both_sides_where_the_value_has_slopes():
    """The slope stands where the reference's number would, and each fact stands in the report once."""
    report = compare_gradients(norm, ROWS, reference=norm, routes=("lifted", "finite differences"))
    assert not report.ok and report.verdict.startswith("WRONG at x[0, 0]: nan, where the reference has no gradient and "
                                                       "finite differences of f's own value give ")
    assert report.verdict.endswith(" (lifted)"), "no number of units where one side is not finite"
    text = str(report)
    (row,) = (line.split() for line in text.splitlines() if line.startswith("x[0, 0]  "))
    assert (row[2:4], row[5:6]) == (["nan", "slope"], ["-"])
    assert text.count("f is NaN at 3 of 9 elements") == 1


def test_the_same_remark_on_several_leaves_is_made_once():
    def distance(a, b):
        return jnp.linalg.norm(a - b)

    report = compare_gradients(distance, jnp.ones(2), jnp.ones(2), reference=distance, routes=("lifted", "taylor"))
    text = str(report)
    assert "a, b: the reference has a gradient at no element: there is no direction to compare along" in text
    assert text.count("the reference is NaN at 2 of 2 elements") == 2, "beside each of the two wrong leaves"
    (row,) = (line.split() for line in text.splitlines() if line.startswith("a[0]  "))
    assert row[4:8] == ["-", "-", "-", "-"]  # ULPs, cosine, the course's measure, bits: of two that are NaN


def test_transformations_do_not_judge_those_elements_again():
    report = compare_gradients(norm_rule([0.0, 0, 0]), ROWS, reference=norm, under="jit")
    assert report.ok
    assert ("under jit in float32 the reference's gradient of x is not finite at 3 elements: f is not judged there "
            "again") in report.notes


def test_zeros_are_moved_too():
    """To the side on which all others lie."""
    (moved,) = Problem(jnp.sum, (jnp.zeros(50),)).elsewhere
    assert 0.05 < np.std(moved) < 0.2
    (moved,) = Problem(jnp.sum, (jnp.array([0.0, 0, 3, 5]),)).elsewhere
    assert np.all(np.asarray(moved)[:2] > 0)
    right_at_zero = rule(lambda x: jnp.sin(x), lambda a, dy: (dy * jnp.ones_like(a[0]),))
    report = compare_gradients(right_at_zero, jnp.zeros(3), reference=jnp.sin, routes="lifted")
    assert [law.name for law in report.broken_laws] == ["right at other arguments"]


def test_an_op_in_float64_and_a_large_leaf():
    x = jnp.zeros((40, 30))
    report = compare_gradients(rule(norm, lambda a, dy: (0 * a[0],)), x, reference=norm, laws=False, routes="lifted")
    (words,) = report.unjudged
    assert "at 200 of them, first at [33, 10], nothing judges f" in words
    with jax.enable_x64(True):
        assert not compare_gradients(norm_rule([0.0, 9, 0]), ROWS.astype(jnp.float64), reference=norm).ok
