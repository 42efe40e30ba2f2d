"""Labels that are no labels, shapes and options that do not fit: refused, or given a loss of NaN at run time."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import binary_cross_entropy, huber, softmax_cross_entropy, squared_error
from tests.compare import assert_close

RNG = np.random.default_rng(0)
Z = 2 * RNG.standard_normal(5)
T = RNG.dirichlet(np.ones(5))


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


@pytest.mark.sampled
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
