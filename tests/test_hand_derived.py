"""What an op is: its four faces, its arguments, and the refusals that name it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Static, hand_derived, ops
from jaxnn.hand_derived import HandDerived, Op
from tests.compare import assert_close


@hand_derived
def scaled_square(x, offset=0.0, *, scale=1.0):
    """y = scale x² + offset."""
    return scale * x * x + offset, (x, Static(scale))


@scaled_square.defbackward
def scaled_square_backward(cache, dy):
    x, scale = cache
    return 2 * scale.value * x * dy, dy


def test_four_faces():
    x, dy = jnp.asarray(3.0), jnp.asarray(2.0)
    assert scaled_square(x, 1.0, scale=2.0) == 19.0
    y, cache = scaled_square.forward(x, 1.0, scale=2.0)
    assert y == 19.0
    assert scaled_square.backward(cache, dy) == (24.0, 2.0)
    assert scaled_square.reference(x, 1.0, scale=2.0) == 19.0
    assert jax.grad(scaled_square)(x, 1.0, scale=2.0) == 12.0


def test_it_looks_like_its_forward():
    assert isinstance(scaled_square, HandDerived)
    assert isinstance(scaled_square, Op)
    assert scaled_square.__doc__.startswith("scaled_square(x, offset=0.0, *, scale=1.0)\n\ny = scale x² + offset.")
    assert (scaled_square.name, scaled_square.__name__) == ("scaled_square", "scaled_square")
    assert scaled_square.arguments == ("x", "offset")
    assert repr(scaled_square) == "<op scaled_square(x, offset)>"
    assert callable(scaled_square_backward)  # defbackward returns the function unchanged


def test_the_rule_is_what_differentiates():
    """A rule that says 10 x in place of 2 x is followed by every mode, so the rule is really used."""
    @hand_derived
    def f(x):
        return x * x, x

    @f.defbackward
    def f_backward(x, dy):
        return (10 * x * dy,)

    x = jnp.asarray(3.0)
    assert jax.grad(f)(x) == 30.0
    assert jax.jvp(f, (x,), (1.0,))[1] == 30.0
    assert jax.grad(jax.grad(f))(x) == 10.0
    assert jax.jacfwd(jax.jit(f))(x) == 30.0
    assert_close(jax.vmap(jax.grad(f))(jnp.arange(3.0)), 10 * jnp.arange(3.0))
    assert jax.grad(f.reference)(x) == 6.0


def test_python_numbers_and_numpy_arrays():
    assert scaled_square(3) == 9
    assert scaled_square(3.0) == 9.0
    assert isinstance(scaled_square(np.float32(3.0)), jax.Array)
    assert_close(jax.vmap(jax.grad(scaled_square))(np.ones(3, np.float32)), jnp.full(3, 2.0))
    assert jnp.result_type(ops.sigmoid(np.ones(2, np.float32))) == jnp.float32


def test_arguments_by_name_and_defaults():
    assert scaled_square(x=2.0) == 4.0
    assert scaled_square(2.0, offset=1.0) == 5.0
    assert jax.grad(lambda x, o: scaled_square(x=x, offset=o), 1)(2.0, 1.0) == 1.0


def test_eager_linearity_check_is_made_once_for_each_shape():
    """Tracing the backward at every call would make eager code slow."""
    traces = []

    @hand_derived
    def f(x):
        return x * 2, None

    @f.defbackward
    def f_backward(_, dy):
        traces.append(dy)
        return (dy * 2,)

    jax.grad(f)(1.0)
    first = len(traces)
    traces.clear()
    jax.grad(f)(2.0)
    assert len(traces) < first


def test_one_trace_under_jit():
    calls = []

    @hand_derived
    def f(x, *, n=1):
        calls.append(n)
        return x * n, Static(n)

    @f.defbackward
    def f_backward(n, dy):
        return (dy * n.value,)

    step = jax.jit(jax.grad(chex.assert_max_traces(lambda x: f(x, n=3), n=1)))
    assert [step(x) for x in (1.0, 2.0, 3.0)] == [3.0, 3.0, 3.0]
    assert set(calls) == {3}


def test_static_crosses_jit_and_compares():
    assert jax.tree.leaves(Static((2, 2))) == []
    assert Static((1, 2)) == Static((1, 2))
    assert Static(1) != Static(2)
    assert Static(1) != 1
    assert hash(Static("a")) == hash(Static("a"))
    assert repr(Static((2,))) == "Static((2,))"
    _, cache = jax.jit(scaled_square.forward, static_argnames="scale")(2.0, scale=3.0)
    assert cache[1] == Static(3.0)


def test_explicit_backward_crosses_jit_and_vmap():
    x = jnp.arange(6.0).reshape(3, 2)
    _, cache = jax.vmap(ops.leaky_relu.forward)(x)
    (dx,) = jax.jit(jax.vmap(ops.leaky_relu.backward))(cache, jnp.ones_like(x))
    assert_close(dx, jax.vmap(jax.grad(lambda x: jnp.sum(ops.leaky_relu.reference(x))))(x))


def test_closed_over_values_move_too():
    """A rule used inside another function, its arguments depending on what is differentiated."""
    f = lambda x: jnp.sum(ops.softmax(ops.tanh(x) * x) * x)  # noqa: E731
    g = lambda x: jnp.sum(ops.softmax.reference(ops.tanh.reference(x) * x) * x)  # noqa: E731
    x = jnp.asarray([0.3, -1.0, 2.0])
    assert_close(jax.hessian(f)(x), jax.hessian(g)(x))


@pytest.mark.parametrize("transform", [jax.grad, jax.jit, lambda f: jax.vmap(f), jax.checkpoint])
def test_errors_of_the_op_come_through(transform):
    def cost(x):
        return jnp.sum(ops.dense({"weight": jnp.ones((2, 3))}, x))

    x = jnp.ones((1, 4)) if transform not in (jax.grad, jax.jit, jax.checkpoint) else jnp.ones(4)
    with pytest.raises(ValueError, match=r"dense expects x of shape \(3,\); got \(4,\)"):
        transform(cost)(x)
