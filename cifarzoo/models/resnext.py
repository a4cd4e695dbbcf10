"""ResNeXt-29: residual networks with grouped convolutions.

Paper:
    Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, 2016
        (https://arxiv.org/abs/1611.05431), section 5.3 and its appendix A.

Three stages of three bottleneck blocks end with 256, 512 and 1024 channels. "8x64d" means that the 3x3 convolutions of
the first stage have 8 groups of 64 channels; the widths of groups and blocks double with each stage.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.models.common_layers import ModelOptions, batch_norm, check_size, conv, head, image_input
from cifarzoo.models.registry import register
from cifarzoo.models.residual_blocks import original_bottleneck

XIE_2016 = "Aggregated Residual Transformations for Deep Neural Networks"


def resnext29(groups, group_width, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNeXt-29 with `groups` groups (the paper's cardinality) of `group_width` channels in the first stage."""
    inputs, x = image_input(options)
    x = check_size(conv(x, 64, 3, name="stem_conv"))
    x = layers.ReLU(name="stem_relu")(batch_norm(x, name="stem_bn"))
    for stage in (1, 2, 3):
        widening = 2 ** (stage - 1)
        for block in (1, 2, 3):
            stride = 2 if stage > 1 and block == 1 else 1
            inner = groups * group_width * widening
            x = original_bottleneck(x, 256 * widening, inner, stride, "B", f"stage{stage}_block{block}", groups)
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(XIE_2016, 2016)
def cifar_resnext29_32x4d(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNeXt-29, 32x4d."""
    return resnext29(32, 4, **options)


@register(XIE_2016, 2016)
def cifar_resnext29_8x64d(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNeXt-29, 8x64d."""
    return resnext29(8, 64, **options)


@register(XIE_2016, 2016)
def cifar_resnext29_16x64d(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNeXt-29, 16x64d."""
    return resnext29(16, 64, **options)
