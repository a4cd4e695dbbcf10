import numpy as np
import pytest
from cifar_archives import needs_data

from cifarzoo.data import load
from cifarzoo.data.statistics import (
    STATISTICS,
    channel_statistics,
    mean_image,
    measure_patch_covariance,
    patch_covariance,
    same_statistics,
    scale_and_offset,
    statistics_from,
    text_of,
)
from cifarzoo.errors import ModelError


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


@needs_data
@pytest.mark.data
def test_the_mean_image_is_that_of_the_training_images():
    np.testing.assert_allclose(mean_image(), load("cifar10").train.images.mean(0, dtype=np.float64), rtol=1e-12)


def test_the_mean_image_has_the_mean_color():
    np.testing.assert_allclose(mean_image().mean((0, 1)), channel_statistics("cifar10")[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("kuangliu", "kuangliu"),
        (((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)), "kuangliu"),
        ([[127.5] * 3, [127.5] * 3], "half"),
        ({"mean": [0, 0, 0], "std": [255, 255, 255]}, "unit"),
        (np.array([[125.3, 123.0, 113.9], [63.0, 62.1, 66.7]]), "hendrycks"),
        (((0, 0, 0), (0.5, 0.25, 1)), {"mean": [0.0, 0.0, 0.0], "std": [127.5, 63.75, 255.0]}),
        (((1, 2, 3), (1, 1, 1)), {"mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]}),
        # By name the numbers are on 0-255 whatever they are: these leave the pixels as they are.
        ({"mean": [0, 0, 0], "std": [1, 1, 1]}, {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}),
    ],
    ids=repr,
)
def test_statistics_are_named_if_they_can_be(value, expected):
    assert statistics_from(value) == expected == statistics_from(expected)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("kuangli", "'kuangli' is not one of cifar10, cifar100, kuangliu, .*, lasagne$"),
        ("synthetic", "'synthetic' is not one of"),
        (((0, 0, 0), (1, 1, 0)), "deviations are positive"),
        (((0, 0, 0), (1, 1, np.nan)), "expected a name"),
        (((0, 0, 0), (1, 1)), "expected a name"),
        (("123", (1, 1, 1)), "expected a name"),
        ((0.5, 0.5), "expected a name"),
        ({"mean": [0, 0, 0]}, "expected a name"),
        (np.zeros((2, 4)), "expected a name"),
        (None, "expected a name"),
        ({"mean": [0.49, 0.48, 0.44], "std": [0.2, 0.2, 0.2]}, "a dictionary's numbers are on 0-255"),
        ({"mean": [0.49, 0.48, 0.44], "std": [1, 1, 1]}, "a dictionary's numbers are on 0-255"),
        (((0.49, 0.48, 0.44), (0.2, 0.2, 1.1)), "a pair's numbers are all on 0-1"),
        (((0.49, 0.48, 0.44), (62, 62, 66)), "a pair's numbers are all on 0-1"),
        (((125, 122, 113), (0.24, 0.24, 0.26)), "a pair's numbers are all on 0-1"),
        (((0.5, 0.5, 0.5), (1e-300, 0.5, 0.5)), "not on one scale"),
        (((0, 0, 0), (1e300, 1, 1)), "not on one scale"),
    ],
    ids=repr,
)
def test_other_statistics_are_refused_in_a_line(value, problem):
    with pytest.raises(ModelError, match=f"^statistics: .*{problem}") as failure:
        statistics_from(value)
    assert "\n" not in str(failure.value)


def test_statistics_of_equal_numbers_are_the_same():
    kuangliu = {"mean": [125.307, 122.961, 113.8575], "std": [51.5865, 50.847, 51.255]}
    assert same_statistics("kuangliu", kuangliu) and not same_statistics("cifar10", kuangliu)
    assert same_statistics(None, None) and not same_statistics(None, "cifar10")
    assert same_statistics("newer", "newer") and not same_statistics("newer", "cifar10")
    assert text_of(kuangliu) == ("mean (125.307, 122.961, 113.858) and deviation (51.5865, 50.847, 51.255) on 0-255")


@pytest.mark.parametrize("name", [*STATISTICS, "lasagne"])
def test_scale_and_offset(name):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float64")
    scale, offset = scale_and_offset(name)
    mean, std = (mean_image(), 255) if name == "lasagne" else channel_statistics(name)
    np.testing.assert_allclose(images * scale + offset, (images - mean) / std, atol=1e-6)


def test_covariance_of_patches_under_other_statistics():
    images = np.random.RandomState(0).randint(0, 256, (3, 5, 6, 3)).astype(np.uint8)
    names = ("cifar10", "imagenet")
    own, others = (measure_patch_covariance(images, *channel_statistics(name)) for name in names)
    np.testing.assert_allclose(
        patch_covariance("cifar10", statistics="imagenet") / patch_covariance("cifar10"), others / own, rtol=1e-5
    )
