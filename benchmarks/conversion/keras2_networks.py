"""Networks of Keras 2 with random weights, saved by Keras 2: tf2cv's, and those of sjmikler/resnets.

Usage: TF_USE_LEGACY_KERAS=1 python keras2_networks.py SOURCE/NAME CLASSES IMAGES.npy LOGITS.npy WEIGHTS

Needs tf_keras, and tf2cv for osmr; a process of its own, because one process cannot use two versions of Keras as
`tf.keras`. IMAGES.npy holds normalized images [n, 32, 32, 3], the first 16 of which set the moving statistics; logits
are those of the others.
"""

import re
import sys

import numpy as np
import tensorflow as tf

layers = tf.keras.layers


def tf2cv_network(name, classes):
    from tf2cv.model_provider import get_model

    return get_model(f"{name.rsplit('_', 1)[0]}_cifar{classes}", pretrained=False, data_format="channels_last")


def bn_relu(x):
    return layers.ReLU()(layers.BatchNormalization()(x))


def conv(x, filters, size=3, stride=1, bias=False):
    return layers.Conv2D(filters, size, stride, "same", use_bias=bias)(x)


def sjmikler_resnet(depth, classes):
    kind = {110: "preactivated", 164: "bottleneck", 1001: "bottleneck"}.get(depth, "original")
    bottleneck = kind == "bottleneck"
    inputs = layers.Input((32, 32, 3))
    x = bn_relu(conv(inputs, 16))
    for stage, width in enumerate((64, 128, 256) if bottleneck else (16, 32, 64)):
        for block in range((depth - 2) // (9 if bottleneck else 6)):
            stride = 2 if stage and not block else 1
            changes = width != x.shape[-1]
            if kind == "original":
                y = conv(bn_relu(conv(x, width, 3, stride)), width)
                y = layers.BatchNormalization()(y)
                if changes:
                    x = layers.MaxPool2D(1, stride)(x)
                    x = layers.Lambda(lambda x, more=width - x.shape[-1]: tf.pad(x, [(0, 0)] * 3 + [(0, more)]))(x)
                x = layers.ReLU()(layers.Add()([x, y]))
                continue
            y = x if stage == block == 0 else bn_relu(x)
            shortcut = conv(y if bottleneck else x, width, 1, stride) if changes else x
            if bottleneck:
                y = bn_relu(conv(bn_relu(conv(y, width // 4, 1)), width // 4, 3, stride))
                y = conv(y, width, 1)
            else:
                y = conv(bn_relu(conv(y, width, 3, stride)), width)
            x = layers.Add()([shortcut, y])
    x = x if kind == "original" else bn_relu(x)
    return tf.keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def sjmikler_vgg(depth, classes):
    counts = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth]
    x = inputs = layers.Input((32, 32, 3))
    for count, width in zip(counts, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            x = bn_relu(conv(x, width, bias=True))
        x = layers.MaxPool2D(2)(x)
    return tf.keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def randomize(model, images):
    """Draw BatchNormalization's arrays and the biases; moving statistics are those of images, disturbed."""
    rng = np.random.default_rng(0)
    norms = [module for module in model.submodules if isinstance(module, layers.BatchNormalization)]
    for variable in model.variables:
        name = variable.name.rsplit("/", 1)[-1]
        if name.startswith("gamma"):
            variable.assign(rng.uniform(0.4, 1.6, variable.shape))
        elif name.startswith(("beta", "bias")):
            variable.assign(rng.uniform(-0.5, 0.5, variable.shape))
        elif name.startswith("kernel"):
            variable.assign(rng.normal(0, np.sqrt(2 / np.prod(variable.shape[:-1])), variable.shape))
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm in norms:
        variance = norm.moving_variance.numpy()
        norm.moving_mean.assign_add(rng.uniform(-0.4, 0.4, variance.shape) * np.sqrt(variance))
        norm.moving_variance.assign(variance * rng.uniform(0.5, 2.0, variance.shape))


def main():
    name, classes, images, logits, weights = sys.argv[1:]
    images = np.load(images)
    source, name = name.split("/", 1)
    if source == "osmr":
        model = tf2cv_network(name, int(classes))
        model(images[:1])
    else:
        depth = int(re.search(r"\d+", name)[0])
        model = (sjmikler_vgg if "vgg" in name else sjmikler_resnet)(depth, int(classes))
    randomize(model, images[:16])
    np.save(logits, model(images[16:], training=False).numpy())
    model.save_weights(weights, save_format="h5" if source == "osmr" else "tf")


if __name__ == "__main__":
    main()
