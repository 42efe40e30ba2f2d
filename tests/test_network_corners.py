"""Corners of the explicit passes: gradients that are zero by their structure, static choices that are equal and not the
same, objects that are called, closures, optional arguments, and what per-example gradients must not mix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    Dense,
    InputError,
    Sequential,
    by_autodiff,
    dense,
    hand_derived,
    network,
    per_example,
    sigmoid,
    summary,
    tanh,
)
from tests.networks import array, weights
from tests.test_networks import check

P = weights(4, 4)
X = array(4)


@hand_derived
def root(x):
    """√x, whose slope at 0 is infinite."""
    y = jnp.sqrt(x)
    return y, y


root.defbackward(lambda y, dy: (dy / (2 * y),))


@hand_derived
def times(x, *, m):
    """10 x for True, 2 x for 1, 5 x for 1.0: three choices that are equal in Python."""
    factor = 10 if m is True else 2 if type(m) is int else 5
    return factor * x, jnp.asarray(float(factor))


times.defbackward(lambda factor, dy: (factor * dy,))


@pytest.mark.parametrize("f", [
    lambda x: x + jax.lax.stop_gradient(root(x)), lambda x: x + jnp.round(root(x)), lambda x: x * (root(x) > -1)],
    ids=["stop_gradient", "round", "comparison"])
def test_an_op_is_not_asked_for_a_gradient_that_is_zero_by_its_structure(f):
    """Its slope is infinite here, and zero times that is NaN."""
    net = network(f)
    _, cache = net.forward(0.0)
    assert float(net.backward(cache, 1.0)[0]) == float(jax.grad(f)(0.0)) == 1


def test_a_loop_whose_value_is_held_fixed():
    def f(x):
        n = jax.lax.while_loop(lambda v: v < 10, lambda v: v * 2, x)
        return sigmoid(x) * jax.lax.stop_gradient(n)

    net = network(f)
    _, cache = net.forward(1.0)
    assert float(net.backward(cache, 1.0)[0]) == pytest.approx(float(jax.grad(lambda x: 16 * jax.nn.sigmoid(x))(1.0)))


def test_static_choices_that_are_equal_are_three():
    net = network(lambda x, *, m: times(x, m=m) + (1 if m is True else 0))
    assert [float(net.forward(2.0, m=m)[0]) for m in (1, True, 1.0)] == [4, 21, 10]
    together = network(lambda x: jnp.stack([times(x, m=m) for m in (1, True, 1.0)]))
    y, cache = together.forward(2.0)
    assert y.tolist() == [4, 20, 10]
    assert float(together.backward(cache, jnp.ones(3))[0]) == 17
    loss = lambda y, label: y  # noqa: E731
    net = network(lambda params, x, *, m: times(params * x, m=m))
    norms = [float(per_example(net, loss, jnp.float32(1), {}, jnp.ones(1), jnp.ones(1), m=m).norms[0])
             for m in (1, True, 1.0)]
    assert norms == [2, 10, 5]


def test_containers_of_a_kind_of_ones_own_differ_by_all_of_their_fields():
    class Scaled(Sequential):
        def __init__(self, factor, *parts):
            super().__init__(*parts)
            self.factor = factor

    assert Scaled(1.0, Dense(2)) == Scaled(1.0, Dense(2)) != Scaled(10.0, Dense(2))
    assert Sequential(a=Dense(2), b=tanh) != Sequential(b=tanh, a=Dense(2))


def test_the_attributes_of_an_object_that_is_called_stay_its_own():
    class Both:
        def __init__(self):
            self.forward = lambda x: "its own"

        def __call__(self, x):
            return sigmoid(x)

    net = network(Both())
    y, cache = net.forward(0.0)
    assert (float(y), float(net.backward(cache, 1.0)[0])) == (0.5, 0.25)


def test_optional_arguments():
    net = network(lambda x, a=1.0, b=2.0: x * a * tanh(b))
    y, cache = net.forward(3.0, b=4.0)
    assert float(y) == pytest.approx(3 * np.tanh(4))
    assert len(net.backward(cache, 1.0)) == 3
    with pytest.raises(InputError, match=r"<lambda> expects \(x, a=1.0, b=2.0\): missing a required argument: 'x'"):
        net.forward()


@pytest.mark.parametrize("f", [jax.nn.gelu, jax.nn.softmax, lambda x, n=3.0: x**n], ids=["gelu", "softmax", "power"])
def test_by_autodiff_of_a_function_with_defaults(f):
    op = by_autodiff(f)
    check(lambda x: op(tanh(x)), X)


def test_by_autodiff_of_a_closure_over_a_traced_value():
    check(lambda w, x: by_autodiff(lambda x: jnp.sin(x) * w)(dense(P, x)), X, X)


def test_dy_takes_the_dtype_of_y():
    net = network(lambda x: 2 * tanh(x) + 1)
    _, cache = net.forward(jnp.ones(2, jnp.bfloat16))
    for dy in (jnp.ones(2), np.ones(2), jnp.ones(2, jnp.bfloat16)):
        (dx,) = net.backward(cache, dy)
        assert dx.dtype == jnp.bfloat16


def test_a_value_that_python_needs_is_refused_with_its_line():
    words = r"needs in Python a value that is known at run time only, at <lambda>:\d+; use jnp"
    with pytest.raises(InputError, match=words):
        network(lambda x: tanh(x) * len(range(int(x)))).forward(2.0)


@pytest.mark.parametrize("net", [
    lambda params, x: params * (x - jax.lax.pmean(x * params, "examples")),
    lambda params, x: tanh(params * x) / jax.lax.psum(params, "examples")], ids=["mean", "sum"])
def test_examples_that_glue_mixes_are_refused(net):
    with pytest.raises(InputError, match="mixes the examples of a batch"):
        per_example(net, lambda y, label: y * label, jnp.float32(1), {}, jnp.array([1.0, 2.0]), jnp.ones(2))


def test_complex_parameters_are_refused():
    with pytest.raises(InputError, match="per_example expects real params; got complex ones"):
        per_example(lambda params, x: jnp.abs(params * x), lambda y, label: y, jnp.complex64(1 + 1j), {}, jnp.ones(2),
                    jnp.ones(2))


def test_a_table_under_named_axes_is_made_after_them():
    net = network(lambda x: x - jax.lax.pmean(tanh(x), "rows"))
    _, cache = jax.vmap(net.forward, axis_name="rows")(X)
    assert "tanh" in str(cache)


def test_primitives_that_are_not_linear_are_named():
    for f in (jnp.prod, jnp.arcsinh, jax.scipy.special.i0e, jnp.linalg.cholesky):
        assert summary(functools.partial(lambda f, x: f(2 * x), f), 2 * jnp.eye(2)).nonlinear, f
    linear = lambda x: jnp.cumsum(-x[::-1].T.reshape(4), 0)[1:] @ jnp.ones((3, 2))  # noqa: E731
    assert summary(linear, jnp.eye(2)).nonlinear == ()


def test_a_long_run_of_glue_is_one_step():
    def f(x, n):
        for _ in range(n):
            x = jnp.sin(x) + 1
        return tanh(x)

    program = network(functools.partial(f, n=1500)).recorded((X,), {})[0].program
    assert len(program.steps) == 2
