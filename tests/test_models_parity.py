"""Equal weights give equal logits in an independent implementation, pytorchcv's PyTorch networks."""

import importlib

import numpy as np
import pytest

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.convert import convert
from cifarzoo.conversion.layouts import LAYOUTS
from cifarzoo.conversion.state import state_of
from cifarzoo.conversion.to_torch import torch_state
from cifarzoo.models.registry import create_model

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
pytest.importorskip("pytorchcv", reason="needs the extra `parity`")


def shake_shake_forward(network, x):
    """Run the author's order of operations with the other implementation's weights.

    That one puts ReLU after each sum, so that shortcuts see it, and moves the image the other way. The author's blocks
    begin with ReLU, and his second path starts at the second row and column.
    """
    relu, average = torch.nn.functional.relu, torch.nn.functional.avg_pool2d
    features = network.features
    x = features.init_block.bn(features.init_block.conv(x))
    for unit in (unit for stage in (features.stage1, features.stage2, features.stage3) for unit in stage):
        y = relu(x)
        mixed = (unit.branch1(y) + unit.branch2(y)) / 2
        if unit.resize_identity:
            short = unit.identity_branch
            moved = torch.nn.functional.pad(y, (-1, 1, -1, 1))
            paths = short.conv1(average(y, 1, short.pool.stride)), short.conv2(average(moved, 1, short.pool.stride))
            x = short.bn(torch.cat(paths, dim=1))
        x = x + mixed
    return network.output(relu(x).mean((2, 3)))


SLOW = pytest.mark.slow
PAIRS = [
    pytest.param("cifar_resnet20", {"shortcut_type": "B"}, "resnet_cifar.resnet20_cifar10"),
    pytest.param("cifar_resnet56", {"shortcut_type": "B"}, "resnet_cifar.resnet56_cifar10", marks=SLOW),
    pytest.param("cifar_resnet164", {}, "preresnet_cifar.preresnet164bn_cifar10"),
    pytest.param("cifar_resnet164", {"block_type": "original"}, "resnet_cifar.resnet164bn_cifar10"),
    pytest.param("cifar_wrn_28_10", {}, "wrn_cifar.wrn28_10_cifar10", marks=SLOW),
    pytest.param("cifar_resnext29_32x4d", {}, "resnext_cifar.resnext29_32x4d_cifar10"),
    pytest.param("cifar_pyramidnet110_a48", {}, "pyramidnet_cifar.pyramidnet110_a48_cifar10"),
    pytest.param("cifar_pyramidnet164_a270", {}, "pyramidnet_cifar.pyramidnet164_a270_bn_cifar10", marks=SLOW),
    pytest.param(
        "cifar_resnext",
        {"depth": 20, "cardinality": 16, "base_width": 4},
        "resnext_cifar.resnext20_16x4d_cifar10",
    ),
    pytest.param("cifar_shake_shake26_2x32d", {}, "shakeshakeresnet_cifar.shakeshakeresnet26_2x32d_cifar10"),
    pytest.param(
        "cifar_shake_shake",
        {"depth": 20, "width": 16, "block_type": "postactivated"},
        "shakeshakeresnet_cifar.shakeshakeresnet20_2x16d_cifar10",
    ),
]


def randomize(network):
    """Draw He's weights, and BatchNormalization statistics that are not hidden behind zeros and ones."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.7, 1.3),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return network.eval()


@pytest.mark.parametrize("name, arguments, theirs", PAIRS)
@pytest.mark.slow
def test_logits_equal_pytorchcv(name, arguments, theirs):
    module, function = theirs.split(".")
    torch.manual_seed(1)
    network = randomize(getattr(importlib.import_module(f"pytorchcv.models.{module}"), function)())
    model = create_model(name, **arguments, include_preprocessing=False)
    arrays = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    convert(model, state_of(Checkpoint("torch", arrays)), LAYOUTS["pytorchcv"])
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    with torch.no_grad():
        forward = shake_shake_forward if name == "cifar_shake_shake26_2x32d" else type(network).__call__
        expected = forward(network, torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model(images) / scale, expected / scale, rtol=1e-4, atol=1e-4)
    written = torch_state(model, "pytorchcv")
    assert set(written) == set(arrays)
    for key, array in written.items():
        np.testing.assert_array_equal(array, arrays[key], key)
