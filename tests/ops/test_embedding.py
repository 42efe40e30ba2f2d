"""Embedding: rows read, gradients added up where a row is read twice, integers that are no rows."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import embedding
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(0)
E = RNG.standard_normal((5, 3))


@pytest.mark.parametrize("x", [0, 4, [2, 0, 2, 4], [[1, 1], [3, 1]], []], ids=str)
@pytest.mark.usefixtures("x64")
def test_value_and_backward(x):
    x = np.asarray(x, np.int32)
    np.testing.assert_array_equal(embedding({"table": E}, x), E[x])
    if x.size:
        check_backward(embedding, {"table": E}, x)


@pytest.mark.usefixtures("x64")
def test_against_pytorch(torch):
    x, dy = RNG.integers(0, 5, (4, 6)), RNG.standard_normal((4, 6, 3))
    table = torch.tensor(E, requires_grad=True)
    torch.nn.functional.embedding(torch.tensor(x), table).backward(torch.tensor(dy))
    _, pull_back = jax.vjp(lambda p: jax.vmap(embedding, (None, 0))(p, x), {"table": jnp.asarray(E)})
    np.testing.assert_allclose(pull_back(jnp.asarray(dy))[0]["table"], table.grad.numpy(), rtol=1e-13)


def test_each_read_adds_to_its_row():
    """dE_r = Σ_t dy_t [x_t = r], and rows never read get nothing."""
    _, cache = embedding.forward({"table": jnp.ones((4, 2))}, jnp.asarray([3, 1, 3]))
    dparams, none = embedding.backward(cache, jnp.asarray([[1.0, 2], [3, 4], [5, 6]]))
    assert none is None
    np.testing.assert_array_equal(dparams["table"], [[0, 0], [3, 4], [0, 0], [6, 8]])


def test_it_is_a_product_with_one_hot_rows():
    x = jnp.asarray([2, 0, 2])
    table = jnp.asarray(E, jnp.float32)
    assert_close(embedding({"table": table}, x), jax.nn.one_hot(x, 5) @ table)


@pytest.mark.parametrize("x", [[5], [-1], [0, 7, -2]], ids=str)
def test_out_of_range_at_the_call(x):
    words = f"embedding expects x in 0 .. 4; got values from {min(x)} to {max(x)}; count rows from 0"
    with pytest.raises(ValueError, match=re.escape(words)):
        embedding({"table": jnp.asarray(E)}, jnp.asarray(x))
    with pytest.raises(ValueError, match=re.escape(words)):
        jax.vmap(embedding, (None, 0))({"table": jnp.asarray(E)}, jnp.asarray(x))


@pytest.mark.parametrize("wrong", [5, -1, -5, 2**31 - 1])
def test_out_of_range_at_run_time(wrong):
    """JAX by itself would read the last row for -1 and the nearest for 5: it is NaN, and moves no row."""
    params, x = {"table": jnp.asarray(E, jnp.float32)}, jnp.asarray([1, wrong])
    y = jax.jit(embedding)(params, x)
    assert_close(y[0], params["table"][1])
    assert bool(jnp.all(jnp.isnan(y[1])))
    gradient = jax.jit(jax.grad(lambda p, x: jnp.sum(embedding(p, x)[0])))(params, x)
    np.testing.assert_array_equal(gradient["table"], np.eye(5)[1][:, None] * np.ones(3))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32])
def test_any_integers(dtype):
    np.testing.assert_allclose(embedding({"table": jnp.asarray(E)}, jnp.asarray([0, 3], dtype)), E[[0, 3]],
                               rtol=1e-6)


@pytest.mark.parametrize(("params", "x", "words"), [
    ({"table": jnp.ones((3, 2))}, jnp.ones(2), "embedding expects integer x; got float32; convert it"),
    ({"table": jnp.ones((3, 2))}, jnp.ones(2, bool), "embedding expects integer x; got bool"),
    ({"table": jnp.ones(3)}, jnp.ones(2, int), "embedding expects table of shape (n_rows, n_dim); got (3,)"),
    ({"weight": jnp.ones((3, 2))}, jnp.ones(2, int),
     "embedding expects params to be {'table'}; got keys ['weight']"),
    (jnp.ones((3, 2)), jnp.ones(2, int), "embedding expects params to be {'table'}; got ArrayImpl"),
])
def test_errors(params, x, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        embedding(params, x)
