"""ResNet-9, designed for fast training.

Source:
    Page: How to Train Your ResNet, 2018 (https://github.com/davidcpage/cifar10-fast), the DAWNBench entry. The
        arguments of `cifar_resnet9` come from the last part of the series, "Bag of Tricks".

Convolution-BatchNormalization-ReLU throughout, with 2x2 max pooling after each of the three widenings, two residual
pairs, global max pooling, and a linear layer without bias whose logits are multiplied by 0.125.
"""

from typing import Literal, NamedTuple, Unpack

import keras
from keras import layers, ops

from cifarzoo.errors import ModelError
from cifarzoo.layers import GhostBatchNormalization
from cifarzoo.models.common_layers import (
    ModelOptions,
    batch_norm,
    check_image_size,
    check_size,
    conv,
    image_input,
    scaled_linear,
)
from cifarzoo.models.registry import register
from cifarzoo.models.whitening import whitening

PAGE_2018 = "How to Train Your ResNet (cifar10-fast)"

ARGUMENTS = {
    "stem": '"conv", or "whitening": fixed filters that whiten the 3x3 patches of the training images, followed by a '
    "1x1 convolution.",
    "activation": '"relu", or "celu", which is smooth (alpha 0.3).',
    "pooling": '"after" BatchNormalization and the activation, or "before", so that BatchNormalization normalizes a '
    "quarter of the values.",
    "ghost_batch_size": "Number of images over which BatchNormalization takes its statistics while training, such as "
    "32; None for the whole batch.",
    "scale": "Whether BatchNormalization has a gamma. Without, the logits are multiplied by 0.0625 instead of 0.125.",
}

LOGIT_SCALE = 0.125
# For BatchNormalization without gamma.
LOGIT_SCALE_WITHOUT_GAMMA = 0.0625

CELU_ALPHA = 0.3

WHITENING_EPSILON = 0.01


class Tricks(NamedTuple):
    """How a network's units differ from those of `dawn.py`; see `cifar_resnet9` for the values."""

    activation: str
    pooling: str
    ghost_batch_size: int | None
    scale: bool


def normalized(x, tricks, name):
    """Apply BatchNormalization and the activation."""
    if tricks.ghost_batch_size is None:
        x = batch_norm(x, scale=tricks.scale, name=f"{name}_bn")
    else:
        x = GhostBatchNormalization(
            tricks.ghost_batch_size, momentum=0.9, epsilon=1e-5, scale=tricks.scale, name=f"{name}_bn"
        )(x)
    if tricks.activation == "relu":
        return layers.ReLU(name=f"{name}_relu")(x)
    return CELU_ALPHA * ops.elu(x / CELU_ALPHA)  # CELU; Keras' own makes more passes over memory on TensorFlow


def unit(x, filters, tricks, name, pool=False):
    """Apply conv-BN-activation; with `pool`, also 2x2 max pooling before or after BN and activation."""
    x = conv(x, filters, 3, name=f"{name}_conv")
    if pool and tricks.pooling == "before":
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = normalized(x, tricks, name)
    return layers.MaxPooling2D(2, name=f"{name}_pool")(x) if pool and tricks.pooling == "after" else x


def residual_pair(x, filters, tricks, name):
    """Apply two units and add their input after the last activation."""
    y = unit(unit(x, filters, tricks, f"{name}_unit1"), filters, tricks, f"{name}_unit2")
    return layers.Add(name=f"{name}_add")([x, y])


@register(PAGE_2018, 2018, training_only=("ghost_batch_size",), arguments=ARGUMENTS)
def cifar_resnet9(
    stem: Literal["conv", "whitening"] = "conv",
    activation: Literal["relu", "celu"] = "relu",
    pooling: Literal["after", "before"] = "after",
    ghost_batch_size: int | None = None,
    scale: bool = True,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-9 as in cifar10-fast's `dawn.py`.

    The arguments are tricks from the last part of the series.
    """
    for argument, value, valid in (
        ("stem", stem, ("conv", "whitening")),
        ("activation", activation, ("relu", "celu")),
        ("pooling", pooling, ("after", "before")),
        ("scale", scale, (True, False)),
    ):
        if value not in valid:
            raise ModelError(f"{argument} must be {' or '.join(map(repr, valid))}, got {value!r}")
    if ghost_batch_size is not None and (not isinstance(ghost_batch_size, int) or ghost_batch_size < 1):
        raise ModelError(f"ghost_batch_size must be None or a positive integer, got {ghost_batch_size!r}")
    check_image_size(options, halvings=3)
    tricks = Tricks(activation, pooling, ghost_batch_size, scale)
    inputs, x = image_input(options)
    if stem == "whitening":
        x = whitening(x, options, 3, WHITENING_EPSILON, padding="same")
        x = conv(x, 64, 1, name="stem_conv")
        x = normalized(x, tricks, "stem")
    else:
        x = unit(x, 64, tricks, "stem")
    x = residual_pair(unit(check_size(x), 128, tricks, "stage1", pool=True), 128, tricks, "stage1_residual")
    x = unit(x, 256, tricks, "stage2", pool=True)
    x = residual_pair(unit(x, 512, tricks, "stage3", pool=True), 512, tricks, "stage3_residual")
    if options["include_top"]:
        factor = LOGIT_SCALE if scale else LOGIT_SCALE_WITHOUT_GAMMA
        x = scaled_linear(layers.GlobalMaxPooling2D(name="pool")(x), options, factor)
    return keras.Model(inputs, x, name=options["name"])
