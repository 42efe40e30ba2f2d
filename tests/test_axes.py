"""Ops that average over a named axis, differentiated from outside of what traced them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn import batch_norm, hand_derived

X = jnp.array([[1.0, 4.0, -2.0], [0.0, 2.0, 5.0], [3.0, 3.0, 1.0]])
PARAMS = {"scale": jnp.array([1.0, 2.0, 0.5]), "bias": jnp.zeros(3)}
STATE = {"mean": jnp.zeros(3), "variance": jnp.ones(3)}


def centred_forward(x):
    return x - lax.pmean(x, "b"), None


def centred_backward(cache, dy):
    return (dy - lax.pmean(dy, "b"),)


centred = hand_derived(centred_forward)
centred.defbackward(centred_backward)
centred_in_reverse = hand_derived(reverse_only=True)(centred_forward)
centred_in_reverse.defbackward(centred_backward)

OPS = {
    "batch norm": (lambda x: batch_norm(PARAMS, STATE, x)[0],
                   lambda x: batch_norm.reference(PARAMS, STATE, x)[0], "examples"),
    "custom_jvp": (centred, centred.reference, "b"),
    "custom_vjp": (centred_in_reverse, centred.reference, "b"),
}
TRACED = {
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "cond": lambda f: lambda x: lax.cond(jnp.sum(x) > -99, f, lambda x: x, x),
    "scan": lambda f: lambda x: lax.scan(lambda x, _: (f(x), None), x, None, length=2)[0],
}


@pytest.mark.sampled
@pytest.mark.parametrize("traced", TRACED)
@pytest.mark.parametrize("name", OPS)
def test_gradient_from_outside(name, traced):
    """JAX by itself loses the axis' name here."""
    op, reference, axis = OPS[name]

    def cost(f):
        batch = TRACED[traced](jax.vmap(f, axis_name=axis))
        return lambda x: jnp.sum(jnp.sin(batch(x)))

    np.testing.assert_allclose(jax.grad(cost(op))(X), jax.grad(cost(reference))(X), atol=2e-6)


def test_an_axis_that_is_bound_is_not_bound_again():
    grad = jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(centred, axis_name="b")(x) ** 2)))
    np.testing.assert_allclose(grad(X), 2 * (X - X.mean(0)), atol=1e-6)
