"""Gradients beside each other, and wrong labels found by their norms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import Dense, Sequential, relu
from jaxnn import softmax_cross_entropy as loss
from jaxnn.analysis import conflicts, cosine, cosines, pulls, scores_in_training, suspects
from jaxnn.checks import InputError
from jaxnn.training import make_step

NET = Sequential(Dense(6), relu, Dense(3))


@pytest.fixture(scope="module")
def blobs():
    """(x, true labels, given labels, is wrong): three clouds of 80 points, seven deviations apart, 24 labels wrong."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = (rng.normal(size=(240, 4)) + 5 * np.eye(3, 4)[y]).astype(np.float32)
    wrong = np.zeros(240, bool)
    wrong[rng.choice(240, 24, replace=False)] = True
    return x, y, np.where(wrong, (y + rng.integers(1, 3, 240)) % 3, y), wrong


def test_pulls_by_forming_every_gradient(blobs):
    x, y, _, _ = blobs
    params, state = NET.init(jax.random.key(0), (4,))
    found = pulls(NET, loss, params, state, x[:20], y[:20])

    def of_one(params, x, label):
        return loss(NET(params, state, x)[0], label)

    grads = jax.vmap(jax.grad(of_one), (None, 0, 0))(params, x[:20], jnp.asarray(y[:20]))
    flat = np.concatenate([np.asarray(g).reshape(20, -1) for g in jax.tree.leaves(grads)], 1)
    mean = flat.mean(0)
    np.testing.assert_allclose(found, flat @ mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-5)
    assert found.mean() == pytest.approx(np.linalg.norm(mean), rel=1e-5)


def test_cosines():
    g = {"a": {"w": np.array([1.0, 0.0])}, "b": {"w": np.array([3.0, 4.0])}, "c": {}}
    h = {"a": {"w": np.array([0.0, 2.0])}, "b": {"w": np.array([-6.0, -8.0])}, "c": {}}
    found = cosines(g, h)
    assert set(found) == {"a", "b", "all"}
    assert (found["a"].cosine, found["a"].norms) == (0, (1, 2))
    assert found["b"].cosine == pytest.approx(-1)
    assert found["all"].cosine == pytest.approx(-50 / np.sqrt(26 * 104))
    assert np.isnan(cosine(g["a"], {"w": np.zeros(2)}).cosine)
    names, table = conflicts({"x": g, "y": h, "z": g})
    assert names == ("x", "y", "z") and table[0, 2] == pytest.approx(1) and table[0, 1] == table[1, 0] < 0
    tiny = {"w": np.full(3, 1e-30, np.float32)}
    assert cosine(tiny, tiny).cosine == pytest.approx(1), "its squares vanish in float32"
    with pytest.raises(InputError, match=r"two gradients of the same shapes; got \[\(2,\)\] and \[\(3,\)\]"):
        cosine({"w": np.zeros(2)}, {"w": np.zeros(3)})
    with pytest.raises(InputError, match=r"g, a gradient as \{layer: tree\}; got list"):
        cosines([1.0], [1.0])


def test_wrong_labels_are_found(blobs):
    x, _, given, wrong = blobs
    step = make_step(NET, loss, optax.adam(0.01))
    scores = scores_in_training(step, x, given, epochs=6, batch_size=16, seed=0, block=100)
    assert scores.norms.shape == scores.losses.shape == (6, 240)
    by_norm = suspects(scores.norms)
    precision, (low, high) = by_norm.precision_at(24, wrong)
    assert precision >= 0.9 and low < precision < high
    assert by_norm.precision_at(240, wrong)[0] == 0.1
    assert by_norm.rank(int(by_norm.order[5])) == 5
    z = [NET(scores.params, scores.state, row)[0] for row in x[:5]]
    losses = [loss(logits, label) for logits, label in zip(z, given[:5], strict=True)]
    last_bias = [jnp.linalg.norm(jax.nn.softmax(logits).at[label].add(-1))
                 for logits, label in zip(z, given[:5], strict=True)]
    np.testing.assert_allclose(scores.leaf_norms["dense2"]["bias"][-1, :5], last_bias, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores.losses[-1, :5], losses, rtol=1e-5, atol=1e-6)


def test_suspect_refusals():
    with pytest.raises(InputError, match=r"suspects expects scores of shape \(n_epochs, n\), finite numbers >= 0"):
        suspects([[1.0, np.nan]])
    with pytest.raises(InputError, match=r"k in 1 .. 2; got 3"):
        suspects([1.0, 2.0]).precision_at(3, [True, False])
    assert suspects([0.0, 0.0]).order.tolist() == [0, 1]
