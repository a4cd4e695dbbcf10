"""Grad-CAM against NumPy alone: finite differences, and the closed form of networks that end in average pooling."""

import importlib.util

import keras
import numpy as np
import pytest
from model_cases import run_python
from picture_folders import fill

import cifarzoo
from cifarzoo.errors import DataError, ModelError

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3)).astype("float32")


def network(activation=None):
    """A convolution, then a part that is not linear, with weights that do not depend on the backend."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", name="maps")(keras.layers.Rescaling(1 / 64)(inputs))
    x = keras.layers.Dense(7, activation="tanh", name="hidden")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(4, activation=activation, name="classes")(x))
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) / 4 for weight in model.get_weights()])
    return model


def by_finite_differences(model):
    """Grad-CAM of the most probable classes, with the rest of the network in NumPy in float64."""
    maps = np.asarray(keras.Model(model.input, model.get_layer("maps").output)(IMAGES), np.float64)
    (w1, b1), (w2, b2) = (
        [w.astype(np.float64) for w in model.get_layer(name).get_weights()] for name in ("hidden", "classes")
    )

    def logits(maps):
        return np.tanh(maps.reshape(-1) @ w1 + b1) @ w2 + b2

    result = []
    for one in maps:
        chosen = logits(one).argmax()
        slopes = np.zeros_like(one)
        for position in np.ndindex(one.shape):
            step = np.zeros_like(one)
            step[position] = 1e-5
            slopes[position] = (logits(one + step)[chosen] - logits(one - step)[chosen]) / 2e-5
        result.append(np.maximum((slopes.mean(axis=(0, 1)) * one).sum(axis=-1), 0))
    return np.stack(result)


@pytest.fixture(scope="module")
def expected():
    return by_finite_differences(network())


def test_it_agrees_with_finite_differences_also_before_a_softmax(expected):
    assert expected.max() > 0.01
    for activation in (None, "softmax"):
        model = network(activation)
        np.testing.assert_allclose(cifarzoo.grad_cam(model, IMAGES, layer="maps"), expected, rtol=1e-3, atol=1e-5)
    # The last map is at least 4x4 large: the same one. In batches the result is the same.
    logits = network()
    ending = keras.Model(logits.input, keras.layers.Softmax()(logits.output))
    np.testing.assert_allclose(cifarzoo.grad_cam(ending, IMAGES), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(cifarzoo.grad_cam(model, IMAGES, batch_size=2), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_agrees_on_every_backend(backend, expected, tmp_path):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    script = (
        "import sys, numpy, cifarzoo, test_grad_cam as t;"
        "numpy.save(sys.argv[1], cifarzoo.grad_cam(t.network('softmax'), t.IMAGES))"
    )
    run_python(script, str(tmp_path / "maps.npy"), backend=backend)
    np.testing.assert_allclose(np.load(tmp_path / "maps.npy"), expected, rtol=1e-3, atol=1e-5)


def test_average_pooling_and_a_linear_layer_give_class_activation_maps():
    """Then the gradient is the classifier's weight over the number of pixels (Zhou et al., 2016)."""
    model = cifarzoo.cifar_resnet8()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    maps = np.asarray(cifarzoo.features(model, "features")(images.astype("float32"))["features"])
    kernel = model.get_layer("logits").get_weights()[0]
    expected = np.maximum(np.einsum("nhwc,cn->nhw", maps, kernel[:, [3, 7]]) / 64, 0)
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    np.testing.assert_allclose(cifarzoo.grad_cam(model, images, [3, 7]), expected, atol=1e-5)
    assert [len(layer._inbound_nodes) for layer in model.layers] == calls  # the model is as it was


def test_a_model_inside_a_model_may_give_the_feature_map():
    model = network()
    backbone = keras.Model(model.input, model.get_layer("maps").output)
    inputs = keras.Input((8, 8, 3))
    x = model.get_layer("hidden")(keras.layers.Flatten()(backbone(inputs)))
    outer = keras.Sequential([keras.Input((8, 8, 3)), keras.Model(inputs, x), model.get_layer("classes")])
    nested = keras.Model(inputs, model.get_layer("classes")(x))
    np.testing.assert_allclose(cifarzoo.grad_cam(nested, IMAGES), cifarzoo.grad_cam(model, IMAGES), rtol=1e-4)
    with pytest.raises(ModelError, match="has no feature map"):
        cifarzoo.grad_cam(outer, IMAGES)  # the map is hidden inside


def test_mistakes_are_one_line():
    model = cifarzoo.cifar_resnet8()
    images = np.zeros((1, 32, 32, 3), np.float32)
    for layer, message in (
        ("nothing", "has no layer 'nothing'"),
        ("logits", "the output of logits is not a feature map"),
        (
            "stage3_block1_conv1",
            "the output depends on more than stage3_block1_conv1; choose a layer that ends a block",
        ),
    ):
        with pytest.raises(ModelError, match=message):
            cifarzoo.grad_cam(model, images, layer=layer)
    flat = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(ModelError, match="has no feature map of at least 4x4 pixels"):
        cifarzoo.grad_cam(flat, images)


def test_predictions_explain_themselves(tmp_path):
    fill(tmp_path, counts=1, height=12, width=8)
    predictions = cifarzoo.predict(tmp_path, network(), class_names="abcd")
    pixels = np.stack([item.picture.read(predictions.resizing) for item in predictions])
    chosen = predictions.probabilities.argmax(axis=1)
    np.testing.assert_allclose(predictions.explain(), cifarzoo.grad_cam(network(), pixels, chosen), atol=1e-6)


@pytest.mark.parametrize(
    "classes, message",
    [
        ([0, 1], r"^classes: expected 3 integers, got int64 of shape \(2,\)$"),
        ([0.0, 1.0, 2.0], r"^classes: expected 3 integers, got float64"),
        ([0, 1, 4], r"^classes: the model has 4 outputs, got class 4$"),
        ([0, -1, 2], r"^classes: the model has 4 outputs, got class -1$"),
    ],
)
def test_classes_that_the_model_does_not_have(classes, message):
    with pytest.raises(DataError, match=message):
        cifarzoo.grad_cam(network(), IMAGES, classes)
