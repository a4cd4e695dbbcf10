"""ResNet-8, the image classifier of the MLPerf Tiny benchmark.

Paper:
    Banbury et al.: MLPerf Tiny Benchmark, 2021 (https://arxiv.org/abs/2106.07597), section 4.1; the network is that of
        the reference implementation, https://github.com/mlcommons/tiny (benchmark/training/image_classification).

A residual network for microcontrollers: three stages of one basic block have 16, 32 and 64 channels. Unlike in
`cifar_resnet(depth=8)`, convolutions have a bias, shortcuts are 1x1 convolutions without BatchNormalization, strided
convolutions pad as TensorFlow does, and BatchNormalization has Keras' epsilon.

Variables and outputs are the reference's, if `statistics` leave the pixels as they are: it takes 0-255. Initial weights
and BatchNormalization's momentum, 0.99 in the reference, are those of the zoo's other networks.
"""

from typing import Unpack

import keras
from keras import layers

from cifarzoo.models.common_layers import ModelOptions, batch_norm, check_size, conv, head, image_input
from cifarzoo.models.registry import register

BANBURY_2021 = "MLPerf Tiny Benchmark"

EPSILON = 1e-3


def block(x, filters, stride, name):
    """Apply conv-BN-ReLU-conv-BN, add the shortcut, then ReLU."""
    y = conv(x, filters, 3, stride, use_bias=True, strided_padding="same", name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(y, epsilon=EPSILON, name=f"{name}_bn1"))
    y = conv(y, filters, 3, use_bias=True, name=f"{name}_conv2")
    y = batch_norm(y, epsilon=EPSILON, name=f"{name}_bn2")
    if stride > 1:
        x = conv(x, filters, 1, stride, use_bias=True, name=f"{name}_projection")
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, y]))


@register(BANBURY_2021, 2021)
def cifar_resnet8(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-8 of MLPerf Tiny, for microcontrollers."""
    inputs, x = image_input(options)
    x = check_size(conv(x, 16, 3, use_bias=True, name="stem_conv"))
    x = layers.ReLU(name="stem_relu")(batch_norm(x, epsilon=EPSILON, name="stem_bn"))
    for stage, filters in enumerate((16, 32, 64), start=1):
        x = block(x, filters, 1 if stage == 1 else 2, f"stage{stage}_block1")
    return keras.Model(inputs, head(x, options), name=options["name"])
