"""Batch norm: against NumPy and PyTorch, in training and at inference."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import network
from jaxnn.ops import batch_norm, batch_norm_inference
from tests.compare import assert_close, check_backward, pulled_back

RNG = np.random.default_rng(0)
SHAPES = [(5, 3), (2, 3), (4, 2, 3), (3, 2, 4, 2)]
EACH = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make(shape):
    c = shape[-1]
    params = {"scale": RNG.standard_normal(c), "bias": RNG.standard_normal(c)}
    state = {"mean": RNG.standard_normal(c), "variance": RNG.uniform(0.5, 2, c)}
    return params, state, 2 * RNG.standard_normal(shape) + 3


def over_batch(op, **static):
    """The op over examples of a batch, with params and state for all of them, as a network."""
    one = functools.partial(op, **static)
    return network(jax.vmap(lambda params, state, x: one(params, state, x), (None, None, 0), (0, None),
                            axis_name="examples"))


def arrays(*trees):
    return jax.tree.map(jnp.asarray, trees)


@functools.cache
def checked(shape):
    """(arguments, (y, state), dy, (dbias, dscale, no gradient of the state, dx)), on which all routes agree."""
    args = make(shape)
    # The rounding of (x - mean) is that of x, ten times as large.
    return args, *check_backward(over_batch(batch_norm), *args, differentiable=lambda y: y[0], threshold=64)


@EACH
@pytest.mark.usefixtures("x64")
def test_training(shape):
    (params, state, x), (y, moved), _, _ = checked(shape)
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)  # the biased variance
    want = params["scale"] * (x - mean) / np.sqrt(variance + 1e-5) + params["bias"]
    np.testing.assert_allclose(y, want, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(moved["mean"], 0.9 * state["mean"] + 0.1 * mean, rtol=1e-12)
    np.testing.assert_allclose(moved["variance"], 0.9 * state["variance"] + 0.1 * variance, rtol=1e-12)


@EACH
@pytest.mark.usefixtures("x64")
def test_inference(shape):
    params, state, x = make(shape)
    want = params["scale"] * (x - state["mean"]) / np.sqrt(state["variance"] + 1e-5) + params["bias"]
    op = over_batch(batch_norm_inference)
    dy = RNG.standard_normal(shape), jax.tree.map(np.zeros_like, state)
    (y, same), gradient = pulled_back(lambda p, x: op(p, state, x), params, x, dy=dy)
    np.testing.assert_allclose(y, want, rtol=1e-12)
    assert_close(same, state)
    assert_close(gradient, pulled_back(lambda p, x: op.reference(p, state, x), params, x, dy=dy)[1])


@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(shape, torch):
    (params, _, x), (got, _), (dy, _), (dbias, dscale, *_, dx) = checked(shape)
    last_to_second = (0, x.ndim - 1, *range(1, x.ndim - 1))
    back = (0, *range(2, x.ndim), 1)
    t, scale, bias = (torch.tensor(a, requires_grad=True)
                      for a in (x.transpose(last_to_second).copy(), params["scale"], params["bias"]))
    y = torch.nn.functional.batch_norm(t, None, None, scale, bias, training=True)
    y.backward(torch.tensor(np.asarray(dy).transpose(last_to_second).copy()))
    np.testing.assert_allclose(got, y.detach().numpy().transpose(back), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dx, t.grad.numpy().transpose(back), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(dscale, scale.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dbias, bias.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("op", [batch_norm, batch_norm_inference], ids=lambda op: op.name)
@pytest.mark.usefixtures("x64")
def test_without_scale_or_bias(op):
    """What is left out is as 1 or 0, and what is there has the gradient that it has beside the other."""
    params, state, x = make((4, 2, 3))
    state = collections.OrderedDict(state)
    dy = np.random.default_rng(1).standard_normal(x.shape), jax.tree.map(np.zeros_like, state)
    whole = over_batch(op)
    for given in ({"scale": params["scale"]}, {"bias": params["bias"], "scale": None}, {},
                  collections.OrderedDict(bias=params["bias"])):
        filled = {"scale": np.ones(3), "bias": np.zeros(3)} | {k: v for k, v in given.items() if v is not None}
        (y, moved), (dparams, dx) = pulled_back(lambda p, x: whole(p, state, x), given, x, dy=dy)
        (want, _), (dfilled, want_dx) = pulled_back(lambda p, x: whole(p, state, x), filled, x, dy=dy)
        assert_close(y, want)
        assert_close(dx, want_dx)
        assert jax.tree.structure(dparams) == jax.tree.structure(given)
        for name, leaf in dparams.items():
            assert leaf is None or assert_close(leaf, dfilled[name]) is None
        assert isinstance(moved, collections.OrderedDict)
    if op is batch_norm:  # at inference, finite differences see the state move y
        check_backward(whole, {"bias": params["bias"]}, dict(state), x, differentiable=lambda y: y[0], threshold=64)


@pytest.mark.usefixtures("x64")
def test_laws():
    params, state, x = make((8, 2, 3))
    ones = {"scale": np.ones(3), "bias": np.zeros(3)}
    op = over_batch(batch_norm, eps=1e-12)
    run = jax.jit(op)
    y, _ = run(ones, state, x)
    np.testing.assert_allclose(np.mean(y, (0, 1)), 0, atol=1e-13)
    np.testing.assert_allclose(np.var(y, (0, 1)), 1, rtol=1e-10)
    # The units of x do not matter, and so its gradient is orthogonal to 1 and to x.
    np.testing.assert_allclose(run(ones, state, 100 * x - 7)[0], y, rtol=1e-9, atol=1e-11)
    _, (dx,) = pulled_back(lambda x: op(params, state, x)[0], x, dy=np.cos(y))
    np.testing.assert_allclose(np.sum(dx, (0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(np.sum(dx * x, (0, 1)), 0, atol=1e-10)
    # An example's answer depends on the others.
    _, (dx,) = pulled_back(lambda x: op(params, state, x)[0][0, 0, 0], x)
    assert np.any(dx[1])


def test_momentum():
    params, state, x = arrays(*(jax.tree.map(np.float32, t) for t in make((8, 3))))
    for momentum, want in ((1.0, state["mean"]), (0.0, np.mean(x, 0))):
        _, moved = jax.jit(over_batch(batch_norm, momentum=momentum))(params, state, x)
        np.testing.assert_allclose(moved["mean"], want, rtol=1e-5)


def test_the_state_gets_no_gradient():
    params, state, x = arrays(*(jax.tree.map(np.float32, t) for t in make((8, 3))))
    for op in (batch_norm, batch_norm_inference):
        _, grads = pulled_back(lambda s: over_batch(op)(params, s, x)[0], state)  # noqa: B023
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("x", [jnp.full((4, 2), 3.0), jnp.zeros((1, 2)), jnp.full((4, 2), 1e4)],
                         ids=["all alike", "one example", "all large"])
def test_no_variance(x):
    """Nothing is divided by zero: y is the bias and the gradient is finite."""
    params = {"scale": jnp.ones(2), "bias": jnp.asarray([1.0, 2.0])}
    state = {"mean": jnp.zeros(2), "variance": jnp.ones(2)}
    y, (dx,) = pulled_back(lambda x: over_batch(batch_norm)(params, state, x)[0], x)
    assert_close(y, np.broadcast_to(params["bias"], x.shape))
    assert np.all(np.isfinite(dx))


def test_moments_of_bfloat16_are_summed_wide():
    """4,096 examples: summed in bfloat16 their mean would stop at 256 terms."""
    x = jnp.full((4096, 1), 1.0, jnp.bfloat16).at[::2].set(3.0)
    params = {"scale": jnp.ones(1, x.dtype), "bias": jnp.zeros(1, x.dtype)}
    state = {"mean": jnp.zeros(1), "variance": jnp.ones(1)}
    y, moved = jax.jit(over_batch(batch_norm, momentum=0.0))(params, state, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(moved["mean"], 2.0)
    np.testing.assert_allclose(jnp.abs(y.astype(jnp.float32)), 1.0, rtol=1e-2)


C = {"scale": jnp.ones(3), "bias": jnp.ones(3)}
S = {"mean": jnp.ones(3), "variance": jnp.ones(3)}


@pytest.mark.parametrize("op", [batch_norm, batch_norm_inference], ids=lambda op: op.name)
@pytest.mark.parametrize(("params", "state", "x", "static", "words"), [
    ({"gain": jnp.ones(3)}, S, jnp.ones((4, 3)), {},
     "expects params to be {'scale': (3,) or None, 'bias': (3,) or None}; got keys ['gain']"),
    ((), S, jnp.ones((4, 3)), {}, "expects params to be {'scale': (3,) or None, 'bias': (3,) or None}; got tuple"),
    (C, {"mean": jnp.ones(3)}, jnp.ones((4, 3)), {},
     "expects state to be {'mean': (3,), 'variance': (3,)}; got keys ['mean']"),
    (C, S | {"variance": None}, jnp.ones((4, 3)), {},
     "expects state to be {'mean': (3,), 'variance': (3,)}; got None for ['variance']"),
    (C, (), jnp.ones((4, 3)), {}, "expects state to be {'mean': (3,), 'variance': (3,)}; got tuple"),
    (C, S, jnp.ones((4, 2)), {}, "expects scale of shape (2,); got (3,)"),
    (C, S, jnp.ones((4, 3), int), {}, "expects floating-point x; got int32"),
    (C, S, jnp.ones((4, 3)), {"eps": 0}, "expects a finite eps > 0; got 0"),
])
def test_errors(op, params, state, x, static, words):
    with pytest.raises(ValueError, match=re.escape(f"{op.name} {words}")):
        jax.vmap(lambda x: op(params, state, x, **static), axis_name="examples")(x)


def test_one_example_alone():
    with pytest.raises(ValueError, match=re.escape(
            "batch_norm expects a batch to average over, the axis 'examples'; got one example; wrap the "
            "layer in over_examples, or use jax.vmap(..., axis_name='examples')")):
        batch_norm(C, S, jnp.ones(3))
    with pytest.raises(ValueError, match=re.escape("batch_norm expects momentum in [0, 1]; got 2")):
        over_batch(batch_norm, momentum=2)(C, S, jnp.ones((4, 3)))
