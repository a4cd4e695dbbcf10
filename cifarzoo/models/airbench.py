"""The airbench network, designed to reach a given accuracy with the least arithmetic.

Paper:
    Jordan: 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024 (https://arxiv.org/abs/2404.00498), section 3.1;
        BatchNormalization constants and initialization from https://github.com/KellerJordan/cifar10-airbench.

A fixed 2x2 convolution whitens patches; each of its filters is followed by its negative. Then come three groups of
conv-pool-BN-GELU-conv-BN-GELU, global max pooling, and a linear layer without bias whose logits are divided by 9.
Every convolution starts as the identity on its input channels, which replaces shortcuts.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.layers import ChannelBias, Gelu, PartialIdentity
from cifarzoo.models.common_layers import (
    ModelOptions,
    batch_norm,
    check_size,
    image_input,
    scaled_linear,
)
from cifarzoo.models.registry import register
from cifarzoo.models.whitening import whitening

JORDAN_2024 = "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"

LOGIT_SCALE = 1 / 9

WHITENING_EPSILON = 5e-4


def unit(x, filters, name, pool=False):
    """Apply conv-BN-GELU, with `pool` 2x2 max pooling before BN; BN has no scale and a short moving average."""
    x = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer=PartialIdentity(), name=f"{name}_conv"
    )(x)
    if pool:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = batch_norm(x, momentum=0.6, epsilon=1e-12, scale=False, name=f"{name}_bn")
    return Gelu(name=f"{name}_gelu")(x)


def airbench(widths, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the network whose groups have `widths` channels."""
    inputs, x = image_input(options)
    x = whitening(x, options, 2, WHITENING_EPSILON, padding="valid", both_signs=True)
    x = Gelu(name="stem_gelu")(ChannelBias(name="stem_bias")(check_size(x)))
    for group, width in enumerate(widths, start=1):
        x = unit(x, width, f"group{group}_unit1", pool=True)
        x = unit(x, width, f"group{group}_unit2")
    if options["include_top"]:
        x = scaled_linear(layers.GlobalMaxPooling2D(name="pool")(x), options, LOGIT_SCALE)
    return keras.Model(inputs, x, name=options["name"])


@register(JORDAN_2024, 2024)
def cifar_airbench94(**options: Unpack[ModelOptions]) -> keras.Model:
    """Airbench94, with widths 64, 256 and 256."""
    return airbench((64, 256, 256), **options)


@register(JORDAN_2024, 2024)
def cifar_airbench95(**options: Unpack[ModelOptions]) -> keras.Model:
    """Airbench95, with widths 128, 384 and 384."""
    return airbench((128, 384, 384), **options)
