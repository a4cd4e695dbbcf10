"""Describe trained networks in one form: finished runs and published weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.errors import DataError
from cifarzoo.evaluation.load_model import LoadedModel, load_published, load_run, load_weight_file
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.files import find
from cifarzoo.pretrained.manifest import Published, find_entry, manifest
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table

# Keys for folders on the training machine, which are useless to a reader.
MACHINE_KEYS = ("data_dir", "logdir")

# Keys of a run's results that say how it was trained.
TRAINED = (
    *("steps", "images", "seconds", "device", "backend", "versions", "revision", "weights"),
    *("training_images", "changed_labels"),
)


@dataclass(frozen=True)
class Subject:
    """A trained network and its history.

    Attributes:
        name: The experiment's name, or the tag.
        seed: The seed.
        tag: The tag of published weights; "" for a run.
        model: Name of the factory.
        dataset: Name of the data set.
        train_split: The split it was trained on.
        split: The split it was finally measured on: "test", or "validation" while hyper-parameters are chosen.
        metrics: The metrics measured on `split`.
        parameters: Number of weights.
        config: The experiment as plain data, without `MACHINE_KEYS` and unset keys.
        trained: Facts about its training: `steps`, `images`, `seconds`, `device`, `backend`, `versions`, `revision`,
            and `weights`, which says whether they are an average.
        log_path: The path of its log.tsv.
        load: Function that loads the network.
    """

    name: str
    seed: int
    tag: str
    model: str
    dataset: str
    train_split: str
    split: str
    metrics: dict[str, Any]
    parameters: int
    config: dict[str, Any]
    trained: dict[str, Any]
    log_path: Path
    load: Callable[[], LoadedModel] = field(repr=False)

    @property
    def title(self) -> str:
        """The tag, or the experiment's name and the seed."""
        return self.tag or f"{self.name}, seed {self.seed}"

    def log(self) -> dict[str, np.ndarray]:
        """Read its log.

        Raises:
            DataError: the log is missing or damaged.
        """
        return read_table(self.log_path)


def find_subject(name: str) -> Subject:
    """Return the finished run in a folder, or the published weights of a tag.

    Raises:
        DataError: the name is neither the folder of a finished run nor a tag.
    """
    if (entry := find_entry(name, manifest())) and not Path(name).is_dir():
        return of_tag(entry)
    return of_run(RunFolder(name))


def of_run(folder: RunFolder) -> Subject:
    """Describe a finished run.

    Raises:
        CifarzooError: the run is not finished, or its files are damaged.
    """
    results = folder.results()
    return Subject(
        name=results.name,
        seed=results.seed,
        tag="",
        model=results.model,
        dataset=results.dataset,
        train_split=results.train_split,
        split=results.split,
        metrics=results.metrics,
        parameters=results.parameters,
        config=without_unset(folder.experiment().resolved()),
        trained={key: getattr(results, key) for key in TRAINED},
        log_path=folder.log_path,
        load=lambda: load_run(folder),
    )


def of_tag(entry: Published, folder: Path | None = None) -> Subject:
    """Describe published weights. Their log.tsv is published with them.

    Args:
        entry: The weights.
        folder: Where they are published, if elsewhere than `entry.tag` is looked up.

    Raises:
        DataError: the log is missing.
    """
    log_path = folder / f"{entry.tag}.log.tsv" if folder else find(f"{entry.tag}.log.tsv")
    if log_path is None or not log_path.is_file():
        raise DataError(f"{entry.tag}: {entry.tag}.log.tsv, which is published with the weights, is missing")
    training = entry.training
    experiment = training["experiment"]
    return Subject(
        name=entry.tag,
        seed=training["seed"],
        tag=entry.tag,
        model=entry.model,
        dataset=entry.dataset,
        train_split=experiment["train_split"],
        split="test",
        metrics=entry.metrics,
        parameters=entry.parameters,
        config=without_unset(Experiment.model_validate(experiment).resolved()),
        trained={key: training.get(key) for key in TRAINED},
        log_path=log_path,
        load=lambda: load_weight_file(folder / entry.file, [entry]) if folder else load_published(entry),
    )


def seeds_of(folder: RunFolder) -> list[Subject]:
    """Describe all finished seeds of a run's experiment, in the order of their folders.

    Raises:
        CifarzooError: the run itself is not finished or is damaged. Other damaged seeds are left out.
    """
    fingerprint = folder.results().fingerprint
    subjects = []
    for other in folder.finished_seeds():
        is_same = other.path == folder.path.resolve()
        try:
            if is_same or other.results().fingerprint == fingerprint:
                subjects.append(of_run(other))
        except DataError:
            if is_same:
                raise
    return subjects


def without_unset(config: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment as plain data without keys that are null or empty, and without `MACHINE_KEYS`.

    The result describes the same experiment, because every such key has that value by default. Only the file name of
    `init_weights` is kept.
    """
    kept = {}
    for key, value in config.items():
        if isinstance(value, dict):
            value = without_unset(value)
        elif isinstance(value, list):
            value = [without_unset(item) if isinstance(item, dict) else item for item in value]
        elif key == "init_weights" and value:
            value = Path(value).name
        if key not in MACHINE_KEYS and value is not None and value not in ("", {}, []):
            kept[key] = value
    return kept
