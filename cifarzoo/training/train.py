"""Train from Python: `cifarzoo.train` takes a name or your own model, and a name or your own arrays."""

import operator
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from cifarzoo.data import Dataset, load
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.data.info import info
from cifarzoo.errors import DataError, ExperimentError, ModelError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.recipes import training_settings
from cifarzoo.experiment.schema import Experiment
from cifarzoo.experiment.train_parameters import TrainParameters
from cifarzoo.keras_internals.generators import kept_generators
from cifarzoo.models.registry import build_described
from cifarzoo.notebook import html_pairs, say
from cifarzoo.pretrained.description import attach_description, description_of
from cifarzoo.pretrained.loading import initialize
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.results import Results
from cifarzoo.strict_errors import advice
from cifarzoo.training import engines
from cifarzoo.training.agreement import agree_on_run
from cifarzoo.training.build import build_model
from cifarzoo.training.checks import average_warning
from cifarzoo.training.engines.cluster import has_workers
from cifarzoo.training.job import prepare
from cifarzoo.training.own_model import hashes_of, name_of, own_model_of, own_teachers_of, precision_of
from cifarzoo.training.preflight import check_folders, preflight
from cifarzoo.training.run_files import describe
from cifarzoo.training.sources import initial_weights
from cifarzoo.training.trainer import run
from cifarzoo.training.user_callbacks import check_callbacks
from cifarzoo.warnings_once import each_warning_once

# Keys of an experiments file that are not keyword arguments of `train`, and why.
NOT_CHANGES = {
    "module": "pass the function itself as `model`",
    "seeds": "one call trains one seed; pass `seed`",
    "grid": "one call trains one experiment; call it once per combination",
    "seeds_at_once": "one call trains one seed",
    "skip_error_test": "pass `check=False`",
    "in_memory": "set by this function",
}
SET_BY_THE_MODEL = {
    "precision": "your own model's layers decide it; build them with another dtype policy",
    "init_weights": "load weights into your own model before you pass it",
    "model_parameters": "your own model is built already",
}
CHIEF_SECONDS = 120


@dataclass(frozen=True)
class TrainedRun:
    """What `train` returns.

    Attributes:
        model: The model with the final weights; your own object if you passed one.
        results: Metrics, steps, seconds, device, versions.
        folder: The run's folder with its log, checkpoint, weights and results.
    """

    model: keras.Model
    results: Results
    folder: RunFolder

    def __repr__(self) -> str:
        """Return the line that notebooks and the interpreter show."""
        metrics = self.results.metrics
        return f"<TrainedRun {self.folder}: {self.results.split} error {metrics['error']:.2f} %>"

    def _repr_html_(self) -> str:
        results = self.results
        pairs = {
            "model": self.model.name,
            "data": results.dataset,
            f"{results.split} error": f"{results.metrics['error']:.2f} %",
            f"{results.split} loss": f"{results.metrics['nll']:.3f}",
            "steps": f"{results.steps:,}",
            "minutes": f"{results.seconds / 60:.1f} on {results.device}",
            "folder": str(self.folder),
        }
        return html_pairs(pairs, results.name)


@kept_generators()
@each_warning_once()
def train(
    model: str | Callable[..., keras.Model] | keras.Model,
    dataset: str | Mapping[str, Any] | Dataset = "cifar10",
    recipe: str | None = None,
    *,
    seed: int = 0,
    logdir: str | os.PathLike = "runs",
    run_name: str | None = None,
    data_dir: str | os.PathLike | None = None,
    callbacks: keras.callbacks.Callback | Iterable[keras.callbacks.Callback] = (),
    check: bool = True,
    **changes: Any,
) -> TrainedRun:
    """Train a model, or resume it: the same call continues an interrupted run and returns a finished one.

        run = cifarzoo.train(model, dataset, recipe="airbench94", logdir="runs", schedule={...})

    Args:
        model: The name of a model of the zoo ("cifar_resnet20"); a factory of the zoo or your own function
            `factory(classes=...)`; or your own built functional or Sequential model with logits as its output, which
            takes pixels 0-255 as float. Your own model keeps its weights as the start of the training.
        dataset: "cifar10", "cifar100", "cifar100_coarse" or "synthetic"; where images of your own are, as an
            experiments file says it: `{"folder": PATH}`, `{"arrays": "FILE.npz"}` or `{"tfds": NAME}`; or a
            `cifarzoo.data.Dataset` (see `Dataset.from_arrays`).
        recipe: The name of a recipe that says how to train, such as "airbench94" or "vgg/vgg11", or the path of a YAML
            file, beside which its files of labels, positions and policies may lie; by default the schedule and settings
            of an experiments file with nothing but `model`.
        seed: Of fresh weights, order of images, augmentation and random layers.
        logdir: The run is kept in logdir/run_name/seedN.
        run_name: By default the model's name, or "own_model" if you gave it none.
        data_dir: Folder of the CIFAR archives.
        callbacks: Keras callbacks, or a single one; see `cifarzoo.training.trainer.run`.
        check: Train two steps on a few images first, so that the run does not fail later.
        changes: Keys of an experiments file or of its `train_parameters` that replace the recipe's, such as
            `batch_size=64` or `schedule={"kind": "cosine", "peak": 0.1, "duration": {"epochs": 10}}`. `teacher` may
            also be a name, your own Keras model, or a list of either.

    Returns:
        A `TrainedRun`.

    Raises:
        ExperimentError: a key or value does not fit. ModelError: no such model, or one that cannot be trained.
        TypeError: the seed is not a whole number. WeightsError: no such `init_weights`, or they do not fit the model.
        DataError: no such data set. TrainingError: the loss is not finite; `Interrupted` if stopped and saved.
        CheckpointError: the folder is in use, cannot be written, or belongs to another experiment.
    """
    seed = operator.index(seed)
    if not 0 <= seed < 2**31:
        raise ExperimentError(f"cifarzoo.train: seed: expected a whole number from 0 to 2147483647, got {seed}")
    data_dir = None if data_dir is None else os.fspath(data_dir)
    if changes.get("backend") not in (None, backend := keras.backend.backend()):
        raise ExperimentError(f"cifarzoo.train: backend: Keras already runs on {backend}; start with KERAS_BACKEND")
    overrides = _sections(changes, own_model=isinstance(model, keras.Model))
    settings: dict[str, Any] = {}
    folders: list[Path] = []
    if recipe:
        settings, folders = training_settings(recipe)
        settings = _without(settings, overrides)
    distribution = overrides.get("distribution", settings.get("distribution", "auto"))
    if isinstance(model, keras.Model) and has_workers(distribution):
        raise ModelError(f"{model.name}: workers must join before Keras builds anything; pass a function instead")
    engines.current().join_cluster(distribution)
    teachers = own_teachers_of(overrides)
    arrays = _checked_dataset(dataset, data_dir)
    own_model = own_model_of(model, arrays, seed, overrides.get("model_parameters", {}))
    parameters = {"logdir": os.fspath(logdir)} | ({"run_name": run_name} if run_name else {})
    call = {
        "model": model if isinstance(model, str) else name_of(model),
        "dataset": dict(dataset) if isinstance(dataset, Mapping) else arrays.name,
        "data_dir": data_dir,
        "seeds": [seed],
        "train_parameters": parameters,
    }
    if own_model is not None:
        call["precision"] = precision_of(own_model)
    if in_memory := hashes_of(own_model, None if isinstance(dataset, Mapping) else arrays):
        call["in_memory"] = in_memory
    experiment = experiment_from([settings, call, overrides], "cifarzoo.train", folders)
    if own_model is not None and (start := initial_weights(experiment, seed)):  # of a function that builds the model
        initialize(own_model, start, build_described)
    callbacks = check_callbacks(callbacks, experiment)
    job = prepare(experiment, arrays, experiment.seeds, own_model, teachers)
    if warning := average_warning(job.experiment, job.plan):
        say(warning)
    folder = job.folder(seed)
    workers = engines.current().workers(distribution)
    with workers.working():
        is_finished, has_started = folder.is_finished, folder.checkpoint_path.exists()
        agree_on_run(workers, job, seed, "the folder of", finished=is_finished, started=has_started)
        if check and not has_started and not is_finished:
            check_folders(job)
            preflight(job, callbacks)
        results = run(job, seed, callbacks)
        if is_finished:
            say(f"{folder}: already finished, not trained again; these are its results")
    trained = own_model
    if trained is None:
        finished = job.experiment.model_copy(update={"init_weights": None, "precision": "float32"})
        # `drop` changes the statistics that the network normalizes with.
        trained = build_model(finished, job.dataset.classes, seed, job.dataset.inputs)
    if not job.is_chief:
        _wait_for(folder.weights_path)
    trained.load_weights(folder.final_weights())
    if description_of(trained):
        attach_description(trained, describe(job.experiment, trained, arrays.class_names))
    return TrainedRun(trained, results, folder)


def _sections(changes: dict[str, Any], own_model: bool) -> dict[str, Any]:
    """Sort keyword arguments into a document: keys of `train_parameters` go into that section."""
    document: dict[str, Any] = {}
    parameters: dict[str, Any] = dict(changes.pop("train_parameters", {}))
    for key, value in changes.items():
        if reason := (NOT_CHANGES | (SET_BY_THE_MODEL if own_model else {})).get(key):
            raise ExperimentError(f"cifarzoo.train: {key}: {reason}")
        section = parameters if key in TrainParameters.model_fields else document
        if section is document and key not in Experiment.model_fields:
            instead = advice(key, [Experiment, TrainParameters], Experiment)
            raise ExperimentError(f"cifarzoo.train: {key}: unknown key; {instead}")
        section[key] = value
    return document | ({"train_parameters": parameters} if parameters else {})


def _without(settings: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the overrides replace, so that no part of a recipe's schedule or model remains."""
    replaced = set(overrides.get("train_parameters", {}))
    if replaced & {"lr_values", "lr_boundaries"}:
        replaced.add("schedule")
    parameters = {key: value for key, value in settings["train_parameters"].items() if key not in replaced}
    kept = {key: value for key, value in settings.items() if key not in overrides or key == "train_parameters"}
    return kept | {"train_parameters": parameters}


def _checked_dataset(dataset: Any, data_dir: str | None) -> Dataset:
    """Load a data set by name, or check that one with a built-in name has all its images."""
    if isinstance(dataset, str | Mapping):
        return load(dataset, data_dir)
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"dataset: expected a name, a mapping such as {{'folder': PATH}} or a cifarzoo.Dataset, "
            f"got {type(dataset).__name__}"
        )
    if dataset.name in CLASS_NAMES:
        for split in ("train", "test"):
            if dataset.size(split) != (count := info(dataset.name).size(split)):
                raise DataError(
                    f"data set {dataset.name!r}: has {dataset.size(split)} {split} images instead of {count}; give it "
                    "a name of its own with Dataset.from_arrays"
                )
    return dataset


def _wait_for(path: Path) -> None:
    """Wait until the chief has written the final weights, which other workers load.

    Raises:
        DataError: they do not appear, because the workers do not share the folder.
    """
    for _ in range(CHIEF_SECONDS):
        if path.is_file():
            return
        time.sleep(1)
    raise DataError(f"{path}: the chief's final weights have not appeared; workers need a logdir that they share")
