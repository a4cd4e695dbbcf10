import numpy as np
import pytest
from cifar_archives import needs_data

from cifarzoo.data import load
from cifarzoo.data.statistics import STATISTICS, channel_statistics, measure_patch_covariance, patch_covariance


def test_a_caller_cannot_change_the_table():
    mean, std = channel_statistics("cifar10")
    mean[0], std[0] = 0, 0
    assert channel_statistics("cifar10")[0][0] == STATISTICS["cifar10"][0][0] == pytest.approx(125.3, abs=0.05)
    assert channel_statistics("cifar10")[1][0] == pytest.approx(63.0, abs=0.05)


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_statistics_are_those_of_the_training_images(name):
    """From exact integer histograms, so that no rounding of a sum hides a wrong digit."""
    images = load(name).train.images
    for channel, (mean, std) in enumerate(zip(*channel_statistics(name), strict=True)):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        values = np.arange(256)
        exact = (counts @ values) / counts.sum()
        assert mean == pytest.approx(exact, rel=1e-6)
        assert std == pytest.approx(np.sqrt(counts @ (values - exact) ** 2 / counts.sum()), rel=1e-6)


def test_covariance_of_patches_is_numpys_own():
    images = np.random.RandomState(0).randint(0, 256, (3, 5, 6, 3)).astype(np.uint8)
    mean, std = [120.0, 110.0, 100.0], [60.0, 61.0, 62.0]
    x = (images - np.array(mean)) / np.array(std)
    patches = [x[n, i : i + 3, j : j + 3].ravel() for n in range(3) for i in range(3) for j in range(4)]
    np.testing.assert_allclose(measure_patch_covariance(images, mean, std), np.cov(patches, rowvar=False, bias=True))


@needs_data
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_patch_covariance_is_that_of_the_training_images(name):
    found = measure_patch_covariance(load(name).train.images, *channel_statistics(name))
    np.testing.assert_allclose(patch_covariance(name), found, rtol=1e-5)
