"""Pooling by sums, global and adaptive: against PyTorch; what is counted; edges and errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import adaptive_average_pool, average_pool, global_average_pool, global_max_pool, l2_pool
from tests.compare import assert_close
from tests.ops.pictures import channels_first, channels_last, check_beside_torch

X = np.random.default_rng(0).standard_normal((6, 7, 2))


@pytest.mark.sampled
@pytest.mark.parametrize(("window", "stride", "padding"), [
    (2, None, 0), ((2, 3), (2, 1), 0), (3, 2, 1), (3, 3, 1), (2, 3, 0), (4, 3, 2), (1, 1, 0),
], ids=str)
@pytest.mark.parametrize(("count_padding", "ceil"), [(True, False), (False, False), (True, True), (False, True)])
@pytest.mark.usefixtures("x64")
def test_average_against_pytorch(window, stride, padding, count_padding, ceil, torch):
    def theirs(x):
        y = torch.nn.functional.avg_pool2d(channels_first(x), window, stride, padding, ceil, count_padding)
        return channels_last(y)

    check_beside_torch(torch, average_pool, theirs, X, window=window, stride=stride, padding=padding, ceil=ceil,
                       count_padding=count_padding)


@pytest.mark.usefixtures("x64")
def test_one_and_three_dimensions(torch):
    of = torch.nn.functional
    check_beside_torch(torch, average_pool, lambda x: channels_last(of.avg_pool1d(channels_first(x), 3, 2, 1)),
                       X[0], window=3, stride=2, padding=1, count_padding=True)
    volume = np.random.default_rng(1).standard_normal((3, 4, 5, 2))
    check_beside_torch(
        torch, average_pool, lambda x: channels_last(of.avg_pool3d(channels_first(x), 2, (2, 1, 3), 1, False, False)),
        volume, window=2, stride=(2, 1, 3), padding=1)
    check_beside_torch(torch, adaptive_average_pool,
                       lambda x: channels_last(of.adaptive_avg_pool3d(channels_first(x), (2, 3, 1))), volume,
                       size=(2, 3, 1))


@pytest.mark.parametrize("size", [(3, 2), (6, 7), 1, (8, 5)], ids=str)
@pytest.mark.usefixtures("x64")
def test_adaptive_against_pytorch(size, torch):
    def theirs(x):
        return channels_last(torch.nn.functional.adaptive_avg_pool2d(channels_first(x), size))

    check_beside_torch(torch, adaptive_average_pool, theirs, X, size=size)


@pytest.mark.usefixtures("x64")
def test_global_and_l2_against_pytorch(torch):
    check_beside_torch(torch, global_average_pool, lambda x: x.mean((0, 1)), X)
    check_beside_torch(torch, global_max_pool, lambda x: x.amax((0, 1)), X)
    check_beside_torch(
        torch, l2_pool, lambda x: channels_last(torch.nn.functional.lp_pool2d(channels_first(x), 2.0, 3, 2)), X,
        window=3, stride=2)


def test_a_norm_of_zeros_has_the_gradient_zero_and_large_ones_do_not_overflow():
    zeros = jnp.zeros((2, 2, 1))
    assert not np.any(jax.grad(lambda x: jnp.sum(l2_pool(x)))(zeros))
    y, pull_back = jax.vjp(l2_pool, jnp.full((2, 2, 1), 2e30))
    np.testing.assert_allclose(y, 4e30, rtol=1e-6)
    np.testing.assert_allclose(pull_back(jnp.ones_like(y))[0], 0.5, rtol=1e-6)
    spoilt = l2_pool(jnp.ones((4, 2, 1)).at[0, 0].set(jnp.nan))
    assert np.isnan(spoilt[0, 0, 0]) and spoilt[1, 0, 0] == 2


def test_long_sums_in_a_narrow_dtype():
    ones = jnp.ones((20, 20, 1), jnp.bfloat16)
    assert average_pool(ones, window=20).item() == global_average_pool(ones).item() == 1
    dy = jax.grad(lambda x: jnp.sum(average_pool(x, window=3, stride=1).astype(jnp.float32)))(ones)
    np.testing.assert_array_equal(dy[10, 10], 1)


def test_the_first_of_equal_maxima_and_nan():
    x = jnp.array([[1.0, 2.0], [3.0, 2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(global_max_pool(x)))(x), [[0, 1], [1, 0], [0, 0]])
    assert np.isnan(global_max_pool(x.at[2, 0].set(jnp.nan))[0])


def test_laws():
    x = jnp.asarray(X, jnp.float32)
    assert_close(adaptive_average_pool(x, size=1)[0, 0], global_average_pool(x))
    assert_close(adaptive_average_pool(x, size=(3, 7)), average_pool(x, window=(2, 1)))
    assert_close(average_pool(x, window=3, stride=1, padding=1, count_padding=True)[1:-1, 1:-1],
                 average_pool(x, window=3, stride=1))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: average_pool(X, window=9), "average_pool expects x, padded, to be at least the window (9, 9)"),
    (lambda: average_pool(X, padding=-1), "average_pool expects padding to be 'VALID', 'SAME', 'SAME_LOWER', 'CAUSAL', "
     "a size >= 0"),
    (lambda: average_pool(X, padding=2), "padding smaller than the window (2, 2)"),
    (lambda: average_pool(X, count_padding="no"), "average_pool expects count_padding to be True or False; got 'no'"),
    (lambda: average_pool(X, ceil=1), "average_pool expects ceil to be True or False; got 1"),
    (lambda: average_pool(X.astype(int)), "average_pool expects floating-point x; got int"),
    (lambda: average_pool(X[None, None], window=(2, 2)), "average_pool expects x of shape (height, width, channels)"),
    (lambda: average_pool(X[:1], window=(2, 1), padding=((1, 1), (0, 0)), stride=(3, 1)), None),
    (lambda: l2_pool(X, window=0), "l2_pool expects window to be a positive integer"),
    (lambda: global_average_pool(X[:0]), "global_average_pool expects at least one element of each channel"),
    (lambda: global_max_pool(X[:0]), "global_max_pool expects at least one element of each channel"),
    (lambda: adaptive_average_pool(X, size=0), "adaptive_average_pool expects size to be a positive integer"),
    (lambda: adaptive_average_pool(X, size=(1, 2, 3)),
     "adaptive_average_pool expects size to be a positive integer, or 2"),
])
def test_errors(call, words):
    if words is None:
        call()
        return
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
