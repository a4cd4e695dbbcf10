"""The update rule against a NumPy reference and against PyTorch's own SGD, over 50 steps with learning-rate drops."""

import numpy as np
import pytest
from keras import ops

from cifarzoo.training.losses import cross_entropy, error
from cifarzoo.training.optimizer import SGD, moving_average

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


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_all", [False, True])
def test_fifty_steps_as_in_numpy(nesterov, decay_all):
    weights = start()
    velocities = [0 * w for w in weights]
    for rate in RATES:
        for i, gradient in enumerate(quadratic_gradients(weights)):
            if decay_all or weights[i].ndim > 1:
                gradient = gradient + 0.05 * weights[i]
            velocities[i] = 0.9 * velocities[i] + gradient
            weights[i] = weights[i] - rate * (gradient + 0.9 * velocities[i] if nesterov else velocities[i])
    found = ours(SGD(momentum=0.9, nesterov=nesterov, weight_decay=0.05, decay_all=decay_all))
    for a, b in zip(found, weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


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


def test_clipping_by_global_norm():
    weights = [ops.zeros((2,)), ops.zeros((1, 1))]
    gradients = [ops.convert_to_tensor([3.0, 0.0]), ops.convert_to_tensor([[4.0]])]
    new, _, norm = SGD(momentum=0.0, clip_norm=1.0).update(weights, gradients, weights, 1.0)
    assert float(norm) == pytest.approx(5)
    np.testing.assert_allclose(ops.convert_to_numpy(new[0]), [-0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(new[1]), [[-0.8]], rtol=1e-6)


def test_moving_average():
    (average,) = moving_average([ops.convert_to_tensor([1.0])], [ops.convert_to_tensor([3.0])], 0.75)
    assert ops.convert_to_numpy(average).tolist() == [1.5]


def test_cross_entropy_with_smoothing_and_soft_labels():
    random = np.random.RandomState(0)
    logits, labels = random.randn(6, 4), np.array([0, 1, 2, 3, 0, 1], np.int32)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    hard = np.eye(4)[labels]
    smooth = 0.9 * hard + 0.025
    for targets, given, smoothing in ((hard, labels, 0), (smooth, labels, 0.1), (smooth, smooth, 0)):
        expected = -(targets * log_p).sum(1).mean()
        found = cross_entropy(ops.convert_to_tensor(logits), ops.convert_to_tensor(given), smoothing)
        assert float(found) == pytest.approx(expected, rel=1e-6)
    assert float(error(ops.convert_to_tensor(logits), ops.convert_to_tensor(labels))) == pytest.approx(
        np.mean(logits.argmax(1) != labels)
    )
