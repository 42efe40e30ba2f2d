"""The named networks: parameter counts as published, weights from files, and what is refused."""

import math

import jax
import numpy as np
import pytest

from jaxnn import models
from jaxnn.models import TORCHVISION, BadWeights, from_published, read_safetensors, to_published, write_safetensors
from jaxnn.models.squeezenet import CAFFE_MEAN, read_imagenet
from tests import course

PUBLISHED = {
    "lenet5": ((32, 32, 1), 61_706), "alexnet": ((224, 224, 3), 61_100_840),
    "alexnet_two_towers": ((227, 227, 3), 60_965_224), "vgg16": ((224, 224, 3), 138_357_544),
    "vgg19": ((224, 224, 3), 143_667_240), "googlenet": ((224, 224, 3), 6_624_904),
    "squeezenet": ((227, 227, 3), 1_248_424), "resnet18": ((224, 224, 3), 11_689_512),
    "resnet34": ((224, 224, 3), 21_797_672), "resnet50": ((224, 224, 3), 25_557_032),
    "resnet101": ((224, 224, 3), 44_549_160), "mobilenet_v1": ((224, 224, 3), 4_231_976),
    "mobilenet_v2": ((224, 224, 3), 3_504_872), "densenet121": ((224, 224, 3), 7_978_856)}
SLOW = {"resnet101", "densenet121", "vgg19", "googlenet"}
def shapes_of(net, shape):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), shape))


def filled(net, shape):
    """Random numbers in the place of an init, which compiles a program for each shape."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes_of(net, shape))


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.sampled
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in SLOW else n for n in PUBLISHED])
def test_parameters_as_published(name):
    shape, parameters = PUBLISHED[name]
    assert count(shapes_of(getattr(models, name)(), shape)[0]) == parameters


@pytest.mark.exhaustive
def test_parameters_of_the_course_and_of_the_paper():
    """Keras counts the running statistics; 60,000 are LeNet-5's own up to its last layer but one."""
    assert count(shapes_of(models.resnet50_course(), (64, 64, 3))) == 23_600_006
    assert count(shapes_of(models.unet(23), (96, 128, 3))) == 8_640_471
    params, _ = shapes_of(models.lenet5_1998(), (32, 32, 1))
    assert count({name: part for name, part in params.items() if name != "output"}) == 60_000


@pytest.mark.exhaustive
def test_weights_go_to_a_file_and_back(tmp_path):
    pytest.importorskip("safetensors")
    net, shape, published = models.mobilenet_v2(7), (33, 33, 3), TORCHVISION["mobilenet_v2"]
    params, state = filled(net, shape)
    write_safetensors(tmp_path / "w.safetensors", to_published(params, state, published))
    arrays = read_safetensors(tmp_path / "w.safetensors")
    back = from_published(arrays, *shapes_of(net, shape), published)
    jax.tree.map(np.testing.assert_array_equal, back, (params, state))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["w.safetensors"]


def test_what_does_not_fit_is_listed():
    net, shape, published = models.lenet5(), (32, 32, 1), TORCHVISION["alexnet"]
    params, state = filled(net, shape)
    arrays = to_published(params, state, published)
    del arrays["fc1.bias"]
    arrays |= {"fc2.bias": np.zeros(3, np.float32), "fc3.bias": np.zeros(10, int), "more": np.zeros(1)}
    with pytest.raises(BadWeights) as error:
        from_published(arrays, params, state, published)
    for words in ("missing fc1.bias", "fc2.bias of shape (3,) where (84,) is expected", "left over more",
                  "fc3.bias of dtype int64 where floating-point numbers are expected"):
        assert words in str(error.value)


def test_files_that_are_no_weights(tmp_path):
    pytest.importorskip("safetensors")
    file = tmp_path / "w.safetensors"
    with pytest.raises(BadWeights, match="is none"):
        read_safetensors(file)
    whole = tmp_path / "whole"
    write_safetensors(whole, {"a": np.arange(6, dtype=np.float32)})
    data, rng = whole.read_bytes(), np.random.default_rng(0)
    for trial in range(300):
        damaged = bytearray(data)
        if trial % 2:
            damaged = damaged[: rng.integers(len(data))]
        else:
            damaged[rng.integers(8 + len(data) // 2)] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        try:
            arrays = read_safetensors(file)
        except BadWeights:
            continue
        assert all(isinstance(array, np.ndarray) and array.size <= 6 for array in arrays.values())


@pytest.mark.exhaustive
def test_squeezenet_names_a_cat():
    """The published weights on a photograph of a cat: tabby, tiger cat, Persian, Siamese or Egyptian cat."""
    pillow = pytest.importorskip("PIL.Image")
    directory = course.data_directory()
    if directory is None:
        pytest.skip("the published weights are not here: set JAXNN_DATA")
    weights, picture = (directory / "c4" / name for name in ("squeezenet/squeezenet_1.0_imagenet.npz",
                                                                  "style/cat.jpg"))
    params = read_imagenet(weights)
    image = np.asarray(pillow.open(picture).convert("RGB").resize((227, 227)), np.float32)
    logits, _ = models.squeezenet()(params, {}, image[..., ::-1] - np.float32(CAFFE_MEAN))
    assert int(np.argmax(logits)) in range(281, 286)


def test_pictures_that_do_not_fit():
    with pytest.raises(ValueError, match="height and width multiples of 16"):
        models.unet(3).init(jax.random.key(0), (100, 96, 3))
    with pytest.raises(ValueError, match="to be at least the window"):
        models.alexnet(3).init(jax.random.key(0), (20, 20, 3))
