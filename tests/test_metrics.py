"""Metrics against hand-worked numbers and direct formulas."""

import numpy as np
import pytest

from cifarzoo.errors import DataError
from cifarzoo.evaluation.metrics import classification_metrics, expected_calibration_error


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
