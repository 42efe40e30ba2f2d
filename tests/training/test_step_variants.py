"""The step's switches: whose gradients, how precise, in how many parts, and batches that are not full."""

import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import hand_derived, ops
from jaxnn.layers import BatchNorm, Dense, Dropout, Sequential
from jaxnn.training import (
    TrainState,
    average,
    evaluate,
    loss_scaled,
    make_step,
    start,
    start_from,
    with_average,
)
from jaxnn.training.functions import plain
from jaxnn.training.tracing import Retraced, mixes_examples
from tests.compare import assert_close

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((24, 3)), jnp.float32)
Y = jnp.asarray(RNG.integers(0, 2, 24), jnp.int32)
NET = Sequential(Dense(6), ops.tanh, Dropout(0.3), Dense(2))
LOSS = ops.softmax_cross_entropy
OPTIMIZER = optax.sgd(0.5)


def begin(net=NET, optimizer=OPTIMIZER):
    return start(net, optimizer, (3,), KEY)


@pytest.fixture(scope="module")
def whole_batch():
    """(cost, gradient) of the whole batch."""
    return make_step(NET, LOSS, OPTIMIZER).cost_and_gradient(begin(), X, Y)


@pytest.mark.parametrize("options", [{"gradients": "autodiff"}, {"accumulate": 3}, {"accumulate": 24}],
                         ids=["autodiff", "in 3 parts", "in 24 parts"])
def test_the_same_gradient(whole_batch, options):
    """Dropout included: every example keeps its own mask."""
    assert_close(make_step(NET, LOSS, OPTIMIZER, **options).cost_and_gradient(begin(), X, Y), whole_batch, 16)


def test_side_by_side():
    """Trained by the rules derived by hand and by autodiff, the costs stay together."""
    costs = []
    for gradients in ("hand-derived", "autodiff"):
        state, step = begin(), make_step(NET, LOSS, OPTIMIZER, gradients=gradients)
        state, infos = step.many(state, jnp.stack([X] * 30), jnp.stack([Y] * 30))
        costs.append(infos.cost)
    np.testing.assert_allclose(*costs, rtol=1e-5)
    assert costs[0][-1] < costs[0][0]


def test_a_batch_that_is_not_full_weighs_what_it_is():
    step = make_step(NET, LOSS, OPTIMIZER)
    state, _ = step(begin(), X, Y)
    params = jax.tree.map(np.array, state.params)
    key = jax.random.fold_in(state.key, state.step)

    def cost(params):
        keys = jax.random.split(key, 24)[:10]
        logits, _ = jax.vmap(lambda x, k: plain(NET)(params, state.state, x, k, train=True))(X[:10], keys)
        return jnp.mean(jax.vmap(LOSS.reference)(logits, Y[:10]))

    value, grads = jax.jit(jax.value_and_grad(cost))(params)
    state, info = step(state, X[:10], Y[:10])
    assert_close(info.cost, value, 16)
    assert_close(state.params, jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), 64)
    assert len(step.traces) == 1, "it was compiled once"


def test_traced_again_it_says_what_changed():
    step = make_step(NET, LOSS, OPTIMIZER)
    state, _ = step(begin(), X[:10], Y[:10])
    with pytest.warns(Retraced, match=r"step is compiled again: labels was int32\[10\], is int32\[24\]; x was float32"):
        state, _ = step(state, X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(state, X, Y)


def test_where_examples_mix_nothing_is_filled_up():
    """Batch norm would take the filling into its mean."""
    net = Sequential(Dense(4), BatchNorm(), Dense(2))
    assert mixes_examples(net, begin(net), X) and not mixes_examples(NET, begin(), X)
    step = make_step(net, LOSS, OPTIMIZER)
    state, _ = step(begin(net), X, Y)
    with pytest.warns(Retraced):
        _, info = step(jax.tree.map(lambda a: a.copy(), state), X[:10], Y[:10])
    expected, _ = make_step(net, LOSS, OPTIMIZER).cost_and_gradient(state, X[:10], Y[:10])
    assert_close(info.cost, expected, 4)


def test_bfloat16_computes_so_and_keeps_float32():
    net = Sequential(Dense(6), BatchNorm(), ops.tanh, Dense(2))
    state, step = begin(net), make_step(net, LOSS, OPTIMIZER, precision="bfloat16")
    text = step.lower(state, X, Y).as_text()
    assert "bf16" in text and "dot_general" in text
    # The factors of every product are bfloat16; what is summed over a batch is kept in float32.
    products = [line.rsplit(":", 1)[-1].split("->")[0] for line in text.splitlines() if "dot_general" in line]
    assert products and not any("f32" in factors for factors in products)
    dtypes = jax.tree.map(lambda a: a.dtype, state)
    state, info = step(state, X, Y)
    assert jax.tree.map(lambda a: a.dtype, state) == dtypes
    assert info.cost.dtype == jnp.float32
    whole, _ = make_step(net, LOSS, OPTIMIZER).cost_and_gradient(begin(net), X, Y)
    assert float(info.cost) != float(whole) and abs(float(info.cost) - float(whole)) < 0.02


@pytest.mark.exhaustive
def test_float16_needs_its_loss_scale():
    """Gradients of 1e-9 are lost without, and right with it."""

    @hand_derived
    def small(logits, labels):
        y, cache = LOSS.forward(logits, labels)
        return 1e-6 * y, cache

    small.defbackward(lambda cache, dy: LOSS.backward(cache, 1e-6 * dy)[:2])
    optimizer = loss_scaled(OPTIMIZER, 2.0**15, interval=3)
    step = make_step(NET, small, optimizer, precision="float16")
    state = begin(optimizer=optimizer)
    _, grads = step.cost_and_gradient(state, X, Y)
    _, wanted = make_step(NET, small, OPTIMIZER).cost_and_gradient(begin(), X, Y)
    assert_close(grads, wanted, 2.0**-9 / 2.0**-23)  # some roundings of float16
    unscaled = state._replace(opt_state=state.opt_state._replace(scale=jnp.ones(())))
    _, lost = step.cost_and_gradient(unscaled, X, Y)
    error = optax.tree.norm(jax.tree.map(jnp.subtract, lost, wanted)) / optax.tree.norm(wanted)
    assert error > 0.3, "its elements are a few of the smallest numbers of float16"
    scales = []
    for _ in range(7):
        state, info = step(state, X, Y)
        assert info.applied
        scales.append(float(state.opt_state.scale))
    assert scales == [2.0**15] * 2 + [2.0**16] * 3 + [2.0**17] * 2


def test_optax_brings_the_rest():
    """Clipping, weight decay, schedules, averages, and what needs the cost."""
    optimizer = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(optax.cosine_decay_schedule(0.1, 10)),
                            optax.ema(0.9), optax.contrib.reduce_on_plateau(patience=2))
    state, step = begin(optimizer=optimizer), make_step(NET, LOSS, optimizer)
    for _ in range(3):
        state, info = step(state, X, Y)
    assert info.applied


def test_an_optimizer_that_keeps_the_parameters_in_its_state():
    """A buffer cannot be donated twice."""
    keeps = optax.GradientTransformation(lambda params: params, lambda g, s, p=None: (g, s))
    state, _ = make_step(NET, LOSS, keeps)(begin(optimizer=keeps), X, Y)
    assert int(state.step) == 1


def test_an_array_at_two_places_of_a_train_state_made_by_hand():
    shared = jnp.ones(3)
    params = {"a": {"weight": jnp.eye(3), "bias": shared}, "b": {"weight": jnp.eye(3), "bias": shared}}

    def layer(params, state, x, key, *, train):
        return ops.dense(params["b"], ops.dense(params["a"], x)), state

    optimizer, x, labels = optax.sgd(0.1), jnp.ones((4, 3)), jnp.arange(4) % 3
    step = make_step(layer, ops.softmax_cross_entropy, optimizer)
    own, _ = step(start_from(params, {}, optimizer, KEY), x, labels)
    by_hand, info = step(TrainState(params, {}, optimizer.init(params), KEY, jnp.zeros((), jnp.int32)), x, labels)
    assert info.applied
    chex.assert_trees_all_equal(by_hand.params, own.params)
    np.testing.assert_array_equal(shared, 1)


def test_arrays_of_the_caller_are_not_taken_over():
    """Of initializers, of a layer's own init, as a layer's state, and the key."""
    saved, key = jnp.ones(3), jax.random.key(1)

    class Remembers:
        def init(self, key, shape):
            return {"a": saved, "b": saved}, {"mean": saved}

        def __call__(self, params, state, x, key, *, train):
            return x * params["a"] + params["b"], state

    shared = Sequential(Dense(3, bias_init=lambda *_: saved), Dense(3, bias_init=lambda *_: saved))
    for layer in (shared, Remembers()):
        state = start(layer, optax.sgd(0.1), (3,), key)
        step = make_step(layer, ops.softmax_cross_entropy, optax.sgd(0.1))
        for _ in range(2):
            state, info = step(state, jnp.ones((4, 3)), jnp.arange(4) % 3)
        assert info.applied and not saved.is_deleted() and not key.is_deleted()
        np.testing.assert_array_equal(saved, 1)


def test_evaluate_in_pieces():
    state = begin()
    whole = evaluate(NET, state.params, state.state, X)
    assert_close(evaluate(NET, state.params, state.state, X, batch_size=10), whole, 4)
    with pytest.raises(ValueError, match="batch_size, a positive integer"):
        evaluate(NET, state.params, state.state, X, batch_size=0)


def changes_tree(params_too):
    def update(grads, state, params=None):
        return (grads["dense1"] if params_too else grads), {"count": jnp.zeros(())}

    return optax.GradientTransformation(lambda params: (), update)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: make_step(NET, lambda z: z, OPTIMIZER), r"loss\(prediction, label\); got '<lambda>' of \(z\)"),
    (lambda: make_step(NET, "mse", OPTIMIZER), "a loss, called as .*got str"),
    (lambda: make_step(ops.relu, LOSS, OPTIMIZER), r"expects a layer, called as .*got 'relu' of \(x\)"),
    (lambda: make_step(Dense, LOSS, OPTIMIZER), "expects a layer, called as .*got the class Dense"),
    (lambda: make_step(lambda p, s, x: x, LOSS, OPTIMIZER), r"expects a layer, .*got '<lambda>' of \(p, s, x\)"),
    (lambda: start(ops.relu, OPTIMIZER, (3,), KEY), r"a layer with init.*got relu; make the parameters and call"),
    (lambda: make_step(NET, LOSS, OPTIMIZER, gradients="numeric"), "'hand-derived' or 'autodiff'"),
    (lambda: make_step(NET, LOSS, OPTIMIZER, precision="float8"), "precision among"),
    (lambda: make_step(NET, LOSS, OPTIMIZER, precision="float16"), r"use loss_scaled\(optimizer\)"),
    (lambda: make_step(NET, LOSS, OPTIMIZER, accumulate=0), "accumulate, a positive integer"),
    (lambda: make_step(NET, LOSS, OPTIMIZER, accumulate=5)(begin(), X, Y), "a batch that accumulate=5 divides"),
    (lambda: begin(optimizer=optax.sgd(float("nan"))), "look at its learning rate"),
    (lambda: begin(optimizer=changes_tree(True)), "an optimizer whose updates are like the parameters"),
    (lambda: make_step(NET, LOSS, changes_tree(False))(begin(optimizer=changes_tree(False)), X, Y),
     "an optimizer whose state keeps its structure; got 'count' is float32"),
    (lambda: make_step(Sequential(Dense(2)), ops.relu, OPTIMIZER), r"got 'relu' of \(x\)"),
    (lambda: begin(optimizer=optax.adam), r"an optax transformation as optimizer; got function; call it"),
    (lambda: make_step(NET, LOSS, 0.1), "an optax transformation as optimizer; got float"),
    (lambda: begin(optimizer=with_average(loss_scaled(OPTIMIZER), 0.9)), "around everything else"),
    (lambda: loss_scaled(OPTIMIZER, 3.0), "a power of two"),
    (lambda: loss_scaled(OPTIMIZER, interval=0), "interval, a positive integer"),
])
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_loss_that_is_no_number():
    @hand_derived
    def each(logits, labels):
        return logits - labels, None

    each.defbackward(lambda cache, dy: (dy, None))
    for loss, value in ((each, r"float32\[2\]"), (lambda z, y: jnp.sum(z > 0), r"int32\[\]"),
                        (lambda z, y: (z[0], {}), r"\('float32\[\]', \{\}\)")):
        with pytest.raises(ValueError, match=rf"a loss with one floating-point number.*got {value}; return one number"):
            make_step(NET, loss, OPTIMIZER)(begin(), X, Y)


def test_the_average_of_the_parameters():
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), with_average(optax.adam(0.1), 0.8))
    state, step = begin(optimizer=optimizer), make_step(NET, LOSS, optimizer)
    weighted, total = 0.0, 0.0
    for _ in range(6):
        state, _ = step(state, X, Y)
        weight = np.asarray(state.params["dense1"]["weight"])
        weighted, total = 0.8 * weighted + 0.2 * weight, 0.8 * total + 0.2
        np.testing.assert_allclose(average(state.opt_state)["dense1"]["weight"], weighted / total, rtol=1e-5)
    for refused in (lambda: average(optax.adam(0.1).init(state.params)), lambda: with_average(OPTIMIZER, 1.0)):
        with pytest.raises(ValueError, match=r"the state of one with_average|decay in \[0, 1\)"):
            refused()


@pytest.mark.parametrize(("optimizer", "net", "x"), [
    (optax.adam(0.01, eps=0.0), Sequential(Dense(2)), X.at[:, 2].set(0.0)),
    (optax.adam(0.01), Sequential(Dense(2)), X * 1e22),
    (OPTIMIZER, Sequential(BatchNorm(), Dense(2)), X * 1e25),
], ids=["an update of 0/0", "a gradient whose square overflows", "a variance that overflows"])
def test_nothing_that_is_not_finite_gets_in(optimizer, net, x):
    state = begin(net, optimizer)
    before = jax.tree.map(np.array, (state.params, state.state, state.opt_state))
    state, info = make_step(net, LOSS, optimizer)(state, x, Y)
    assert np.isfinite(info.cost) and not info.applied
    chex.assert_trees_all_equal((state.params, state.state, state.opt_state), before)


def test_a_plateau_under_a_loss_scale():
    """What needs the cost gets it, and a state that starts at infinity is no fault."""
    optimizer = loss_scaled(optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=2)))
    _, info = make_step(NET, LOSS, optimizer, precision="bfloat16")(begin(optimizer=optimizer), X, Y)
    assert info.applied


def test_an_optimizer_that_has_an_array_twice():
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return {"m": zeros, "v": zeros}

    twice = optax.GradientTransformation(init, lambda g, s, p=None: (g, s))
    _, info = make_step(NET, LOSS, twice)(begin(optimizer=twice), X, Y)
    assert info.applied
