"""Residual networks for 32x32 images, original and pre-activated.

Papers:
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (https://arxiv.org/abs/1512.03385),
        section 4.2.
    He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016 (https://arxiv.org/abs/1603.05027).

Three stages of equal depth have 16, 32 and 64 channels (four times as many at the end of a bottleneck block); the first
block of the second and third stage has stride 2. Where the shape changes, shortcut "A" subsamples and appends zero
channels, and "B" is a 1x1 convolution (followed by BatchNormalization in the original form only). Convolutions have no
bias. Strided 3x3 convolutions pad one pixel on every side, as the papers' code does; Keras' "same" would pad only right
and bottom.

The shortcut is the first operand of every sum: Keras maps a graph by recursing along first operands, and along the
branches of the deepest networks it would overflow Python's stack. This order is part of the weight files' format.
"""

from typing import Literal, Unpack

import keras
from keras import layers

from cifarzoo.errors import ModelError
from cifarzoo.models.common_layers import ModelOptions, append_channels, batch_norm, check_size, conv, head, image_input
from cifarzoo.models.registry import register

HE_2015 = "Deep Residual Learning for Image Recognition"
HE_2016 = "Identity Mappings in Deep Residual Networks"

BlockType = Literal["original", "preactivated"]
ShortcutType = Literal["A", "B"]

ARGUMENTS = {
    "block_type": '"original" (2015), in which BatchNormalization and ReLU follow the convolutions, or "preactivated" '
    "(2016), in which they precede them.",
    "shortcut_type": 'Where the shape changes, "A" subsamples and appends zero channels, without parameters, and "B" '
    "is a 1x1 convolution.",
}


def zero_padding_shortcut(x, filters, stride, name):
    """Subsample by `stride` and append zero channels up to `filters`: shortcut A, without parameters."""
    if stride > 1:
        x = layers.MaxPooling2D(1, strides=stride, name=f"{name}_subsample")(x)
    return append_channels(x, filters)


def projection_shortcut(x, filters, stride, normalize, name):
    """Apply a 1x1 convolution, then BatchNormalization if `normalize`: shortcut B."""
    x = conv(x, filters, 1, stride, name=f"{name}_projection")
    return batch_norm(x, name=f"{name}_projection_bn") if normalize else x


def shortcut(x, filters, stride, shortcut_type, normalize, name):
    """Return `x` itself where the shape stays, otherwise shortcut A or B."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    if shortcut_type == "A":
        return zero_padding_shortcut(x, filters, stride, name)
    return projection_shortcut(x, filters, stride, normalize, name)


def blocks_per_stage(depth, layers_per_block):
    """Return the number of blocks in each of three stages of a network of `depth` weighted layers.

    Stem and classifier are two of the layers.

    Raises:
        ModelError: No whole number of blocks gives this depth.
    """
    step = 3 * layers_per_block
    if not isinstance(depth, int) or depth < step + 2 or (depth - 2) % step:
        examples = ", ".join(str(step * blocks + 2) for blocks in (1, 2, 3))
        raise ModelError(f"depth must be {step} n + 2 for n blocks per stage ({examples}, ...), got {depth!r}")
    return (depth - 2) // step


def original_block(x, filters, stride, shortcut_type, name):
    """Apply conv-BN-ReLU-conv-BN, add the shortcut, then ReLU."""
    y = conv(x, filters, 3, stride, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(y, name=f"{name}_bn1"))
    y = batch_norm(conv(y, filters, 3, name=f"{name}_conv2"), name=f"{name}_bn2")
    y = layers.Add(name=f"{name}_add")([shortcut(x, filters, stride, shortcut_type, True, name), y])
    return layers.ReLU(name=f"{name}_relu2")(y)


def preactivated_block(x, filters, stride, shortcut_type, share_activation, name):
    """Apply BN-ReLU-conv twice and add the shortcut; with `share_activation` it starts after the first ReLU."""
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(x, name=f"{name}_bn1"))
    source = y if share_activation else x
    y = conv(y, filters, 3, stride, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(batch_norm(y, name=f"{name}_bn2"))
    y = conv(y, filters, 3, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut(source, filters, stride, shortcut_type, False, name), y])


def bottleneck_block(x, filters, stride, shortcut_type, share_activation, name):
    """Apply BN-ReLU-conv three times (1x1, 3x3, 1x1; the first two a quarter as wide) and add the shortcut.

    With `share_activation` the shortcut starts after the first ReLU.
    """
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(x, name=f"{name}_bn1"))
    source = y if share_activation else x
    y = conv(y, filters // 4, 1, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(batch_norm(y, name=f"{name}_bn2"))
    y = conv(y, filters // 4, 3, stride, name=f"{name}_conv2")
    y = layers.ReLU(name=f"{name}_relu3")(batch_norm(y, name=f"{name}_bn3"))
    y = conv(y, filters, 1, name=f"{name}_conv3")
    return layers.Add(name=f"{name}_add")([shortcut(source, filters, stride, shortcut_type, False, name), y])


def resnet(depth, block_type, shortcut_type, bottleneck=False, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the network of `depth` weighted layers; the factories below have the papers' depths.

    Raises:
        ModelError: An argument is invalid, or `depth` is not 2 plus a whole number of blocks in each of three stages.
    """
    if block_type not in ("original", "preactivated"):
        raise ModelError(f"block_type must be 'original' or 'preactivated', got {block_type!r}")
    if shortcut_type not in ("A", "B"):
        raise ModelError(f"shortcut_type must be 'A' or 'B', got {shortcut_type!r}")
    preactivated = block_type == "preactivated"
    blocks = blocks_per_stage(depth, layers_per_block=3 if bottleneck else 2)

    inputs, x = image_input(options)
    x = check_size(conv(x, 16, 3, name="stem_conv"))
    if not preactivated:
        x = layers.ReLU(name="stem_relu")(batch_norm(x, name="stem_bn"))
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            name = f"stage{stage}_block{block}"
            if bottleneck:
                x = bottleneck_block(x, 4 * width, stride, shortcut_type, block == 1, name)
            elif preactivated:
                x = preactivated_block(x, width, stride, shortcut_type, stage == 1 and block == 1, name)
            else:
                x = original_block(x, width, stride, shortcut_type, name)
    if preactivated:
        x = layers.ReLU(name="final_relu")(batch_norm(x, name="final_bn"))
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(HE_2015, 2015, arguments=ARGUMENTS)
def cifar_resnet20(
    block_type: BlockType = "original", shortcut_type: ShortcutType = "A", **options: Unpack[ModelOptions]
) -> keras.Model:
    """ResNet-20, with three basic blocks per stage."""
    return resnet(20, block_type, shortcut_type, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS)
def cifar_resnet32(
    block_type: BlockType = "original", shortcut_type: ShortcutType = "A", **options: Unpack[ModelOptions]
) -> keras.Model:
    """ResNet-32, with five basic blocks per stage."""
    return resnet(32, block_type, shortcut_type, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS)
def cifar_resnet44(
    block_type: BlockType = "original", shortcut_type: ShortcutType = "A", **options: Unpack[ModelOptions]
) -> keras.Model:
    """ResNet-44, with seven basic blocks per stage."""
    return resnet(44, block_type, shortcut_type, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS)
def cifar_resnet56(
    block_type: BlockType = "original", shortcut_type: ShortcutType = "A", **options: Unpack[ModelOptions]
) -> keras.Model:
    """ResNet-56, with nine basic blocks per stage."""
    return resnet(56, block_type, shortcut_type, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS)
def cifar_resnet110(
    block_type: BlockType = "preactivated", shortcut_type: ShortcutType = "B", **options: Unpack[ModelOptions]
) -> keras.Model:
    """ResNet-110, with eighteen basic blocks per stage; pre-activated by default."""
    return resnet(110, block_type, shortcut_type, **options)


@register(HE_2016, 2016, arguments=ARGUMENTS)
def cifar_resnet164(shortcut_type: ShortcutType = "B", **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-164, with eighteen pre-activated bottleneck blocks per stage."""
    return resnet(164, "preactivated", shortcut_type, bottleneck=True, **options)


@register(HE_2016, 2016, arguments=ARGUMENTS)
def cifar_resnet1001(shortcut_type: ShortcutType = "B", **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-1001, with 111 pre-activated bottleneck blocks per stage."""
    return resnet(1001, "preactivated", shortcut_type, bottleneck=True, **options)
