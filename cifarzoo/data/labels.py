"""Other labels for the images of a data set: checked arrays, and synthetic noise; and images to leave out.

Noise is a pure function of its seed and of each image's position in the training split in canonical order: the same for
"train" and "train45k", and whatever is dropped. It uses NumPy's `RandomState`, whose stream never changes.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cifarzoo.data.classes import CIFAR100_SUPERCLASSES
from cifarzoo.data.dataset import Dataset, Split
from cifarzoo.errors import DataError

# What makes the stream of noise differ from all other streams of the same seed.
NOISE_STREAM = 0x6C6162
# Largest difference from 1 of a row of probabilities, and per class: files round to float16, or to three decimals.
ROUNDING, ROUNDING_PER_CLASS = 1e-2, 5e-4

# Patrini et al. 2017, https://arxiv.org/abs/1609.03683, section 5.
CIFAR10_PAIRS = {
    "truck": "automobile",
    "bird": "airplane",
    "deer": "horse",
    "cat": "dog",
    "dog": "cat",
}


def checked_labels(values: np.ndarray, images: int, classes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Check an array of labels.

    Args:
        values: Integers [n]; or a row per image, [n, classes], of probabilities or of counts, as of annotators.
        images: The number of images, n.
        classes: The number of classes.

    Returns:
        int32 [n], the labels or the most probable classes; and float32 [n, classes], None unless there is a row per
        image. Rows are divided by their sums.

    Raises:
        DataError: length, dtype or values do not fit; the message does not say where the array comes from.
    """
    kind = values.dtype.kind
    if values.ndim == 2 and values.shape[1] == 1:  # as Keras' own data sets have it
        values = values[:, 0]
    expected = f"integers [{images:,}], or probabilities or counts [{images:,}, {classes}]"
    if kind not in "iuf" or values.shape not in ((images,), (images, classes)):
        raise DataError(f"expected {expected}, got {values.dtype} {list(values.shape)}")
    if values.ndim == 1 and kind == "f":
        raise DataError(f"expected {expected}, got {values.dtype} {list(values.shape)}; convert whole numbers to int")
    if values.ndim == 1:
        wrong = np.flatnonzero((values < 0) | (values >= classes))
        if len(wrong):
            raise DataError(f"labels are from 0 to {classes - 1}, got {values[wrong[0]]} for image {wrong[0]:,}")
        return values.astype(np.int32), None
    rows = values.astype(np.float64)
    sums = rows.sum(axis=1)
    bad = ~np.isfinite(sums) | (rows < 0).any(axis=1) | (sums <= 0)
    if kind == "f":
        bad |= abs(sums - 1) > max(ROUNDING, classes * ROUNDING_PER_CLASS)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        what = "probabilities are at least 0 and sum to 1" if kind == "f" else "counts are at least 0 and not all 0"
        raise DataError(f"{what} per image, got {_shown(values[first])} for image {first:,}")
    soft = rows / sums[:, None]
    return soft.argmax(axis=1).astype(np.int32), soft.astype(np.float32)


def _shown(row: np.ndarray) -> str:
    text = ", ".join(f"{value:g}" for value in row[:10])
    return f"[{text}{', ...' if len(row) > 10 else ''}]"


def symmetric_noise(
    labels: np.ndarray, classes: int, rate: float, seed: int = 0, include_true: bool = False
) -> np.ndarray:
    """Replace labels at random, int32 [n]: each with probability `rate`, independently of the others.

    The new label is uniform over the other classes, so that a share `rate` of all labels is wrong (the transition
    matrix has 1 - rate on its diagonal and rate / (classes - 1) elsewhere; Patrini et al. 2017, van Rooyen et al.
    2015). With `include_true` it is uniform over all classes, and a share of rate * (classes - 1) / classes is wrong
    (Zhang et al. 2017, DivideMix).

    Args:
        labels: int32 [n], in canonical order from the first training image.
        classes: Number of classes.
        rate: From 0 to 1.
        seed: Of the noise.
        include_true: Whether the new label may be the old one.
    """
    flipped, drawn = _draws(len(labels), seed)
    if include_true:
        new = np.floor(drawn * classes)
    else:
        new = np.floor(drawn * (classes - 1))
        new += new >= labels  # leaves out the true class
    return np.where(flipped < rate, new, labels).astype(np.int32)


def asymmetric_noise(labels: np.ndarray, targets: np.ndarray, rate: float, seed: int = 0) -> np.ndarray:
    """Replace labels by those of another class, int32 [n]: each with probability `rate`.

    Args:
        labels: int32 [n], in canonical order from the first training image.
        targets: int [classes], the new label of each class; a class that is its own target has no noise.
        rate: From 0 to 1.
        seed: Of the noise.
    """
    flipped, _ = _draws(len(labels), seed)
    return np.where(flipped < rate, targets[labels], labels).astype(np.int32)


def _draws(images: int, seed: int) -> np.ndarray:
    """Return two numbers per image, uniform in [0, 1): float64 [2, images]. They do not depend on `images`."""
    return np.random.RandomState([seed, NOISE_STREAM]).random_sample((images, 2)).T


def pair_targets(pairs: Mapping[str | int, str | int] | None, dataset: str, class_names: tuple[str, ...]) -> np.ndarray:
    """Return which label asymmetric noise gives to each class, int [classes].

    Args:
        pairs: From classes to classes, each by name or number. None for those of Patrini et al. 2017: five classes of
            CIFAR-10, and for CIFAR-100 the next class of the same superclass, the first after the last.
        dataset: Name of the data set.
        class_names: Its classes.

    Raises:
        DataError: there is no such class, or the data set has no pairs by default.
    """
    targets = np.arange(len(class_names))
    if pairs is None and dataset == "cifar100":
        superclasses = np.array(CIFAR100_SUPERCLASSES)
        for superclass in range(20):
            members = np.flatnonzero(superclasses == superclass)
            targets[members] = np.roll(members, -1)
        return targets
    if pairs is None and dataset != "cifar10":
        raise DataError(f"pairs: {dataset} has none by default; write pairs: {{FROM: TO, ...}} of classes")
    known: dict[int, str | int] = {}
    for old, new in (CIFAR10_PAIRS if pairs is None else pairs).items():
        label = _class(old, class_names)
        if label in known:
            raise DataError(f"pairs: {known[label]} and {old} are the same class; write one of them")
        known[label] = old
        targets[label] = _class(new, class_names)
        if targets[label] == label:
            raise DataError(f"pairs: {old} is paired with itself; leave it out")
    return targets


def _class(name: str | int, class_names: tuple[str, ...]) -> int:
    if isinstance(name, str) and name in class_names:
        return class_names.index(name)
    if isinstance(name, int) and 0 <= name < len(class_names):
        return name
    names = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
    raise DataError(f"pairs: expected classes or numbers from 0 to {len(class_names) - 1}, got {name!r:.100}: {names}")


def relabeled(split: Split, labels: np.ndarray, soft_labels: np.ndarray | None = None) -> Split:
    """Return a split with other labels, as `checked_labels` returns them; it keeps its own as `clean_labels`."""
    clean = split.cleaned().labels
    return replace(split, labels=labels, soft_labels=soft_labels, clean_labels=clean)


def with_training_labels(dataset: Dataset, labels: np.ndarray, soft_labels: np.ndarray | None = None) -> Dataset:
    """Return a data set with other labels of its training images; those of "validation" and "test" stay."""
    return replace(dataset, train=relabeled(dataset.train, labels, soft_labels), parts=_parts(dataset))


def without(dataset: Dataset, dropped: np.ndarray) -> Dataset:
    """Return a data set without some of its training images; "train45k" and "validation" lose the same ones.

    Args:
        dataset: The data set with all images.
        dropped: Their positions in `dataset.train`, integers [n].

    Raises:
        DataError: a position does not exist, or no image is left.
    """
    size = len(dataset.train)
    if wrong := [int(position) for position in dropped if not 0 <= position < size]:
        raise DataError(f"positions are from 0 to {size - 1:,}, got {wrong[0]:,}")
    is_kept = np.ones(size, bool)
    is_kept[dropped] = False
    position = np.cumsum(is_kept) - 1
    parts = {name: position[part[is_kept[part]]] for name, part in _parts(dataset).items()}
    if not len(parts["train45k"]):
        raise DataError(f"leaves no images of train45k, of {size:,} training images")
    return replace(dataset, train=dataset.train.take(np.flatnonzero(is_kept)), parts=parts)


def _parts(dataset: Dataset) -> dict[str, np.ndarray]:
    return (dataset.parts or {}) | {name: dataset.positions(name) for name in ("train45k", "validation")}


def changed(split: Split) -> int:
    """Return how many labels differ from the data set's own; of soft labels, the most probable class counts."""
    return 0 if split.clean_labels is None else int((split.labels != split.clean_labels).sum())
