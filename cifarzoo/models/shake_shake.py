"""Shake-Shake networks: two residual branches, randomly mixed while training.

Paper:
    Gastaldi: Shake-Shake regularization, 2017 (https://arxiv.org/abs/1705.07485), table 1 and section 2.1.

The networks are 26 layers deep. "2x96d" means two branches of 96 channels in the first stage, doubled with each stage.
As in the author's code, every branch is ReLU-conv-BN-ReLU-conv-BN, and nothing follows the sum. Where the shape
changes, the shortcut is ReLU, two parallel 1x1 convolutions and BatchNormalization; the second convolution sees the
image shifted by one pixel, so that with stride 2 the two together see more of it. (The shift is up and left, as in
Flax's examples and Fast AutoAugment; the author's code shifts down and right.) The stem has BatchNormalization and no
bias.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.layers import ShakeShake
from cifarzoo.models.common_layers import ModelOptions, batch_norm, check_size, conv, head, image_input
from cifarzoo.models.registry import register

GASTALDI_2017 = "Shake-Shake regularization"


def branch(x, filters, stride, name):
    """Apply ReLU-conv-BN twice."""
    y = conv(layers.ReLU(name=f"{name}_relu1")(x), filters, 3, stride, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(batch_norm(y, name=f"{name}_bn1"))
    return batch_norm(conv(y, filters, 3, name=f"{name}_conv2"), name=f"{name}_bn2")


def two_path_shortcut(x, filters, stride, name):
    """Take half the channels from the image and half from the image shifted up and left by one pixel."""
    x = layers.ReLU(name=f"{name}_relu")(x)
    shifted = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(x)
    shifted = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(shifted)
    paths = [
        conv(x, filters // 2, 1, stride, name=f"{name}_conv1"),
        conv(shifted, filters // 2, 1, stride, name=f"{name}_conv2"),
    ]
    return batch_norm(layers.Concatenate(name=f"{name}_concat")(paths), name=f"{name}_bn")


def shake_shake_block(x, filters, stride, name):
    """Mix two branches in random shares and add the shortcut."""
    branches = [branch(x, filters, stride, f"{name}_branch{i}") for i in (1, 2)]
    y = ShakeShake(name=f"{name}_shake")(branches)
    if stride > 1 or x.shape[-1] != filters:
        x = two_path_shortcut(x, filters, stride, f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, y])


def shake_shake26(width, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the 26-layer network: three stages of four blocks, with branches of 1, 2 and 4 times `width` channels."""
    inputs, x = image_input(options)
    x = batch_norm(check_size(conv(x, 16, 3, name="stem_conv")), name="stem_bn")
    for stage, filters in enumerate((width, 2 * width, 4 * width), start=1):
        for block in range(1, 5):
            stride = 2 if stage > 1 and block == 1 else 1
            x = shake_shake_block(x, filters, stride, f"stage{stage}_block{block}")
    x = layers.ReLU(name="final_relu")(x)
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(GASTALDI_2017, 2017)
def cifar_shake_shake26_2x32d(**options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x32d."""
    return shake_shake26(32, **options)


@register(GASTALDI_2017, 2017)
def cifar_shake_shake26_2x64d(**options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x64d."""
    return shake_shake26(64, **options)


@register(GASTALDI_2017, 2017, aliases=("wrn26_6_ss",))
def cifar_shake_shake26_2x96d(**options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x96d."""
    return shake_shake26(96, **options)


@register(GASTALDI_2017, 2017)
def cifar_shake_shake26_2x112d(**options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x112d."""
    return shake_shake26(112, **options)
