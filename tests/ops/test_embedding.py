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


@pytest.mark.sampled
@pytest.mark.parametrize(("dtype", "n_rows"), [(jnp.uint8, 256), (jnp.uint8, 300), (jnp.int8, 128), (jnp.int8, 200),
                                               (jnp.uint16, 65536), (jnp.int16, 32768)])
def test_integers_narrower_than_the_table(dtype, n_rows):
    """256 rows are 0 as a uint8: each that the integers can name is read, and written to, all the same."""
    x = jnp.asarray([0, 7, jnp.iinfo(dtype).max], dtype)
    params = {"table": jnp.arange(n_rows, dtype=jnp.float32)[:, None]}
    for function in (embedding, jax.jit(embedding)):
        np.testing.assert_array_equal(function(params, x)[:, 0], np.asarray(x, float))
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(embedding(p, x))))(params)["table"][:, 0]
    np.testing.assert_array_equal(np.flatnonzero(gradient), np.asarray(x))
    if jnp.issubdtype(dtype, jnp.signedinteger):
        assert jnp.isnan(jax.jit(embedding)(params, jnp.asarray(-1, dtype)))


def test_unsigned_integers_beyond_the_signed_ones():
    params = {"table": jnp.arange(5.0)[:, None]}
    x = jnp.asarray([2, 2**31 + 1, 2**32 - 1], jnp.uint32)
    assert jnp.isnan(jax.jit(embedding)(params, x))[:, 0].tolist() == [False, True, True]
    gradient = jax.jit(jax.grad(lambda p, x: jnp.sum(embedding(p, x)[:1])))(params, x)
    np.testing.assert_array_equal(gradient["table"][:, 0], [0, 0, 1, 0, 0])


@pytest.mark.parametrize("x", [np.int64(2**32 + 1), np.array([1, 2**40]), np.uint64(2**32), 2**32 + 1])
def test_integers_of_64_bits_are_not_wrapped(x):
    for call in (embedding, embedding.forward, embedding.reference):
        with pytest.raises(ValueError, match=re.escape("embedding expects x that ")):
            call({"table": jnp.ones((3, 2))}, x)


@pytest.mark.usefixtures("x64")
def test_integers_of_64_bits():
    x = np.asarray([1, 2**32 + 1])
    with pytest.raises(ValueError, match=re.escape("got values from 1 to 4294967297; count rows from 0")):
        embedding({"table": jnp.asarray(E)}, x)
    assert jnp.isnan(jax.jit(embedding)({"table": jnp.asarray(E)}, x))[:, 0].tolist() == [False, True]


@pytest.mark.parametrize(("params", "x", "words"), [
    ({"table": jnp.ones((3, 2))}, jnp.ones(2), "embedding expects integer x; got float32; convert it"),
    ({"table": jnp.ones((3, 2))}, jnp.ones(2, bool), "embedding expects integer x; got bool"),
    ({"table": jnp.ones(3)}, jnp.ones(2, int), "embedding expects table of shape (n_rows, n_dim); got (3,)"),
    ({"weight": jnp.ones((3, 2))}, jnp.ones(2, int),
     "embedding expects params to be {'table': (n_rows, n_dim)}; got keys ['weight']"),
    (jnp.ones((3, 2)), jnp.ones(2, int), "embedding expects params to be {'table': (n_rows, n_dim)}; got ArrayImpl"),
])
def test_errors(params, x, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        embedding(params, x)
