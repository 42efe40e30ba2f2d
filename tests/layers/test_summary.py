"""The table of a layer, and of a plain function: what is in it, what is by hand and what is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import by_autodiff, network, ops
from jaxnn.layers import BatchNorm, Dense, Dropout, Flatten, Parallel, Residual, Sequential, over_examples, summary


def test_the_table_of_a_network():
    net = Sequential(Flatten(), Dense(20), ops.relu, Dropout(0.5), Dense(10))
    assert str(summary(net, (8, 8))) == """\
place     step     backward  output shape  parameters  multiply-adds  bytes of cache
--------  -------  --------  ------------  ----------  -------------  --------------
flatten1  flatten  by hand   (64,)                                                 0
dense1    dense    by hand   (20,)              1,300          1,280             256
relu1     relu     by hand   (20,)                                                20
dropout1  dropout  by hand   (20,)                                                20
dense2    dense    by hand   (10,)                210            200              80
--------  -------  --------  ------------  ----------  -------------  --------------
total                                           1,510          1,480             376"""


def test_names_and_nesting():
    net = Sequential(stem=Dense(4), block=Residual(Sequential(Dense(4), ops.tanh)), head=Dense(2))
    table = summary(net, (3,))
    assert [row.place for row in table.rows] == ["stem", "block/body/dense1", "block/body/tanh1", "block", "head"]
    assert [row.parameters for row in table.rows] == [16, 20, 0, 0, 10]
    params, _ = jax.eval_shape(lambda: net.init(jax.random.key(0), (3,)))
    assert table.parameters == sum(leaf.size for leaf in jax.tree.leaves(params)) == 46


def test_one_layer_alone():
    (row,) = summary(Dense(3), (4,)).rows
    assert row[1:] == ("dense", "by hand", (3,), 15, 0, (), 12)  # x, an argument of the network, costs nothing


def test_cache_bytes_are_those_of_the_cache():
    """Of one example, beyond the arguments: what forward really returns."""
    net = Sequential(Dense(5), ops.gelu, Dense(2))
    params, state = net.init(jax.random.key(0), (3,))
    x = jnp.ones(3)
    _, cache = network(net).forward(params, state, x, train=True)
    given = {id(leaf) for leaf in (*jax.tree.leaves(params), x)}
    kept = {id(leaf): leaf.nbytes for leaf in jax.tree.leaves(cache) if id(leaf) not in given}
    assert summary(net, (3,)).cache_bytes == sum(kept.values()) == 4 * (5 + 5)


def test_dtype_of_x_counts():
    x = jax.ShapeDtypeStruct((4,), jnp.bfloat16)
    assert summary(Sequential(ops.tanh, ops.tanh), x).cache_bytes == 2 * 8


def test_parallel_branches_share_x():
    rows = summary(Sequential(Parallel(Dense(3), Dense(4)), ops.concatenate), (2,)).rows
    assert [(row.place, row.shape) for row in rows] == [
        ("parallel1/dense1", (3,)), ("parallel1/dense2", (4,)), ("concatenate1", (7,))]


def test_a_batch():
    table = summary(over_examples(Sequential(Dense(3), BatchNorm())), (5, 4))
    assert table.parameters == 15 + 6
    assert [row.shape for row in table.rows if row.step == "dense"] == [(5, 3)]


def test_batch_norm_of_one_example():
    """A table of one example needs no batch to average over."""
    rows = summary(Sequential(Dense(3), BatchNorm()), (4,)).rows
    assert [(row.step, row.shape) for row in rows if row.backward == "by hand"] == [
        ("dense", (3,)), ("batch_norm", ((3,), (3,), (3,)))]


def test_summary_makes_no_parameters():
    """Shapes alone are traced, so a layer of a terabyte is tabulated at once."""
    table = summary(Dense(1 << 19), (1 << 19,))
    assert table.parameters == (1 << 38) + (1 << 19)
    assert np.isfinite(table.cache_bytes)


# A plain function.

cube = by_autodiff(lambda x: x**3)


def mixed(params, x):
    """Ops, glue that is linear, glue that is not, an op by autodiff, a scan and a checkpoint."""
    with jax.named_scope("first"):
        h = ops.tanh(ops.dense(params, x))
    h = jnp.concatenate([h, x])[::-1]  # linear
    h = jnp.exp(h[:3]) * jnp.sin(x)  # not linear
    h = cube(h)
    h, _ = jax.lax.scan(lambda h, _: (ops.sigmoid(ops.dense(params, h)), None), h, length=4)
    return jax.checkpoint(ops.relu)(h)


@pytest.mark.parametrize("as_shapes", [False, True])
def test_a_plain_function(as_shapes):
    args = {"weight": jnp.ones((3, 3)), "bias": jnp.ones(3)}, jnp.ones(3)
    if as_shapes:
        args = jax.eval_shape(lambda: args)
    table = summary(mixed, *args)
    ops_of = [(row.step, row.backward, row.shape) for row in table.rows]
    assert ops_of[:2] == [("dense", "by hand", (3,)), ("tanh", "by hand", (3,))]
    assert [row.place for row in table.rows[:2]] == ["first", "first"]
    glue = table.rows[2]
    assert glue.backward == "autodiff"
    assert {"concatenate", "rev", "exp", "mul", "sin"} <= set(glue.step.split(", "))
    assert set(glue.nonlinear) == {"exp", "mul", "sin"}
    assert {"exp", "sin"} <= {name.split(" at ")[0] for name in table.nonlinear}
    assert "not linear: " in str(table)
    assert ops_of[3:] == [
        ("<lambda>", "autodiff", (3,)), ("scan of 4 steps", "by hand", (3,)), ("dense", "by hand", (3,)),
        ("sigmoid", "by hand", (3,)), ("checkpoint", "by hand", (3,)), ("relu", "by hand", (3,))]
    assert [row.place.split("/")[1:] for row in table.rows[4:]] == [
        [], ["scan"], ["scan"], [], ["checkpoint"]]


def test_a_linear_function_has_nothing_to_name():
    table = summary(lambda params, x: ops.dense(params, 2 * x.reshape(4) + 1)[None], {"weight": jnp.ones((3, 4))},
                    jnp.ones((2, 2)))
    assert table.nonlinear == ()
    assert "not linear" not in str(table)
    assert [row.backward for row in table.rows] == ["autodiff", "by hand", "autodiff"]


def test_a_function_of_layers():
    """The mode is a keyword argument, as of a layer."""
    layer = Sequential(Dense(3), Dropout(0.5))

    def pair(params, a, b, key, *, train):
        return sum(layer(params, {}, x, key, train=train)[0] for x in (a, b))

    params, _ = layer.init(jax.random.key(0), (4,))
    steps = {train: [row.step for row in summary(pair, params, jnp.ones(4), jnp.ones(4), jax.random.key(1),
                                                 train=train).rows] for train in (True, False)}
    assert [steps[True].count(name) for name in ("dense", "dropout")] == [2, 2]
    assert [steps[False].count(name) for name in ("dense", "dropout")] == [2, 0]
