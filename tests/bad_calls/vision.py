"""Bad calls with pictures: of convolutions, pools, and whole networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import conv, conv_transpose, max_pool, models, ops
from jaxnn.data import Field, load_image_folder, read_picture
from jaxnn.layers import (
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    MaxPool,
    Sequential,
    SqueezeExcitation,
    fold_batch_norm,
    over_examples,
)
from jaxnn.models import KERAS, TIMM, TORCHVISION, from_published, read_keras, read_npz, read_safetensors
from tests.bad_calls.row import Row

__all__ = ["ACCEPTED", "ROWS"]

KEY = jax.random.key(0)
KERNEL, GREY = {"kernel": jnp.ones((3, 3, 3, 4))}, {"kernel": jnp.ones((3, 3, 1, 4))}
PICTURE = np.ones((32, 30, 3), np.float32)
NET = Sequential(conv=Conv(4, (3, 3)), norm=BatchNorm(), pool=MaxPool(2), flatten=Flatten(), fc=Dense(2))


@functools.cache
def begun():
    return NET.init(KEY, PICTURE.shape)


def of_net(x):
    return lambda: NET(*begun(), x)


def of_batch(x):
    return lambda: over_examples(NET)(*begun(), x)


ROWS = [
    # Shapes
    Row("picture: other channels", lambda: conv(KERNEL, PICTURE[..., :2]), "(height, width, 3); got (32, 30, 2)"),
    Row("picture: channels first", lambda: conv(KERNEL, PICTURE.transpose(2, 0, 1)),
        "the channels come last: jnp.moveaxis"),
    Row("picture: channels first, to a network", of_net(PICTURE.transpose(2, 0, 1)),
        "Conv at 'conv' expects x of shape"),
    Row("picture: channels first, in a batch", of_batch(np.ones((5, 3, 32, 30), np.float32)), "the channels come last"),
    Row("picture: channels first, grey", lambda: conv(GREY, np.ones((1, 28, 28), np.float32)),
        "has the shape (28, 28, 1)"),
    Row("picture: channels first, transposed convolution",
        lambda: conv_transpose(KERNEL, np.ones((3, 8, 8), np.float32)), "the channels come last"),
    Row("picture: grey without channels", lambda: conv(GREY, np.ones((28, 28), np.float32)),
        "x[..., None] has the shape (28, 28, 1)"),
    Row("picture: grey for colour", of_net(PICTURE[..., :1]), "(height, width, 3); got (32, 30, 1)"),
    Row("picture: with alpha", of_net(np.ones((32, 30, 4), np.float32)), "(height, width, 3); got (32, 30, 4)"),
    Row("picture: a batch", of_net(PICTURE[None]), "over_examples around a layer"),
    Row("picture: a batch, of the op", lambda: conv(KERNEL, PICTURE[None]), "use jax.vmap for a batch"),
    Row("picture: one, where a batch is due", of_batch(PICTURE), "expects x of shape (height, width, 3)"),
    Row("picture: of another size", of_net(PICTURE[:16]), "Dense at 'fc' expects x of shape (960,); got (480,)"),
    Row("picture: batch in init", lambda: NET.init(KEY, (5, 32, 30, 3)),
        "2 spatial axes and channels; got (5, 32, 30, 3)"),
    # Pixels
    Row("pixels: bytes", lambda: conv(KERNEL, np.ones((8, 8, 3), np.uint8)), "x.astype(jnp.float32) / 255"),
    Row("pixels: bytes, to a network", of_net(np.ones((32, 30, 3), np.uint8)), "x.astype(jnp.float32) / 255"),
    Row("pixels: bytes, in a batch", of_batch(np.ones((2, 32, 30, 3), np.uint8)), "x.astype(jnp.float32) / 255"),
    Row("pixels: bytes, to a pool", lambda: max_pool(np.ones((8, 8, 3), np.uint8)), "/ 255"),
    Row("pixels: integers", lambda: conv(KERNEL, np.ones((8, 8, 3), np.int32)), "convert it: x.astype(jnp.float32)"),
    # Windows
    *(Row(f"window: larger than the picture, {name}", call, "to be at least the window") for name, call in {
        "conv": lambda: conv(KERNEL, PICTURE[:2, :2], padding="VALID"),
        "dilated conv": lambda: conv(KERNEL, PICTURE[:6], padding="VALID", dilation=4),
        "max_pool": lambda: max_pool(PICTURE[:2], window=3),
        "average_pool": lambda: ops.average_pool(PICTURE[:2], window=3),
        "VGG-16": lambda: jax.eval_shape(lambda: models.vgg16().init(KEY, (16, 16, 3))),
        "LeNet-5": lambda: jax.eval_shape(lambda: models.lenet5().init(KEY, (10, 10, 1))),
        "LeNet-5, channels first": lambda: models.lenet5().init(KEY, (1, 32, 32))}.items()),
    *(Row(f"window: {option} 0, {name}", functools.partial(f, **{option: 0}), f"{option} to be a positive integer")
      for option in ("stride", "dilation") for name, f in {
          "conv": functools.partial(conv, KERNEL, PICTURE), "Conv": functools.partial(Conv, 4),
          "conv_transpose": functools.partial(conv_transpose, KERNEL, PICTURE),
          "ConvTranspose": functools.partial(ConvTranspose, 4), "MaxPool": functools.partial(MaxPool, 2),
          "AveragePool": functools.partial(AveragePool, 2)}.items() if option == "stride" or "Pool" not in name),
    # Groups
    Row("groups: that do not divide n_out", lambda: Conv(4, (3, 3), groups=3), "divides n_out = 4; got 3"),
    Row("groups: of the op", lambda: conv(KERNEL, PICTURE, groups=3), "divides n_out = 4; got 3"),
    Row("groups: that do not divide n_in", lambda: Conv(4, (3, 3), groups=2).init(KEY, (8, 8, 3)),
        "channels that the 2 groups divide; got (8, 8, 3)"),
    Row("groups: none", lambda: Conv(4, (3, 3), groups=0), "groups, a positive integer"),
    Row("groups: a kernel of another n_in", lambda: conv({"kernel": jnp.ones((3, 3, 2, 4))}, PICTURE, groups=2),
        "(height, width, 4); got (32, 30, 3)"),
    # Networks
    Row("network: no class", lambda: models.resnet18(0), "n_out, a positive integer; got 0"),
    Row("network: classes as text", lambda: models.vgg16("10"), "n_out, a positive integer; got '10'"),
    Row("network: U-Net of an odd size", lambda: models.unet(3).init(KEY, (100, 100, 3)), "multiples of 16"),
    Row("network: statistics of another width",
        lambda: NET(begun()[0], {"norm": {"mean": jnp.ones(3), "variance": jnp.ones(3)}}, PICTURE),
        "BatchNorm at 'norm' expects mean of shape (4,); got (3,)"),
    Row("network: channels that reduction does not divide", lambda: SqueezeExcitation().init(KEY, (8, 8, 24)),
        "channels that reduction = 16 divides"),
    Row("network: folded without its state", lambda: fold_batch_norm(NET, begun()[0], {}), "norm"),
    Row("network: folded, no layer", lambda: fold_batch_norm(ops.relu, {}, {}), "a layer"),
    # Files
    *(Row(f"weights: {name}", call) for name, call in {
        "no file": lambda: read_safetensors("/nowhere"), "no archive": lambda: read_npz("/nowhere"),
        "no Keras file": lambda: read_keras("/nowhere", {}, {}, KERAS["vgg16"]),
        "torchvision's for timm": lambda: from_published(
            {"classifier.1.weight": np.ones((2, 3), np.float32)}, {"fc": {"weight": np.ones((2, 3), np.float32)}}, {},
            TIMM["mobilenet_v2"]),
        "none at all": lambda: from_published({}, {"fc": {"bias": np.ones(2)}}, {}, TORCHVISION["resnet18"])}.items()),
    Row("pictures: no folder", lambda: load_image_folder("/nowhere"), "no such folder"),
    Row("pictures: no file", lambda: read_picture("/nowhere.png"), "no such file"),
    Row("pictures: size as one number", lambda: load_image_folder("/tmp", size=64), "size, (height, width); got 64"),
    Row("pictures: text as a path", lambda: read_picture(3), "path"),
]

ACCEPTED = {
    "a picture of one channel": lambda: conv(GREY, np.ones((28, 28, 1), np.float32)),
    "a field of any shape": lambda: Field((None, 3), np.float32),
    "three rows": lambda: Conv(2, (3, 3)).init(KEY, (3, 20, 20)),
}
