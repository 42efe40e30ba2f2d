"""Batch norm: against NumPy and PyTorch, in training and at inference."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import bind, over_examples
from jaxnn.ops import batch_norm, batch_norm_inference
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(0)
SHAPES = [(5, 3), (2, 3), (4, 2, 3), (3, 2, 4, 2)]
EACH = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make(shape):
    c = shape[-1]
    params = {"scale": RNG.standard_normal(c), "bias": RNG.standard_normal(c)}
    state = {"mean": RNG.standard_normal(c), "variance": RNG.uniform(0.5, 2, c)}
    return params, state, 2 * RNG.standard_normal(shape) + 3


def arrays(*trees):
    return jax.tree.map(jnp.asarray, trees)


@EACH
@pytest.mark.usefixtures("x64")
def test_training(shape):
    params, state, x = make(shape)
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)  # the biased variance
    want = params["scale"] * (x - mean) / np.sqrt(variance + 1e-5) + params["bias"]
    y, moved = over_examples(batch_norm)(params, state, x)
    np.testing.assert_allclose(y, want, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(moved["mean"], 0.9 * state["mean"] + 0.1 * mean, rtol=1e-12)
    np.testing.assert_allclose(moved["variance"], 0.9 * state["variance"] + 0.1 * variance, rtol=1e-12)
    # The rounding of (x - mean) is that of x, ten times as large.
    check_backward(over_examples(batch_norm), params, state, x, differentiable=lambda y: y[0], threshold=64)


@EACH
@pytest.mark.usefixtures("x64")
def test_inference(shape):
    params, state, x = make(shape)
    want = params["scale"] * (x - state["mean"]) / np.sqrt(state["variance"] + 1e-5) + params["bias"]
    y, same = over_examples(batch_norm_inference)(params, state, x)
    np.testing.assert_allclose(y, want, rtol=1e-12)
    assert_close(same, arrays(state)[0])
    params, state, x = arrays(params, state, x)
    gradient = [jax.grad(lambda p, x: jnp.sum(jnp.sin(f(p, state, x)[0])), (0, 1))(params, x)  # noqa: B023
                for f in (over_examples(batch_norm_inference), over_examples(batch_norm_inference).reference)]
    assert_close(*gradient)


@EACH
@pytest.mark.usefixtures("x64")
def test_against_pytorch(shape, torch):
    params, state, x = make(shape)
    last_to_second = (0, x.ndim - 1, *range(1, x.ndim - 1))
    back = (0, *range(2, x.ndim), 1)
    t, scale, bias = (torch.tensor(a, requires_grad=True)
                      for a in (x.transpose(last_to_second).copy(), params["scale"], params["bias"]))
    y = torch.nn.functional.batch_norm(t, None, None, scale, bias, training=True)
    dy = RNG.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    params, state, x = arrays(params, state, x)
    got, pull_back = jax.vjp(lambda p, x: over_examples(batch_norm)(p, state, x)[0], params, x)
    dparams, dx = pull_back(jnp.asarray(dy.transpose(back)))
    np.testing.assert_allclose(got, y.detach().numpy().transpose(back), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dx, t.grad.numpy().transpose(back), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(dparams["scale"], scale.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dparams["bias"], bias.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_laws():
    params, state, x = arrays(*make((8, 2, 3)))
    ones = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}
    run = over_examples(bind(batch_norm, eps=1e-12))
    y, _ = run(ones, state, x)
    np.testing.assert_allclose(jnp.mean(y, (0, 1)), 0, atol=1e-13)
    np.testing.assert_allclose(jnp.var(y, (0, 1)), 1, rtol=1e-10)
    # The units of x do not matter, and so its gradient is orthogonal to 1 and to x.
    np.testing.assert_allclose(run(ones, state, 100 * x - 7)[0], y, rtol=1e-9, atol=1e-11)
    dx = jax.grad(lambda x: jnp.sum(jnp.sin(run(params, state, x)[0])))(x)
    np.testing.assert_allclose(jnp.sum(dx, (0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(jnp.sum(dx * x, (0, 1)), 0, atol=1e-10)
    # An example's answer depends on the others.
    jacobian = jax.jacrev(lambda x: run(params, state, x)[0])(x)
    assert np.any(jacobian[0, 0, 0, 1])


def test_momentum():
    params, state, x = arrays(*(jax.tree.map(np.float32, t) for t in make((8, 3))))
    for momentum, want in ((1.0, state["mean"]), (0.0, jnp.mean(x, 0))):
        _, moved = over_examples(bind(batch_norm, momentum=momentum))(params, state, x)
        np.testing.assert_allclose(moved["mean"], want, rtol=1e-5)


def test_the_state_gets_no_gradient():
    params, state, x = arrays(*(jax.tree.map(np.float32, t) for t in make((8, 3))))
    for op in (batch_norm, batch_norm_inference):
        grads = jax.grad(lambda s: jnp.sum(over_examples(op)(params, s, x)[0] ** 2))(state)  # noqa: B023
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("x", [jnp.full((4, 2), 3.0), jnp.zeros((1, 2)), jnp.full((4, 2), 1e4)],
                         ids=["all alike", "one example", "all large"])
def test_no_variance(x):
    """Nothing is divided by zero: y is the bias and the gradient is finite."""
    params = {"scale": jnp.ones(2), "bias": jnp.asarray([1.0, 2.0])}
    state = {"mean": jnp.zeros(2), "variance": jnp.ones(2)}
    y, pull_back = jax.vjp(lambda x: over_examples(batch_norm)(params, state, x)[0], x)
    assert_close(y, jnp.broadcast_to(params["bias"], x.shape))
    assert bool(jnp.all(jnp.isfinite(pull_back(jnp.ones_like(x))[0])))


def test_moments_of_bfloat16_are_summed_wide():
    """4,096 examples: summed in bfloat16 their mean would stop at 256 terms."""
    x = jnp.full((4096, 1), 1.0, jnp.bfloat16).at[::2].set(3.0)
    params = {"scale": jnp.ones(1), "bias": jnp.zeros(1)}
    state = {"mean": jnp.zeros(1), "variance": jnp.ones(1)}
    y, moved = over_examples(bind(batch_norm, momentum=0.0))(params, state, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(moved["mean"], 2.0)
    np.testing.assert_allclose(jnp.abs(y.astype(jnp.float32)), 1.0, rtol=1e-2)


C = {"scale": jnp.ones(3), "bias": jnp.ones(3)}
S = {"mean": jnp.ones(3), "variance": jnp.ones(3)}


@pytest.mark.parametrize("op", [batch_norm, batch_norm_inference], ids=lambda op: op.name)
@pytest.mark.parametrize(("params", "state", "x", "static", "words"), [
    ({"scale": jnp.ones(3)}, S, jnp.ones((4, 3)), {},
     "expects params to be ['bias', 'scale']; got keys ['scale']"),
    (C, {"mean": jnp.ones(3)}, jnp.ones((4, 3)), {},
     "expects state to be ['mean', 'variance']; got keys ['mean']"),
    (C, (), jnp.ones((4, 3)), {}, "expects state to be ['mean', 'variance']; got tuple"),
    (C, S, jnp.ones((4, 2)), {}, "expects bias of shape (2,); got (3,)"),
    (C, S, jnp.ones((4, 3), int), {}, "expects floating-point x; got int32"),
    (C, S, jnp.ones((4, 3)), {"eps": 0}, "expects eps > 0; got 0"),
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
        over_examples(bind(batch_norm, momentum=2))(C, S, jnp.ones((4, 3)))
