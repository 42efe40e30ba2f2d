"""Resizing, pixel shuffle and unpooling: against PyTorch, and as inverses of each other."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import max_pool, max_unpool, pixel_shuffle, pixel_unshuffle, pool_switches, resize
from tests.ops.pictures import channels_first, channels_last, check_beside_torch

X = np.random.default_rng(0).standard_normal((4, 6, 4))


@pytest.mark.sampled
@pytest.mark.parametrize("size", [(3, 2), (8, 12), (1, 1), (7, 5)], ids=str)
@pytest.mark.parametrize(("ours", "theirs"), [
    ({}, {"mode": "bilinear", "align_corners": False}),
    ({"align": "corners"}, {"mode": "bilinear", "align_corners": True}),
    ({"method": "nearest"}, {"mode": "nearest-exact"}),
], ids=str)
@pytest.mark.usefixtures("x64")
def test_resize_against_pytorch(size, ours, theirs, torch):
    check_beside_torch(
        torch, resize, lambda x: channels_last(torch.nn.functional.interpolate(channels_first(x), size, **theirs)), X,
        size=size, **ours)


@pytest.mark.usefixtures("x64")
def test_one_and_three_dimensions(torch):
    volume = np.random.default_rng(1).standard_normal((2, 3, 4, 2))
    of = torch.nn.functional.interpolate
    check_beside_torch(torch, resize, lambda x: channels_last(
        of(channels_first(x), (3, 5, 2), mode="trilinear", align_corners=False)), volume, size=(3, 5, 2))
    check_beside_torch(torch, resize, lambda x: channels_last(
        of(channels_first(x), 9, mode="linear", align_corners=True)), volume[0, 0], size=9, align="corners")


def test_nearest_repeats_by_a_whole_factor():
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_array_equal(resize(x, size=(8, 18), method="nearest"), x.repeat(2, 0).repeat(3, 1))
    np.testing.assert_array_equal(resize(x, size=(4, 6)), x)


@pytest.mark.usefixtures("x64")
def test_pixel_shuffle_against_pytorch(torch):
    def theirs(f):
        return lambda x: channels_last(f(channels_first(x), 2))

    check_beside_torch(torch, pixel_shuffle, theirs(torch.nn.functional.pixel_shuffle), X, factor=2)
    check_beside_torch(torch, pixel_unshuffle, theirs(torch.nn.functional.pixel_unshuffle), X, factor=2)
    np.testing.assert_array_equal(pixel_unshuffle(pixel_shuffle(X, factor=2), factor=2), X)


@pytest.mark.sampled
@pytest.mark.parametrize(("size", "options"), [
    ((6, 8), {"window": 2}), ((7, 6), {"window": 3, "stride": 2}), ((5, 6), {"window": (2, 3), "padding": 1}),
    ((6, 6), {"window": 2, "dilation": 2, "stride": 1}), ((7,), {"window": 3}), ((4, 4, 6), {"window": 2}),
], ids=str)
def test_switches_against_pytorch(size, options, torch):
    x = np.random.default_rng(2).standard_normal((*size, 3)).astype(np.float32)
    pool = getattr(torch.nn.functional, f"max_pool{len(size)}d")
    y, switches = pool(channels_first(torch.tensor(x)), options["window"], options.get("stride"),
                       options.get("padding", 0), options.get("dilation", 1), return_indices=True)
    got = pool_switches(x, **options)
    np.testing.assert_array_equal(got, channels_last(switches).numpy())
    np.testing.assert_array_equal(x.reshape(-1, 3)[np.asarray(got).reshape(-1, 3), np.arange(3)].reshape(got.shape),
                                  max_pool(x, **options))
    assert y.shape[2:] == got.shape[:-1]


@pytest.mark.parametrize("size", [(7,), (6, 8), (4, 5, 6)], ids=str)
@pytest.mark.usefixtures("x64")
def test_unpooling_against_pytorch(size, torch):
    x = np.random.default_rng(3).standard_normal((*size, 2))
    switches = np.asarray(pool_switches(x, window=2))
    index = channels_first(torch.tensor(switches.astype(np.int64)))
    unpool = getattr(torch.nn.functional, f"max_unpool{len(size)}d")
    check_beside_torch(
        torch, max_unpool, lambda t: channels_last(unpool(channels_first(t), index, 2, output_size=size)),
        np.asarray(max_pool(x, window=2)), switches, size=size)


@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 5)], ids=str)
def test_what_overlapping_windows_put_back_is_added(size):
    """Of two windows that had one maximum PyTorch keeps one; NumPy adds here."""
    x = np.random.default_rng(4).standard_normal((*size, 2)).astype(np.float32)
    options = {"window": 3, "stride": 1, "padding": 1}
    y, switches = (np.asarray(op(x, **options)) for op in (max_pool, pool_switches))
    expected = np.zeros((x[..., 0].size, 2), np.float32)
    for channel in range(2):
        np.add.at(expected[:, channel], switches[..., channel].ravel(), y[..., channel].ravel())
    assert np.unique(switches[..., 0]).size < switches[..., 0].size, "some windows share a maximum"
    np.testing.assert_allclose(max_unpool(y, switches, size=size), expected.reshape(x.shape), rtol=1e-5)
    assert max_unpool(jnp.ones((2, 1)), jnp.array([[1], [1]]), size=3).ravel().tolist() == [0, 2, 0]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: resize(X, size=0), "resize expects size to be a positive integer, or 2 of them; got 0"),
    (lambda: resize(X, size=4, method="cubic"), "resize expects method, one of nearest, bilinear; got 'cubic'"),
    (lambda: resize(X, size=4, align=True), "resize expects align, one of half_pixel, corners; got True"),
    (lambda: resize(X[:0], size=4), "resize expects x of one to three spatial axes and channels; got (0, 6, 4)"),
    (lambda: pixel_shuffle(X, factor=3),
     "pixel_shuffle expects a factor whose square, 3², divides the channels; got 4"),
    (lambda: pixel_shuffle(X[0], factor=2), "pixel_shuffle expects x of shape (height, width, channels); got (6, 4)"),
    (lambda: pixel_unshuffle(X, factor=4),
     "pixel_unshuffle expects a factor, 4, that divides height and width; got (4, 6, 4)"),
    (lambda: pixel_unshuffle(X, factor=1.5), "pixel_unshuffle expects factor, a positive integer; got 1.5"),
    (lambda: max_unpool(X, jnp.zeros((4, 6, 1), int), size=9), "max_unpool expects switches of shape (4, 6, 4)"),
    (lambda: max_unpool(X, jnp.full(X.shape, 81), size=9), "max_unpool expects switches from 0 to 80; got 81 to 81"),
    (lambda: max_unpool(X, X, size=9), "max_unpool expects integer switches; got float"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
