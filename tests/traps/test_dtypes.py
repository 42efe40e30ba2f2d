"""Dtypes: one rule of promotion, labels and ids narrower or wider than what they count, Python's numbers, weak types,
float64 beside float32, float16 near its end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import InputError, ops
from jaxnn.cotangents import is_inexact
from tests.traps.table import EACH_ONCE, leaves_of, split, value

# What an op's value keeps beside the rule of dtypes, by its argument: running statistics have their own.
OUTSIDE_THE_RULE = {"state"}


def mixed(case, args, dtypes):
    """The arguments with their floating-point leaves in turns of two dtypes, and the dtype to which they promote."""
    leaves, tree = jax.tree.flatten(args)
    cast = [leaf.astype(dtypes[n % 2]) if is_inexact(leaf) else leaf for n, leaf in enumerate(leaves)]
    counted = [leaf.dtype for leaf, named in zip(cast, leaves_of(case, args))
               if is_inexact(leaf) and named.argument not in OUTSIDE_THE_RULE]
    return jax.tree.unflatten(tree, cast), functools.reduce(jnp.promote_types, counted)


def expect_promoted(case, dtypes):
    args, want = mixed(case, case.args(), dtypes)
    moving, f = split(case, args)

    def both(moving):
        y, pull_back = jax.vjp(f, moving)
        _, tangents = jax.jvp(f, (moving,), (moving,))
        return y, pull_back(jax.tree.map(jnp.ones_like, y))[0], tangents

    y, cotangents, tangents = jax.eval_shape(both, moving)
    assert {leaf.dtype for leaf in jax.tree.leaves((y, tangents))} == {want}
    assert [leaf.dtype for leaf in cotangents] == [leaf.dtype for leaf in moving]


@pytest.mark.sampled
@EACH_ONCE
@pytest.mark.parametrize("dtypes", [("float32", "bfloat16"), ("bfloat16", "float32"), ("float16", "bfloat16")], ids=str)
def test_one_promotion_rule(case, dtypes):
    """Each argument, and each entry of params, in turns of two dtypes."""
    expect_promoted(case, dtypes)


@pytest.mark.sampled
@EACH_ONCE
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "bfloat16")], ids=str)
def test_float64_beside_others(case, dtypes, x64):
    expect_promoted(case, dtypes)


@EACH_ONCE
def test_weak_types_change_nothing(case):
    """Python's numbers and what comes of them, as 0 * 2.0: they take the dtype of what they meet, and shapes stay."""
    args = case.args(dtype="bf16")
    leaves, tree = jax.tree.flatten(args)
    one = next((n for n, leaf in enumerate(leaves_of(case, args)) if leaf.moves), None)
    weak = jax.lax.broadcast(jnp.asarray(0.5), leaves[one].shape)
    assert weak.weak_type
    leaves[one] = weak
    y = jax.eval_shape(lambda *args: value(case, case.op(*args, **case.static)), *jax.tree.unflatten(tree, leaves))
    others = [leaf for n, leaf in enumerate(leaves) if n != one and leaves_of(case, args)[n].moves]
    strict = {leaf.dtype for leaf in jax.tree.leaves(y)}
    assert strict <= {jnp.dtype("bfloat16"), jnp.dtype("float32")}
    if others and case.kind in ("weight", "scan"):
        assert strict == {jnp.dtype("bfloat16")}, "a weak number widened the others"


TABLE = {"table": jnp.arange(600.0).reshape(300, 2)}
NARROW = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_labels_of_many_classes(dtype):
    """More classes than the dtype holds: a size is never compared in the dtype of the data."""
    n_classes = 70_000 if dtype.endswith("16") else 300
    label = min(np.iinfo(dtype).max, n_classes - 1)
    labels = np.array([0, label], dtype)
    loss, slope = jax.jit(jax.value_and_grad(lambda z: ops.softmax_cross_entropy(z, labels)))(jnp.zeros((2,
        n_classes)))
    np.testing.assert_allclose(loss, 2 * np.log(n_classes), rtol=1e-6)
    np.testing.assert_allclose(slope[1, label], 1 / n_classes - 1, rtol=1e-6)
    assert np.isclose(slope.sum(), 0, atol=1e-4)
    one = ops.softmax_cross_entropy(jnp.zeros(n_classes), jnp.asarray(label, dtype), ignore_label=70_000)
    np.testing.assert_allclose(one, np.log(n_classes), rtol=1e-6)
    if not dtype.endswith("16"):
        ids = np.array([0, label], dtype)
        rows, pull_back = jax.vjp(lambda t: jax.vmap(lambda i: ops.embedding(t, i))(ids), TABLE)
        np.testing.assert_array_equal(rows[1], TABLE["table"][label])
        assert pull_back(jnp.ones_like(rows))[0]["table"][label].tolist() == [1, 1]
        with pytest.raises(InputError, match=f"{np.iinfo(dtype).max}"):
            ops.embedding({"table": TABLE["table"][:100]}, np.array([np.iinfo(dtype).max], dtype))


INTEGERS = {
    "softmax_cross_entropy": lambda i: ops.softmax_cross_entropy(jnp.zeros(5), i),
    "softmax_cross_entropy, ignored": lambda i: ops.softmax_cross_entropy(jnp.zeros(5), i, ignore_label=-1),
    "embedding": lambda i: ops.embedding(TABLE, i),
    "binary_cross_entropy": lambda i: ops.binary_cross_entropy(jnp.zeros(()), i),
    "squared_error": lambda i: ops.squared_error(jnp.zeros(()), i),
    "huber": lambda i: ops.huber(jnp.zeros(()), i),
    "flatten": ops.flatten,
    "weights": lambda i: ops.squared_error(jnp.zeros(()), 0.0, i),
}


@pytest.mark.parametrize("integer", [np.int64(2**32 + 1), np.uint64(2**40), np.uint64(2**63 + 1), np.int64(-(2**32)),
                                     2**33, 2**65], ids=repr)
@pytest.mark.parametrize("name", INTEGERS)
def test_wide_integers_are_refused_and_never_wrapped(name, integer):
    with pytest.raises(InputError, match=r"int32|labels in|x in 0"):
        INTEGERS[name](integer)
    with pytest.raises(InputError, match=r"int32|labels in|x in 0"):
        jax.jit(lambda: INTEGERS[name](integer))()


@pytest.mark.parametrize("label", [1, np.int64(1), np.uint8(1), True, np.bool_(True), np.float16(1.0), 1.0], ids=repr)
def test_a_label_of_yes_in_every_kind(label):
    np.testing.assert_allclose(ops.binary_cross_entropy(0.0, label), np.log(2), rtol=1e-3)  # in float16 too
    np.testing.assert_allclose(ops.squared_error(3.0, label), 4.0)
    np.testing.assert_allclose(ops.huber(3.0, label), 1.5)


BIG = jnp.float16(6e4)
NEAR_THE_END = {
    # f of float16, the value, the cotangent at dy = 1
    "softmax": (lambda x: ops.softmax(x)[0], jnp.array([BIG, -BIG]), 1, [0, 0]),
    "log_softmax": (lambda x: ops.log_softmax(x)[0], jnp.array([BIG, BIG]), -np.log(2), [0.5, -0.5]),
    "softmax_cross_entropy": (lambda z: ops.softmax_cross_entropy(z, 1), jnp.array([BIG, BIG]), np.log(2), [0.5, -0.5]),
    "binary_cross_entropy": (lambda z: ops.binary_cross_entropy(z, jnp.array([1, 0])), jnp.array([BIG, -BIG]), 0,
                             [0, 0]),
    "the mean of squares": (lambda p: ops.squared_error(p, 0 * p, reduction="mean"), jnp.full(100, 200, jnp.float16),
                            4e4,
                            [4.0] * 100),
    "the mean of huber's": (lambda p: ops.huber(p, 0 * p, reduction="mean"), jnp.full(100, BIG), 6e4, [0.01] * 100),
    "attention": (lambda v: ops.attention(jnp.full((1, 64), 40, jnp.float16), jnp.full((4, 64), 40, jnp.float16), v)[0,
        0],
                  jnp.full((4, 1), BIG), 6e4, [[0.25]] * 4),
    "batch_norm": (lambda x: jax.vmap(lambda x: ops.batch_norm({}, {"mean": jnp.zeros(1), "variance": jnp.ones(1)},
                                                               x)[0],
                                      axis_name="examples")(x)[0, 0], jnp.array([[BIG], [-BIG]]), 1, [[0], [0]]),
    "max_pool": (lambda x: ops.max_pool(x[:, None], window=2)[0, 0], jnp.array([-BIG, BIG]), 6e4, [0, 1]),
    "gelu_tanh": (lambda x: ops.gelu_tanh(x)[0], jnp.array([BIG]), 6e4, [1]),
    "silu": (lambda x: ops.silu(x)[0], jnp.array([-BIG]), 0, [0]),
    "lstm": (lambda x: ops.lstm({"weight_x": jnp.ones((4, 1), jnp.float16), "weight_h": jnp.ones((4, 1), jnp.float16)},
                                x)[1][1][0], jnp.array([[BIG]]), 1, [[0]]),
}


@pytest.mark.parametrize("name", NEAR_THE_END)
def test_float16_near_its_end(name):
    f, x, y, slope = NEAR_THE_END[name]
    found, cotangent = jax.jit(jax.value_and_grad(f))(x)
    assert found.dtype == cotangent.dtype == jnp.float16
    np.testing.assert_allclose(np.asarray(found, np.float64), y, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(np.asarray(cotangent, np.float64), slope, rtol=2e-3, atol=1e-3)
