"""Networks that a test trains in seconds; experiments name this file as their `module`."""

import keras
from keras import layers


def tiny_cnn(classes=10, dropout=0.0, ghost_batch_size=None, channel_groups=None):
    """Two convolutions with BatchNormalization, optionally by groups of images or of channels, on raw pixels."""
    from cifarzoo.layers import GhostBatchNormalization

    ghost = {} if ghost_batch_size is None else {"group_size": ghost_batch_size}
    norm = GhostBatchNormalization if ghost else layers.BatchNormalization
    inputs = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 64, offset=-2)(inputs)
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        by_channels = channel_groups and layers.GroupNormalization(channel_groups)
        x = layers.ReLU()((by_channels or norm(momentum=0.9, **ghost))(x))
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def sized_cnn(classes=10, image_size=32):
    """A convolution on raw pixels of any size."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(8, 3, strides=4, activation="relu")(layers.Rescaling(1 / 64, offset=-2)(inputs))
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(layers.Dropout(0.2)(x))))


def exploding(classes=10):
    """A network whose loss becomes infinite after a few steps at a large learning rate."""
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(layers.Rescaling(1e30)(inputs))))


def options(name, classes):
    """Return the options that the registry passes to a builder of the zoo."""
    from cifarzoo.models.registry import COMMON_ARGUMENTS

    return COMMON_ARGUMENTS | {"classes": classes, "name": name, "statistics": "cifar10"}


# Builders of the zoo at the smallest depth and width that they take: what their families' smallest factories share, at
# a hundredth of the cost.


def tiny_resnet(classes=10):
    """ResNet-8."""
    from cifarzoo.models.resnet import resnet

    return resnet(8, "original", "B", **options("tiny_resnet", classes))


def tiny_shake_shake(classes=10):
    """Shake-Shake-26 2x4d."""
    from cifarzoo.models.shake_shake import shake_shake26

    return shake_shake26(4, **options("tiny_shake_shake", classes))


def tiny_pyramidnet(classes=10, bottleneck=False, shake_drop=False, shake_drop_mask="image"):
    """A PyramidNet with one block per stage."""
    from cifarzoo.models.pyramidnet import pyramidnet

    depth = 11 if bottleneck else 8
    return pyramidnet(depth, 9, bottleneck, shake_drop, shake_drop_mask, **options("tiny_pyramidnet", classes))


def tiny_skipnet(classes=10, gate="recurrent", computation_cost=0.0, stage="supervised", depth=14):
    """SkipNet-14, with five gates."""
    from cifarzoo.models.skipnet import skipnet

    return skipnet(depth, gate, computation_cost, stage, **options("tiny_skipnet", classes))


def tiny_pyramid_skipnet(classes=10, gate="recurrent", computation_cost=1e-4, stage="supervised"):
    """A gated PyramidNet with ShakeDrop and two bottleneck blocks per stage, with three gates."""
    from cifarzoo.models.skipnet import pyramid_skipnet

    return pyramid_skipnet(20, 12, gate, computation_cost, stage, **options("tiny_pyramid_skipnet", classes))


def tiny_random(classes=10):
    """All layers that draw while training: Shake-Shake, ShakeDrop with either mask, dropout and sampled gates."""
    from cifarzoo.layers import ShakeDrop
    from cifarzoo.models.common_layers import conv, image_input
    from cifarzoo.models.shake_shake import Style, shake_shake_block
    from cifarzoo.models.skipnet import make_gates, run_block

    common = options("tiny_random", classes)
    gates = make_gates("recurrent", "reinforce", 0.01, 1)
    inputs, x = image_input(common)
    x = shake_shake_block(conv(x, 8, 3, 2, name="stem"), 8, 2, Style(original=True), "shake_shake")
    for mask in ("image", "batch"):
        x = layers.Add()([x, ShakeDrop(0.5, mask)(conv(x, 8, 3, name=f"{mask}_conv"))])
    x = layers.Dropout(0.3)(x)
    for name in ("first", "second"):

        def block(x, skipped, name=name):
            return layers.Add()([skipped, conv(x, 8, 3, name=f"{name}_conv")])

        x = run_block(x, block, None, gates, name)
    return keras.Model(inputs, gates.head(x, common))


def tiny_mlp(classes=10, blocks=0):
    """BatchNormalization and dropout between two linear layers, with optional residual blocks, without convolutions."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Dense(16, activation="relu")(layers.Flatten()(layers.Rescaling(1 / 64, offset=-2)(inputs)))
    for _ in range(blocks):
        x = layers.Add()([x, layers.Dense(16)(layers.ReLU()(layers.BatchNormalization()(x)))])
    x = layers.Dropout(0.2)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(classes)(x))


def tiny_residual_cnn(classes=10, blocks=5):
    """Equal residual blocks of a convolution and BatchNormalization on images of 8 x 8."""
    inputs = keras.Input((32, 32, 3))
    x = layers.AveragePooling2D(4)(layers.Rescaling(1 / 64, offset=-2)(inputs))
    x = layers.Conv2D(8, 3, padding="same")(x)
    for _ in range(blocks):
        x = layers.Add()([x, layers.Conv2D(8, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))])
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def tiny_pixels(classes=10):
    """Softmax regression on all pixels: images do not affect each other, and a mirror image is another input."""
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(layers.Rescaling(1 / 64, offset=-2)(inputs))))


def tiny_linear(classes=10, hidden=0, dropout=0.0):
    """Softmax regression on the mean color, optionally after a layer of `hidden` units and BatchNormalization."""
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 64, offset=-2)(inputs))
    if hidden:
        x = layers.BatchNormalization(momentum=0.9)(layers.Dense(hidden, use_bias=False)(x))
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes)(x))
