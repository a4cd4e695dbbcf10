"""ResNet-9, the network of the fast-training line.

Source:
    Page: How to Train Your ResNet, 2018 (https://github.com/davidcpage/cifar10-fast), the DAWNBench entry.

Convolution-BatchNormalization-ReLU throughout, 2x2 max pooling after each of the three widenings, two residual pairs,
global max pooling, a linear layer without bias whose logits are multiplied by 0.125.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.models.parts import ModelOptions, batch_norm, conv, image_input, linear
from cifarzoo.models.registry import register

PAGE_2018 = "How to Train Your ResNet (cifar10-fast)"

LOGIT_SCALE = 0.125


def unit(x, filters, name, pool=False):
    """conv-BN-ReLU, then 2x2 max pooling if `pool`."""
    x = batch_norm(conv(x, filters, 3, name=f"{name}_conv"), name=f"{name}_bn")
    x = layers.ReLU(name=f"{name}_relu")(x)
    return layers.MaxPooling2D(2, name=f"{name}_pool")(x) if pool else x


def residual_pair(x, filters, name):
    """Two units, added to what they start from after the last ReLU."""
    y = unit(unit(x, filters, f"{name}_unit1"), filters, f"{name}_unit2")
    return layers.Add(name=f"{name}_add")([x, y])


@register(PAGE_2018, 2018)
def cifar_resnet9(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-9 as in cifar10-fast's `dawn.py`."""
    inputs, x = image_input(options)
    x = unit(x, 64, "stem")
    x = residual_pair(unit(x, 128, "stage1", pool=True), 128, "stage1_residual")
    x = unit(x, 256, "stage2", pool=True)
    x = residual_pair(unit(x, 512, "stage3", pool=True), 512, "stage3_residual")
    if options["include_top"]:
        x = layers.GlobalMaxPooling2D(name="pool")(x)
        x = linear(x, options | {"classifier_activation": None}, use_bias=False)
        x = layers.Rescaling(LOGIT_SCALE, dtype=x.dtype, name="scaled_logits")(x)
        if options["classifier_activation"] is not None:
            x = layers.Activation(options["classifier_activation"], dtype=x.dtype, name="activation")(x)
    return keras.Model(inputs, x, name=options["name"])
