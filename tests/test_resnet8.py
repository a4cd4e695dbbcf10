"""MLPerf Tiny's ResNet-8 next to its reference, which is built here in plain Keras from the benchmark's description."""

import keras
import numpy as np
import pytest
from keras import layers
from model_cases import assert_close, fill, pixels

from cifarzoo.models.registry import create_model

RAW = {"mean": [0, 0, 0], "std": [1, 1, 1]}


def reference():
    """The reference network: biases, BatchNormalization with Keras' constants, and softmax, on pixels of 0-255."""

    def convolve(x, filters, size, strides=1):
        return layers.Conv2D(filters, size, strides, padding="same")(x)

    image = layers.Input((32, 32, 3))
    x = layers.Activation("relu")(layers.BatchNormalization()(convolve(image, 16, 3)))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.Activation("relu")(layers.BatchNormalization()(convolve(x, filters, 3, strides)))
        y = layers.BatchNormalization()(convolve(y, filters, 3))
        if strides == 2:
            x = convolve(x, filters, 1, strides)
        x = layers.Activation("relu")(layers.add([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


@pytest.fixture(scope="module")
def model():
    return create_model("cifar_resnet8", statistics=RAW, classifier_activation="softmax")


def by_kind(model):
    """Return the layers with weights by kind, in the order of the graph."""
    return {
        kind: [layer for layer in model.layers if type(layer) is kind]
        for kind in (layers.Conv2D, layers.BatchNormalization, layers.Dense)
    }


def test_has_the_parameters_of_the_reference(model):
    convolutions = [(3, 3, 16), (3, 16, 16), (3, 16, 16), (3, 16, 32), (3, 32, 32), (1, 16, 32)]
    convolutions += [(3, 32, 64), (3, 64, 64), (1, 32, 64)]
    counted = sum(size * size * inputs * outputs + outputs for size, inputs, outputs in convolutions)
    counted += 4 * (3 * 16 + 2 * 32 + 2 * 64) + (64 + 1) * 10
    assert model.count_params() == reference().count_params() == counted == 78_666


def test_computes_what_the_reference_does(model):
    fill(model)
    other = reference()
    for ours, theirs in zip(by_kind(model).values(), by_kind(other).values(), strict=True):
        assert len(ours) == len(theirs)
        ours, theirs = list(ours), list(theirs)
        for layer in theirs:  # in the same order but for shortcuts, which shapes tell
            match = next(one for one in ours if [w.shape for w in one.weights] == [w.shape for w in layer.weights])
            ours.remove(match)
            layer.set_weights(match.get_weights())
    images = pixels()
    probabilities = np.asarray(other(images.astype("float32")))
    assert np.ptp(probabilities, axis=0).max() > 0.01
    assert_close(model(images), probabilities, 1e-5)
