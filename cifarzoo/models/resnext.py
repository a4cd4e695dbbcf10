"""ResNeXt: residual networks with grouped convolutions.

Paper:
    Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, 2016
        (https://arxiv.org/abs/1611.05431), section 5.3 and its appendix A.

Three stages of bottleneck blocks, three each in ResNeXt-29, end with 256, 512 and 1024 channels. "8x64d" means that the
3x3 convolutions of the first stage have 8 groups of 64 channels; the widths of groups and blocks double with each
stage.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.models.common_layers import (
    ModelOptions,
    batch_norm,
    check_size,
    check_size_arguments,
    conv,
    head,
    image_input,
)
from cifarzoo.models.registry import register
from cifarzoo.models.residual_blocks import original_bottleneck
from cifarzoo.models.resnet import blocks_per_stage

XIE_2016 = "Aggregated Residual Transformations for Deep Neural Networks"


ARGUMENTS = {
    "depth": "Number of weighted layers, 9 n + 2 for n blocks per stage: 11, 20, 29, ...",
    "cardinality": "Number of groups of the 3x3 convolutions: C in the paper, the 8 of 8x64d.",
    "base_width": "Channels of a group in the first stage: d in the paper, the 64 of 8x64d.",
}


def resnext(depth, cardinality, base_width, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNeXt-`depth` with `cardinality` groups of `base_width` channels in the first stage.

    Raises:
        ModelError: An argument is invalid.
    """
    check_size_arguments(cardinality=cardinality, base_width=base_width)
    inputs, x = image_input(options)
    x = check_size(conv(x, 64, 3, name="stem_conv"))
    x = layers.ReLU(name="stem_relu")(batch_norm(x, name="stem_bn"))
    for stage in (1, 2, 3):
        widening = 2 ** (stage - 1)
        for block in range(1, blocks_per_stage(depth, layers_per_block=3) + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            inner = cardinality * base_width * widening
            name = f"stage{stage}_block{block}"
            x = original_bottleneck(x, 256 * widening, inner, stride, "B", name, groups=cardinality)
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(XIE_2016, 2016, arguments=ARGUMENTS)
def cifar_resnext(
    depth: int = 29, cardinality: int = 8, base_width: int = 64, **options: Unpack[ModelOptions]
) -> keras.Model:
    """ResNeXt of any depth, number of groups, and width of a group."""
    return resnext(depth, cardinality, base_width, **options)


@register(XIE_2016, 2016, special_case_of=("cifar_resnext", {"depth": 29, "cardinality": 32, "base_width": 4}))
def cifar_resnext29_32x4d(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNeXt-29, 32x4d."""
    return resnext(29, 32, 4, **options)


@register(XIE_2016, 2016, special_case_of=("cifar_resnext", {"depth": 29, "cardinality": 4, "base_width": 32}))
def cifar_resnext29_4x32d(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNeXt-29, 4x32d."""
    return resnext(29, 4, 32, **options)


@register(XIE_2016, 2016, special_case_of=("cifar_resnext", {"depth": 29, "cardinality": 8, "base_width": 64}))
def cifar_resnext29_8x64d(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNeXt-29, 8x64d."""
    return resnext(29, 8, 64, **options)


@register(XIE_2016, 2016, special_case_of=("cifar_resnext", {"depth": 29, "cardinality": 16, "base_width": 64}))
def cifar_resnext29_16x64d(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNeXt-29, 16x64d."""
    return resnext(29, 16, 64, **options)
