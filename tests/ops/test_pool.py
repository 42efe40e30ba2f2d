"""Max pooling: against a NumPy loop and PyTorch; ties; windows that overlap, skip and hang over."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import max_pool
from tests.compare import assert_close, check_backward, pulled_back

RNG = np.random.default_rng(0)

# spatial sizes of x, window, stride, padding (low, high)
GEOMETRIES = [
    ((4, 6), 2, None, (0, 0)), ((5, 7), 2, None, (0, 0)), ((5, 6), 3, 1, (0, 0)), ((7, 7), 3, 2, (0, 0)),
    ((7, 6), (2, 3), (3, 1), (0, 0)), ((6, 6), 2, 3, (0, 0)), ((3, 3), 3, None, (0, 0)),
    ((1, 1), 1, None, (0, 0)),
    ((5, 5), 3, 2, (1, 1)), ((4, 4), 3, 1, (1, 1)), ((5, 6), 2, 1, (0, 1)), ((6,), (3,), (1,), (0, 0)),
    ((3, 4, 2), (2, 2, 2), (1, 2, 1), (0, 0)), ((7,), 3, 2, (1, 1)), ((4, 3, 2), 2, 1, (0, 0)),
]
EACH = pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)


def static(geometry):
    size, window, stride, pad = geometry
    return {"window": window, "stride": stride, "padding": (pad,) * len(size)}


def loop(x, window, stride, padding):
    """(y, where): the maximum of each window, and the index of its first maximum in x."""
    rank = x.ndim - 1
    window = (window,) * rank if isinstance(window, int) else window
    stride = window if stride is None else (stride,) * rank if isinstance(stride, int) else stride
    low = [p[0] for p in padding]
    padded = np.pad(x, [*padding, (0, 0)], constant_values=-np.inf)
    out = [(n - w) // s + 1 for n, w, s in zip(padded.shape, window, stride)]
    y, where = np.zeros((*out, x.shape[-1])), {}
    for p in itertools.product(*map(range, out), range(x.shape[-1])):
        best = None
        for k in itertools.product(*map(range, window)):
            at = tuple(a * s + b for a, s, b in zip(p, stride, k))
            if best is None or padded[(*at, p[-1])] > padded[best]:
                best = (*at, p[-1])
        y[p] = padded[best]
        where[p] = (*(b - lo for b, lo in zip(best, low)), p[-1])
    return y, where


@functools.cache
def checked(geometry):
    """(x, y, dy, dx): the value, and the cotangent of x that all routes agree on."""
    x = np.random.default_rng(0).standard_normal((*geometry[0], 2))
    y, dy, (dx,) = check_backward(max_pool, x, **static(geometry))
    return x, y, np.asarray(dy), dx


def pulled_back_by_hand(where, dy, shape):
    dx = np.zeros(shape, dy.dtype)
    for p, place in where.items():
        dx[place] += dy[p]
    return dx


@pytest.mark.sampled
@EACH
@pytest.mark.usefixtures("x64")
def test_value_and_backward(geometry):
    x, got, dy, dx = checked(geometry)
    y, where = loop(x, **static(geometry))
    np.testing.assert_array_equal(got, y)
    np.testing.assert_allclose(dx, pulled_back_by_hand(where, dy, x.shape), rtol=1e-13)


@EACH
def test_ties_go_to_the_first(geometry):
    """Of few distinct values, where every window has ties: by rows, then columns."""
    x = RNG.integers(0, 3, (*geometry[0], 2)).astype(np.float32)
    y, where = loop(x, **static(geometry))
    dy = np.arange(1, y.size + 1, dtype=np.float32).reshape(y.shape)
    dx = explicit(x, dy, **static(geometry))
    np.testing.assert_array_equal(dx, pulled_back_by_hand(where, dy, x.shape))


def explicit(x, dy, **static):
    def program(x, dy):
        _, cache = max_pool.forward(x, **static)
        return max_pool.backward(cache, dy)[0]

    return jax.jit(program)(x, dy)


@pytest.mark.sampled
@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g[3][0] == g[3][1]], ids=str)
@pytest.mark.usefixtures("x64")
def test_against_pytorch(geometry, torch):
    size, window, stride, pad = geometry
    rank = len(size)
    x, got, dy, dx = checked(geometry)
    t = torch.tensor(x.transpose(rank, *range(rank)).copy(), requires_grad=True)
    y = getattr(torch.nn.functional, f"max_pool{rank}d")(t[None], window, stride, padding=pad[0])[0]
    y.backward(torch.tensor(dy.transpose(rank, *range(rank)).copy()))
    back = (*range(1, rank + 1), 0)
    np.testing.assert_array_equal(got, y.detach().numpy().transpose(back))
    np.testing.assert_allclose(dx, t.grad.numpy().transpose(back), rtol=1e-13)


@pytest.mark.sampled
@pytest.mark.parametrize("static", [
    {"window": 3, "stride": 2, "ceil": True}, {"window": (2, 3), "stride": (3, 2), "ceil": True},
    {"window": 2, "stride": 1, "dilation": 2}, {"window": (3, 2), "stride": 2, "dilation": (1, 3)},
    {"window": 2, "stride": 2, "dilation": (2, 1), "ceil": True}], ids=str)
@pytest.mark.usefixtures("x64")
def test_ceil_and_dilation_against_pytorch(static, torch):
    """Channels first there: value and gradient, by both of our passes."""
    x = RNG.standard_normal((8, 9, 2))
    t = torch.tensor(x.transpose(2, 0, 1).copy(), requires_grad=True)
    options = {{"window": "kernel_size", "ceil": "ceil_mode"}.get(k, k): v for k, v in static.items()}
    y = torch.nn.functional.max_pool2d(t[None], **options)[0]
    dy = RNG.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    np.testing.assert_array_equal(max_pool(x, **static), y.detach().numpy().transpose(1, 2, 0))
    dx = explicit(jnp.asarray(x), jnp.asarray(dy.transpose(1, 2, 0)), **static)
    np.testing.assert_allclose(dx, t.grad.numpy().transpose(1, 2, 0), rtol=1e-13)
    lifted = jax.vjp(lambda x: max_pool(x, **static), jnp.asarray(x))[1](jnp.asarray(dy.transpose(1, 2, 0)))[0]
    np.testing.assert_allclose(lifted, dx, rtol=1e-13)


def test_same_padding():
    pool = jax.jit(max_pool, static_argnames=("window", "stride", "padding"))
    assert pool(np.ones((5, 5, 1)), window=2, padding="SAME").shape == (3, 3, 1)
    assert pool(-np.ones((5, 5, 1)), window=2, padding="SAME").max() == -1.0  # never the padding's -inf
    assert_close(pool(np.ones((4, 4, 1)), padding="VALID"), pool(np.ones((4, 4, 1)), padding="SAME"))


@pytest.mark.sampled
@pytest.mark.parametrize(("static", "alike"), [
    ({"window": [2, 3]}, {"window": (2, 3)}), ({"window": np.int64(2)}, {"window": 2}),
    ({"stride": [1, np.int32(2)]}, {"stride": (1, 2)}), ({"padding": "same"}, {"padding": "SAME"}),
    ({"padding": [[0, 1], 1]}, {"padding": ((0, 1), (1, 1))}),
    ({"window": (3, 2), "stride": 1, "padding": "same_lower"}, {"window": (3, 2), "stride": 1,
                                                               "padding": ((1, 1), (1, 0))}),
], ids=str)
def test_ways_to_write_a_size(static, alike):
    x = np.random.default_rng(0).standard_normal((5, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(max_pool(x, **static), max_pool(x, **alike))


@pytest.mark.usefixtures("x64")
def test_laws():
    x = jnp.asarray(RNG.standard_normal((6, 6, 2)))

    @jax.jit
    def both_sides(x):
        twice = max_pool(max_pool(x, window=2), window=3)
        hessian = jax.hessian(lambda x: jnp.sum(max_pool(x)))(x[:2, :2])
        return (twice, max_pool(3 * x + 1)), (max_pool(x, window=6), 3 * max_pool(x) + 1), hessian

    left, right, hessian = both_sides(x)
    assert_close(left, right)
    assert not np.any(hessian)
    _, (dx,) = pulled_back(max_pool, x)
    assert float(np.sum(dx)) == 18.0  # each window passes its cotangent on whole
    assert set(np.unique(dx)) == {0.0, 1.0}


def test_special_values():
    pool = jax.jit(max_pool)
    assert np.isnan(pool(np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)[..., None])[0, 0, 0])
    y, (dx,) = pulled_back(max_pool, np.full((2, 2, 1), -np.inf, np.float32))
    assert y[0, 0, 0] == -np.inf
    np.testing.assert_array_equal(dx[..., 0], [[1, 0], [0, 0]])
    huge = np.array([[1e4, -1e4], [3e38, 0.0]], np.float32)[..., None]
    assert pool(huge)[0, 0, 0] == np.float32(3e38)


def test_a_padded_window_of_minus_infinities_stays_inside():
    """Its first maximum is the first element that is not padding."""
    x, dy = np.full((2, 2, 1), -np.inf, np.float32), np.arange(1.0, 5.0, dtype=np.float32).reshape(2, 2, 1)
    dx = explicit(x, dy, window=2, stride=2, padding=1)
    np.testing.assert_array_equal(dx[..., 0], [[1, 2], [3, 4]])


@pytest.mark.parametrize(("x", "static", "words"), [
    (jnp.ones((4, 4)), {}, "max_pool expects x of shape (height, width, channels); got (4, 4)"),
    (jnp.ones((2, 4, 4, 1)), {}, "max_pool expects x of shape (height, width, channels); got (2, 4, 4, 1)"),
    (jnp.ones((4, 4, 1), int), {}, "max_pool expects floating-point x; got int32"),
    (jnp.ones((4, 4, 1)), {"window": 0},
     "max_pool expects window to be a positive integer, or 2 of them; got 0"),
    (jnp.ones(4), {"window": 2}, "max_pool expects x of shape (width, channels); got (4,)"),
    (jnp.ones((2, 2, 2, 2, 1)), {"window": 2},
     "max_pool expects x of shape (depth, height, width, channels); got (2, 2, 2, 2, 1)"),
    (jnp.ones((4, 4, 1)), {"window": ()}, "max_pool expects window to be one to three sizes; got ()"),
    (jnp.ones((4, 4, 1)), {"window": (2,)}, "max_pool expects x of shape (width, channels); got (4, 4, 1)"),
    (jnp.ones((4, 4, 1)), {"window": True},
     "max_pool expects window to be a positive integer, or 2 of them; got True"),
    (jnp.ones((4, 4, 1)), {"stride": -1},
     "max_pool expects stride to be a positive integer, or 2 of them; got -1"),
    (jnp.ones((4, 4, 1)), {"window": 5},
     "max_pool expects x, padded, to be at least the window (5, 5); got (4, 4)"),
    (jnp.ones((4, 4, 1)), {"padding": 2},
     "max_pool expects padding smaller than the window (2, 2); got ((2, 2), (2, 2))"),
    (jnp.ones((4, 4, 1)), {"padding": "FULL"},
     "max_pool expects padding to be 'VALID', 'SAME', 'SAME_LOWER', 'CAUSAL', a size >= 0"),
])
def test_errors(x, static, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        max_pool(x, **static)
