"""Compare what an exported file computes with its model."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cifarzoo.errors import ExportError
from cifarzoo.exporting.formats import Runner

COMPARED_IMAGES = 1_000
BATCH = 250
# In proportion to the largest output: float32 has seven digits, and sums in another order keep about five.
TOLERANCE = 1e-4


def outputs(run: Runner, images: np.ndarray, progress: Callable[[float], None] = lambda done: None) -> np.ndarray:
    """Return what a file computes for images [n, height, width, 3], in batches of 250, the last one smaller."""
    parts = []
    for first in range(0, len(images), BATCH):
        parts.append(np.asarray(run(images[first : first + BATCH].astype(np.float32))))
        progress(min(1, (first + BATCH) / len(images)))
    return np.concatenate(parts)


def compare(expected: np.ndarray, actual: np.ndarray, exact: bool) -> dict[str, Any]:
    """Compare the outputs of a model with those of a file.

    Args:
        expected: The model's outputs [n, ...].
        actual: The file's.
        exact: Whether they have to agree to TOLERANCE, with the same class for every image.

    Returns:
        `images`, `largest_difference`, `largest_output`, and `same_class`: for how many images the largest output is
        the same one.

    Raises:
        ExportError: the file's outputs are not finite, have another shape, or do not agree.
    """
    if actual.shape != expected.shape:
        raise ExportError(f"the file returns {list(actual.shape)}, the model {list(expected.shape)}")
    if not np.isfinite(actual).all():
        raise ExportError("the file's outputs are not finite")
    count, largest = len(expected), float(np.abs(expected).max())
    difference = float(np.abs(actual - expected).max())
    same = int((_class(actual) == _class(expected)).sum())
    if exact and (difference > TOLERANCE * largest or same < count):
        raise ExportError(
            f"the file's outputs differ from the model's by up to {difference:.2g} (the largest is {largest:.4g}); "
            f"{count - same} of {count:,} images get another class"
        )
    return {"images": count, "largest_difference": difference, "largest_output": largest, "same_class": same}


def _class(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).argmax(axis=1)
