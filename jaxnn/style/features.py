"""The network whose features are compared: any Sequential of this library, with weights that stay as they are."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import expect, expect_float, expect_shape
from jaxnn.layers import Sequential
from jaxnn.models import TORCHVISION, from_published, read_safetensors, squeezenet, vgg19
from jaxnn.models.squeezenet import CAFFE_MEAN, read_imagenet

__all__ = ["FeatureNetwork", "expect_picture", "features_of", "random_features", "squeezenet_features",
           "untrained_squeezenet", "untrained_vgg19", "vgg19_features"]

# Of red, green and blue in [0, 1], over ImageNet: what torchvision's networks are trained with.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FeatureNetwork(NamedTuple):
    """net: a Sequential of named parts. prepare: from a picture, (height, width, 3) in [0, 1], to the network's x."""

    net: Sequential
    params: Any
    state: Any
    prepare: Callable[[Any], Any]


def features_of(network: FeatureNetwork, picture: Any, layers: Iterable[str]) -> dict[str, Any]:
    """What the parts of these names give, (height, width, channels) each; parts after the last are not computed.

    Raises:
      InputError: a layer is none of the network's, or the picture is none, or too small for the network.
    """
    wanted = list(layers)
    names = list(network.net.parts)
    for layer in wanted:
        expect(layer in names, "features_of", f"layers of the network, {', '.join(names)}", repr(layer))
    expect_picture("features_of", "picture", picture)
    x, found = network.prepare(picture), {}
    for name in names[:max(map(names.index, wanted), default=-1) + 1]:
        part = Sequential(**{name: network.net.parts[name]})  # so that an error names the part
        params, state = ({name: of[name]} if name in of else {} for of in (network.params, network.state))
        x, _ = part(params, state, x)
        if name in wanted:
            found[name] = x
    return found


def expect_picture(who: str, name: str, picture: Any) -> None:
    expect_float(who, name, picture)
    expect_shape(who, name, picture, ("height", "width", 3))


def squeezenet_features(file: str | Path) -> FeatureNetwork:
    """SqueezeNet 1.0 with its published weights, see `jaxnn.models.squeezenet.read_imagenet`."""
    kept = _without_classes()
    params = read_imagenet(file)
    return FeatureNetwork(kept, {name: params[name] for name in kept.parts if name in params}, {}, _as_caffe)


def vgg19_features(file: str | Path) -> FeatureNetwork:
    """VGG-19's convolutions with the weights of a safetensors file that has torchvision's names, with its dense layers
    or without them.

    Raises:
      BadWeights: the file is none, or is of another network.
    """
    kept = _convolutions(vgg19())
    params, state = jax.eval_shape(lambda: kept.init(jax.random.key(0), (224, 224, 3)))
    params, state = from_published(read_safetensors(file), params, state, TORCHVISION["vgg19"],
                                   ignore=("classifier",))
    return FeatureNetwork(kept, params, state, _as_torchvision)


def random_features(network: FeatureNetwork, key: Any) -> FeatureNetwork:
    """The same network before it has learnt anything: the control that shows what the weights are worth."""
    params, state = network.net.init(key, (224, 224, 3))
    return network._replace(params=params, state=state)


def untrained_squeezenet(key: Any) -> FeatureNetwork:
    """SqueezeNet 1.0 with random weights, where no file is at hand."""
    return random_features(FeatureNetwork(_without_classes(), {}, {}, _as_caffe), key)


def untrained_vgg19(key: Any) -> FeatureNetwork:
    """VGG-19's convolutions with random weights, where no file of its weights is at hand."""
    kept = _convolutions(vgg19())
    return random_features(FeatureNetwork(kept, {}, {}, _as_torchvision), key)


def _without_classes() -> Sequential:
    net = squeezenet()
    return Sequential(**{name: net.parts[name] for name in net.parts if not name.endswith("10") and name != "drop9"})


def _convolutions(net: Sequential) -> Sequential:
    return Sequential(**{name: part for name, part in net.parts.items() if name.startswith(("conv", "relu", "pool"))
                         and name not in ("relu6", "relu7", "pool5")})


def _as_caffe(picture: Any) -> Any:
    return picture[..., ::-1] * 255 - jnp.asarray(CAFFE_MEAN, picture.dtype)


def _as_torchvision(picture: Any) -> Any:
    return (picture - jnp.asarray(IMAGENET_MEAN, picture.dtype)) / jnp.asarray(IMAGENET_DEVIATION, picture.dtype)
