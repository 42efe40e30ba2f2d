"""The walk through a network: which ops it finds, where, and that what it finds is what `jax.grad` says."""

import jax
import jax.numpy as jnp
import pytest

from jaxnn import (
    LSTM,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    InputError,
    Parallel,
    Residual,
    Sequential,
    bind,
    chain,
    hand_derived,
    ops,
    over_examples,
    parallel,
    residual,
)
from jaxnn.compose import Chain
from jaxnn.gradients.inside.walk import as_stage, opened, params_of, params_tree, walk, weight_gradient
from jaxnn.hand_derived import Static
from jaxnn.stage import Stage, stage
from tests.compare import QUICKLY, assert_close, pulled_back, random_like


class Doubled(Stage):
    """A stage of a user's own: y = 2 W x, with a parameter, and no combinator."""

    name = "doubled"
    uses = frozenset({"params", "x"})

    def run(self, face, params, state, x, key):
        return 2 * params @ x, state

    def forward(self, params, state, x, key=None):
        return (2 * params @ x, state), (params, x)

    def backward(self, cache, dy):
        weight, x = cache
        return 2 * jnp.outer(dy[0], x), None, 2 * weight.T @ dy[0], None


class Backward(Chain):
    """A chain with a backward pass of its own is not taken apart."""


@hand_derived
def fixed(x):
    """Four positions of x's size that do not depend on x, as codes of positions do not."""
    return jnp.cos(jnp.arange(4.0)[:, None] + jnp.arange(x.size)), Static(x.size)


fixed.defbackward(lambda n, dy: (jnp.zeros(n.value),))


def arrays(shapes):
    """Random numbers of these shapes, which are tuples of integers."""
    is_shape = lambda s: isinstance(s, tuple) and s != () and all(isinstance(n, int) for n in s)  # noqa: E731
    return random_like(jax.tree.map(jnp.zeros, shapes, is_leaf=is_shape))


def weights(n_in, n_out):
    return {"weight": (n_out, n_in), "bias": (n_out,)}


DEEP = chain(ops.dense, residual(chain(ops.dense, ops.tanh)),
             parallel(ops.dense, chain(ops.relu, ops.dense)), ops.add)
DEEP_PARAMS = arrays((weights(3, 4), ((weights(4, 4), ()), ()), (weights(4, 2), ((), weights(4, 2))), ()))


def quickly(f):
    return jax.jit(f, compiler_options=QUICKLY)


def initialized(layer, shape, seed=0):
    return quickly(lambda key: layer.init(key, shape))(jax.random.key(seed))


@quickly
def weight_gradients(records):
    return [weight_gradient(r.part, r.levels, r.cache, r.dy) if r.has_params else () for r in records]


def records_of(net, params, x, state=(), key=None, train=False):
    """(the opened network, its records, the cotangent dy, dx)."""
    part = opened(as_stage("test", net, train))

    @quickly
    def run(params, state, x, key):
        (y, _), cache = part.forward(params, state, x, key)
        dy = random_like(y, 5)
        return *walk(part, cache, dy), dy

    records, dx, dy = run(params, state, x, key)
    return part, records, dy, dx


def test_the_path_of_each_op():
    x = jnp.arange(3.0)
    _, records, _, _ = records_of(DEEP, DEEP_PARAMS, x)
    assert [(r.path, r.name) for r in records] == [
        ("0", "dense"), ("1/0/0", "dense"), ("1/0/1", "tanh"), ("1/1", "identity"), ("2/0", "dense"),
        ("2/1/0", "relu"), ("2/1/1", "dense"), ("3", "add")]
    assert [r.part.op for r in records[:3]] == [ops.dense, ops.dense, ops.tanh]


def test_the_labels_are_those_of_params():
    net = Sequential(first=Conv(2), tail=Sequential(Flatten(), Residual(Dense(18), Dropout(0.5)), ops.relu))
    params, state = initialized(net, (3, 3, 1))
    _, records, _, _ = records_of(net, params, jnp.ones((3, 3, 1)), state, jax.random.key(1), train=True)
    assert [(r.path, r.name) for r in records] == [
        ("first", "Conv"), ("tail/0", "Flatten"), ("tail/1/body", "Dense"), ("tail/1/shortcut", "Dropout"),
        ("tail/2", "relu")]
    assert [r.part.op for r in records] == [ops.conv, ops.flatten, ops.dense, ops.dropout, ops.relu]


def test_an_op_by_itself():
    _, (record,), dy, dx = records_of(ops.tanh, None, jnp.arange(3.0))
    assert (record.path, record.levels) == ("", ())
    assert_close((record.dy, record.dx, record.value), (dy, dx, jnp.tanh(jnp.arange(3.0))))


@pytest.mark.parametrize("batch", [False, True])
def test_each_dy_and_dx_is_that_of_the_rest_of_the_network(batch):
    """dyᵢ = ∂L/∂yᵢ, by `jax.vjp` of everything behind op i."""
    net = chain(ops.dense, ops.tanh, ops.dense, ops.gelu)
    params = arrays((weights(3, 4), (), weights(4, 2), ()))
    x = random_like(jnp.zeros((5, 3) if batch else 3))
    wrap = over_examples if batch else lambda op: op
    _, records, dy, dx = records_of(wrap(net), params, x)
    parts = (ops.dense, ops.tanh, ops.dense, ops.gelu)
    values = [x]
    for part, p in zip(parts, params):
        values.append(quickly(wrap(chain(part)).reference)(*((p,),) if p else (), values[-1]))
    for i, record in enumerate(records):
        rest = chain(*parts[i + 1:]) if i < 3 else None
        args = (params[i + 1:],) if rest is not None and "params" in rest.arguments else ()
        behind = (lambda y: wrap(rest).reference(*args, y)) if rest is not None else (lambda y: y)  # noqa: B023
        assert_close(record.value, values[i + 1])
        assert_close(record.dy, pulled_back(behind, values[i + 1], dy=dy)[1][0])
        assert_close(record.dx, records[i - 1].dy if i else dx)


@pytest.mark.parametrize(("net", "params", "x"), [
    (DEEP, DEEP_PARAMS, (3,)),
    (over_examples(DEEP), DEEP_PARAMS, (6, 3)),
    (chain(over_examples(ops.dense), over_examples(chain(ops.tanh, ops.dense)), ops.flatten),
     arrays((weights(3, 4), ((), weights(4, 2)), ())), (5, 3)),
    (over_examples(chain(over_examples(ops.dense), bind(ops.conv, stride=2), ops.relu)),
     arrays((weights(3, 4), {"kernel": (2, 4, 5), "bias": (5,)}, ())), (2, 6, 3)),
    (over_examples(chain(over_examples(over_examples(ops.dense)), ops.flatten)),
     arrays((weights(3, 2), ())), (2, 3, 4, 3)),
    (over_examples(chain(fixed, over_examples(ops.dense))), arrays(((), weights(3, 2))), (5, 3)),
    (Doubled(), arrays((2, 3)), (3,)),
    (over_examples(chain(Doubled(), ops.tanh, Doubled())), arrays(((4, 3), (), (2, 4))), (5, 3)),
    (over_examples(Backward((stage(ops.dense), stage(ops.relu)))), arrays((weights(3, 4), ())), (5, 3)),
    (chain(chain(chain(ops.dense)), chain(ops.relu, chain(ops.dense))),
     arrays((((weights(3, 4),),), ((), (weights(4, 2),)))), (3,)),
], ids=["nested", "a batch", "over positions", "positions in a batch", "three deep",
        "positions alike in all examples", "a stage of one's own",
        "such stages in a batch", "a chain of one's own", "chains of chains"])
def test_gradients_from_records(net, params, x):
    """All dparams and dx, put together from the records, against `jax.vjp` of the reference."""
    x = random_like(jnp.zeros(x), 1)
    part, records, dy, dx = records_of(net, params, x)
    entries = params_of(part, params)
    assert_close(params_tree(part, entries), params)
    found = weight_gradients(records)
    reference = stage(net).reference
    _, (dparams, wanted) = pulled_back(lambda p, x: reference(p, (), x, None)[0], params, x, dy=dy)
    assert_close((params_tree(part, found), dx), (dparams, wanted))


def test_layers_with_keys_and_states():
    """In a batch each example gets the key that `over_examples` gives it."""
    net = over_examples(Sequential(
        Embedding(5, 3), over_examples(Sequential(Dense(4), Dropout(0.5))), Parallel(LSTM(3), LSTM(2)),
        ops.concatenate, LSTM(2, return_sequence=False)))
    params, state = initialized(net, (7, 6))
    x, key = jnp.arange(42).reshape(7, 6) % 5, jax.random.key(3)
    part, records, dy, dx = records_of(net, params, x, state, key, train=True)
    assert dx is None and records[0].dx is None  # integers have no gradient
    assert [len(r.levels) for r in records] == [1, 2, 2, 1, 1, 1, 1]
    _, (wanted,) = pulled_back(lambda p: net.reference(p, state, x, key, train=True)[0], params, dy=dy)
    assert_close(params_tree(part, weight_gradients(records)), wanted)


def test_a_layer_in_a_chain_of_ops():
    layer = Sequential(Dense(4), ops.tanh)
    params, _ = initialized(layer, (3,))
    net = chain(layer, bind(layer, train=True), ops.relu)
    inner, _ = initialized(layer, (4,), 1)
    _, records, dy, dx = records_of(net, (params, inner, ()), jnp.ones(3), ((), (), ()))
    assert [r.path for r in records] == ["0/0", "0/1", "1/0", "1/1", "2"]
    reference = stage(net).reference
    _, (wanted,) = pulled_back(lambda x: reference((params, inner, ()), ((), (), ()), x)[0], jnp.ones(3), dy=dy)
    assert_close(dx, wanted)


@hand_derived
def positive(x):
    """A mask: no gradient flows back through it."""
    return (x > 0).astype(jnp.int32), ()


positive.defbackward(lambda cache, dy: (None,))


@pytest.mark.parametrize("batch", [False, True])
def test_before_an_op_without_gradient(batch):
    """No gradient arrives there, which is None and not zeros; nothing is called."""
    net = chain(ops.dense, residual(ops.tanh), positive, ops.embedding)
    params = arrays((weights(3, 4), ((), ()), (), {"table": (2, 2)}))
    x = random_like(jnp.zeros((5, 3) if batch else 3))
    _, records, _, dx = records_of(over_examples(net) if batch else net, params, x)
    assert dx is None
    assert [r.dy is None for r in records] == [True, True, True, True, False]
    assert [r.dx is None for r in records] == [True] * 5


def test_records_are_pytrees():
    """Their arrays cross a `jit`; path and op stay what they are, and no array is one."""
    _, records, _, _ = records_of(over_examples(DEEP), DEEP_PARAMS, jnp.ones((2, 3)))
    doubled = jax.tree.map(lambda a: 2 * a, records)
    assert [(r.path, r.part, r.levels) for r in doubled] == [(r.path, r.part, r.levels) for r in records]
    assert_close([r.dy for r in doubled], [2 * r.dy for r in records])


def test_the_opened_network_is_the_same_op():
    """Value, reference and backward pass are the network's."""
    part, x = opened(stage(DEEP)), jnp.ones(3)

    @quickly
    def both(params, x):
        (y, _), cache = part.forward(params, (), x)
        wanted, wanted_cache = DEEP.forward(params, x)
        dparams, _, dx, _ = part.backward(cache, (y, None))
        values = y, part(params, (), x)[0], part.reference(params, (), x)[0]
        return (values, (dparams, dx)), ((wanted,) * 3, DEEP.backward(wanted_cache, y))

    assert_close(*both(DEEP_PARAMS, x))


def test_an_error_says_where():
    net, params = Sequential(ops.relu, Residual(Dense(3))), arrays(weights(2, 3))
    with pytest.raises(InputError) as caught:
        records_of(net, ((), {"body": params, "shortcut": ()}), jnp.ones(3))
    assert str(caught.value) == "Dense at '1/body' expects x of shape (2,); got (3,)"
