"""flatten, add, concatenate: numbers move and stay the same, and so do their cotangents."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import add, concatenate, flatten
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 3, 4), (2, 0)], ids=str)
@pytest.mark.usefixtures("x64")
def test_flatten(shape):
    x = RNG.standard_normal(shape)
    np.testing.assert_array_equal(flatten(x), x.ravel())
    if x.size:
        check_backward(flatten, x)


def test_flatten_is_undone_by_its_backward():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    y, cache = flatten.forward(x)
    np.testing.assert_array_equal(flatten.backward(cache, y)[0], x)


def test_flatten_keeps_integers():
    np.testing.assert_array_equal(flatten(jnp.arange(4).reshape(2, 2)), jnp.arange(4))


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.usefixtures("x64")
def test_add(n):
    x = tuple(RNG.standard_normal((2, 3)) for _ in range(n))
    np.testing.assert_allclose(add(x), np.sum(x, 0), rtol=1e-14)
    check_backward(add, x)


@pytest.mark.parametrize(("shapes", "axis"), [
    ([(3,)], 0), ([(3,), (1,), (2,)], -1), ([(2, 3), (2, 1)], 1), ([(2, 3), (5, 3)], 0),
    ([(2, 3), (5, 3)], -2),
    ([(2, 1, 4), (2, 3, 4), (2, 1, 4)], 1), ([(2,), (0,), (1,)], 0)], ids=str)
@pytest.mark.usefixtures("x64")
def test_concatenate(shapes, axis):
    x = tuple(RNG.standard_normal(shape) for shape in shapes)
    np.testing.assert_array_equal(concatenate(x, axis=axis), np.concatenate(x, axis))
    check_backward(concatenate, x, axis=axis)


def test_concatenate_gives_each_its_stretch():
    x = (jnp.zeros(2), jnp.zeros(3))
    _, cache = concatenate.forward(x)
    (dx,) = concatenate.backward(cache, jnp.arange(5.0))
    assert_close(dx, (jnp.arange(2.0), jnp.arange(2.0, 5.0)))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: add((jnp.ones(2), jnp.ones(3))), "add expects a tuple of arrays of one shape; got [(2,), (3,)]"),
    (lambda: add((jnp.ones(2), jnp.ones((2, 2)))), "add expects a tuple of arrays of one shape"),
    (lambda: add(()), "add expects a tuple of arrays of one shape; got []"),
    (lambda: concatenate(()), "concatenate expects a tuple of arrays alike but along axis -1; got []"),
    (lambda: concatenate((jnp.ones((2, 3)), jnp.ones((3, 3))), axis=1),
     "concatenate expects a tuple of arrays alike but along axis 1; got [(2, 3), (3, 3)]"),
    (lambda: concatenate((jnp.ones(2), jnp.ones((2, 2)))), "alike but along axis -1"),
    (lambda: concatenate((jnp.ones(2),), axis=1), "alike but along axis 1"),
    (lambda: concatenate((jnp.ones(()),)), "alike but along axis -1"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def test_errors_under_jit():
    with pytest.raises(ValueError, match="add expects"):
        jax.jit(add)((jnp.ones(2), jnp.ones(3)))


@pytest.mark.parametrize("op", [add, concatenate], ids=lambda op: op.name)
@pytest.mark.parametrize("container", [tuple, list, collections.namedtuple("Pair", "a b")._make])
def test_the_gradient_has_the_container_of_the_argument(op, container):
    x = container([jnp.ones(2), jnp.zeros(2)])
    gradient = jax.grad(lambda x: jnp.sum(op(x)))(x)
    assert type(gradient) is type(x)
    assert_close(gradient, jax.tree.map(jnp.ones_like, x))
    assert type(op.backward(op.forward(x)[1], op(x))[0]) is type(x)


def test_many_branches_in_bfloat16():
    assert float(add((jnp.ones((), jnp.bfloat16),) * 600)) == 600  # in bfloat16 it would stop at 256
