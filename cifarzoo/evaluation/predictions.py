"""Logits and labels of whole splits: what every number of an evaluation is computed from, and their file."""

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.data.splits import IMAGES, SPLITS
from cifarzoo.errors import DataError
from cifarzoo.metrics import (
    are_probabilities,
    classification_metrics,
    confusion_matrix,
    fit_temperature,
)


@dataclass
class Predictions:
    """What a network says of the images of some splits.

    Attributes:
        weights: Where the network's weights are from, for people.
        dataset: "cifar10", "cifar100", "synthetic", or "" if unknown.
        train_split: What the network was trained on, "train" or "train45k", or "" if unknown.
        logits: By split, float32 [images, classes], images in canonical order. "train" are all training images, those
            of "validation" among them.
        labels: By split, int32 [images].
        measured: By split, what the network was seen to do beside them: `images_per_second`, of one with gates also
            how much it computes.
    """

    weights: str
    dataset: str = ""
    train_split: str = ""
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    measured: dict[str, dict[str, float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write an `.npz` file with `test_logits`, `test_labels` and so on, `weights`, `dataset` and `train_split`.

        Raises:
            DataError: it cannot be written.
        """
        arrays = {f"{split}_logits": values for split, values in self.logits.items()}
        arrays |= {f"{split}_labels": self.labels[split] for split in self.logits}
        about = {"weights": self.weights, "dataset": self.dataset, "train_split": self.train_split}
        try:
            with open(path, "wb") as file:  # under just this name, which NumPy would lengthen
                np.savez_compressed(file, **about, **arrays)
        except OSError as failure:
            raise DataError(f"{path}: cannot be written ({failure.strerror or failure})") from None

    def describe(self, split: str = "test") -> dict:
        """All metrics of a split.

        Returns:
            `weights`, `dataset`, `split`; what `classification_metrics` returns; what is in `measured` of the split;
            `class_error` in percent by class (None for a class without images); `confusion`, rows by true class;
            `temperature`, None without "validation": its `value`, the images it was `fitted_on`, whether the network
            was `trained_on_them` (None if unknown), `nll` and `ece` of the split after division by it.

        Raises:
            DataError: the split is missing, or its arrays do not fit together.
        """
        if split not in self.logits:
            raise DataError(f"{self.weights}: no logits of {split!r}, only of {', '.join(self.logits)}")
        logits, labels = self.logits[split], self.labels[split]
        found = {"weights": self.weights, "dataset": self.dataset, "split": split}
        found |= classification_metrics(logits, labels)
        found |= self.measured.get(split, {})
        confusion = confusion_matrix(logits, labels)
        errors = [None if not row.sum() else 100 * float(1 - row[k] / row.sum()) for k, row in enumerate(confusion)]
        found["class_error"] = dict(zip(self.class_names(), errors, strict=True))
        found["confusion"] = confusion.tolist()
        found["temperature"] = self._temperature(split) if "validation" in self.logits else None
        return found

    def class_names(self) -> list[str]:
        """The data set's names of the classes, or numbers where it is unknown."""
        classes = next(iter(self.logits.values())).shape[1]
        return list(CLASS_NAMES[self.dataset][0]) if self.dataset else [str(k) for k in range(classes)]

    def _temperature(self, split):
        logits, labels = self.logits["validation"], self.labels["validation"]
        images = classification_metrics(logits, labels)["n"]  # and checks them
        value = fit_temperature(logits, labels)
        after = classification_metrics(self.logits[split] / value, self.labels[split])
        return {
            "value": value,
            "fitted_on": f"validation, {images:,} images",
            "trained_on_them": {"train": True, "train45k": False}.get(self.train_split),
            "nll": after["nll"],
            "ece": after["ece"],
        }


def load_predictions(path: Path) -> Predictions:
    """Read a file that `Predictions.save` wrote, or one of another program with such arrays.

    Only the pairs of logits and labels are needed: `test_logits` [images, classes] and `test_labels` [images], and the
    same for "train", "train45k" and "validation".

    Raises:
        DataError: no such file, not such a file, arrays whose shapes or types do not belong together, or not all
            images of the data set that it names.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # An .npy file gives an array, which is no context: a TypeError.
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as failure:
        reason = getattr(failure, "strerror", None) or "not an .npz file of plain arrays"
        raise DataError(f"{path}: cannot be read ({reason})") from None
    about = {name: str(arrays[name]) for name in ("dataset", "train_split") if name in arrays}
    found = Predictions(f"{arrays.get('weights', path)}", **about)
    if found.dataset and found.dataset not in CLASS_NAMES:
        raise DataError(f"{path}: of the data set {found.dataset!r}; known are {', '.join(CLASS_NAMES)}")
    classes = len(CLASS_NAMES[found.dataset][0]) if found.dataset else None
    for split in SPLITS:
        if f"{split}_logits" not in arrays:
            continue
        logits, labels = arrays[f"{split}_logits"], arrays.get(f"{split}_labels", np.zeros(0))
        classes = classes or (logits.shape[1] if logits.ndim == 2 else None)
        if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels) or logits.shape[1] != classes:
            raise DataError(
                f"{path}: {split}_logits [images, {classes or 'classes'}] and {split}_labels [images] expected, "
                f"got {list(logits.shape)} and {list(labels.shape)}"
            )
        if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
            raise DataError(
                f"{path}: {split}_logits must be floats and {split}_labels integers, got {logits.dtype}, {labels.dtype}"
            )
        if are_probabilities(logits):
            raise DataError(f"{path}: {split}_logits are probabilities; logits are expected, from before the softmax")
        wanted = IMAGES.get(split) if found.dataset in ("cifar10", "cifar100") else None
        if wanted and len(labels) != wanted:
            raise DataError(f"{path}: {split} of {found.dataset} has {wanted:,} images, the file {len(labels):,}")
        found.logits[split], found.labels[split] = logits.astype(np.float32), labels.astype(np.int32)
    if not found.logits:
        raise DataError(f"{path}: holds no test_logits and test_labels, but {', '.join(arrays) or 'nothing'}")
    return found
