"""Networks small enough that a test can train them in seconds; experiments name this file as their `module`."""

import keras
from keras import layers


def tiny_cnn(classes=10, dropout=0.0):
    """Two convolutions with BatchNormalization on raw pixels."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 64, offset=-2)(inputs)
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def exploding(classes=10):
    """A network whose loss is infinite after a few steps of a large learning rate."""
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(layers.Rescaling(1e30)(inputs))))


def tiny_resnet(classes=10):
    """The zoo's own blocks at the smallest depth: ResNet-8."""
    from cifarzoo.models.registry import COMMON_ARGUMENTS
    from cifarzoo.models.resnet import resnet

    options = COMMON_ARGUMENTS | {"classes": classes, "name": "tiny_resnet", "statistics": "cifar10"}
    options.pop("load_weights")
    return resnet(8, "original", "B", **options)


def tiny_mlp(classes=10, blocks=0):
    """No convolutions: BatchNormalization and dropout between two linear layers, and residual blocks if wanted."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Dense(16, activation="relu")(layers.Flatten()(layers.Rescaling(1 / 64, offset=-2)(inputs)))
    for _ in range(blocks):
        x = layers.Add()([x, layers.Dense(16)(layers.ReLU()(layers.BatchNormalization()(x)))])
    x = layers.Dropout(0.2)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(classes)(x))


def tiny_linear(classes=10, hidden=0, dropout=0.0):
    """Softmax regression on the mean colour; with `hidden` units a linear layer and BatchNormalization before it."""
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 64, offset=-2)(inputs))
    if hidden:
        x = layers.BatchNormalization(momentum=0.9)(layers.Dense(hidden, use_bias=False)(x))
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes)(x))
