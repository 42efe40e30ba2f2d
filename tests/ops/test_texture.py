"""Gram matrices and total variation: against PyTorch, between pictures of two sizes, at kinks and edges; errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import gram_matrix, total_variation
from tests.compare import assert_close
from tests.ops.pictures import check_beside_torch

X = np.random.default_rng(5).standard_normal((4, 5, 3))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.usefixtures("x64")
def test_gram_against_pytorch(reduction, torch):
    def theirs(x):
        rows = x.reshape(-1, 3)
        return rows.T @ rows / (20 if reduction == "mean" else 1)

    check_beside_torch(torch, gram_matrix, theirs, X, reduction=reduction)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.usefixtures("x64")
def test_total_variation_against_pytorch(power, torch):
    def theirs(x):
        pad = torch.nn.functional.pad
        down, right = pad(x.diff(dim=0), (0, 0, 0, 0, 0, 1)), pad(x.diff(dim=1), (0, 0, 0, 1))
        square = down.square() + right.square()
        return square[square > 0].pow(power / 2).sum()

    check_beside_torch(torch, total_variation, theirs, X, power=power)


def test_the_gram_matrix_knows_no_places_and_with_a_mean_no_size():
    x = jnp.asarray(X, jnp.float32)
    assert_close(gram_matrix(x[::-1, :, :]), gram_matrix(x))
    assert_close(gram_matrix(jnp.concatenate([x, x])), 2 * gram_matrix(x))
    assert_close(gram_matrix(jnp.concatenate([x, x]), reduction="mean"), gram_matrix(x, reduction="mean"))
    # 10,000 places in a narrow dtype
    np.testing.assert_array_equal(gram_matrix(jnp.ones((100, 100, 1), jnp.bfloat16)), 9984)
    assert gram_matrix(jnp.ones((0, 2))).tolist() == [[0, 0], [0, 0]]


@pytest.mark.sampled
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
def test_a_flat_picture_and_a_single_pixel(power):
    """Where all differences are 0 the slope 0 is taken, by the rule and by autodiff."""
    for x in (jnp.full((3, 4, 2), 0.7), jnp.ones((1, 1, 3)), jnp.ones((0, 4, 1))):
        for f in (total_variation, total_variation.reference):
            value, slopes = jax.value_and_grad(lambda x, f=f: f(x, power=power))(x)
            assert value == 0 and not np.any(slopes)
    bent = jax.grad(lambda x: jax.grad(total_variation)(x)[1, 1, 0])(jnp.zeros((3, 3, 1)))
    assert bent[:, :, 0].tolist() == [[0, -2, 0], [-2, 8, -2], [0, -2, 0]]


def test_a_step_costs_the_same_by_length_however_steep_it_is():
    steep = jnp.tile(jnp.array([0.0, 0.0, 1.0, 1.0])[None, :, None], (3, 1, 1))
    slow = jnp.tile(jnp.linspace(0, 1, 4)[None, :, None], (3, 1, 1))
    np.testing.assert_allclose(total_variation(steep, power=1.0), total_variation(slow, power=1.0), rtol=1e-6)
    np.testing.assert_allclose(total_variation(steep), 3 * total_variation(slow), rtol=1e-6)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: gram_matrix(X[0, 0]), "gram_matrix expects x of shape (..., channels)"),
    (lambda: gram_matrix(X, reduction="max"), "gram_matrix expects reduction 'sum' or 'mean'; got 'max'"),
    (lambda: gram_matrix(X[:0], reduction="mean"), "gram_matrix expects at least one place to take the mean of"),
    (lambda: gram_matrix(X.astype(np.uint8)), "gram_matrix expects floating-point x; got uint8; convert it, and pixels "
     "to 0..1"),
    (lambda: total_variation(X, power=0.5), "total_variation expects a finite power >= 1; got 0.5"),
    (lambda: total_variation(X[None]), "total_variation expects x of shape (height, width, channels); got "
     "(1, 4, 5, 3)"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
