"""Squeeze-and-excitation and its op, beside PyTorch; SE-ResNet-50 as published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, models, ops, scale_channels
from jaxnn.layers import BatchNorm, Conv, Residual, Sequential, SqueezeExcitation, over_examples, summary

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 4, 8)).astype(np.float32)


def test_beside_pytorch():
    """Value and gradients of the layer in a residual block, over a batch of two."""
    torch = pytest.importorskip("torch")
    net = over_examples(Residual(SqueezeExcitation(reduction=4)))
    params, state = net.init(jax.random.key(0), X.shape)
    dy = RNG.standard_normal(X.shape).astype(np.float32)
    y, pull_back = jax.vjp(lambda p, x: net(p, state, x)[0], params, X)
    dparams, dx = pull_back(dy)

    block = params["body"]
    weights = {f"{part}.{name}": torch.tensor(np.asarray(block[part][name]), requires_grad=True)
               for part in ("squeeze", "excite") for name in ("weight", "bias")}
    x = torch.tensor(X, requires_grad=True)
    hidden = torch.relu(torch.nn.functional.linear(x.mean((1, 2)), weights["squeeze.weight"], weights["squeeze.bias"]))
    gates = torch.sigmoid(torch.nn.functional.linear(hidden, weights["excite.weight"], weights["excite.bias"]))
    theirs = x + x * gates[:, None, None]
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach(), atol=1e-6)
    np.testing.assert_allclose(dx, x.grad, atol=1e-6)
    for name, weight in weights.items():
        part, leaf = name.split(".")
        np.testing.assert_allclose(dparams["body"][part][leaf], weight.grad, atol=1e-5)


def test_gradients():
    layer = SqueezeExcitation(reduction=2)
    params, _ = layer.init(jax.random.key(0), (3, 4, 8))
    assert compare_gradients(lambda params, x: layer(params, {}, x)[0], params, jnp.asarray(X[0, :3])).ok
    assert compare_gradients(scale_channels, jnp.asarray(X[0, 0, 0]), jnp.asarray(X[0])).ok


def test_everything_in_it_is_by_hand():
    table = summary(SqueezeExcitation(4), (5, 4, 8))
    assert [row.step for row in table.rows] == ["global_average_pool", "dense", "relu", "dense", "sigmoid",
                                                "scale_channels"]
    assert {row.backward for row in table.rows} == {"by hand"}
    assert (table.parameters, table.multiply_adds) == (2 * 8 * 2 + 2 + 8, 2 * 8 * 2)


def test_in_a_network():
    net = Sequential(Conv(8, (3, 3)), Residual(Sequential(Conv(8, (3, 3)), BatchNorm(), SqueezeExcitation(4))),
                     ops.relu)
    params, state = net.init(jax.random.key(0), (5, 4, 3))
    y, _ = net(params, state, jnp.ones((5, 4, 3)))
    assert y.shape == (5, 4, 8)
    assert net == Sequential(Conv(8, (3, 3)), Residual(Sequential(Conv(8, (3, 3)), BatchNorm(), SqueezeExcitation(4))),
                             ops.relu)


@pytest.mark.exhaustive
def test_the_published_parameters_of_se_resnet50():
    """28,088,024: ResNet-50's and 2 c²/16 + c/16 + c for each block of c channels (timm's seresnet50)."""
    params, _ = jax.eval_shape(lambda: models.se_resnet50().init(jax.random.key(0), (224, 224, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 28_088_024


def test_long_sums_in_half_precision():
    """ds is a sum over 4,096 places: in bfloat16 ones would stop at 256."""
    x = jnp.ones((64, 64, 2), jnp.bfloat16)
    ds = jax.grad(lambda s: jnp.sum(scale_channels(s, x).astype(jnp.float32)))(jnp.ones(2, jnp.bfloat16))
    np.testing.assert_array_equal(np.float32(ds), 4096)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: SqueezeExcitation(0), "reduction, a positive integer; got 0"),
    (lambda: SqueezeExcitation(16).init(jax.random.key(0), (5, 5, 24)),
     "channels that reduction = 16 divides; got 24; pass a smaller reduction"),
    (lambda: SqueezeExcitation(2).init(jax.random.key(0), (8,)), r"places and channels, .*got \(8,\)"),
    (lambda: scale_channels(jnp.ones(3), jnp.ones((2, 4))), r"scale of shape \(4,\); got \(3,\)"),
    (lambda: scale_channels(jnp.ones(()), jnp.ones(())), r"x of shape \(..., channels\); got \(\)"),
])
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
