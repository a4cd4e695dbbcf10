"""Pick the images that best show what a network gets wrong. NumPy only."""

from typing import NamedTuple

import numpy as np

from cifarzoo.metrics import log_softmax


class Mistake(NamedTuple):
    """A wrong prediction.

    Attributes:
        image: Position of the image in the split.
        label: Its class.
        prediction: The predicted class.
        confidence: The probability of the prediction.
    """

    image: int
    label: int
    prediction: int
    confidence: float


class Confusion(NamedTuple):
    """Images of one class that are predicted as one other class.

    Attributes:
        label: The class.
        prediction: The predicted class.
        images: Number of images.
        share: Percentage of the images of the class.
        examples: A few of these images, most confident first.
    """

    label: int
    prediction: int
    images: int
    share: float
    examples: list[Mistake]


def mistakes(logits: np.ndarray, labels: np.ndarray) -> list[Mistake]:
    """Return all wrong predictions, most confident first; equally confident ones in the order of the images.

    Args:
        logits: [images, classes].
        labels: Integers [images].
    """
    predictions = logits.argmax(axis=1)
    confidences = np.exp(log_softmax(logits).max(axis=1))
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-confidences[wrong], kind="stable")]
    return [Mistake(int(k), int(labels[k]), int(predictions[k]), float(confidences[k])) for k in wrong]


def confusions(logits: np.ndarray, labels: np.ndarray, pairs: int, examples: int) -> list[Confusion]:
    """Return the pairs of classes that are confused most often, with a few examples each.

    Args:
        logits: [images, classes].
        labels: Integers [images].
        pairs: Maximum number of pairs.
        examples: Maximum number of images per pair.
    """
    groups: dict[tuple[int, int], list[Mistake]] = {}
    for mistake in mistakes(logits, labels):
        groups.setdefault((mistake.label, mistake.prediction), []).append(mistake)
    most = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))[:pairs]
    return [
        Confusion(*pair, len(group), 100 * len(group) / int(np.sum(labels == pair[0])), group[:examples])
        for pair, group in most
    ]
