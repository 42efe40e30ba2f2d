"""Which function an f is compared with."""

import jax
import jax.numpy as jnp
import pytest

from jaxnn import InputError, ops
from jaxnn.gradients.reference import with_reference
from jaxnn.network import Network


def test_an_op_brings_its_own():
    assert with_reference(ops.sigmoid, None, (0.0,), {}) == (ops.sigmoid, ops.sigmoid.reference)


def test_the_one_that_is_given_comes_first():
    assert with_reference(ops.sigmoid, jnp.tanh, (0.0,), {}) == (ops.sigmoid, jnp.tanh)
    assert with_reference(jnp.sin, jnp.cos, (0.0,), {}) == (jnp.sin, jnp.cos)


def test_a_function_of_ops_brings_that_of_their_references():
    f, reference = with_reference(lambda x: ops.relu(x) * 2, None, (3.0,), {})
    assert isinstance(f, Network)
    assert reference(3.0) == 6.0


@pytest.mark.parametrize("rule", [jax.custom_vjp, jax.custom_jvp])
def test_a_rule_of_jax_brings_the_function_it_was_made_of(rule):
    f = rule(jnp.sin)
    assert with_reference(f, None, (0.0,), {}) == (f, f.fun)


def test_a_plain_function_has_none():
    words = "expects an op, a function of ops, or reference= beside a plain function; got 'sin', which calls no op"
    with pytest.raises(InputError, match=words):
        with_reference(jnp.sin, None, (0.0,), {})
