"""Build the network of a run again, with weights that the run wrote."""

from pathlib import Path
from typing import Any

import keras

from cifarzoo.data import load as read_data
from cifarzoo.data.classes import CLASS_NAMES, classes_of
from cifarzoo.data.info import CIFAR_INPUTS, Inputs
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.description import Description, read_description
from cifarzoo.pretrained.loading import load_file
from cifarzoo.training.build import build_model


def model_of_run(experiment: Experiment, weights: Path, **changes: Any) -> keras.Model:
    """Build the network of a run's experiment, for images of the run's size, and load weights into it.

    Args:
        experiment: The run's experiment.
        weights: A file that the run wrote, at its end or along the way.
        changes: Keys of the experiment to change first, such as `precision`.

    Raises:
        CifarzooError: the weights are damaged or do not fit.
    """
    description = read_description(weights)
    classes = description.classes if description and description.classes else classes_of(experiment.dataset_name)
    experiment = experiment.model_copy(update={"init_weights": None, "teacher": None, **changes})
    model = build_model(experiment, classes, 0, _inputs_of(experiment, description))
    load_file(model, weights)
    return model


def _inputs_of(experiment: Experiment, description: Description | None) -> Inputs:
    """Return what a run's network knows about its images."""
    is_built_in = experiment.dataset in CLASS_NAMES
    if description is None or is_built_in:
        return CIFAR_INPUTS
    statistics = description.statistics if isinstance(description.statistics, dict) else None
    if "image_size" in description.arguments or isinstance(experiment.dataset, str):
        return Inputs(description.arguments.get("image_size", CIFAR_INPUTS.size), statistics)
    if size := experiment.dataset.known_size:
        return Inputs(size, statistics)
    return Inputs(read_data(experiment.dataset).inputs.size, statistics)  # an own module on a file of arrays
