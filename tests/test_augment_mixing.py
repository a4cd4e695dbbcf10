"""MixUp and CutMix, and the distribution of their lambda."""

import numpy as np
import pytest
from keras import ops
from scipy import stats

from cifarzoo.augment.base import DatasetFacts
from cifarzoo.augment.mixing import beta_quantiles
from cifarzoo.augment.pipeline import Pipeline
from cifarzoo.augment.random import Draws
from cifarzoo.augment.spec import CutMix, MixUp

BATCH = 64


def batch(height=32, width=32):
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (BATCH, height, width, 3), dtype=np.uint8), np.arange(BATCH, dtype="int32") % 10


def run(spec, images, labels, step=0, classes=10):
    mixed = Pipeline([spec], DatasetFacts(classes)).run(
        images, labels, Draws(0, step, np.arange(len(images), dtype="int32"))
    )
    return tuple(ops.convert_to_numpy(part) for part in mixed)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 2.0, 8.0, 100.0])
def test_quantiles_are_the_beta_distributions(alpha):
    quantiles = beta_quantiles(alpha)
    probabilities = (np.arange(4096) + 0.5) / 4096
    # Above one half quantiles may be too close to 1 for float64; they mirror the lower ones.
    half = quantiles[:2048]
    np.testing.assert_allclose(stats.beta.cdf(half, alpha, alpha), probabilities[:2048], atol=1e-6)
    np.testing.assert_array_equal(quantiles[2048:], 1 - half[::-1])
    assert quantiles.mean() == pytest.approx(0.5, abs=1e-9)
    assert quantiles.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=2e-3)
    assert stats.kurtosis(quantiles) == pytest.approx(-6 / (2 * alpha + 3), rel=2e-2, abs=1e-2)


def test_mixup_mixes_images_and_labels_by_one_lambda_with_the_reversed_batch():
    images, labels = batch()
    for step in range(5):
        mixed, soft = run(MixUp(alpha=1.0), images, labels, step)
        one_hot = np.eye(10)[labels]
        share = soft[0, labels[0]]  # image 0's partner has another class
        assert labels[0] != labels[-1] and 0 < share < 1
        np.testing.assert_allclose(soft, share * one_hot + (1 - share) * one_hot[::-1], atol=1e-6)
        np.testing.assert_allclose(mixed, share * images + (1.0 - share) * images[::-1].astype("float32"), atol=1e-3)
        assert mixed.dtype == soft.dtype == np.float32


def lambdas(spec, steps):
    """Return the lambda of each image, read from the labels of two classes."""
    images, labels = np.zeros((BATCH, 2, 2, 3), "uint8"), (np.arange(BATCH) >= BATCH // 2).astype("int32")
    soft = np.stack([run(spec, images, labels, step)[1] for step in range(steps)])
    return np.where(labels == 0, soft[..., 0], soft[..., 1])


def test_lambda_is_drawn_per_batch_or_per_image_from_the_beta_distribution():
    per_batch = lambdas(MixUp(alpha=0.4), 20)
    assert np.ptp(per_batch, axis=1).max() < 1e-6 and np.ptp(per_batch[:, 0]) > 0.1
    per_image = lambdas(MixUp(alpha=0.4, per="image"), 15).ravel()
    assert stats.kstest(per_image, stats.beta(0.4, 0.4).cdf).pvalue > 0.001
    folded = lambdas(MixUp(alpha=0.4, per="image", fold=True), 15).ravel()
    np.testing.assert_allclose(folded, np.maximum(per_image, 1 - per_image), atol=1e-6)


def test_half_of_the_batches_are_unchanged_with_probability_one_half():
    touched = (lambdas(MixUp(alpha=1.0, probability=0.5), 60)[:, 0] < 1).mean()
    assert 0.25 < touched < 0.75
    touched = (lambdas(MixUp(alpha=1.0, probability=0.5, per="image"), 10) < 1).mean()
    assert 0.42 < touched < 0.58
    images, labels = batch()
    same, soft = run(MixUp(alpha=1.0, probability=0.0), images, labels)
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(soft, np.eye(10)[labels])


@pytest.mark.parametrize("per", ["batch", "image"])
def test_cutmix_pastes_the_box_of_the_paper_and_mixes_labels_by_its_area(per):
    images, labels = batch(16, 24)
    labels = (np.arange(BATCH) >= BATCH // 2).astype("int32")
    cutmix = CutMix(alpha=1.0, probability=1.0, per=per)
    for step in range(6):
        mixed, soft = run(cutmix, images, labels, step, classes=7)
        assert mixed.dtype == np.uint8 and soft.shape == (BATCH, 7)
        draws = Draws(0, step, np.arange(BATCH, dtype="int32"))
        numbers = ops.convert_to_numpy(draws.uniform(4) if per == "image" else draws.shared(4)[None])
        numbers = np.broadcast_to(numbers, (BATCH, 4)).astype("float64")
        for place in range(BATCH):
            share = beta_quantiles(1.0)[int(numbers[place, 1] * 4096)]
            height, width = int(16 * np.sqrt(1 - share)), int(24 * np.sqrt(1 - share))
            y, x = int(numbers[place, 2] * 16), int(numbers[place, 3] * 24)
            top, bottom = np.clip([y - height // 2, y + height // 2], 0, 16)
            left, right = np.clip([x - width // 2, x + width // 2], 0, 24)
            expected = images[place].copy()
            expected[top:bottom, left:right] = images[BATCH - 1 - place][top:bottom, left:right]
            np.testing.assert_array_equal(mixed[place], expected)
            area = (bottom - top) * (right - left) / (16 * 24)
            assert soft[place, labels[place]] == pytest.approx(1 - area, abs=1e-6)
            assert soft[place].sum() == pytest.approx(1, abs=1e-6)


def test_labels_that_are_mixed_already_are_mixed_again():
    images, _ = batch()
    soft = np.full((BATCH, 10), 0.1, "float32")
    np.testing.assert_allclose(run(MixUp(), images, soft)[1], soft, atol=1e-7)
