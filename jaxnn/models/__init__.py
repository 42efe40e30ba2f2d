"""Named networks of computer vision and language, each as published, one architecture in a file, its parts by name; and
models of sequences: recurrent, convolutional, with attention; memory networks of stories and dialogs.

    net = resnet50()
    params, state = net.init(jax.random.key(0), (224, 224, 3))
    logits, _ = over_examples(net)(params, state, images)

A model is a layer like every other: `summary(net, shape)` prints its table. Published weights are read from a file with
torchvision's names:

    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (224, 224, 3)))
    params, state = from_published(read_safetensors("resnet50.safetensors"), *shapes, TORCHVISION["resnet50"])

and so with timm's (`TIMM`). Of Keras an HDF5 file is read:

    params, state = read_keras("resnet50.h5", *shapes, KERAS["resnet50_keras"])
"""

from jaxnn.models.alexnet import alexnet, alexnet_two_towers
from jaxnn.models.densenet import densenet121
from jaxnn.models.encoder_decoder import encoder_decoder
from jaxnn.models.googlenet import googlenet
from jaxnn.models.gpt2 import from_gpt2, gpt2, to_gpt2
from jaxnn.models.keras import read_keras
from jaxnn.models.lenet import lenet5, lenet5_1998
from jaxnn.models.memory_network import memory_network, response_network
from jaxnn.models.mobilenet import mobilenet_v1, mobilenet_v1_keras, mobilenet_v2, mobilenet_v2_keras
from jaxnn.models.nn4_small2 import nn4_small2, read_openface
from jaxnn.models.published import KERAS, TIMM, TORCHVISION
from jaxnn.models.resnet import resnet18, resnet34, resnet50, resnet50_course, resnet50_keras, resnet101, se_resnet50
from jaxnn.models.sequences import character_model, sequence_classifier, tagger
from jaxnn.models.squeezenet import squeezenet
from jaxnn.models.transformer import course_transformer, decoder, encoder, transformer
from jaxnn.models.trigger_word import trigger_word
from jaxnn.models.unet import unet
from jaxnn.models.vgg import vgg16, vgg19
from jaxnn.models.wavenet import wavenet
from jaxnn.models.weights import (
    BadWeights,
    Published,
    from_published,
    read_npz,
    read_safetensors,
    to_published,
    write_safetensors,
)
