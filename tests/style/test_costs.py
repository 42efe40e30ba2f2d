"""Costs of a painting against PyTorch; what the gradient reaches, in the program; several styles; bad input."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Conv, MaxPool, Sequential, relu
from jaxnn.models import TORCHVISION, BadWeights, to_published, vgg, write_safetensors
from jaxnn.models.squeezenet import CAFFE_MEAN
from jaxnn.style import (
    FeatureNetwork,
    content_cost,
    costs_of,
    features_of,
    goal_of,
    random_features,
    squeezenet_features,
    style_cost,
    total_of,
    vgg19_features,
)
from jaxnn.style.features import untrained_squeezenet, untrained_vgg19
from tests.compare import check_backward
from tests.ops.pictures import channels_first

RNG = np.random.default_rng(3)
SIZES = ((12, 14, 3), (9, 16, 3), (12, 14, 3))
CONTENT, STYLE, OTHER = (jnp.asarray(RNG.random(size), jnp.float32) for size in SIZES)
NET = Sequential(conv1=Conv(5, (3, 3), padding=1), relu1=relu, pool1=MaxPool(2), conv2=Conv(6, (3, 3), padding=1),
                 relu2=relu, conv3=Conv(7, (1, 1)))
SMALL = random_features(FeatureNetwork(NET, {}, {}, lambda x: x), jax.random.key(0))
OF = {"content_layers": {"relu2": 1.0}, "style_layers": {"relu1": 2.0, "relu2": 1.0}}


@pytest.mark.usefixtures("x64")
def test_a_layers_costs_against_pytorch(torch):
    x, target = RNG.standard_normal((2, 4, 5, 3))
    G = RNG.standard_normal((3, 3))

    def gram(t):
        t = channels_first(t)[0].reshape(3, -1)
        return t @ t.T

    for op, other, theirs in (
            (content_cost, target, lambda x, t: (x - t).square().sum() / (4 * 60)),
            (style_cost, G, lambda x, G: (gram(x) - 20 * G).square().sum() / (4 * 9 * 20**2))):
        _, dy, cotangents = check_backward(op, x, other)
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, other)]
        (theirs(*tensors) * float(dy)).backward()
        for got, tensor in zip(cotangents, tensors, strict=True):
            np.testing.assert_allclose(got, tensor.grad, rtol=1e-10, atol=1e-12)


def shapes_of_convolutions(text):
    """The output shape of each convolution of a program that is not compiled yet."""
    return [tuple(map(int, found.split("x")[:-1])) for found in re.findall(
        r"stablehlo\.convolution.*-> tensor<([^>]+)>", text)]


def test_the_gradient_flows_to_the_picture_and_to_no_weight():
    """In the program of the picture's gradient stand a convolution forward and one back for each of the two layers that
    are used, each with a picture as its value, (1, height, width, channels). Where the weights' gradient is asked for
    too, two more have a kernel, (3, ...)."""
    goal = goal_of(SMALL, CONTENT, [STYLE], **OF)

    def cost(picture, params):
        return total_of(costs_of(SMALL._replace(params=params), goal, picture))

    of_picture = shapes_of_convolutions(jax.jit(jax.grad(cost, 0)).lower(CONTENT, SMALL.params).as_text())
    of_both = shapes_of_convolutions(jax.jit(jax.grad(cost, (0, 1))).lower(CONTENT, SMALL.params).as_text())
    assert [shape[0] for shape in of_picture] == [1, 1, 1, 1]
    assert sorted(shape[0] for shape in of_both) == [1, 1, 1, 1, 3, 3]


def test_costs_at_the_goal_and_in_between():
    goal = goal_of(SMALL, CONTENT, [STYLE], **OF)
    here = costs_of(SMALL, goal, CONTENT)
    assert sum(here["content"].values()) == 0 and sum(here["style"].values()) > 0
    # The style picture has its own style; a picture of any other size does for the goal, and is refused as a painting.
    itself = costs_of(SMALL, goal_of(SMALL, STYLE, [STYLE], **OF), STYLE)
    np.testing.assert_allclose(sum(itself["style"].values()), 0, atol=1e-12)
    # Relative costs: a layer costs its weight where the network gives nothing.
    silent = SMALL._replace(params=jax.tree.map(jnp.zeros_like, SMALL.params))
    nothing = costs_of(silent, goal, CONTENT)
    np.testing.assert_allclose(nothing["style"]["relu1"], 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(nothing["content"]["relu2"], 1, rtol=1e-5)
    assert costs_of(SMALL, goal, CONTENT + 1)["range"]["range"] > 0 == here["range"]["range"]
    np.testing.assert_allclose(total_of({"a": {"x": 2.0, "y": 1.0}, "b": {"z": 5.0}}, {"a": 10.0}), 35)


def test_several_styles_with_weights():
    alone = [costs_of(SMALL, goal_of(SMALL, CONTENT, [s], **OF), CONTENT)["style"] for s in (STYLE, OTHER)]
    both = costs_of(SMALL, goal_of(SMALL, CONTENT, [STYLE, OTHER], style_weights=[3, 1], **OF), CONTENT)["style"]
    for layer, value in both.items():
        np.testing.assert_allclose(value, 0.75 * alone[0][layer] + 0.25 * alone[1][layer], rtol=1e-5)


def test_the_courses_constants():
    """normalization="size" leaves the costs of the layers as `content_cost` and `style_cost` give them."""
    goal = goal_of(SMALL, CONTENT, [OTHER], content_layers={"relu2": 1}, style_layers={"relu1": 1},
                   normalization="size")
    here = costs_of(SMALL, goal, OTHER)
    f, target = (features_of(SMALL, p, ["relu2"])["relu2"] for p in (OTHER, CONTENT))
    np.testing.assert_allclose(here["content"]["relu2"], content_cost(f, target), rtol=1e-6)
    assert here["style"]["relu1"] < 1e-10


@functools.cache
def large_network():
    return untrained_squeezenet(jax.random.key(0))


@pytest.mark.exhaustive
def test_a_picture_for_squeezenet_has_blue_first():
    x = large_network().prepare(jnp.ones((1, 1, 3)) * jnp.array([0, 0.5, 1.0]))
    np.testing.assert_allclose(x[0, 0], 255 * np.array([1, 0.5, 0]) - CAFFE_MEAN)


@pytest.mark.exhaustive
def test_vgg19_from_a_file(tmp_path, monkeypatch):
    """20,024,384 parameters up to the last convolution; read from a file with a classifier, of fewer channels here."""
    shapes = jax.eval_shape(lambda: untrained_vgg19(jax.random.key(0)).params)
    assert sum(a.size for a in jax.tree.leaves(shapes)) == 20_024_384
    monkeypatch.setattr(vgg, "CHANNELS", (2, 3, 2, 3, 2))
    net = untrained_vgg19(jax.random.key(1))
    arrays = to_published(net.params, {}, TORCHVISION["vgg19"])
    write_safetensors(tmp_path / "vgg19.safetensors", arrays | {"classifier.6.bias": np.zeros(1000, np.float32)})
    read = vgg19_features(tmp_path / "vgg19.safetensors")
    picture = jnp.ones((33, 40, 3)) / 3
    got, want = (features_of(n, picture, ["relu1_1", "relu5_1"]) for n in (read, net))
    for layer, shape in (("relu1_1", (33, 40, 2)), ("relu5_1", (2, 2, 2))):
        np.testing.assert_array_equal(got[layer], want[layer])
        assert got[layer].shape == shape


def test_weights_of_another_network(tmp_path):
    write_safetensors(tmp_path / "other.safetensors", {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)})
    with pytest.raises(BadWeights, match=r"missing features\.0\.bias"):
        vgg19_features(tmp_path / "other.safetensors")
    np.savez(tmp_path / "other.npz", conv1_w=np.zeros((7, 7, 3, 64), np.float32))
    with pytest.raises(BadWeights, match="missing"):
        squeezenet_features(tmp_path / "other.npz")


@pytest.mark.sampled
@pytest.mark.parametrize(("call", "words"), [
    (lambda: features_of(SMALL, CONTENT, ["relu9"]), "expects layers of the network, conv1, relu1, pool1, conv2, "
     "relu2, conv3; got 'relu9'"),
    (lambda: features_of(SMALL, CONTENT[..., :1], ["relu1"]), "expects picture of shape (height, width, 3); got "
     "(12, 14, 1)"),
    (lambda: features_of(SMALL, jnp.ones((12, 14, 4)), ["relu1"]), "(height, width, 3); got (12, 14, 4)"),
    (lambda: features_of(SMALL, np.ones((12, 14, 3), np.uint8), ["relu1"]), "and pixels to 0..1"),
    (lambda: features_of(large_network(), jnp.ones((1, 1, 3)), ["relu1"]), "Conv at 'conv1' "
     "expects x, padded, to be at least the window (7, 7)"),
    (lambda: costs_of(SMALL, goal_of(SMALL, CONTENT, [STYLE], **OF), STYLE), "costs_of expects a picture of the size "
     "of the content, whose 'relu2' is (6, 7, 6); got (4, 8, 6), of a picture (9, 16, 3); resize one: the styles"),
    (lambda: goal_of(SMALL, CONTENT, STYLE, **OF), "expects styles, a list of at least one picture"),
    (lambda: goal_of(SMALL, CONTENT, [STYLE], style_weights=[1, 2], **OF), "a weight for each of the 1 styles; got 2"),
    (lambda: goal_of(SMALL, CONTENT, [STYLE], **OF | {"style_layers": {}}), "expects style_layers, finite weights"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
