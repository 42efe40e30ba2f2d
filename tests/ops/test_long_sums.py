"""Sums of 10,000 terms in bfloat16 and float16, over a batch, over places and over branches: right to one rounding.

XLA on CPU may keep a sum wider than it was asked to, so the program is looked at too: no sum in half precision.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from jaxnn.linearity import equations

N = 10_000
SUMS = ("reduce_sum", "scatter-add", "scatter_add", "cumsum", "reduce_window_sum", "psum")


class Sum(NamedTuple):
    """The gradient of the sum of f(moving, rest) in `moving`, of which each leaf is `total`."""

    f: Callable
    moving: Any
    rest: Any
    total: float = N


def of_each(op, **static):
    """A batch that shares `moving`."""
    return lambda shared, x: jax.vmap(functools.partial(op, **static), (None, 0))(shared, x)


def ones(*shape):
    return np.ones(shape, np.float32)


def bias(op, **weights):
    """The bias moves alone, or with the weights."""
    return lambda b, x: of_each(op)({**{name: jnp.asarray(w, x.dtype) for name, w in weights.items()}, "bias": b}, x)


def normalized(op, params, x):
    state = {"mean": jnp.zeros(1), "variance": jnp.ones(1)}
    return jax.vmap(lambda x: op(params, state, x)[0], axis_name="examples")(x)


RNN = {"weight_x": 0 * ones(1, 1), "weight_h": 0 * ones(1, 1)}
Z = 0 * ones(N, 2)
CASES = {
    "dense": Sum(of_each(ops.dense), {"weight": ones(1, 1), "bias": ones(1)}, ones(N, 1)),
    "dense, bias": Sum(bias(ops.dense, weight=ones(1, 1)), ones(1), ones(N, 1)),
    "dense, shared x": Sum(lambda b, w: jax.vmap(lambda w: ops.dense({"weight": w, "bias": b}, w[0]))(w), ones(1),
                           ones(N, 1, 1)),
    "dense, x": Sum(lambda x, w: ops.dense({"weight": w}, x), ones(1), ones(N, 1)),
    "conv, places": Sum(ops.conv, {"kernel": ones(1, 1, 1), "bias": ones(1)}, ones(N, 1)),
    "conv, batch": Sum(of_each(ops.conv), {"kernel": ones(1, 1, 1), "bias": ones(1)}, ones(N, 1, 1)),
    "conv, bias": Sum(bias(ops.conv, kernel=ones(1, 1, 1)), ones(1), ones(100, 100, 1)),
    "embedding, places": Sum(ops.embedding, {"table": ones(1, 1)}, np.zeros(N, int)),
    "embedding, batch": Sum(of_each(ops.embedding), {"table": ones(1, 1)}, np.zeros((N, 1), int)),
    "batch_norm, bias": Sum(functools.partial(normalized, ops.batch_norm), {"bias": ones(1)}, ones(N, 1)),
    "batch_norm_inference": Sum(functools.partial(normalized, ops.batch_norm_inference),
                                {"scale": ones(1), "bias": ones(1)}, ones(N, 1)),
    "batch_norm_inference, bias": Sum(functools.partial(normalized, ops.batch_norm_inference), {"bias": ones(1)},
                                      ones(N, 1)),
    "rnn": Sum(lambda p, x: of_each(ops.rnn)(p, x)[0], RNN | {"bias": 0 * ones(1)}, ones(2500, 4, 1)),
    "rnn, bias": Sum(lambda b, x: bias(ops.rnn, **RNN)(b, x)[0], 0 * ones(1), ones(2500, 4, 1)),
    "add, batch": Sum(of_each(lambda shared, x: ops.add((shared, x))), ones(1), ones(N, 1)),
    "concatenate, batch": Sum(of_each(lambda shared, x: ops.concatenate((x, shared))), ones(1), ones(N, 1)),
    "squared_error, shared targets": Sum(of_each(lambda t, p: ops.squared_error(p, t)), 0 * ones(1), -ones(N, 1) / 2),
    "huber, shared targets": Sum(of_each(lambda t, p: ops.huber(p, t)), 0 * ones(1), -ones(N, 1)),
    "a loss's weight": Sum(of_each(lambda w, p: ops.squared_error(p, 0 * p, w)), ones(), ones(N, 1)),
    "class weights": Sum(of_each(lambda c, z: ops.softmax_cross_entropy(z, 0, None, c)), ones(1), 0 * ones(N, 1), 0),
    "shared logits": Sum(of_each(lambda z, t: ops.softmax_cross_entropy(z, t)), 0 * ones(2), np.ones(N, int), None),
    "a question's weight": Sum(of_each(lambda q, z: ops.binary_cross_entropy(z, 1 + 0 * z, None, q)), ones(1),
                               0 * ones(N, 1), N * np.log(2)),
    "attention, shared values": Sum(of_each(lambda v, q: ops.attention(q, v, v)), 0 * ones(1, 1), ones(N, 1, 1)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_gradient(name, dtype):
    case = CASES[name]
    moving, rest = jax.tree.map(lambda a: jnp.asarray(a, dtype if a.dtype == np.float32 else None),
                                (case.moving, case.rest))
    y = jax.eval_shape(case.f, moving, rest)

    def gradient(moving, rest):
        return jax.vjp(lambda moving: case.f(moving, rest), moving)[1](jnp.ones(y.shape, y.dtype))[0]

    program = jax.jit(gradient).trace(moving, rest)
    found = program.lower().compile()(moving, rest)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert leaf.dtype == dtype
        if not jax.tree_util.keystr(path).endswith("weight_h']"):
            want = [N / 2, -N / 2] if case.total is None else case.total
            np.testing.assert_allclose(leaf.astype(jnp.float32).ravel(), want, rtol=float(jnp.finfo(dtype).eps))
    for eqn in equations(program.jaxpr.jaxpr):
        if eqn.primitive.name in SUMS and eqn.outvars[0].aval.size < eqn.invars[0].aval.size:
            assert eqn.outvars[0].aval.dtype == jnp.float32, eqn
