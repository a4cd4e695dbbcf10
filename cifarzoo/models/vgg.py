"""VGG networks with BatchNormalization for 32x32 images.

Paper:
    Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014
        (https://arxiv.org/abs/1409.1556), table 1, columns A, B, D and E.

The networks as CIFAR code bases adapt them: BatchNormalization and ReLU follow every 3x3 convolution, which keeps its
bias; every group ends with 2x2 max pooling; and one linear layer replaces the paper's three.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.models.common_layers import ModelOptions, batch_norm, check_size, conv, head, image_input
from cifarzoo.models.registry import register

SIMONYAN_2014 = "Very Deep Convolutional Networks for Large-Scale Image Recognition"

WIDTHS = (64, 128, 256, 512, 512)

# Number of convolutions in each of the five groups.
GROUPS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def vgg(depth, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the network of `depth` weighted layers as the paper counts them, with three in the classifier."""
    inputs, x = image_input(options)
    for group, (width, count) in enumerate(zip(WIDTHS, GROUPS[depth], strict=True), start=1):
        for i in range(1, count + 1):
            x = conv(x, width, 3, use_bias=True, name=f"group{group}_conv{i}")
            x = check_size(x) if group == i == 1 else x
            x = layers.ReLU(name=f"group{group}_relu{i}")(batch_norm(x, name=f"group{group}_bn{i}"))
        x = layers.MaxPooling2D(2, name=f"group{group}_pool")(x)
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(SIMONYAN_2014, 2014)
def cifar_vgg11(**options: Unpack[ModelOptions]) -> keras.Model:
    """VGG-11, column A."""
    return vgg(11, **options)


@register(SIMONYAN_2014, 2014)
def cifar_vgg13(**options: Unpack[ModelOptions]) -> keras.Model:
    """VGG-13, column B."""
    return vgg(13, **options)


@register(SIMONYAN_2014, 2014)
def cifar_vgg16(**options: Unpack[ModelOptions]) -> keras.Model:
    """VGG-16, column D."""
    return vgg(16, **options)


@register(SIMONYAN_2014, 2014)
def cifar_vgg19(**options: Unpack[ModelOptions]) -> keras.Model:
    """VGG-19, column E."""
    return vgg(19, **options)
