"""Each named network beside a randomly filled twin in PyTorch: logits and gradients to rounding."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import models, over_examples
from jaxnn.models import TIMM, TORCHVISION, from_published, to_published

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
EXHAUSTIVE = [pytest.param(name, marks=pytest.mark.exhaustive) if name != "squeezenet" else name
              for name in TWINS]


def twin(name):
    """(the twin with random weights and statistics, its arrays)."""
    torch = pytest.importorskip("torch")
    kind, *args = TWINS[name][1]
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


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_logits_and_gradients_of_a_twin(name):
    """To rounding, through all the layers: 1e-10 of the largest element in float64, for fifty layers with gates enlarge
    what float32 rounds; the gradients by our backward passes."""
    make, _, size = TWINS[name]
    published = (TIMM if name == "se_resnet50" else TORCHVISION)[name]
    net, (torch_net, arrays) = make(), twin(name)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (size, size, 3)))
    torch = pytest.importorskip("torch")
    params, state = from_published(arrays, *shapes, published)
    params, state = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, state))
    x = np.random.default_rng(0).standard_normal((2, size, size, 3))
    dy = np.random.default_rng(1).standard_normal((2, 7))

    @jax.jit
    def program(params, x):
        y, pull_back = jax.vjp(lambda params, x: over_examples(net)(params, state, x)[0], params, x)
        return y, pull_back(jnp.asarray(dy))

    with jax.enable_x64(True):
        logits, (dparams, dx) = jax.device_get(program(params, x))
    torch_net.double()
    t = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    y = torch_net(t)
    y.backward(torch.tensor(dy))

    def close(got, want):
        np.testing.assert_allclose(got, want, atol=1e-10 * np.abs(want).max() + 1e-12, rtol=0)

    close(logits, y.detach().numpy())
    close(dx, t.grad.numpy().transpose(0, 2, 3, 1))
    ours = to_published(dparams, {}, published)
    theirs = {key: p.grad.numpy() for key, p in torch_net.named_parameters()}
    assert set(ours) == set(theirs)
    for key, gradient in theirs.items():
        close(ours[key], gradient)
