"""A reference of more than 500 equations: fewer routes by default, as the report says, and the same verdicts."""

import jax
import jax.numpy as jnp
import pytest

from jaxnn import compare_gradients
from jaxnn.gradients import CHEAPEST, ROUTES
from jaxnn.gradients.point import MOST_EQUATIONS

DEPTH = MOST_EQUATIONS // 4 + 1  # a step is four equations


def plain(weight, x):
    return x + 0.1 * jnp.tanh(weight @ x)


def with_rule(change):
    """`plain` with a backward pass of its own, of which `change` alters the two cotangents."""
    @jax.custom_vjp
    def step(weight, x):
        return plain(weight, x)

    def forward(weight, x):
        a = jnp.tanh(weight @ x)
        return x + 0.1 * a, (weight, x, a)

    def backward(cache, dy):
        weight, x, a = cache
        dz = 0.1 * dy * (1 - a * a)
        return change(jnp.outer(dz, x), dy + weight.T @ dz, dy)

    step.defvjp(forward, backward)
    return step


def deep(wrong, at):
    """A network of DEPTH steps, all right but the one at this place."""
    right = with_rule(lambda dweight, dx, dy: (dweight, dx))

    def network(weights, x):
        for n, weight in enumerate(weights):
            x = (wrong if n == at else right)(weight, x)
        return x

    return network


def reference(weights, x):
    for weight in weights:
        x = plain(weight, x)
    return x


ARGS = list(0.3 * jax.random.normal(jax.random.key(0), (DEPTH, 4, 4))), jnp.arange(0.4, 0.8, 0.1)
WRONG = {"one weight 1 % too large": lambda dweight, dx, dy: (1.01 * dweight, dx),
         "a transpose": lambda dweight, dx, dy: (dweight.T, dx),
         "the path around the step forgotten": lambda dweight, dx, dy: (dweight, dx - dy)}


@pytest.mark.parametrize("mistake", [pytest.param(mistake, marks=pytest.mark.exhaustive)
                                     if not mistake.startswith("one weight") else mistake for mistake in WRONG])
def test_a_mistake_in_one_of_a_hundred_steps(mistake):
    at = DEPTH // 2
    report = compare_gradients(deep(with_rule(WRONG[mistake]), at), *ARGS, reference=reference)
    assert not report.ok and report.verdict.startswith("WRONG at")
    wrong = {leaf.path for leaf in report.leaves if not leaf.ok}
    assert not [leaf for leaf in report.leaves if leaf.excused]
    # What is wrong in dx reaches every step before it; what is wrong in a weight stays there.
    assert f"weights/{at}" in wrong or mistake.startswith("the path")
    assert wrong <= {"x", *(f"weights/{n}" for n in range(at + 1))}
    assert len(wrong) == 1 or mistake.startswith("the path")


@pytest.mark.exhaustive
def test_a_right_one():
    report = compare_gradients(deep(with_rule(lambda dweight, dx, dy: (dweight, dx)), 0), *ARGS, reference=reference)
    assert report.ok
    for route in set(ROUTES) - set(CHEAPEST):
        assert "not run: '" in str(report) and route in str(report)
