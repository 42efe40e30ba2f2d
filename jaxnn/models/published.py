"""For each model that torchvision has too, how its weights are named there."""

from jaxnn.models.alexnet import TORCHVISION as ALEXNET
from jaxnn.models.densenet import TORCHVISION as DENSENET
from jaxnn.models.googlenet import TORCHVISION as GOOGLENET
from jaxnn.models.mobilenet import torchvision_v2
from jaxnn.models.resnet import TORCHVISION as RESNET
from jaxnn.models.squeezenet import TORCHVISION as SQUEEZENET
from jaxnn.models.vgg import torchvision as torchvision_vgg

__all__ = ["TORCHVISION"]

TORCHVISION = {
    "alexnet": ALEXNET, "vgg16": torchvision_vgg(16), "vgg19": torchvision_vgg(19), "googlenet": GOOGLENET,
    "squeezenet": SQUEEZENET, "resnet18": RESNET, "resnet34": RESNET, "resnet50": RESNET, "resnet101": RESNET,
    "mobilenet_v2": torchvision_v2(), "densenet121": DENSENET}
"""By the name of the function that makes the model: of torchvision's alexnet, vgg16, ..., squeezenet1_0."""
