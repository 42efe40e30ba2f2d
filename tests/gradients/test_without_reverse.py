"""A reference without reverse mode, or without any derivative; and what only `jax.checkpoint` does not support."""

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn import compare_gradients
from jaxnn.checks import InputError
from jaxnn.gradients import Problem
from tests.gradients.routes.test_routes import by_route, rule

X = jnp.array([0.3, -0.7, 1.2])


def power(x):
    """x³ by a loop whose length JAX does not know."""
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, jnp.ones_like(x)))[1]


def by_callback(x):
    return jax.pure_callback(lambda x: np.asarray(x) ** 3, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def cubed(factor):
    return rule(lambda x: x**3, lambda a, dy: ((factor * a[0] ** 2 * dy),))


@pytest.mark.parametrize(("reference", "words"), [
    (power, "the reference has no reverse mode (ValueError: Reverse-mode differentiation does not work for "
            "lax.while_loop"),
    (by_callback, "the reference has no reverse and no forward mode (")])
def test_a_reference_without_reverse_mode(reference, words):
    report = compare_gradients(cubed(3), X, reference=reference)
    assert report.ok, str(report)
    assert any(note.startswith(words) for note in report.notes), report.notes
    report = compare_gradients(cubed(3.03), X, reference=reference)
    assert not report.ok
    assert by_route(report)["lifted"].error > 1000
    assert report.verdict.startswith("WRONG at x[")


def test_the_gradient_by_forward_mode_is_that_by_reverse_mode():
    z = jnp.asarray([1 + 2j, 0.5 - 1j], jnp.complex64)

    def plain(x, z):
        return x * x, jnp.exp(z) * x[0], jnp.abs(z) ** 2

    def looped(x, z):
        x = lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, s[1]), (0, x))[1]
        return plain(x, z)

    for a, b in zip(Problem(plain, (X, z)).pulled_back, Problem(looped, (X, z)).pulled_back, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_too_many_coordinates_and_a_reference_that_does_not_run():
    x = jnp.linspace(0.1, 1, 5000)
    report = compare_gradients(cubed(3), x, reference=power, routes="lifted", laws=False)
    assert any("its arguments more than the 4,096 coordinates" in note for note in report.notes)
    assert not report.ok and not report.wrong  # a thousand are judged
    assert "at 4,000 of them, first at [1000], nothing judges f" in report.unjudged[0]

    def fails(x):
        return jax.pure_callback(lambda x: 1 / 0, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(InputError, match="expects a reference that can be run at these arguments; it raised"):
        compare_gradients(cubed(3), X, reference=fails)


def test_what_checkpoint_alone_does_not_support():
    def counts(x):
        jax.experimental.io_callback(lambda: None, None)
        return x**3

    for f, reference in ((counts, lambda x: x**3), (lambda x: x**3, counts)):
        report = compare_gradients(f, X, reference=reference, under=("checkpoint", "jit"))
        assert report.ok, str(report)
        assert any(note.startswith("under checkpoint in float32 ") for note in report.notes)
        assert {leaf.under for leaf in report.under} == {"jit"}
