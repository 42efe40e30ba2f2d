"""Initial weights have the spread that their names promise, for the fans of the layer they are in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import initializers
from jaxnn.layers import Dense

KEY = jax.random.key(0)
N_IN, N_OUT = 400, 300


@pytest.mark.parametrize(("init", "variance"), [
    (initializers.he, 2 / N_IN),
    (initializers.xavier, 2 / (N_IN + N_OUT)),
    (initializers.xavier_uniform, 2 / (N_IN + N_OUT)),
    (initializers.fan_in, 1 / N_IN),
    (initializers.random_normal(0.01), 1e-4),
    (initializers.random_normal(10.0), 100.0),
], ids=["he", "xavier", "xavier_uniform", "fan_in", "random_normal 0.01", "random_normal 10"])
def test_mean_and_variance(init, variance):
    """In a dense layer, whose weight is (n_out, n_in): 120,000 draws, so within 5 standard errors."""
    params, _ = Dense(N_OUT, init).init(KEY, (N_IN,))
    weight = np.asarray(params["weight"])
    assert weight.shape == (N_OUT, N_IN)
    n = weight.size
    assert abs(weight.mean()) < 5 * np.sqrt(variance / n)
    assert weight.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / n))


def test_bounds():
    """Uniform in ±√(6 / (n_in + n_out)); the normal ones but `fan_in` and `random_normal` are cut off."""
    uniform = initializers.xavier_uniform(KEY, (N_IN, N_OUT))
    limit = np.sqrt(6 / (N_IN + N_OUT))
    assert 0.99 * limit < np.abs(uniform).max() <= limit
    he = initializers.he(KEY, (N_IN, N_OUT))
    assert np.abs(he).max() < 2.3 * np.sqrt(2 / N_IN)
    assert np.abs(initializers.fan_in(KEY, (N_IN, N_OUT))).max() > 3.5 / np.sqrt(N_IN)


def test_constants_and_orthogonal():
    assert not np.any(initializers.zeros(KEY, (3, 4)))
    assert np.all(np.asarray(initializers.ones(KEY, (3,))) == 1)
    q = initializers.orthogonal(KEY, (5, 5))
    np.testing.assert_allclose(q @ q.T, np.eye(5), atol=1e-5)


@pytest.mark.parametrize("name",
                         [n for n in initializers.__all__ if n not in ("Initializer", "random_normal")])
def test_key_shape_dtype(name):
    init = getattr(initializers, name)
    for dtype in (jnp.float32, jnp.bfloat16):
        if name == "orthogonal" and dtype == jnp.bfloat16:
            continue  # JAX's QR decomposition has no bfloat16
        weight = init(KEY, (4, 3), dtype)
        assert (weight.shape, weight.dtype) == ((4, 3), dtype)
        assert np.array_equal(weight, init(KEY, (4, 3), dtype))
    if name not in ("zeros", "ones"):
        assert not np.array_equal(init(KEY, (4, 3)), init(jax.random.key(1), (4, 3)))
