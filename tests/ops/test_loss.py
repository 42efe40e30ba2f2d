"""Losses: against SciPy and PyTorch, at huge logits, and with labels that are not labels."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxnn.ops import binary_cross_entropy, huber, softmax_cross_entropy, squared_error
from tests.compare import QUICKLY, assert_close, check_backward, pulled_back

RNG = np.random.default_rng(0)
Z = 2 * RNG.standard_normal(5)
T = RNG.dirichlet(np.ones(5))


def log_p(z):
    return scipy.special.log_softmax(z)


def smooth(t, s):
    return (1 - s) * np.asarray(t) + s / 5


# name: (op, arguments, keywords, L by NumPy and SciPy)
TABLE = {
    "binary, soft labels": (binary_cross_entropy, (Z, T), {}, -np.sum(
        T * scipy.special.log_expit(Z) + (1 - T) * scipy.special.log_expit(-Z))),
    "binary, one question": (binary_cross_entropy, (Z[0], 1), {}, -np.log(scipy.special.expit(Z[0]))),
    "binary, booleans": (binary_cross_entropy, (Z[:2], np.array([True, False])), {},
                         -np.log(scipy.special.expit(Z[0])) - np.log(scipy.special.expit(-Z[1]))),
    "softmax, a class": (softmax_cross_entropy, (Z, 3), {}, -log_p(Z)[3]),
    "softmax, class 0": (softmax_cross_entropy, (Z, 0), {}, -log_p(Z)[0]),
    "softmax, the last class": (softmax_cross_entropy, (Z, 4), {}, -log_p(Z)[4]),
    "softmax, unsigned class": (softmax_cross_entropy, (Z, np.uint8(2)), {}, -log_p(Z)[2]),
    "softmax, a distribution": (softmax_cross_entropy, (Z, T), {}, -np.sum(T * log_p(Z))),
    "softmax, a class, smoothed": (
        softmax_cross_entropy, (Z, 3), {"smoothing": 0.1}, -np.sum(smooth(np.eye(5)[3], 0.1) * log_p(Z))),
    "softmax, a distribution, smoothed": (
        softmax_cross_entropy, (Z, T), {"smoothing": 0.4}, -np.sum(smooth(T, 0.4) * log_p(Z))),
    "softmax, smoothed away": (softmax_cross_entropy, (Z, 3), {"smoothing": 1}, -np.mean(log_p(Z))),
    "softmax, one class": (softmax_cross_entropy, (Z[:1], 0), {}, 0.0),
    "squared error": (squared_error, (Z, T), {}, np.sum((Z - T) ** 2)),
    "squared error of a number": (squared_error, (Z[0], 2.0), {}, (Z[0] - 2) ** 2),
    "squared error of integers": (squared_error, (Z, np.arange(5)), {}, np.sum((Z - np.arange(5)) ** 2)),
    "squared error of a table": (squared_error, (Z[:4].reshape(2, 2), T[:4].reshape(2, 2)), {},
                                 np.sum((Z[:4] - T[:4]) ** 2)),
    "huber": (huber, (Z, T), {}, np.sum(scipy.special.huber(1.0, Z - T))),
    "huber, delta 0.3": (huber, (Z, T), {"delta": 0.3}, np.sum(scipy.special.huber(0.3, Z - T))),
    "huber, delta 100": (huber, (Z, T), {"delta": 100}, np.sum((Z - T) ** 2) / 2),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.usefixtures("x64")
def test_value_and_backward(name):
    op, args, static, want = TABLE[name]
    value, *_ = check_backward(op, *args, **static)
    np.testing.assert_allclose(value, want, rtol=1e-13, atol=1e-15)


@pytest.mark.usefixtures("x64")
def test_against_pytorch(torch):
    classes, eye = np.array([3, 0, 4]), np.eye(5)
    soft, z = eye[classes] * 0.7 + 0.06, RNG.standard_normal((3, 5))
    for op, labels, static, theirs, options in (
        (softmax_cross_entropy, classes, {}, "cross_entropy", {}),
        (softmax_cross_entropy, classes, {"smoothing": 0.2}, "cross_entropy", {"label_smoothing": 0.2}),
        (softmax_cross_entropy, soft, {}, "cross_entropy", {}),
        (binary_cross_entropy, soft, {}, "binary_cross_entropy_with_logits", {}),
        (squared_error, soft, {}, "mse_loss", {}),
        (huber, soft, {"delta": 0.5}, "huber_loss", {"delta": 0.5}),
    ):
        t = torch.tensor(z, requires_grad=True)
        want = getattr(torch.nn.functional, theirs)(t, torch.tensor(labels), reduction="sum", **options)
        want.backward()
        loss = jax.vmap(functools.partial(op, **static))
        got, (dz,) = pulled_back(lambda z: jnp.sum(loss(z, labels)), z)  # noqa: B023
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(dz, t.grad.numpy(), rtol=1e-11, atol=1e-15)


# Weights, sums and means.

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


def test_labels_narrower_than_the_classes():
    """256 classes are 0 as a uint8, and 128 are -128 as an int8."""
    for dtype, n in ((np.uint8, 256), (np.int8, 128), (np.int8, 300), (np.uint16, 65536)):
        label = np.iinfo(dtype).max
        value, dz = of_softmax(np.zeros(n, np.float32), dtype(label))
        np.testing.assert_allclose(value, np.log(n), rtol=1e-6)
        assert np.argmin(dz) == label and not np.any(np.isnan(dz))
    np.testing.assert_allclose(softmax_cross_entropy(jnp.zeros(256), np.uint8(5)), np.log(256), rtol=1e-6)
    assert jnp.isnan(jax.jit(softmax_cross_entropy)(jnp.zeros(256), np.int8(-1)))
    assert jnp.isnan(jax.jit(softmax_cross_entropy)(jnp.zeros(4), np.uint32(2**31 + 1)))


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


# Laws.


@pytest.mark.usefixtures("x64")
def test_gradient_is_probability_minus_target():
    @jax.jit
    def found(z, t):
        of_class, of_distribution = (jax.grad(softmax_cross_entropy)(z, labels) for labels in (3, t))
        return (of_class, of_distribution, jax.grad(binary_cross_entropy)(z, t),
                jax.hessian(softmax_cross_entropy)(z, 3))

    p = scipy.special.softmax(Z)
    assert_close(found(Z, T), (p - np.eye(5)[3], p - T, scipy.special.expit(Z) - T, np.diag(p) - np.outer(p, p)))


@pytest.mark.usefixtures("x64")
def test_two_classes_are_one_question():
    for label in (0, 1):
        assert_close(softmax_cross_entropy(jnp.asarray([0.0, Z[0]]), label),
                     binary_cross_entropy(Z[0], label))


@pytest.mark.usefixtures("x64")
def test_a_class_is_a_one_hot_distribution():
    for s in (0.0, 0.3):
        assert_close(softmax_cross_entropy(Z, 2, smoothing=s),
                     softmax_cross_entropy(Z, np.eye(5)[2], smoothing=s))


def test_uniform_logits_cost_log_n():
    """Before training: ln 2 and ln n_classes nats."""
    assert_close(binary_cross_entropy(0.0, 1), jnp.log(2.0))
    assert_close(softmax_cross_entropy(jnp.zeros(10), 7), jnp.log(10.0))


@pytest.mark.usefixtures("x64")
def test_huber_is_smooth_where_it_bends():
    for error in (1.0, -1.0):
        around = [float(jax.grad(huber)(error + step, 0.0)) for step in (-1e-9, 0.0, 1e-9)]
        np.testing.assert_allclose(around, np.sign(error), atol=2e-9)


def test_labels_of_integers_get_no_gradient():
    for op, labels in ((softmax_cross_entropy, jnp.asarray(1)), (squared_error, jnp.arange(5)),
                       (binary_cross_entropy, jnp.asarray([0, 1, 1, 0, 1])), (huber, jnp.arange(5))):
        _, cache = op.forward(jnp.asarray(Z, jnp.float32), labels)
        assert op.backward(cache, jnp.float32(1))[1] is None


# Edges.


def value_and_slope(loss):
    """(z, label) -> (L, dz), compiled once for each dtype."""
    return jax.jit(jax.value_and_grad(loss), compiler_options=QUICKLY)


of_softmax, of_binary = map(value_and_slope, (softmax_cross_entropy, binary_cross_entropy))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("size", [1e4, 6e4])
def test_huge_logits(size, dtype):
    """Nothing overflows, the right answer costs nothing, and the gradient is bounded."""
    z = jnp.asarray([size, 0.0, 0.0], dtype)
    for label, cost, slope in ((0, 0.0, [0, 0, 0]), (2, size, [1, 0, -1])):
        value, dz = of_softmax(z, label)
        np.testing.assert_allclose(float(value), cost, rtol=1e-2)
        assert_close(dz, jnp.asarray(slope, dtype))
    for logit, label, cost, slope in ((size, 1, 0, 0), (-size, 0, 0, 0), (size, 0, size, 1),
                                      (-size, 1, size, -1)):
        value, dz = of_binary(jnp.asarray(logit, dtype), label)
        np.testing.assert_allclose(float(value), cost, rtol=1e-2)
        assert float(dz) == slope
    value, (dp, _) = pulled_back(huber, jnp.asarray(-1e4, dtype), jnp.asarray(0.0, dtype))
    assert (float(dp), bool(np.isfinite(value))) == (-1.0, True)


def test_ruled_out_classes():
    """A logit of -inf costs nothing, unless it is the target; gradients are finite."""
    z = jnp.asarray([0.3, -jnp.inf, 1.2])
    value, dz = of_softmax(z, 2)
    wanted, wanted_dz = of_softmax(jnp.asarray([0.3, 1.2]), 1)
    assert_close(value, wanted)
    assert_close(np.asarray(dz)[[0, 2]], wanted_dz)
    assert dz[1] == 0
    assert float(softmax_cross_entropy(z, 1)) == np.inf
    assert_close(softmax_cross_entropy(z, jnp.asarray([0.0, 0.0, 1.0])), value)


def test_small_loss_keeps_its_digits():
    """log(1 + e^-z) for z = 30 is e^-30, and not 0."""
    np.testing.assert_allclose(float(binary_cross_entropy(30.0, 1)), np.exp(-30), rtol=1e-5)


# Labels that are not labels. JAX by itself would clamp them, or broadcast.

CLASS = "softmax_cross_entropy expects labels in 0 .. 4; got values from {}; count classes from 0"
OUT_OF_RANGE = [
    (softmax_cross_entropy, (Z, -1), CLASS.format("-1 to -1")),
    (softmax_cross_entropy, (Z, 5), CLASS.format("5 to 5")),
    (binary_cross_entropy, (Z, np.array([0, 1, 2, 0, 1])),
     "binary_cross_entropy expects labels in [0, 1]; got values from 0 to 2"),
    (binary_cross_entropy, (1.0, -0.5),
     "binary_cross_entropy expects labels in [0, 1]; got values from -0.5 to"),
    (binary_cross_entropy, (1.0, float("nan")),
     "binary_cross_entropy expects labels in [0, 1]; got values from nan"),
    (softmax_cross_entropy, (Z, np.full(5, 0.3)),
     "softmax_cross_entropy expects a distribution as labels: entries >= 0 that sum to 1; got values from"),
    (softmax_cross_entropy, (Z, np.array([1.5, -0.5, 0, 0, 0])),
     "a distribution as labels: entries >= 0 that sum"),
    (softmax_cross_entropy, (Z, np.full(5, np.nan)), "a distribution as labels: entries >= 0 that sum"),
]


@pytest.mark.parametrize(("op", "args", "words"), OUT_OF_RANGE)
def test_labels_out_of_range(op, args, words):
    for call in (op, op.forward, op.reference, jax.grad(op)):
        with pytest.raises(ValueError, match=re.escape(words)):
            call(*(jnp.asarray(a, jnp.float32) if np.asarray(a).dtype == float else a for a in args))


@pytest.mark.parametrize(("labels", "came"), [([0, 5, 1], "0 to 5"), ([-1, 2, 1], "-1 to 2")])
def test_labels_out_of_range_in_a_batch(labels, came):
    """Under vmap the whole batch is looked at, in value and gradient alike."""
    z, labels = jnp.zeros((3, 5)), jnp.asarray(labels)
    for call in (jax.vmap(softmax_cross_entropy), jax.vmap(jax.grad(softmax_cross_entropy)),
                 jax.grad(lambda z, labels: jnp.sum(jax.vmap(softmax_cross_entropy)(z, labels)))):
        with pytest.raises(ValueError, match=re.escape(CLASS.format(came))):
            call(z, labels)


@pytest.mark.parametrize("label", [-1, 5, 2**31 - 1])
def test_labels_out_of_range_at_run_time(label):
    """Under jit the value is not known: loss and gradient are NaN, not those of a clamped class."""
    for smoothing in (0.0, 0.1):
        loss = functools.partial(softmax_cross_entropy, smoothing=smoothing)
        value, dz = jax.jit(jax.value_and_grad(loss))(jnp.zeros(5), label)
        assert jnp.isnan(value)
        assert bool(jnp.all(jnp.isnan(dz)))
    both = jax.jit(jax.vmap(softmax_cross_entropy))(jnp.zeros((2, 5)), jnp.asarray([0, label]))
    assert jnp.isnan(both).tolist() == [False, True]


SHAPES = [
    (binary_cross_entropy, (4,), (4, 1),
     "binary_cross_entropy expects labels of the shape of logits (4,); got (4, 1); "
     "reshape one: JAX would broadcast them"),
    (binary_cross_entropy, (4, 1), (4,), "expects labels of the shape of logits (4, 1); got (4,)"),
    (binary_cross_entropy, (4,), (), "expects labels of the shape of logits (4,); got ()"),
    (squared_error, (4,), (4, 1),
     "squared_error expects targets of the shape of predictions (4,); got (4, 1)"),
    (squared_error, (4,), (3,), "squared_error expects targets of the shape of predictions (4,); got (3,)"),
    (huber, (), (1,), "huber expects targets of the shape of predictions (); got (1,)"),
    (softmax_cross_entropy, (3, 5), (4,),
     "softmax_cross_entropy expects integer labels of shape (3,); got (4,); the classes are the last axis of "
     "logits (3, 5)"),
    (softmax_cross_entropy, (3, 5), (), "softmax_cross_entropy expects integer labels of shape (3,); got ()"),
    (softmax_cross_entropy, (5,), (5,),
     "softmax_cross_entropy expects integer labels of shape (); got (5,); convert a distribution: "
     "labels.astype(jnp.float32)"),
    (softmax_cross_entropy, (), (), "softmax_cross_entropy expects logits of shape (..., n_classes); got ()"),
]


@pytest.mark.parametrize(("op", "a", "b", "words"), SHAPES)
def test_shapes_that_do_not_fit(op, a, b, words):
    for call in (op, jax.jit(op), jax.grad(op)):
        with pytest.raises(ValueError, match=re.escape(words)):
            call(jnp.ones(a), jnp.ones(b, int))


def test_labels_with_an_axis_too_many_in_a_batch():
    """(B, 1) labels against (B,) or (B, n_classes) logits."""
    labels = jnp.ones((3, 1), int)
    with pytest.raises(ValueError,
                       match=re.escape("expects integer labels of shape (); got (1,); the classes are")):
        jax.vmap(softmax_cross_entropy)(jnp.zeros((3, 5)), labels)
    with pytest.raises(ValueError, match=re.escape("expects labels of the shape of logits (); got (1,)")):
        jax.vmap(binary_cross_entropy)(jnp.zeros(3), labels)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: softmax_cross_entropy(jnp.zeros(5), 2.0),
     "distributions as labels of shape (5,); got (); convert classes to integers"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), jnp.zeros(4)),
     "distributions as labels of shape (5,); got (4,)"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), True),
     "integer classes or a distribution as labels; got bool"),
    (lambda: softmax_cross_entropy(jnp.zeros(5, int), 0),
     "softmax_cross_entropy expects floating-point logits"),
    (lambda: softmax_cross_entropy(jnp.zeros(0), 0), "softmax_cross_entropy expects"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), 0, smoothing=1.5), "expects smoothing in [0, 1]; got 1.5"),
    (lambda: binary_cross_entropy(jnp.arange(2), jnp.arange(2)), "expects floating-point logits; got int32"),
    (lambda: squared_error(jnp.arange(2), jnp.ones(2)), "squared_error expects floating-point predictions"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), 0, smoothing="1"), "expects smoothing in [0, 1]; got '1'"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), [0]), "expects labels to be an array; got list; convert it"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), T, ignore_label=0),
     "expects classes as labels where one is ignored; got distributions; pass weights of 0"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), 0, ignore_label=True), "expects ignore_label, an integer; got True"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), 0, ignore_label=1.0), "expects ignore_label, an integer; got 1.0"),
    (lambda: softmax_cross_entropy(jnp.zeros(5), 6, ignore_label=-1), CLASS.format("6 to 6")),
    (lambda: softmax_cross_entropy(jnp.zeros(5), 0, None, jnp.ones(4)),
     "softmax_cross_entropy expects class_weights of shape (5,); got (4,)"),
    (lambda: softmax_cross_entropy(jnp.zeros(2), 0, None, (1.0, 2.0)),
     "expects class_weights to be an array; got tuple; convert it: jnp.asarray(class_weights)"),
    (lambda: binary_cross_entropy(jnp.zeros((2, 3)), jnp.ones((2, 3)), None, jnp.ones(2)),
     "expects positive_weight of the shape of the last axes of logits (2, 3); got (2,)"),
    (lambda: binary_cross_entropy(jnp.zeros(2), jnp.ones(2), None, 2), "expects floating-point positive_weight"),
    (lambda: squared_error(jnp.zeros((2, 3)), jnp.ones((2, 3)), jnp.ones(3)),
     "squared_error expects weights of the shape of the loss of each element, (2, 3), or of its leading axes; "
     "got (3,)"),
    (lambda: huber(1.0, 1.0, jnp.ones(1)), "huber expects weights of the shape of the loss of each element, ()"),
    (lambda: huber(1.0, 1.0, [1.0]), "huber expects weights to be an array; got list"),
    (lambda: huber(1.0, 1.0, reduction="none"),
     "huber expects reduction 'sum' or 'mean'; got 'none'; pass axes=() for the loss of each element"),
    (lambda: squared_error(1.0, 1.0, axes=0),
     "squared_error expects axes, different ones of the 0 of a loss of shape (), or None for all; got 0"),
    (lambda: squared_error(jnp.ones((2, 2)), jnp.ones((2, 2)), axes=(0, -2)), "of the 2 of a loss of shape (2, 2)"),
    (lambda: squared_error(jnp.ones(2), jnp.ones(2), axes=True), "or None for all; got True"),
    (lambda: softmax_cross_entropy(jnp.ones((2, 3)), jnp.ones(2, int), axes=1), "of the 1 of a loss of shape (2,)"),
    (lambda: huber(1.0, [1.0]), "huber expects targets to be an array; got list"),
    (lambda: huber(1.0, 1.0, delta=0.0), "huber expects a finite delta > 0; got 0.0"),
    (lambda: huber(1.0, 1.0, delta=None), "huber expects a finite delta > 0; got None"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(("op", "z", "labels", "weights"), [
    (softmax_cross_entropy, [0.3, -np.inf, 1.2], [0.25, 0.0, 0.75], None),
    (softmax_cross_entropy, [0.3, -np.inf, 1.2], [0.25, 0.0, 0.75], [1.0, 2.0, 3.0]),
    (binary_cross_entropy, [-np.inf, np.inf, 1.0], [0.0, 1.0, 0.5], None),
    (binary_cross_entropy, [-np.inf, np.inf, 1.0], [0.0, 1.0, 0.5], [1.0, 2.0, 3.0])])
def test_infinite_logits_in_every_mode(op, z, labels, weights):
    """0 log 0 = 0: value, vjp and jvp are finite, and equal to those without what is ruled out."""
    args = [jnp.asarray(z), jnp.asarray(labels), *([jnp.asarray(weights)] if weights else [])]

    def f(z, t, *more):
        return op(z, t, None, *more)

    y, pushed = jax.jvp(f, tuple(args), tuple(jnp.ones_like(a) for a in args))
    _, pull_back = jax.vjp(f, *args)
    cotangents = pull_back(jnp.ones_like(y))
    assert all(np.all(np.isfinite(leaf)) for leaf in (y, pushed, *cotangents))
    np.testing.assert_allclose(pushed, sum(jnp.sum(leaf) for leaf in cotangents), rtol=1e-5, atol=1e-6)
    kept = np.isfinite(np.asarray(z))
    few = [a[kept] for a in args]
    assert_close(y, f(*few))
    for ours, theirs in zip(cotangents, jax.grad(f, tuple(range(len(args))))(*few)):
        assert_close(ours[kept], theirs)


def test_an_ignored_element_of_nan_in_forward_mode():
    z, labels = jnp.asarray([[0.0, 1.0], [jnp.nan, jnp.inf]]), jnp.asarray([1, -1])
    _, pushed = jax.jvp(lambda z: softmax_cross_entropy(z, labels, ignore_label=-1), (z,), (jnp.ones_like(z),))
    assert float(abs(pushed)) < 1e-6
