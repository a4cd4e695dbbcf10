"""Metrics against hand-worked numbers and direct formulas."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from cifarzoo.errors import DataError
from cifarzoo.metrics import (
    are_probabilities,
    calibration_bins,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    fit_temperature,
    log_softmax,
)


def test_against_direct_formulas():
    random = np.random.RandomState(0)
    logits, labels = 3 * random.randn(1000, 10), random.randint(0, 10, 1000)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = classification_metrics(logits.astype(np.float32), labels)
    assert found["n"] == 1000
    assert found["error"] == pytest.approx(100 * np.mean(logits.argmax(1) != labels))
    order = np.argsort(-logits, axis=1)[:, :5]
    assert found["top5_error"] == pytest.approx(
        100 * np.mean([y not in row for y, row in zip(labels, order, strict=True)])
    )
    assert found["nll"] == pytest.approx(-np.log(probabilities[np.arange(1000), labels]).mean(), rel=1e-6)
    assert found["brier"] == pytest.approx(((probabilities - np.eye(10)[labels]) ** 2).sum(1).mean(), rel=1e-6)


def test_calibration_error_by_hand():
    """Two images at 0.9, one right; two at 0.6, both right: gaps 0.4 and 0.4 with half the weight each."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert expected_calibration_error(probabilities, np.array([0, 1, 0, 1])) == pytest.approx(0.4)


def test_calibration_error_of_a_perfectly_calibrated_predictor_vanishes():
    random = np.random.RandomState(0)
    confidence = random.uniform(0.5, 1, 400_000)
    labels = (random.uniform(size=400_000) > confidence).astype(int)
    assert expected_calibration_error(np.stack([confidence, 1 - confidence], 1), labels) < 0.003


def test_huge_logits_stay_finite():
    found = classification_metrics(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 0]))
    assert found["nll"] == pytest.approx(5e3)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 10)), np.zeros(4, int), r"\(3, 10\) and \(4,\)"),
        (np.zeros(3), np.zeros(3, int), "expected"),
        (np.zeros((3, 10)), np.array([0, 1, 10]), "labels reach 10"),
        (np.full((3, 10), np.nan), np.zeros(3, int), "not finite"),
        (np.zeros((0, 10)), np.zeros(0, int), "expected"),
    ],
)
def test_bad_input_is_named(logits, labels, message):
    with pytest.raises(DataError, match=message):
        classification_metrics(logits, labels)


def random_logits(images=3000, classes=7, seed=1):
    """Logits that are right in about two of three cases, and too sure of themselves."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, classes, images)
    logits = random.standard_normal((images, classes))
    logits[np.arange(images), labels] += 1.5
    return (2.5 * logits).astype(np.float32), labels


def test_calibration_against_a_loop_over_images():
    logits, labels = random_logits()
    probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
    sums = np.zeros((3, 15))
    for row, label in zip(probabilities, labels, strict=True):
        (place,) = [k for k in range(15) if k / 15 < row.max() <= (k + 1) / 15]
        sums[:, place] += 1, row.argmax() == label, row.max()
    np.testing.assert_allclose(calibration_bins(probabilities, labels), sums)
    full = sums[0] > 0
    gaps = np.abs(sums[1, full] / sums[0, full] - sums[2, full] / sums[0, full])
    expected = (gaps * sums[0, full] / len(labels)).sum()
    assert classification_metrics(logits, labels)["ece"] == pytest.approx(expected, rel=1e-9)


def test_confusion_has_true_classes_in_rows():
    logits, labels = random_logits(500)
    expected = np.zeros((7, 7), int)
    for row, label in zip(logits, labels, strict=True):
        expected[label, row.argmax()] += 1
    np.testing.assert_array_equal(confusion_matrix(logits, labels), expected)


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_temperature_against_a_general_minimizer(scale):
    logits, labels = random_logits()
    logits = scale * logits

    def nll(log_temperature):
        tempered = logits.astype(np.float64) / np.exp(log_temperature)
        return -scipy.special.log_softmax(tempered, axis=1)[np.arange(len(labels)), labels].mean()

    best = scipy.optimize.minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(best.x), rel=1e-6)


def test_temperature_of_images_known_by_heart_is_bounded():
    assert fit_temperature(1e-3 * np.eye(10), np.arange(10)) == pytest.approx(0.01)
    assert fit_temperature(5 * np.eye(10), (np.arange(10) + 1) % 10) == pytest.approx(100)
    assert 0.01 <= fit_temperature(1e4 * np.eye(10), np.arange(10)) <= 100


def test_ties_count_against_the_true_class():
    """A network that says the same of every class is among nobody's five best."""
    found = classification_metrics(np.zeros((3, 10)), np.array([1, 5, 9]))
    assert (found["error"], found["top5_error"]) == (100, 100)
    assert classification_metrics(np.eye(10)[[3, 3]], np.array([3, 4]))["top5_error"] == 50


def test_probabilities_are_known_also_from_bfloat16():
    import ml_dtypes

    logits = np.random.default_rng(0).normal(size=(100, 10))
    softmax = np.exp(log_softmax(logits)).astype(ml_dtypes.bfloat16).astype(np.float32)
    assert abs(softmax.sum(axis=1) - 1).max() > 1e-3
    assert are_probabilities(softmax) and not are_probabilities(logits) and not are_probabilities(2 * softmax)
