"""Cross-entropy of a dense layer in chunks of classes: the two ops that it fuses, PyTorch, edges, memory."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import losses
from jaxnn.ops import dense, dense_softmax_cross_entropy, softmax_cross_entropy
from tests.compare import AS_USERS_COMPILE, assert_close, check_backward, pulled_back

RNG = np.random.default_rng(0)
W, B, X = RNG.standard_normal((10, 3)), RNG.standard_normal(10), RNG.standard_normal((5, 3))
PARAMS, T = {"weight": W, "bias": B}, np.array([7, 0, 9, 0, 3])


def in_two(params, x, labels, weights=None, **options):
    """The same by the two ops."""
    rows = x.reshape(-1, x.shape[-1])
    z = jax.vmap(dense, (None, 0))(params, rows).reshape(*x.shape[:-1], -1)
    return softmax_cross_entropy(z, labels, weights, **options)


TABLE = {
    "chunks that divide": ((PARAMS, X, T), {"chunk": 5}, {}),
    "a chunk to be filled": ((PARAMS, X, T), {"chunk": 4}, {}),
    "one class at a time": ((PARAMS, X, T), {"chunk": 1}, {}),
    "one chunk": ((PARAMS, X, T), {}, {}),
    "no bias": (({"weight": W, "bias": None}, X, T), {"chunk": 3}, {}),
    "one row": ((PARAMS, X[0], T[0]), {"chunk": 3}, {}),
    "two leading axes": ((PARAMS, np.stack([X, -X]), np.stack([T, T[::-1]])), {"chunk": 7}, {"axes": 0}),
    "smoothed, weights, some ignored": (
        (PARAMS, X, T, RNG.uniform(size=5)), {"chunk": 4},
        {"smoothing": 0.2, "ignore_label": 0, "reduction": "mean"}),
    "each row": ((PARAMS, X, T, RNG.uniform(size=5)), {"chunk": 4}, {"axes": (), "smoothing": 0.1}),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.usefixtures("x64")
def test_value_and_backward(name):
    args, how, options = TABLE[name]
    value, dy, lifted = check_backward(dense_softmax_cross_entropy, *args, **how, **options)
    want, cotangents = pulled_back(functools.partial(in_two, **options), *(a for a in args), dy=dy) \
        if len(args) == 3 else pulled_back(lambda p, x, w: in_two(p, x, T, w, **options), args[0], args[1], args[3],
                                           dy=dy)
    assert_close(value, want)
    smooth = [leaf for leaf in jax.tree.leaves(cotangents) if leaf.dtype != jax.dtypes.float0]
    for got, right in zip(lifted, smooth, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_against_pytorch(torch):
    w, b, x = (torch.tensor(a, requires_grad=True) for a in (W, B, X))
    want = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, w, b), torch.tensor(T), ignore_index=0,
                                             label_smoothing=0.1, reduction="mean")
    want.backward()
    options = {"chunk": 4, "smoothing": 0.1, "ignore_label": 0, "reduction": "mean"}
    got, (dparams, dx, _) = pulled_back(functools.partial(dense_softmax_cross_entropy, **options), PARAMS, X, T)
    np.testing.assert_allclose(got, want.item(), rtol=1e-13)
    for mine, theirs in ((dparams["weight"], w), (dparams["bias"], b), (dx, x)):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_memory_and_copies():
    """Rows times chunk numbers, and no logits of all classes, whether the rows are of one sequence or of a batch."""
    n_rows, n_classes, n_in = 256, 4096, 16
    params = {"weight": jnp.zeros((n_classes, n_in))}
    x, t = jnp.zeros((n_rows, n_in)), jnp.zeros(n_rows, jnp.int32)
    loss = functools.partial(dense_softmax_cross_entropy, chunk=256)

    def of_batch(params, x, t):
        return jnp.sum(jax.vmap(loss, (None, 0, 0))(params, x.reshape(4, -1, n_in), t.reshape(4, -1)))

    used = {f: jax.jit(jax.value_and_grad(f, (0, 1)), compiler_options=AS_USERS_COMPILE).lower(params, x, t).compile()
            .memory_analysis().temp_size_in_bytes for f in (in_two, loss, of_batch)}
    assert used[in_two] > 2 * 4 * n_rows * n_classes
    assert used[loss] < used[in_two] / 5
    assert used[of_batch] < used[in_two] / 5  # the weight's gradient is one, not one for each example


def test_a_small_loss_is_not_rounded_away():
    """λ - z would be 0 at z = 1,000: m and log Σ e^{z - m} stand apart."""
    params = {"weight": jnp.asarray([[1000.0], [990.0]])}
    got = dense_softmax_cross_entropy(params, jnp.ones((1, 1)), jnp.array([0]), chunk=1)
    np.testing.assert_allclose(got, np.log1p(np.exp(-10)), rtol=1e-3)


def test_classes_that_are_ruled_out():
    """-inf as the bias of a class, of a whole chunk, and the label itself."""
    bias = jnp.array([-jnp.inf, -jnp.inf, 0.0, 1.0])
    params = {"weight": jnp.zeros((4, 1)), "bias": bias}
    f = jax.jit(jax.value_and_grad(functools.partial(dense_softmax_cross_entropy, chunk=2)))
    value, grads = f(params, jnp.ones((1, 1)), jnp.array([3]))
    want = np.log1p(np.exp(-1))
    np.testing.assert_allclose(value, want, rtol=1e-6)
    p = np.exp(-1) / (1 + np.exp(-1))
    np.testing.assert_allclose(grads["bias"], [0, 0, p, -p], atol=1e-6)
    value, grads = f(params, jnp.ones((1, 1)), jnp.array([0]))
    assert np.isposinf(value) and np.all(np.isfinite(grads["bias"]))


def test_what_stands_in_an_ignored_row_does_not_matter():
    x = jnp.asarray(X, jnp.float32).at[1].set(jnp.nan)
    f = functools.partial(dense_softmax_cross_entropy, ignore_label=0, chunk=4)
    params = jax.tree.map(jnp.float32, PARAMS)
    value, (dparams, dx) = jax.jit(jax.value_and_grad(f, (0, 1)))(params, x, T)
    keep = T != 0
    want, (dwant, dx_want) = jax.value_and_grad(f, (0, 1))(params, x[keep], T[keep])
    assert_close(value, want)
    assert_close(dparams, dwant)
    np.testing.assert_array_equal(dx[~keep], 0)
    assert_close(dx[keep], dx_want)


def test_labels_at_run_time():
    """A label that is no class makes the loss and its gradient NaN; 255 as uint8 is the last of 256 classes."""
    params = {"weight": jnp.zeros((256, 2))}
    f = jax.jit(jax.value_and_grad(functools.partial(dense_softmax_cross_entropy, chunk=100)))
    for dtype, label, is_class in ((np.uint8, 255, True), (np.int8, -1, False), (np.int32, 256, False),
                                   (np.uint32, 2**31 + 1, False), (np.int8, 127, True)):
        value, grads = f(params, jnp.ones((1, 2)), np.array([label], dtype))
        if is_class:
            np.testing.assert_allclose(value, np.log(256), rtol=1e-6)
            assert np.argmin(grads["weight"][:, 0]) == label
        else:
            assert np.isnan(value) and np.all(np.isnan(grads["weight"]))


def test_in_the_combinators_of_losses():
    """Weights of the steps, and a mask: the loss of one step, under `vmap`."""
    params, x = jax.tree.map(jnp.float32, PARAMS), jnp.asarray(X, jnp.float32)
    mask = jnp.array([1, 0, 1, 1, 0], bool)

    def masked(params, x):
        return losses.masked_mean_over_time(lambda x, t: dense_softmax_cross_entropy(params, x, t, chunk=4))(
            x, (T, mask))

    got = jax.jit(jax.value_and_grad(masked, (0, 1)))(params, x)
    want = jax.value_and_grad(lambda p, x: in_two(p, x[mask], T[mask], reduction="mean"), (0, 1))(params, x)
    assert_close(got, want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision(dtype):
    """Logits and sums are in float32; value and cotangents come in the dtype of their own."""
    params, x = ({k: jnp.asarray(a, dtype) for k, a in PARAMS.items()}, jnp.asarray(X, dtype))
    f = jax.value_and_grad(functools.partial(dense_softmax_cross_entropy, chunk=4), (0, 1))
    value, grads = f(params, x, T)
    wide = jax.tree.map(jnp.float32, (params, x))
    want = f(*wide, T)
    assert_close((value, grads), jax.tree.map(lambda a: a.astype(dtype), want), 2)


@pytest.mark.parametrize(("args", "options", "words"), [
    ((PARAMS, X[:, :2], T), {}, "expects x of shape (..., 3), as weight (10, 3) has columns; got (5, 2)"),
    ((PARAMS, X, T[:4]), {}, "expects integer labels of shape (5,); got (4,)"),
    ((PARAMS, X, T + 1), {}, "expects labels in 0 .. 9; got values from 1 to 10; count classes from 0"),
    ((PARAMS, X, T.astype(np.float32)), {}, "expects integer labels; got float32"),
    ((PARAMS, X, T), {"chunk": 0}, "expects chunk, a positive integer; got 0"),
    ((PARAMS, X, T), {"smoothing": 2}, "expects smoothing in [0, 1]; got 2"),
    ((PARAMS, X, T, np.ones(4)), {}, "expects weights of the shape of the loss of each element, (5,)"),
    (({"weight": W, "bias": B[:3]}, X, T), {}, "expects bias of shape (10,); got (3,)"),
])
def test_refusals(args, options, words):
    with pytest.raises(ValueError, match=re.escape("dense_softmax_cross_entropy " + words)):
        dense_softmax_cross_entropy(*jax.tree.map(jnp.asarray, args), **options)
