"""Load the model that a name, a tag, a file or a run's folder refers to."""

from dataclasses import dataclass
from pathlib import Path

import keras

import cifarzoo.layers  # noqa: F401  registers the layers that a saved model may contain
from cifarzoo.data.classes import classes_of, dataset_with
from cifarzoo.errors import ModelError, WeightsError
from cifarzoo.models import registry
from cifarzoo.pretrained.files import sha256
from cifarzoo.pretrained.loading import load_file
from cifarzoo.pretrained.manifest import Published, manifest
from cifarzoo.pretrained.selection import select
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.build import build_model


@dataclass
class LoadedModel:
    """A model with its weights, and what is known about their training.

    Attributes:
        model: Takes raw pixels [n, 32, 32, 3], returns logits [n, classes].
        dataset: Name of the data set it was trained on, or else the one that its number of outputs suggests.
        source: Where the weights come from, for messages and reports.
        train_split: The split it was trained on, "train" or "train45k"; "" if unknown.
    """

    model: keras.Model
    dataset: str
    source: str
    train_split: str = ""


def load_model(name: str, weights: str | None = None, arguments: dict | None = None) -> LoadedModel:
    """Load a model by whatever identifies it.

    Args:
        name: One of: the folder of a run; a `.keras` file; a published `.weights.h5` file; the tag of published
            weights; the name of a model.
        weights: For the name of a model, the tag or path of its weights. Default: the default published ones.
        arguments: For the name of a model, arguments of its factory.

    Raises:
        ModelError: no model has this name, or `weights` or `arguments` accompany anything else than a model's name.
        WeightsError: the weights do not exist, or do not fit.
        DataError: the folder does not hold a finished run.
    """
    path = Path(name)
    is_file = path.name.endswith((".keras", ".h5"))
    entries = [] if path.is_dir() or is_file and not path.is_file() else manifest()
    entry = next((entry for entry in entries if entry.tag == name), None)
    if (weights or arguments) and (path.is_dir() or is_file or entry):
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
    return load_by_name(name, entries, weights or True, arguments or {})


def load_run(folder: RunFolder) -> LoadedModel:
    """Load the final weights of a run.

    Raises:
        DataError: the run is not finished. CifarzooError: its configuration or its weights do not fit.
    """
    experiment, weights = folder.experiment(), folder.final_weights()
    experiment = experiment.model_copy(update={"precision": "float32", "init_weights": None})
    model = build_model(experiment, classes_of(experiment.dataset), seed=0)
    load_file(model, weights)
    return LoadedModel(model, experiment.dataset, str(folder), experiment.train_split)


def load_saved_model(path: Path) -> LoadedModel:
    """Load a `.keras` file.

    Raises:
        WeightsError: no such file, or Keras cannot open it.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such saved model")
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as failure:  # whatever the file's content leads Keras to raise
        reason = next((line.strip() for line in str(failure).splitlines() if line.strip()), type(failure).__name__)
        raise WeightsError(f"{path}: not a saved Keras model that opens here ({reason:.200})") from None
    return LoadedModel(model, dataset_with(model.output_shape[-1]), str(path))


def load_weight_file(path: Path, entries: list[Published]) -> LoadedModel:
    """Load a `.weights.h5` file, whose architecture the manifest knows.

    Raises:
        WeightsError: no such file, or not one of the published files.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    entry = next((entry for entry in entries if entry.file == path.name), None)
    if entry is None:
        raise WeightsError(
            f"{path}: not in the manifest, so its architecture is unknown; name the model and pass the file as its "
            f"weights: cifarzoo evaluate MODEL --weights {path}"
        )
    if sha256(path) != entry.sha256:
        raise WeightsError(f"{path}: has the name of published weights, but not their sha256")
    return load_published(entry, str(path))


def load_published(entry: Published, path: str | None = None) -> LoadedModel:
    """Load the weights of a manifest entry, from `path` if one is given."""
    model = registry.create_model(
        entry.model, classes=entry.classes, load_weights=path or entry.tag, **entry.architecture
    )
    return _with_training(model, entry)


def load_by_name(name: str, entries: list[Published], weights: str | bool, arguments: dict) -> LoadedModel:
    """Build a model by its name and load weights into it.

    Args:
        name: The model.
        entries: The manifest.
        weights: True for the default published weights, or a tag or a path.
        arguments: Of the factory. A tag provides those that are missing.

    Raises:
        ModelError: no model has this name. WeightsError: the weights do not exist, or do not fit.
    """
    model = registry.get(name)
    tagged = next((entry for entry in entries if entry.tag == weights), None)
    if tagged:
        arguments = tagged.architecture | {"classes": tagged.classes} | arguments
    built = model.factory(load_weights=weights, **arguments)
    if weights is not True and weights.endswith((".h5", ".keras")):
        return LoadedModel(built, dataset_with(built.output_shape[-1]), weights)
    entry = select(model.name, model.architecture(arguments), arguments.get("classes", 10), weights)
    return _with_training(built, entry)


def _with_training(model, entry):
    return LoadedModel(model, entry.dataset, entry.tag, entry.training["experiment"]["train_split"])
