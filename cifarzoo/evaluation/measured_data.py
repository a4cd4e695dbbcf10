"""Choose the images on which a network is measured: those it was trained on, or others that the user names."""

import logging
from dataclasses import replace

from cifarzoo.data import Dataset, load
from cifarzoo.data.own_data import OwnData, source_from_text
from cifarzoo.errors import ExperimentError
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.experiment.labels import Labels
from cifarzoo.training.training_data import training_data

logger = logging.getLogger("cifarzoo")

# An experiment with these splits leaves the parts of a data set as they are.
WHOLE = {"train_split": "train", "val_split": "test"}


def data_of(loaded: LoadedModel, choice: str | None) -> str | OwnData:
    """Return the data set to measure a network on, for `cifarzoo.data.load`.

    Args:
        loaded: The network.
        choice: What the user asks for; None for what it was trained on. The name of a built-in data set; the path of a
            folder or .npz file; `tfds:NAME`; or a mapping as in an experiments file, `{folder: PATH, size: 64}`. A path
            or name takes the settings of the network's run, or else the size of the network's input.

    Raises:
        ExperimentError: a setting does not fit. `load` refuses names that do not exist.
    """
    if choice is None:
        return loaded.own_data or loaded.dataset
    source = source_from_text(choice)
    if isinstance(source, str) or choice.lstrip().startswith("{"):
        return source
    if loaded.own_data is not None and loaded.own_data.place == source.place:
        return loaded.own_data.model_copy(update={source.place: source.location, "name": loaded.dataset})
    size = loaded.model.input_shape[1]
    return source.model_copy(update={"size": size}) if size and source.known_size else source


def measured_data(loaded: LoadedModel, choice: str | None, data_dir: str | None) -> Dataset:
    """Load the data set to measure a network on; see `data_of` and `as_in_run`.

    Raises:
        DataError: it does not exist, is damaged, or cannot be read.
    """
    dataset = load(data_of(loaded, choice), data_dir)
    return dataset if choice else as_in_run(loaded, dataset)


def as_in_run(loaded: LoadedModel, dataset: Dataset) -> Dataset:
    """Return a data set with the parts and the test labels that the network's run was measured on.

    Test labels are the data set's own unless the run's `labels` name a file for them. All images, those that the run
    dropped included, and the training labels stay the data set's own. Log a warning if the file is missing or does not
    fit.

    Args:
        loaded: The network; without `experiment` the data set stays as it is.
        dataset: The data set that it was trained on.
    """
    experiment = loaded.experiment
    if experiment is None:
        return dataset
    if loaded.parts:
        dataset = replace(dataset, parts=(dataset.parts or {}) | loaded.parts)
    file = experiment.labels.files.get("test") if experiment.labels else None
    if file is None:
        return dataset
    changes = WHOLE | {"labels": Labels.model_validate({"test": file}), "drop": None}
    try:
        return training_data(experiment.model_copy(update=changes), dataset)
    except ExperimentError as failure:
        logger.warning("%s: measured against the data set's own test labels: %s", loaded.name, failure)
        return dataset


def name_of(data: str | OwnData) -> str:
    """Return the name of a data set."""
    return data if isinstance(data, str) else data.known_name
