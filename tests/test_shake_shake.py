"""The Flax example's variant of Shake-Shake: a forward pass with `keras.ops.conv`, and parameters counted by hand."""

import keras
import numpy as np
import pytest
from model_cases import fill

from cifarzoo.errors import ModelError
from cifarzoo.models.registry import create_model

FLAX = {"shortcut_type": "projection", "strided_padding": "same", "use_bias": True, "stem_batch_norm": False}


def convolved(model, name, x, stride=1):
    kernel, bias = model.get_layer(name).get_weights()
    return np.asarray(keras.ops.conv(x, kernel, stride, "same")) + bias


def normalized(model, name, x):
    gamma, beta, mean, variance = model.get_layer(name).get_weights()
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def relu(x):
    return np.maximum(x, 0)


def test_the_flax_example_computes_what_its_code_does():
    model = create_model("cifar_shake_shake", depth=8, width=4, include_preprocessing=False, **FLAX)
    fill(model)
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    x = convolved(model, "stem_conv", images)
    for stage in (1, 2, 3):
        stride, name = (1 if stage == 1 else 2), f"stage{stage}_block1"
        branches = []
        for branch in (f"{name}_branch1", f"{name}_branch2"):
            y = normalized(model, f"{branch}_bn1", convolved(model, f"{branch}_conv1", relu(x), stride))
            branches.append(normalized(model, f"{branch}_bn2", convolved(model, f"{branch}_conv2", relu(y))))
        shortcut = convolved(model, f"{name}_shortcut_conv", x, stride)
        x = normalized(model, f"{name}_shortcut_bn", shortcut) + sum(branches) / 2
    kernel, bias = model.get_layer("logits").get_weights()
    expected = relu(x).mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(model(images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_parameters_of_the_flax_example():
    """A block has five convolutions with biases, each followed by BatchNormalization; the stem has none."""
    model = create_model("cifar_shake_shake", depth=8, width=4, **FLAX)
    trainable = 9 * 3 * 16 + 16 + 16 * 10 + 10
    for inputs, outputs in ((16, 4), (4, 8), (8, 16)):
        trainable += 3 * 9 * inputs * outputs + 2 * 9 * outputs * outputs + 5 * 3 * outputs
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == trainable


@pytest.mark.parametrize(
    ("argument", "value", "problem"),
    [
        ("shortcut_type", "A", "must be 'two_paths' or 'projection', got 'A'"),
        ("block_type", "preactivated", "must be 'original' or 'postactivated', got 'preactivated'"),
        ("width", 3, "must be even"),
        ("width", 0, "must be a positive integer, got 0"),
        ("depth", 10, r"must be 6 n \+ 2"),
    ],
)
def test_other_values_are_refused(argument, value, problem):
    with pytest.raises(ModelError, match=f"cifar_shake_shake: {argument} {problem}"):
        create_model("cifar_shake_shake", **{argument: value})
