"""Elements with a case of their own: a slope that is wrong there alone, in the rule and in the reference alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients
from jaxnn.gradients.routes.special import special_elements
from tests.gradients.routes.test_routes import by_route, rule


def sinc(slope):
    """sin(x) / x, with this slope at 0."""
    def plain(x):
        safe = jnp.where(x == 0, 1.0, x)
        return jnp.where(x == 0, 1.0 + slope * x, jnp.sin(safe) / safe)
    return plain


def test_special_elements():
    x = np.array([[0.5, 0.0, 2.0], [0.5, 0.0, -1.0], [np.inf, 0.3, 0.5]])
    assert special_elements(x) == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 0)]
    assert special_elements(np.zeros((0, 3))) == []


@pytest.mark.parametrize("n", [3, 300])
def test_a_slope_at_zero_that_the_reference_has_wrong_too(n):
    x = jnp.asarray(np.random.default_rng(0).standard_normal(n), jnp.float32).at[1].set(0)
    assert compare_gradients(sinc(0.0), x, reference=sinc(0.0)).ok
    report = compare_gradients(sinc(5.0), x, reference=sinc(5.0))
    assert not report.ok
    row = by_route(report)["finite differences"]
    assert (row.element, row.judge) == ((1,), "finite differences")
    assert row.note == "x = 0 there: has the rule a case of its own for it?"
    assert abs(row.reference) < 1e-6 < abs(row.value)
    assert report.verdict.startswith("WRONG at x[1]: ")


def test_what_is_held_fixed_is_no_special_case():
    def rounded(x):
        return x + jax.lax.stop_gradient(jnp.round(x) - x)

    assert compare_gradients(rounded, jnp.array([0.3, 0.0, 1.0, 1.2]), reference=rounded).ok


def test_kinks_and_steep_places_at_zero():
    x = jnp.array([0.0, 0.5, 0.0, -1.0])
    for f in (jax.nn.relu, jnp.abs, lambda x: x / jnp.sqrt(x * x + 1e-10), lambda x: jnp.sign(x) * x * x):
        assert compare_gradients(f, x, reference=f).ok


# A reference that is wrong.


def test_a_reference_that_is_wrong_has_a_verdict_of_its_own():
    f = rule(jnp.sin, lambda a, dy: (dy * jnp.cos(a[0]),))
    wrong = rule(jnp.sin, lambda a, dy: ((dy * jnp.cos(a[0])).at[1].mul(1.01),))
    x = jnp.array([0.3, 0.7, 2.0])
    report = compare_gradients(f, x, reference=wrong, under=("jit", "scan"))
    assert not report.ok and not report.wrong and not report.failures
    (words,) = report.wrong_reference
    assert words.startswith("x: the reference is wrong at 1 of 3 elements: at [1] its gradient is ")
    assert report.verdict == f"REFERENCE WRONG: {words}"
    assert words in str(report)
    assert compare_gradients(wrong, x, reference=f).verdict.startswith("WRONG at x[1]")


def test_another_function_is_not_a_wrong_reference():
    report = compare_gradients(lambda x: 2 * x, jnp.array([0.3, 0.7]), reference=lambda x: 3 * x)
    assert not report.wrong_reference
    assert report.verdict.startswith("WRONG at x[")
