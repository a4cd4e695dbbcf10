"""Networks whose training steps take milliseconds, and an augmentation; experiments name this file as their `module`.

Layers have explicit names, because a weight file stores them, and Keras' default names count the models that a process
has built.
"""

import keras
from keras import layers


def linear(classes=10, hidden=8, image_size=32):
    """Build a dense layer with BatchNormalization and dropout on the mean color."""
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling(1 / 64, offset=-2, name="scale")(inputs)
    x = layers.Dense(hidden, name="hidden")(layers.GlobalAveragePooling2D(name="pool")(x))
    x = layers.Dropout(0.2, name="dropout")(layers.BatchNormalization(momentum=0.9, name="norm")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="linear")


def all_random(classes=10):
    """Build a network with each random layer of the zoo once: Shake-Shake, ShakeDrop and dropout."""
    from cifarzoo.layers import ShakeDrop
    from cifarzoo.models.shake_shake import Style, shake_shake_block

    inputs = keras.Input((32, 32, 3), name="image")
    x = layers.AveragePooling2D(4, name="shrink")(layers.Rescaling(1 / 64, offset=-2, name="scale")(inputs))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    x = shake_shake_block(x, 8, 2, Style(original=True), "shake_shake")
    branch = ShakeDrop(0.5, "image", name="shake_drop")(layers.Conv2D(8, 3, padding="same", name="branch")(x))
    x = layers.BatchNormalization(momentum=0.9, name="norm")(layers.Add(name="sum")([x, branch]))
    x = layers.Dropout(0.3, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="all_random")


def brighten(images, labels, draws, by=10):
    """Make every image brighter by up to `by`."""
    return images + by * draws.uniform(1)[:, :, None, None]
