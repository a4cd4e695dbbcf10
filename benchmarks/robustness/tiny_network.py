"""Networks that train in milliseconds a step; experiments name this file as their `module`."""

import keras
from keras import layers


def linear(classes=10, hidden=8):
    """A layer with BatchNormalization and dropout on the mean colour."""
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 64, offset=-2)(inputs))
    x = layers.Dropout(0.2)(layers.BatchNormalization(momentum=0.9)(layers.Dense(hidden)(x)))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def all_random(classes=10):
    """Every layer of the zoo that draws while training, once: Shake-Shake, ShakeDrop and dropout."""
    from cifarzoo.layers import ShakeDrop
    from cifarzoo.models.shake_shake import shake_shake_block

    inputs = keras.Input((32, 32, 3))
    x = layers.AveragePooling2D(4)(layers.Rescaling(1 / 64, offset=-2)(inputs))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    x = shake_shake_block(x, 8, 2, "shake_shake")
    x = layers.Add()([x, ShakeDrop(0.5, "image")(layers.Conv2D(8, 3, padding="same")(x))])
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(layers.BatchNormalization(momentum=0.9)(x)))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))
