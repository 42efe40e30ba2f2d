"""Custom rules written without jaxnn in mind, of JAX, optax and Equinox, and mistakes once let pass.

Which of the rules is right was settled apart from the comparison, by SciPy, finite differences or the
formula. JAX's `expn` is wrong in earnest.
"""

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import optax
import pytest

from jaxnn import compare_gradients

ZERO = jnp.array([0.0, 0.5, 2.0])


def xlogy(x, y):
    return jnp.where(x == 0, 0.0, x * jnp.log(jnp.where(x == 0, 1.0, y)))


def safe_norm(x):
    return jnp.maximum(jnp.linalg.norm(x, axis=-1), 0.5)


def huber(x):
    return jnp.where(jnp.abs(x) <= 1, 0.5 * x * x, jnp.abs(x) - 0.5)


def simplex(x):
    """The projection onto the simplex: x less the shift that makes the positive parts sum to one."""
    ordered = jnp.sort(x)[::-1]
    n = jnp.arange(1, len(x) + 1)
    shifts = (jnp.cumsum(ordered) - 1) / n
    return jnp.maximum(x - shifts[jnp.sum(ordered > shifts) - 1], 0)


RIGHT = {
    "jax.nn.relu": (jax.nn.relu, (jnp.array([-1.0, 0.5, 3.0]),), lambda x: jnp.where(x > 0, x, 0)),
    "jax.nn.relu6 at its corner": (jax.nn.relu6, (jnp.array([-1.0, 2, 6, 7]),), lambda x: jnp.clip(x, 0, 6)),
    "jax.nn.softmax beside one that overflows": (
        jax.nn.softmax, (jnp.array([100.0, 99, 0]),), lambda x: jnp.exp(x) / jnp.exp(x).sum()),
    "logsumexp": (special.logsumexp, (jnp.array([0.3, -2.0, 5.0]),), lambda x: jnp.log(jnp.exp(x).sum())),
    "xlogy": (special.xlogy, (ZERO + 0.1, jnp.array([3.0, 0.5, 0.1])), lambda x, y: x * jnp.log(y)),
    "expit": (special.expit, (jnp.array([-2.0, 0.0, 4.0]),), lambda x: 1 / (1 + jnp.exp(-x))),
    "optax.safe_norm": (
        lambda x: optax.safe_norm(x, 0.5, axis=-1), (jnp.array([[0.1, 0.2], [3.0, 4.0]]),), safe_norm),
    "optax's projection onto the simplex": (
        optax.projections.projection_simplex, (jnp.array([0.3, -0.7, 1.2, 0.1]),), simplex),
    "optax.huber_loss": (lambda x: optax.huber_loss(x), (jnp.array([-3.0, 0.2, 1.4]),), huber),
    "log, whose domain ends nearby": (lambda x: jnp.log(x), (jnp.array([1e-3, 1.0, 2.0]),), jnp.log),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", RIGHT)
def test_right_ones(name):
    f, args, plain = RIGHT[name]
    report = compare_gradients(f, *args, reference=plain, laws=False)
    assert report.ok, str(report)


def test_a_wrong_one():
    """expn(0, x) = exp(-x) / x, whose derivative JAX gave as NaN for x <= 1."""
    if jax.__version_info__ >= (0, 11):
        pytest.skip("newer releases of JAX have it right")
    x = jnp.array([0.5, 1.0, 3.0])
    report = compare_gradients(lambda x: special.expn(0, x), x, reference=lambda x: jnp.exp(-x) / x,
                               routes="lifted", laws=False)
    assert not report.ok
    assert report.findings[0].words.startswith("NaN at 2 of 3 elements, first at [0], where the reference "
                                               "is ")


def test_equinox():
    equinox = pytest.importorskip("equinox", reason="Equinox is not installed")

    @equinox.filter_custom_vjp
    def clipped(x):
        return x * 2

    clipped.def_fwd(lambda perturbed, x: (x * 2, None))
    clipped.def_bwd(lambda residuals, dy, perturbed, x: jnp.clip(2 * dy, -1, 1))
    report = compare_gradients(clipped, ZERO, reference=lambda x: x * 2)
    assert not report.ok
    assert any(finding.kind == "clipped" for finding in report.findings) or not all(
        law.holds for law in report.laws)


# What was once accepted, and what was once refused.


def rule(plain, backward):
    f = jax.custom_vjp(plain)
    f.defvjp(lambda *args: (plain(*args), args), backward)
    return f


def pool(x):
    return x.reshape(-1, 2).max(-1)


TIED = jnp.array([0.0, 0, 1, 2, 0, 0, 7, 3])
CAPTURED = jnp.array([1.0, 2, 3])

ONCE_ACCEPTED = {
    "NaN is no subgradient": (
        lambda x: jnp.sqrt(jnp.sum(x * x, -1)), (jnp.array([[0.0, 0], [3, 4]]),),
        lambda x: jnp.where(jnp.all(x == 0, -1), 0.0, jnp.sqrt(jnp.sum(jnp.where(
            jnp.all(x == 0, -1, keepdims=True), 1.0, x) ** 2, -1)))),
    "a slope that is not finite is no kink": (
        rule(jnp.log, lambda a, dy: (dy / jnp.maximum(a[0], 1e-3),)), (jnp.array([1e-6, 1.0, 2.0]),),
        jnp.log),
    "an infinite argument": (
        rule(lambda x: 2 * x, lambda a, dy: (5 * dy,)), (jnp.array([1.0, 2, jnp.inf]),), lambda x: 2 * x),
    "curvature is no kink": (
        rule(lambda x: 1 / x, lambda a, dy: (-dy / a[0]**2 * jnp.where(a[0] < 0.1, 1.01, 1),)),
        (jnp.array([0.01, 100.0, 50.0]),), lambda x: 1 / x),
    "all that tie take all": (
        rule(pool, lambda a, dy: (((a[0].reshape(-1, 2) == pool(a[0])[:, None]) * dy[:, None]).ravel(),)),
        (TIED,), pool),
    "none that ties takes any": (
        rule(pool, lambda a, dy: (
            ((a[0].reshape(-1, 2) > a[0].reshape(-1, 2)[:, ::-1]) * dy[:, None]).ravel(),)), (TIED,), pool),
    "a value that ignores its argument": (
        rule(lambda x: 2 * CAPTURED, lambda a, dy: (2 * dy,)), (CAPTURED,), lambda x: 2 * x),
}

ONCE_REFUSED = {
    "the first of those that tie": (
        rule(pool, lambda a, dy: (
            (jax.nn.one_hot(a[0].reshape(-1, 2).argmax(-1), 2) * dy[:, None]).ravel(),)),
        (TIED,), pool),
    "float32 inside": (
        lambda x: jnp.tanh(x.astype(jnp.float32)).astype(x.dtype), (jnp.array([0.3, -0.7, 1.2]),), jnp.tanh),
    "an infinite argument of relu": (
        jax.nn.relu, (jnp.array([-1.0, 2, jnp.inf]),), lambda x: jnp.where(x > 0, x, 0)),
    "a reference that is NaN in float64 too": (
        lambda x: optax.safe_norm(x, 0.5, axis=-1), (jnp.array([[0.0, 0.0], [3.0, 4.0]]),), safe_norm),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", ONCE_ACCEPTED)
def test_once_accepted(name):
    f, args, plain = ONCE_ACCEPTED[name]
    assert not compare_gradients(f, *args, reference=plain).ok


@pytest.mark.parametrize("name", ONCE_REFUSED)
def test_once_refused(name):
    f, args, plain = ONCE_REFUSED[name]
    report = compare_gradients(f, *args, reference=plain)
    assert report.ok, str(report)


def test_arguments_that_a_rule_declares_to_have_no_gradient():
    clip = jax.custom_vjp(lambda low, high, x: jnp.clip(x, low, high), nondiff_argnums=(0, 1))
    clip.defvjp(lambda low, high, x: (jnp.clip(x, low, high), x),
                lambda low, high, x, dy: (jnp.where((x > low) & (x < high), dy, 0),))
    report = compare_gradients(clip, -0.75, 0.75, jnp.array([0.3, -0.7, 1.2]),
                               reference=lambda low, high, x: jnp.clip(x, low, high))
    assert report.ok, str(report)
    assert {leaf.path for leaf in report.leaves} == {"x"}


def test_a_cotangent_that_is_ignored_and_a_sum_that_is_missing():
    cost = rule(lambda x: jnp.mean(x * x), lambda a, dy: (2 * a[0] / a[0].size,))
    report = compare_gradients(cost, ZERO, reference=lambda x: jnp.mean(x * x))
    assert report.findings[0].words == "it is the gradient for dy = 1: the cotangent is ignored"
    x = jax.random.normal(jax.random.key(0), (64, 5))
    linear = rule(lambda w, b, x: x @ w + b, lambda a, dy: (a[2].T @ dy, dy, dy @ a[0].T))
    report = compare_gradients(linear, jnp.ones((5, 3)), jnp.ones(3), x, reference=lambda w, b, x: x @ w + b)
    assert report.findings[0] == ("b", "not summed", "it is not summed over axis 0, of size 64")
    assert {leaf.path for leaf in report.leaves if leaf.ok} == {"w", "x"}  # by the backward pass itself


def test_a_reference_that_is_wrong():
    """Finite differences side with f where the reference's own gradient is the wrong one."""
    report = compare_gradients(special.xlogy, ZERO, jnp.array([3.0, 0.5, 0.1]), reference=xlogy)
    assert not report.ok and not report.wrong
    assert report.verdict.startswith("REFERENCE WRONG: x: the reference is wrong at 1 of 3 elements: at [0] its ")
