"""Distributions and gradients of the random and gating layers, checked with NumPy."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import run_python

from cifarzoo.layers import (
    GhostBatchNormalization,
    PolicyGradient,
    SampledGate,
    ShakeDrop,
    ShakeShake,
    StraightThroughGate,
)
from cifarzoo.training.losses import cross_entropy

IMAGES = 4000


def shake_shake_factors(layer, first, second):
    """Return the forward share of the first branch and the backward shares of both, [batch, pixels]."""
    first, second = tf.Variable(first), tf.Variable(second)
    with tf.GradientTape() as tape:
        output = layer([first, second], training=True)
        total = tf.reduce_sum(output)
    gradients = tape.gradient(total, [first, second])
    forward = (output - second) / (first - second)
    return forward.numpy(), gradients[0].numpy(), gradients[1].numpy()


def shake_drop_factors(layer, inputs):
    """Return the forward and backward factors that the layer applied, [batch, pixels]."""
    x = tf.Variable(inputs)
    with tf.GradientTape() as tape:
        output = layer(x, training=True)
        total = tf.reduce_sum(output)
    return (output / x).numpy(), tape.gradient(total, x).numpy()


def assert_uniform(numbers, low, high):
    """Assert a Kolmogorov-Smirnov distance below the bound that one sample in a million exceeds."""
    ordered = np.sort((numbers - low) / (high - low))
    assert ordered[0] >= 0 and ordered[-1] <= 1
    distance = np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()
    assert distance < 2.7 / np.sqrt(len(ordered))


def assert_independent(first, second):
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(len(first))


@pytest.fixture(scope="module")
def branches():
    random = np.random.default_rng(0)
    first = random.uniform(1, 2, (IMAGES, 3)).astype("float32")
    return first, -first[::-1].copy()


def test_shake_shake_shares_evenly_at_inference(branches):
    first, second = branches
    layer = ShakeShake(seed=1)
    np.testing.assert_allclose(layer([first, second]), (first + second) / 2, rtol=1e-6)
    np.testing.assert_allclose(layer([first, second], training=False), (first + second) / 2, rtol=1e-6)


def test_shake_shake_draws_one_share_per_image(branches):
    forward, gradient_first, gradient_second = shake_shake_factors(ShakeShake(seed=1), *branches)
    for factors in (forward, gradient_first, gradient_second):
        np.testing.assert_allclose(factors, factors[:, :1] * np.ones(3), atol=1e-5)
    alpha, beta = forward[:, 0], gradient_first[:, 0]
    assert_uniform(alpha, 0, 1)
    assert_uniform(beta, 0, 1)
    np.testing.assert_allclose(gradient_second[:, 0], 1 - beta, atol=1e-6)
    assert_independent(alpha, beta)
    assert_independent(alpha[1:], alpha[:-1])


def test_shake_shake_draws_again_in_every_call(branches):
    layer = ShakeShake(seed=1)
    one, two = (shake_shake_factors(layer, *branches)[0][:, 0] for _ in range(2))
    assert_independent(one, two)


@pytest.mark.parametrize("mask", ["image", "batch"])
def test_shake_drop_multiplies_by_the_expectation_at_inference(mask):
    x = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
    layer = ShakeDrop(0.7, mask, seed=1)
    np.testing.assert_allclose(layer(x), 0.7 * x, rtol=1e-6)
    np.testing.assert_allclose(layer(x, training=False), 0.7 * x, rtol=1e-6)


def test_shake_drop_masks_each_image_separately(branches):
    forward, backward = shake_drop_factors(ShakeDrop(0.7, seed=1), branches[0])
    for factors in (forward, backward):
        np.testing.assert_allclose(factors, factors[:, :1] * np.ones(3), atol=1e-5)
    alpha, beta = forward[:, 0], backward[:, 0]
    kept = (np.abs(alpha - 1) < 1e-6) & (np.abs(beta - 1) < 1e-6)
    assert abs(kept.mean() - 0.7) < 5 * np.sqrt(0.7 * 0.3 / IMAGES)
    assert_independent(kept[1:].astype(float), kept[:-1].astype(float))
    assert_uniform(alpha[~kept], -1, 1)
    assert_uniform(beta[~kept], 0, 1)
    assert_independent(alpha[~kept], beta[~kept])
    # Inference's factor is the expectation of training's.
    assert abs(alpha.mean() - 0.7) < 5 * alpha.std() / np.sqrt(IMAGES)


def test_shake_drop_masks_the_whole_batch():
    layer = ShakeDrop(0.7, "batch", seed=1)
    x = np.ones((8, 3), "float32")
    kept = []
    for _ in range(100):
        forward, backward = shake_drop_factors(layer, x)
        kept.append(bool((np.abs(forward - 1) < 1e-6).all() and (np.abs(backward - 1) < 1e-6).all()))
        if not kept[-1]:
            assert len(np.unique(forward[:, 0])) == len(np.unique(backward[:, 0])) == 8, "alpha, beta for every image"
    assert abs(np.mean(kept) - 0.7) < 5 * np.sqrt(0.7 * 0.3 / 100)


@pytest.mark.parametrize("keep, expected", [(1.0, 1), (0.0, None)])
def test_shake_drop_extremes(keep, expected):
    forward, backward = shake_drop_factors(ShakeDrop(keep, seed=1), np.ones((64, 1), "float32"))
    if expected:
        assert (forward == 1).all() and (backward == 1).all()
    else:
        assert (forward != 1).any(axis=1).all() and (forward < 0).any() and (backward >= 0).all()


@pytest.mark.parametrize("make", [lambda: ShakeDrop(0.5, seed=3), lambda: ShakeShake(seed=3)], ids=["drop", "shake"])
def test_random_numbers_repeat_from_a_seed_and_resume_from_the_state(make, branches):
    first, second = branches

    def run(layer):
        inputs = [first, second] if isinstance(layer, ShakeShake) else first
        return keras.ops.convert_to_numpy(layer(inputs, training=True))

    layer, twin = make(), make()
    np.testing.assert_array_equal(run(layer), run(twin))
    (state,) = layer.variables
    kept = state.numpy()
    following = run(layer)
    assert (following != run(make())).any()
    state.assign(kept)
    np.testing.assert_array_equal(run(layer), following)


def test_the_state_is_a_variable_of_the_model():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ShakeDrop(0.5)(inputs))
    assert len(model.variables) == 1 and not model.weights and not model.trainable_variables


@pytest.mark.parametrize(
    "layer",
    [
        ShakeShake(seed=4),
        ShakeDrop(0.3, "batch", seed=4),
        StraightThroughGate(0.1),
        SampledGate(4),
        PolicyGradient(0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_configuration_round_trip(layer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer) and copy.get_config() == layer.get_config()


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_precisions(dtype):
    x = tf.random.stateless_uniform((64, 2, 2, 3), (1, 2), 1, 2, dtype="float32")
    x = tf.cast(x, dtype)
    for layer, inputs in ((ShakeShake(dtype=dtype), [x, -x]), (ShakeDrop(0.5, dtype=dtype), x)):
        output = layer(inputs, training=True)
        assert output.dtype == dtype and output.shape == x.shape


@pytest.mark.parametrize("arguments", [(1.5,), (-0.1,), (0.5, "pixel")])
def test_shake_drop_refuses(arguments):
    with pytest.raises(ValueError, match="keep must be a probability|mask must be 'image' or 'batch'"):
        ShakeDrop(*arguments)


def test_gate_is_hard_forward_and_soft_backward():
    probabilities = tf.Variable([[0.1], [0.4999], [0.5001], [0.9]])
    gate = StraightThroughGate(cost=0.25)
    with tf.GradientTape() as tape:
        gates = gate(probabilities, training=True)
        total = tf.reduce_sum(gates * [[1.0], [2.0], [3.0], [4.0]])
    np.testing.assert_array_equal(gates, [[0], [0], [1], [1]])
    np.testing.assert_array_equal(tape.gradient(total, probabilities), [[1], [2], [3], [4]])
    assert float(gate.losses[0]) == pytest.approx(0.25 * 0.5)


def test_gate_passes_no_gradient_at_inference():
    probabilities = tf.Variable([[0.1], [0.5001]])
    gate = StraightThroughGate(cost=0.25)
    with tf.GradientTape() as tape:
        gates = gate(probabilities)
    np.testing.assert_array_equal(gates, [[0], [1]])
    assert tape.gradient(gates, probabilities) is None and not gate.losses


def test_free_gate_adds_no_loss():
    gate = StraightThroughGate()
    gate(tf.constant([[0.9]]), training=True)
    assert gate.losses == []


def test_sampled_gates_open_as_often_as_they_should():
    probabilities = tf.Variable(np.tile([[0.1], [0.5], [0.9]], (IMAGES, 1)).astype("float32"))
    gate = SampledGate(seed=1)
    with tf.GradientTape() as tape:
        gates = gate(probabilities, training=True)
    assert tape.gradient(gates, probabilities) is None
    gates = gates.numpy().reshape(IMAGES, 3)
    assert set(np.unique(gates)) == {0, 1}
    p = np.array([0.1, 0.5, 0.9])
    assert (np.abs(gates.mean(axis=0) - p) < 5 * np.sqrt(p * (1 - p) / IMAGES)).all()
    assert_independent(gates[:, 0], gates[:, 1])
    assert (gate(probabilities, training=True).numpy().reshape(IMAGES, 3) != gates).any()
    np.testing.assert_array_equal(gate(tf.constant([[0.1], [0.5], [0.50001]])), [[0], [0], [1]])


class Toy:
    """Three gates in sequence, each on the output of the previous block, and a linear classifier, in float64."""

    def __init__(self, images, seed=0):
        random = np.random.default_rng(seed)
        self.x = tf.constant(random.normal(size=(images, 4)))
        self.gate_weights = tf.Variable(random.normal(size=(3, 4)))
        self.block_weights = tf.Variable(random.normal(size=(3, 4, 4)))
        self.classifier = tf.Variable(random.normal(size=(4, 5)))
        self.variables = [self.gate_weights, self.block_weights, self.classifier]

    def __call__(self, gates):
        """Return the logits, and the gates' probabilities to be open, for drawn gates."""
        x, probabilities = self.x, []
        for i in range(3):
            probabilities.append(tf.sigmoid(x @ self.gate_weights[i][:, None]))
            x += gates[:, i : i + 1] * tf.tanh(x @ self.block_weights[i])
        return x @ self.classifier, tf.concat(probabilities, axis=1)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_policy_gradient_is_the_gradient_of_the_expected_objective(images, label_smoothing):
    """Averaged over all settings of all gates of all images, the estimates equal the gradient of the expectation
    itself."""
    toy, cost, labels = Toy(images), 0.3, np.arange(images) + 1
    layer = PolicyGradient(cost, dtype="float64")
    mean = [tf.zeros_like(variable) for variable in toy.variables]
    with tf.GradientTape() as whole:
        objective = 0.0
        for setting in itertools.product([0.0, 1.0], repeat=3 * images):
            gates = tf.reshape(tf.constant(setting, "float64"), (images, 3))
            logits, p = toy(gates)
            chance = tf.reduce_prod(gates * p + (1 - gates) * (1 - p))
            loss = cross_entropy(logits, labels, label_smoothing) + cost * tf.reduce_sum(gates) / images
            objective += chance * loss
            with tf.GradientTape() as tape:
                logits, p = toy(gates)
                taught = layer([logits, p, gates], training=True)
                total = cross_entropy(taught, labels, label_smoothing) + sum(layer.losses)
            np.testing.assert_array_equal(taught, logits)
            assert float(total) == pytest.approx(float(loss), rel=1e-12)
            estimate = tape.gradient(total, toy.variables)
            mean = [m + tf.stop_gradient(chance) * g for m, g in zip(mean, estimate, strict=True)]
    expected = whole.gradient(objective, toy.variables)
    for actual, desired in zip(mean, expected, strict=True):
        assert np.abs(desired).max() > 1e-3
        np.testing.assert_allclose(actual, desired, rtol=1e-9, atol=1e-12)


def test_baseline_of_the_policy_gradient_reduces_noise():
    """Compare with the estimate without a baseline, which a batch of one image gets."""
    toy, draws, gates = Toy(150), np.random.default_rng(1).uniform(size=(150, 3)), np.zeros((150, 3))
    for i in range(3):
        gates[:, i] = draws[:, i] < toy(gates)[1][:, i]
    logits, probabilities = toy(gates)

    def estimates(rows):
        """Return an estimate for the input of each gate's sigmoid, [images, gates]."""
        layer, p = PolicyGradient(1.0, dtype="float64"), tf.Variable(probabilities[rows])
        with tf.GradientTape() as tape:
            taught = layer([logits[rows], p, gates[rows]], training=True)
            total = cross_entropy(taught, np.ones(len(taught), int)) + sum(layer.losses)
        return len(taught) * (tape.gradient(total, p) * p * (1 - p)).numpy()

    together = estimates(slice(None))
    alone = np.concatenate([estimates(slice(i, i + 1)) for i in range(150)])
    assert together.var() < 0.8 * alone.var()


def test_policy_gradient_passes_logits_at_inference_and_survives_gates_that_are_sure():
    layer = PolicyGradient(0.1)
    logits, sure = tf.constant([[1.0, 2.0]]), tf.Variable([[0.0, 1.0]])
    np.testing.assert_array_equal(layer([logits, sure, tf.constant([[1.0, 0.0]])]), logits)
    assert layer.losses == []
    with tf.GradientTape() as tape:
        taught = layer([logits, sure, tf.constant([[1.0, 0.0]])], training=True)
        total = tf.reduce_sum(taught) + sum(layer.losses)
    assert np.isfinite(float(total)) and np.isfinite(tape.gradient(total, sure)).all()


def ghost_layer(**arguments):
    """Return the layer with uneven statistics, gamma and beta for inputs of 5 channels."""
    layer = GhostBatchNormalization(momentum=0.9, epsilon=1e-3, **arguments)
    layer.build((None, 4, 4, 5))
    for number, variable in enumerate(layer.variables):
        variable.assign(np.linspace(0.5, 1.5 + number, 5))
    return layer


@pytest.mark.parametrize("batch, size, groups", [(12, 4, 3), (12, 12, 1), (12, 5, 1), (12, 32, 1)])
@pytest.mark.parametrize("known", [True, False])
def test_ghost_batch_normalization_normalizes_each_group(batch, size, groups, known):
    x = np.random.default_rng(0).normal(1, 2, (batch, 4, 4, 5)).astype("float32")
    layer = ghost_layer(group_size=size)
    gamma, beta, mean, variance = (v.numpy() for v in layer.variables)
    shape = None if not known else batch
    call = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec((shape, 4, 4, 5))])
    normalized = call(x).numpy()
    parts = x.reshape(groups, -1, 5)
    means, variances = parts.mean(1, keepdims=True), parts.var(1, keepdims=True)
    expected = (parts - means) / np.sqrt(variances + 1e-3) * gamma + beta
    np.testing.assert_allclose(normalized, expected.reshape(x.shape), atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.9 * mean + 0.1 * means.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, 0.9 * variance + 0.1 * variances.mean((0, 1)), atol=1e-5)


def test_ghost_batch_normalization_at_inference_is_batch_normalization():
    x = np.random.default_rng(0).normal(1, 2, (6, 4, 4, 5)).astype("float32")
    layer, plain = ghost_layer(group_size=3), keras.layers.BatchNormalization(epsilon=1e-3)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-6)
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), plain(x), atol=1e-6)


def test_ghost_batch_normalization_names_bad_arguments():
    with pytest.raises(ValueError, match="group_size must be a positive integer, got 0"):
        GhostBatchNormalization(0)
    with pytest.raises(ValueError, match="axis must be -1, the last one, got 1"):
        GhostBatchNormalization(axis=1)


# Gradients of the same layers under the other backends' automatic differentiation.
ON_BACKEND = """
import sys
import keras, numpy as np
from cifarzoo.layers import ShakeDrop, ShakeShake

def gradient(layer, x):
    if keras.backend.backend() == "jax":
        import jax
        layer.build(x.shape)
        state = [v.value for v in layer.non_trainable_variables]
        total = lambda x: (layer.stateless_call([], state, split(layer, x), training=True)[0]).sum()
        return np.asarray(jax.grad(total)(x))
    import torch
    x = torch.tensor(x, requires_grad=True)
    layer(split(layer, x), training=True).sum().backward()
    return x.grad.numpy()

def split(layer, x):
    return [x, -x] if isinstance(layer, ShakeShake) else x

x = np.ones((2000, 1), "float32")
beta = gradient(ShakeDrop(0.7, seed=1), x)[:, 0]
kept = np.abs(beta - 1) < 1e-6
assert abs(kept.mean() - 0.7) < 0.06 and beta.min() >= 0 and abs(beta[~kept].mean() - 0.5) < 0.06
assert beta[~kept].min() < 0.05 and beta[~kept].max() > 0.95
beta = (gradient(ShakeShake(seed=1), x)[:, 0] + 1) / 2  # of [x, -x]: beta - (1 - beta)
assert beta.min() >= 0 and beta.max() <= 1 and abs(beta.mean() - 0.5) < 0.04 and abs(beta.std() - 12**-0.5) < 0.02
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.slow
def test_backward_shares_on_other_backends(backend):
    pytest.importorskip(backend)
    run_python(ON_BACKEND, backend=backend)
