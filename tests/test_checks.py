"""What is checked at the edges, and how it is said."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import InputError
from jaxnn.checks import at, expect, expect_float, expect_integers, expect_shape, known


def message(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


def test_a_refusal_is_one_sentence():
    assert message(expect, False, "dense", "a weight", "None", "pass one") == (
        "dense expects a weight; got None; pass one")
    assert message(expect, False, "dense", "a weight", "None") == "dense expects a weight; got None"
    expect(True, "dense", "a weight", "None")


def test_it_is_a_value_error_and_a_type_error():
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, TypeError)


@pytest.mark.parametrize(("shape", "wanted"), [
    ((2, 3), (2, 3)), ((2, 3), ("n_out", 3)), ((2, 3), ("n_out", "n_in")), ((), ()), ((5,), ("n",)),
])
def test_shapes_that_fit(shape, wanted):
    expect_shape("op", "x", jnp.ones(shape), wanted)


@pytest.mark.parametrize(("shape", "wanted", "said"), [
    ((2,), (3,), "op expects x of shape (3,); got (2,)"),
    ((2, 3), (3,), "op expects x of shape (3,); got (2, 3)"),
    ((2, 3), ("n_out", 4), "op expects x of shape (n_out, 4); got (2, 3)"),
    ((3,), (), "op expects x of shape (); got (3,)"),
    ((), ("n",), "op expects x of shape (n,); got ()"),
])
def test_shapes_that_do_not(shape, wanted, said):
    assert message(expect_shape, "op", "x", jnp.ones(shape), wanted) == said
    assert message(expect_shape, "op", "x", jnp.ones(shape), wanted, "do this") == f"{said}; do this"


def test_dtypes():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        expect_float("op", "x", jnp.ones(2, dtype))
    for dtype in (jnp.int32, jnp.uint8):
        expect_integers("op", "x", jnp.ones(2, dtype))
    assert message(expect_float, "op", "x", jnp.ones(2, jnp.int32)) == (
        "op expects floating-point x; got int32; convert it: x.astype(jnp.float32)")
    assert message(expect_float, "op", "x",
                   jnp.ones(2, bool)).startswith("op expects floating-point x; got bool")
    assert message(expect_float, "op", "x", jnp.ones(2, complex)).endswith("x.astype(jnp.float32)")
    assert message(expect_integers, "op", "ids", jnp.ones(2)) == (
        "op expects integer ids; got float32; convert it: ids.astype(jnp.int32)")


def test_path_is_added_from_inside_out():
    def fail():
        with at("net"), at("2"), at(layer="Sequential"), at("head"), at(layer="Dense"):
            expect(False, "dense", "x", "y")

    assert message(fail) == "Dense at 'net/2/head' expects x; got y"


def test_without_a_layer_the_op_is_named():
    def fail():
        with at("0"):
            expect(False, "dense", "x", "y")

    assert message(fail) == "dense at '0' expects x; got y"


def test_the_innermost_layer_is_named():
    def fail():
        with at(layer="Sequential"), at("1"), at(layer="Dense"):
            expect(False, "dense", "x", "y")

    assert message(fail) == "Dense at '1' expects x; got y"


def test_other_errors_pass_unchanged():
    with pytest.raises(ZeroDivisionError), at("1", layer="Dense"):
        1 / 0  # noqa: B018


def test_known_values():
    seen = []

    def look(x):
        seen.append(known(x))
        return x

    look(jnp.asarray([1, 2]))
    jax.vmap(look)(jnp.asarray([3, 4]))
    jax.vmap(jax.vmap(look))(jnp.asarray([[5], [6]]))
    jax.jit(look)(jnp.asarray([1, 2]))
    jax.jit(jax.vmap(look))(jnp.asarray([1, 2]))
    jax.vmap(jax.jit(look))(jnp.asarray([1, 2]))
    jax.eval_shape(look, jnp.asarray([1]))
    np.testing.assert_array_equal(seen[0], [1, 2])
    np.testing.assert_array_equal(seen[1], [3, 4])
    np.testing.assert_array_equal(seen[2], [[5], [6]])
    assert seen[3:] == [None] * 4


def test_values_under_differentiation_are_not_looked_at():
    """A label that is differentiated is a tracer, whose value may or may not be there; no error comes."""
    jax.grad(lambda x: jnp.sum(x) if known(x) is None or known(x).size else x)(jnp.ones(2))


def test_message_survives_reraising():
    error = InputError("dense", "expects a; got b")
    assert str(error) == "dense expects a; got b"
    assert re.fullmatch(r"InputError\('dense', 'expects a; got b'\)", repr(error))
