"""Batch norm folded into the layer before it: the same values, fewer operations, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import fold_batch_norm, models, ops, summary
from jaxnn.layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Parallel,
    Residual,
    Sequential,
    at_inference,
    over_examples,
)


def filled(net, shape):
    """Random params and statistics, as after training, without an init that compiles a program for each shape."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), shape))

    def leaf(path, like):
        if not like.shape:
            return np.float32(1)
        if path[-1].key in ("variance", "scale"):
            return rng.uniform(0.5, 1.5, like.shape).astype(np.float32)
        # Of the terms of each sum, so that the gates of squeeze-and-excitation do not enlarge what is rounded.
        fan = {"kernel": np.prod(like.shape[:-1]), "weight": like.shape[-1]}.get(path[-1].key, 100)
        return rng.normal(0, (2 / fan) ** 0.5, like.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def compared(net, shape, *, keep=False, batch=None):
    """The folded network, after its values have been compared, in float64: fifty layers enlarge what float32 rounds."""
    params, state = filled(net, shape)
    folded = fold_batch_norm(net, params, state, keep=keep)
    with jax.enable_x64(True):
        x = np.random.default_rng(1).standard_normal(shape)
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, state))

        def value(net, params, state):
            return jax.jit(lambda p, s: net(p, s, x)[0])(params, state)

        expected, found = value(net, *wide), value(*fold_batch_norm(net, *wide, keep=keep))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    made = jax.eval_shape(lambda: folded.net.init(jax.random.key(0), shape))
    assert jax.tree.map(jnp.shape, folded[1:]) == jax.tree.map(jnp.shape, made), "its own init makes such params"
    return folded


def norms(folded, shape):
    return sum(row.step.startswith("batch_norm") for row in summary(folded.net, shape, train=False).rows)


NETS = {
    "conv": (Sequential(Conv(4, (3, 3), stride=2, use_bias=False), BatchNorm(), ops.relu), (7, 7, 3)),
    "conv with bias": (Sequential(Conv(4, (3, 3)), BatchNorm(eps=0.1)), (5, 5, 3)),
    "groups": (Sequential(Conv(6, (3, 3), groups=3), BatchNorm()), (5, 5, 3)),
    "depthwise": (Sequential(Conv(3, (3, 3), groups=3, use_bias=False), BatchNorm(), ops.relu6), (5, 5, 3)),
    "transposed": (Sequential(ConvTranspose(4, (3, 3), stride=2), BatchNorm()), (5, 5, 3)),
    "transposed in groups": (Sequential(ConvTranspose(4, (3, 3), groups=2), BatchNorm()), (5, 5, 6)),
    "dense": (Sequential(Flatten(), Dense(4), BatchNorm(use_scale=False), ops.tanh, Dense(2)), (3, 3, 2)),
    "no bias of the norm": (Sequential(Dense(4, use_bias=False), BatchNorm(use_bias=False)), (3,)),
    "neither": (Sequential(Dense(4), BatchNorm(use_scale=False, use_bias=False)), (3,)),
    "dropout between": (Sequential(Dense(4), Dropout(0.5), BatchNorm()), (3,)),
    "two norms": (Sequential(Dense(4), BatchNorm(), BatchNorm()), (3,)),
    "the end of a part": (Sequential(Sequential(ops.relu, Dense(4)), BatchNorm()), (3,)),
    "branches": (Sequential(Parallel(Sequential(Dense(4), BatchNorm()), Dense(4)), ops.add), (3,)),
    "residual": (Residual(Sequential(Conv(4, (3, 3)), BatchNorm()),
                          Sequential(Conv(4, (1, 1)), BatchNorm())), (5, 5, 3)),
    "a batch": (over_examples(Sequential(Dense(4), BatchNorm())), (6, 3)),
    "at inference": (Sequential(at_inference(Sequential(Dense(4), BatchNorm())), Dense(2)), (3,))}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETS)
def test_the_same_values(name):
    net, shape = NETS[name]
    folded = compared(net, shape)
    assert norms(folded, shape) == 0 and not jax.tree.leaves(folded.state)


MODELS = {  # name: (size of picture, norms that stay, norms in all)
    "resnet18": (33, 0, 20), "mobilenet_v2": (33, 0, 52), "resnet50": (33, 0, 53), "resnet34": (33, 0, 36),
    "resnet50_course": (64, 0, 53), "se_resnet50": (33, 0, 53), "mobilenet_v1": (33, 0, 27), "googlenet": (33, 0, 57),
    "mobilenet_v2_keras": (33, 0, 52), "densenet121": (33, 62, 121)}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_batch_norm(name):
    """Two whole networks are compiled for each, up to 40 s; smaller ones stand above."""
    size, left, total = MODELS[name]
    shape = (size, size, 3)
    net = getattr(models, name)(7)
    folded = compared(net, shape, keep=left > 0)
    assert norms(folded, shape) == left
    before = summary(net, shape, train=False)
    assert norms(folded._replace(net=net), shape) == total
    # As many multiply-adds; what is saved are the two operations of each norm on each number that it reads.
    assert summary(folded.net, shape, train=False).multiply_adds == before.multiply_adds


def test_a_bias_for_each_channel_is_all_that_is_added():
    net, shape = NETS["conv"]
    folded = compared(net, shape)
    assert {name: part.keys() for name, part in folded.params.items()} == {"conv1": {"kernel", "bias"}}
    assert folded.net == Sequential(conv1=Conv(4, (3, 3), stride=2), relu1=ops.relu)


def test_operations_that_are_saved():
    """By XLA's own count, for ResNet-18's first layers: two for each number that is normalized, and the norm's own."""
    net, shape = Sequential(Conv(8, (3, 3), use_bias=False), BatchNorm(), ops.relu), (16, 16, 3)
    params, state = filled(net, shape)
    x = jnp.ones(shape)

    def flops(net, params, state):
        return jax.jit(lambda p, s: net(p, s, x)[0]).lower(params, state).compile().cost_analysis()["flops"]

    saved = flops(net, params, state) - flops(*fold_batch_norm(net, params, state))
    assert saved >= 2 * 16 * 16 * 8


def test_under_jit_and_in_half_precision():
    net, shape = NETS["conv"]
    params, state = jax.tree.map(lambda a: a.astype(jnp.bfloat16), filled(net, shape)[0]), filled(net, shape)[1]
    x = jnp.ones(shape, jnp.bfloat16)
    folded = fold_batch_norm(net, params, state)
    assert {leaf.dtype for leaf in jax.tree.leaves(folded.params)} == {jnp.dtype(jnp.bfloat16)}
    inside = jax.jit(lambda p, s: fold_batch_norm(net, p, s).net(*fold_batch_norm(net, p, s)[1:], x)[0])(params, state)
    np.testing.assert_allclose(np.float32(inside), np.float32(net(params, state, x)[0]), atol=0.1)


class Own(Layer):
    random = False

    def init(self, key, shape):
        return {}, {"count": jnp.zeros(())}

    def apply(self, params, state, x, key, *, train):
        return x, state


class Standardized(Conv):
    """A convolution that does something else with its kernel."""

    def apply(self, params, state, x, key, *, train):
        return super().apply({**params, "kernel": params["kernel"] - 1}, state, x, key, train=train)


@pytest.mark.parametrize(("net", "shape", "words"), [
    (Sequential(stem=Sequential(norm=BatchNorm(), fc=Dense(2))), (3,),
     "BatchNorm at 'stem/norm' expects a convolution"),
    (Sequential(Dense(3), ops.relu, BatchNorm()), (3,), "at 'batchnorm1' expects .*pass keep=True"),
    (Sequential(Residual(Dense(3)), BatchNorm()), (3,), "at 'batchnorm1' expects"),
    (Sequential(Dense(4), Flatten(), BatchNorm()), (3,), "at 'batchnorm1' expects"),
    (Sequential(Standardized(3, (3, 3)), BatchNorm()), (5, 5, 3), "at 'batchnorm1' expects"),
    (BatchNorm(), (3,), "BatchNorm expects a convolution or a dense layer just before"),
    (Sequential(a=Dense(3), own=Own()), (3,), "Own at 'own' expects to be"),
])
def test_refused(net, shape, words):
    params, state = filled(net, shape)
    with pytest.raises(ValueError, match=words):
        fold_batch_norm(net, params, state)
    kept = fold_batch_norm(net, params, state, keep=True)
    assert kept.net == net
    jax.tree.map(np.testing.assert_array_equal, kept[1:], (params, state))


def test_what_is_no_layer():
    with pytest.raises(ValueError, match="fold_batch_norm expects a layer; got function"):
        fold_batch_norm(lambda x: x, {}, {})
    with pytest.raises(ValueError, match="keep to be True or False"):
        fold_batch_norm(Dense(2), {}, {}, keep=1)
