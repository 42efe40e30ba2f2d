"""Each named network beside a randomly filled twin in PyTorch: logits and gradients to rounding."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import models, over_examples
from jaxnn.models import TIMM, TORCHVISION, from_published, to_published
from jaxnn.models.nn4_small2 import SIZE, nn4_small2, read_openface

# The model, its twin's arguments, and a size of picture at which every part has something to do.
TWINS = {
    "squeezenet": (lambda: models.squeezenet(7), ("SqueezeNet", 7), 47),
    "resnet18": (lambda: models.resnet18(7), ("ResNet", 7, (2, 2, 2, 2), False), 33),
    "mobilenet_v2": (lambda: models.mobilenet_v2(7), ("MobileNetV2", 7), 33),
    "alexnet": (lambda: models.alexnet(7, hidden=40), ("AlexNet", 7, 40), 79),
    "vgg16": (lambda: models.vgg16(7, hidden=20), ("VGG", 7, 20), 35),
    "resnet50": (lambda: models.resnet50(7), ("ResNet", 7, (3, 4, 6, 3), True), 33),
    "se_resnet50": (lambda: models.se_resnet50(7), ("ResNet", 7, (3, 4, 6, 3), True, True), 33),
    "googlenet": (lambda: models.googlenet(7), ("GoogLeNet", 7), 33),
    "densenet121": (lambda: models.densenet121(7), ("DenseNet", 7), 33)}


def twin(kind, *args):
    """(the twin with random weights and statistics, its arrays)."""
    torch = pytest.importorskip("torch")
    net = getattr(importlib.import_module("tests.models.twins"), kind)(*args).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if key.endswith("running_var") or (tensor.ndim == 1 and key.endswith("weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 100
                tensor.normal_(0, (2 / fan) ** 0.5, generator=generator)
    return net, {key: tensor.numpy() for key, tensor in net.state_dict().items()}


def close(got, want):
    """To 1e-10 of the largest element, in float64: fifty layers with gates enlarge what float32 rounds."""
    np.testing.assert_allclose(got, want, atol=1e-10 * np.abs(want).max() + 1e-12, rtol=0)


def gradients_beside(net, params, state, torch_net, shape, n_out):
    """Compares y and dx of a network and its twin, in float64; returns the gradients of the parameters: (ours, by our
    backward passes, as params; the twin's, by its names)."""
    torch = pytest.importorskip("torch")
    params, state = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, state))
    x = np.random.default_rng(0).standard_normal((2, *shape))
    dy = np.random.default_rng(1).standard_normal((2, n_out))

    @jax.jit
    def program(params, x):
        y, pull_back = jax.vjp(lambda params, x: over_examples(net)(params, state, x)[0], params, x)
        return y, pull_back(jnp.asarray(dy))

    with jax.enable_x64(True):
        y, (dparams, dx) = jax.device_get(program(params, x))
    program.clear_cache()  # half a gigabyte with the parameters, which the twin needs now
    del params
    torch_net.double()
    t = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    theirs = torch_net(t)
    theirs.backward(torch.tensor(dy))
    close(y, theirs.detach().numpy())
    close(dx, t.grad.numpy().transpose(0, 2, 3, 1))
    return dparams, {key: p.grad.numpy() for key, p in torch_net.named_parameters()}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TWINS)
def test_logits_and_gradients_of_a_twin(name):
    """To rounding, through all the layers."""
    make, of_twin, size = TWINS[name]
    published = (TIMM if name == "se_resnet50" else TORCHVISION)[name]
    net, (torch_net, arrays) = make(), twin(*of_twin)
    shape = (size, size, 3)
    params, state = from_published(
        arrays, *jax.eval_shape(lambda: net.init(jax.random.key(0), shape)), published)
    dparams, theirs = gradients_beside(net, params, state, torch_net, shape, 7)
    ours = to_published(dparams, {}, published)
    assert set(ours) == set(theirs)
    for key, gradient in theirs.items():
        close(ours[key], gradient)


ENDS = {"running_mean": "m", "running_var": "v", "weight": "w", "bias": "b"}


def as_in_the_course(arrays):
    """Arrays of the twin of NN4.small2 by the course's names and in its layout."""
    named = {}
    for key, array in arrays.items():
        *path, end = key.split(".")
        if end in ENDS:
            axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
            named["_".join([*path, ENDS[end]])] = array.transpose(axes)
    return named


@pytest.mark.exhaustive
@pytest.mark.parametrize("pooling", ["average", "l2"])
def test_embedding_and_gradients_of_the_twin_of_nn4_small2(tmp_path, pooling):
    """From a file with the published names; compiling its 37 convolutions and their backward takes 7 s of CPU."""
    torch_net, arrays = twin("NN4Small2", pooling)
    np.savez(tmp_path / "weights.npz", **as_in_the_course(arrays))
    params, state = read_openface(tmp_path / "weights.npz")
    dparams, theirs = gradients_beside(nn4_small2(pooling=pooling), params, state, torch_net, SIZE, 128)
    theirs = as_in_the_course(theirs)
    ours = jax.tree_util.tree_leaves_with_path(dparams)
    assert len(ours) == len(theirs)
    for path, gradient in ours:
        *parts, end = (key.key for key in path if key.key != "branches")
        key = "_".join([*parts, "b" if end == "bias" else "w"])
        close(gradient.T if end == "weight" else gradient, theirs[key])
