"""Load whole data sets into memory, or make one of your own arrays."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.data import archives, own_images, synthetic
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.data.download import download
from cifarzoo.data.info import DatasetInfo, Inputs, check_name, info
from cifarzoo.data.own_data import LARGEST, SMALLEST, OwnData, source_from
from cifarzoo.data.splits import SPLITS, published_split
from cifarzoo.data.statistics import mean_color, measure_statistics
from cifarzoo.data.subsets import Subset, is_subset, parse
from cifarzoo.errors import DataError
from cifarzoo.notebook import html_pairs


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels in canonical order.

    Attributes:
        images: uint8 [n, height, width, 3], red, green, blue; square, and 32 x 32 in the built-in data sets.
        labels: int32 [n]; CIFAR-100's fine labels. Where there are `soft_labels`, the most probable classes.
        coarse_labels: int32 [n], CIFAR-100 only.
        soft_labels: float32 [n, classes], probabilities to train on instead of `labels`; None for most data sets.
        clean_labels: int32 [n], the data set's own labels where an experiment replaced `labels`, else None.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse_labels: np.ndarray | None = None
    soft_labels: np.ndarray | None = None
    clean_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split: {len(self):,} images>"

    def take(self, indices: np.ndarray | slice) -> "Split":
        """Return the images at these indices: a copy, or a view for a slice."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return Split(**{name: array[indices] for name, array in arrays.items() if array is not None})

    @property
    def targets(self) -> np.ndarray:
        """What to train on: `soft_labels`, float32 [n, classes], or else `labels`, int32 [n]."""
        return self.labels.astype(np.int32, copy=False) if self.soft_labels is None else self.soft_labels

    def cleaned(self) -> "Split":
        """Return the same images with the data set's own labels."""
        if self.clean_labels is None:
            return self
        return replace(self, labels=self.clean_labels, soft_labels=None, clean_labels=None)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes:
        name: "cifar10", "cifar100", "cifar100_coarse", "synthetic" or the user's own name.
        class_names: What the labels mean, in order.
        coarse_class_names: What the coarse labels mean, CIFAR-100 only.
        train: 50,000 images of CIFAR, 10,000 of `synthetic`.
        test: 10,000 images of CIFAR, 2,000 of `synthetic`.
        parts: Positions in `train` of the images of "train45k" and "validation", where `published_split` of the labels
            does not say it: for superclasses, dropped images and changed labels; and of the parts in an experiment.
    """

    name: str
    class_names: tuple[str, ...]
    coarse_class_names: tuple[str, ...] | None
    train: Split
    test: Split
    parts: dict[str, np.ndarray] | None = None

    def __repr__(self) -> str:
        """Return the line that notebooks and the interpreter show."""
        return (
            f"<Dataset {self.name}: {len(self.train):,} training and {len(self.test):,} test images, "
            f"{self.classes} classes>"
        )

    def _repr_html_(self) -> str:
        names = ", ".join(self.class_names[:20]) + (", ..." if self.classes > 20 else "")
        counts = {"training images": len(self.train), "test images": len(self.test), "classes": self.classes}
        return html_pairs({key: f"{count:,}" for key, count in counts.items()} | {"names": names}, self.name)

    @classmethod
    def from_arrays(
        cls,
        name: str,
        train: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        class_names: Sequence[str] | None = None,
    ) -> "Dataset":
        """Make a data set of your own arrays.

        Args:
            name: What runs record; not the name of a built-in data set.
            train: Images uint8 [n, height, width, 3], square, and labels [n], integers from 0.
            test: The same, held out from training.
            class_names: One name per class; by default "0", "1", ... up to the largest training label.

        Raises:
            DataError: the name is taken, an array has another shape or dtype, or a label has no class.
        """
        if name in CLASS_NAMES:
            raise DataError(f"data set {name!r}: the name of a built-in data set; choose another")
        splits = _checked_split(name, "train", *train), _checked_split(name, "test", *test)
        sizes = [split.images.shape[1] for split in splits]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"data set {name!r}: training images are {sizes[0]} pixels wide and test images {sizes[1]}; expected "
                "one size"
            )
        names = "" if class_names is None else f", one for each of the {len(class_names)} class names"
        if class_names is None:
            class_names = tuple(str(label) for label in range(int(splits[0].labels.max()) + 1))
        for part, split in zip(("train", "test"), splits, strict=True):
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(class_names):
                most = f"{len(class_names) - 1}{names}"
                raise DataError(f"data set {name!r}: {part} labels are integers from 0 to {most}, got {low} to {high}")
        return cls(name, tuple(class_names), None, *splits)

    @property
    def classes(self) -> int:
        """Number of (fine) classes."""
        return len(self.class_names)

    @functools.cached_property
    def inputs(self) -> Inputs:
        """What a network has to know about the images."""
        own = None if self.name in CLASS_NAMES else measure_statistics(self.train.images)
        return Inputs(self.train.images.shape[1], own)

    @property
    def mean_color(self) -> tuple[int, int, int]:
        """The mean color of the training images, rounded to whole pixel values."""
        if self.inputs.statistics is None:
            return mean_color(self.name)
        red, green, blue = (round(value) for value in self.inputs.statistics["mean"])
        return red, green, blue

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the names of the classes, the images and the labels."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for split in (self.train, self.test):
            digest.update(np.ascontiguousarray(split.images).data)
            digest.update(np.ascontiguousarray(split.labels).data)
        return digest.hexdigest()

    def size(self, name: str) -> int:
        """Return the number of images of a split; see `split`."""
        if name in ("train", "test"):
            return len(getattr(self, name))
        return len(self.positions(name))

    def split(self, name: str) -> Split:
        """Return the images of "train", "test", "train45k", "validation", or of a part of a training split.

        `cifarzoo.data.splits` and `cifarzoo.data.subsets` say which images they have. Labels of "validation" are the
        data set's own, even where those of training images were replaced.

        Raises:
            DataError: another name.
        """
        if name in ("train", "test"):
            return getattr(self, name)
        part = self.train.take(self.positions(name))
        return part.cleaned() if name == "validation" else part

    def positions(self, name: str) -> np.ndarray:
        """Return the positions in `train` of "train45k", of "validation" or of a part (`data.subsets`), ascending.

        Raises:
            DataError: another name.
        """
        if self.parts is not None and name in self.parts:
            return self.parts[name]
        if is_subset(name):
            return self.subset(parse(name))
        if name not in SPLITS:
            raise DataError(f"split {name!r} of {self.name} does not exist; the splits are {', '.join(SPLITS)}")
        train45k, validation = published_split(self.train.labels)
        return train45k if name == "train45k" else validation

    def subset(self, subset: Subset, read: Callable[[str], np.ndarray] | None = None) -> np.ndarray:
        """Return the positions in `train` of a part of a split, ascending; see `Subset.choose`.

        Classes are the data set's own, even where an experiment replaced labels.

        Raises:
            DataError: see `Subset.choose`.
        """
        base = np.arange(len(self.train)) if subset.base == "train" else self.positions(subset.base)
        return base[subset.choose(self.train.cleaned().labels[base], read)]


def _checked_split(name: str, part: str, images: np.ndarray, labels: np.ndarray) -> Split:
    images, labels = np.asarray(images), np.asarray(labels)
    square = images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] == 3
    if images.dtype != np.uint8 or not square or not len(images) or not SMALLEST <= images.shape[1] <= LARGEST:
        raise DataError(
            f"data set {name!r}: {part} images are uint8 [n, 32, 32, 3], got {images.dtype} {list(images.shape)}; "
            f"other squares are valid, too, from {SMALLEST} to {LARGEST} pixels"
        )
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels  # as Keras' own data sets have it
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"data set {name!r}: {part} labels are integers [{len(images)}], got {labels.dtype} {list(labels.shape)}"
        )
    return Split(images, labels.astype(np.int32))


def facts(name: str | OwnData, data_dir: str | Path | None = None) -> "Dataset | DatasetInfo":
    """Return the sizes of a built-in data set, or load images of the user's own, which alone know theirs.

    Raises:
        DataError: as `load`.
    """
    return info(name) if isinstance(name, str) else load(name, data_dir)


def load(name: str | OwnData | Mapping[str, Any], data_dir: str | Path | None = None) -> Dataset:
    """Load "cifar10", "cifar100", "cifar100_coarse", "synthetic" (drawn, not read) or images of your own into memory.

    CIFAR comes from an official archive, unpacked or not, in `data_dir` if you pass it, else in `$CIFARZOO_DATA`, else
    in Keras' cache. If there is none and no `data_dir`, it is downloaded into Keras' cache. Every form gives the same
    arrays. "cifar100_coarse" is CIFAR-100 with its twenty superclasses as labels, and has the
    same splits.

    Args:
        name: The data set; or where your own images are, as an experiments file says it: `{"folder": PATH}`,
            `{"arrays": "FILE.npz"}` or `{"tfds": NAME}`, each with further settings.
        data_dir: The folder that holds the archive, or the archive itself; for TFDS its folder.

    Raises:
        DataError: an unknown name, no archive and no download, or one that is broken (it is never skipped); images that
            are missing, unreadable or too many for this machine's memory.
        ExperimentError: a setting of your own images does not fit.
    """
    if not isinstance(name, str):
        source = source_from(name)
        arrays = own_images.read(source, data_dir)
        return Dataset.from_arrays(source.known_name, arrays.train, arrays.test, arrays.class_names)
    check_name(name)
    if name == "synthetic":
        train, test = (Split(images, labels) for images, labels in synthetic.draw())
    elif name == "cifar100_coarse":
        return _with_coarse_labels(load("cifar100", data_dir))
    else:
        train, test = (_as_split(records) for records in _records(name, data_dir))
    return Dataset(name, *CLASS_NAMES[name], train, test)


def _with_coarse_labels(fine: Dataset) -> Dataset:
    """Return CIFAR-100 with its superclasses as labels; the parts are those of the fine labels."""
    name = "cifar100_coarse"
    train, test = (Split(split.images, np.asarray(split.coarse_labels)) for split in (fine.train, fine.test))
    parts = dict(zip(("train45k", "validation"), published_split(fine.train.labels), strict=True))
    return Dataset(name, *CLASS_NAMES[name], train, test, parts)


def _as_split(records: archives.Records) -> Split:
    labels = records.labels
    fine = labels["label"] if "label" in labels else labels["fine label"]
    return Split(records.images, fine, labels.get("coarse label"))


def _records(name: str, data_dir: str | Path | None) -> tuple[archives.Records, archives.Records]:
    folders = archives.search_folders(data_dir)
    for folder in folders:
        if archive := archives.find(name, folder):
            return archives.read(*archive)
    looked = f"no {name} archive in {' or '.join(map(str, folders))}; expected one of {archives.expected_names(name)}"
    if data_dir is not None:
        raise DataError(f"{looked}. The data set 'synthetic' needs no download")

    try:
        path = download(name, folders[-1])
    except DataError as error:
        raise DataError(
            f"{looked}; and it was not downloaded ({error}). Set CIFARZOO_DATA to the folder that holds such an "
            "archive (https://www.cs.toronto.edu/~kriz/cifar.html), or use 'synthetic', which needs no download"
        ) from error
    return archives.read(next(form for form in archives.FORMS if form.tar == path.name), path)
