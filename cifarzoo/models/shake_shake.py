"""Shake-Shake networks: two residual branches, randomly mixed while training.

Paper:
    Gastaldi: Shake-Shake regularization, 2017 (https://arxiv.org/abs/1705.07485), table 1 and section 2.1.

The paper's networks are 26 layers deep. "2x96d" means two branches of 96 channels in the first stage, doubled with each
stage. As in the author's code, every branch is ReLU-conv-BN-ReLU-conv-BN, and nothing follows the sum. Where the shape
changes, the shortcut is ReLU, two parallel 1x1 convolutions and BatchNormalization; the second convolution sees the
image shifted by one pixel, so that with stride 2 the two together see more of it. (The shift is up and left, as in
Flax's examples and Fast AutoAugment; the author's code shifts down and right.) The stem has BatchNormalization and no
bias. Post-activated blocks are pytorchcv's: ReLU follows the stem and every sum instead, and the shift is the author's.
The Flax example (2020) has 3x3 shortcuts from a block's input, biases, TensorFlow's padding, and no BatchNormalization
in the stem.
"""

from dataclasses import dataclass
from typing import Literal, Unpack

import keras
from keras import layers

from cifarzoo.errors import ModelError
from cifarzoo.layers import ShakeShake
from cifarzoo.models.common_layers import (
    STRIDED_PADDING,
    ModelOptions,
    StridedPadding,
    batch_norm,
    check_choice,
    check_size,
    check_size_arguments,
    conv,
    head,
    image_input,
)
from cifarzoo.models.registry import register
from cifarzoo.models.resnet import blocks_per_stage

GASTALDI_2017 = "Shake-Shake regularization"


BlockType = Literal["original", "postactivated"]

ARGUMENTS = {
    "depth": "Number of weighted layers, 6 n + 2 for n blocks per stage: 8, 14, 20, 26, ...",
    "width": "Channels of a branch in the first stage: the 96 of 2x96d.",
    "block_type": '"original", in which branches and shortcuts begin with ReLU and nothing follows the sum, or '
    '"postactivated", as in pytorchcv: ReLU follows the stem and every sum, and the second path of shortcuts is moved '
    "down and right.",
    "shortcut_type": 'Where the shape changes: "two_paths", the paper\'s, or "projection", a 3x3 convolution of the '
    "block's input with BatchNormalization.",
    "strided_padding": STRIDED_PADDING,
    "use_bias": "Whether convolutions have a bias.",
    "stem_batch_norm": "Whether BatchNormalization follows the first convolution.",
}


@dataclass(frozen=True)
class Style:
    """What blocks of all networks of a style share; the factories' arguments of the same names explain the fields."""

    original: bool
    shortcut_type: str = "two_paths"
    strided_padding: StridedPadding = "symmetric"
    use_bias: bool = False

    def conv(self, x, filters, kernel_size, stride=1, *, name):
        """Convolve with the style's padding and bias."""
        return conv(
            x,
            filters,
            kernel_size,
            stride,
            use_bias=self.use_bias,
            strided_padding=self.strided_padding,
            name=name,
        )


def branch(x, filters, stride, style, name):
    """Apply ReLU-conv-BN twice; the input of a post-activated block has been through ReLU already."""
    if style.original:
        x = layers.ReLU(name=f"{name}_relu1")(x)
    y = style.conv(x, filters, 3, stride, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(batch_norm(y, name=f"{name}_bn1"))
    return batch_norm(style.conv(y, filters, 3, name=f"{name}_conv2"), name=f"{name}_bn2")


def two_path_shortcut(x, filters, stride, style, name):
    """Take half the channels from the image and half from the image shifted by one pixel.

    It is shifted up and left in an original block, down and right in a post-activated one.
    """
    if style.original:
        x = layers.ReLU(name=f"{name}_relu")(x)
    cropped, padded = ((1, 0), (0, 1)) if style.original else ((0, 1), (1, 0))
    shifted = layers.Cropping2D((cropped, cropped), name=f"{name}_crop")(x)
    shifted = layers.ZeroPadding2D((padded, padded), name=f"{name}_pad")(shifted)
    paths = [
        style.conv(x, filters // 2, 1, stride, name=f"{name}_conv1"),
        style.conv(shifted, filters // 2, 1, stride, name=f"{name}_conv2"),
    ]
    return batch_norm(layers.Concatenate(name=f"{name}_concat")(paths), name=f"{name}_bn")


def shake_shake_block(x, filters, stride, style, name):
    """Mix two branches in random shares and add the shortcut; then ReLU in a post-activated block."""
    branches = [branch(x, filters, stride, style, f"{name}_branch{i}") for i in (1, 2)]
    y = ShakeShake(name=f"{name}_shake")(branches)
    if stride > 1 or x.shape[-1] != filters:
        if style.shortcut_type == "two_paths":
            x = two_path_shortcut(x, filters, stride, style, f"{name}_shortcut")
        else:
            x = style.conv(x, filters, 3, stride, name=f"{name}_shortcut_conv")
            x = batch_norm(x, name=f"{name}_shortcut_bn")
    y = layers.Add(name=f"{name}_add")([x, y])
    return y if style.original else layers.ReLU(name=f"{name}_relu")(y)


def shake_shake(depth, width, style, stem_batch_norm=True, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the network of `depth` layers: three stages with branches of 1, 2 and 4 times `width` channels.

    Raises:
        ModelError: An argument is invalid.
    """
    check_choice("shortcut_type", style.shortcut_type, ("two_paths", "projection"))
    check_choice("strided_padding", style.strided_padding, ("symmetric", "same"))
    check_choice("use_bias", style.use_bias, (False, True))
    check_choice("stem_batch_norm", stem_batch_norm, (False, True))
    check_size_arguments(width=width)
    if width % 2:
        raise ModelError(f"width must be even, as shortcuts have two halves, got {width}")
    inputs, x = image_input(options)
    x = check_size(style.conv(x, 16, 3, name="stem_conv"))
    if stem_batch_norm:
        x = batch_norm(x, name="stem_bn")
    if not style.original:
        x = layers.ReLU(name="stem_relu")(x)
    for stage, filters in enumerate((width, 2 * width, 4 * width), start=1):
        for block in range(1, blocks_per_stage(depth, layers_per_block=2) + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = shake_shake_block(x, filters, stride, style, f"stage{stage}_block{block}")
    if style.original:
        x = layers.ReLU(name="final_relu")(x)
    return keras.Model(inputs, head(x, options), name=options["name"])


def shake_shake26(width, block_type="original", **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the paper's network of 26 layers."""
    return shake_shake(26, width, Style(is_original(block_type)), **options)


def is_original(block_type):
    """Check a block type; return whether it is the author's."""
    check_choice("block_type", block_type, ("original", "postactivated"))
    return block_type == "original"


@register(GASTALDI_2017, 2017, arguments=ARGUMENTS)
def cifar_shake_shake(
    depth: int = 26,
    width: int = 96,
    block_type: BlockType = "original",
    *,
    shortcut_type: Literal["two_paths", "projection"] = "two_paths",
    strided_padding: StridedPadding = "symmetric",
    use_bias: bool = False,
    stem_batch_norm: bool = True,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Shake-Shake of any depth and width.

    The other factories are the paper's networks; this one also builds the Flax example's variant.
    """
    style = Style(is_original(block_type), shortcut_type, strided_padding, use_bias)
    return shake_shake(depth, width, style, stem_batch_norm, **options)


@register(
    GASTALDI_2017,
    2017,
    arguments=ARGUMENTS,
    special_case_of=("cifar_shake_shake", {"depth": 26, "width": 32}),
)
def cifar_shake_shake26_2x32d(*, block_type: BlockType = "original", **options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x32d."""
    return shake_shake26(32, block_type, **options)


@register(
    GASTALDI_2017,
    2017,
    arguments=ARGUMENTS,
    special_case_of=("cifar_shake_shake", {"depth": 26, "width": 64}),
)
def cifar_shake_shake26_2x64d(*, block_type: BlockType = "original", **options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x64d."""
    return shake_shake26(64, block_type, **options)


@register(
    GASTALDI_2017,
    2017,
    aliases=("wrn26_6_ss",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_shake_shake", {"depth": 26, "width": 96}),
)
def cifar_shake_shake26_2x96d(*, block_type: BlockType = "original", **options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x96d."""
    return shake_shake26(96, block_type, **options)


@register(
    GASTALDI_2017,
    2017,
    arguments=ARGUMENTS,
    special_case_of=("cifar_shake_shake", {"depth": 26, "width": 112}),
)
def cifar_shake_shake26_2x112d(*, block_type: BlockType = "original", **options: Unpack[ModelOptions]) -> keras.Model:
    """Shake-Shake-26 2x112d."""
    return shake_shake26(112, block_type, **options)
