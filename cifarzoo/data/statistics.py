"""Per-channel mean and standard deviation of the training images on the scale 0-255, and covariance of their patches.

All are computed over the 50,000 training images, and the tests check them against those. `synthetic` has no statistics
of its own: models that train on it normalise with CIFAR-10's.
"""

import json
from pathlib import Path

import numpy as np

PATCH_COVARIANCES = Path(__file__).with_name("patch_covariance.json")

STATISTICS = {
    "cifar10": (
        (125.306918046875, 122.950394140625, 113.86538318359375),
        (62.9932192781369, 62.0887076400142, 66.7048996406309),
    ),
    "cifar100": (
        (129.304165605469, 124.069962695312, 112.434050058594),
        (68.1702428992064, 65.3918080438575, 70.4183701880494),
    ),
}


def channel_statistics(dataset: str) -> tuple[list[float], list[float]]:
    """Return the means and standard deviations (R, G, B; 0-255) of a data set's training images."""
    mean, std = STATISTICS["cifar10" if dataset == "synthetic" else dataset]
    return list(mean), list(std)


def mean_colour(dataset: str) -> tuple[int, int, int]:
    """Return the mean colour of a data set's training images, rounded to whole pixel values."""
    red, green, blue = (round(value) for value in channel_statistics(dataset)[0])
    return red, green, blue


def patch_covariance(dataset: str, size: int = 3) -> np.ndarray:
    """Return the covariance of the patches of a data set's normalised training images.

    Args:
        dataset: Name of the data set.
        size: Height and width of a patch, at most 3. Patches smaller than 3x3 are the upper left corners of 3x3
            patches, so those along the lower and right border are not counted.

    Returns:
        float64 [3 * size², 3 * size²]. A patch is flattened row by row, the three channels of a pixel together.
    """
    upper = json.loads(PATCH_COVARIANCES.read_text(encoding="utf-8"))["cifar10" if dataset == "synthetic" else dataset]
    covariance = np.zeros((27, 27))
    covariance[np.triu_indices(27)] = upper
    covariance += np.triu(covariance, 1).T
    corner = np.arange(27).reshape(3, 3, 3)[:size, :size].ravel()
    return covariance[np.ix_(corner, corner)]


def measure_patch_covariance(images: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Measure the covariance of all 3x3 patches of images [n, height, width, 3], normalised with `mean` and `std`.

    Returns:
        float64 [27, 27], in the order of `patch_covariance`.
    """
    count, total, products = 0, np.zeros(27), np.zeros((27, 27))
    for start in range(0, len(images), 1000):
        x = (images[start : start + 1000] - np.array(mean)) / np.array(std)
        height, width = x.shape[1] - 2, x.shape[2] - 2
        neighbours = [x[:, row : row + height, column : column + width] for row in range(3) for column in range(3)]
        patches = np.concatenate(neighbours, axis=-1).reshape(-1, 27)
        count, total, products = count + len(patches), total + patches.sum(0), products + patches.T @ patches
    return products / count - np.outer(total / count, total / count)
