"""Every op in every floating-point dtype, and in mixtures of them."""

import functools

import jax
import jax.numpy as jnp
import pytest

from experiments.catalogue import Case
from jaxnn import ops
from tests.cases import CASES, ONE_OF_EACH, find, typical
from tests.compare import assert_close, random_like
from tests.test_hand_derived_transformations import Smooth, weigh

DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}  # f64: test_hand_derived_transformations.py


@functools.lru_cache(maxsize=1)
def row(name):
    """{dtype: {column: (of the op, of the reference)}}, compiled as one program."""
    case = find(name)
    inputs = {dtype: Smooth(case, 2, dtype) for dtype in DTYPES}

    def program(leaves):
        return {dtype: columns(case, inputs[dtype], *leaves[dtype]) for dtype in DTYPES}

    leaves = {dtype: (smooth_args.smooth, smooth_args.rough) for dtype, smooth_args in inputs.items()}
    return jax.jit(program)(leaves)


def columns(case, smooth_args, m, r):
    """The gradient of a batch; and for one op of each kind the push-forward, where there is one."""
    def both(transformation):
        return tuple(transformation(smooth_args.value(functools.partial(f, **case.static)))
                     for f in (case.op, case.op.reference))

    at_first = functools.partial(smooth_args.example, 0)
    found = {"grad of vmap": both(lambda f: jax.grad(lambda m: weigh(
        jax.vmap(f, in_axes=smooth_args.axes, axis_name="examples")(m, r)))(m))}
    if case.name in ONE_OF_EACH.values() and case.kind != "reverse only":
        found["jvp"] = both(lambda f: jax.jvp(lambda m: f(*at_first(m, r)), (m,), (random_like(m, 1),)))
    return found


@pytest.mark.exhaustive
@pytest.mark.sampled
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", typical(case.name for case in CASES if case.kind != "network"))
def test_equals_the_reference_in_each_dtype(name, dtype):
    for got, want in row(name)[dtype].values():
        assert {leaf.dtype for leaf in jax.tree.leaves(want)} == {jnp.dtype(DTYPES[dtype])}
        assert_close(got, want)


def mixed(name, op, arguments, **static):
    return Case(name, op, "weight", arguments, {}, static, shared=("params",))


MIXED = [
    mixed("float32 weights, bfloat16 x", ops.dense, "{weight: f32[6,4], bias: f32[6]} bf16[4]"),
    mixed("bfloat16 weights, float32 x", ops.dense, "{weight: bf16[6,4], bias: bf16[6]} f32[4]"),
    mixed("float16 weight, float32 bias", ops.dense, "{weight: f16[2,4], bias: f32[2]} f16[4]"),
    mixed("float64 weights, float32 x", ops.dense, "{weight: f64[6,4], bias: f64[6]} f32[4]"),
    mixed("bfloat16 logits, float32 distribution", ops.softmax_cross_entropy, "bf16[4] f32[4]/sum"),
    mixed("float32 logits, float16 labels", ops.binary_cross_entropy, "f32[3] f16[3]>0"),
    mixed("bfloat16 logits, integer label", ops.softmax_cross_entropy, "bf16[4] i32[]<4", smoothing=0.1),
    mixed("bfloat16 predictions, float32 targets", ops.squared_error, "bf16[3] f32[3]"),
    mixed("float32 predictions, float16 targets", ops.huber, "f32[3] f16[3]"),
    mixed("float32 and float16 added", ops.add, "(f32[3], f16[3])"),
    mixed("bfloat16 and float32 concatenated", ops.concatenate, "(bf16[2], f32[3])"),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", MIXED, ids=[case.name for case in MIXED])
def test_mixed_dtypes(case):
    """A gradient has its argument's dtype; the rounding is that of the coarsest dtype."""
    smooth_args = Smooth(case, 2)
    program = functools.partial(columns, case, smooth_args)
    compared = jax.jit(program)(smooth_args.smooth, smooth_args.rough)
    coarsest = max(float(jnp.finfo(leaf.dtype).eps) for leaf in smooth_args.smooth)
    for got, want in compared.values():
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            threshold = 16 * coarsest / float(jnp.finfo(w.dtype).eps)
            assert_close(g, w, threshold)
    for gradient, argument in zip(compared["grad of vmap"][0], smooth_args.smooth, strict=True):
        assert gradient.dtype == argument.dtype
