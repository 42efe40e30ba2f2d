"""Which function an f is compared with."""

import jax.numpy as jnp
import pytest

from jaxnn import InputError, ops
from jaxnn.gradients.reference import reference_of


def test_an_op_brings_its_own():
    assert reference_of(ops.sigmoid)(0.0) == 0.5
    assert reference_of(ops.sigmoid) == ops.sigmoid.reference


def test_the_one_that_is_given_comes_first():
    assert reference_of(ops.sigmoid, jnp.tanh) is jnp.tanh
    assert reference_of(jnp.sin, jnp.cos) is jnp.cos


def test_a_plain_function_has_none():
    with pytest.raises(InputError, match="expects an op, or reference= beside a plain function; got"):
        reference_of(jnp.sin)
