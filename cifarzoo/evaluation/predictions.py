"""Logits and labels of whole splits, from which all metrics are computed, and the file that holds them.

No Keras is needed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo import npz
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
    """What a network predicts for the images of some splits.

    Attributes:
        weights: Where the network's weights come from, for reports.
        dataset: Name of the data set, "" if unknown.
        train_split: The split that the network was trained on, "train" or "train45k"; "" if unknown.
        class_names: Names of the classes; () stands for those of the data set, or numbers if it is unknown.
        logits: Per split, float32 [images, classes], images in canonical order. "train" holds all training images,
            those of "validation" included.
        labels: Per split, int32 [images].
        soft_labels: float32 [images, classes] of the splits that have them; the NLL is the cross-entropy with them.
        measured: Per split, what was measured besides the logits: `images_per_second`, and for a network with gates how
            much it computes.
    """

    weights: str
    dataset: str = ""
    train_split: str = ""
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    soft_labels: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.class_names and self.dataset in CLASS_NAMES:
            self.class_names = CLASS_NAMES[self.dataset][0]

    def save(self, path: Path) -> None:
        """Write an `.npz` file.

        It holds `test_logits`, `test_labels`, where there are any `test_soft_labels`, and so on; `weights`,
        `dataset`, `train_split` and `class_names`.

        Raises:
            DataError: the file cannot be written.
        """
        arrays: dict[str, Any] = {"weights": self.weights, "dataset": self.dataset, "train_split": self.train_split}
        if self.class_names:
            arrays["class_names"] = np.array(self.class_names)
        arrays |= {f"{split}_logits": values for split, values in self.logits.items()}
        arrays |= {f"{split}_labels": self.labels[split] for split in self.logits}
        arrays |= {f"{split}_soft_labels": values for split, values in self.soft_labels.items()}
        try:
            with open(path, "wb") as file:  # given a path, NumPy would append .npz to it
                np.savez_compressed(file, **arrays)
        except OSError as failure:
            raise DataError(f"{path}: cannot be written ({failure.strerror or failure})") from None

    def describe(self, split: str = "test") -> dict[str, Any]:
        """Compute all metrics of a split.

        Returns:
            `weights`, `dataset`, `split`; the metrics of `classification_metrics`; what `measured` has for the split;
            `class_error` in percent per class (None for a class without images); `confusion`, one row per true class;
            `temperature`, None without logits of "validation": its `value`, the images it was `fitted_on`, whether the
            network was `trained_on_them` (None if unknown), and the split's `nll` and `ece` after division by it.

        Raises:
            DataError: the split is missing, or its logits and labels do not match.
        """
        if split not in self.logits:
            raise DataError(f"{self.weights}: no logits of {split!r}, only of {', '.join(self.logits)}")
        logits, labels = self.logits[split], self.labels[split]
        metrics: dict[str, Any] = {"weights": self.weights, "dataset": self.dataset, "split": split}
        metrics |= classification_metrics(logits, labels, self.soft_labels.get(split))
        metrics |= self.measured.get(split, {})
        confusion = confusion_matrix(logits, labels)
        errors = [None if not row.sum() else 100 * float(1 - row[k] / row.sum()) for k, row in enumerate(confusion)]
        names = self.class_names or map(str, range(len(errors)))
        metrics["class_error"] = dict(zip(names, errors, strict=True))
        metrics["confusion"] = confusion.tolist()
        metrics["temperature"] = self._temperature(split) if "validation" in self.logits else None
        return metrics

    def _temperature(self, split: str) -> dict[str, Any]:
        logits, labels = self.logits["validation"], self.labels["validation"]
        images = classification_metrics(logits, labels)["n"]  # also checks logits and labels
        value = fit_temperature(logits, labels)
        after = classification_metrics(self.logits[split] / value, self.labels[split], self.soft_labels.get(split))
        return {
            "value": value,
            "fitted_on": f"validation, {images:,} images",
            "trained_on_them": {"train": True, "train45k": False}.get(self.train_split),
            "nll": after["nll"],
            "ece": after["ece"],
        }


def load_predictions(path: Path) -> Predictions:
    """Read a file that `Predictions.save` wrote, or one with such arrays from elsewhere.

    Only the logits and labels of one split are required: `test_logits` [images, classes] and `test_labels` [images], or
    the same for "train", "train45k" or "validation".

    Raises:
        DataError: the file cannot be read, its arrays have wrong shapes or types, or a split does not have all the
            images of the data set that the file names.
    """
    try:
        arrays = npz.read(path)
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise DataError(f"{path}: cannot be read ({reason})") from None
    names = tuple(map(str, np.atleast_1d(arrays.get("class_names", np.array(())))))
    predictions = Predictions(
        str(arrays.get("weights", path)),
        dataset=str(arrays.get("dataset", "")),
        train_split=str(arrays.get("train_split", "")),
        class_names=names,
    )
    if predictions.dataset and not predictions.class_names:
        known = ", ".join(CLASS_NAMES)
        raise DataError(f"{path}: unknown data set {predictions.dataset!r} without class_names; known are {known}")
    for split in SPLITS:
        if f"{split}_logits" not in arrays:
            continue
        logits, labels = arrays[f"{split}_logits"], arrays.get(f"{split}_labels", np.zeros(0))
        _check_pair(path, split, logits, labels, _classes(predictions))
        images = IMAGES[split] if predictions.dataset in ("cifar10", "cifar100", "cifar100_coarse") else len(labels)
        if len(labels) != images:
            raise DataError(
                f"{path}: {split} of {predictions.dataset} has {images:,} images, the file has {len(labels):,}"
            )
        with np.errstate(over="ignore"):  # `describe` refuses infinite logits
            predictions.logits[split] = logits.astype(np.float32)
        predictions.labels[split] = labels.astype(np.int32)
        if (soft := arrays.get(f"{split}_soft_labels")) is not None:
            if soft.shape != logits.shape or soft.dtype.kind != "f":
                raise DataError(
                    f"{path}: expected {split}_soft_labels {list(logits.shape)}, floats, got {soft.dtype} "
                    f"{list(soft.shape)}"
                )
            predictions.soft_labels[split] = soft.astype(np.float32)
    if not predictions.logits:
        raise DataError(f"{path}: expected test_logits and test_labels, got {', '.join(arrays) or 'nothing'}")
    return predictions


def _classes(predictions: Predictions) -> int | None:
    """The number of classes that all logits must have; None until it is known."""
    shapes = [logits.shape[1] for logits in predictions.logits.values()]
    return len(predictions.class_names) or (shapes[0] if shapes else None)


def _check_pair(path: Path, split: str, logits: np.ndarray, labels: np.ndarray, classes: int | None) -> None:
    """Raise a DataError unless these are logits [images, classes] and labels [images]."""
    matches = logits.ndim == 2 and labels.shape == logits.shape[:1] and len(labels)
    if not matches or logits.shape[1] != (classes or logits.shape[1]):
        raise DataError(
            f"{path}: expected {split}_logits [images, {classes or 'classes'}] and {split}_labels [images], "
            f"got {list(logits.shape)} and {list(labels.shape)}"
        )
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {split}_logits must be floats and {split}_labels integers, got {logits.dtype}, {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= 2**31:
        raise DataError(f"{path}: {split}_labels are from {labels.min()} to {labels.max()}, not numbers of classes")
    if are_probabilities(logits):
        raise DataError(f"{path}: {split}_logits are probabilities; expected logits, the values before the softmax")
