"""Dropout: what is kept, how it is scaled, and that the gradient drops the same elements."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import dropout
from tests.compare import assert_close, check_backward, pulled_back

KEY = jax.random.key(0)
quick = jax.jit(dropout, static_argnames="rate")


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.99])
@pytest.mark.usefixtures("x64")
def test_value_and_backward(rate):
    """Each element is x / (1 - rate) or 0, as the mask drawn from the key says."""
    x = np.random.default_rng(0).standard_normal((4, 5)) + 3
    kept = jax.random.bernoulli(KEY, jnp.float32(1 - rate), x.shape)  # the same mask in every precision
    y, *_ = check_backward(dropout, x, KEY, rate=rate)
    np.testing.assert_allclose(y, np.where(kept, x / (1 - rate), 0), rtol=1e-14)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_fraction_and_mean(rate):
    """rate is the fraction dropped, and the mean stays."""
    n = 100_000
    y = quick(np.ones(n, np.float32), KEY, rate=rate)
    spread = 5 * np.sqrt(rate * (1 - rate) / n)
    assert np.mean(y == 0) == pytest.approx(rate, abs=spread)
    assert np.mean(y, dtype=float) == pytest.approx(1.0, abs=spread / (1 - rate))


def test_rate_zero_is_the_identity():
    x = jnp.arange(5.0)
    assert_close(quick(x, KEY, rate=0), x)


def test_one_key_one_mask():
    x = jnp.ones(64)
    y = quick(x, KEY, rate=0.5)
    assert_close(dropout(x, KEY, rate=0.5), y)
    assert np.any(y != quick(x, jax.random.key(1), rate=0.5))


def test_each_example_its_mask():
    draw = jax.jit(jax.vmap(functools.partial(dropout, rate=0.5)))
    y = np.asarray(draw(np.ones((4, 64), np.float32), jax.random.split(KEY, 4)))
    assert len({tuple(row.tolist()) for row in y}) == 4


def test_gradient_flows_where_the_value_does():
    y, (dx,) = pulled_back(lambda x: dropout(x, KEY, rate=0.25), jnp.ones(64))
    assert_close(dx, y)


def test_infinity_is_dropped_too():
    """inf · 0 would be NaN."""
    y, (dx,) = pulled_back(lambda x: dropout(x, KEY, rate=0.5), jnp.full(64, jnp.inf))
    assert not np.any(np.isnan(y))
    assert np.all(np.isfinite(dx))


def test_legacy_keys():
    y, (dx,) = pulled_back(lambda x: dropout(x, jax.random.PRNGKey(3), rate=0.5), jnp.ones(8))
    assert_close(y, quick(jnp.ones(8), jax.random.key(3), rate=0.5))
    assert_close(dx, y)
    as_argument = jax.jit(jax.grad(lambda x, k: jnp.sum(dropout(x, k, rate=0.5))))
    assert_close(as_argument(jnp.ones(8), jax.random.PRNGKey(3)), y)


@pytest.mark.parametrize("rate", [1.0, -0.1, 1.5, float("nan"), None, "0.5"], ids=repr)
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=re.escape(
            f"dropout expects rate, the fraction dropped, in [0, 1); got {rate!r}")):
        dropout(jnp.ones(3), KEY, rate=rate)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: dropout(jnp.ones(3), None, rate=0.5),
     "dropout expects a PRNG key; got None; pass key=jax.random.key(seed)"),
    (lambda: dropout(jnp.arange(3), KEY, rate=0.5), "dropout expects floating-point x; got int32"),
    (lambda: dropout(jnp.ones(3), KEY), "argument: 'rate'"),  # the words before it are Python's
])
def test_errors(call, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        call()
