"""Attention in chunks: against the textbook formula and PyTorch, also where chunks do not divide a length."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.ops import attention
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(0)
# T_q, T_k, d, d_v, causal, chunk
SIZES = [(1, 1, 1, 1, True, 256), (4, 4, 3, 2, True, 2), (5, 5, 2, 3, True, 2), (5, 5, 2, 3, True, 1),
         (5, 5, 2, 2, True, 9),
         (3, 7, 2, 3, False, 2), (7, 3, 2, 3, False, 4), (6, 6, 4, 4, False, 256), (1, 5, 2, 2, False, 3)]
EACH = pytest.mark.parametrize("sizes", SIZES, ids=str)


def make(sizes):
    t_q, t_k, d, d_v, causal, chunk = sizes
    qkv = RNG.standard_normal((t_q, d)), RNG.standard_normal((t_k, d)), RNG.standard_normal((t_k, d_v))
    return qkv, {"causal": causal, "chunk": chunk}


def textbook(q, k, v, causal):
    scores = q @ k.T / np.sqrt(q.shape[1])
    if causal:
        scores = np.where(np.tri(len(q)) > 0, scores, -np.inf)
    return scipy.special.softmax(scores, -1) @ v


@EACH
@pytest.mark.usefixtures("x64")
def test_value_and_backward(sizes):
    qkv, static = make(sizes)
    np.testing.assert_allclose(attention(*qkv, **static), textbook(*qkv, static["causal"]), rtol=1e-12,
                               atol=1e-14)
    check_backward(attention, *qkv, **static, threshold=64)


@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(sizes, torch):
    qkv, static = make(sizes)
    tensors = [torch.tensor(a, requires_grad=True) for a in qkv]
    y = torch.nn.functional.scaled_dot_product_attention(*(t[None] for t in tensors),
                                                         is_causal=static["causal"])[0]
    dy = RNG.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    got, pull_back = jax.vjp(lambda *qkv: attention(*qkv, **static), *map(jnp.asarray, qkv))
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-11, atol=1e-13)
    for ours, theirs in zip(pull_back(jnp.asarray(dy)), tensors):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_the_chunk_does_not_matter():
    qkv, _ = make((7, 7, 3, 2, True, 1))
    qkv = tuple(map(jnp.asarray, qkv))

    def all_of_it(chunk):
        f = lambda *qkv: attention(*qkv, chunk=chunk)  # noqa: E731
        y, pull_back = jax.vjp(f, *qkv)
        return y, pull_back(jnp.cos(y))

    for chunk in (2, 3, 7, 256):
        assert_close(all_of_it(chunk), all_of_it(1), threshold=64)


@pytest.mark.usefixtures("x64")
def test_the_future_has_zero_gradient():
    (q, k, v), _ = make((5, 5, 2, 2, True, 2))
    for n, x in enumerate((q, k, v)):
        def f(x, n=n):
            qkv = [q, k, v]
            qkv[n] = x
            return attention(*map(jnp.asarray, qkv), chunk=2)

        jacobian = jax.jacrev(f)(jnp.asarray(x))  # (T, d_v, T, d)
        for i in range(5):
            assert not np.any(jacobian[i, :, i + 1:])
        assert np.any(jacobian[4, :, 0]) == (n != 0)  # a query is its own only


@pytest.mark.usefixtures("x64")
def test_laws():
    (q, k, v), _ = make((4, 6, 3, 2, False, 4))
    y = attention(q, k, v, causal=False, chunk=4)
    # The weights sum to one.
    assert_close(attention(q, k, np.ones_like(v), causal=False, chunk=4), jnp.ones((4, 2)))
    order = RNG.permutation(6)
    assert_close(attention(q, k[order], v[order], causal=False, chunk=4), y)  # keys are a set
    # All scores of a query are shifted alike.
    assert_close(attention(q, k + 5 * np.ones(3), v, causal=False, chunk=4), y, 512)
    assert_close(attention(0 * q, k, v, causal=False, chunk=4), jnp.broadcast_to(jnp.mean(v, 0), (4, 2)))


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_huge_scores(size):
    """One key takes all; values and gradients are finite."""
    q = jnp.asarray([[size, 0.0], [0.0, size]])
    k, v = q, jnp.asarray([[1.0], [2.0]])
    y, pull_back = jax.vjp(lambda *qkv: attention(*qkv, causal=False), q, k, v)
    assert_close(y, v)
    for leaf in pull_back(jnp.ones_like(y)):
        assert bool(jnp.all(jnp.isfinite(leaf)))


def test_heads_and_examples_by_vmap():
    q, k, v = (jnp.asarray(RNG.standard_normal((2, 3, 4, 2)), jnp.float32) for _ in range(3))
    y = jax.vmap(jax.vmap(attention))(q, k, v)
    assert_close(y[1, 2], attention(q[1, 2], k[1, 2], v[1, 2]))


def test_bfloat16_is_summed_wide():
    q, k, v = (jnp.asarray(RNG.standard_normal((64, 4)), jnp.bfloat16) for _ in range(3))
    y = attention(q, k, v, chunk=8)
    assert y.dtype == jnp.bfloat16
    want = textbook(*(np.asarray(a, np.float64) for a in (q, k, v)), True)
    np.testing.assert_allclose(y.astype(jnp.float32), want, atol=0.02)


@pytest.mark.parametrize(("shapes", "static", "words"), [
    (((4, 2), (4, 3), (4, 2)), {}, "attention expects k of shape (T_k, 2); got (4, 3)"),
    (((4, 2), (4, 2), (5, 2)), {}, "attention expects v of shape (4, d_v); got (5, 2)"),
    (((4,), (4, 2), (4, 2)), {}, "attention expects q of shape (T_q, d); got (4,)"),
    (((3, 2), (4, 2), (4, 2)), {},
     "attention expects as many queries as keys when causal; got 3 and 4; pass causal=False"),
    (((0, 2), (0, 2), (0, 2)), {},
     "attention expects at least one query, key and dimension; got q (0, 2), k (0, 2)"),
    (((4, 2), (4, 2), (4, 2)), {"chunk": 0}, "attention expects chunk, a positive integer; got 0"),
])
def test_errors(shapes, static, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        attention(*map(jnp.ones, shapes), **static)
    with pytest.raises(ValueError, match="attention expects floating-point k; got int32"):
        attention(jnp.ones((2, 2)), jnp.ones((2, 2), int), jnp.ones((2, 2)))
