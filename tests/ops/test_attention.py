"""Attention in chunks: against the textbook formula and PyTorch, also where chunks do not divide a length."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.ops import attention
from tests.compare import QUICKLY, assert_close, check_backward, pulled_back

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


def compiled(**static):
    return jax.jit(functools.partial(attention, **static), compiler_options=QUICKLY)


@functools.cache
def checked(sizes):
    """(q k v, y, dy, their cotangents), on which all routes agree."""
    qkv, static = make(sizes)
    return qkv, *check_backward(attention, *qkv, **static, threshold=64)


def textbook(q, k, v, causal):
    scores = q @ k.T / np.sqrt(q.shape[1])
    if causal:
        scores = np.where(np.tri(len(q)) > 0, scores, -np.inf)
    return scipy.special.softmax(scores, -1) @ v


@EACH
@pytest.mark.usefixtures("x64")
def test_value_and_backward(sizes):
    qkv, y, _, _ = checked(sizes)
    np.testing.assert_allclose(y, textbook(*qkv, causal=sizes[4]), rtol=1e-12, atol=1e-14)


@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(sizes, torch):
    qkv, got, dy, cotangents = checked(sizes)
    tensors = [torch.tensor(a, requires_grad=True) for a in qkv]
    y = torch.nn.functional.scaled_dot_product_attention(*(t[None] for t in tensors),
                                                         is_causal=sizes[4])[0]
    y.backward(torch.tensor(np.asarray(dy)))
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-11, atol=1e-13)
    for ours, theirs in zip(cotangents, tensors):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_the_chunk_does_not_matter():
    qkv, _ = make((7, 7, 3, 2, True, 1))
    dy = RNG.standard_normal((7, 2))
    of_one, *others = (pulled_back(functools.partial(attention, chunk=chunk), *qkv, dy=dy)
                       for chunk in (1, 2, 3, 7, 256))
    for other in others:
        assert_close(other, of_one, threshold=64)


@pytest.mark.usefixtures("x64")
def test_the_future_has_zero_gradient():
    (q, k, v), _ = make((5, 5, 2, 2, True, 2))
    jacobians = jax.jacrev(functools.partial(attention, chunk=2), (0, 1, 2))
    for n, jacobian in enumerate(jax.jit(jacobians, compiler_options=QUICKLY)(q, k, v)):  # (T, d_v, T, d)
        for i in range(5):
            assert not np.any(jacobian[i, :, i + 1:])
        assert np.any(jacobian[4, :, 0]) == (n != 0)  # a query is its own only


@pytest.mark.usefixtures("x64")
def test_laws():
    (q, k, v), _ = make((4, 6, 3, 2, False, 4))
    of = compiled(causal=False, chunk=4)
    y = of(q, k, v)
    assert_close(of(q, k, np.ones_like(v)), np.ones((4, 2)))  # the weights sum to one
    order = RNG.permutation(6)
    assert_close(of(q, k[order], v[order]), y)  # keys are a set
    assert_close(of(q, k + 5 * np.ones(3), v), y, 512)  # all scores of a query are shifted alike
    assert_close(of(0 * q, k, v), np.broadcast_to(np.mean(v, 0), (4, 2)))


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_huge_scores(size):
    """One key takes all; values and gradients are finite."""
    q = jnp.asarray([[size, 0.0], [0.0, size]])
    k, v = q, jnp.asarray([[1.0], [2.0]])
    y, cotangents = pulled_back(functools.partial(attention, causal=False), q, k, v)
    assert_close(y, v)
    for leaf in cotangents:
        assert np.all(np.isfinite(leaf))


def test_heads_and_examples_by_vmap():
    q, k, v = (jnp.asarray(RNG.standard_normal((2, 3, 4, 2)), jnp.float32) for _ in range(3))
    y = jax.jit(jax.vmap(jax.vmap(attention)))(q, k, v)
    assert_close(y[1, 2], jax.jit(attention)(q[1, 2], k[1, 2], v[1, 2]))


def test_bfloat16_is_summed_wide():
    q, k, v = (jnp.asarray(RNG.standard_normal((64, 4)), jnp.bfloat16) for _ in range(3))
    y = compiled(chunk=8)(q, k, v)
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
