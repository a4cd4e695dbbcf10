"""Whole data sets in memory, and where they come from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarzoo.data import archives, synthetic
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.data.splits import SPLITS, published_split
from cifarzoo.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels in canonical order.

    Attributes:
        images: uint8 [n, 32, 32, 3], red, green, blue.
        labels: int32 [n]; CIFAR-100's fine labels.
        coarse_labels: int32 [n], CIFAR-100 only.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at these places, copied."""
        coarse = None if self.coarse_labels is None else self.coarse_labels[indices]
        return Split(self.images[indices], self.labels[indices], coarse)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes:
        name: "cifar10", "cifar100" or "synthetic".
        class_names: What the labels mean, in order.
        coarse_class_names: What the coarse labels mean, CIFAR-100 only.
        train: 50,000 images; 10,000 in `synthetic`.
        test: 10,000 images; 2,000 in `synthetic`.
    """

    name: str
    class_names: tuple[str, ...]
    coarse_class_names: tuple[str, ...] | None
    train: Split
    test: Split

    @property
    def classes(self) -> int:
        """How many (fine) classes there are."""
        return len(self.class_names)

    def split(self, name: str) -> Split:
        """The images of "train", of "test", or of a part of the published split, "train45k" or "validation".

        `cifarzoo.data.splits` says which images the parts have. `synthetic` has 9,000 and 1,000 under the same names.

        Raises:
            DataError: another name.
        """
        if name not in SPLITS:
            raise DataError(f"split {name!r} of {self.name} does not exist; the splits are {', '.join(SPLITS)}")
        if name in ("train", "test"):
            return getattr(self, name)
        train45k, validation = published_split(self.train.labels)
        return self.train.take(train45k if name == "train45k" else validation)


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Load "cifar10", "cifar100" or "synthetic" (drawn on the spot) into memory.

    CIFAR comes from an official archive, unpacked or not, in `data_dir` if that is given, else in `$CIFARZOO_DATA`,
    else in Keras' cache; where there is none and no `data_dir` was given, TFDS downloads and prepares it. All give the
    same arrays. Only TFDS writes to disk.

    Args:
        name: The data set.
        data_dir: The folder that holds the archive, or the archive itself.

    Raises:
        DataError: an unknown name, no archive, or one that is broken (a broken one is never passed over in silence).
    """
    if name not in CLASS_NAMES:
        raise DataError(f"data set {name!r} does not exist; the data sets are {', '.join(CLASS_NAMES)}")
    if name == "synthetic":
        train, test = (Split(images, labels) for images, labels in synthetic.draw())
    else:
        train, test = (_as_split(records) for records in _records(name, data_dir))
    return Dataset(name, *CLASS_NAMES[name], train, test)


def _as_split(records):
    labels = records.labels
    return Split(records.images, labels.get("label", labels.get("fine label")), labels.get("coarse label"))


def _records(name, data_dir):
    folders = archives.search_folders(data_dir)
    for folder in folders:
        if archive := archives.find(name, folder):
            return archives.read(*archive)
    looked = f"no {name} archive in {' or '.join(map(str, folders))}; expected one of {archives.expected_names(name)}"
    if data_dir is not None:
        raise DataError(f"{looked}. The data set 'synthetic' needs no download")

    from cifarzoo.data import tfds  # only now: it brings TensorFlow

    try:
        return tfds.read(name)
    except DataError as error:
        raise DataError(
            f"{looked}; and TFDS did not provide it ({error}). Set CIFARZOO_DATA to the folder that holds such an "
            "archive (https://www.cs.toronto.edu/~kriz/cifar.html), or use 'synthetic', which needs no download"
        ) from error
