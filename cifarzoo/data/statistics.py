"""What normalizes images: mean and standard deviation by name or value, on the scale 0-255; covariance of patches.

`cifar10` and `cifar100` are computed over the 50,000 training images, and the tests check them against those. The other
names are what other projects' networks were trained with; their numbers are the projects' own, however they came about.
`synthetic` has no statistics of its own: models that train on it normalize with CIFAR-10's. `cifar100_coarse` has the
images of `cifar100`.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.errors import ModelError

PATCH_COVARIANCES = Path(__file__).with_name("patch_covariance.json")
MEAN_IMAGE = Path(__file__).with_name("mean_image.json")

# A name, or {"mean": [r, g, b], "std": [r, g, b]} on 0-255.
Statistics = str | dict[str, list[float]]

# Data sets that are normalized with the statistics of another one.
BORROWED = {"synthetic": "cifar10", "cifar100_coarse": "cifar100"}

# Subtracts the mean of every pixel of CIFAR-10's training images, and divides by 255.
PER_PIXEL = "lasagne"


def _of_unit_scale(mean: Sequence[float], std: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return constants for pixels in 0-1, as PyTorch code has them, on 0-255."""
    return tuple(255 * value for value in mean), tuple(255 * value for value in std)


STATISTICS = {
    "cifar10": (
        (125.306918046875, 122.950394140625, 113.86538318359375),
        (62.9932192781369, 62.0887076400142, 66.7048996406309),
    ),
    "cifar100": (
        (129.304165605469, 124.069962695312, 112.434050058594),
        (68.1702428992064, 65.3918080438575, 70.4183701880494),
    ),
    # kuangliu/pytorch-cifar: the deviations are means of the images' own. Used by osmr for CIFAR-100, too.
    "kuangliu": _of_unit_scale((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": _of_unit_scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": _of_unit_scale((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": _of_unit_scale((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "chenyaofo_cifar100": _of_unit_scale((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
    "weiaicunzai": _of_unit_scale((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "hendrycks": ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
}


def statistics_from(value: Any) -> Statistics:
    """Return statistics as weight files record them: by name if they have one, else by value.

    Args:
        value: A name; {"mean": [r, g, b], "std": [r, g, b]} on 0-255; or a pair (mean, std) of three numbers each, on
            0-1 if none is above 1, else on 0-255.

    Raises:
        ModelError: it is none of these, a deviation is not positive, or the numbers cannot be on that scale.
    """
    if isinstance(value, str):
        if value not in (*STATISTICS, PER_PIXEL):
            raise ModelError(f"statistics: {value!r} is not one of {', '.join((*STATISTICS, PER_PIXEL))}")
        return value
    try:
        by_name = isinstance(value, dict) and set(value) == {"mean", "std"}
        mean, std = (_channels(part) for part in ((value["mean"], value["std"]) if by_name else value))
    except (TypeError, ValueError):
        received = " ".join(repr(value).split())
        raise ModelError(
            f"statistics: expected a name, (mean, std) or {{'mean': ..., 'std': ...}} with three numbers each, "
            f"got {received:.100}"
        ) from None
    if min(std) <= 0:
        raise ModelError(f"statistics: deviations are positive, got {std}")
    if not by_name and max(*mean, *std) <= 1:
        mean, std = map(list, _of_unit_scale(mean, std))
    if min(std) < 1 or max(*mean, *std) > 1000 or 0 < max(map(abs, mean)) < 1:
        expected = (
            "a dictionary's numbers are on 0-255; write [[MEAN], [DEVIATION]] for numbers on 0-1"
            if by_name
            else "a pair's numbers are all on 0-1 if none is above 1, else all on 0-255"
        )
        received = " ".join(repr(value).split())
        raise ModelError(f"statistics: {received:.150} is not on one scale: {expected}")
    for name, known in STATISTICS.items():
        if all(math.isclose(*pair, rel_tol=1e-7) for pair in zip((*mean, *std), (*known[0], *known[1]), strict=True)):
            return name
    return {"mean": mean, "std": std}


def _channels(values: Iterable[float]) -> list[float]:
    """Return three finite numbers.

    Raises:
        TypeError, ValueError: they are not.
    """
    red, green, blue = values
    numbers = [float(red), float(green), float(blue)]
    if isinstance(values, str) or not all(map(math.isfinite, numbers)):
        raise ValueError(values)
    return numbers


def same_statistics(one: Statistics | None, other: Statistics | None) -> bool:
    """Whether both normalize alike. None normalizes nothing; what is not valid equals only itself."""
    try:
        return (one and statistics_from(one)) == (other and statistics_from(other))
    except ModelError:
        return one == other


def text_of(statistics: Statistics) -> str:
    """Return statistics for a message: the name, or the numbers on 0-255."""
    if isinstance(statistics, str):
        return statistics
    mean, std = (", ".join(f"{value:g}" for value in statistics.get(key, ())) for key in ("mean", "std"))
    return f"mean ({mean}) and deviation ({std}) on 0-255"


def channel_statistics(statistics: Statistics) -> tuple[list[float], list[float]]:
    """Return the means and standard deviations (R, G, B; 0-255) of statistics, or of a data set's training images.

    Raises:
        ModelError: there is one mean per pixel instead.
    """
    if isinstance(statistics, dict):
        return list(statistics["mean"]), list(statistics["std"])
    if statistics == PER_PIXEL:
        raise ModelError(f"statistics: {PER_PIXEL!r} has a mean per pixel, not per channel")
    mean, std = STATISTICS[BORROWED.get(statistics, statistics)]
    return list(mean), list(std)


def scale_and_offset(statistics: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """Return what normalizes pixels in 0-255 as `pixel * scale + offset`.

    Returns:
        float32: the scale, [3], and the offset, [3], or [32, 32, 3] of statistics per pixel.
    """
    if statistics == PER_PIXEL:
        return np.full(3, 1 / 255, np.float32), (-mean_image() / 255).astype(np.float32)
    mean, std = (np.array(values) for values in channel_statistics(statistics))
    return (1 / std).astype(np.float32), (-mean / std).astype(np.float32)


def measure_statistics(images: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation of each channel of uint8 images [n, height, width, 3], exactly.

    A deviation below 1, as of images of one color, counts as 1, and means below 1, as of black images, as 0: smaller
    numbers would look like statistics on 0-1.
    """
    values, means, deviations = np.arange(256, dtype=np.float64), [], []
    for channel in range(3):
        counts = sum(
            np.bincount(images[first : first + 1000, ..., channel].ravel(), minlength=256)
            for first in range(0, len(images), 1000)
        )
        mean = float(counts @ values / np.sum(counts))
        means.append(mean)
        deviations.append(max(1.0, float(np.sqrt(counts @ (values - mean) ** 2 / np.sum(counts)))))
    return {"mean": means if max(means) >= 1 else [0.0, 0.0, 0.0], "std": deviations}


def mean_image() -> np.ndarray:
    """Return the mean of CIFAR-10's training images, float64 [32, 32, 3] on 0-255."""
    sums = json.loads(MEAN_IMAGE.read_text(encoding="utf-8"))
    return np.array(sums, np.float64).reshape(32, 32, 3) / 50_000


def mean_color(dataset: str) -> tuple[int, int, int]:
    """Return the mean color of a data set's training images, rounded to whole pixel values."""
    red, green, blue = (round(value) for value in channel_statistics(dataset)[0])
    return red, green, blue


def patch_covariance(dataset: str, size: int = 3, statistics: Statistics | None = None) -> np.ndarray:
    """Return the covariance of the patches of a data set's normalized training images.

    Args:
        dataset: Name of the data set.
        statistics: What normalizes the images; by default the data set's own statistics. Only the deviations count.
        size: Height and width of a patch, at most 3. Patches smaller than 3x3 are the upper left corners of 3x3
            patches, so those along the lower and right border are not counted.

    Returns:
        float64 [3 * size², 3 * size²]. A patch is flattened row by row, the three channels of a pixel together.
    """
    upper = json.loads(PATCH_COVARIANCES.read_text(encoding="utf-8"))[BORROWED.get(dataset, dataset)]
    covariance = np.zeros((27, 27))
    covariance[np.triu_indices(27)] = upper
    covariance += np.triu(covariance, 1).T
    corner = np.arange(27).reshape(3, 3, 3)[:size, :size].ravel()
    covariance = covariance[np.ix_(corner, corner)]
    if statistics is None or same_statistics(statistics, dataset):
        return covariance
    own, others = scale_and_offset(dataset)[0], scale_and_offset(statistics)[0]
    ratios = np.tile(others.astype(np.float64) / own, size**2)
    return covariance * np.outer(ratios, ratios)


def measure_patch_covariance(images: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Measure the covariance of all 3x3 patches of images [n, height, width, 3], normalized with `mean` and `std`.

    Returns:
        float64 [27, 27], in the order of `patch_covariance`.
    """
    count, total, products = 0, np.zeros(27), np.zeros((27, 27))
    for start in range(0, len(images), 1000):
        x = (images[start : start + 1000] - np.array(mean)) / np.array(std)
        height, width = x.shape[1] - 2, x.shape[2] - 2
        neighbors = [x[:, row : row + height, column : column + width] for row in range(3) for column in range(3)]
        patches = np.concatenate(neighbors, axis=-1).reshape(-1, 27)
        count, total, products = count + len(patches), total + patches.sum(0), products + patches.T @ patches
    return products / count - np.outer(total / count, total / count)
