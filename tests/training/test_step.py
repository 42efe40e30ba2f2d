"""One training step: compiled once, pure, and training goes on from where it was."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import InputError, ops
from jaxnn.layers import BatchNorm, Dense, Dropout, Sequential, over_examples
from jaxnn.training import TrainState, evaluate, make_step, start
from jaxnn.training.functions import plain
from tests.compare import assert_close

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((60, 2)), jnp.float32)
Y = jnp.asarray((X[:, 0] * X[:, 1] > 0).astype(jnp.int32))  # not separable by a line
NET = Sequential(Dense(16), ops.tanh, Dense(2))


def run(net, optimizer, steps, state=None, x=X, y=Y):
    state = start(net, optimizer, (2,), KEY) if state is None else state
    step = make_step(net, ops.softmax_cross_entropy, optimizer)
    costs = []
    for _ in range(steps):
        state, info = step(state, x, y)
        costs.append(float(info.cost))
    return state, costs


@pytest.mark.sampled
@pytest.mark.parametrize(("net", "optimizer"), [
    (NET, optax.sgd(0.3)),
    (NET, optax.adam(0.02)),
    (Sequential(Dense(32), ops.relu, Dropout(0.2), Dense(2)), optax.adam(0.02)),
    (Sequential(Dense(16), BatchNorm(), ops.relu, Dense(2)), optax.adamw(0.02)),
], ids=["sgd", "adam", "dropout", "batch norm"])
def test_the_cost_falls(net, optimizer):
    state, costs = run(net, optimizer, 100)
    assert np.mean(costs[-5:]) < 0.5 * costs[0]
    logits = evaluate(net, state.params, state.state, X)
    assert float(jnp.mean(jnp.argmax(logits, -1) == Y)) > 0.85
    assert int(state.step) == 100


def test_it_compiles_once():
    chex.clear_trace_counter()

    @chex.assert_max_traces(n=2)  # of which one looks at the values of the labels
    def loss(logits, label):
        return ops.softmax_cross_entropy(logits, label)

    optimizer = optax.adam(0.01)
    step = make_step(NET, loss, optimizer)
    state = start(NET, optimizer, (2,), KEY)
    for _ in range(6):
        state, _ = step(state, X, Y)
    assert len(step.traces) == 1


def test_one_step_by_hand():
    """Gradient descent: W <- W - learning_rate ∂cost/∂W, with the mean over the batch."""
    optimizer = optax.sgd(0.1)
    params = jax.tree.map(np.array, start(NET, optimizer, (2,), KEY).params)

    def cost(params):
        logits = jax.vmap(lambda x: plain(NET)(params, {}, x, None, train=True)[0])(X)
        return jnp.mean(jax.vmap(ops.softmax_cross_entropy.reference)(logits, Y))

    value, grads = jax.value_and_grad(cost)(params)
    state, costs = run(NET, optimizer, 1)
    assert_close(jnp.asarray(costs[0]), value)
    assert_close(state.params, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), 64)


def test_it_goes_on_as_if_it_had_not_stopped():
    """TrainState is all there is: through NumPy arrays and back, the run is the same to the last bit."""
    net, optimizer = Sequential(Dense(8), BatchNorm(), Dropout(0.3), Dense(2)), optax.adam(0.01)
    whole, costs = run(net, optimizer, 6)
    half, first = run(net, optimizer, 3)
    leaves, tree = jax.tree.flatten(half._replace(key=jax.random.key_data(half.key)))
    saved = [np.array(leaf) for leaf in leaves]
    restored = jax.tree.unflatten(tree, [jnp.asarray(leaf) for leaf in saved])
    restored = restored._replace(key=jax.random.wrap_key_data(restored.key))
    end, second = run(net, optimizer, 3, restored)
    assert first + second == costs
    chex.assert_trees_all_equal(whole, end)


def test_each_step_draws_anew():
    net, optimizer = Sequential(Dropout(0.5), Dense(2)), optax.sgd(0.0)
    _, costs = run(net, optimizer, 4)
    assert len(set(costs)) == 4
    _, again = run(net, optimizer, 4)
    assert costs == again


def test_start():
    optimizer = optax.adam(0.01)
    state = start(NET, optimizer, (2,), KEY)
    assert isinstance(state, TrainState)
    assert int(state.step) == 0
    assert jax.tree.structure(state.params) == jax.tree.structure(NET.init(KEY, (2,))[0])
    assert not np.array_equal(jax.random.key_data(state.key), jax.random.key_data(KEY))


def test_state_is_donated():
    """The old parameters' memory is used for the new ones."""
    optimizer = optax.sgd(0.1)
    before = start(NET, optimizer, (2,), KEY)
    weight = before.params["dense1"]["weight"]
    make_step(NET, ops.softmax_cross_entropy, optimizer)(before, X, Y)
    assert weight.is_deleted()


def test_evaluate_is_inference():
    net = Sequential(Dense(8), Dropout(0.9), Dense(2))
    params, state = net.init(KEY, (2,))
    logits = evaluate(net, params, state, X)
    assert_close(logits, evaluate(net, params, state, X))
    assert_close(logits, over_examples(net)(params, state, X)[0], 64)
    assert logits.shape == (60, 2)


@pytest.mark.parametrize(("x", "y", "words"), [
    (X, Y[:, None], "softmax_cross_entropy expects integer labels of shape"),
    (X[:, :1], Y, r"expects x of shape \(2,\); got \(1,\)"),
    (X[:0], Y[:0], "at least one example"),
    (X, Y[:3], "expects as many labels as there are examples, 60"),
])
def test_wrong_batches(x, y, words):
    with pytest.raises(ValueError, match=words):
        run(NET, optax.sgd(0.1), 1, x=x, y=y)


def test_a_label_out_of_range():
    """Named where the step is traced for these shapes; later it is seen in the cost, and the step is not applied."""
    bad = Y.at[3].set(2)
    with pytest.raises(InputError, match=re.escape("labels in 0 .. 1; got values from 0 to 2")):
        run(NET, optax.sgd(0.1), 1, y=bad)
    step = make_step(NET, ops.softmax_cross_entropy, optax.sgd(0.1))
    state, _ = step(start(NET, optax.sgd(0.1), (2,), KEY), X, Y)
    _, info = step(state, X, bad)
    assert np.isnan(info.cost) and not info.applied


def test_regression():
    """Any loss of (prediction, target) will do: squared error, one output."""
    net, optimizer = Sequential(Dense(1)), optax.sgd(0.1)
    step = make_step(net, ops.squared_error, optimizer)
    state = start(net, optimizer, (2,), KEY)
    target = X @ jnp.asarray([[2.0], [-1.0]]) + 0.5
    for _ in range(200):
        state, info = step(state, X, target)
    assert float(info.cost) < 1e-6
    np.testing.assert_allclose(state.params["dense1"]["weight"], [[2.0, -1.0]], atol=1e-3)


def test_in_a_scan():
    """The step is pure, so a whole epoch is one program."""
    optimizer = optax.sgd(0.1)
    step = make_step(NET, ops.softmax_cross_entropy, optimizer)
    batches = (X.reshape(6, 10, 2), Y.reshape(6, 10))
    epoch = jax.jit(functools.partial(jax.lax.scan, lambda s, b: step(s, *b)))
    state, infos = epoch(start(NET, optimizer, (2,), KEY), batches)
    assert infos.cost.shape == (6,)
    assert int(state.step) == 6


def test_start_under_transformations():
    """As a program, and as shapes alone: values are looked at only where they are there."""
    optimizer = optax.adam(0.01)
    make = functools.partial(start, NET, optimizer, (2,))
    state, compiled, shapes = make(KEY), jax.jit(make)(KEY), jax.eval_shape(make, KEY)
    assert_close(compiled.params, state.params)
    assert jax.tree.structure(shapes) == jax.tree.structure(compiled) == jax.tree.structure(state)
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(shapes)] == [(a.shape, a.dtype) for a in jax.tree.leaves(state)]
    several = jax.vmap(make)(jax.random.split(KEY, 3))
    assert several.params["dense1"]["weight"].shape == (3, 16, 2)
    bad = functools.partial(start, NET, optax.sgd(float("nan")), (2,))
    with pytest.raises(ValueError, match="whose first update, for a gradient of ones, is finite"):
        bad(KEY)
    jax.eval_shape(bad, KEY)


@pytest.mark.parametrize("n", [999, 61, -1, 0, 2.0, np.array([3]), True])
def test_a_count_outside_of_the_batch_is_refused(n):
    optimizer = optax.sgd(0.1)
    step, state = make_step(NET, ops.softmax_cross_entropy, optimizer), start(NET, optimizer, (2,), KEY)
    with pytest.raises(ValueError, match=r"step expects n, of shape \(\), in 1 .. 60, the examples of the batch; got "):
        step(state, X, Y, n=n)
    with pytest.raises(ValueError, match=r"step expects n, of shape \(2,\), in 1 .. 30"):
        step.many(state, X.reshape(2, 30, 2), Y.reshape(2, 30), n=np.array([30, 31]))
    assert not state.step.is_deleted()


def test_a_count_of_any_integer_type():
    optimizer = optax.sgd(0.1)
    step = make_step(NET, ops.softmax_cross_entropy, optimizer)
    costs = {float(step(start(NET, optimizer, (2,), KEY), X, Y, n=n)[1].cost)
             for n in (7, np.int64(7), np.uint8(7), jnp.asarray(7))}
    assert len(costs) == 1


@pytest.mark.parametrize(("mine", "other"), [
    (optax.sgd(0.1), optax.adam(0.1)), (optax.adam(0.1), optax.sgd(0.1)),
    (optax.adam(0.1), optax.sgd(0.1, momentum=0.9)),
    (optax.sgd(0.1), optax.sgd(lambda count: 0.1)), (optax.adam(0.1), optax.chain(optax.clip(1.0), optax.adam(0.1)))])
def test_the_state_of_another_optimizer_is_refused(mine, other):
    step = make_step(NET, ops.softmax_cross_entropy, mine)
    with pytest.raises(ValueError, match=r"the state of its own optimizer; got .*; give start and make_step the same"):
        step(start(NET, other, (2,), KEY), X, Y)


def test_a_state_of_another_network_is_refused():
    optimizer = optax.adam(0.1)
    other = start(Sequential(Dense(5), ops.tanh, Dense(2)), optimizer, (2,), KEY)
    state = start(NET, optimizer, (2,), KEY)._replace(opt_state=other.opt_state)
    with pytest.raises(ValueError, match=r"'0/mu/dense1/bias' is \[5\], not \[16\]"):
        make_step(NET, ops.softmax_cross_entropy, optimizer)(state, X, Y)


def test_an_optimizer_whose_state_alone_turns_infinite_is_not_applied():
    def update(grads, count, params=None):
        return jax.tree.map(lambda g: -0.1 * g, grads), jnp.where(count == 1, jnp.inf, count + 1)

    optimizer = optax.GradientTransformation(lambda params: jnp.zeros(()), update)
    step, state = make_step(NET, ops.softmax_cross_entropy, optimizer), start(NET, optimizer, (2,), KEY)
    state, info = step(state, X, Y)
    assert info.applied
    kept = jax.tree.map(np.asarray, state.params)
    state, info = step(state, X, Y)
    assert not info.applied and state.opt_state == 1 and state.step == 2
    chex.assert_trees_all_equal(state.params, kept)


def test_an_optimizer_whose_state_begins_infinite_is_applied():
    optimizer = optax.GradientTransformation(lambda params: jnp.asarray(jnp.inf), lambda g, s, params=None: (g, s))
    _, info = make_step(NET, ops.softmax_cross_entropy, optimizer)(start(NET, optimizer, (2,), KEY), X, Y)
    assert info.applied
