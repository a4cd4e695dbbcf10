"""Build the teachers of an experiment: load their networks, and check that they fit its data set."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras

from cifarzoo.data import Dataset
from cifarzoo.data.classes import other_classes
from cifarzoo.data.info import DatasetInfo
from cifarzoo.errors import CifarzooError, ExperimentError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.models.load import load
from cifarzoo.pretrained.description import description_of
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.build import check_is_functional
from cifarzoo.training.run_model import model_of_run
from cifarzoo.training.teacher import Teacher
from cifarzoo.training.teacher_files import TeacherFile, teacher_file


def build_teacher(
    experiment: Experiment, dataset: Dataset | DatasetInfo, models: Sequence[keras.Model] = ()
) -> Teacher | None:
    """Build the part that distils the experiment's teachers into its network; None without teachers.

    Args:
        experiment: The experiment, as `resolve_auto` returns it.
        dataset: The data set that it trains on, or its sizes.
        models: The user's own models, which teach instead of those that the experiment names.

    Its models are loaded when they are needed, and an error is raised then; see `load_teachers`.
    """
    if (parameters := experiment.teacher) is None:
        return None
    named = functools.partial(load_teachers, experiment, dataset)
    load = functools.partial(_own_teachers, experiment, dataset, models) if models else named
    return Teacher(functools.cache(load), parameters.temperature, parameters.weight, parameters.views)


def load_teachers(experiment: Experiment, dataset: Dataset | DatasetInfo) -> list[keras.Model]:
    """Load the teachers in the experiment's precision.

    Raises:
        ExperimentError: a teacher does not exist, cannot be loaded, or takes other images or classes than the data
            set's; one line.
    """
    names = experiment.teacher.names if experiment.teacher else []
    models = []
    for name in names:
        with _naming_the_teacher(experiment, name):
            file = teacher_file(name, experiment, dataset.classes)
            model = _load(file, experiment.precision)
            check_fits(model, name, file.dataset, dataset)
            if file.class_names and isinstance(dataset, Dataset) and file.class_names != dataset.class_names:
                raise ExperimentError(f"{name}: {other_classes(file.class_names, dataset)}")
        models.append(model)
    return models


def _own_teachers(
    experiment: Experiment, dataset: Dataset | DatasetInfo, models: Sequence[keras.Model]
) -> list[keras.Model]:
    """Return the user's own models, after checking them."""
    for model in models:
        with _naming_the_teacher(experiment, model.name):
            description = description_of(model)
            check_fits(model, model.name, description.dataset if description else None, dataset)
    return list(models)


@contextlib.contextmanager
def _naming_the_teacher(experiment: Experiment, name: str) -> Iterator[None]:
    """Say in an error of the block where the teacher is named."""
    try:
        yield
    except CifarzooError as failure:
        text = str(failure)
        about = text if text.startswith(name) else f"{name}: {text}"
        raise ExperimentError(f"{experiment.location}: teacher.model: {about}") from None


# Experiments of a file often share their teachers. As many stay in memory as a run usually has.
@functools.lru_cache(maxsize=4)
def _load(file: TeacherFile, precision: str) -> keras.Model:
    """Load the network of a file, or of a run's folder, which may be one of the user's own module."""
    if not Path(file.name).is_dir():
        with arithmetic(precision):
            return load(file.name)
    folder = RunFolder(Path(file.name))
    experiment, weights = folder.experiment(), folder.final_weights()
    if experiment.module is None:
        with arithmetic(precision):
            return load(weights)
    return model_of_run(experiment, weights, precision=precision)


def check_fits(model: keras.Model, name: str, trained_on: str | None, dataset: Dataset | DatasetInfo) -> None:
    """Check that a teacher takes the data set's images and returns logits of its classes.

    Raises:
        ExperimentError: it does not. ModelError: it has several inputs, or is not built.
    """
    check_is_functional(model, name)
    shape, size = tuple(model.inputs[0].shape), dataset.inputs.size
    if len(shape) != 4 or any(side not in (None, size) for side in shape[1:3]) or shape[3] != 3:
        raise ExperimentError(f"{name}: takes {shape}, {dataset.name} has images of {size} x {size} pixels")
    if (outputs := model.output_shape[-1]) != dataset.classes or len(model.output_shape) != 2:
        raise ExperimentError(f"{name}: has {outputs} outputs, {dataset.name} has {dataset.classes} classes")
    if trained_on is not None and trained_on != dataset.name:
        raise ExperimentError(
            f"{name}: was trained on {trained_on}; its classes are not those of {dataset.name} in the same order"
        )
