"""Each law, kept and broken."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, ops
from jaxnn.ops import batch_norm
from tests.cases import array, tree, uniform, weights

RNG = np.random.default_rng(0)
X = array(6, 4)(RNG, jnp.float32)
ALWAYS = ["f(x) is the reference's value", "twice the same result", "linear in dy", "reads only its cache",
          "right at other arguments"]
OF_A_BATCH = ["micro-batches sum to the batch", "permuting examples permutes", "padding changes nothing"]


def rule(plain, backward, value=None):
    f = jax.custom_vjp(value or plain)
    f.defvjp(lambda *args: ((value or plain)(*args), args), backward)
    return f


def laws(f, *args, **options):
    report = compare_gradients(f, *args, routes=("lifted",), **options)
    return {law.name: law for law in report.laws}, report


def square(x):
    return x * x


def test_all_are_kept():
    found, report = laws(jax.vmap(ops.dense, (None, 0)), weights(4, 3)(RNG, jnp.float32), X)
    assert {name: law.holds for name, law in found.items()} == dict.fromkeys(ALWAYS + OF_A_BATCH, True)
    assert f"laws that hold: {', '.join(ALWAYS + OF_A_BATCH)}" in str(report)


def test_without_a_batch_there_are_no_laws_of_a_batch():
    found, _ = laws(ops.huber, X[0], X[1])
    assert list(found) == ALWAYS


def test_a_batch_whose_examples_mix():
    """Batch norm: no part of the batch has the whole's statistics; order alone does not matter."""
    args = (tree(scale=array(4), bias=array(4))(RNG, jnp.float32),
            tree(mean=array(4), variance=uniform(4))(RNG, jnp.float32))
    batch = jax.vmap(batch_norm, (None, None, 0), axis_name="examples")
    found, _ = laws(lambda *args: batch(*args)[0], *args, X)
    assert [found[name].holds for name in OF_A_BATCH] == [None, True, None]
    assert found["padding changes nothing"].evidence == "the reference mixes examples"


def broken(name, f, *args, **options):
    found, report = laws(f, *args, **options)
    assert not report.ok
    assert found[name].holds is False, found
    assert "✗ NO" in str(report)
    return found[name].evidence


def test_another_value():
    f = rule(square, lambda a, dy: (2 * a[0] * dy,), value=lambda x: x * x * 1.001)
    assert broken(ALWAYS[0], f, X, reference=square).startswith("y differs by ")
    report = compare_gradients(f, X, reference=square, routes="lifted")
    assert report.verdict == "WRONG: not f(x) is the reference's value"
    assert report.wrong == ()  # the gradient itself is right


def test_another_result_each_time():
    count = itertools.count()

    def backward(a, dy):
        shape = jax.ShapeDtypeStruct((), np.float32)
        noise = jax.pure_callback(lambda: np.float32(next(count) * 1e-6), shape)
        return (2 * a[0] * dy * (1 + noise),)

    assert broken(ALWAYS[1], rule(square, backward), X, reference=square).startswith("x differs by up to ")


def test_not_linear():
    f = rule(square, lambda a, dy: (2 * a[0] * jnp.clip(dy, -2.5, 2.5),))
    assert broken(ALWAYS[2], f, X, reference=square).startswith("lifted x: g(dy + 2 dy') is off by ")


def test_a_gradient_that_is_clipped_where_it_is_large():
    f = rule(square, lambda a, dy: (2 * a[0] * jnp.clip(dy, -5, 5),))
    assert broken(ALWAYS[2], f, X, reference=square).startswith("lifted x: g(8 dy - 3 dy') is off by ")


def test_a_cache_outside_of_the_cache():
    """A backward that reads what the last forward left behind."""
    left_behind = []

    def plain(x):
        return x * x

    f = jax.custom_vjp(plain)

    def forward(x):
        left_behind.append(x)
        return x * x, ()

    f.defvjp(forward, lambda _, dy: (2 * left_behind[-1] * dy,))
    found, report = laws(f, X, reference=plain)
    assert not report.ok
    assert report.failures or any(law.holds is False for law in found.values())


def test_an_array_that_is_closed_over():
    f = rule(square, lambda a, dy: (2 * X * dy,))
    evidence = broken(ALWAYS[4], f, X, reference=square)
    assert evidence.endswith("does backward hold an array that is not in its cache?")


def weighted(weight, x):
    return x @ weight


@pytest.mark.parametrize("name", OF_A_BATCH)
def test_a_batch_of_one_size(name):
    """A backward with the size of the batch written into it is right for that size alone."""
    def backward(a, dy):
        weight, x = a
        n = x.shape[0]
        dweight = x.T @ dy * (6 / n if name == OF_A_BATCH[0] else 1)
        dx = dy @ weight.T
        if name == OF_A_BATCH[2]:  # the examples mix, by as much as the last is not the one of these arguments
            dx = dx * (1 + jnp.max(jnp.abs(x[-1] - X[-1])))
        if name == OF_A_BATCH[1]:
            first = jax.nn.one_hot(0, n)[:, None] * (jnp.abs(x[0, 0] - X[0, 0]) > 1e-6)
            dx = dx * (1 + first)
        return dweight, dx

    weight = array(4, 3)(RNG, jnp.float32)
    assert "is off by" in broken(name, rule(weighted, backward), weight, X, reference=weighted)


def test_arguments_that_may_not_move():
    """Labels that must sum to one: where the reference refuses other arguments, f may differ from it there."""
    def plain(logits, labels):
        total = jnp.sum(labels)
        if not isinstance(total, jax.core.Tracer) and abs(total - 1) > 1e-3:
            raise ValueError("labels that sum to one")
        return -jnp.sum(labels * jax.nn.log_softmax(logits))

    def backward(a, dy):  # Σ labels = 1 is used
        return dy * (jax.nn.softmax(a[0]) - a[1]), -dy * jax.nn.log_softmax(a[0])

    labels = jnp.asarray(RNG.dirichlet(np.ones(4)), jnp.float32)
    found, report = laws(rule(plain, backward), X[0], labels, reference=plain)
    assert report.ok, str(report)
    assert found["right at other arguments"].holds is None
    assert found["right at other arguments"].evidence == "the reference does not run there"
