"""Losses with weights, ignored labels, sums and means over given axes; their dtypes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxnn.ops import binary_cross_entropy, huber, softmax_cross_entropy, squared_error
from tests.compare import assert_close, check_backward, pulled_back

RNG = np.random.default_rng(0)
Z = 2 * RNG.standard_normal(5)
T = RNG.dirichlet(np.ones(5))


Z2, T2 = 2 * RNG.standard_normal((3, 4)), RNG.dirichlet(np.ones(4), 3)
CLASSES, W1, W2, C = np.array([3, 1, 0]), RNG.uniform(1, 2, 3), RNG.uniform(1, 2, (3, 4)), RNG.uniform(1, 2, 4)
LOG_P = scipy.special.log_softmax(Z2, -1)
YES, NO = -scipy.special.log_expit(Z2), -scipy.special.log_expit(-Z2)
OF_CLASSES = -C[CLASSES] * LOG_P[np.arange(3), CLASSES]


def smoothed_terms(t, s):
    return -np.sum(C * ((1 - s) * t + s / 4) * LOG_P, -1)


# name: (op, arguments, keywords, L by NumPy and SciPy)
WEIGHTED = {
    "binary, all weights": (binary_cross_entropy, (Z2, T2, W2, C), {}, np.sum(W2 * (C * T2 * YES + (1 - T2) * NO))),
    "binary, the mean of each row": (binary_cross_entropy, (Z2, T2, W1, np.float64(3)),
                                     {"reduction": "mean", "axes": -1},
                                     np.mean(W1[:, None] * (3 * T2 * YES + (1 - T2) * NO), -1)),
    "binary, one number": (binary_cross_entropy, (Z2[0, 0], 1, np.float64(3), np.float64(2)), {}, 6 * YES[0, 0]),
    "softmax, all weights": (softmax_cross_entropy, (Z2, CLASSES, W1, C), {}, np.sum(W1 * OF_CLASSES)),
    "softmax, all weights, each": (softmax_cross_entropy, (Z2, T2, W1, C), {"smoothing": 0.3, "axes": ()},
                                   W1 * smoothed_terms(T2, 0.3)),
    "softmax, one ignored": (softmax_cross_entropy, (Z2, CLASSES, W1, C), {"ignore_label": 1, "reduction": "mean"},
                             np.sum((W1 * OF_CLASSES)[[0, 2]]) / 2),
    "softmax, ignored in parts": (
        softmax_cross_entropy, (Z2.reshape(3, 2, 2), np.array([[0, -1], [1, 1], [-1, -1]]), W1),
        {"ignore_label": -1, "reduction": "mean", "axes": [1]},
        W1 * np.array([np.logaddexp(0, Z2[0, 1] - Z2[0, 0]),
                       np.mean(np.logaddexp(0, [Z2[1, 0] - Z2[1, 1], Z2[1, 2] - Z2[1, 3]])), 0])),
    "squared error, the mean of each column": (squared_error, (Z2, T2, W2), {"reduction": "mean", "axes": 0},
                                               np.mean(W2 * (Z2 - T2) ** 2, 0)),
    "squared error, booleans": (squared_error, (Z2, T2, np.array([True, False, True])), {"axes": (1,)},
                                np.sum((Z2 - T2) ** 2, 1) * [1, 0, 1]),
    "huber, the mean": (huber, (Z2, T2, W2), {"delta": 0.3, "reduction": "mean"},
                        np.mean(W2 * scipy.special.huber(0.3, Z2 - T2))),
    "huber, one weight": (huber, (Z2, T2, np.float64(2)), {"axes": (-1, 0)},
                          2 * np.sum(scipy.special.huber(1, Z2 - T2))),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.usefixtures("x64")
def test_weighted(name):
    op, args, static, want = WEIGHTED[name]
    value, *_ = check_backward(op, *args, **static)
    np.testing.assert_allclose(value, want, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.usefixtures("x64")
def test_weights_against_pytorch(reduction, torch):
    several = np.array([3, 1, 0])
    for op, args, static, theirs, options in (
        (softmax_cross_entropy, (several, None, C), {"smoothing": 0.2}, "cross_entropy",
         {"weight": C, "label_smoothing": 0.2}),
        (softmax_cross_entropy, (T2, None, C), {"smoothing": 0.2}, "cross_entropy",
         {"weight": C, "label_smoothing": 0.2}),
        (softmax_cross_entropy, (several,), {"ignore_label": 1, "smoothing": 0.2}, "cross_entropy",
         {"ignore_index": 1, "label_smoothing": 0.2}),
        (binary_cross_entropy, (T2, W2, C), {}, "binary_cross_entropy_with_logits", {"weight": W2, "pos_weight": C}),
        (squared_error, (T2,), {}, "mse_loss", {}),
        (huber, (T2,), {"delta": 0.5}, "huber_loss", {"delta": 0.5}),
    ):
        t = torch.tensor(Z2, requires_grad=True)
        options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        want = getattr(torch.nn.functional, theirs)(t, torch.tensor(args[0]), reduction=reduction, **options)
        want.backward()
        scale = 1.0
        if op is softmax_cross_entropy and "weight" in options and args[0] is several and reduction == "mean":
            scale = C[several].sum() / 3  # the one mean that differs: PyTorch's is over the sum of the weights
        got, (dz,) = pulled_back(lambda z: op(z, *args, reduction=reduction, **static), Z2)  # noqa: B023
        np.testing.assert_allclose(got, scale * want.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(dz, scale * t.grad.numpy(), rtol=1e-11, atol=1e-15)


@pytest.mark.usefixtures("x64")
def test_a_batch_is_its_examples():
    """One call for several examples is the same as `jax.vmap` of one, in value and gradient."""
    for op, args, static in (
        (softmax_cross_entropy, (Z2, CLASSES, W1), {"ignore_label": 3}), (binary_cross_entropy, (Z2, T2, W2), {}),
        (squared_error, (Z2, T2, W1), {}), (huber, (Z2, T2, W1), {}),
    ):
        of_example = jax.vmap(functools.partial(op, **static))
        want = pulled_back(lambda z, w: of_example(z, args[1], w), Z2, args[2])  # noqa: B023
        axes = () if op is softmax_cross_entropy else -1
        got = pulled_back(lambda z, w: op(z, args[1], w, axes=axes, **static), Z2, args[2])  # noqa: B023
        assert_close(got, want)


def test_ignored_labels_have_no_part_in_anything():
    """Not even where their logits are no numbers: padding may be anything."""
    z = jnp.asarray([[1.0, 2.0], [jnp.nan, jnp.inf]])
    for labels, ignored in ((np.array([0, 255], np.uint8), 255), (np.array([0, -100]), -100), ([0, 1], 1)):
        def cost(z, labels, weights, class_weights):
            return softmax_cross_entropy(z, labels, weights, class_weights, ignore_label=ignored)  # noqa: B023

        value, (dz, _, dw, dc) = pulled_back(cost, z, np.asarray(labels), np.ones(2, np.float32),
                                             np.ones(2, np.float32))
        want, (dz_0, _, dw_0, dc_0) = pulled_back(
            softmax_cross_entropy, z[0], 0, np.float32(1), np.ones(2, np.float32))
        assert_close(value, want)
        np.testing.assert_allclose(dz, [dz_0, np.zeros(2)], rtol=1e-6)
        np.testing.assert_allclose(dw, [dw_0, 0], rtol=1e-6)
        np.testing.assert_allclose(dc, dc_0, rtol=1e-6)
        # A label of the dtype's that is neither a class nor ignored is still an error.
        with pytest.raises(ValueError, match="expects labels in 0"):
            softmax_cross_entropy(z, jnp.asarray([0, 7]), ignore_label=ignored)
    assert softmax_cross_entropy(z[0], np.uint8(1), ignore_label=-100) > 0  # which a uint8 never is


def test_the_mean_of_nothing_is_nothing():
    value, (dz,) = pulled_back(lambda z: softmax_cross_entropy(z, jnp.zeros(2, int), ignore_label=0, reduction="mean"),
                               np.ones((2, 3), np.float32))
    assert value == 0 and not np.any(dz)
    assert squared_error(jnp.ones((0, 2)), jnp.ones((0, 2)), reduction="mean") == 0
    np.testing.assert_array_equal(squared_error(jnp.ones((0, 2)), jnp.ones((0, 2)), reduction="mean", axes=0), [0, 0])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_means_of_many_in_half_precision(dtype):
    """The sum of 100,000 ones overflows float16 and stops at 256 in bfloat16; so does their number."""
    n = 100_000
    p, t = np.ones(n, np.float32).astype(dtype), np.zeros(n, np.float32).astype(dtype)
    value, (dp,) = pulled_back(lambda p: squared_error(p, t, reduction="mean"), p, dy=jnp.asarray(1000, dtype))
    np.testing.assert_allclose(float(value), 1)
    np.testing.assert_allclose(np.asarray(dp, np.float32), 2000 / n, rtol=1e-2)
    z, labels = np.zeros((n, 2), np.float32).astype(dtype), np.zeros(n, np.int8)
    value, (dz,) = pulled_back(lambda z: softmax_cross_entropy(z, labels, ignore_label=1, reduction="mean"), z,
                               dy=jnp.asarray(1000, dtype))
    np.testing.assert_allclose(float(value), np.log(2), rtol=1e-2)
    np.testing.assert_allclose(np.asarray(dz, np.float32), np.tile([-500 / n, 500 / n], (n, 1)), rtol=1e-2)


@pytest.mark.parametrize("weights", [jnp.asarray([True, False, True]), jnp.asarray([1, 0, 1], jnp.int8)])
def test_a_mask_gets_no_gradient(weights):
    _, cache = squared_error.forward(jnp.ones(3), jnp.zeros(3), weights)
    dp, dt, dw = squared_error.backward(cache, jnp.float32(1))
    assert dp.tolist() == [2, 0, 2] and dt.tolist() == [-2, 0, -2] and dw is None


def test_weights_and_labels_of_another_dtype_promote_with_the_logits():
    z = jnp.zeros((2, 3), jnp.bfloat16)
    for loss in (softmax_cross_entropy(z, jnp.zeros(2, int), jnp.ones(2), jnp.ones(3)),
                 binary_cross_entropy(z, z, jnp.ones(2), jnp.ones(3)), huber(z, z, jnp.ones((2, 3))),
                 softmax_cross_entropy(z, jnp.ones((2, 3)) / 3), squared_error(z, jnp.zeros((2, 3)))):
        assert loss.dtype == jnp.float32
    for loss in (softmax_cross_entropy(z, jnp.zeros(2, int), jnp.ones(2, int)), binary_cross_entropy(z, z > 0),
                 squared_error(z, jnp.zeros((2, 3), int)), huber(z[0, 0], 1.0)):
        assert loss.dtype == jnp.bfloat16  # neither integers nor Python's numbers widen


@pytest.mark.parametrize("op", [binary_cross_entropy, softmax_cross_entropy, squared_error, huber],
                         ids=lambda op: op.name)
def test_rank_promotion_is_never_used(op):
    """Nothing is broadcast behind one's back."""
    labels, more = (CLASSES, (W1, C)) if op is softmax_cross_entropy else (T2, (W1, C)) if (
        op is binary_cross_entropy) else (T2, (W1,))
    args = jax.tree.map(jnp.asarray, (Z2, labels, *more))
    with jax.numpy_rank_promotion("raise"):
        for axes in (None, 0, ()):
            for given in (args[:2], args):
                y, cache = op.forward(*given, axes=axes)
                op.backward(cache, jnp.ones_like(y))


@pytest.mark.parametrize("label", [np.int64(2**32 + 1), np.uint64(2**32 + 1), 2**32 + 1])
def test_labels_of_64_bits_are_not_wrapped(label):
    for call in (softmax_cross_entropy, softmax_cross_entropy.forward, softmax_cross_entropy.reference):
        with pytest.raises(ValueError, match=re.escape("softmax_cross_entropy expects labels that ")):
            call(jnp.zeros(5), label)


@pytest.mark.usefixtures("x64")
def test_distributions_that_are_mapped_over_another_axis():
    """Known labels are looked at with the classes where they belong."""
    assert_close(jax.vmap(softmax_cross_entropy, 1)(jnp.asarray(Z2.T), jnp.asarray(T2.T)),
                 jnp.asarray(-np.sum(T2 * LOG_P, -1)))
