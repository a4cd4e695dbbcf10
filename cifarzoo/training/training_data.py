"""What an experiment trains on: its data set with the labels of `labels`, without those of `drop`, and its splits."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import overload

import numpy as np

from cifarzoo.conversion.readers import READABLE, read_checkpoint
from cifarzoo.data import Dataset
from cifarzoo.data import labels as relabeling
from cifarzoo.data.dataset import Split
from cifarzoo.data.info import DatasetInfo
from cifarzoo.data.positions_file import read_npy, read_positions
from cifarzoo.data.subsets import is_subset, parse
from cifarzoo.errors import CifarzooError, DataError, ExperimentError
from cifarzoo.experiment.labels import LabelFile, Labels
from cifarzoo.experiment.schema import Experiment
from cifarzoo.strict_yaml import existing_file, shown

# Labels in another order agree with the data set's for one image of each `classes`; up to so many times as many are
# reported.
BY_CHANCE = 1.5


@overload
def training_data(experiment: Experiment, dataset: Dataset) -> Dataset: ...
@overload
def training_data(experiment: Experiment, dataset: Dataset | DatasetInfo) -> Dataset | DatasetInfo: ...
def training_data(experiment: Experiment, dataset: Dataset | DatasetInfo) -> Dataset | DatasetInfo:
    """Return a data set as an experiment trains on it.

    Args:
        experiment: The experiment.
        dataset: The data set that it names, or its sizes. Of sizes it is only estimated which part dropped images
            belong to.

    Raises:
        ExperimentError: a file is missing or does not fit the data set; the message names the key.
    """
    if experiment.labels is None and experiment.drop is None and not subsets(experiment):
        return dataset
    try:
        if isinstance(dataset, DatasetInfo):
            return _sizes(experiment, dataset)
        files = data_files(experiment).values()
        return _changed(dataset, _Changes(experiment, *((path, path.stat().st_mtime_ns) for path in files)))
    except CifarzooError as failure:
        raise ExperimentError(f"{experiment.location}: {failure}") from None


class _Changes:
    """The changes that an experiment makes, to compare: of the jobs of several seeds they are the same."""

    def __init__(self, experiment: Experiment, *files: tuple[Path, int]):
        self.experiment = experiment
        self._key = experiment.labels and repr(experiment.labels), repr(experiment.drop), subsets(experiment), files

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Changes) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@functools.lru_cache(maxsize=1)
def _changed(dataset: Dataset, changes: _Changes) -> Dataset:
    """Return the changed data set: the same one for all jobs of an experiment, because images may have been copied."""
    experiment = changes.experiment
    if subsets(experiment):  # first, so that they are the same whatever is dropped
        dataset = _with_subsets(experiment, dataset)
    if experiment.labels is not None:
        dataset = _with_labels(experiment, experiment.labels, dataset)
    return dataset if experiment.drop is None else _without_dropped(experiment, dataset)


def _sizes(experiment: Experiment, info: DatasetInfo) -> DatasetInfo:
    sizes, bases, positions = dict(info.images), dict[str, str](), dict[str, np.ndarray]()
    for key, name in subsets(experiment):
        subset = parse(name)
        labels = np.arange(sizes[subset.base]) % info.classes  # the real ones may give other images, of like number
        positions[key], bases[key] = subset.choose(labels, _reader(experiment, key)), subset.base
        sizes[name] = len(positions[key])
    base = bases.get("val_split", "")
    if base and (bases.get("train_split") == base or experiment.train_split in (base, "train")):
        train = positions.get("train_split", np.arange(sizes[base]))
        _check_disjoint(experiment, train, positions["val_split"])
    if experiment.drop is not None:
        dropped = len(set(dropped_positions(experiment).tolist()))
        for split in sizes.keys() - {"test", "validation"}:
            sizes[split] -= round(dropped * sizes[split] / info.size("train"))
    return dataclasses.replace(info, images=sizes)


def subsets(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    """Return the keys and names of the experiment's splits that are parts of another; see `data.subsets`."""
    splits = ("train_split", experiment.train_split), ("val_split", experiment.val_split)
    return tuple((key, name) for key, name in splits if is_subset(name))


def part_positions(experiment: Experiment, dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the positions of the images in the experiment's parts, in the data set before any were dropped.

    Args:
        experiment: The experiment.
        dataset: As `training_data` returns it.
    """
    dropped = np.unique(dropped_positions(experiment)) if experiment.drop is not None else np.zeros(0, np.int64)
    left = np.setdiff1d(np.arange(len(dataset.train) + len(dropped)), dropped)
    return {name: left[dataset.positions(name)] for _, name in subsets(experiment)}


def _reader(experiment: Experiment, key: str) -> Callable[[str], np.ndarray]:
    """Return a function from the name of a file in the document to the positions in it."""

    def read(name: str) -> np.ndarray:
        try:
            return read_positions(_existing(experiment, name))
        except DataError as failure:
            raise DataError(f"{key}: {shown(name)}: {failure}") from None

    return read


def _with_subsets(experiment: Experiment, dataset: Dataset) -> Dataset:
    """Return a data set that knows the positions of the experiment's splits.

    Raises:
        DataError: images that measure the run are among those to train on.
    """
    parts = dict(dataset.parts or {})
    for key, name in subsets(experiment):
        parts[name] = dataset.subset(parse(name), _reader(experiment, key))
    dataset = dataclasses.replace(dataset, parts=parts)
    if experiment.val_split != "test":
        train, held_out = (
            np.arange(len(dataset.train)) if name == "train" else dataset.positions(name)
            for name in (experiment.train_split, experiment.val_split)
        )
        _check_disjoint(experiment, train, held_out)
    return dataset


def _check_disjoint(experiment: Experiment, train: np.ndarray, held_out: np.ndarray) -> None:
    """Raise DataError if positions of images that measure the run are among those to train on."""
    if common := len(np.intersect1d(train, held_out)):
        raise DataError(
            f"val_split: {common:,} of the {len(held_out):,} images of {experiment.val_split} are among those to "
            f"train on, {experiment.train_split}"
        )


def data_files(experiment: Experiment) -> dict[str, Path]:
    """Return the files that `labels` and `drop` name, by their names in the document; missing ones are left out."""
    names = [file.file for file in experiment.labels.files.values()] if experiment.labels else []
    names += [experiment.drop] if isinstance(experiment.drop, str) else []
    names += [file for _, name in subsets(experiment) for file in parse(name).files]
    files = {name: _find(experiment, name) for name in names}
    return {name: path for name, path in files.items() if path is not None}


def count_changes(experiment: Experiment, dataset: Dataset) -> dict[str, int]:
    """Return how many images an experiment trains on, and how many of their labels differ from the data set's own.

    Args:
        experiment: The experiment.
        dataset: As `training_data` returns it.

    Returns:
        `training_images` and `changed_labels`; nothing where an experiment has neither `labels` nor `drop`.
    """
    if experiment.labels is None and experiment.drop is None:
        return {}
    part = dataset.split(experiment.train_split)
    return {"training_images": len(part), "changed_labels": relabeling.changed(part)}


def describe_changes(experiment: Experiment, dataset: Dataset) -> str:
    """Return the numbers of `count_changes` as a sentence, "" if there are none."""
    counts = count_changes(experiment, dataset)
    if not counts:
        return ""
    images, labels = counts["training_images"], counts["changed_labels"]
    text = f"{labels:,} of {images:,} training labels ({100 * labels / images:.1f} %) differ from the data set's own"
    if experiment.labels and experiment.labels.files and labels > images * (1 - BY_CHANCE / dataset.classes):
        text += ", as if by chance: is the file in the order of the official archives? That of TFDS is another"
    return text


def _with_labels(experiment: Experiment, labels: Labels, dataset: Dataset) -> Dataset:
    clean = dataset.train.labels
    if labels.symmetric is not None:
        noisy = relabeling.symmetric_noise(clean, dataset.classes, labels.symmetric, labels.seed, labels.include_true)
        return relabeling.with_training_labels(dataset, noisy)
    if labels.asymmetric is not None:
        try:
            targets = relabeling.pair_targets(labels.pairs, dataset.name, dataset.class_names)
        except DataError as failure:
            raise DataError(f"labels.{failure}") from None
        noisy = relabeling.asymmetric_noise(clean, targets, labels.asymmetric, labels.seed)
        return relabeling.with_training_labels(dataset, noisy)
    for split, file in labels.files.items():
        where = f"{'labels' if labels.file else f'labels.{split}'}: {shown(file.file)}"
        try:
            array = _read_labels(experiment, file, getattr(dataset, split))
            where += f", {file.key}" if file.key else ""
            hard, soft = relabeling.checked_labels(array, dataset.size(split), dataset.classes)
        except DataError as failure:
            raise DataError(f"{where}: {failure}") from None
        if split == "train":
            dataset = relabeling.with_training_labels(dataset, hard, soft)
        else:
            dataset = _with_test_labels(dataset, hard, soft)
    return dataset


def _with_test_labels(dataset: Dataset, hard: np.ndarray, soft: np.ndarray | None) -> Dataset:
    return dataclasses.replace(dataset, test=relabeling.relabeled(dataset.test, hard, soft))


def _read_labels(experiment: Experiment, file: LabelFile, split: Split) -> np.ndarray:
    """Return the array of a file of labels, after comparing its array `clean_label`, if any, with the data set's.

    Raises:
        DataError: the file is missing, damaged or has no such array, or its order is not the data set's.
    """
    arrays = _read_arrays(_existing(experiment, file.file))
    names = [name for name in arrays if name]
    if file.key is None and len(arrays) != 1:
        raise DataError(f"has {', '.join(names)}; write {{file: {file.file}, key: ONE_OF_THEM}}")
    if file.key is not None and file.key not in arrays:
        has = f"it has {', '.join(names)}" if names else "it is a single array; leave out the key"
        raise DataError(f"has no array {file.key!r:.100}: {has}")
    clean = arrays.get("clean_label")
    if clean is not None and clean.size and (largest := int(clean.max())) > split.labels.max():
        raise DataError(
            f"its clean_label has classes up to {largest}, the data set's labels end at {split.labels.max()}: it "
            "is for another data set"
        )
    if clean is not None and clean.shape == split.labels.shape and (differ := int((clean != split.labels).sum())):
        raise DataError(
            f"its clean_label differs from the data set's labels for {differ:,} of {len(clean):,} images: it is in "
            "another order, such as that of TFDS; this data set is in the order of the official archives"
        )
    return next(iter(arrays.values())) if file.key is None else arrays[file.key]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .npy file, under the name "", or of an .npz file or one of torch.save."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as failure:
        raise DataError(f"cannot be read: {failure.strerror or failure}") from None
    if start == b"\x93NUMPY" and (array := read_npy(path)) is not None:
        return {"": array}
    try:
        return read_checkpoint(path).arrays
    except CifarzooError as failure:
        text = str(failure).replace(READABLE, ".npy, .npz, or a file of torch.save")
        raise DataError(text.removeprefix(f"{path}: ")) from None


def _without_dropped(experiment: Experiment, dataset: Dataset) -> Dataset:
    try:
        return relabeling.without(dataset, dropped_positions(experiment))
    except DataError as failure:
        text = str(failure)
        raise DataError(text if text.startswith("drop: ") else f"drop: {text}") from None


def dropped_positions(experiment: Experiment) -> np.ndarray:
    """Return the positions in the training split that `drop` lists, int64 [n].

    Raises:
        DataError: the file is missing or holds something else.
    """
    if not isinstance(experiment.drop, str):
        return np.array(experiment.drop, np.int64)
    name = experiment.drop
    try:
        return read_positions(_existing(experiment, name))
    except DataError as failure:
        raise DataError(f"drop: {shown(name)}: {failure}") from None


def _existing(experiment: Experiment, name: str) -> Path:
    path = _find(experiment, name)
    if path is None:
        raise DataError("does not exist or is not a file")
    return path


def _find(experiment: Experiment, name: str) -> Path | None:
    """Return a file of the document: beside the experiments file, beside its recipe, or in the working directory."""
    path = Path(os.path.expanduser(name))
    return existing_file([*(folder / path for folder in experiment.folders), path])
