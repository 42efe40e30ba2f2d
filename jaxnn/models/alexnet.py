"""AlexNet (Krizhevsky, Sutskever & Hinton 2012): torchvision's, after "One weird trick" (Krizhevsky 2014), and the
paper's, in two towers."""

from jaxnn.layers import Conv, Dense, Dropout, Flatten, MaxPool, Sequential
from jaxnn.layers.layer import Function
from jaxnn.models.weights import Published
from jaxnn.ops import adaptive_average_pool, local_response_norm, relu

__all__ = ["alexnet", "alexnet_two_towers"]

# What torchvision calls the parts.
TORCHVISION = Published(
    {"conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8",
     "conv5": "features.10", "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}, {"fc6": (6, 6)})


def to_six(x):
    """The mean of 6x6 parts, whatever the size of the picture."""
    return adaptive_average_pool(x, size=6)


def alexnet(classes: int = 1000, *, hidden: int = 4096) -> Sequential:
    """torchvision's: 64-192-384-256-256 channels in one tower, without response normalization. 61,100,840 parameters
    for (224, 224, 3); larger and smaller pictures are taken too.

    Args:
      classes: how many logits.
      hidden: units of fc6 and fc7.
    """
    return Sequential(
        conv1=Conv(64, (11, 11), stride=4, padding=2), relu1=relu, pool1=MaxPool(3, 2),
        conv2=Conv(192, (5, 5), padding=2), relu2=relu, pool2=MaxPool(3, 2),
        conv3=Conv(384, (3, 3), padding=1), relu3=relu, conv4=Conv(256, (3, 3), padding=1), relu4=relu,
        conv5=Conv(256, (3, 3), padding=1), relu5=relu, pool5=MaxPool(3, 2), average=Function(to_six),
        flatten=Flatten(), drop6=Dropout(0.5), fc6=Dense(hidden), relu6=relu, drop7=Dropout(0.5),
        fc7=Dense(hidden), relu7=relu, fc8=Dense(classes))


def alexnet_two_towers(classes: int = 1000) -> Sequential:
    """The paper's: the towers on two GPUs are two groups, which meet in conv3. 60,965,224 parameters for
    (227, 227, 3). The paper's 224 and its stride of 4 do not fit together; 227 is what was run."""
    return Sequential(
        conv1=Conv(96, (11, 11), stride=4, padding="VALID"), relu1=relu, norm1=local_response_norm, pool1=MaxPool(3, 2),
        conv2=Conv(256, (5, 5), padding=2, groups=2), relu2=relu, norm2=local_response_norm, pool2=MaxPool(3, 2),
        conv3=Conv(384, (3, 3), padding=1), relu3=relu, conv4=Conv(384, (3, 3), padding=1, groups=2), relu4=relu,
        conv5=Conv(256, (3, 3), padding=1, groups=2), relu5=relu, pool5=MaxPool(3, 2), flatten=Flatten(),
        fc6=Dense(4096), relu6=relu, drop6=Dropout(0.5), fc7=Dense(4096), relu7=relu, drop7=Dropout(0.5),
        fc8=Dense(classes))
