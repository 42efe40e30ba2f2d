"""Losses: against SciPy and PyTorch; their laws; at huge logits and small losses."""

import functools

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


@pytest.mark.sampled
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
    return jax.jit(jax.value_and_grad(loss))


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
