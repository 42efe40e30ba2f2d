"""Every op in every floating-point dtype, and in mixtures of them."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxnn import chain, ops
from tests.cases import CASES, Case, array, distribution, integers, several, tree, weights
from tests.compare import QUICKLY, assert_close, random_like
from tests.test_hand_derived_transformations import Smooth, weigh

# In float64 the same two are columns of test_hand_derived_transformations.py.
DTYPES = ("float32", "bfloat16", "float16")


@functools.lru_cache(maxsize=1)
def row(name):
    """{dtype: {column: (of the op, of the reference)}}, compiled as one program."""
    case = next(case for case in CASES if case.name == name)
    inputs = {dtype: Smooth(case, 2, dtype) for dtype in DTYPES}

    def program(leaves):
        return {dtype: columns(case.op, case, inputs[dtype], *leaves[dtype]) for dtype in DTYPES}

    leaves = {dtype: (smooth_args.smooth, smooth_args.rough) for dtype, smooth_args in inputs.items()}
    return jax.jit(program, compiler_options=QUICKLY)(leaves)


def columns(op, case, smooth_args, m, r):
    def both(transformation):
        return tuple(transformation(smooth_args.value(functools.partial(f, **case.static)))
                     for f in (op, op.reference))

    at_first = functools.partial(smooth_args.example, 0)
    return {
        "jvp": both(lambda f: jax.jvp(lambda m: f(*at_first(m, r)), (m,), (random_like(m, 1),))),
        "grad of vmap": both(lambda f: jax.grad(lambda m: weigh(
            jax.vmap(f, in_axes=smooth_args.axes, axis_name="examples")(m, r)))(m)),
    }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_equals_the_reference_in_each_dtype(name, dtype):
    for got, want in row(name)[dtype].values():
        assert {leaf.dtype for leaf in jax.tree.leaves(want)} == {jnp.dtype(dtype)}
        assert_close(got, want)


def of(dtype, make):
    """The argument in a dtype of its own."""
    return lambda rng, _: make(rng, dtype)


def mixed(name, op, *arguments, **static):
    return Case(name, op, arguments, static, (0,) if len(arguments) > 1 else ())


MIXED = [
    mixed("float32 weights, bfloat16 x", ops.dense, of("float32", weights(4, 6)), of("bfloat16", array(4))),
    mixed("bfloat16 weights, float32 x", ops.dense, of("bfloat16", weights(4, 6)), of("float32", array(4))),
    mixed("float16 weight, float32 bias", ops.dense,
          tree(weight=of("float16", array(2, 4)), bias=of("float32", array(2))), of("float16", array(4))),
    mixed("float64 weights, float32 x", ops.dense, of("float64", weights(4, 6)), of("float32", array(4))),
    mixed("network with float32 weights, bfloat16 x", chain(ops.dense, ops.gelu, ops.dense),
          several(of("float32", weights(4, 3)), several(), of("float32", weights(3, 2))),
          of("bfloat16", array(4))),
    mixed("bfloat16 logits, float32 distribution", ops.softmax_cross_entropy,
          of("bfloat16", array(4)), of("float32", distribution(4))),
    mixed("float32 logits, float16 labels", ops.binary_cross_entropy,
          of("float32", array(3)), of("float16", distribution(3))),
    mixed("bfloat16 logits, integer label", ops.softmax_cross_entropy,
          of("bfloat16", array(4)), integers(0, 4), smoothing=0.1),
    mixed("bfloat16 predictions, float32 targets", ops.squared_error,
          of("bfloat16", array(3)), of("float32", array(3))),
    mixed("float32 predictions, float16 targets", ops.huber,
          of("float32", array(3)), of("float16", array(3))),
    mixed("float32 and float16 added", ops.add, several(of("float32", array(3)), of("float16", array(3)))),
    mixed("bfloat16 and float32 concatenated", ops.concatenate,
          several(of("bfloat16", array(2)), of("float32", array(3)))),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", MIXED, ids=[case.name for case in MIXED])
def test_mixed_dtypes(case):
    """A gradient has its argument's dtype; the rounding is that of the coarsest dtype."""
    smooth_args = Smooth(case, 2)
    program = functools.partial(columns, case.op, case, smooth_args)
    compared = jax.jit(program, compiler_options=QUICKLY)(smooth_args.smooth, smooth_args.rough)
    coarsest = max(float(jnp.finfo(leaf.dtype).eps) for leaf in smooth_args.smooth)
    for got, want in compared.values():
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            threshold = 16 * coarsest / float(jnp.finfo(w.dtype).eps)
            assert_close(g, w, threshold)
    for gradient, argument in zip(compared["grad of vmap"][0], smooth_args.smooth, strict=True):
        assert gradient.dtype == argument.dtype
