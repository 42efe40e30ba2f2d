"""Attention's choices, one by one and together: against the formula in PyTorch, differentiated there, and against
PyTorch's own function where that has the choice."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import alibi_slopes, attention
from tests.compare import assert_close, check_backward, pulled_back

RNG = np.random.default_rng(1)
# T_q, T_k, n_heads, n_kv_heads, d, d_v; what is given besides; keywords.
CHOICES = {
    "heads": ((5, 5, 4, 4, 2, 3), (), {"causal": True}),
    "grouped heads": ((5, 6, 4, 2, 2, 3), (), {}),
    "one head of keys": ((3, 5, 3, 1, 2, 2), ("bias of heads",), {}),
    "the last queries": ((3, 7, 2, 2, 2, 3), (), {"causal": True}),
    "one query": ((1, 7, 2, 1, 2, 3), (), {"causal": True}),
    "a start": ((2, 7, 2, 2, 2, 3), ("start",), {"causal": True, "window": (3, None)}),
    "a length": ((5, 5, 2, 2, 2, 2), ("length",), {"causal": True}),
    "a length, across": ((2, 7, 2, 2, 2, 2), ("length", "mask"), {}),
    "a window": ((7, 7, 1, 1, 2, 2), (), {"window": 2}),
    "a causal window": ((7, 7, 2, 2, 2, 2), (), {"window": (1, 5), "causal": True}),
    "a window of the last": ((3, 9, 2, 2, 2, 2), ("bias",), {"window": (2, 1)}),
    "a mask of heads": ((4, 5, 4, 2, 2, 2), ("mask of heads", "bias"), {}),
    "scale and cap": ((4, 5, 2, 2, 2, 2), ("bias",), {"scale": 0.7, "soft_cap": 0.9}),
    "slopes": ((4, 6, 4, 2, 2, 2), ("slopes",), {"causal": True}),
    "keys that are not read": ((3, 8, 4, 2, 2, 3), (), {"n_keys": 4}),
    "the same, causal": ((3, 8, 4, 2, 2, 3), ("start",), {"causal": True, "n_keys": 6}),
    "all": ((4, 6, 4, 2, 3, 2), ("mask of heads", "bias of heads", "slopes", "length", "start"),
            {"causal": True, "window": (3, 1), "scale": 0.6, "soft_cap": 2.0, "n_keys": 5}),
}
EACH = pytest.mark.parametrize("name", CHOICES)
pytestmark = pytest.mark.usefixtures("x64")


def arguments(name):
    (T_q, T_k, h, g, d, d_v), given, static = CHOICES[name]
    q, k, v = (RNG.standard_normal(s) for s in ((T_q, h * d), (T_k, g * d), (T_k, g * d_v)))
    args = dict.fromkeys(("mask", "bias", "slopes", "length", "start"))
    for what in given:
        what, _, of_heads = what.partition(" of ")
        shape = (h, T_q, T_k) if of_heads else (T_q, T_k)
        args[what] = {"mask": RNG.random(shape) < 0.7, "bias": RNG.standard_normal(shape),
                      "slopes": RNG.random(h), "length": T_k - 2, "start": 1}[what]
    if args["mask"] is not None:
        args["mask"][..., 1, :] = False
    return (q, k, v, *args.values()), {"n_heads": h, "n_kv_heads": g, "chunk": 3, **static}


def visible(T_q, T_k, mask, length, start, causal, window):
    sees = np.zeros((T_q, T_k), bool)
    before, after = (window if isinstance(window, tuple) else (window, window))
    for i in range(T_q):
        place = i + (T_k - T_q if start is None else int(start))
        for j in range(T_k):
            sees[i, j] = ((length is None or j < length) and (not causal or j <= place)
                          and (before is None or j >= place - before) and (after is None or j <= place + after))
    return sees if mask is None else sees & mask


def formula(torch, q, k, v, mask, bias, slopes, length, start, *, n_heads, n_kv_heads, causal=False, window=None,
            scale=None, soft_cap=None, n_keys=None, chunk=None):
    """Head by head, of tensors."""
    T_q, T_k, d = len(q), len(k), q.shape[1] // n_heads
    length = T_k if length is None else length
    length = length if n_keys is None else min(length, n_keys)
    sees = np.broadcast_to(visible(T_q, T_k, mask, length, start, causal, window), (n_heads, T_q, T_k))
    place = torch.arange(T_q)[:, None] + (T_k - T_q if start is None else int(start))
    ys = []
    for n in range(n_heads):
        m = n * n_kv_heads // n_heads
        k_, v_ = (a.reshape(T_k, n_kv_heads, -1)[:, m] for a in (k, v))
        s = q[:, n * d:(n + 1) * d] @ k_.T * (d**-0.5 if scale is None else scale)
        s = s if soft_cap is None else soft_cap * torch.tanh(s / soft_cap)
        s = s if slopes is None else s - slopes[n] * (place - torch.arange(T_k)).abs()
        s = s if bias is None else s + (bias[n] if bias.ndim == 3 else bias)
        some = torch.tensor(sees[n].any(1))
        s = s.masked_fill(torch.tensor(~sees[n]) & some[:, None], -torch.inf)
        ys.append(torch.where(some[:, None], torch.softmax(s, 1) @ v_, 0.0))
    return torch.cat(ys, 1)


@pytest.mark.sampled
@EACH
def test_value_and_gradients(name, torch):
    args, static = arguments(name)
    moves = [n for n, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype == np.float64]

    def of_moving(*moving):
        return attention(*(moving[moves.index(n)] if n in moves else a for n, a in enumerate(args)), **static)

    dy = RNG.standard_normal((len(args[0]), static["n_heads"] * args[2].shape[1] // static["n_kv_heads"]))
    y, cotangents = pulled_back(of_moving, *(args[n] for n in moves), dy=dy)
    tensors = [torch.tensor(a, requires_grad=True) if n in moves else a for n, a in enumerate(args)]
    want = formula(torch, *tensors, **static)
    want.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-11, atol=1e-13)
    for n, got in zip(moves, cotangents, strict=True):
        np.testing.assert_allclose(got, tensors[n].grad.numpy(), rtol=1e-10, atol=1e-12)


def test_all_choices_backward():
    """The explicit and the lifted backward, the reference's autodiff and finite differences."""
    args, static = arguments("all")
    args = [np.asarray(a) for a in args]
    check_backward(attention, *args, **static, threshold=256)


GRID = [(4, 2, False, True), (4, 4, True, False), (6, 2, True, False)]


@pytest.mark.parametrize(("h", "g", "masked", "causal"), GRID)
def test_pytorchs_own_function(h, g, masked, causal, torch):
    """Grouped heads, masks, causal: `scaled_dot_product_attention` of (heads, time, d)."""
    q, k, v = RNG.standard_normal((5, h * 2)), RNG.standard_normal((5, g * 2)), RNG.standard_normal((5, g * 3))
    mask = RNG.random((h, 5, 5)) < 0.6 if masked else None
    if masked:
        mask[..., 0] = True
    dy = RNG.standard_normal((5, h * 3))
    y, cotangents = pulled_back(functools.partial(attention, n_heads=h, n_kv_heads=g, causal=causal, chunk=2),
                                q, k, v, *([mask] if masked else []), dy=dy)
    tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    heads = [t.reshape(1, 5, n, -1).transpose(1, 2) for t, n in zip(tensors, (h, g, g))]
    want = torch.nn.functional.scaled_dot_product_attention(
        *heads, attn_mask=torch.tensor(mask)[None] if masked else None, is_causal=causal, enable_gqa=True)
    want = want.transpose(1, 2).reshape(5, -1)
    want.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-11, atol=1e-13)
    for ours, tensor in zip(cotangents, tensors):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_a_bias_that_hides_all_keys_gives_zeros():
    q, k, v = (jnp.asarray(RNG.standard_normal((3, 2))) for _ in range(3))
    bias = jnp.zeros((3, 3)).at[1].set(-jnp.inf)
    y, cotangents = pulled_back(functools.partial(attention, chunk=2), q, k, v, None, bias)
    assert not np.any(y[1]) and not np.any(cotangents[0][1]) and not np.any(cotangents[4][1])
    assert all(np.all(np.isfinite(leaf)) for leaf in cotangents if leaf is not None)


def test_nothing_to_attend_to():
    """A length of 0, and queries whose window lies in the padding: zeros, and zero gradients."""
    q, k, v = (jnp.asarray(RNG.standard_normal((4, 2))) for _ in range(3))
    v = v.at[2:].set(jnp.nan)

    def f(q, k, v, length):
        return attention(q, k, v, None, None, None, length, window=1, chunk=3)

    for length, still in ((0, slice(0, 4)), (2, slice(3, 4))):
        y, cotangents = pulled_back(f, q, k, v, length)
        assert not np.any(y[still]) and not np.any(cotangents[0][still])
        assert all(np.all(np.isfinite(leaf)) for leaf in (y, *cotangents[:3]))


def test_what_is_out_of_range_at_run_time_is_not_clamped():
    x = jnp.ones((4, 1))
    of_length = jax.jit(lambda n: attention(x, x, x, None, None, None, n))
    of_start = jax.jit(lambda n: attention(x[:2], x, x, start=n, causal=True))
    for f, most in ((of_length, 4), (of_start, 2)):
        assert np.all(np.isfinite(f(most)))
        assert np.all(np.isnan(f(most + 1))) and np.all(np.isnan(f(-1)))


def dropped(chunk, q, k, v, key, **static):
    return attention(q, k, v, None, None, None, None, None, key, n_heads=2, rate=0.4, chunk=chunk, **static)


def test_dropout_of_weights():
    """Values of 1 show the kept weights; the mean is 1, and backward drops the same ones, whatever the chunk."""
    q, k = (jnp.asarray(RNG.standard_normal((40, 4))) for _ in range(2))
    v, key = jnp.ones((40, 2)), jax.random.key(0)
    y, cotangents = pulled_back(functools.partial(dropped, 16), q, k, v, key)
    assert abs(float(jnp.mean(y)) - 1) < 0.05 and float(jnp.std(y)) > 0.05
    other = pulled_back(functools.partial(dropped, 64), q, k, v, key)
    assert_close((y, cotangents[:3]), (other[0], other[1][:3]), 256)
    again = dropped(16, q, k, v, jax.random.key(1))
    assert float(jnp.max(jnp.abs(again - y))) > 0.1
    uniform = dropped(16, 0 * q, k, v, key)
    assert float(jnp.max(jnp.abs(uniform[:, 0] - uniform[:, 1]))) > 0.1  # the heads draw by themselves


def test_dropout_backward():
    args = [RNG.standard_normal((4, 4)) for _ in range(3)]

    def f(q, k, v):
        return dropped(3, q, k, v, jax.random.key(3), causal=True)

    jacobian = jax.jit(jax.jacrev(lambda *a: jnp.sum(f(*a) ** 2), (0, 1, 2)))(*args)
    for n, got in enumerate(jacobian):
        step = RNG.standard_normal(args[n].shape)
        moved = [jnp.sum(f(*(a + s * 1e-6 * step if m == n else a for m, a in enumerate(args))) ** 2) for s in (1, -1)]
        np.testing.assert_allclose(jnp.vdot(got, step), (moved[0] - moved[1]) / 2e-6, rtol=1e-6)


def test_a_bias_widens_the_value():
    x = jnp.ones((2, 1), jnp.bfloat16)
    assert attention(x, x, x, None, jnp.ones((2, 2), jnp.float32)).dtype == jnp.float32


X, HEADS = jnp.ones((4, 4)), {"n_heads": 2}
REFUSED = [
    ((X, X, X), {"n_heads": 3}, "q of a width that n_heads=3 divides; got 4"),
    ((X, X[:, :2], X[:, :3]), {"n_heads": 4, "n_kv_heads": 2}, "v of a width that n_kv_heads=2 divides; got 3"),
    ((X, X, X), {"n_heads": 2, "n_kv_heads": 4}, "n_kv_heads, a positive integer that divides the 2 heads; got 4"),
    ((X, X, X), {"n_heads": 2, "n_kv_heads": 1}, "k of shape (T_k, 2); got (4, 4); its 1 heads are as wide as"),
    ((X[None], X, X), HEADS, "q of shape (T_q, n_heads * d); got (1, 4, 4); it takes one sequence"),
    ((X, X[:3], X), {}, "v of shape (3, d_v); got (4, 4)"),
    ((X, X, X, jnp.ones(4, bool)), {}, "mask of shape (4, 4); got (4,); for padding, one number of keys, pass length"),
    ((X, X, X, jnp.ones((3, 4, 4), bool)), HEADS, "mask of shape (2, 4, 4); got (3, 4, 4)"),
    ((X, X, X, jnp.zeros((4, 4))), {}, "float32; True stands for a key that the query may see; numbers to be added"),
    ((X, X, X, None, jnp.ones((4, 4), bool)), {}, "floating-point bias; got bool"),
    ((X, X, X, None, jnp.ones((4, 3))), {}, "bias of shape (4, 4); got (4, 3)"),
    ((X, X, X, None, None, jnp.ones(3)), HEADS, "slopes of shape (2,); got (3,)"),
    ((X, X, X, None, None, None, 5), {}, "length in 0 .. 4; got 5"),
    ((X, X, X, None, None, None, -1), {}, "length in 0 .. 4; got -1"),
    ((X, X, X, None, None, None, jnp.array([4, 4])), {}, "length of shape (); got (2,); it is one number"),
    ((X, X, X, None, None, None, 2.0), {}, "integer length; got"),
    ((X[:2], X, X, None, None, None, None, 3), {"causal": True}, "start in 0 .. 2; got 3"),
    ((X[:2], X, X, None, None, None, None, 1), {}, "start, the place of the first query, together with causal"),
    ((X, X, X), {"window": 0}, "one positive integer for both; got 0; with (0, 0) a query sees its own place alone"),
    ((X, X, X), {"window": (1, -1)}, "window, a pair (before, after)"),
    ((X, X, X), {"window": (None, None)}, "window, a pair (before, after)"),
    ((X, X[:3], X[:3]), {"window": 2}, "at most as many queries as keys with window"),
    ((X, X, X), {"soft_cap": 0.0}, "soft_cap, a positive number or None; got 0.0"),
    ((X, X, X), {"scale": "auto"}, "scale, a finite number"),
    ((X, X, X), {"rate": 0.1}, "a PRNG key; got None"),
    ((X, X, X, *[None] * 5, jax.random.key(0)), {}, "a positive rate where it gets a key; got 0.0"),
]


@pytest.mark.parametrize(("args", "static", "words"), REFUSED, ids=[words[:40] for *_, words in REFUSED])
def test_errors(args, static, words):
    with pytest.raises(ValueError, match="attention expects .*" + re.escape(words)):
        attention(*args, **static)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_lengths_and_starts_of_narrow_integers(dtype):
    """300 keys are more than uint8 holds."""
    x = jnp.asarray(RNG.standard_normal((300, 1)))

    def f(length, start):
        return attention(x[:100], x, x, None, None, None, length, start, causal=True)

    np.testing.assert_array_equal(f(np.dtype(dtype).type(120), np.dtype(dtype).type(90)), f(120, 90))


def test_lengths_of_a_batch_are_checked():
    with pytest.raises(ValueError, match=re.escape("length in 0 .. 4; got values from 2 to 7")):
        jax.vmap(lambda n: attention(X, X, X, None, None, None, n))(jnp.array([2, 7]))


def test_slopes_as_published():
    np.testing.assert_allclose(alibi_slopes(8), 2.0 ** -np.arange(1, 9))
    twelve = [*2.0 ** -np.arange(1, 9), *2.0 ** -np.arange(0.5, 4, 1)]  # as the authors' code gives them
    np.testing.assert_allclose(alibi_slopes(12), twelve, rtol=1e-6)
