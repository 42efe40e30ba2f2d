"""CTC: all paths enumerated, PyTorch, the gradient's laws, long sequences, and what stands behind the ends."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn import losses
from jaxnn.ops import ctc
from tests.compare import check_backward, pulled_back

RNG = np.random.default_rng(0)


def by_all_paths(z, labels, blank):
    """(-log P, q): the probability of every path that becomes the labels, and of each class at each step among them."""
    n_steps, n_classes = z.shape
    p = scipy.special.softmax(z, -1)
    total, q = 0.0, np.zeros((n_steps, n_classes))
    for path in itertools.product(range(n_classes), repeat=n_steps):
        if [k for k, _ in itertools.groupby(path) if k != blank] == list(labels):
            of_path = np.prod(p[np.arange(n_steps), path])
            total += of_path
            q[np.arange(n_steps), path] += of_path
    return -np.log(total), p - q / total


PATHS = [(1, [1], 0), (2, [1, 2], 0), (3, [1, 1], 0), (4, [], 2), (5, [0, 2, 0], 1), (6, [1, 1, 0], 2), (6, [0, 0], 2),
         (4, [1], 1 - 1)]


@pytest.mark.sampled
@pytest.mark.parametrize(("n_steps", "labels", "blank"), PATHS)
@pytest.mark.usefixtures("x64")
def test_every_path(n_steps, labels, blank):
    z, labels = RNG.standard_normal((n_steps, 3)) * 2, np.array(labels, np.int32)
    want, slope = by_all_paths(z, labels, blank)
    got, (dz, *_) = pulled_back(functools.partial(ctc, blank=blank), z, labels)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    np.testing.assert_allclose(dz, slope, rtol=1e-10, atol=1e-14)


@pytest.mark.sampled
@pytest.mark.parametrize(("n_steps", "labels", "blank"), [(5, [0, 2, 0], 1), (3, [1, 1], 0), (2, [], 0)])
@pytest.mark.usefixtures("x64")
def test_backward(n_steps, labels, blank):
    check_backward(ctc, RNG.standard_normal((n_steps, 3)), np.array(labels, np.int32), blank=blank)


@pytest.mark.usefixtures("x64")
def test_against_pytorch(torch):
    """A batch of unequal lengths, filled up with NaN and with labels that are none."""
    n_steps, n_labels = np.array([30, 17, 40, 12, 9]), np.array([8, 8, 12, 0, 1])
    z, labels = RNG.standard_normal((5, 40, 7)) * 3, RNG.integers(0, 6, (5, 12))
    labels[labels >= 3] += 1  # 3 is the blank
    t = torch.tensor(z, requires_grad=True)
    want = torch.nn.functional.ctc_loss(t.log_softmax(-1).transpose(0, 1), torch.tensor(labels),
                                        torch.tensor(n_steps), torch.tensor(n_labels), blank=3, reduction="none")
    want.sum().backward()
    z[np.arange(40) >= n_steps[:, None]] = np.nan
    labels[np.arange(12) >= n_labels[:, None]] = -5
    got, (dz, *_) = pulled_back(jax.vmap(functools.partial(ctc, blank=3)), z, labels, n_steps, n_labels)
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(dz, t.grad.numpy(), rtol=1e-9, atol=1e-13)


def test_as_precise_at_the_last_step_as_at_the_first():
    """3,000 steps in float32, a loss of 1.6e4 nats, against the same in float64. Each step's exp and log round a number
    of up to 16 nats, by a unit in the last place at most, and mostly to one side; adding the steps up loses nothing
    more, where a plain sum would lose up to 3,000 units of 1.6e4 nats. Each step's gradient sums to zero."""
    f = jax.jit(jax.value_and_grad(ctc))
    for seed in (0, 3, 5, 7):
        rng = np.random.default_rng(seed)
        z, labels = rng.standard_normal((3000, 30)).astype(np.float32) * 4, rng.integers(1, 30, 600).astype(np.int32)
        value, dz = jax.device_get(f(z, labels))
        with jax.enable_x64(True):
            want, dz_want = jax.device_get(f(np.asarray(z, np.float64), labels))
        np.testing.assert_allclose(value, want, rtol=0, atol=3000 * 16 * np.finfo(np.float32).eps)
        np.testing.assert_allclose(dz, dz_want, atol=3e-4)
        np.testing.assert_allclose(dz.sum(-1), 0, atol=1e-6)


def test_a_probability_near_one():
    """Three paths miss by e^-34 what one path alone would miss by 8e-8; other libraries round the loss below zero."""
    z = jnp.array([[0.0, 17.0], [0.0, 17.0]])
    assert 0 <= ctc(z, jnp.array([1])) < 1e-13
    np.testing.assert_allclose(ctc(z[:1], jnp.array([1])), np.log1p(np.exp(-17.0)), rtol=1e-5)


def test_large_logits_and_classes_that_are_ruled_out():
    """±1e4, and -inf, which no constant in its place takes for possible."""
    z = np.array([[1e4, 0, -1e4], [0.0, -np.inf, 3.0]], np.float32)
    f = jax.jit(jax.value_and_grad(ctc))
    value, dz = f(z, np.array([2]))
    np.testing.assert_allclose(value, np.log1p(np.exp(-3.0)), rtol=1e-5)
    assert np.all(np.isfinite(dz))
    value, dz = f(z, np.array([1]))  # the first step costs 1e4, and the second is sure to be none
    np.testing.assert_allclose(value, 1e4 + np.log1p(np.exp(3.0)), rtol=1e-6)
    assert np.all(np.isfinite(dz))


def test_labels_that_do_not_fit():
    """Known at the call they are refused; at run time the loss is infinite and the gradient zero, alone in a batch."""
    z, labels = jnp.zeros((2, 3, 4)), jnp.array([[1, 1], [1, 2]])
    with pytest.raises(ValueError, match=re.escape("labels that fit into the steps, one each and a blank between "
                                                   "repeats; got 2 labels that need 3 steps, and 2 steps")):
        ctc(z[0], labels[0], n_steps=2)
    with pytest.raises(ValueError, match="2 labels that need 3 steps"):
        jax.vmap(ctc)(z, labels, jnp.array([2, 3]))
    f = jax.jit(jax.value_and_grad(lambda z, n: jnp.sum(jax.vmap(ctc)(z, labels, n)[1:])))
    value, dz = f(z, jnp.array([2, 2]))
    assert np.isfinite(value) and np.all(np.isfinite(dz))
    value, dz = jax.jit(jax.value_and_grad(ctc))(z[0], labels[0], jnp.array(2))
    assert np.isposinf(value)
    np.testing.assert_array_equal(dz, 0)
    value = jax.jit(lambda label, w: losses.weighted(ctc)(z[0, :2], (label, w)))(labels[0], 0.0)
    assert value == 0


def test_nothing_at_all():
    """No step and no label is certain; labels without a step are impossible."""
    none = jnp.zeros(0, jnp.int32)
    assert ctc(jnp.zeros((0, 3)), none) == 0
    assert ctc(jnp.zeros((4, 3)), jnp.array([1]), n_steps=0, n_labels=0) == 0
    assert np.isposinf(jax.jit(ctc)(jnp.zeros((4, 3)), jnp.array([1]), jnp.array(0)))
    np.testing.assert_allclose(ctc(jnp.zeros((4, 2)), none), 4 * np.log(2), rtol=1e-6)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint32, np.int16])
def test_narrow_integers(dtype):
    """200 classes and 300 steps are more than some of these hold."""
    z = jnp.zeros((300, 200))
    got = jax.jit(ctc)(z, np.array([1, 2], dtype), dtype(5), dtype(1))
    np.testing.assert_allclose(got, ctc(z[:5], jnp.array([1])), rtol=1e-6)


@pytest.mark.parametrize(("labels", "n_steps", "n_labels"), [
    ([3, 1], 4, 2), ([-1, 1], 4, 2), ([0, 1], 4, 2), ([1, 2], 5, 2), ([1, 2], -1, 2), ([1, 2], 4, 3)])
def test_out_of_range_at_run_time(labels, n_steps, n_labels):
    value, dz = jax.jit(jax.value_and_grad(ctc))(jnp.zeros((4, 3)), np.array(labels), n_steps, n_labels)
    assert np.isnan(value) and np.any(np.isnan(dz))


Z, L = jnp.zeros((4, 3)), jnp.array([1, 2])


@pytest.mark.parametrize(("args", "options", "words"), [
    ((Z, L + 1), {}, "labels in 0 .. 2; got values from 2 to 3; pass n_labels for labels that fill a place"),
    ((Z, L - 1), {}, "ctc expects labels without the blank, 0; got some that are the blank"),
    ((Z, L.astype(jnp.float32)), {}, "ctc expects integer labels; got float32"),
    ((Z[None], L), {}, "ctc expects logits of shape (T, n_classes); got (1, 4, 3)"),
    ((Z, L, 5), {}, "ctc expects n_steps in 0 .. 4; got values from 5 to 5; the array has 4"),
    ((Z, L, 4, 3), {}, "ctc expects n_labels in 0 .. 2; got values from 3 to 3"),
    ((Z, L, 4.0), {}, "ctc expects integer n_steps; got float32"),
    ((Z, L), {"blank": 3}, "ctc expects blank, a class in 0 .. 2; got 3"),
    ((Z, L), {"blank": -1}, "ctc expects blank, a class in 0 .. 2; got -1"),
    ((Z, jnp.array([1, 2, 1, 2, 1])), {}, "got 5 labels that need 5 steps, and 4 steps; leave the example out"),
])
def test_refusals(args, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ctc(*args, **options)
