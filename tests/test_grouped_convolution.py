"""Grouped convolution: the sums of separate convolutions, trainable in every precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifarzoo.keras_internals import grouped_convolution
from cifarzoo.models.common_layers import conv


def grouped_layer(dtype, stride):
    inputs = keras.Input((8, 8, 12), dtype=dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        outputs = conv(inputs, 6, 3, stride, groups=3, name="grouped")
    finally:
        keras.config.set_dtype_policy("float32")
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("own_kernel", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_and_gradients_of_separate_convolutions(dtype, stride, own_kernel, monkeypatch):
    if not own_kernel:
        monkeypatch.setattr(grouped_convolution, "_has_own_kernel", lambda dtype: False)
    model = grouped_layer(dtype, stride)
    kernel = model.get_layer("grouped").kernel.value
    assert kernel.shape == (3, 3, 4, 6)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 8, 8, 12)), dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        output = model(x)
        padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        parts = [
            tf.nn.conv2d(padded[..., 4 * i : 4 * i + 4], kernel[..., 2 * i : 2 * i + 2], stride, "VALID")
            for i in range(3)
        ]
        expected = tf.concat(parts, -1)
        losses = tf.reduce_sum(output**2), tf.reduce_sum(expected**2)
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(output, expected, atol=tolerance)
    for source in (x, kernel):
        found, wanted = (tape.gradient(loss, source) for loss in losses)
        np.testing.assert_allclose(found, wanted, atol=10 * tolerance)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_saved_file_holds_a_plain_convolution(tmp_path):
    model = grouped_layer("float32", 1)
    model.save(tmp_path / "model.keras")
    assert type(model.get_layer("grouped")) is keras.layers.Conv2D
    other = keras.saving.load_model(tmp_path / "model.keras")
    x = np.ones((1, 8, 8, 12), "float32")
    np.testing.assert_allclose(other(x), model(x), atol=1e-5)
