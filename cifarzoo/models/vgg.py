"""VGG networks with BatchNormalization for 32x32 images.

Paper:
    Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014
        (https://arxiv.org/abs/1409.1556), table 1, columns A, B, D and E.

The networks as CIFAR code bases adapt them: BatchNormalization and ReLU follow every 3x3 convolution, which keeps its
bias; every group ends with 2x2 max pooling; and one linear layer replaces the paper's three. Some code keeps
the paper's two hidden layers, 512 wide, as `hidden_layers=2` does.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.models.common_layers import (
    ModelOptions,
    check_choice,
    check_image_size,
    check_size,
    conv,
    head,
    image_input,
    linear,
)
from cifarzoo.models.normalization import ARGUMENTS as NORMALIZATION
from cifarzoo.models.normalization import GROUPS, Normalization, NormalizationKind
from cifarzoo.models.registry import register

SIMONYAN_2014 = "Very Deep Convolutional Networks for Large-Scale Image Recognition"

WIDTHS = (64, 128, 256, 512, 512)

# Number of convolutions in each of the five groups.
CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


ARGUMENTS = {
    "hidden_layers": "Number of linear layers of 512 units, each with ReLU, before the classifier: 0, 1 or 2. "
    "`include_top=False` leaves them out.",
    **NORMALIZATION,
}


def vgg(
    depth, hidden_layers, normalization="batch", normalization_groups=GROUPS, **options: Unpack[ModelOptions]
) -> keras.Model:
    """Build the network of `depth` weighted layers as the paper counts them, with three in the classifier.

    Raises:
        ModelError: An argument is invalid.
    """
    check_choice("hidden_layers", hidden_layers, (0, 1, 2))
    check_image_size(options, halvings=5)
    norm = Normalization(normalization, normalization_groups)
    inputs, x = image_input(options)
    for group, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS[depth], strict=True), start=1):
        for i in range(1, count + 1):
            x = conv(x, width, 3, use_bias=True, name=f"group{group}_conv{i}")
            x = check_size(x) if group == i == 1 else x
            x = layers.ReLU(name=f"group{group}_relu{i}")(norm(x, name=f"group{group}_bn{i}"))
        x = layers.MaxPooling2D(2, name=f"group{group}_pool")(x)
    if hidden_layers and options["include_top"]:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        for i in range(1, hidden_layers + 1):
            initializer = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
            x = layers.Dense(WIDTHS[-1], "relu", kernel_initializer=initializer, name=f"hidden{i}")(x)
        return keras.Model(inputs, linear(x, options), name=options["name"])
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(SIMONYAN_2014, 2014, arguments=ARGUMENTS)
def cifar_vgg11(
    *,
    hidden_layers: int = 0,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """VGG-11, column A."""
    return vgg(11, hidden_layers, normalization, normalization_groups, **options)


@register(SIMONYAN_2014, 2014, arguments=ARGUMENTS)
def cifar_vgg13(
    *,
    hidden_layers: int = 0,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """VGG-13, column B."""
    return vgg(13, hidden_layers, normalization, normalization_groups, **options)


@register(SIMONYAN_2014, 2014, arguments=ARGUMENTS)
def cifar_vgg16(
    *,
    hidden_layers: int = 0,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """VGG-16, column D."""
    return vgg(16, hidden_layers, normalization, normalization_groups, **options)


@register(SIMONYAN_2014, 2014, arguments=ARGUMENTS)
def cifar_vgg19(
    *,
    hidden_layers: int = 0,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """VGG-19, column E."""
    return vgg(19, hidden_layers, normalization, normalization_groups, **options)
