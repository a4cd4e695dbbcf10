"""Load the model that a name, a tag, a file or a run's folder refers to."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from cifarzoo.checksum import sha256
from cifarzoo.data.classes import CLASS_NAMES, classes_of, dataset_with
from cifarzoo.data.own_data import OwnData
from cifarzoo.errors import CifarzooError, ModelError, WeightsError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.inference.network import CompiledNetwork
from cifarzoo.models import registry
from cifarzoo.models.load import load
from cifarzoo.pretrained.description import Description, description_of, read_description
from cifarzoo.pretrained.manifest import Published, find_entry, manifest
from cifarzoo.pretrained.selection import foreign_entry, select
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.run_model import model_of_run
from cifarzoo.training.sources import hash_weights


@dataclass
class LoadedModel:
    """A model with its weights, and what is known about their training.

    Attributes:
        model: Takes raw pixels [n, height, width, 3], returns logits [n, classes].
        dataset: Name of the data set it was trained on, or else the one that its number of outputs suggests.
        own_data: Where the images of a data set of the user's own were when it was trained, else None.
        source: Where the weights come from: a tag, a checkpoint's name or a path; "" for a model from memory.
        train_split: The split it was trained on, "train" or "train45k"; "" if unknown.
        experiment: That of the run whose folder was named, else None.
        description: What its weight file says about itself, else None.
        parts: Positions in the training split of the images in the run's splits that are parts of another.
        is_guess: Whether only its number of outputs or its normalization suggests the data set.
    """

    model: keras.Model
    dataset: str
    source: str
    train_split: str = ""
    own_data: OwnData | None = None
    experiment: Experiment | None = None
    description: Description | None = None
    is_guess: bool = False
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    _network: tuple[str, CompiledNetwork] | None = field(default=None, repr=False, compare=False)

    def network(self) -> CompiledNetwork:
        """Return a compiled copy of the model; the same one until the model's weights change."""
        digest = hash_weights(self.model)
        if self._network is None or self._network[0] != digest:
            self._network = digest, CompiledNetwork(self.model)
        return self._network[1]

    @property
    def name(self) -> str:
        """What messages and reports call it: the source of its weights, or else the model's own name."""
        return self.source or self.model.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """What its outputs mean, where its weight file says it, else ()."""
        return tuple((self.description and self.description.class_names) or ())


def load_model(name: str, weights: str | None = None, arguments: dict | None = None) -> LoadedModel:
    """Load a model by whatever identifies it.

    Args:
        name: One of: the folder of a run; a `.keras` file; a `.weights.h5` file that says what it contains; the tag of
            published weights; the name of another project's checkpoint; the name of a model.
        weights: For the name of a model, the tag, checkpoint or path of its weights. Default: the default published
            ones.
        arguments: For the name of a model, arguments of its factory.

    Raises:
        ModelError: no model has this name, or `weights` or `arguments` accompany anything other than a model's name.
        WeightsError: the weights do not exist, or do not fit.
        DataError: the folder does not hold a finished run.
    """
    path, entries = Path(name), manifest()
    is_file = path.name.endswith((".keras", ".h5"))
    entry = find_entry(name, entries)
    checkpoint = None if path.is_dir() or is_file else foreign_entry(name)
    if (weights or arguments) and (path.is_dir() or is_file or entry or checkpoint):
        raise ModelError(
            f"{name}: has its own weights and arguments; --weights and --argument go with the name of a model, "
            "such as cifar_resnet20"
        )
    if path.is_dir():
        return load_run(RunFolder(path))
    if path.suffix == ".keras":
        return load_saved_model(path)
    if is_file:
        return load_weight_file(path, entries)
    if entry:
        return load_published(entry)
    if checkpoint:
        return LoadedModel(load(checkpoint.name), checkpoint.dataset, checkpoint.name)
    return load_by_name(name, entries, weights or True, arguments or {})


def load_run(folder: RunFolder) -> LoadedModel:
    """Load the final weights of a run.

    Raises:
        DataError: the run is not finished. CifarzooError: its configuration or its weights do not fit.
    """
    return load_from_run(folder, folder.final_weights())


def run_of(weights: Path) -> RunFolder | None:
    """Return the run whose final or kept weights a file holds, None if it does not lie in a run's folder."""
    folders = [RunFolder(weights.parent), RunFolder(weights.parent.parent)]
    return next((folder for folder in folders if folder.has_started), None)


def load_from_run(folder: RunFolder, weights: Path) -> LoadedModel:
    """Load weights that a run wrote, at its end or along the way, into the model of its configuration.

    Raises:
        CifarzooError: the configuration or the weights are damaged or do not fit.
    """
    experiment = folder.experiment()
    model = model_of_run(experiment, weights, precision="float32")
    own_data = None if isinstance(experiment.dataset, str) else experiment.dataset
    return LoadedModel(
        model,
        experiment.dataset_name,
        str(folder),
        experiment.train_split,
        own_data,
        experiment,
        read_description(weights),
        parts=folder.parts.read(),
    )


def load_saved_model(path: Path) -> LoadedModel:
    """Load a `.keras` file.

    Raises:
        WeightsError: no such file, or Keras cannot open it.
    """
    model = load(path)
    return LoadedModel(model, dataset_with(model.output_shape[-1]), str(path), is_guess=True)


def load_weight_file(path: Path, entries: list[Published]) -> LoadedModel:
    """Load a `.weights.h5` file that says what it contains, or that the manifest knows by its hash.

    Raises:
        WeightsError: no such file, or nothing says what it contains.
    """
    description = read_description(path)
    if description is None:
        raise WeightsError(
            f"{path}: does not say what it contains; name the run's folder instead, or the model: "
            f"cifarzoo evaluate MODEL --weights {path}"
        )
    model = load(path)
    entry = next((entry for entry in entries if entry.sha256 == sha256(path)), None)
    return _of_entry(model, entry) if entry else _of_file(model, description, path)


def load_published(entry: Published) -> LoadedModel:
    """Load the weights of a manifest entry.

    Raises:
        WeightsError: the file is missing, or is not the one that was published.
    """
    return _of_entry(load(entry.tag), entry)


def load_by_name(name: str, entries: list[Published], weights: Literal[True] | str, arguments: dict) -> LoadedModel:
    """Build a model by its name and load weights into it.

    Args:
        name: Name of the model.
        entries: The manifest.
        weights: True for the default published weights, or a tag, another project's checkpoint or a path.
        arguments: Arguments of the factory. If `weights` is a tag, its entry provides those that are missing.

    Raises:
        ModelError: no model has this name. WeightsError: the weights do not exist, or do not fit.
    """
    registered = registry.get(name)
    if weights is not True and weights.endswith((".h5", ".keras")):
        model = registered.factory(load_weights=weights, **arguments)
        description = None if weights.endswith(".keras") else read_description(weights)
        return _of_file(model, description, weights)
    if weights is not True and (checkpoint := foreign_entry(weights)):
        return LoadedModel(registered.factory(load_weights=weights, **arguments), checkpoint.dataset, checkpoint.name)
    tagged = None if weights is True else find_entry(weights, entries)
    if tagged and tagged.model == registered.name:
        arguments = tagged.architecture | {"classes": tagged.classes} | arguments
    model = registered.factory(load_weights=weights, **arguments)
    architecture = registered.architecture(arguments)
    return _of_entry(model, select(registered.name, architecture, arguments.get("classes", 10), weights))


def of_model(model: keras.Model) -> LoadedModel:
    """Describe a model that Python code built or loaded."""
    return _of_file(model, description_of(model), "")


def _of_entry(model: keras.Model, entry: Published) -> LoadedModel:
    return LoadedModel(model, entry.dataset, entry.tag, entry.training["experiment"]["train_split"])


def _of_file(model: keras.Model, description: Description | None, path: str | Path) -> LoadedModel:
    dataset = description and description.dataset
    own_data = _own_data_near(Path(path), dataset) if path and dataset and dataset not in CLASS_NAMES else None
    return LoadedModel(
        model,
        dataset or _guess(model, description),
        str(path),
        (description and description.train_split) or "",
        own_data,
        description=description,
        is_guess=not dataset,
    )


def _guess(model: keras.Model, description: Description | None) -> str:
    """Return the data set whose statistics normalize the images, if it has as many classes, else any that has.

    The statistics are a factory's default, so a network for other images may have them, too.
    """
    outputs = model.output_shape[-1]
    statistics = description.statistics if description else None
    if isinstance(statistics, str) and statistics in CLASS_NAMES and classes_of(statistics) == outputs:
        return statistics
    return dataset_with(outputs)


def _own_data_near(path: Path, name: str) -> OwnData | None:
    """Return where a run's own images are if the weight file is still in the run's folder, or in one below it."""
    with contextlib.suppress(CifarzooError):
        if run := run_of(path):
            dataset = run.experiment().dataset
            return None if isinstance(dataset, str) or dataset.known_name != name else dataset
    return None
