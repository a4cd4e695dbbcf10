"""Variants of Wide ResNets: a forward pass in NumPy with `keras.ops.conv`, and parameters counted by hand."""

import keras
import numpy as np
import pytest
from model_cases import fill

from cifarzoo.errors import ModelError
from cifarzoo.models.registry import create_model

FAST_AUTOAUGMENT = {"stride_in": "conv2", "shortcut_from": "input"}
FLAX = {"shortcut_from": "input", "projection_size": 3, "use_bias": True, "strided_padding": "same"}


def convolved(model, name, x, stride):
    layer = model.get_layer(name)
    kernel, *bias = layer.get_weights()
    padding = "same"
    if stride > 1 and layer.padding == "valid":
        x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        padding = "valid"
    return np.asarray(keras.ops.conv(x, kernel, stride, padding)) + (bias[0] if bias else 0)


def activated(model, name, x):
    gamma, beta, mean, variance = model.get_layer(name).get_weights()
    return np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)


def forward(model, x, strides, from_input):
    """Return the logits of a network with one block per stage, as the projects' own code computes them."""
    x = convolved(model, "stem_conv", x, 1)
    for stage in (1, 2, 3):
        stride, name = (1 if stage == 1 else 2), f"stage{stage}_block1"
        y = activated(model, f"{name}_bn1", x)
        shortcut = convolved(model, f"{name}_projection", x if from_input else y, stride)
        y = convolved(model, f"{name}_conv1", y, stride if strides == "conv1" else 1)
        y = convolved(model, f"{name}_conv2", activated(model, f"{name}_bn2", y), stride if strides == "conv2" else 1)
        x = shortcut + y
    kernel, bias = model.get_layer("logits").get_weights()
    return activated(model, "final_bn", x).mean((1, 2)) @ kernel + bias


@pytest.mark.parametrize("variant", [{}, FAST_AUTOAUGMENT, FLAX], ids=["paper", "fast_autoaugment", "flax"])
def test_variants_compute_what_the_projects_code_does(variant):
    model = create_model("cifar_wide_resnet", depth=10, width=2, include_preprocessing=False, **variant)
    fill(model)
    pads = any(isinstance(layer, keras.layers.ZeroPadding2D) for layer in model.layers)
    assert pads == ("strided_padding" not in variant)
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    expected = forward(model, images, variant.get("stride_in", "conv1"), "shortcut_from" in variant)
    np.testing.assert_allclose(model(images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_parameters_of_the_flax_example():
    """Every convolution has 9 weights per pair of channels, shortcuts too, and a bias; WRN-10-2 has three blocks."""
    model = create_model("cifar_wide_resnet", depth=10, width=2, **FLAX)
    convolutions = [(3, 16)]
    normalized = []
    for inputs, outputs in ((16, 32), (32, 64), (64, 128)):
        convolutions += [(inputs, outputs), (outputs, outputs), (inputs, outputs)]
        normalized += [inputs, outputs]
    trainable = sum(9 * i * o + o for i, o in convolutions) + 2 * sum([*normalized, 128]) + 128 * 10 + 10
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == trainable


@pytest.mark.parametrize(
    ("argument", "value", "valid"),
    [
        ("stride_in", 1, "'conv1' or 'conv2'"),
        ("shortcut_from", "x", "'activation' or 'input'"),
        ("projection_size", 5, "1 or 3"),
        ("use_bias", None, "False or True"),
        ("strided_padding", "valid", "'symmetric' or 'same'"),
    ],
)
def test_other_values_are_refused(argument, value, valid):
    with pytest.raises(ModelError, match=f"cifar_wide_resnet: {argument} must be {valid}, got {value!r}"):
        create_model("cifar_wide_resnet", **{argument: value})
