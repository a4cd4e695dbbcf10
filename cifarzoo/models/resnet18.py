"""ResNet-18 with a stem for 32x32 images.

Paper:
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (https://arxiv.org/abs/1512.03385), table 1.

The ImageNet network as CIFAR code bases adapt it: one 3x3 convolution replaces the 7x7 convolution with stride 2 and
the max pooling. Four stages of two basic blocks have 64 to 512 channels; where the shape changes, the shortcut is a
1x1 convolution with BatchNormalization.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.models.common_layers import ModelOptions, check_size, conv, head, image_input
from cifarzoo.models.normalization import ARGUMENTS as NORMALIZATION
from cifarzoo.models.normalization import GROUPS, Normalization, NormalizationKind
from cifarzoo.models.registry import register
from cifarzoo.models.residual_blocks import original_block
from cifarzoo.models.resnet import HE_2015


@register(HE_2015, 2015, arguments=NORMALIZATION)
def cifar_resnet18(
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-18, with ImageNet's widths behind a 3x3 stem."""
    norm = Normalization(normalization, normalization_groups, branches=8)
    inputs, x = image_input(options)
    x = check_size(conv(x, 64, 3, use_bias=norm.use_bias(), name="stem_conv"))
    x = layers.ReLU(name="stem_relu")(norm(x, name="stem_bn"))
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for block in (1, 2):
            stride = 2 if stage > 1 and block == 1 else 1
            x = original_block(x, filters, stride, "B", f"stage{stage}_block{block}", norm=norm)
    return keras.Model(inputs, head(x, options), name=options["name"])
