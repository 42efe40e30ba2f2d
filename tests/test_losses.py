"""Losses made of a loss: against NumPy, `jax.grad` of the sum written out, and with nothing left to count."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from jaxnn.losses import masked_mean_over_time, mean_over_time, sum_over_time, weighted

RNG = np.random.default_rng(0)
T, N_CLASSES = 5, 3
Z = RNG.standard_normal((T, N_CLASSES)).astype(np.float32)
LABELS = RNG.integers(0, N_CLASSES, T)
WEIGHTS = np.float32([0.5, 2.0, 0.0, -1.0, 1.0])
MASK = np.array([True, False, True, True, False])
LOSS = ops.softmax_cross_entropy


def by_numpy(z, labels):
    """-log softmax(z)_label, step by step, in float64."""
    z = z.astype(np.float64)
    return np.array([np.log(np.exp(row).sum()) - row[label] for row, label in zip(z, labels, strict=True)])


def gradient_by_numpy(z, labels):
    p = np.exp(z.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    return p


# name, loss, label, the factor of each step's loss
CASES = [
    ("sum", sum_over_time(LOSS), LABELS, np.ones(T)),
    ("mean", mean_over_time(LOSS), LABELS, np.ones(T) / T),
    ("sum with weights", sum_over_time(weighted(LOSS)), (LABELS, WEIGHTS), WEIGHTS),
    ("mean with weights", mean_over_time(weighted(LOSS)), (LABELS, WEIGHTS), WEIGHTS / T),
    ("sum with a mask", sum_over_time(weighted(LOSS)), (LABELS, MASK), MASK),
    ("masked mean", masked_mean_over_time(LOSS), (LABELS, MASK), MASK / 3),
    ("masked mean, all steps", masked_mean_over_time(LOSS), (LABELS, np.ones(T, bool)), np.ones(T) / T),
    ("masked mean of weighted", masked_mean_over_time(weighted(LOSS)), ((LABELS, WEIGHTS), MASK), MASK * WEIGHTS / 3),
]


@pytest.mark.parametrize(("loss", "label", "factors"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_value_and_gradient(loss, label, factors):
    value, grad = jax.jit(jax.value_and_grad(loss))(Z, label)
    np.testing.assert_allclose(value, factors @ by_numpy(Z, LABELS), rtol=1e-5)
    np.testing.assert_allclose(grad, factors[:, None] * gradient_by_numpy(Z, LABELS), atol=1e-6)


def test_one_example_with_a_weight():
    value, grad = jax.value_and_grad(weighted(LOSS))(Z[0], (LABELS[0], 0.25))
    np.testing.assert_allclose(value, 0.25 * by_numpy(Z[:1], LABELS[:1])[0], rtol=1e-5)
    np.testing.assert_allclose(grad, 0.25 * gradient_by_numpy(Z[:1], LABELS[:1])[0], atol=1e-6)
    of_weight = jax.grad(lambda w: weighted(LOSS)(Z[0], (LABELS[0], w)))(0.25)
    assert of_weight == 0, "a weight is data"


def test_what_is_left_out_may_be_anything():
    """A label of -1 has a loss of NaN, and a logit of 1e30 one of infinity: neither gets into value or gradient."""
    labels = np.where(MASK, LABELS, -1)
    z = np.where(MASK[:, None], Z, np.float32(1e30))
    for loss in (masked_mean_over_time(LOSS), sum_over_time(weighted(LOSS))):
        expected = jax.value_and_grad(loss)(jnp.where(MASK[:, None], Z, 0), (np.where(MASK, LABELS, 0), MASK))
        assert np.isnan(jax.jit(sum_over_time(LOSS))(z, labels))
        for f in (jax.jit(jax.value_and_grad(loss)), jax.value_and_grad(loss)):
            chex.assert_trees_all_close(f(z, (labels, MASK)), expected, rtol=1e-6)
        tangent = jax.jvp(lambda z, loss=loss: loss(z, (jnp.asarray(labels), MASK)), (z,), (np.ones_like(z),))
        chex.assert_tree_all_finite(tangent)


def test_with_every_step_masked_loss_and_gradient_are_zero():
    for loss in (masked_mean_over_time(LOSS), sum_over_time(weighted(LOSS))):
        value, grad = jax.jit(jax.value_and_grad(loss))(Z, (np.full(T, -1), np.zeros(T, bool)))
        assert value == 0 and not grad.any()
    assert sum_over_time(LOSS)(np.zeros((0, N_CLASSES), np.float32), np.zeros(0, int)) == 0
    assert masked_mean_over_time(LOSS)(np.zeros((0, N_CLASSES), np.float32), (np.zeros(0, int), np.zeros(0, bool))) == 0


def test_a_batch_and_trees():
    """Under vmap, with predictions and labels that are dicts, and a loss that is a function of jnp alone."""
    def both(prediction, label):
        return LOSS(prediction["class"], label["class"]) + jnp.abs(prediction["size"] - label["size"])

    z, sizes = np.stack([Z, 2 * Z]), RNG.standard_normal((2, T)).astype(np.float32)
    masks = np.stack([MASK, ~MASK])
    losses = jax.vmap(masked_mean_over_time(both))({"class": z, "size": sizes},
                                                   ({"class": np.stack([LABELS] * 2), "size": 0 * sizes}, masks))
    each = np.stack([by_numpy(row, LABELS) for row in z]) + np.abs(sizes)
    np.testing.assert_allclose(losses, (each * masks).sum(axis=1) / masks.sum(axis=1), rtol=1e-5)


def test_ten_thousand_steps_in_bfloat16():
    """Added one by one in bfloat16, they would stop at 256."""
    ones = jnp.ones((10_000, 1), jnp.bfloat16)
    assert mean_over_time(ops.squared_error)(ones, 0 * ones) == 1
    assert sum_over_time(weighted(ops.squared_error))(ones, (0 * ones, ones[:, 0])) == jnp.bfloat16(10_000)


def test_names():
    assert masked_mean_over_time(weighted(LOSS)).__name__ == "masked_mean_over_time(weighted(softmax_cross_entropy))"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: weighted(LOSS)(Z[0], LABELS[0]), r"the label to be the pair \(label, weight\); got int64"),
    (lambda: weighted(LOSS)(Z[0], (LABELS[0], WEIGHTS)), r"weight of shape \(\); got \(5,\); pass weights of shape"),
    (lambda: weighted(jnp.subtract)(Z[0], (Z[0], 1.0)), r"one floating-point number, of shape \(\); got float32\[3\]"),
    (lambda: sum_over_time(jnp.subtract)(Z, Z), r"sum_over_time\(subtract\) expects a loss with .*got float32\[3\]"),
    (lambda: sum_over_time(LOSS)(Z, LABELS[:3]), r"one leading axis of time; got \(5, 3\) and \(3,\)"),
    (lambda: mean_over_time(LOSS)(Z[:0], LABELS[:0]), "at least one step of time; got none"),
    (lambda: masked_mean_over_time(LOSS)(Z, (LABELS, WEIGHTS)), r"a boolean mask.*got float32; convert it"),
    (lambda: masked_mean_over_time(LOSS)(Z, LABELS), r"the pair \(labels, mask\); got ndarray"),
    (lambda: masked_mean_over_time(LOSS)(Z, (LABELS, MASK[:, None])), r"mask of shape \(5,\); got \(5, 1\)"),
])
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
