"""Evaluate what a person names: a published model, a weight file, or the folder of a run."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from cifarzoo.data import Dataset, load
from cifarzoo.errors import DataError, WeightsError
from cifarzoo.evaluation.metrics import classification_metrics


@dataclass
class Subject:
    """A model to evaluate and where it comes from."""

    model: object
    dataset: str
    source: str


def predict(model, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """Logits of all images, float32 [n, classes]; the last odd batch counts too."""
    return np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)


def find_subject(name: str, tag: str | None = None, arguments: dict | None = None) -> Subject:
    """The model that a name stands for.

    Args:
        name: A factory's name (its published weights are loaded), a published file's path or tag, or a run's folder.
        tag: Which published weights of the factory; by default the default ones.
        arguments: Of the factory.

    Raises:
        CifarzooError: nothing of that name, or its weights do not exist.
    """
    path = Path(name)
    if path.is_dir():
        return _run(path)
    from cifarzoo import pretrained
    from cifarzoo.models import registry

    by_tag = {entry.tag: entry for entry in pretrained.manifest()}
    entry = by_tag.get(path.name.removesuffix(".weights.h5"))
    if name.endswith(".h5") and (not path.is_file() or entry is None):
        if not path.is_file():
            raise WeightsError(f"{path}: no such weight file")
        raise WeightsError(
            f"{path}: not in the manifest, so its architecture is unknown; name the model and pass "
            f"load_weights, as in `cifarzoo evaluate MODEL --weights {path}`"
        )
    if entry is not None:
        if path.is_file() and pretrained.sha256(path) != entry.sha256:
            raise WeightsError(f"{path}: has the name of published weights, but not their sha256")
        weights = name if path.is_file() else entry.tag
        model = registry.create_model(entry.model, classes=entry.classes, load_weights=weights, **entry.architecture)
        return Subject(model, entry.dataset, entry.tag)
    factory = registry.get(name)
    arguments = dict(arguments or {})
    if tag and tag in by_tag:
        arguments = by_tag[tag].architecture | {"classes": by_tag[tag].classes} | arguments
    model = factory.factory(load_weights=tag or True, **arguments)
    if tag and tag.endswith(".h5"):
        return Subject(model, {100: "cifar100"}.get(model.output_shape[-1], "cifar10"), tag)
    architecture = factory.architecture(arguments)
    entry = pretrained.select(factory.name, architecture, arguments.get("classes", 10), tag or True)
    return Subject(model, entry.dataset, entry.tag)


def _run(folder):
    from cifarzoo.pretrained import load_file
    from cifarzoo.training.experiment import experiment_from

    config = next((p for p in (folder / "config.yaml", folder.parent / "config.yaml") if p.is_file()), None)
    if config is None or not (folder / "final.weights.h5").is_file():
        raise DataError(f"{folder}: not a finished run: config.yaml and final.weights.h5 are expected there")
    experiment = experiment_from([yaml.safe_load(config.read_text())], str(config))
    experiment = experiment.model_copy(update={"precision": "float32", "init_weights": None})
    classes = 100 if experiment.dataset == "cifar100" else 10
    model = experiment.build_model(classes, seed=0)
    load_file(model, folder / "final.weights.h5")
    return Subject(model, experiment.dataset, str(folder))


def evaluate(subject: Subject, dataset: Dataset, split: str = "test", batch_size: int = 500) -> tuple[dict, np.ndarray]:
    """Metrics of a subject on a split, and its logits.

    Returns:
        What `classification_metrics` returns plus `images_per_second`, and logits float32 [n, classes]. Of a model with
        gates also `computation_percent`, `macs_mean` and `macs_saved_percent`, while `images_per_second` is that of the
        whole network: `cifarzoo.models.skipping.SkippingInference` is what leaves the skipped blocks out.

    Raises:
        DataError: the model's outputs are not the data set's classes, or its weights are not finite.
    """
    outputs = subject.model.output_shape[-1]
    if outputs != dataset.classes:
        raise DataError(
            f"{subject.source}: the model has {outputs} outputs, {dataset.name} has {dataset.classes} classes"
        )
    arrays = dataset.split(split)
    predict(subject.model, arrays.images[:batch_size], batch_size)
    started = time.perf_counter()
    logits = predict(subject.model, arrays.images, batch_size)
    seconds = time.perf_counter() - started
    metrics = classification_metrics(logits, arrays.labels)
    from cifarzoo.models.skipping import computation_metrics, has_gates

    if has_gates(subject.model):
        metrics |= computation_metrics(subject.model, arrays.images, batch_size)
    return metrics | {"images_per_second": round(len(logits) / seconds, 1)}, logits


def evaluate_named(name: str, dataset_name: str | None = None, data_dir: str | None = None, **options) -> dict:
    """`find_subject` and `evaluate` in one: metrics with `model` and `dataset` named. See both for what is raised."""
    split = options.pop("split", "test")
    batch_size = options.pop("batch_size", 500)
    subject = find_subject(name, **options)
    if dataset_name is None:
        dataset_name = subject.dataset
    dataset = load(dataset_name, data_dir)
    metrics, _ = evaluate(subject, dataset, split, batch_size)
    return {"model": name, "weights": subject.source, "dataset": dataset_name, "split": split} | metrics
