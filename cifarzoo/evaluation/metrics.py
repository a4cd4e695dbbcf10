"""Error and calibration of a set of predictions, from logits and labels in NumPy."""

import numpy as np

from cifarzoo.errors import DataError

ECE_BINS = 15


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the softmax over the last axis, float64."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> float:
    """ECE of the predicted class (Guo et al., https://arxiv.org/abs/1706.04599): equally wide bins of confidence.

    The sum over bins of (share of images) * |accuracy - mean confidence|; a bin is open on the left.
    """
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, correct, bins) - np.bincount(place, confidence, bins)
    return float(np.abs(gap).sum() / len(labels))


def classification_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """Metrics of predictions.

    Args:
        logits: [images, classes], any float type.
        labels: integers [images].

    Returns:
        `n`; `error` and `top5_error` in percent; `nll` (mean, nats); `brier` (summed over classes); `ece`.

    Raises:
        DataError: shapes that do not belong together, or logits that are not finite.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise DataError(f"logits [images, classes] and labels [images] expected, got {logits.shape} and {labels.shape}")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DataError(f"labels reach {labels.max()}, but the logits have {logits.shape[1]} classes")
    if not np.isfinite(logits).all():
        raise DataError("logits are not finite: the weights hold NaN or infinity, or the input does")
    log_probabilities = log_softmax(logits)
    probabilities = np.exp(log_probabilities)
    own = np.arange(len(labels)), labels
    # Images whose true class is not among the five largest logits; ties count against it.
    above = (logits > logits[own][:, None]).sum(axis=1)
    return {
        "n": len(labels),
        "error": 100 * float(np.mean(logits.argmax(axis=1) != labels)),
        "top5_error": 100 * float(np.mean(above >= 5)),
        "nll": float(-np.mean(log_probabilities[own])),
        "brier": float(np.mean((probabilities**2).sum(axis=1) - 2 * probabilities[own] + 1)),
        "ece": expected_calibration_error(probabilities, labels),
    }
