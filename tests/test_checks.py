"""What is checked at the edges, and how a refusal is worded."""

import collections
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import InputError
from jaxnn.checks import (
    Entries,
    at,
    expect,
    expect_array,
    expect_float,
    expect_integers,
    expect_shape,
    is_integer,
    known,
    weights,
)


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


@pytest.mark.parametrize(("shape", "expected"), [
    ((2, 3), (2, 3)), ((2, 3), ("n_out", 3)), ((2, 3), ("n_out", "n_in")), ((), ()), ((5,), ("n",)),
])
def test_shapes_that_fit(shape, expected):
    expect_shape("op", "x", jnp.ones(shape), expected)


@pytest.mark.parametrize(("shape", "expected", "words"), [
    ((2,), (3,), "op expects x of shape (3,); got (2,)"),
    ((2, 1, 3), (3,), "op expects x of shape (3,); got (2, 1, 3)"),
    ((2, 3), ("n_out", 4), "op expects x of shape (n_out, 4); got (2, 3)"),
    ((3, 2), (), "op expects x of shape (); got (3, 2)"),
    ((), ("n",), "op expects x of shape (n,); got ()"),
])
def test_shapes_that_do_not(shape, expected, words):
    assert message(expect_shape, "op", "x", jnp.ones(shape), expected) == words
    assert message(expect_shape, "op", "x", jnp.ones(shape), expected, "do this") == f"{words}; do this"


def test_a_batch_where_one_example_is_due():
    assert message(expect_shape, "op", "x", jnp.ones((2, 3)), (3,)) == (
        "op expects x of shape (3,); got (2, 3); it takes one example: use jax.vmap for a batch, or over_examples "
        "around a layer")


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
    found = []

    def look(x):
        found.append(known(x))
        return x

    look(jnp.asarray([1, 2]))
    jax.vmap(look)(jnp.asarray([3, 4]))
    jax.vmap(jax.vmap(look))(jnp.asarray([[5], [6]]))
    jax.jit(look)(jnp.asarray([1, 2]))
    jax.jit(jax.vmap(look))(jnp.asarray([1, 2]))
    jax.vmap(jax.jit(look))(jnp.asarray([1, 2]))
    jax.eval_shape(look, jnp.asarray([1]))
    np.testing.assert_array_equal(found[0], [1, 2])
    np.testing.assert_array_equal(found[1], [3, 4])
    np.testing.assert_array_equal(found[2], [[5], [6]])
    assert found[3:] == [None] * 4


def test_values_under_differentiation_are_not_looked_at():
    """A label that is differentiated is a tracer, whose value may or may not be there; no error comes."""
    jax.grad(lambda x: jnp.sum(x) if known(x) is None or known(x).size else x)(jnp.ones(2))


def test_message_survives_reraising():
    error = InputError("dense", "expects a; got b")
    assert str(error) == "dense expects a; got b"
    assert re.fullmatch(r"InputError\('dense', 'expects a; got b'\)", repr(error))


def test_known_values_have_the_axes_of_vmap_in_front():
    """Whatever axis is mapped over, and however deep."""
    x, found = np.arange(24).reshape(2, 3, 4), []

    def look(x):
        found.append(known(x))
        return x

    jax.vmap(look, 1)(jnp.asarray(x))
    jax.vmap(jax.vmap(look, 1))(jnp.asarray(x))
    jax.vmap(jax.vmap(look, 1), 2)(jnp.asarray(x))
    np.testing.assert_array_equal(found[0], x.transpose(1, 0, 2))
    np.testing.assert_array_equal(found[1], x.transpose(0, 2, 1))
    np.testing.assert_array_equal(found[2], x.transpose(2, 1, 0))


def test_arrays_and_integers():
    for x in (1, 2.0, True, np.float32(1), np.ones(2), jnp.ones(2), jax.ShapeDtypeStruct((2,), jnp.float32)):
        expect_array("op", "x", x)
    assert message(expect_array, "op", "x", [1, 2]) == (
        "op expects x to be an array; got list; convert it: jnp.asarray(x)")
    assert message(expect_float, "op", "x", None) == "op expects x to be an array; got NoneType"
    assert message(expect_integers, "op", "x", (1,)).startswith("op expects x to be an array; got tuple")
    assert message(expect_shape, "op", "x", "ab", (2,)) == "op expects x to be an array; got str"
    assert is_integer(3) and is_integer(np.uint8(3), 1) and is_integer(-3)
    assert not any(map(is_integer, (True, np.bool_(True), 3.0, "3", None))) and not is_integer(0, 1)


W, B = jnp.ones((3, 2)), jnp.ones(3)


def dense_weights(params):
    return weights("dense", params, weight="n_out n_in", bias="n_out?")


@jax.tree_util.register_pytree_node_class
class Frozen(collections.abc.Mapping):
    """A mapping of another library, which keeps its keys in an order of its own and has no names in its paths."""

    def __init__(self, entries):
        self.entries = dict(entries)

    def __getitem__(self, name):
        return self.entries[name]

    def __iter__(self):
        return iter(self.entries)

    def __len__(self):
        return len(self.entries)

    def tree_flatten(self):
        return tuple(self.entries.values()), tuple(self.entries)

    @classmethod
    def tree_unflatten(cls, names, values):
        return cls(zip(names, values))


@pytest.mark.parametrize("params", [
    {"weight": W, "bias": B}, {"bias": B, "weight": W}, {"weight": W}, {"weight": W, "bias": None},
    collections.OrderedDict(weight=W, bias=B), collections.OrderedDict(bias=None, weight=W),
    collections.defaultdict(lambda: None, weight=W), Frozen({"weight": W, "bias": B}), Frozen({"bias": B, "weight": W}),
    Frozen({"bias": None, "weight": W}),
], ids=lambda params: f"{type(params).__name__}: {', '.join(map(str, params))}, {params.get('bias') is not None}")
def test_weights_come_in_order_and_go_back_into_their_structure(params):
    keys = list(params)
    weight, bias, entries = dense_weights(params)
    assert weight is W and bias is params.get("bias") and list(params) == keys
    assert ("bias" in entries) == (bias is not None)
    like = entries.fill(weight=W + 1, bias=B + 2)
    assert jax.tree.structure(like) == jax.tree.structure(params)
    np.testing.assert_array_equal(like["weight"], W + 1)
    assert bias is None or np.array_equal(like["bias"], B + 2)
    # It rides in a cache: through jit, and equal for equal structures.
    assert jax.tree.leaves(entries) == [] and isinstance(jax.jit(lambda: entries)(), Entries)
    assert dense_weights(params)[2] == entries and hash(dense_weights(params)[2]) == hash(entries)


def test_sizes_are_unified_by_name():
    gates = {"weight_x": jnp.ones((8, 5)), "weight_h": jnp.ones((8, 2)), "bias": jnp.ones(8), "init": jnp.ones(3)}
    shapes = {"weight_x": "4*n n_in", "weight_h": "4*n n", "bias": "4*n", "init": "3"}
    *arrays, _ = weights("lstm", gates, **shapes)
    assert all(a is b for a, b in zip(arrays, gates.values(), strict=True))
    for name, shape, words in (
        ("bias", (6,), "lstm expects bias of shape (8,); got (6,)"),
        ("weight_h", (8, 3), "lstm expects weight_h of shape (8, 2); got (8, 3)"),
        ("weight_x", (7, 5), "lstm expects weight_x of shape (4*n, n_in); got (7, 5)"),
        ("init", (4,), "lstm expects init of shape (3,); got (4,)"),
    ):
        assert message(lambda n=name, s=shape: weights("lstm", gates | {n: jnp.ones(s)}, **shapes)) == words
    for shape in ((3, 2, 5, 4), (5, 4)):
        weights("conv", {"kernel": jnp.ones(shape), "bias": jnp.ones(4)}, kernel="... n_in n_out", bias="n_out")
    assert message(lambda: weights("conv", {"kernel": jnp.ones(4)}, kernel="... n_in n_out")) == (
        "conv expects kernel of shape (..., n_in, n_out); got (4,)")
    weights("empty", {"a": jnp.ones(0), "b": jnp.ones(0)}, a="n", b="n")
    assert message(lambda: weights("empty", {"a": jnp.ones(0), "b": jnp.ones(1)}, a="n", b="n")) == (
        "empty expects b of shape (0,); got (1,)")


ENTRIES = "dense expects params to be {'weight': (n_out, n_in), 'bias': (n_out,) or None}; got "


@pytest.mark.parametrize(("params", "words"), [
    ({"bias": B}, ENTRIES + "keys ['bias']"),
    ({"weight": W, 3: B}, ENTRIES + "keys ['3', 'weight']"),
    ({"weight": None, "bias": B}, ENTRIES + "None for ['weight']"),
    ({}, ENTRIES + "keys []"),
    ((W, B), ENTRIES + "tuple"),
    (None, ENTRIES + "NoneType"),
    (types.MappingProxyType({"weight": W}), ENTRIES + "mappingproxy, which JAX takes for a leaf; convert it: "
     "dict(params)"),
    ({"weight": [[1.0, 2.0]]}, "dense expects weight to be an array; got list; convert it: jnp.asarray(weight)"),
    ({"weight": W.astype(int)}, "dense expects floating-point weight; got int32; convert it"),
    ({"weight": W, "bias": jnp.ones(2)}, "dense expects bias of shape (3,); got (2,)"),
    ({"weight": B}, "dense expects weight of shape (n_out, n_in); got (3,)"),
])
def test_weights_that_do_not_fit(params, words):
    assert message(dense_weights, params).startswith(words)


def test_what_params_are_called():
    assert message(lambda: weights("batch_norm", (), "state", mean="3")) == (
        "batch_norm expects state to be {'mean': (3,)}; got tuple")
