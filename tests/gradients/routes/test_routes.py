"""Each route by itself: what it sees, and what excuses a leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, hand_derived, ops
from jaxnn.gradients import Problem
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.routes.differences import along_coordinates, along_directions

X = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)), jnp.float32)


def rule(plain, backward):
    """A custom_vjp with plain's value and the gradient backward(args, dy)."""
    f = jax.custom_vjp(plain)
    f.defvjp(lambda *args: (plain(*args), args), backward)
    return f


def cube(x):
    return x**3


def by_route(report, path="x"):
    return {leaf.route: leaf for leaf in report.leaves if leaf.path == path}


def test_a_gradient_that_is_right_by_every_route():
    rows = by_route(compare_gradients(ops.tanh, X, every_coordinate=True))
    assert set(rows) == {"explicit", "lifted", "float64", "forward", "finite differences", "taylor",
                         "second order", "every coordinate"}
    assert all(row.ok and not row.excused for row in rows.values())
    assert rows["taylor"].value == pytest.approx(2, abs=0.3)


def test_a_gradient_that_is_wrong_by_every_route():
    rows = by_route(compare_gradients(rule(cube, lambda a, dy: (3.01 * a[0] ** 2 * dy,)), X, reference=cube,
                                      every_coordinate=True))
    assert not any(row.ok for row in rows.values())
    assert rows["taylor"].value == pytest.approx(1, abs=0.1)
    assert rows["lifted"].error > 1000
    assert rows["every coordinate"].element == rows["lifted"].element


def test_finite_differences_are_those_of_a_known_function():
    """Along a direction t the slope of <dy, x³> is <3 x² dy, t>; along each coordinate 3 x² dy."""
    problem = Problem(cube, (X,), names=("x",))
    candidate = Candidate(cube, problem)
    expected = 3 * np.asarray(X, np.float64) ** 2 * np.asarray(problem.dy[0], np.float64)
    (row,) = along_directions(candidate, 3, ("finite differences",))
    slopes = [float(np.sum(expected * np.asarray(problem.tangents(d)[0], np.float64))) for d in range(3)]
    assert min(abs(row.reference - slope) for slope in slopes) < 1e-9
    (row,) = along_coordinates(candidate, 100)
    assert row.reference == pytest.approx(expected[row.element], rel=1e-8)


def test_coordinates_that_are_too_many_are_said_not_to_be_run():
    (row,) = along_coordinates(Candidate(cube, Problem(cube, (X,), names=("x",))), 5)
    assert (row.excused, row.note) == (True, "has 12 coordinates, more than 5: not run")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_step_follows_the_scale_of_the_argument(scale):
    def plain(x):
        return jnp.sin(x / scale)

    f = rule(plain, lambda a, dy: (dy * jnp.cos(a[0] / scale) / scale,))
    report = compare_gradients(f, X * scale, reference=plain)
    assert report.ok, str(report)
    assert by_route(report)["taylor"].value == pytest.approx(2, abs=0.3)


def test_a_second_derivative_that_is_wrong_alone():
    held = rule(cube, lambda a, dy: (3 * jax.lax.stop_gradient(a[0]) ** 2 * dy,))
    report = compare_gradients(held, X, reference=cube)
    assert {leaf.route for leaf in report.wrong} == {"second order"}
    assert report.verdict.startswith("WRONG at x[")


def test_forward_mode_that_is_wrong():
    @jax.custom_jvp
    def f(x):
        return x**3

    f.defjvp(lambda primals, tangents: (f(primals[0]), 3.3 * primals[0] ** 2 * tangents[0]))
    rows = by_route(compare_gradients(f, X, reference=cube, routes=("forward",), laws=False))
    assert set(rows) == {"forward"}
    assert not rows["forward"].ok
    assert rows["forward"].value == pytest.approx(1.1 * rows["forward"].reference, rel=1e-5)


def test_what_the_reference_holds_fixed_is_excused():
    def plain(x, scale):
        return jnp.sin(x) * jax.lax.stop_gradient(scale)

    report = compare_gradients(plain, X, 2 * X, reference=plain)
    rows = by_route(report, "scale")
    assert report.ok
    assert rows["finite differences"].excused and rows["taylor"].excused
    assert "it holds something fixed (stop_gradient)" in rows["taylor"].note
    assert not any(row.excused for row in by_route(report).values())


def test_an_output_that_is_held_fixed_is_left_out_of_finite_differences():
    def plain(x):
        return jnp.sin(x), jax.lax.stop_gradient(x * x)

    report = compare_gradients(plain, X, reference=plain)
    assert report.ok
    assert not by_route(report)["taylor"].excused
    assert any("the reference holds '1' of its value fixed" in note for note in report.notes)


# Float64.


def test_a_small_element_that_is_wrong_is_seen_in_float64():
    """One per cent of an element that is a millionth of the largest is less than a rounding of it."""
    x = jnp.linspace(-1, 1, 64).at[5].set(1e-6)
    f = rule(jnp.square, lambda a, dy: ((2 * a[0] * dy).at[5].mul(1.01),))
    report = compare_gradients(f, x, reference=jnp.square, laws=False, routes=("lifted", "float64"))
    rows = by_route(report)
    assert rows["lifted"].ok
    assert not rows["float64"].ok
    assert report.findings[0].words == (
        "differs from the reference at 1 of 64 elements, [5], by 0.01 of it; no reason was found")


def test_an_approximation_that_its_dtype_cannot_tell_is_excused():
    f = rule(jnp.sin, lambda a, dy: (dy * (jnp.cos(a[0]) + 3e-9 * jnp.sin(7 * a[0])),))
    report = compare_gradients(f, X, reference=jnp.sin)
    row = by_route(report)["float64"]
    assert report.ok, str(report)
    assert row.excused
    assert row.note.startswith("an approximation: in float64 it is off by ")
    worse = rule(jnp.sin, lambda a, dy: (dy * (jnp.cos(a[0]) + 1e-6 * jnp.sin(7 * a[0])),))
    report = compare_gradients(worse, X, reference=jnp.sin, laws=False)
    assert "float64" in {leaf.route for leaf in report.wrong}


def test_what_rounds_inside_is_not_held_to_float64():
    def narrow(x):
        return jnp.sin(x.astype(jnp.float32)).astype(x.dtype)

    f = rule(narrow, lambda a, dy: ((dy * jnp.cos(a[0].astype(jnp.float32))).astype(a[0].dtype),))
    report = compare_gradients(f, X, reference=jnp.sin)
    assert report.ok, str(report)
    assert "float64" not in by_route(report)


# Kinks.


def relu_with(slope):
    return rule(jax.nn.relu, lambda a, dy: (jnp.where(a[0] > 0, dy, jnp.where(a[0] == 0, slope * dy, 0)),))


def test_another_subgradient_is_excused_and_said():
    x = jnp.asarray([-1.0, 0.0, 2.0, 0.0])
    report = compare_gradients(relu_with(0.5), x, reference=jax.nn.relu)
    assert report.ok, str(report)
    row = by_route(report)["lifted"]
    assert row.excused
    assert row.note.startswith("kinks at 2 of 4 elements, where what lies between the slopes is a "
                               "subgradient: at [1] "
                               "from ")
    assert "(" in str(report).splitlines()[3]  # the table marks it


@pytest.mark.parametrize("slope", [1.5, -0.5])
def test_a_number_beyond_the_slopes_is_no_subgradient(slope):
    x = jnp.asarray([-1.0, 0.0, 2.0])
    report = compare_gradients(relu_with(slope), x, reference=jax.nn.relu, laws=False)
    assert not report.ok
    assert report.worst.element == (1,)


def test_a_kink_excuses_no_other_element():
    f = rule(jax.nn.relu, lambda a, dy: (jnp.where(a[0] >= 0, dy, 0).at[2].mul(1.1),))
    assert not compare_gradients(f, jnp.asarray([-1.0, 0.0, 2.0]), reference=jax.nn.relu, laws=False).ok


def test_ties_in_a_maximum():
    """jnp.max shares the gradient among the winners, another rule gives it to the first."""
    def first(a, dy):
        return (jnp.zeros_like(a[0]).at[jnp.argmax(a[0])].set(dy),)

    report = compare_gradients(rule(lambda x: jnp.max(x), first), jnp.asarray([1.0, 3.0, 3.0]),
                               reference=jnp.max)
    assert report.ok, str(report)
    assert by_route(report)["lifted"].excused


# Numbers that are not finite, other precisions, odd leaves.


def naive(x):
    return jnp.log(1 + jnp.exp(x))


def test_where_the_reference_overflows_float64_decides():
    stable = rule(lambda x: jnp.logaddexp(x, 0), lambda a, dy: (dy * jax.nn.sigmoid(a[0]),))
    x = jnp.asarray([0.5, 100.0])
    report = compare_gradients(stable, x, reference=naive, routes=("lifted",), laws=False)
    assert report.ok, str(report)
    note = by_route(report)["lifted"].note
    assert note == ("the reference is NaN at 1 of 2 elements, first at [1]; there f is compared with the "
                    "reference in "
                    "float64")
    wrong = rule(lambda x: jnp.logaddexp(x, 0), lambda a, dy: (dy * jnp.minimum(jax.nn.sigmoid(a[0]), 0.9),))
    assert not compare_gradients(wrong, x, reference=naive, routes=("lifted",), laws=False).ok


def test_nan_on_both_sides_is_equal_and_said():
    report = compare_gradients(jnp.sqrt, jnp.asarray([4.0, -1.0]), reference=jnp.sqrt, routes="lifted",
                               laws=False)
    assert report.ok
    assert by_route(report)["lifted"].note == (
        "f is NaN at 1 of 2 elements, first at [1]; the reference is NaN at 1 of 2 elements, first at [1]")


def test_a_function_bound_to_float32():
    def plain(x):
        return jax.lax.mul(jnp.sin(x), X)  # refuses float64 beside float32

    f = rule(plain, lambda a, dy: (jnp.cos(a[0]) * X * dy,))
    report = compare_gradients(f, jnp.ones((4, 3)), reference=plain)
    assert report.ok, str(report)
    assert any(note.startswith("f does not run in float64") for note in report.notes)
    assert by_route(report)["finite differences"].noise > 1  # what float32 differences are worth
    wrong = rule(plain, lambda a, dy: (1.05 * jnp.cos(a[0]) * X * dy,))
    rows = by_route(compare_gradients(wrong, jnp.ones((4, 3)), reference=plain))
    assert not rows["lifted"].ok and not rows["finite differences"].ok


def test_random_numbers_that_differ_between_precisions():
    """A mask drawn in float64 is another mask; finite differences judge the function that it makes there."""
    def plain(x, key):
        return x * x * jax.random.uniform(key, x.shape)

    report = compare_gradients(plain, X, jax.random.key(0), reference=plain)
    assert report.ok, str(report)
    assert any(note.startswith("the reference is another function in float64") for note in report.notes)
    wrong = rule(plain, lambda a, dy: (2.01 * a[0] * jax.random.uniform(a[1], a[0].shape) * dy, None))
    rows = by_route(compare_gradients(wrong, X, jax.random.key(0), reference=plain))
    assert not rows["lifted"].ok and not rows["finite differences"].ok and not rows["taylor"].ok


def test_complex_numbers():
    z = jnp.asarray([1 + 2j, 0.5 - 1j, -1j], jnp.complex64)

    def plain(z, x):
        return jnp.exp(z) * x, jnp.abs(z) ** 2

    report = compare_gradients(plain, z, jnp.arange(3.0), reference=plain, every_coordinate=False)
    assert report.ok, str(report)
    dtypes = {leaf.dtype for leaf in report.leaves if leaf.path == "z"}
    assert dtypes == {"complex64", "complex128", "float64"}


def test_leaves_without_elements_integers_keys_and_none():
    def plain(tree, n, key, nothing, x):
        return tree["empty"].sum() + x * n + jax.random.normal(key)

    args = ({"empty": jnp.zeros((0, 3)), "ids": jnp.arange(2)}, 3, jax.random.key(0), None, 2.0)
    report = compare_gradients(plain, *args, reference=plain)
    assert report.ok, str(report)
    assert {leaf.path for leaf in report.leaves} == {"tree/empty", "x"}
    assert by_route(report, "tree/empty")["lifted"].note == "has no elements"


def test_noise_lets_no_wrong_gradient_pass_where_terms_cancel():
    """A bias ahead of a mean that is taken off has the gradient zero, which rounding makes of both sides."""
    def plain(bias, x):
        z = x + bias
        return (z - z.mean()) * 3

    x = jnp.asarray(np.random.default_rng(0).standard_normal(50), jnp.float32)

    def f(change):
        return rule(plain, lambda a, dy: (change, 3 * (dy - dy.mean())))

    rounding, wrong = f(jnp.float32(3e-7)), f(jnp.float32(1e-4))
    assert compare_gradients(rounding, jnp.float32(0.1), x, reference=plain, routes="lifted", laws=False).ok
    assert not compare_gradients(wrong, jnp.float32(0.1), x, reference=plain, routes="lifted", laws=False).ok


def test_a_long_sum_in_bfloat16_is_held_to_what_bfloat16_can():
    @hand_derived
    def total(x):
        return jnp.sum(jnp.sin(x)), x

    total.defbackward(lambda x, dy: (dy * jnp.cos(x),))
    x = jnp.linspace(-3, 3, 1000).astype(jnp.bfloat16)
    assert compare_gradients(total, x, routes=("explicit", "lifted"), laws=False).ok
    wrong = rule(total.reference, lambda a, dy: (-dy * jnp.cos(a[0]),))
    assert not compare_gradients(wrong, x, reference=total.reference, routes="lifted", laws=False).ok
