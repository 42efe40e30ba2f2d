"""Every op under every transformation: what comes out has the shapes and dtypes of the plain call.

What the values are is looked at for one op of each kind, in tests/test_hand_derived_transformations.py: a
transformation does not look into the calculus. Here each op is traced, and nothing is compiled.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxnn import Dense, Sequential, relu, softmax_cross_entropy
from jaxnn.training import evaluate, make_step, start, start_from
from tests.cases import ONE_OF_EACH
from tests.compare import assert_close
from tests.traps.table import OPS, split


def shapes(tree):
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def of_two(tree):
    return [((2, *shape), dtype) for shape, dtype in shapes(tree)]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name, marks=[] if case.name in ONE_OF_EACH.values() else
                                               [pytest.mark.exhaustive]) for case in OPS])
def test_every_op_under_every_transformation(case):
    moving, f = split(case, case.args())
    y = jax.eval_shape(f, moving)
    dy = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), y)
    traced = jax.eval_shape

    def gradient(m):
        return jax.vjp(f, m)[1](dy)[0]

    def cost(m):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(f(m)))

    assert shapes(traced(jax.jit(f), moving)) == shapes(y)
    assert shapes(traced(jax.jit(gradient), moving)) == shapes(traced(gradient, moving)) == shapes(moving)
    assert shapes(traced(jax.checkpoint(f), moving)) == shapes(y)
    assert shapes(traced(jax.grad(jax.checkpoint(cost)), moving)) == shapes(moving)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), moving)
    assert shapes(traced(jax.vmap(f), two)) == of_two(y)
    assert shapes(traced(jax.vmap(gradient), two)) == of_two(moving)
    assert shapes(traced(lambda two: jax.vjp(jax.vmap(f), two)[1](jax.tree.map(
        lambda d: jnp.stack([d, d]), dy))[0], two)) == of_two(moving)
    four = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), two)
    assert shapes(traced(jax.vmap(jax.vmap(f)), four)) == [((2, *shape), dtype) for shape, dtype in of_two(y)]
    assert shapes(traced(lambda two: jax.lax.scan(lambda c, m: (c, f(m)), 0, two)[1], two)) == of_two(y)
    assert shapes(traced(lambda two: jax.lax.map(gradient, two), two)) == of_two(moving)
    pushed = traced(lambda m: jax.jvp(f, (m,), (jax.tree.map(jnp.zeros_like, m),)), moving)
    assert shapes(pushed) == 2 * shapes(y)
    assert shapes(traced(lambda m: jax.linearize(f, m)[1](m), moving)) == shapes(y)
    assert len(jax.tree.leaves(traced(jax.jacfwd(f), moving))) == len(jax.tree.leaves(y)) * len(moving)
    second = traced(lambda m: jax.jvp(jax.grad(cost), (m,), (m,))[1], moving)
    assert shapes(second) == shapes(moving)
    assert shapes(traced(jax.grad(lambda m: sum(jnp.sum(g * g) for g in jax.grad(cost)(m))), moving)) == shapes(moving)


ON_TWO = [pytest.param(case, id=case.name, marks=[] if case.name == "dense" else [pytest.mark.exhaustive])
          for case in OPS if "examples" not in case.sizes]


@pytest.mark.parametrize("case", ON_TWO)
def test_sharded_over_two_devices(case):
    """The gradient of a batch that lies on two devices is that of the batch on one."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    args, axes = case.batch(4)
    op = jax.vmap(functools.partial(case.op, **case.static), axes)
    leaves, tree = jax.tree.flatten(args)
    moves = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def cost(moving):
        remaining = iter(moving)
        filled = [next(remaining) if m else leaf for m, leaf in zip(moves, leaves)]
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(op(*jax.tree.unflatten(tree, filled))))

    each = [axis for arg, axis in zip(args, axes) for _ in jax.tree.leaves(arg)]
    moving = [leaf for leaf, m in zip(leaves, moves) if m]
    put = [jax.device_put(leaf, NamedSharding(mesh, P() if axis is None else P("data")))
           for leaf, axis, m in zip(leaves, each, moves) if m]
    gradient = jax.jit(jax.grad(cost))
    assert_close(jax.device_get(gradient(put)), jax.device_get(gradient(moving)))


def test_arrays_of_the_caller_stay_readable():
    """A step takes over the buffers of its train state, and of nothing else: not of what an initializer or a caller
    gave, not of a batch, and not of a state's copy."""
    saved, shared = jnp.arange(3.0), jnp.ones((3, 2))
    optimizer = optax.adam(0.1)
    layer = Dense(3, bias_init=lambda *args: saved, weight_init=lambda *args: shared.T)
    x, labels, key = jnp.ones((4, 2)), jnp.array([0, 1, 2, 0]), jax.random.key(0)
    step = make_step(layer, softmax_cross_entropy, optimizer)
    params = {"weight": shared, "bias": saved}
    for train_state in (start(layer, optimizer, (2,), key), start_from(params, {}, optimizer, key)):
        after, _ = step(train_state, x, labels)
        evaluate(layer, after.params, after.state, x)
        for leaf in jax.tree.leaves((saved, shared, params, x, labels, after)):
            assert not leaf.is_deleted()
            np.asarray(leaf if leaf is not after.key else 0)
        assert jax.random.key_data(key).shape == (2,)


def test_constructors_under_jit_and_eval_shape():
    """init and start are functions of the key like any other."""
    net, optimizer = Sequential(Dense(3), relu, Dense(2)), optax.adam(0.1)
    make = functools.partial(start, net, optimizer, (4,))
    abstract = jax.eval_shape(make, jax.random.key(0))
    traced = jax.jit(make)(jax.random.key(0))
    assert shapes(abstract) == shapes(traced) == shapes(make(jax.random.key(0)))
    params, _ = jax.jit(lambda key: net.init(key, (4,)))(jax.random.key(0))
    assert shapes(params) == shapes(abstract.params)
