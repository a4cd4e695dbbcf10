"""Train from Python: `cifarzoo.train` takes a name or your own model, and a name or your own arrays."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cifarzoo.data import Dataset, load
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.errors import ExperimentError, ModelError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.recipes import training_settings
from cifarzoo.experiment.schema import Experiment, TrainParameters
from cifarzoo.models import registry
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.results import Results
from cifarzoo.training import engines
from cifarzoo.training.build import build_model
from cifarzoo.training.job import prepare
from cifarzoo.training.preflight import preflight
from cifarzoo.training.trainer import run


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


def train(
    model: str | Callable[..., keras.Model] | keras.Model,
    dataset: str | Dataset = "cifar10",
    recipe: str | None = None,
    *,
    seed: int = 0,
    logdir: str | os.PathLike = "runs",
    run_name: str | None = None,
    data_dir: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    check: bool = True,
    **changes: Any,
) -> TrainedRun:
    """Train a model, or resume it: the same call continues an interrupted run and returns a finished one.

        run = cifarzoo.train(model, dataset, recipe="airbench94", logdir="runs", schedule={...})

    Args:
        model: The name of a model of the zoo ("cifar_resnet20"); a factory of the zoo or your own function
            `factory(classes=...)`; or your own built functional or Sequential model with logits as its output, which
            takes pixels 0-255 as float. Your own model keeps its weights as the start of the training.
        dataset: "cifar10", "cifar100" or "synthetic"; or a `cifarzoo.data.Dataset` (see `Dataset.from_arrays`).
        recipe: The name of a recipe that says how to train, such as "airbench94" or "vgg/vgg11"; by default the
            schedule and settings of an experiments file with nothing but `model`.
        seed: Of fresh weights, order of images, augmentation and random layers.
        logdir: The run is kept in logdir/run_name/seedN.
        run_name: By default the model's name, or "own_model" if you gave it none.
        data_dir: Folder of the CIFAR archives.
        callbacks: Keras callbacks; see `cifarzoo.training.trainer.run`.
        check: Train two steps on a few images first, so that the run does not fail later.
        changes: Keys of an experiments file or of its `train_parameters` that replace the recipe's, such as
            `batch_size=64` or `schedule={"kind": "cosine", "peak": 0.1, "duration": {"epochs": 10}}`.

    Returns:
        A `TrainedRun`.

    Raises:
        ExperimentError: a key or value does not fit. ModelError: no such model, or one that cannot be trained.
        DataError: no such data set. TrainingError: the loss is not finite; `Interrupted` if stopped and saved.
        CheckpointError: the folder is in use, cannot be written, or belongs to another experiment.
    """
    settings = training_settings(recipe) if recipe else {}
    overrides = _sections(changes)
    if {"lr_values", "lr_boundaries"} & set(changes):
        settings.get("train_parameters", {}).pop("schedule", None)
    engines.current().join_cluster(overrides.get("distribution", settings.get("distribution", "auto")))
    arrays = dataset if isinstance(dataset, Dataset) else load(dataset, data_dir)
    own_model = _own_model(model, arrays, seed, overrides.get("model_parameters", {}))
    parameters = {"logdir": os.fspath(logdir)} | ({"run_name": run_name} if run_name else {})
    call = {
        "model": model if isinstance(model, str) else _name(model),
        "dataset": arrays.name,
        "data_dir": data_dir,
        "seeds": [seed],
        "train_parameters": parameters,
    }
    if own_model is not None:
        call["precision"] = _precision(own_model)
    if in_memory := _in_memory(own_model, arrays):
        call["in_memory"] = in_memory
    experiment = experiment_from([settings, call, overrides], "cifarzoo.train")
    job = prepare(experiment, arrays, [seed], own_model)
    folder = job.folder(seed)
    if check and not folder.checkpoint_path.exists() and not folder.is_finished:
        preflight(job)
    results = run(job, seed, callbacks)
    trained = own_model
    if trained is None:
        finished = job.experiment.model_copy(update={"init_weights": None, "precision": "float32"})
        trained = build_model(finished, arrays.classes, seed)
    trained.load_weights(folder.final_weights())
    return TrainedRun(trained, results, folder)


def _sections(changes: dict[str, Any]) -> dict[str, Any]:
    """Sort keyword arguments into a document: keys of `train_parameters` go into that section."""
    document: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for key, value in changes.items():
        section = parameters if key in TrainParameters.model_fields else document
        if section is document and key not in Experiment.model_fields:
            names = [*Experiment.model_fields, *TrainParameters.model_fields]
            near = difflib.get_close_matches(key, names, n=3) or names
            raise ExperimentError(f"cifarzoo.train: {key}: unknown key; did you mean {', '.join(near)}?")
        section[key] = value
    return document | ({"train_parameters": parameters} if parameters else {})


def _name(model: Any) -> str:
    """Name a run after the user's function or model, unless Keras or Python made the name up."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", getattr(model, "__name__", None) or model.name)
    made_up = re.fullmatch(r"(functional|sequential|model)(_\d+)?|_lambda_", name)
    return "own_model" if made_up or not name[0].isalnum() else name


def _own_model(model: Any, dataset: Dataset, seed: int, arguments: dict[str, Any]) -> keras.Model | None:
    """Return the user's own model, None if the zoo builds it.

    Raises:
        ModelError: it cannot be trained on the data set's images and labels.
    """
    if isinstance(model, str):
        return None
    if not isinstance(model, keras.Model):
        if not callable(model):
            raise ModelError(f"model: expected a name, a function or a Keras model, got {type(model).__name__}")
        entry = registry.entries().get(getattr(model, "__name__", ""))
        if entry is not None and entry.factory is model:
            return None
        keras.utils.set_random_seed(seed)
        model = model(classes=dataset.classes, **arguments)
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        raise ModelError(f"{model.name}: expected a functional or built Sequential model with one input")
    images = (None, *dataset.train.images.shape[1:])
    shape = tuple(model.inputs[0].shape)
    fits = len(shape) == 4 and all(size in (None, image) for size, image in zip(shape, images, strict=True))
    if not fits or tuple(model.output_shape) != (None, dataset.classes):
        raise ModelError(
            f"{model.name}: takes {shape} and returns {tuple(model.output_shape)}; expected {images} and "
            f"(None, {dataset.classes}), as {dataset.name} has {dataset.classes} classes"
        )
    last = model.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    if activation in ("softmax", "sigmoid") or isinstance(last, keras.layers.Softmax):
        raise ModelError(f"{model.name}: returns probabilities; end it with logits, without {activation or 'softmax'}")
    return model


def _precision(model: keras.Model) -> str:
    """Return the precision that a model's own layers compute in."""
    names = {layer.dtype_policy.name for layer in model.layers}
    return "float64" if "float64" in names else "bfloat16" if "mixed_bfloat16" in names else "float32"


def _in_memory(model: keras.Model | None, dataset: Dataset) -> dict[str, str]:
    """Return hashes of the user's own model and data set, so that a folder is resumed with the same only."""
    hashes = {}
    if model is not None:
        hashes["model"] = _architecture_hash(model)
    if dataset.name not in CLASS_NAMES:
        digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
        for split in (dataset.train, dataset.test):
            digest.update(np.ascontiguousarray(split.images).data)
            digest.update(np.ascontiguousarray(split.labels).data)
        hashes["dataset"] = digest.hexdigest()
    return hashes


def _architecture_hash(model: keras.Model) -> str:
    """Hash a model's architecture. Names count by their order, as Keras numbers them through within a process."""
    config = json.loads(model.to_json())
    names: dict[str, str] = {}

    def number(value: Any) -> None:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            number(inner)
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            names.setdefault(value["name"], f"layer {len(names)}")

    def normalized(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: inner for key, inner in value.items() if key not in ("seed", "build_config", "keras_version")}
            return {key: normalized(inner) for key, inner in kept.items()}
        if isinstance(value, list):
            return [normalized(inner) for inner in value]
        return names.get(value, value) if isinstance(value, str) else value

    number(config)
    return hashlib.sha256(json.dumps(normalized(config), sort_keys=True).encode()).hexdigest()
