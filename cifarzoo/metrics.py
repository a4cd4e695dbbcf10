"""Error, likelihood and calibration of predictions, computed from logits and labels with NumPy alone."""

import numpy as np

from cifarzoo.errors import DataError

ECE_BINS = 15
TEMPERATURES = 0.01, 100.0  # bounds of a fitted temperature


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis, float64."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def soft_cross_entropy(logits: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean cross-entropy, in nats, of logits [images, classes] with probabilities [images, classes]."""
    return float(-(probabilities * log_softmax(logits)).sum(axis=1).mean())


def are_probabilities(outputs: np.ndarray) -> bool:
    """Return whether all rows look like the output of a softmax: nonnegative, with a sum of one.

    The sum may be off by as much as bfloat16 rounds.
    """
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-2))


def calibration_bins(probabilities: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Sum images, correct predictions and confidences per bin of confidence: float64 [3, bins].

    The confidence is the largest probability. Bin k of m holds confidences in (k / m, (k + 1) / m]: equally wide, open
    on the left.
    """
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return np.stack([np.bincount(index, weights, bins) for weights in (np.ones(len(labels)), correct, confidence)])


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> float:
    """Return the ECE of the predicted class over `calibration_bins` (Guo et al., https://arxiv.org/abs/1706.04599).

    It is the sum over bins of (share of images) * |accuracy - mean confidence|.
    """
    _, correct, confidence = calibration_bins(probabilities, labels, bins)
    return float(np.abs(correct - confidence).sum() / len(labels))


def confusion_matrix(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count images by true class (rows) and predicted class (columns): int64 [classes, classes]."""
    classes = logits.shape[1]
    return np.bincount(labels * classes + logits.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fit the temperature T that minimizes the mean NLL of softmax(logits / T) (Guo et al., section 4.2).

    The NLL is convex in 1 / T, so bisection of its derivative finds the minimum. T stays within `TEMPERATURES`: if
    every prediction is correct, as on images that a large network has memorized, the optimum would be 0.

    Args:
        logits: [images, classes].
        labels: integers [images].
    """
    logits = np.asarray(logits, np.float64)
    true_class = logits[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:
        return (np.exp(log_softmax(inverse * logits)) * logits).sum(axis=1).mean() - true_class

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    while high / low > 1 + 1e-12:
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1 / np.sqrt(low * high))


def classification_metrics(
    logits: np.ndarray, labels: np.ndarray, soft_labels: np.ndarray | None = None
) -> dict[str, float | int]:
    """Compute the metrics of a set of predictions.

    Args:
        logits: [images, classes], any float type.
        labels: integers [images].
        soft_labels: Probabilities [images, classes]: `nll` is then the cross-entropy with them.

    Returns:
        `n`; `error` and `top5_error` in percent; `nll` (mean, nats); `brier` (summed over classes); `ece`.

    Raises:
        DataError: logits and labels do not match, or the logits are not finite.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise DataError(f"expected logits [images, classes] and labels [images], got {logits.shape} and {labels.shape}")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DataError(f"labels reach {labels.max()}, but the logits have {logits.shape[1]} classes")
    if not np.isfinite(logits).all():
        raise DataError("logits are not finite: the weights hold NaN or infinity, or the input does")
    log_probabilities = log_softmax(logits)
    probabilities = np.exp(log_probabilities)
    true_class = np.arange(len(labels)), labels
    # How many other classes have at least the true class's logit: ties count against the network.
    above = (logits >= logits[true_class][:, None]).sum(axis=1) - 1
    return {
        "n": len(labels),
        "error": 100 * float(np.mean(logits.argmax(axis=1) != labels)),
        "top5_error": 100 * float(np.mean(above >= 5)),
        "nll": (
            float(-np.mean(log_probabilities[true_class]))
            if soft_labels is None
            else soft_cross_entropy(logits, soft_labels)
        ),
        "brier": float(np.mean((probabilities**2).sum(axis=1) - 2 * probabilities[true_class] + 1)),
        "ece": expected_calibration_error(probabilities, labels),
    }
