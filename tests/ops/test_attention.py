"""Attention in chunks: against the textbook formula and PyTorch, also where chunks do not divide a length."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.linearity import equations
from jaxnn.ops import attention
from tests.compare import assert_close, check_backward, pulled_back

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
    return jax.jit(functools.partial(attention, **static))


@functools.cache
def checked(sizes):
    """(q k v, y, dy, their cotangents), on which all routes agree."""
    qkv, static = make(sizes)
    return qkv, *check_backward(attention, *qkv, **static, threshold=64)


def textbook(q, k, v, causal=False, mask=True):
    """Query by query, over the keys that it sees; 0 where there are none."""
    scores = q @ k.T / np.sqrt(q.shape[1])
    visible = np.broadcast_to(mask, scores.shape) & (np.tri(*scores.shape, dtype=bool) | (not causal))
    return np.stack([scipy.special.softmax(s[sees]) @ v[sees] if sees.any() else np.zeros(v.shape[1])
                     for s, sees in zip(scores, visible)])


@pytest.mark.sampled
@EACH
@pytest.mark.usefixtures("x64")
def test_value_and_backward(sizes):
    qkv, y, _, _ = checked(sizes)
    np.testing.assert_allclose(y, textbook(*qkv, causal=sizes[4]), rtol=1e-12, atol=1e-14)


@pytest.mark.sampled
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
    of_one, *others = (pulled_back(functools.partial(attention, causal=True, chunk=chunk), *qkv, dy=dy)
                       for chunk in (1, 2, 3, 7, 256))
    for other in others:
        assert_close(other, of_one, threshold=64)


@pytest.mark.parametrize(("backend", "window", "n_pairs"), [
    ("cpu", None, 9 * 10 // 2), ("gpu", None, 5 * 6 // 2), ("gpu", (2200, 0), 9 * 10 // 2)])
def test_chunks_are_larger_on_a_gpu(monkeypatch, backend, window, n_pairs):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    q = jnp.zeros((2200, 1))
    traced = jax.make_jaxpr(lambda q: attention.forward(q, q, q, causal=True, window=window)[0])(q)
    loop, = (equation for equation in equations(traced.jaxpr) if equation.primitive.name == "scan")
    assert loop.params["length"] == n_pairs  # pairs of chunks of 256 or of 512 places


@pytest.mark.usefixtures("x64")
def test_the_future_has_zero_gradient():
    (q, k, v), _ = make((5, 5, 2, 2, True, 2))
    jacobians = jax.jacrev(functools.partial(attention, causal=True, chunk=2), (0, 1, 2))
    for n, jacobian in enumerate(jax.jit(jacobians)(q, k, v)):  # (T, d_v, T, d)
        for i in range(5):
            assert not np.any(jacobian[i, :, i + 1:])
        assert np.any(jacobian[4, :, 0]) == (n != 0)  # a query is its own only


@pytest.mark.usefixtures("x64")
def test_laws():
    (q, k, v), _ = make((4, 6, 3, 2, False, 4))
    of = compiled(chunk=4)
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
    y, cotangents = pulled_back(attention, q, k, v)
    assert_close(y, v)
    for leaf in cotangents:
        assert np.all(np.isfinite(leaf))


def test_heads_and_examples_by_vmap():
    q, k, v = (jnp.asarray(RNG.standard_normal((2, 3, 4, 2)), jnp.float32) for _ in range(3))
    y = jax.jit(jax.vmap(jax.vmap(attention)))(q, k, v)
    assert_close(y[1, 2], jax.jit(attention)(q[1, 2], k[1, 2], v[1, 2]))


def test_bfloat16_is_summed_wide():
    q, k, v = (jnp.asarray(RNG.standard_normal((64, 4)), jnp.bfloat16) for _ in range(3))
    y = compiled(causal=True, chunk=8)(q, k, v)
    assert y.dtype == jnp.bfloat16
    want = textbook(*(np.asarray(a, np.float64) for a in (q, k, v)), True)
    np.testing.assert_allclose(y.astype(jnp.float32), want, atol=0.02)


@pytest.mark.parametrize(("shapes", "static", "words"), [
    (((4, 2), (4, 3), (4, 2)), {}, "attention expects k of shape (T_k, 2); got (4, 3)"),
    (((4, 2), (4, 2), (5, 2)), {}, "attention expects v of shape (4, d_v); got (5, 2)"),
    (((4,), (4, 2), (4, 2)), {}, "attention expects q of shape (T_q, d); got (4,)"),
    (((5, 2), (4, 2), (4, 2)), {"causal": True}, "attention expects at most as many queries as keys with causal, for "
     "query i stands at place T_k - T_q + i; got 5 and 4"),
    (((0, 2), (0, 2), (0, 2)), {},
     "attention expects at least one query, key and dimension; got q (0, 2), k (0, 2)"),
    (((4, 2), (4, 2), (4, 2)), {"chunk": 0}, "attention expects chunk, a positive integer; got 0"),
])
def test_errors(shapes, static, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        attention(*map(jnp.ones, shapes), **static)
    with pytest.raises(ValueError, match="attention expects floating-point k; got int32"):
        attention(jnp.ones((2, 2)), jnp.ones((2, 2), int), jnp.ones((2, 2)))


MASKS = [(5, 5, False, 2), (5, 5, True, 2), (4, 6, False, 4), (3, 7, False, 256)]


@pytest.mark.sampled
@pytest.mark.parametrize("sizes", MASKS, ids=str)
@pytest.mark.usefixtures("x64")
def test_mask(sizes, torch):
    """Queries that see some keys, one that sees all, one that sees none; a key that nobody sees."""
    t_q, t_k, causal, chunk = sizes
    qkv, _ = make((t_q, t_k, 2, 3, causal, chunk))
    mask = RNG.random((t_q, t_k)) < 0.6
    mask[:, 1], mask[-1], mask[1] = False, True, False
    mask[-1, 1] = False
    y, dy, cotangents = check_backward(attention, *qkv, mask, causal=causal, chunk=chunk, threshold=64)
    np.testing.assert_allclose(y, textbook(*qkv, causal, mask), rtol=1e-12, atol=1e-14)
    assert not np.any(y[1])
    assert not any(np.any(leaf[1]) for leaf in cotangents)  # neither the query nor the key has a gradient
    tensors = [torch.tensor(a, requires_grad=True) for a in qkv]
    visible = mask & (np.tri(t_q, t_k, dtype=bool) | (not causal))
    some = visible.any(1)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        tensors[0][None, some], *(t[None] for t in tensors[1:]), attn_mask=torch.tensor(visible[some])[None])[0]
    theirs.backward(torch.tensor(np.asarray(dy)[some]))
    for ours, tensor in zip(cotangents, tensors):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("padding", [np.nan, np.inf])
def test_what_no_query_sees_does_not_matter(padding):
    (q, k, v), _ = make((4, 4, 2, 2, False, 2))
    mask = np.tri(4, dtype=bool)
    mask[3], mask[:, 3] = False, False
    padded = [np.concatenate([a[:3], np.full((1, 2), padding)]) for a in (q, k, v)]
    f = functools.partial(attention, chunk=2)
    want = pulled_back(lambda *qkv: f(*qkv, mask), q, k, v)
    assert_close(pulled_back(lambda *qkv: f(*qkv, mask), *padded), want)


def test_mask_errors():
    x = jnp.ones((2, 1))
    with pytest.raises(ValueError, match=re.escape("attention expects mask of shape (2, 2); got (2,)")):
        attention(x, x, x, jnp.ones(2, bool))
    with pytest.raises(ValueError, match="attention expects mask, an array of bool; got int32; True stands for"):
        attention(x, x, x, jnp.ones((2, 2), int))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_scores_are_wide_in_both_passes(dtype):
    """Scores with a standard deviation of 36, rounded in one pass and not in the other, had dv off by 15 %."""
    q, k, v, dy = (jnp.asarray(RNG.standard_normal((64, 16)) * size, dtype) for size in (6, 6, 1, 1))
    got = pulled_back(functools.partial(attention, chunk=16), q, k, v, dy=dy)

    def exact(q, k, v):
        return jax.nn.softmax(q @ k.T / 4) @ v

    with jax.enable_x64(True):
        want = pulled_back(exact, *(np.asarray(a, np.float64) for a in (q, k, v)), dy=np.asarray(dy, np.float64))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        a, b = np.asarray(a, np.float64), np.asarray(b)
        assert np.abs(a - b).max() <= float(jnp.finfo(dtype).eps) * np.abs(b).max()


def test_a_value_far_from_zero_in_bfloat16():
    """Σ P dP is y dy, and a y that is rounded to bfloat16 would drown dP - D where all values are alike."""
    q, k, noise, dy = (RNG.standard_normal((16, 4)) for _ in range(4))
    q, k, v, dy = (jnp.asarray(a, jnp.bfloat16) for a in (q, k, 100 + noise, dy))
    got = pulled_back(attention, q, k, v, dy=dy)
    want = pulled_back(attention, *(a.astype(jnp.float32) for a in (q, k, v)), dy=dy.astype(jnp.float32))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        assert np.abs(a.astype(jnp.float32) - b).max() <= 2**-8 * np.abs(b).max()


def test_scores_beyond_float16():
    x = jnp.full((4, 64), 40.0, jnp.float16)  # q k is 102,400, q k / 8 is 12,800
    y, cotangents = pulled_back(attention, x, x, jnp.ones((4, 1), jnp.float16))
    assert_close(y, jnp.ones((4, 1), jnp.float16))
    assert_close(cotangents[2], jnp.ones((4, 1), jnp.float16))
    assert not np.any(cotangents[0]) and not np.any(cotangents[1])


def test_the_dtype_is_that_to_which_all_promote():
    x = {dtype: jnp.ones((2, 2), dtype) for dtype in ("float32", "bfloat16", "float16")}
    y, cotangents = pulled_back(attention, x["bfloat16"], x["float16"], x["bfloat16"])
    assert y.dtype == jnp.float32
    assert [leaf.dtype for leaf in cotangents] == ["bfloat16", "float16", "bfloat16"]
    assert attention(x["bfloat16"], x["bfloat16"], x["float32"]).dtype == jnp.float32
