"""Wide residual networks.

Paper:
    Zagoruyko, Komodakis: Wide Residual Networks, 2016 (https://arxiv.org/abs/1605.07146), table 1.

Pre-activated basic blocks are `width` times as wide as those of a ResNet, with optional dropout between the two
convolutions. Where the shape changes, the shortcut is a 1x1 convolution that starts after the block's first ReLU.
Convolutions have no bias. The first convolution has the stride.

Arguments build other projects' variants: Fast AutoAugment's has the stride in the second convolution and takes
shortcuts from the block's input; the Flax example (2020) takes them from there, too, by 3x3 convolutions, pads as
TensorFlow does, and gives every convolution a bias.
"""

from typing import Literal, Unpack

import keras
from keras import layers

from cifarzoo.errors import ModelError
from cifarzoo.models.common_layers import (
    STRIDED_PADDING,
    ModelOptions,
    StridedPadding,
    check_choice,
    check_size,
    check_size_arguments,
    conv,
    head,
    image_input,
)
from cifarzoo.models.normalization import ARGUMENTS as NORMALIZATION
from cifarzoo.models.normalization import GROUPS, Normalization, NormalizationKind
from cifarzoo.models.registry import register

ZAGORUYKO_2016 = "Wide Residual Networks"

ARGUMENTS = {
    "depth": "Number of weighted layers, 6 n + 4 for n blocks per stage: 10, 16, 22, 28, ...",
    "width": "Multiplier of the channels: 1 gives a ResNet's 16, 32, 64.",
    "dropout": "Dropout rate between the convolutions of a block, at least 0 and below 1; the paper uses 0.3.",
    "strided_padding": STRIDED_PADDING,
    "stride_in": 'Which convolution of a block has the stride: "conv1" or "conv2".',
    "shortcut_from": 'Where shortcuts with a convolution start: at the "input" of the block, or at the "activation", '
    "after its first ReLU.",
    "projection_size": "Height and width of the kernels of shortcuts: 1 or 3.",
    "use_bias": "Whether convolutions have a bias.",
    **NORMALIZATION,
}


# The values of the arguments that build other projects' variants; the first is the paper's.
VALID: dict[str, tuple] = {
    "strided_padding": ("symmetric", "same"),
    "stride_in": ("conv1", "conv2"),
    "shortcut_from": ("activation", "input"),
    "projection_size": (1, 3),
    "use_bias": (False, True),
}


PAPER = {argument: values[0] for argument, values in VALID.items()}


def wide_block(x, filters, stride, dropout, variant, norm, name):
    """Apply BN-ReLU-conv twice, with any normalization, with dropout after the second ReLU, and add the shortcut."""
    kernels = {"use_bias": norm.use_bias(variant["use_bias"]), "strided_padding": variant["strided_padding"]}
    strides = (stride, 1) if variant["stride_in"] == "conv1" else (1, stride)
    y = layers.ReLU(name=f"{name}_relu1")(norm(x, name=f"{name}_bn1"))
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        start = y if variant["shortcut_from"] == "activation" else x
        shortcut = conv(start, filters, variant["projection_size"], stride, **kernels, name=f"{name}_projection")
    y = norm.conv(y, filters, 3, strides[0], **kernels, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(norm(y, name=f"{name}_bn2"))
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    y = norm.conv(y, filters, 3, strides[1], last=True, **kernels, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut, y])


def wide_resnet(
    depth,
    width,
    dropout,
    normalization="batch",
    normalization_groups=GROUPS,
    variant=PAPER,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build WRN-`depth`-`width`: three stages of (depth - 4) / 6 blocks, as in the paper or as a variant.

    Raises:
        ModelError: An argument is invalid.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 10 or (depth - 4) % 6:
        raise ModelError(f"depth must be 6 n + 4 for n blocks per stage (10, 16, 22, 28, 34, 40, ...), got {depth!r}")
    check_size_arguments(width=width)
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise ModelError(f"dropout must be a probability below 1, got {dropout!r}")
    for argument, valid in VALID.items():
        check_choice(argument, variant[argument], valid)

    blocks = (depth - 4) // 6
    norm = Normalization(normalization, normalization_groups, 3 * blocks)
    inputs, x = image_input(options)
    x = check_size(conv(x, 16, 3, use_bias=norm.use_bias(variant["use_bias"]), name="stem_conv"))
    for stage, filters in enumerate((16 * width, 32 * width, 64 * width), start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = wide_block(x, filters, stride, dropout, variant, norm, f"stage{stage}_block{block}")
    x = layers.ReLU(name="final_relu")(norm(x, name="final_bn"))
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(ZAGORUYKO_2016, 2016, training_only=("dropout",), arguments=ARGUMENTS)
def cifar_wide_resnet(
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
    *,
    strided_padding: StridedPadding = "symmetric",
    stride_in: Literal["conv1", "conv2"] = "conv1",
    shortcut_from: Literal["activation", "input"] = "activation",
    projection_size: int = 1,
    use_bias: bool = False,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-`depth`-`width`; the paper uses dropout 0.3, but none in most of its tables.

    The other factories are the paper's networks; this one also builds other projects' variants.
    """
    variant = {
        "strided_padding": strided_padding,
        "stride_in": stride_in,
        "shortcut_from": shortcut_from,
        "projection_size": projection_size,
        "use_bias": use_bias,
    }
    return wide_resnet(depth, width, dropout, normalization, normalization_groups, variant, **options)


@register(
    ZAGORUYKO_2016,
    2016,
    aliases=("WRN_16_4", "cifar_WRN_16_4"),
    training_only=("dropout",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_wide_resnet", {"depth": 16, "width": 4}),
)
def cifar_wrn_16_4(
    dropout: float = 0.0,
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-16-4."""
    return wide_resnet(16, 4, dropout, normalization, normalization_groups, **options)


@register(
    ZAGORUYKO_2016,
    2016,
    aliases=("WRN_16_8", "cifar_WRN_16_8"),
    training_only=("dropout",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_wide_resnet", {"depth": 16, "width": 8}),
)
def cifar_wrn_16_8(
    dropout: float = 0.0,
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-16-8."""
    return wide_resnet(16, 8, dropout, normalization, normalization_groups, **options)


@register(
    ZAGORUYKO_2016,
    2016,
    aliases=("WRN_26_10", "cifar_WRN_26_10"),
    training_only=("dropout",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_wide_resnet", {"depth": 22, "width": 10}),
)
def cifar_wrn_26_10(
    dropout: float = 0.0,
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-22-10 as the paper counts: three blocks per stage, with the shortcuts counted as layers.

    The `wrn26_10` of the Flax example has four blocks per stage, so it is WRN-28-10.
    """
    return wide_resnet(22, 10, dropout, normalization, normalization_groups, **options)


@register(
    ZAGORUYKO_2016,
    2016,
    aliases=("wrn26_10", "WRN_28_10", "cifar_WRN_28_10"),
    training_only=("dropout",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_wide_resnet", {"depth": 28, "width": 10}),
)
def cifar_wrn_28_10(
    dropout: float = 0.0,
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-28-10."""
    return wide_resnet(28, 10, dropout, normalization, normalization_groups, **options)


@register(
    ZAGORUYKO_2016,
    2016,
    aliases=("WRN_40_2", "cifar_WRN_40_2"),
    training_only=("dropout",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_wide_resnet", {"depth": 40, "width": 2}),
)
def cifar_wrn_40_2(
    dropout: float = 0.0,
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-40-2."""
    return wide_resnet(40, 2, dropout, normalization, normalization_groups, **options)


@register(
    ZAGORUYKO_2016,
    2016,
    aliases=("WRN_40_4", "cifar_WRN_40_4"),
    training_only=("dropout",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_wide_resnet", {"depth": 40, "width": 4}),
)
def cifar_wrn_40_4(
    dropout: float = 0.0,
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-40-4."""
    return wide_resnet(40, 4, dropout, normalization, normalization_groups, **options)


@register(
    ZAGORUYKO_2016,
    2016,
    aliases=("WRN_40_8", "cifar_WRN_40_8"),
    training_only=("dropout",),
    arguments=ARGUMENTS,
    special_case_of=("cifar_wide_resnet", {"depth": 40, "width": 8}),
)
def cifar_wrn_40_8(
    dropout: float = 0.0,
    *,
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """WRN-40-8."""
    return wide_resnet(40, 8, dropout, normalization, normalization_groups, **options)
