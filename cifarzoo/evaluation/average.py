"""Average the weights of several files of one architecture: soups and stochastic weight averaging (SWA).

Izmailov et al., https://arxiv.org/abs/1803.05407; Wortsman et al., https://arxiv.org/abs/2203.05482.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cifarzoo.augment import pipeline
from cifarzoo.data import Dataset
from cifarzoo.errors import DataError, WeightsError
from cifarzoo.evaluation.batch_norm import batch_norm_layers, recompute_statistics
from cifarzoo.evaluation.evaluate import Progress, evaluate
from cifarzoo.evaluation.load_model import LoadedModel, load_from_run, load_model, run_of
from cifarzoo.evaluation.measured_data import WHOLE, measured_data
from cifarzoo.models.registry import build_described
from cifarzoo.pretrained.description import Description, save_weights
from cifarzoo.pretrained.loading import load_file
from cifarzoo.pretrained.selection import source_named
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.training_data import training_data


@dataclass(frozen=True)
class Member:
    """A file to average, and its share of the average."""

    name: str
    path: Path
    description: Description
    share: float


def average_weights(
    names: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    weights: Sequence[float] | None = None,
    *,
    split: str | None = "val_split",
    dataset_name: str | None = None,
    recompute: bool = True,
    augmentation: str = "none",
    data_dir: str | None = None,
    progress: Progress = lambda step, done: None,
) -> dict[str, Any]:
    """Write the mean of several files' weights to a file that `cifarzoo.load` opens.

    Means are computed in float64. BatchNormalization's moving statistics are computed again over the training images of
    the first file, see `recompute_statistics`: those of its `train_split`, and for the folder of a run without those
    that the run dropped. Weights that training does not change by gradients in other layers are averaged, and
    whole numbers have to be equal.

    Args:
        names: `.weights.h5` files, folders of finished runs, or tags of published weights; at least two.
        out: The `.weights.h5` file to write.
        weights: One number per file, at least 0; the shares of the average are in this proportion. Default: equal.
        split: Measure every file and the average on this split. "val_split" is the one on which the run of the first
            file was validated, and `test` where no run is known. None measures nothing.
        dataset_name: Default: the data set of the first file; see `measured_data.data_of`.
        recompute: Compute moving statistics again. If False, they are averaged, and no data set is needed to write.
        augmentation: A named pipeline for the images of `recompute`, such as "standard".
        data_dir: Folder of the archives.
        progress: Called with the name of the next step and the fraction done, from 0 to 1.

    Returns:
        `out`; `split`; `statistics`, how they came about, in words; `members` and `average`: `weights`, `share`, and
        with a split what `classification_metrics` returns.

    Raises:
        WeightsError: fewer than two files, other architectures or numbers of classes, or a damaged file.
        DataError: the numbers or the split are wrong, or `out` cannot be written.
        ExperimentError: there is no such augmentation.
    """
    members = _members(names, weights)
    target = _check_target(out, members)
    steps = len(members) + 1
    progress(f"load {members[0].name}", 0)
    loaded = _load(members[0])
    model = loaded.model
    trained_on = {member.description.train_split for member in members}
    if split == "val_split" and len(trained_on) > 1:
        parts = ", ".join(sorted(str(part) for part in trained_on))
        raise DataError(
            f"split: the files were trained on {parts}; name a split that none of them was trained on, or none"
        )
    if split == "val_split":
        split = loaded.experiment.val_split if loaded.experiment else "test"
    augment = pipeline.build(augmentation)
    has_statistics = recompute and bool(batch_norm_layers(model))
    dataset = measured_data(loaded, dataset_name, data_dir) if split or has_statistics else None
    seen = _trained_on(loaded, dataset) if dataset and has_statistics and dataset_name is None else dataset
    rows: list[dict[str, Any]] = []
    sums: list[np.ndarray] = []
    for number, member in enumerate(members):
        progress(f"average {member.name}", number / steps)
        load_file(model, member.path)
        sums = _add(sums, model, member, members[0])
        rows.append(_row(member.name, member.share, loaded, dataset, split))
    for variable, total in zip(model.weights, sums, strict=True):
        variable.assign(total)
    statistics = "averaged" if batch_norm_layers(model) else "none: no BatchNormalization"
    if dataset and seen and has_statistics:
        progress("compute the statistics of BatchNormalization", len(members) / steps)
        images = seen.split(loaded.train_split or "train")
        augment = pipeline.build(augmentation, dataset.classes, dataset.mean_color)
        layers = recompute_statistics(model, images, augment=augment if augment.specs else None)
        how = f"augmented by {augmentation}" if augment.specs else "not augmented"
        statistics = f"of {layers} BatchNormalization layers, computed over {len(images):,} training images, {how}"
    average = _row(str(target), 1.0, loaded, dataset, split)
    train_split = members[0].description.train_split if len(trained_on) == 1 else None
    description = replace(
        members[0].description, train_split=train_split, source=f"{_text(members)}; statistics {statistics}"
    )
    try:
        save_weights(model, target, description)
    except OSError as failure:
        raise DataError(f"{target}: cannot be written ({failure.strerror or failure})") from None
    return {"out": str(target), "split": split, "statistics": statistics, "members": rows, "average": average}


def _text(members: Sequence[Member]) -> str:
    """Say what an average is made of, briefly for many files."""
    files = [f"{member.name} ({member.share:.4g})" for member in members]
    shown = files if len(files) <= 12 else [*files[:6], "...", *files[-5:]]
    return f"mean of {len(files)} files: {', '.join(shown)}"


def _trained_on(loaded: LoadedModel, dataset: Dataset) -> Dataset:
    """Return the data set without the images that the model's run dropped; labels do not matter here."""
    if loaded.experiment is None:
        return dataset
    return training_data(loaded.experiment.model_copy(update=WHOLE | {"labels": None}), dataset)


def _check_target(out: str | os.PathLike, members: Sequence[Member]) -> Path:
    path = Path(out)
    if not path.name.endswith(".weights.h5"):
        raise DataError(f"{path}: the name of a weight file ends in .weights.h5")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")
    if path.exists() and any(path.samefile(member.path) for member in members):
        raise DataError(f"{path}: is one of the files to average; write to another")
    run = run_of(path.resolve())
    if path.exists() and run and path.resolve() in (run.weights_path, *run.kept.files().values()):
        raise DataError(f"{path}: holds the weights of a run; write to another file")
    return path


def _members(names: Sequence[str | os.PathLike], weights: Sequence[float] | None) -> list[Member]:
    """Read what the files say about themselves, and check that they hold one architecture."""
    if len(names) < 2:
        raise WeightsError(f"average: expected at least two files, got {len(names)}")
    try:
        numbers = np.ones(len(names)) if weights is None else np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"weights: expected {len(names)} numbers, one per file, got {weights!r:.80}") from None
    if numbers.shape != (len(names),):
        raise DataError(f"weights: expected {len(names)} numbers, one per file, got {numbers.size}")
    if not (np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.any()):
        raise DataError(f"weights: expected numbers of at least 0, one of them positive, got {numbers.tolist()}")
    members: list[Member] = []
    for name, share in zip(names, numbers / numbers.sum(), strict=True):
        path = Path(name)
        if path.is_dir():
            path = RunFolder(path).final_weights()
        source = source_named(path if path.exists() else os.fspath(name), build_described)
        if source.description is None:
            raise WeightsError(f"{source.origin}: does not say what it contains; only .weights.h5 files that do")
        members.append(Member(os.fspath(name), source.path, source.description, float(share)))
        first = members[0]
        if _identity(source.description) != _identity(first.description):
            raise WeightsError(
                f"{name}: contains {_what(source.description)}, {first.name} contains {_what(first.description)}; an "
                "average needs one architecture"
            )
    return members


def _identity(description: Description) -> tuple[Any, ...]:
    """Return what has to be the same: network, classes, head, and the statistics of its input."""
    network = description.identity or (description.module, description.function, description.arguments)
    return network, description.classes, description.activation, description.statistics


def _what(description: Description) -> str:
    statistics = f" with input normalized by {description.statistics}" if description.statistics else ""
    return f"{description}{statistics}"


def _load(member: Member) -> LoadedModel:
    """Build the model of a file, and load it; the folder of a run has what the file does not say."""
    run = run_of(member.path)
    return load_from_run(run, member.path) if run else load_model(str(member.path))


def _add(sums: list[np.ndarray], model: keras.Model, member: Member, first: Member) -> list[np.ndarray]:
    """Add a file's share of the weights that the model now holds; whole numbers must not differ from the first's."""
    values = [keras.ops.convert_to_numpy(variable) for variable in model.weights]
    totals = []
    for number, (variable, value) in enumerate(zip(model.weights, values, strict=True)):
        if "float" not in str(variable.dtype):
            if sums and not np.array_equal(value, sums[number]):
                raise WeightsError(f"{member.name}: {variable.path} holds other whole numbers than in {first.name}")
            totals.append(value)
        else:
            totals.append(member.share * value.astype(np.float64) + (sums[number] if sums else 0.0))
    return totals


def _row(name: str, share: float, loaded: LoadedModel, dataset: Dataset | None, split: str | None) -> dict[str, Any]:
    """Return the name and share of a file, and what the model measures now."""
    measured = evaluate(replace(loaded, source=name), dataset, split)[0] if dataset and split else {}
    return {"weights": name, "share": share} | measured
