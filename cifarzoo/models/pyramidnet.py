"""Pyramidal residual networks, optionally with ShakeDrop.

Papers:
    Han, Kim, Kim: Deep Pyramidal Residual Networks, 2016 (https://arxiv.org/abs/1610.02915), table 4.
    Yamada, Iwamura, Akiba, Kise: ShakeDrop Regularization for Deep Residual Learning, 2018
        (https://arxiv.org/abs/1802.02375).

Over N blocks the channels grow by alpha / N per block, from 16 to 16 + alpha, rounded half up; a bottleneck block ends
with four times as many. A basic block is BN-conv-BN-ReLU-conv-BN, a bottleneck BN-conv-BN-ReLU-conv-BN-ReLU-conv-BN.
The shortcut has no parameters: average pooling where the stride is 2, then appended zero channels. ShakeDrop keeps the
branch of block l with probability 1 - l / (2 N).
"""

from typing import Literal, Unpack

import keras
from keras import layers

from cifarzoo.errors import ModelError
from cifarzoo.layers import ShakeDrop
from cifarzoo.models.common_layers import (
    ModelOptions,
    append_channels,
    batch_norm,
    check_size,
    conv,
    head,
    image_input,
)
from cifarzoo.models.registry import register
from cifarzoo.models.resnet import blocks_per_stage

HAN_2016 = "Deep Pyramidal Residual Networks"
YAMADA_2018 = "ShakeDrop Regularization for Deep Residual Learning"

Mask = Literal["image", "batch"]

ARGUMENTS = {
    "shake_drop": "Whether ShakeDrop scales the branches at random in training and by the mean factor at inference.",
    "shake_drop_mask": 'Whether ShakeDrop chooses the branches to shake per "image" or per "batch".',
}

# Probability of keeping the branch of the last block.
FINAL_KEEP = 0.5


def pyramid_widths(blocks, alpha):
    """Return the channels of each block, 16 + k alpha / blocks rounded half up; integer arithmetic keeps them exact."""
    return [(2 * (16 * blocks + alpha * k) + blocks) // (2 * blocks) for k in range(1, blocks + 1)]


def basic_branch(x, width, stride, name):
    """Apply BN-conv-BN-ReLU-conv-BN."""
    y = conv(batch_norm(x, name=f"{name}_bn1"), width, 3, stride, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(y, name=f"{name}_bn2"))
    return batch_norm(conv(y, width, 3, name=f"{name}_conv2"), name=f"{name}_bn3")


def bottleneck_branch(x, width, stride, name):
    """Apply BN-conv-BN-ReLU-conv-BN-ReLU-conv-BN; the last convolution is four times as wide."""
    y = conv(batch_norm(x, name=f"{name}_bn1"), width, 1, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(y, name=f"{name}_bn2"))
    y = conv(y, width, 3, stride, name=f"{name}_conv2")
    y = layers.ReLU(name=f"{name}_relu2")(batch_norm(y, name=f"{name}_bn3"))
    return batch_norm(conv(y, 4 * width, 1, name=f"{name}_conv3"), name=f"{name}_bn4")


def pyramid_shortcut(x, filters, stride, name):
    """Average over 2x2 pixels where the stride is 2, and append zero channels up to `filters`."""
    if stride > 1:
        if x.shape[1] % 2:  # a strided convolution would keep the odd row and column, the pooling drops them
            raise ModelError(
                f"image_size is a multiple of 4 here, as images are halved twice; one half is {x.shape[1]}"
            )
        x = layers.AveragePooling2D(2, name=f"{name}_subsample")(x)
    return append_channels(x, filters)


def pyramidnet(depth, alpha, bottleneck, shake_drop, shake_drop_mask, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the network of `depth` weighted layers that widens by a total of `alpha` channels.

    Raises:
        ModelError: An argument is invalid.
    """
    if not isinstance(shake_drop, bool):
        raise ModelError(f"shake_drop must be True or False, got {shake_drop!r}")
    if shake_drop_mask not in ("image", "batch"):
        raise ModelError(f"shake_drop_mask must be 'image' or 'batch', got {shake_drop_mask!r}")
    branch = bottleneck_branch if bottleneck else basic_branch
    per_stage = blocks_per_stage(depth, layers_per_block=3 if bottleneck else 2)
    widths = pyramid_widths(3 * per_stage, alpha)

    inputs, x = image_input(options)
    x = batch_norm(check_size(conv(x, 16, 3, name="stem_conv")), name="stem_bn")
    for i, width in enumerate(widths):
        stage, block = i // per_stage + 1, i % per_stage + 1
        stride = 2 if stage > 1 and block == 1 else 1
        name = f"stage{stage}_block{block}"
        y = branch(x, width, stride, name)
        if shake_drop:
            keep = 1 - (i + 1) / len(widths) * (1 - FINAL_KEEP)
            y = ShakeDrop(keep, shake_drop_mask, name=f"{name}_shake_drop")(y)
        x = layers.Add(name=f"{name}_add")([pyramid_shortcut(x, y.shape[-1], stride, name), y])
    x = layers.ReLU(name="final_relu")(batch_norm(x, name="final_bn"))
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(HAN_2016, 2016, training_only=("shake_drop_mask",), arguments=ARGUMENTS)
def cifar_pyramidnet110_a48(
    shake_drop: bool = False, shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]
) -> keras.Model:
    """PyramidNet-110, alpha 48, with basic blocks."""
    return pyramidnet(110, 48, False, shake_drop, shake_drop_mask, **options)


@register(HAN_2016, 2016, training_only=("shake_drop_mask",), arguments=ARGUMENTS)
def cifar_pyramidnet110_a84(
    shake_drop: bool = False, shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]
) -> keras.Model:
    """PyramidNet-110, alpha 84, with basic blocks."""
    return pyramidnet(110, 84, False, shake_drop, shake_drop_mask, **options)


@register(HAN_2016, 2016, training_only=("shake_drop_mask",), arguments=ARGUMENTS)
def cifar_pyramidnet110_a270(
    shake_drop: bool = False, shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]
) -> keras.Model:
    """PyramidNet-110, alpha 270, with basic blocks."""
    return pyramidnet(110, 270, False, shake_drop, shake_drop_mask, **options)


@register(HAN_2016, 2016, training_only=("shake_drop_mask",), arguments=ARGUMENTS)
def cifar_pyramidnet164_a270(
    shake_drop: bool = False, shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]
) -> keras.Model:
    """PyramidNet-164, alpha 270, with bottleneck blocks."""
    return pyramidnet(164, 270, True, shake_drop, shake_drop_mask, **options)


@register(HAN_2016, 2016, training_only=("shake_drop_mask",), arguments=ARGUMENTS)
def cifar_pyramidnet200_a240(
    shake_drop: bool = False, shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]
) -> keras.Model:
    """PyramidNet-200, alpha 240, with bottleneck blocks."""
    return pyramidnet(200, 240, True, shake_drop, shake_drop_mask, **options)


@register(HAN_2016, 2016, training_only=("shake_drop_mask",), arguments=ARGUMENTS)
def cifar_pyramidnet236_a220(
    shake_drop: bool = False, shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]
) -> keras.Model:
    """PyramidNet-236, alpha 220, with bottleneck blocks."""
    return pyramidnet(236, 220, True, shake_drop, shake_drop_mask, **options)


@register(HAN_2016, 2016, training_only=("shake_drop_mask",), arguments=ARGUMENTS)
def cifar_pyramidnet272_a200(
    shake_drop: bool = False, shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]
) -> keras.Model:
    """PyramidNet-272, alpha 200, with bottleneck blocks."""
    return pyramidnet(272, 200, True, shake_drop, shake_drop_mask, **options)


@register(
    YAMADA_2018,
    2018,
    aliases=("pyramid",),
    training_only=("shake_drop_mask",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_pyramidnet272_a200", {"shake_drop": True}),
)
def cifar_shakedrop_pyramidnet272_a200(shake_drop_mask: Mask = "image", **options: Unpack[ModelOptions]) -> keras.Model:
    """PyramidNet-272, alpha 200, with bottleneck blocks and ShakeDrop."""
    return pyramidnet(272, 200, True, True, shake_drop_mask, **options)
