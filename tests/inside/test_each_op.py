"""The record of each op in a network's backward pass: where it stands, and that its dy and its cotangents are the
derivatives of the rest of the network."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from jaxnn import (
    LSTM,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    InputError,
    Parallel,
    Residual,
    Sequential,
    hand_derived,
    look_inside,
    network,
    ops,
    over_examples,
)
from jaxnn.inside.look import _recorded, _records
from tests.compare import assert_close, random_like


def records_of(f, *args, **static):
    """(the records of all ops, the cotangents of the arguments' leaves), at a random dy."""
    recording, leaves = network(f).recorded(args, static, watched=True)
    found = []

    @jax.jit
    def program(leaves):
        out, tape = recording.program.forward(leaves)
        smooth = [d if jnp.issubdtype(y.dtype, jnp.inexact) else None
                  for y, d in zip(out, random_like(out, 5), strict=True)]
        cotangents, kept = recording.program.backward(tape, smooth, _recorded)
        found[:] = _records(recording.program, tape, kept)
        return [(r.cache, r.value, r.dy, r.cotangents) for r in found], cotangents

    arrays, cotangents = program(leaves)
    return [r._replace(cache=cache, value=value, dy=dy, cotangents=c)
            for r, (cache, value, dy, c) in zip(found, arrays, strict=True)], cotangents


def arrays(shapes):
    """Random numbers of these shapes, which are tuples of integers."""
    is_shape = lambda s: isinstance(s, tuple) and s != () and all(isinstance(n, int) for n in s)  # noqa: E731
    return random_like(jax.tree.map(jnp.zeros, shapes, is_leaf=is_shape))


def weights(n_in, n_out):
    return {"weight": (n_out, n_in), "bias": (n_out,)}


# Functions of (shift, params, x): shift(n, y) is y plus the n-th of some zeros, whose gradient is ∂L/∂y.


def chain(shift, params, x):
    h = shift(1, ops.tanh(shift(0, ops.dense(params["first"], x))))
    return shift(3, ops.gelu(shift(2, ops.dense(params["last"], h))))


def skips(shift, params, x):
    """A weight that is read twice, a value that three read, and one that goes to the output as it is."""
    a = shift(0, ops.dense(params, x))
    b = shift(1, ops.tanh(a))
    c = shift(2, ops.dense(params, b + 2 * a))
    return {"sum": shift(3, ops.add((a, b, c))), "b": b}


def positions(shift, params, x):
    """vmap inside of the function, with one weight and with a weight for each position."""
    shared = shift(0, jax.vmap(ops.dense, (None, 0))(params["shared"], x))
    own = shift(1, jax.vmap(ops.dense)(params["own"], x))
    return shift(2, ops.softmax(shift(3, ops.concatenate((shared, own))).ravel()))


def jitted(shift, params, x):
    """A part that is compiled by itself is opened."""
    h = jax.jit(lambda x: shift(1, ops.relu(shift(0, ops.dense(params, x)))))(x)
    return shift(2, ops.flatten(h[:, None] * h))


SHAPES = {chain: ({"first": weights(3, 4), "last": weights(4, 2)}, (3,)), skips: (weights(3, 3), (3,)),
          positions: ({"shared": weights(3, 4), "own": {"weight": (5, 2, 3), "bias": (5, 2)}}, (5, 3)),
          jitted: (weights(3, 4), (3,))}
ORDER = {positions: (0, 1, 3, 2)}  # in which the numbered values come to be


def without_shift(n, y):
    return y


@pytest.mark.sampled
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("f", SHAPES, ids=lambda f: f.__name__)
def test_each_dy_is_the_derivative_by_that_value(f, batch):
    params, x = map(arrays, SHAPES[f])
    if batch:
        x = jnp.stack([x, -x, 0.5 * x])
    map_x = (lambda g, n: jax.vmap(g, (*(0,) * (n - 1), None, 0)[-n:])) if batch else (lambda g, n: g)
    plain = map_x(lambda params, x: f(without_shift, params, x), 2)
    records, cotangents = records_of(plain, params, x)
    values = [r.value[0] for r in records]
    numbers = ORDER.get(f, tuple(range(len(values))))

    def shifted(shifts, params, x):
        return f(lambda n, y: y + shifts[numbers.index(n)], params, x)

    @jax.jit
    def wanted(params, x):
        y, pull_back = jax.vjp(network(map_x(shifted, 3)).reference, list(map(jnp.zeros_like, values)), params, x)
        return pull_back(jax.tree.unflatten(jax.tree.structure(y), random_like(jax.tree.leaves(y), 5)))

    dshifts, dparams, dx = wanted(params, x)
    assert_close([r.dy[0] for r in records], dshifts)
    assert_close(cotangents, jax.tree.leaves((dparams, dx)))
    for record in records:  # what it sends back is its own rule's, at the arguments it was given
        assert_close(record.cotangents, jax.jit(record.step.call.backward)(record.cache, record.dy))


def test_dx_of_an_op_is_the_dy_of_the_one_before():
    records, cotangents = records_of(lambda x: ops.gelu(ops.sigmoid(ops.tanh(x))), jnp.arange(3.0))
    assert [r.step.call.op for r in records] == [ops.tanh, ops.sigmoid, ops.gelu]
    for first, second in itertools.pairwise(records):
        assert_close(second.cotangents, first.dy)
    assert_close(records[0].cotangents, cotangents)


@pytest.mark.exhaustive
def test_layers_with_keys_and_states():
    """In a batch each example gets the key that `over_examples` gives it; integers have no gradient."""
    net = over_examples(Sequential(
        Embedding(5, 3), over_examples(Sequential(Dense(4), Dropout(0.5))), Parallel(LSTM(3), LSTM(2)),
        ops.concatenate, BatchNorm(), LSTM(2, return_sequence=False)))
    params, state = jax.jit(lambda key: net.init(key, (7, 6)))(jax.random.key(0))
    x, key = jnp.arange(42).reshape(7, 6) % 5, jax.random.key(3)
    records, cotangents = records_of(lambda *args: net(*args, train=True)[0], params, state, x, key)
    assert [(r.step.place, len(r.step.call.levels)) for r in records] == [
        ("embedding1", 1), *[(f"over_examples_sequential1/{name}1", 2) for name in ("dense", "dropout")],
        ("parallel1/lstm1", 1), ("parallel1/lstm2", 1), ("concatenate1", 1), ("batchnorm1", 1), ("lstm1", 1)]

    @jax.jit
    def wanted(params):
        y, pull_back = jax.vjp(lambda p: network(net).reference(p, state, x, key, train=True)[0], params)
        return pull_back(random_like([y], 5)[0])[0]

    n = jax.tree.structure(params).num_leaves
    assert_close(jax.tree.unflatten(jax.tree.structure(params), cotangents[:n]), wanted(params), 64)
    assert cotangents[-2:] == [None, None]  # x and the key


@hand_derived
def positive(x):
    """A mask: no gradient flows back through it."""
    return (x > 0).astype(jnp.int32), ()


positive.defbackward(lambda cache, dy: (None,))


@pytest.mark.parametrize("batch", [False, True])
def test_before_an_op_without_gradient(batch):
    """No gradient arrives there, which is nothing and not zeros; no backward pass is called."""
    def f(params, x):
        h = ops.tanh(ops.dense(params["first"], x))
        return ops.embedding(params["last"], positive(h))

    params = arrays({"first": weights(3, 4), "last": {"table": (2, 2)}})
    x = random_like(jnp.zeros((5, 3) if batch else 3))
    records, cotangents = records_of(jax.vmap(f, (None, 0)) if batch else f, params, x)
    assert [len(r.dy) for r in records] == [0, 0, 0, 1]
    assert [d is None for d in cotangents] == [True, True, False, True]
    report = look_inside(jax.vmap(f, (None, 0)) if batch else f, params, x)
    assert [row.cotangent is None for row in report.rows] == [True, True, True, False]


# Where an op stands, and where an error comes from.


def test_places_are_the_labels_of_params():
    net = Sequential(first=Conv(2), tail=Sequential(Flatten(), Residual(Dense(18), Dropout(0.5)), ops.relu))
    params, state = jax.jit(lambda key: net.init(key, (3, 3, 1)))(jax.random.key(0))
    args = params, state, jnp.ones((3, 3, 1)), jax.random.key(1)
    records, _ = records_of(lambda *args: net(*args, train=True)[0], *args)
    assert [(r.step.place, r.step.call.op) for r in records] == [
        ("first", ops.conv), ("tail/flatten1", ops.flatten), ("tail/residual1/body", ops.dense),
        ("tail/residual1/shortcut", ops.dropout), ("tail/residual1", ops.add), ("tail/relu1", ops.relu)]


def encoder(params, x):
    with jax.named_scope("encoder"):
        return ops.tanh(ops.dense(params, x))


def test_places_of_a_function_are_scopes_and_lines():
    def f(params, x):
        return ops.relu(encoder(params, x))

    records, _ = records_of(jax.vmap(f, (None, 0)), arrays(weights(3, 3)), jnp.ones((2, 3)))
    assert [r.step.place for r in records] == ["encoder", "encoder", ""]
    lines = [r.step.line.split(":") for r in records]
    assert [name for name, _ in lines] == ["encoder", "encoder", "f"]
    assert int(lines[2][1]) == f.__code__.co_firstlineno + 1


def in_a_vmap(params, x):
    return jax.vmap(encoder, (None, 0))(params, x)


def in_a_scan(params, x):
    return jax.lax.scan(lambda h, x_t: (encoder(params, x_t), None), jnp.zeros(2), x)[0]


@pytest.mark.parametrize(("net", "place"), [
    (lambda p, x: Sequential(ops.relu, Residual(Dense(3)))({"residual1": {"body": p}}, {}, x[0])[0],
     "Dense at 'residual1/body'"),
    (in_a_vmap, "dense at 'encoder:N'"), (in_a_scan, "dense at 'encoder:N'"),
    (jax.jit(in_a_scan), "dense at 'encoder:N'"), (jax.checkpoint(in_a_vmap), "dense at 'encoder:N'"),
], ids=["a layer", "vmap", "scan", "jit", "checkpoint"])
def test_an_error_says_where(net, place):
    params, x = arrays(weights(2, 3)), jnp.ones((4, 3))
    line = str(encoder.__code__.co_firstlineno + 2)
    for call in (look_inside, network(net).forward, network(net).reference):
        with pytest.raises(InputError) as caught:
            call(*(net,) * (call is look_inside), params, x)
        assert str(caught.value) == f"{place.replace('N', line)} expects x of shape (2,); got (3,)"
