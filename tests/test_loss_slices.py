"""Loss slices against a linear network, whose loss along a line NumPy can work out."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy.special import log_softmax
from tiny_models import tiny_cnn

from cifarzoo.errors import DataError
from cifarzoo.evaluation.loss_slices import loss_slice, random_direction


@pytest.fixture(scope="module")
def batch():
    random = np.random.RandomState(0)
    return random.randint(0, 256, (60, 32, 32, 3)).astype(np.uint8), random.randint(0, 10, 60)


def linear():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(inputs)))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def test_loss_on_a_line_and_on_a_plane_of_a_linear_network(batch):
    images, labels = batch
    model = linear()
    directions = [random_direction(model, seed) for seed in (0, 1)]
    kernel, bias = model.get_weights()
    features = (images / 255).reshape(60, 4, 8, 4, 8, 3).mean((2, 4)).reshape(60, -1)

    def expected(a, b):
        logits = features @ (kernel + a * directions[0][0] + b * directions[1][0]) + bias
        own = log_softmax(logits, axis=1)[np.arange(60), labels]
        return -own.mean(), 100 * np.mean(logits.argmax(1) != labels)

    plane = loss_slice(model, images, labels, directions, [[-1, 0, 2], [0, 0.5]], batch_size=7)
    expected_values = np.array([[expected(a, b) for b in (0, 0.5)] for a in (-1, 0, 2)])
    np.testing.assert_allclose(plane.loss, expected_values[..., 0], rtol=1e-5)
    np.testing.assert_allclose(plane.error, expected_values[..., 1], atol=1e-9)
    line = loss_slice(model, images, labels, directions[:1], [[-1, 0, 2]])
    np.testing.assert_allclose(line.loss, plane.loss[:, 0], rtol=1e-6)


def test_directions_have_the_norm_of_every_filter_and_leave_out_biases_and_normalization():
    model = tiny_cnn()
    direction = random_direction(model, 3)
    for variable, part in zip(model.trainable_variables, direction, strict=True):
        values = variable.numpy()
        if values.ndim < 2:
            assert not part.any()
            continue
        for k in range(values.shape[-1]):
            assert np.linalg.norm(part[..., k]) == pytest.approx(np.linalg.norm(values[..., k]), rel=1e-5)
    again, other = random_direction(model, 3), random_direction(model, 4)
    assert all(np.array_equal(a, b) for a, b in zip(direction, again, strict=True))
    cosine = np.sum(direction[0] * other[0]) / np.sum(direction[0] ** 2)
    assert abs(cosine) < 0.5


def test_weights_are_afterwards_what_they_were(batch):
    images, labels = batch
    model = tiny_cnn()
    before = model.get_weights()
    loss_slice(model, images[:8], labels[:8], [random_direction(model, 0)], [[0.5]])
    with pytest.raises(IndexError):  # a label that does not exist, in the middle of the work
        loss_slice(model, images[:8], np.full(8, 99), [random_direction(model, 0)], [[0.5]])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_an_overflowing_network_has_infinite_loss(batch):
    images, labels = batch
    model = linear()
    direction = [np.full(v.shape, 1e38, np.float32) for v in model.trainable_variables]
    found = loss_slice(model, images, labels, [direction], [[0, 100]])
    assert np.isfinite(found.loss[0]) and np.isinf(found.loss[1])


@pytest.mark.parametrize(("count", "places"), [(0, []), (1, [[0], [0]]), (3, [[0]] * 3), (1, [[[0]]])])
def test_directions_and_places_that_do_not_fit(batch, count, places):
    model = tiny_cnn()
    with pytest.raises(DataError, match="one or two directions"):
        loss_slice(model, *batch, [random_direction(model, 0)] * count, places)
    with pytest.raises(DataError, match="one array per trainable variable"):
        loss_slice(model, *batch, [random_direction(model, 0)[:-1]], [[0]])


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is the JAX run")
@pytest.mark.slow
def test_all_of_this_on_jax():
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
