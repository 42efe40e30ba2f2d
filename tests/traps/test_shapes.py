"""Sizes at the edge: empty batches, one of everything, windows and paddings larger than x."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import InputError, ops
from jaxnn.cotangents import is_inexact
from jaxnn.ops import softmax_cross_entropy
from tests.cases import TYPICAL
from tests.traps.table import EACH, EACH_ONCE, OPS, both_ways, leaves_of, split, value

# Of one example NaN reaches the others: a batch is normalized together.
MIXES_EXAMPLES = {"batch_norm"}


@pytest.mark.sampled
@EACH
def test_an_empty_batch(case):
    if "examples" in case.sizes:
        pytest.skip("statistics of no examples are undefined")
    args, axes = case.batch(2)
    none = tuple(arg if axis is None else jax.tree.map(lambda leaf: leaf[:0], arg)
                 for arg, axis in zip(args, axes, strict=True))
    y = jax.eval_shape(jax.vmap(functools.partial(case.op, **case.static), axes), *none)
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(y))


@pytest.mark.sampled
@EACH_ONCE
def test_nan_in_one_example_stays_there(case):
    """Values and cotangents of the other examples are those of a batch without it."""
    if case.name in MIXES_EXAMPLES:
        pytest.skip("examples are normalized together")
    args, axes = case.batch(3)
    own = [n for n, axis in enumerate(axes) if axis is not None and any(map(is_inexact, jax.tree.leaves(args[n])[:1]))]

    @jax.jit
    def program(moving):
        def f(*moving):
            filled = dict(zip(own, moving, strict=True))
            op = functools.partial(case.op, **case.static)
            return value(case, jax.vmap(op, axes)(*(filled.get(n, arg) for n, arg in enumerate(args))))

        y, pull_back = jax.vjp(f, *moving)
        return y, pull_back(jax.tree.map(jnp.ones_like, y))

    moving = [args[n] for n in own]
    spoilt = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), moving)
    for got, want in zip(*(jax.tree.leaves(program(m)) for m in (spoilt, moving)), strict=True):
        np.testing.assert_array_equal(got[::2], want[::2])


def test_softmax_cross_entropy_of_no_examples():
    zeros = jnp.zeros((0, 4))
    assert jax.vmap(softmax_cross_entropy)(zeros, zeros).shape == (0, 4)[:1]
    assert jax.vmap(jax.grad(softmax_cross_entropy))(zeros, zeros).shape == (0, 4)


NO_WINDOW_FITS = {(name, size) for name in ("max_pool", "conv-strided", "average_pool", "l2_pool")
                  for size in ("height", "width", "all")} - {("conv-strided", "all")}
NOTHING_IS_LEFT = {("conv_transpose", "all"): "leaves a place of y",
                   ("conv-cropping", "height"): "at least the window", ("conv-cropping", "all"): "at least the window",
                   ("max_pool-of-volumes", "s"): "at least the window",
                   ("max_pool-of-volumes", "all"): "at least the window",
                   ("group_norm", "c"): "groups",
                   ("group_norm", "all"): "groups",
                   **{(f"mined_triplet_loss{name}", size): "of one of them two examples"
                      for name in ("", "-hard", "-all") for size in ("m", "all")}}
SIZES = [pytest.param(case, name, id=f"{case.name}-{name}",
                      marks=[] if case.name in TYPICAL else pytest.mark.exhaustive)
         for case in OPS for name in (*case.sizes, "all")]


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "name"), SIZES)
def test_one_of_each_size(case, name):
    """One example, one step, one class, one channel, a kernel of one, and all of them: shapes and structures."""
    sizes = dict.fromkeys(case.sizes, 1) if name == "all" else {name: 1}
    args = case.args(**sizes)
    moving, f = split(case, args)
    if (case.name, name) in NO_WINDOW_FITS or (case.name, name) in NOTHING_IS_LEFT:
        with pytest.raises(InputError, match=NOTHING_IS_LEFT.get((case.name, name), "window")):
            jax.eval_shape(functools.partial(both_ways, f), moving)
        return
    y, cotangents, tangents = jax.eval_shape(functools.partial(both_ways, f), moving)
    assert [c.shape for c in cotangents] == [m.shape for m in moving]
    assert jax.tree.map(lambda t: t.shape, tangents) == jax.tree.map(lambda leaf: leaf.shape, y)
    assert leaves_of(case, args)


ALONE = {
    "softmax": (lambda x: ops.softmax(x), [3.0], [1], [0]),
    "log_softmax": (lambda x: ops.log_softmax(x), [3.0], [0], [0]),
    "softmax_cross_entropy": (lambda x: ops.softmax_cross_entropy(x, 0), [3.0], 0, [0]),
    "softmax_cross_entropy, smoothed": (lambda x: ops.softmax_cross_entropy(x, 0, smoothing=0.3), [3.0], 0, [0]),
    "attention": (lambda x: ops.attention(x[:, None], x[:, None], x[:, None], causal=True), [3.0], [[3]], [1]),
    "max_pool of one": (lambda x: ops.max_pool(x[:, None], window=1), [3.0, -1.0], [[3], [-1]], [1, 1]),
    "concatenate of one": (lambda x: ops.concatenate((x,)), [3.0], [3], [1]),
    "add of one": (lambda x: ops.add((x,)), [3.0], [3], [1]),
    "conv of one": (lambda x: ops.conv({"kernel": 2 * jnp.ones((1, 1, 1))}, x[:, None]), [3.0], [[6]], [2]),
    "batch_norm of one": (lambda x: jax.vmap(lambda x: ops.batch_norm({},
                                                                      {"mean": jnp.zeros(1), "variance": jnp.ones(1)},
                                                                      x)[0],
                                             axis_name="examples")(x[:, None]), [3.0], [[0]], [0]),
    "the mean of none": (lambda x: ops.squared_error(x[:0], x[:0], reduction="mean"), [3.0], 0, [0]),
    "the sum of none": (lambda x: ops.huber(x[:0], x[:0]), [3.0], 0, [0]),
    "flatten of a number": (lambda x: ops.flatten(x[0]), [3.0], [3], [1]),
    # windows and paddings
    "conv, a window larger than x": (lambda x: ops.conv({"kernel": jnp.ones((5, 1, 1))}, x[:, None]), [1.0, 2.0],
                                     [[3], [3]],
                                     [2, 2]),
    "conv, padding larger than the window": (
        lambda x: ops.conv({"kernel": jnp.ones((2, 1, 1)), "bias": jnp.ones(1)}, x[:, None], padding=3), [5.0],
        [[1], [1], [6], [6], [1], [1]], [2]),
    "conv, stride larger than the window": (
        lambda x: ops.conv({"kernel": jnp.ones((1, 1, 1))}, x[:, None], stride=3, padding="VALID"),
        [1.0, 2.0, 3.0, 4.0, 5.0],
        [[1], [4]], [1, 0, 0, 1, 0]),
    "conv, stride that leaves a rest": (
        lambda x: ops.conv({"kernel": jnp.ones((2, 1, 1))}, x[:, None], stride=2, padding="VALID"), [1.0, 2.0, 3.0],
        [[3]],
        [1, 1, 0]),
    "max_pool, a window larger than x": (lambda x: ops.max_pool(x[:, None], window=5, stride=1, padding="SAME"),
                                         [1.0, 2.0],
                                         [[2], [2]], [0, 2]),
    "max_pool, stride larger than the window": (lambda x: ops.max_pool(x[:, None], window=1, stride=3),
                                                [1.0, 2.0, 3.0, 4.0],
                                                [[1], [4]], [1, 0, 0, 1]),
    "attention, a chunk larger than the sequence": (
        lambda x: ops.attention(0 * x[:, None], 0 * x[:, None], x[:, None], chunk=1000), [1.0, 3.0], [[2], [2]],
        [1, 1]),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", ALONE)
def test_alone(name):
    f, x, y, slope = ALONE[name]
    found, cotangent, _ = jax.jit(functools.partial(both_ways, f))(jnp.array(x))
    np.testing.assert_allclose(found, y, atol=1e-6)
    np.testing.assert_allclose(cotangent, slope, atol=1e-6)
    assert found.shape == np.shape(y)


@pytest.mark.parametrize("call", [
    lambda: ops.conv({"kernel": jnp.ones((3, 3, 3, 4))}, jnp.ones((3, 8, 8))),
    lambda: ops.conv({"kernel": jnp.ones((3, 3, 8, 4))}, jnp.ones((8, 5, 3))),
], ids=["3 channels first", "8 channels first"])
def test_channels_first_are_refused(call):
    with pytest.raises(InputError, match=r"x of shape \(height, width, "):
        call()
