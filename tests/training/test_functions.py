"""Training of any functions: plain ones, of Flax and of Equinox, with trees for x, predictions and labels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ops
from jaxnn.data import Batches
from jaxnn.layers import BatchNorm, Dense, Sequential
from jaxnn.losses import masked_mean_over_time, weighted
from jaxnn.training import Diverged, evaluate, fit, make_step, start, start_from
from jaxnn.training.functions import description, name_of
from tests.compare import assert_close

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
N = 12
X = {"image": RNG.standard_normal((N, 3)).astype(np.float32), "size": RNG.standard_normal(N).astype(np.float32)}
LABELS = (RNG.integers(0, 2, N), RNG.standard_normal(N).astype(np.float32))
PARAMS = {"class": {"weight": RNG.standard_normal((2, 3)).astype(np.float32), "bias": np.zeros(2, np.float32)},
          "slope": np.float32(0.5)}


def two_heads(params, state, x, key, *, train):
    """Ops and jnp mixed; counts its batches, and keeps a mean over them."""
    y = {"class": ops.dense(params["class"], x["image"]), "size": params["slope"] * x["size"] + x["image"][0]}
    mean = jax.lax.pmean(x["size"], "examples") if train else state["mean"]
    return y, {"n": state["n"] + train, "mean": mean}


def both_losses(y, label):
    return ops.softmax_cross_entropy(y["class"], label[0]) + (y["size"] - label[1]) ** 2


STATE = {"n": jnp.zeros((), jnp.int32), "mean": jnp.zeros(())}


def by_hand(params):
    """The mean loss written out with jnp, without an op."""
    z = X["image"] @ params["class"]["weight"].T + params["class"]["bias"]
    squares = (params["slope"] * X["size"] + X["image"][:, 0] - LABELS[1]) ** 2
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[np.arange(N), LABELS[0]] + squares)


BY_HAND = jax.jit(jax.value_and_grad(by_hand))


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"gradients": "autodiff"}],
                         ids=["whole", "in parts", "autodiff"])
def test_a_plain_function_with_trees(options):
    chex.clear_trace_counter()
    layer = chex.assert_max_traces(two_heads, n=2 if "accumulate" in options else 1)  # parts: first for their shapes
    optimizer = optax.sgd(0.1)
    step = make_step(layer, both_losses, optimizer, **options)
    train_state, params = start_from(PARAMS, STATE, optimizer, KEY), PARAMS
    for _ in range(3):
        value, grads = BY_HAND(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        train_state, info = step(train_state, X, LABELS)
        assert_close(info.cost, value, 64)
        np.testing.assert_allclose(info.gradient_norm, optax.tree.norm(grads), rtol=1e-5)
    assert_close(train_state.params, jax.tree.map(jnp.asarray, params), 256)
    assert int(train_state.state["n"]) == 3 * options.get("accumulate", 1)
    if "accumulate" not in options:
        np.testing.assert_allclose(train_state.state["mean"], X["size"].mean(), rtol=1e-5)
    y = evaluate(two_heads, train_state.params, train_state.state, X)
    y_in_parts = evaluate(two_heads, train_state.params, train_state.state, X, batch_size=5)
    chex.assert_trees_all_close(y_in_parts, y, rtol=1e-6)
    chex.assert_shape((y["class"], y["size"]), [(N, 2), (N,)])


def test_fit_continues_with_trees_and_plain_functions(tmp_path):
    optimizer, batches, ends = optax.adam(0.1), Batches(X, LABELS, 4), []
    metrics = lambda params, state: {"dev_cost": BY_HAND(params)[0]}  # noqa: E731
    for stops in ((8,), (5, 8)):
        for steps in stops:
            train_state, history = fit(start_from(PARAMS, STATE, optimizer, KEY),
                                       make_step(two_heads, both_losses, optimizer), batches, steps=steps, every=5,
                                       metrics=metrics, progress=False, directory=tmp_path / str(len(stops)))
        ends.append(train_state)
    chex.assert_trees_all_equal(*ends)
    assert history.records[-1]["dev_cost"] < history.records[0]["dev_cost"]
    with pytest.raises(ValueError, match=r"loss was 'both_losses', is 'squared_error'"):
        fit(train_state, make_step(two_heads, ops.squared_error, optimizer), batches, steps=9, progress=False,
            directory=tmp_path / "1")
    bad = lambda s: ({**X, "size": X["size"] * np.nan}, LABELS)  # noqa: E731
    with pytest.raises(Diverged, match=r"x 'size' is not finite in 12 of .*12 NaN of 48 in x"):
        fit(start_from(PARAMS, STATE, optimizer, KEY), make_step(two_heads, both_losses, optimizer), bad, steps=9,
            progress=False, max_skipped=2)


def test_a_batch_of_trees_that_is_not_full():
    layer = lambda params, state, x, key, *, train: (x["image"] @ params, state)  # noqa: E731
    loss = lambda y, label: (y - label[1]) ** 2  # noqa: E731
    step, optimizer = make_step(layer, loss, optax.sgd(0.1)), optax.sgd(0.1)
    train_state, _ = step(start_from(np.ones(3, np.float32), (), optimizer, KEY), X, LABELS)
    params, few = np.array(train_state.params), jax.tree.map(lambda a: a[:5], (X, LABELS))
    _, info = step(train_state, *few)
    np.testing.assert_allclose(info.cost, np.mean((few[0]["image"] @ params - few[1][1]) ** 2), rtol=1e-5)
    assert len(step.traces) == 1


def test_losses_of_losses():
    """Weights, and sequences of different length; the labels of what is left out are no classes."""
    x, labels = RNG.standard_normal((4, 5, 3)).astype(np.float32), RNG.integers(0, 2, (4, 5))
    mask, weights = np.arange(5) < np.array([[5], [3], [1], [0]]), np.float32([1, 0.5, 2, 1])
    labels = np.where(mask, labels, -1)
    layer = lambda params, state, x, key, *, train: (x @ params, state)  # noqa: E731
    loss, optimizer = weighted(masked_mean_over_time(ops.softmax_cross_entropy)), optax.sgd(0.1)
    params = RNG.standard_normal((3, 2)).astype(np.float32)
    cost, grads = make_step(layer, loss, optimizer).cost_and_gradient(
        start_from(params, (), optimizer, KEY), x, ((labels, mask), weights))

    def expected(params):
        log_p = jax.nn.log_softmax(x @ params)
        each = -jnp.where(mask, jnp.take_along_axis(log_p, np.maximum(labels, 0)[..., None], axis=2)[..., 0], 0)
        return jnp.sum(weights * each.sum(axis=1) / np.maximum(mask.sum(axis=1), 1)) / 4

    chex.assert_trees_all_close((cost, grads), jax.jit(jax.value_and_grad(expected))(params), rtol=1e-5)


def test_labels_may_be_left_out():
    layer = lambda params, state, x, key, *, train: (params * x, state)  # noqa: E731
    optimizer = optax.sgd(0.1)
    _, info = make_step(layer, lambda y, _: y**2, optimizer)(start_from(2.0, (), optimizer, KEY), X["size"], None)
    np.testing.assert_allclose(info.cost, np.mean((2 * X["size"]) ** 2), rtol=1e-5)


def test_a_module_of_flax():
    nn = pytest.importorskip("flax.linen", reason="Flax is not installed")
    module = nn.Dense(2)
    layer = lambda params, state, x, key, *, train: (module.apply(params, x), state)  # noqa: E731
    _expect_to_learn(layer, module.init(KEY, X["image"][0]))


def test_a_module_of_equinox():
    equinox = pytest.importorskip("equinox", reason="Equinox is not installed")
    module = equinox.nn.MLP(3, 2, 4, 1, key=KEY)
    params, rest = equinox.partition(module, equinox.is_array)
    _expect_to_learn(lambda params, state, x, key, *, train: (equinox.combine(params, rest)(x), state), params)
    with pytest.raises(ValueError, match=r"params and state of arrays; got .* at '.*activation'; keep"):
        start_from(module, (), optax.sgd(0.1), KEY)


def _expect_to_learn(layer, params):
    optimizer = optax.adam(0.1)
    step, train_state = make_step(layer, ops.softmax_cross_entropy, optimizer), start_from(params, (), optimizer, KEY)
    train_state, infos = step.many(train_state, *jax.tree.map(lambda a: np.stack([a] * 30), (X["image"], LABELS[0])))
    assert infos.applied.all() and infos.cost[-1] < 0.8 * infos.cost[0]
    assert jax.tree.structure(train_state.params) == jax.tree.structure(params)


def test_from_given_parameters_as_from_the_layer():
    """With the same keys; what the caller gave is the caller's still."""
    net, optimizer = Sequential(Dense(4), BatchNorm(), Dense(2)), optax.adam(0.1)
    step = make_step(net, ops.softmax_cross_entropy, optimizer)
    init_key, key = jax.random.split(KEY)
    given = net.init(init_key, (3,))
    ends = [step(train_state, X["image"], LABELS[0])[0]
            for train_state in (start(net, optimizer, (3,), KEY), start_from(*given, optimizer, key))]
    chex.assert_trees_all_equal(*ends)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((given, key)))


def test_python_numbers_are_not_weakly_typed():
    """A weak type would become a strong one at the first step, and the step would be compiled twice."""
    layer = lambda params, state, x, key, *, train: (params * x, {"n": state["n"] + 1})  # noqa: E731
    optimizer = optax.sgd(0.1)
    step, train_state = make_step(layer, ops.squared_error, optimizer), start_from(2.0, {"n": 0}, optimizer, KEY)
    for _ in range(2):
        train_state, _ = step(train_state, X["size"][:, None], X["size"][:, None])
    assert len(step.traces) == 1 and int(train_state.state["n"]) == 2


def test_names():
    assert name_of(two_heads) == "two_heads" and name_of(ops.relu) == "relu"
    assert description(two_heads) == "<function two_heads>" and description(Dense(2)) == repr(Dense(2))


def step_with(layer, state=()):
    optimizer = optax.sgd(0.1)
    make_step(layer, both_losses, optimizer)(start_from(PARAMS, state, optimizer, KEY), X, LABELS)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: step_with(lambda params, state, x, key, *, train: x["size"]), r"<lambda> expects to return the pair"),
    (lambda: step_with(lambda params, state, x, key, *, train: (x, {"mean": x["size"]}), {"mean": jnp.zeros(())}),
     r"one state for all examples; got one for each; average it over the batch: jax.lax.pmean\(..., 'examples'\)"),
    (lambda: step_with(lambda params, state, x, key, *, train: (x, {"other": state["n"]}), STATE),
     r"a layer whose state keeps its structure; got .*'other' is int32\[\] in place of nothing"),
    (lambda: evaluate(two_heads, PARAMS, STATE, {"image": X["image"], "size": X["size"][:3]}), "as many in all leaves"),
    (lambda: make_step(two_heads, both_losses, optax.sgd(0.1))(
        start_from(PARAMS, STATE, optax.sgd(0.1), KEY), X, (LABELS[0], LABELS[1][:3])), "as many labels as there are"),
])
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
