"""Convolution: against a NumPy loop and PyTorch, for every mixture of sizes, strides and paddings."""

import collections
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import conv
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(0)

# spatial sizes of x, of the kernel, stride, padding; and, where there are any, dilation, groups, channels in and out
GEOMETRIES = [
    ((5, 6), (3, 3), 1, "SAME"), ((5, 6), (3, 2), 1, "VALID"), ((5, 6), (3, 3), 2, "SAME"),
    ((5, 7), (2, 3), (2, 3), "VALID"), ((4, 4), (1, 1), 1, "VALID"), ((4, 5), (1, 1), 2, "VALID"),
    ((6, 6), (2, 2), 3, "VALID"), ((7, 7), (2, 2), 4, "VALID"), ((3, 3), (3, 3), 1, "VALID"),
    ((1, 1), (1, 1), 1, 0),
    ((5, 6), (3, 3), 1, 2), ((4, 4), (2, 2), 2, ((1, 0), (0, 2))), ((4, 5), (3, 3), 1, (0, 2)),
    ((2, 2), (4, 4), 1, 3),
    ((6, 6), (4, 4), 2, "SAME"), ((7,), (3,), 2, "SAME"), ((6,), (2,), 1, "VALID"),
    ((3, 4, 3), (2, 2, 2), 1, "VALID"), ((5, 6), (2, 4), 1, "SAME_LOWER"), ((4, 6), (3, 4), 2, "SAME_LOWER"),
    # Dilation; what crops; all at the low side.
    ((7, 6), (3, 2), 1, "SAME", (2, 3)), ((7, 8), (2, 3), 2, "VALID", 3), ((6,), (3,), 1, "CAUSAL", 2),
    ((5, 6), (2, 3), (1, 2), "CAUSAL"), ((6, 7), (3, 2), 1, -1), ((7, 6), (2, 2), 2, ((-2, 1), (1, -1)), (2, 1)),
    ((4, 4), (3, 3), 3, ((4, -1), (5, 2))), ((8, 8), (3, 3), 1, ((-1, 1), (2, 0)), 1, 1, 3, 4),
    ((5, 5), (2, 2), 1, ((2, 0), (0, 0)), 1, 1, 4, 3), ((5, 5), (2, 2), 2, ((-2, 2), (-1, 1)), 1, 1, 3, 4),
    ((3, 4), (2, 1), 2, ((-2, 3), (-1, 1))), ((1, 1), (1, 1), 5, ((4, 0), (0, 4))), ((5,), (2,), 1, ((-2, 1),)),
    ((3, 4, 3), (2, 1, 2), 1, ((-1, 1), (0, 0), (2, 0))),
    # Groups: several, one for each channel with one kernel or more, in one to three dimensions.
    ((5, 6), (3, 2), 1, "SAME", 1, 2, 4, 6), ((6, 5), (2, 3), 2, 1, 2, 3, 6, 3),
    ((5, 5), (3, 3), 1, "SAME", 1, 3, 3, 3), ((7, 6), (3, 2), (2, 1), "SAME", (1, 2), 3, 3, 6),
    ((6,), (3,), 2, "CAUSAL", 1, 4, 4, 4),
    ((3, 4, 3), (2, 2, 1), (1, 2, 1), 1, 1, 2, 2, 4), ((6, 6), (2, 2), 3, -1, 1, 2, 2, 2),
]
EACH = pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)


def make(size, window, n_in=2, n_out=3, bias=True):
    params = {"kernel": RNG.standard_normal((*window, n_in, n_out))}
    return params | ({"bias": RNG.standard_normal(n_out)} if bias else {}), RNG.standard_normal((*size, n_in))


def pads_of(padding, size, window, stride):
    """(low, high) for each axis, by the definition of each word; the window is that of the dilated kernel."""
    if padding == "VALID":
        return [(0, 0)] * len(size)
    if padding in ("SAME", "SAME_LOWER"):
        total = [max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in zip(size, window, stride)]
        return [((t + 1) // 2, t // 2) if padding == "SAME_LOWER" else (t // 2, (t + 1) // 2) for t in total]
    if padding == "CAUSAL":
        return [(w - 1, 0) for w in window]
    each = [padding] * len(size) if isinstance(padding, int) else padding
    return [(p, p) if isinstance(p, int) else p for p in each]


def options(stride, padding, dilation=1, groups=1, *_):
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def made(geometry):
    size, window, *rest = geometry
    groups, n_in, n_out = rest[3:] if len(rest) > 3 else (1, 2, 3)
    params, x = make(size, window, n_in // groups, n_out)
    return params, np.concatenate([x] + [make(size, window, n_in // groups)[1] for _ in range(groups - 1)], -1)


def loop(params, x, *, stride, padding, dilation, groups):
    """The definition, number by number."""
    kernel = params["kernel"]
    *window, n_in, n_out = kernel.shape
    stride, dilation = ((v,) * len(window) if isinstance(v, int) else v for v in (stride, dilation))
    span = [(w - 1) * d + 1 for w, d in zip(window, dilation)]
    pads = pads_of(padding, x.shape[:-1], span, stride)
    out = [(n + sum(p) - w) // s + 1 for n, p, w, s in zip(x.shape, pads, span, stride)]
    y = np.zeros((*out, n_out))
    for p in itertools.product(*map(range, out)):
        for k in itertools.product(*map(range, window)):
            at = tuple(a * s + b * d - low for a, s, b, d, (low, _) in zip(p, stride, k, dilation, pads))
            if all(0 <= a < n for a, n in zip(at, x.shape)):
                for c, o in itertools.product(range(n_in), range(n_out)):
                    y[(*p, o)] += kernel[(*k, c, o)] * x[(*at, o // (n_out // groups) * n_in + c)]
    return y + params.get("bias", 0)


@functools.cache
def checked(geometry):
    """(params, x, y, dy, (dbias, dkernel, dx)), on which all routes agree."""
    params, x = made(geometry)
    return params, x, *check_backward(conv, params, x, **options(*geometry[2:]))


@pytest.mark.parametrize("geometry", [pytest.param(
    g, id=str(g), marks=[] if "-" in str(g[3]) else pytest.mark.exhaustive) for g in GEOMETRIES])  # those that crop
def test_in_single_precision(geometry):
    """XLA has another convolution for float32, which in jaxlib 0.10 reads beyond its input where a padding is -1 before
    and 1 behind: the same arguments, and cotangents, in both precisions."""
    params, x, y, dy, cotangents = checked_in_double(geometry)
    narrow = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (params, x, dy))

    @jax.jit
    def program(params, x, dy):
        value, cache = conv.forward(params, x, **options(*geometry[2:]))
        return value, conv.backward(cache, dy)

    value, (dparams, dx) = program(*narrow)
    for got, want in zip(jax.tree.leaves((value, dparams, dx)), (y, *cotangents), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(want).max()))


def checked_in_double(geometry):
    with jax.enable_x64(True):
        return jax.device_get(checked(geometry))


@pytest.mark.sampled
@EACH
@pytest.mark.usefixtures("x64")
def test_value_and_backward(geometry):
    params, x, y, _, _ = checked(geometry)
    np.testing.assert_allclose(y, loop(params, x, **options(*geometry[2:])), rtol=1e-12, atol=1e-13)


@pytest.mark.sampled
@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(geometry, torch):
    size, window, stride, padding, *_ = geometry
    dilation, groups = (options(*geometry[2:])[name] for name in ("dilation", "groups"))
    rank = len(size)
    params, x, got, dy, (dbias, dkernel, dx) = checked(geometry)
    strides = (stride,) * rank if isinstance(stride, int) else stride
    to_torch, back = (rank, *range(rank)), (*range(1, rank + 1), 0)
    kernel = torch.tensor(params["kernel"].transpose(rank + 1, rank, *range(rank)).copy(), requires_grad=True)
    bias = torch.tensor(params["bias"], requires_grad=True)
    t = torch.tensor(x.transpose(to_torch).copy(), requires_grad=True)
    span = [(w - 1) * d + 1 for w, d in zip(window, (dilation,) * rank if isinstance(dilation, int) else dilation)]
    flat = [p for pair in reversed(pads_of(padding, size, span, strides)) for p in pair]
    function = getattr(torch.nn.functional, f"conv{rank}d")
    y = function(torch.nn.functional.pad(t, flat)[None], kernel, bias, stride=strides, dilation=dilation,
                 groups=groups)[0]
    y.backward(torch.tensor(np.asarray(dy).transpose(to_torch).copy()))
    np.testing.assert_allclose(got, y.detach().numpy().transpose(back), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dx, t.grad.numpy().transpose(back), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dbias, bias.grad.numpy(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(np.asarray(dkernel).transpose(rank + 1, rank, *range(rank)),
                               kernel.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_laws():
    params, x = make((5, 6), (3, 3))
    of = jax.jit(conv, static_argnames=("stride", "padding"))
    # A kernel of one pixel is a dense layer at each place.
    one = {"kernel": params["kernel"][:1, :1], "bias": params["bias"]}
    assert_close(of(one, x), x @ one["kernel"][0, 0] + one["bias"])
    # A picture moved is an answer moved, away from the rim.
    y = np.asarray(of(params, x, padding="VALID"))
    assert_close(of(params, np.roll(x, 1, 1), padding="VALID")[:, 1:], y[:, :-1])
    # A stride skips answers.
    assert_close(of(params, x, stride=2, padding="VALID"), y[::2, ::2])
    # Without bias it is linear in x.
    free = {"kernel": params["kernel"]}
    assert_close(of(free, 3 * x), 3 * np.asarray(of(free, x)))
    assert set(jax.eval_shape(jax.grad(lambda p: jnp.sum(conv(p, x))), free)) == {"kernel"}


@pytest.mark.parametrize(("static", "alike"), [
    ({"stride": [2, 1]}, {"stride": (2, 1)}), ({"stride": np.int64(2)}, {"stride": 2}),
    ({"stride": (np.uint8(2), 1)}, {"stride": (2, 1)}), ({"padding": "same"}, {"padding": "SAME"}),
    ({"padding": "Valid"}, {"padding": "VALID"}), ({"padding": "Same_Lower"}, {"padding": "SAME_LOWER"}),
    ({"padding": [1, [0, 2]]}, {"padding": (1, (0, 2))}), ({"padding": np.int32(1)}, {"padding": 1}),
], ids=str)
def test_ways_to_write_a_size(static, alike):
    params, x = jax.tree.map(np.float32, make((5, 6), (2, 2)))
    a, b = conv(params, x, **static), conv(params, x, **alike)
    np.testing.assert_array_equal(a, b)
    of_x = jax.eval_shape(jax.grad(lambda x: jnp.sum(conv(params, x, **static))), x)
    assert of_x.shape == x.shape


@pytest.mark.parametrize("bias", [True, None, False], ids=["bias", "None", "no bias"])
def test_the_gradient_has_the_structure_of_params(bias):
    params, x = jax.tree.map(np.float32, make((3,), (2,)))
    if not bias:
        params = {"kernel": params["kernel"]} | ({"bias": None} if bias is None else {})
    params = collections.OrderedDict(params)
    y, cache = conv.forward(params, x)
    explicit = conv.backward(cache, jnp.ones_like(y))[0]
    lifted = jax.grad(lambda p: jnp.sum(conv(p, x)))(jax.tree.map(jnp.asarray, params))
    assert type(explicit) is type(lifted) is collections.OrderedDict
    assert_close(lifted, explicit)
    assert list(lifted) == list(params)


@pytest.mark.parametrize(("of_params", "of_x"), [("float32", "bfloat16"), ("bfloat16", "float32"),
                                                 ("float16", "bfloat16")])
def test_two_precisions(of_params, of_x):
    """Both are computed in the wider one, and each gradient has the dtype of its argument."""
    params, x = make((4, 4), (2, 2))
    params, x = jax.tree.map(lambda a: jnp.asarray(a, of_params), params), jnp.asarray(x, of_x)
    y = conv(params, x)
    assert y.dtype == jnp.promote_types(of_params, of_x)
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), (params, x))
    np.testing.assert_allclose(y, conv(*wide), atol=0.05 if y.dtype == jnp.bfloat16 else 1e-5)
    dparams, dx = jax.grad(lambda p, x: jnp.sum(conv(p, x)), (0, 1))(params, x)
    assert dparams["kernel"].dtype == of_params and dx.dtype == of_x


K = jnp.ones((3, 3, 2, 4))


@pytest.mark.parametrize(("params", "x", "static", "words"), [
    ({"kernel": K}, jnp.ones((5, 5, 3)), {}, "conv expects x of shape (height, width, 2); got (5, 5, 3)"),
    ({"kernel": K}, jnp.ones((5, 2)), {}, "conv expects x of shape (height, width, 2); got (5, 2)"),
    ({"kernel": K}, jnp.ones((8, 5, 5, 2)), {},
     "conv expects x of shape (height, width, 2); got (8, 5, 5, 2)"),
    ({"kernel": K[0, 0]}, jnp.ones((5, 2)), {},
     "conv expects kernel of shape (height, width, n_in, n_out); got (2, 4)"),
    ({"kernel": K, "bias": jnp.ones(3)}, jnp.ones((5, 5, 2)), {},
     "conv expects bias of shape (4,); got (3,)"),
    ({"weight": K}, jnp.ones((5, 5, 2)), {},
     "conv expects params to be {'kernel': (..., n_in, n_out), 'bias': (n_out,) or None}; got keys ['weight']"),
    (K, jnp.ones((5, 5, 2)), {},
     "conv expects params to be {'kernel': (..., n_in, n_out), 'bias': (n_out,) or None}; got ArrayImpl"),
    ({"kernel": K.astype(int)}, jnp.ones((5, 5, 2)), {}, "conv expects floating-point kernel; got int32"),
    ({"kernel": K}, jnp.ones((5, 5, 2), int), {}, "conv expects floating-point x; got int32"),
    ({"kernel": K}, jnp.ones((2, 2, 2)), {"padding": "VALID"},
     "conv expects x, padded, to be at least the window (3, 3); got (2, 2) with padding ((0, 0), (0, 0)); "
     "use a larger x, a smaller window or padding='SAME'"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"stride": 0},
     "conv expects stride to be a positive integer, or 2 of them; got 0"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"stride": (1, 1, 1)},
     "conv expects stride to be a positive integer, or 2"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"padding": "full"},
     "conv expects padding to be 'VALID', 'SAME', 'SAME_LOWER', 'CAUSAL', a size, or one or a pair for each of 2 "
     "axes; got 'full'"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"padding": True}, "a pair for each of 2 axes; got True"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"padding": ((1, 1), (1, "a"))},
     "a pair for each of 2 axes; got ((1, 1), (1, 'a'))"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"padding": None}, "a pair for each of 2 axes; got None"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"stride": True},
     "conv expects stride to be a positive integer, or 2 of them; got True"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"stride": 1.0},
     "conv expects stride to be a positive integer, or 2 of them; got 1.0"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"padding": -2},
     "conv expects x, padded, to be at least the window (3, 3); got (5, 5) with padding ((-2, -2), (-2, -2))"),
    ({"kernel": K}, jnp.ones((2, 5, 5)), {},
     "conv expects x of shape (height, width, 2); got (2, 5, 5); the channels come last: jnp.moveaxis(x, 0, -1) has "
     "the shape (5, 5, 2)"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"groups": 3},
     "conv expects groups, a positive integer that divides n_out = 4; got 3"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"groups": 2}, "conv expects x of shape (height, width, 4); got (5, 5, 2)"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"dilation": 0}, "conv expects dilation to be a positive integer, or 2 of"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"dilation": 3, "padding": "VALID"},
     "conv expects x, padded, to be at least the window (7, 7); got (5, 5)"),
    ({"kernel": K[:0]}, jnp.ones((5, 5, 2)), {},
     "conv expects a kernel without an axis of size 0; got (0, 3, 2, 4)"),
    ({"kernel": K}, jnp.ones((5, 5, 2)), {"padding": (1,)},
     "conv expects padding to be 'VALID', 'SAME', 'SAME_LOWER', 'CAUSAL', a size, or one or a pair"),
])
def test_errors(params, x, static, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        conv(params, x, **static)
