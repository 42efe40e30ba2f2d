"""Traps that every op of the catalogue is tried on: mixed dtypes, an empty batch, NaN in one example of a batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.catalogue import CASES
from jaxnn.cotangents import is_inexact
from jaxnn.ops import softmax_cross_entropy
from tests.compare import QUICKLY

OPS = [case for case in CASES if case.kind != "network"]
EACH = pytest.mark.parametrize("case", OPS, ids=[case.name for case in OPS])
# What an op's value keeps beside the rule of dtypes, by its argument: running statistics have their own.
OUTSIDE_THE_RULE = {"state"}
# Of one example NaN reaches the others: a batch is normalized together.
MIXES_EXAMPLES = {"batch_norm"}


def value(case, y):
    """Without the state that batch norm gives beside it."""
    return y[0] if case.kind == "state" else y


@EACH
@pytest.mark.parametrize("dtypes", [("float32", "bfloat16"), ("bfloat16", "float32"), ("float16", "bfloat16")], ids=str)
def test_one_promotion_rule(case, dtypes):
    """Each argument, and each entry of params, in turns of two dtypes."""
    args = case.args()
    leaves, tree = jax.tree_util.tree_flatten_with_path(args)
    mixed = [leaf.astype(dtypes[n % 2]) if is_inexact(leaf) else leaf for n, (_, leaf) in enumerate(leaves)]
    names = [case.op.arguments[path[0].idx] for path, _ in leaves]
    counted = [leaf.dtype for leaf, name in zip(mixed, names) if is_inexact(leaf) and name not in OUTSIDE_THE_RULE]
    want = functools.reduce(jnp.promote_types, counted)
    smooth = [n for n, leaf in enumerate(mixed) if is_inexact(leaf)]

    def program(moving):
        filled = dict(zip(smooth, moving, strict=True))
        given = jax.tree.unflatten(tree, [filled.get(n, leaf) for n, leaf in enumerate(mixed)])
        return value(case, case.op(*given, **case.static))

    def both(moving):
        y, pull_back = jax.vjp(program, moving)
        return y, pull_back(jax.tree.map(jnp.ones_like, y))[0]

    moving = [mixed[n] for n in smooth]
    y, cotangents = jax.eval_shape(both, moving)
    assert {leaf.dtype for leaf in jax.tree.leaves(y)} == {want}
    assert [leaf.dtype for leaf in cotangents] == [leaf.dtype for leaf in moving]


@EACH
def test_an_empty_batch(case):
    if "examples" in case.sizes:
        pytest.skip("statistics of no examples are undefined")
    args, axes = case.batch(2)
    none = tuple(arg if axis is None else jax.tree.map(lambda leaf: leaf[:0], arg)
                 for arg, axis in zip(args, axes, strict=True))
    y = jax.eval_shape(jax.vmap(functools.partial(case.op, **case.static), axes), *none)
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(y))


@EACH
def test_nan_in_one_example_stays_there(case):
    """Values and cotangents of the other examples are those of a batch without it."""
    if case.name in MIXES_EXAMPLES:
        pytest.skip("examples are normalized together")
    args, axes = case.batch(3)
    own = [n for n, axis in enumerate(axes) if axis is not None and is_inexact(jax.tree.leaves(args[n])[0])]

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    def program(moving):
        def f(*moving):
            filled = dict(zip(own, moving, strict=True))
            op = functools.partial(case.op, **case.static)
            return value(case, jax.vmap(op, axes)(*(filled.get(n, arg) for n, arg in enumerate(args))))

        y, pull_back = jax.vjp(f, *moving)
        return y, pull_back(jax.tree.map(jnp.ones_like, y))

    moving = [args[n] for n in own]
    spoilt = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), moving)
    for got, want in zip(*(jax.tree.leaves(program(m)) for m in (spoilt, moving)), strict=True):
        np.testing.assert_array_equal(got[::2], want[::2])


def test_softmax_cross_entropy_of_no_examples():
    zeros = jnp.zeros((0, 4))
    assert jax.vmap(softmax_cross_entropy)(zeros, zeros).shape == (0,)
    assert jax.vmap(jax.grad(softmax_cross_entropy))(zeros, zeros).shape == (0, 4)
