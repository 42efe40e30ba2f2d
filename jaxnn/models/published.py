"""How the weights of each model are named elsewhere: by torchvision, timm and Keras."""

from collections.abc import Mapping

from jaxnn.models import vgg
from jaxnn.models.alexnet import TORCHVISION as ALEXNET
from jaxnn.models.densenet import TORCHVISION as DENSENET
from jaxnn.models.googlenet import TORCHVISION as GOOGLENET
from jaxnn.models.mobilenet import keras_v1, keras_v2, timm_v2, torchvision_v2
from jaxnn.models.resnet import TIMM_SE, keras_names
from jaxnn.models.resnet import TORCHVISION as RESNET
from jaxnn.models.squeezenet import TORCHVISION as SQUEEZENET
from jaxnn.models.weights import Published

__all__ = ["KERAS", "TIMM", "TORCHVISION"]

RESNETS = dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101"), RESNET)
TORCHVISION: Mapping[str, Published] = {
    "alexnet": ALEXNET, "vgg16": vgg.torchvision(16), "vgg19": vgg.torchvision(19), "googlenet": GOOGLENET,
    "squeezenet": SQUEEZENET, **RESNETS, "mobilenet_v2": torchvision_v2(), "densenet121": DENSENET}
"""By the name of the function that makes the model: of torchvision's alexnet, vgg16, ..., squeezenet1_0."""
TIMM: Mapping[str, Published] = {
    **RESNETS, "se_resnet50": TIMM_SE, "vgg16": vgg.timm(16), "vgg19": vgg.timm(19), "mobilenet_v2": timm_v2(),
    "densenet121": DENSENET}
"""Of timm's resnet18, 34, 50, 101, seresnet50, vgg16, vgg19, mobilenetv2_100 and densenet121. Residual and dense
networks have torchvision's names; the others have names of their own."""
KERAS: Mapping[str, Mapping[str, str]] = {
    "vgg16": vgg.keras(16), "vgg19": vgg.keras(19), "resnet50_keras": keras_names(),
    "resnet50_course": keras_names(course=True), "mobilenet_v1_keras": keras_v1(), "mobilenet_v2_keras": keras_v2()}
"""By our dotted path the layers of `keras.applications`, for `read_keras`. VGG-16 and 19 are the same network there and
here; ResNet-50 and the MobileNets differ from torchvision's, and have functions of their own."""
