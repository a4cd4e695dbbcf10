"""Residual networks for 32x32 images, original and pre-activated.

Papers:
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (https://arxiv.org/abs/1512.03385),
        section 4.2.
    He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016 (https://arxiv.org/abs/1603.05027).

Three stages of equal depth have 16, 32 and 64 channels (four times as many at the end of a bottleneck block); the first
block of the second and third stage has stride 2, in its 3x3 convolution if it is a bottleneck. Where the shape changes,
shortcut "A" subsamples and appends zero channels, and "B" is a 1x1 convolution (followed by BatchNormalization in the
original form only). Convolutions have no bias. Strided 3x3 convolutions pad one pixel on every side, as the papers'
code does; Keras' "same" would pad only right and bottom.

The first paper has bottlenecks for ImageNet only; here they are as wide as the second paper's.
"""

from typing import Any, Literal, Unpack

import keras
from keras import layers

from cifarzoo.errors import ModelError
from cifarzoo.models.common_layers import (
    STRIDED_PADDING,
    ModelOptions,
    StridedPadding,
    check_choice,
    check_size,
    conv,
    head,
    image_input,
)
from cifarzoo.models.normalization import ARGUMENTS as NORMALIZATION
from cifarzoo.models.normalization import GROUPS, Normalization, NormalizationKind
from cifarzoo.models.registry import register
from cifarzoo.models.residual_blocks import (
    original_block,
    original_bottleneck,
    preactivated_block,
    preactivated_bottleneck,
)

HE_2015 = "Deep Residual Learning for Image Recognition"
HE_2016 = "Identity Mappings in Deep Residual Networks"

BlockType = Literal["original", "preactivated"]
ShortcutType = Literal["A", "B"]

ARGUMENTS = {
    "depth": "Number of weighted layers: 6 n + 2 for n blocks per stage (8, 14, 20, ...), or with bottlenecks 9 n + 2 "
    "(11, 20, 29, ...).",
    "bottleneck": "If False, a block is two 3x3 convolutions; if True, it is 1x1, 3x3 and 1x1 ones, and four times as "
    "wide at its end.",
    "block_type": '"original" (2015), in which BatchNormalization and ReLU follow the convolutions, or "preactivated" '
    "(2016), in which they precede them.",
    "shortcut_type": 'Where the shape changes, "A" subsamples and appends zero channels, without parameters, and "B" '
    "is a 1x1 convolution.",
    "strided_padding": STRIDED_PADDING,
    **NORMALIZATION,
}


def sizes_of(depth: int, bottleneck: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the general factory and the arguments that build a network of the papers: see `register`."""
    return "cifar_resnet", {"depth": depth, "bottleneck": bottleneck}


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


def resnet(
    depth,
    block_type,
    shortcut_type,
    bottleneck=False,
    strided_padding="symmetric",
    normalization="batch",
    normalization_groups=GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build the network of `depth` weighted layers; the factories below have the papers' depths.

    Raises:
        ModelError: An argument is invalid, or `depth` is not 2 plus a whole number of blocks in each of three stages.
    """
    check_choice("block_type", block_type, ("original", "preactivated"))
    check_choice("shortcut_type", shortcut_type, ("A", "B"))
    check_choice("bottleneck", bottleneck, (False, True))
    check_choice("strided_padding", strided_padding, ("symmetric", "same"))
    preactivated = block_type == "preactivated"
    branch_layers = 3 if bottleneck else 2
    blocks = blocks_per_stage(depth, branch_layers)
    norm = Normalization(normalization, normalization_groups, 3 * blocks, branch_layers)

    inputs, x = image_input(options)
    x = check_size(conv(x, 16, 3, use_bias=norm.use_bias(), name="stem_conv"))
    if not preactivated:
        x = layers.ReLU(name="stem_relu")(norm(x, name="stem_bn"))
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(1, blocks + 1):
            name, stride = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            common = stride, shortcut_type
            if preactivated and bottleneck:
                x = preactivated_bottleneck(x, 4 * width, *common, block == 1, name, strided_padding, norm)
            elif preactivated:
                x = preactivated_block(x, width, *common, stage == 1 and block == 1, name, strided_padding, norm)
            elif bottleneck:
                x = original_bottleneck(x, 4 * width, width, *common, name, strided_padding=strided_padding, norm=norm)
            else:
                x = original_block(x, width, *common, name, strided_padding, norm)
    if preactivated:
        x = layers.ReLU(name="final_relu")(norm(x, name="final_bn"))
    return keras.Model(inputs, head(x, options), name=options["name"])


@register(HE_2015, 2015, arguments=ARGUMENTS)
def cifar_resnet(
    depth: int = 20,
    bottleneck: bool = False,
    block_type: BlockType = "original",
    shortcut_type: ShortcutType = "A",
    *,
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet of any depth.

    Beyond about 1,000 layers Keras needs `sys.setrecursionlimit(10_000)` to reopen a `.keras` file, or to cut the
    network.
    """
    return resnet(
        depth, block_type, shortcut_type, bottleneck, strided_padding, normalization, normalization_groups, **options
    )


@register(HE_2015, 2015, arguments=ARGUMENTS, special_case_of=sizes_of(20))
def cifar_resnet20(
    block_type: BlockType = "original",
    shortcut_type: ShortcutType = "A",
    *,
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-20, with three basic blocks per stage."""
    return resnet(20, block_type, shortcut_type, False, strided_padding, normalization, normalization_groups, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS, special_case_of=sizes_of(32))
def cifar_resnet32(
    block_type: BlockType = "original",
    shortcut_type: ShortcutType = "A",
    *,
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-32, with five basic blocks per stage."""
    return resnet(32, block_type, shortcut_type, False, strided_padding, normalization, normalization_groups, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS, special_case_of=sizes_of(44))
def cifar_resnet44(
    block_type: BlockType = "original",
    shortcut_type: ShortcutType = "A",
    *,
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-44, with seven basic blocks per stage."""
    return resnet(44, block_type, shortcut_type, False, strided_padding, normalization, normalization_groups, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS, special_case_of=sizes_of(56))
def cifar_resnet56(
    block_type: BlockType = "original",
    shortcut_type: ShortcutType = "A",
    *,
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-56, with nine basic blocks per stage."""
    return resnet(56, block_type, shortcut_type, False, strided_padding, normalization, normalization_groups, **options)


@register(HE_2015, 2015, arguments=ARGUMENTS, special_case_of=sizes_of(110))
def cifar_resnet110(
    block_type: BlockType = "preactivated",
    shortcut_type: ShortcutType = "B",
    *,
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-110, with eighteen basic blocks per stage; pre-activated by default."""
    return resnet(
        110, block_type, shortcut_type, False, strided_padding, normalization, normalization_groups, **options
    )


@register(HE_2015, 2015, arguments=ARGUMENTS, special_case_of=sizes_of(1202))
def cifar_resnet1202(
    block_type: BlockType = "original",
    shortcut_type: ShortcutType = "A",
    *,
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-1202, with 200 basic blocks per stage."""
    return resnet(
        1202, block_type, shortcut_type, False, strided_padding, normalization, normalization_groups, **options
    )


@register(HE_2016, 2016, arguments=ARGUMENTS, special_case_of=sizes_of(164, bottleneck=True))
def cifar_resnet164(
    shortcut_type: ShortcutType = "B",
    *,
    block_type: BlockType = "preactivated",
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-164, with eighteen bottleneck blocks per stage; pre-activated by default."""
    return resnet(164, block_type, shortcut_type, True, strided_padding, normalization, normalization_groups, **options)


@register(HE_2016, 2016, arguments=ARGUMENTS, special_case_of=sizes_of(272, bottleneck=True))
def cifar_resnet272(
    shortcut_type: ShortcutType = "B",
    *,
    block_type: BlockType = "preactivated",
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-272, with thirty bottleneck blocks per stage; pre-activated by default."""
    return resnet(272, block_type, shortcut_type, True, strided_padding, normalization, normalization_groups, **options)


@register(HE_2016, 2016, arguments=ARGUMENTS, special_case_of=sizes_of(542, bottleneck=True))
def cifar_resnet542(
    shortcut_type: ShortcutType = "B",
    *,
    block_type: BlockType = "preactivated",
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-542, with sixty bottleneck blocks per stage; pre-activated by default."""
    return resnet(542, block_type, shortcut_type, True, strided_padding, normalization, normalization_groups, **options)


@register(HE_2016, 2016, arguments=ARGUMENTS, special_case_of=sizes_of(1001, bottleneck=True))
def cifar_resnet1001(
    shortcut_type: ShortcutType = "B",
    *,
    block_type: BlockType = "preactivated",
    strided_padding: StridedPadding = "symmetric",
    normalization: NormalizationKind = "batch",
    normalization_groups: int = GROUPS,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-1001, with 111 bottleneck blocks per stage; pre-activated by default."""
    return resnet(
        1001, block_type, shortcut_type, True, strided_padding, normalization, normalization_groups, **options
    )
