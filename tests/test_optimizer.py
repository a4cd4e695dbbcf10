"""The update rule against NumPy, PyTorch's and Keras' SGD over 50 steps with drops of the learning rate; the losses."""

import keras
import numpy as np
import pytest
from keras import ops

from cifarzoo.training.averaging import Lookahead, moving_average
from cifarzoo.training.losses import cross_entropy, error, squared
from cifarzoo.training.optimizers.norms import ascend
from cifarzoo.training.optimizers.sgd import SGD

RATES = [0.01] * 5 + [0.1] * 25 + [0.01] * 20


def quadratic_gradients(weights):
    return [w * scale - 1 for w, scale in zip(weights, (3.0, 0.5), strict=True)]


def start():
    random = np.random.RandomState(0)
    return [random.randn(4, 3), random.randn(3)]


def ours(rule):
    weights = [ops.convert_to_tensor(w) for w in start()]
    velocities = [ops.zeros_like(w) for w in weights]
    for rate in RATES:
        gradients = [ops.convert_to_tensor(g) for g in quadratic_gradients(map(ops.convert_to_numpy, weights))]
        weights, velocities, _ = rule.update(weights, gradients, velocities, rate)
    return [ops.convert_to_numpy(w) for w in weights]


def in_numpy(nesterov, decay_all, mode, convention, bias_lr_factor=1):
    """Apply the four lines of the documentation literally."""
    weights = start()
    velocities = [0 * w for w in weights]
    for common_rate in RATES:
        for i, gradient in enumerate(quadratic_gradients(weights)):
            factor = bias_lr_factor if weights[i].ndim < 2 else 1
            rate = factor * common_rate
            decay = 0.05 / factor * weights[i] if decay_all or weights[i].ndim > 1 else 0
            if mode == "coupled":
                gradient, decay = gradient + decay, 0
            if convention == "tensorflow":
                velocities[i] = 0.9 * velocities[i] - rate * gradient
                step = 0.9 * velocities[i] - rate * gradient if nesterov else velocities[i]
            else:
                velocities[i] = 0.9 * velocities[i] + gradient
                step = -rate * (gradient + 0.9 * velocities[i] if nesterov else velocities[i])
            weights[i] = weights[i] + step - rate * decay
    return weights


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
@pytest.mark.parametrize("convention", ["pytorch", "tensorflow"])
def test_fifty_steps_as_in_numpy(nesterov, decay_all, mode, convention):
    rule = SGD(0.9, nesterov, 0.05, decay_all, weight_decay_mode=mode, momentum_convention=convention)
    for a, b in zip(ours(rule), in_numpy(nesterov, decay_all, mode, convention), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_lookahead_as_in_numpy():
    """Trained weights move; from step 4 on, every third step, they meet the slow weights, whose share grows."""
    rule = Lookahead(interval=3, decay=0.9, power=2.0, start=4, total=12)
    random = np.random.RandomState(0)
    slow = trained = 0.0
    averages, values = ([ops.convert_to_tensor(np.zeros(2))] for _ in range(2))
    for step in range(12):
        walk = random.randn(2)
        trained = trained + walk
        averages, values = rule.update(averages, [values[0] + ops.convert_to_tensor(walk)], ops.convert_to_tensor(step))
        if step + 1 <= 4:
            slow = trained
        elif (step + 1) % 3 == 0:
            share = 0.9**3 * ((step + 1) / 12) ** 2
            slow = trained = share * slow + (1 - share) * trained
        np.testing.assert_allclose(ops.convert_to_numpy(averages[0]), slow, rtol=1e-12)
        np.testing.assert_allclose(ops.convert_to_numpy(values[0]), trained, rtol=1e-12)


@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
def test_biases_may_learn_faster(mode):
    rule = SGD(0.9, True, 0.05, True, weight_decay_mode=mode, bias_lr_factor=8)
    for a, b in zip(ours(rule), in_numpy(True, True, mode, "pytorch", 8), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_conventions_differ_after_a_change_of_the_rate_only():
    rules = [SGD(0.9, True, 0.05, momentum_convention=convention) for convention in ("pytorch", "tensorflow")]
    pytorch, tensorflow = map(ours, rules)
    assert np.abs(pytorch[0] - tensorflow[0]).max() > 1e-3
    weights, gradients, velocities = (
        [ops.convert_to_tensor(w) for w in values] for values in (start(), start(), [0 * w for w in start()])
    )
    first = [rule.update(weights, gradients, velocities, 0.1)[0] for rule in rules]
    np.testing.assert_allclose(*(ops.convert_to_numpy(values[0]) for values in first), rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_fifty_steps_as_in_pytorch(nesterov):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    weights = [torch.nn.Parameter(torch.tensor(w)) for w in start()]
    optimizer = torch.optim.SGD(weights, lr=1.0, momentum=0.9, nesterov=nesterov, weight_decay=0.05)
    for rate in RATES:
        optimizer.param_groups[0]["lr"] = rate
        for w, g in zip(weights, quadratic_gradients([w.detach().numpy() for w in weights]), strict=True):
            w.grad = torch.tensor(g)
        optimizer.step()
    found = ours(SGD(momentum=0.9, nesterov=nesterov, weight_decay=0.05, decay_all=True))
    for a, b in zip(found, weights, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
def test_fifty_steps_as_in_keras(nesterov, mode):
    """Keras' optimizer applies decoupled decay; coupled decay is its L2 regularizer with half the decay."""
    weights = [keras.Variable(w, dtype="float64") for w in start()]
    optimizer = keras.optimizers.SGD(1.0, 0.9, nesterov, weight_decay=0.05 if mode == "decoupled" else None)
    optimizer.build(weights)
    for rate in RATES:
        optimizer.learning_rate = rate
        values = [ops.convert_to_numpy(w) for w in weights]
        gradients = quadratic_gradients(values)
        if mode == "coupled":  # the gradient of L2(0.025), which is 0.025 times the sum of squares
            gradients = [g + 2 * 0.025 * w for g, w in zip(gradients, values, strict=True)]
        optimizer.apply([ops.convert_to_tensor(g, "float64") for g in gradients], weights)
    rule = SGD(0.9, nesterov, 0.05, True, weight_decay_mode=mode, momentum_convention="tensorflow")
    for a, b in zip(ours(rule), weights, strict=True):
        np.testing.assert_allclose(a, ops.convert_to_numpy(b), rtol=1e-6)  # its rate is a float32


def test_clipping_by_global_norm():
    weights = [ops.zeros((2,)), ops.zeros((1, 1))]
    gradients = [ops.convert_to_tensor([3.0, 0.0]), ops.convert_to_tensor([[4.0]])]
    new, _, norm = SGD(momentum=0.0, clip_norm=1.0).update(weights, gradients, weights, 1.0)
    assert float(norm) == pytest.approx(5)
    np.testing.assert_allclose(ops.convert_to_numpy(new[0]), [-0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(new[1]), [[-0.8]], rtol=1e-6)


def test_ascent_is_a_step_of_the_given_length_along_all_gradients_together():
    weights, gradients = [ops.ones((2,)), ops.ones((1, 1))], [ops.convert_to_tensor([3.0, 0.0]), ops.full((1, 1), 4.0)]
    moved = [ops.convert_to_numpy(w) for w in ascend(weights, gradients, 0.1)]
    np.testing.assert_allclose(moved[0], [1.06, 1], rtol=1e-6)
    np.testing.assert_allclose(moved[1], [[1.08]], rtol=1e-6)


def test_moving_average():
    (average,) = moving_average([ops.convert_to_tensor([1.0])], [ops.convert_to_tensor([3.0])], 0.75)
    assert ops.convert_to_numpy(average).tolist() == [1.5]


def test_losses_with_smoothing_and_soft_labels():
    random = np.random.RandomState(0)
    logits, labels = random.randn(6, 4), np.array([0, 1, 2, 3, 0, 1], np.int32)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    hard = np.eye(4)[labels]
    smooth = 0.9 * hard + 0.025
    for targets, given, smoothing in ((hard, labels, 0), (smooth, labels, 0.1), (smooth, smooth, 0)):
        given = ops.convert_to_tensor(given)
        found = cross_entropy(ops.convert_to_tensor(logits), given, smoothing)
        assert float(found) == pytest.approx(-(targets * log_p).sum(1).mean(), rel=1e-6)
        found = squared(ops.convert_to_tensor(logits), given, smoothing)
        assert float(found) == pytest.approx(0.5 * ((logits - targets) ** 2).sum(1).mean(), rel=1e-6)
    assert float(error(ops.convert_to_tensor(logits), ops.convert_to_tensor(labels))) == pytest.approx(
        np.mean(logits.argmax(1) != labels)
    )
