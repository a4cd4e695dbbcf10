"""Airbench: its fixed filters, its initial kernels, and its logits against the same network in PyTorch."""

import importlib.util

import keras
import numpy as np
import pytest
from model_cases import ROOT, fill, pixels

from cifarzoo.data.statistics import channel_statistics, patch_covariance
from cifarzoo.layers import PartialIdentity
from cifarzoo.models.registry import create_model


def test_whitens_patches_with_both_signs_and_learns_the_bias():
    model = create_model("cifar_airbench94", include_top=False)
    layer, bias = model.get_layer("whitening"), model.get_layer("stem_bias")
    assert not layer.trainable_weights and layer.output.shape == (None, 31, 31, 24)
    assert [weight.shape for weight in bias.trainable_weights] == [(24,)]
    filters = keras.ops.convert_to_numpy(layer.kernel).reshape(12, 24)
    np.testing.assert_array_equal(filters[:, :12], -filters[:, 12:])
    covariance = patch_covariance("cifar10", 2)
    values = np.linalg.eigvalsh(covariance)[::-1]
    expected = np.diag(values / (values + 5e-4))
    np.testing.assert_allclose(filters[:, :12].T @ covariance @ filters[:, :12], expected, atol=1e-4)


def test_patches_of_two_are_nearly_those_of_three():
    """Small patches are corners of large ones, which leaves out one row and one column of them."""
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3)).cumsum(1).cumsum(2) % 251
    x = images - images.mean((0, 1, 2))
    small = np.concatenate([x[:, i : i + 31, j : j + 31] for i in range(2) for j in range(2)], axis=-1).reshape(-1, 12)
    large = np.concatenate([x[:, i : i + 30, j : j + 30] for i in range(3) for j in range(3)], axis=-1).reshape(-1, 27)
    corner = [*range(6), *range(9, 15)]
    covariance = np.cov(large, rowvar=False, bias=True)[np.ix_(corner, corner)]
    np.testing.assert_allclose(np.cov(small, rowvar=False, bias=True), covariance, atol=0.02 * covariance.max())


def test_kernels_begin_as_the_identity():
    keras.utils.set_random_seed(0)
    wide = keras.ops.convert_to_numpy(PartialIdentity()((3, 3, 4, 6)))
    images = np.random.default_rng(0).normal(size=(2, 5, 5, 4)).astype("float32")
    out = keras.ops.convert_to_numpy(keras.ops.conv(images, wide, padding="same"))
    np.testing.assert_allclose(out[..., :4], images, rtol=1e-6)
    rest = wide[..., 4:]
    assert 0.15 < np.abs(rest).max() <= 1 / 6 and np.unique(rest).size == rest.size
    narrow = keras.ops.convert_to_numpy(PartialIdentity()((3, 3, 6, 4)))
    assert narrow.sum() == 4 and (narrow[1, 1, range(4), range(4)] == 1).all()


def test_normalization_has_no_scale_and_forgets_fast():
    model = create_model("cifar_airbench95")
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(layers) == 6
    assert all((not layer.scale, layer.momentum, layer.epsilon) == (True, 0.6, 1e-12) for layer in layers)
    assert [layer.moving_mean.shape[0] for layer in layers] == [128, 128, 384, 384, 384, 384]


def torch_airbench():
    pytest.importorskip("torch", reason="PyTorch is an extra")
    spec = importlib.util.spec_from_file_location("torch_airbench", ROOT / "benchmarks" / "torch_airbench.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("training", [False, True])
def test_logits_equal_pytorch(training):
    theirs = torch_airbench()
    import torch

    model = create_model("cifar_airbench94")
    fill(model)
    network = theirs.Airbench().train(training)

    def tensor(name):
        weights = [torch.from_numpy(np.array(w)) for w in model.get_layer(name).weights]
        return [w.permute(3, 2, 0, 1) if w.ndim == 4 else w.T if w.ndim == 2 else w for w in weights]

    with torch.no_grad():
        network.whitening.weight[:], network.whitening.bias[:] = *tensor("whitening"), *tensor("stem_bias")
        for number, group in enumerate(network.groups, start=1):
            for unit in (1, 2):
                conv, norm = getattr(group, f"conv{unit}"), getattr(group, f"norm{unit}")
                (conv.weight[:],) = tensor(f"group{number}_unit{unit}_conv")
                norm.bias[:], norm.running_mean[:], norm.running_var[:] = tensor(f"group{number}_unit{unit}_bn")
        (network.linear.weight[:],) = tensor("logits")
        images = pixels(16)
        mean, std = (np.array(values) for values in channel_statistics("cifar10"))
        normalized = torch.from_numpy(((images - mean) / std).astype("float32").transpose(0, 3, 1, 2))
        expected = network(normalized).numpy()
    found = keras.ops.convert_to_numpy(model(images, training=training))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_pytorch_counts_the_same_parameters():
    network = torch_airbench().Airbench()
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert count == sum(int(np.prod(w.shape)) for w in create_model("cifar_airbench94").trainable_weights)
