"""From a finished run to a published weight file: the file, its manifest entry, golden logits, log and card.

The published error is measured here, once, on all test images, from the very file that is published.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.checksum import sha256
from cifarzoo.data import Dataset, load
from cifarzoo.data.statistics import channel_statistics, same_statistics
from cifarzoo.errors import DataError, WeightsError
from cifarzoo.evaluation.evaluate import Progress, evaluate, predict
from cifarzoo.evaluation.load_model import LoadedModel, load_run
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.models import registry
from cifarzoo.models.macs import macs
from cifarzoo.pretrained.description import Description, statistics_of, write_description
from cifarzoo.pretrained.loading import load_file
from cifarzoo.pretrained.manifest import Published, find_entry
from cifarzoo.publishing.half_precision import errors_agree, halve
from cifarzoo.publishing.wanted import check_tag
from cifarzoo.publishing.weights_folder import WeightsFolder
from cifarzoo.runs import atomic
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.results import Results
from cifarzoo.strict_yaml import quoted

GOLDEN_IMAGES = 8
# Fractions of the time at which measuring begins and ends.
LOADED, MEASURED = 0.1, 0.9
# The results that the manifest keeps under `training`.
TRAINING_KEYS = (
    "seed",
    "steps",
    "images",
    "weights",
    "seconds",
    "images_per_second",
    "device",
    "backend",
    "versions",
    "revision",
)


def publish(
    run: RunFolder,
    dataset: Dataset,
    weights: WeightsFolder,
    tag: str,
    recipe: str = "",
    preference: Sequence[str] = (),
    remark: str = "",
    progress: Progress = lambda step, done: None,
) -> Published:
    """Publish a finished run.

    The same call completes a publication that was interrupted. Nothing is written to the run's folder.

    Args:
        run: Its folder.
        dataset: What it was trained on; the test split is evaluated.
        weights: Where to publish.
        tag: Unique name of the weights, for example "resnet20_v1_cifar10_200ep_s0".
        recipe: Name of the recipe, for the tables.
        preference: Recipes, the best first; see `WeightsFolder.add`.
        remark: What a reader of the error must know, if anything.
        progress: Called with the name of the next step and the fraction done, from 0 to 1.

    Returns:
        The manifest entry: a new one, unless this run was published under this tag before.

    Raises:
        WeightsError: the run is not finished or was stopped early, was trained on part of the training images or from
            other weights; the tag is invalid, or taken by another run, recipe or remark; or the weights folder cannot
            be written.
        DataError, ExperimentError: the run's configuration is damaged.
    """
    experiment, results = _checked(run, dataset, tag)
    training = {"experiment": _without_paths(experiment.resolved())}
    training |= {key: getattr(results, key) for key in TRAINING_KEYS}
    with weights.locked(), tempfile.TemporaryDirectory() as temporary:
        if published := find_entry(tag, weights.entries()):
            if not _is_whole(published, training, weights):
                raise WeightsError(f"{tag}: published already; choose another tag")
            _check_same("recipe", recipe, published.training["recipe"], tag)
            _check_same("remark", remark, published.remark, tag)
            weights.write_pages_locked()  # a publication that was killed may not have written them
            return published
        progress(f"load {run}", 0)
        loaded = load_run(run)
        registered = registry.get(experiment.model)
        architecture = registered.architecture(experiment.model_parameters)
        statistics = statistics_of(dataset.name)
        if not same_statistics(experiment.model_parameters.get("statistics") or statistics, statistics):
            raise WeightsError(f"{run}: published networks normalize with the statistics of their data set")
        source, metrics = _smallest(run.final_weights(), Path(temporary), loaded, dataset, progress)
        progress(f"write {tag}", MEASURED)
        file = weights.weight_file(tag)
        # The manifest names these files, so flush them to disk first.
        with atomic.replacing(file) as part:
            shutil.copyfile(source, part)
            write_description(
                part,
                Description(
                    factory=registered.name,
                    arguments=architecture,
                    classes=dataset.classes,
                    statistics=statistics,
                    dataset=dataset.name,
                ),
            )
        load_file(loaded.model, file)
        images = load("synthetic").test.images[:GOLDEN_IMAGES]
        with atomic.replacing(weights.golden_file(tag)) as part:
            np.savez_compressed(part, images=images, logits=predict(loaded.model, images))
        with atomic.replacing(weights.log_file(tag)) as part:
            shutil.copyfile(run.log_path, part)

        mean, std = channel_statistics(dataset.name)
        entry = Published(
            tag=tag,
            model=registered.name,
            architecture=architecture,
            classes=dataset.classes,
            dataset=dataset.name,
            default=False,
            sha256=sha256(file),
            bytes=file.stat().st_size,
            parameters=int(loaded.model.count_params()),
            macs=macs(loaded.model),
            preprocessing={"mean": mean, "std": std},
            metrics=metrics,
            training={"recipe": recipe} | training,
            remark=remark,
        )
        return weights.add(entry, preference)


def _is_whole(entry: Published, training: dict[str, Any], weights: WeightsFolder) -> bool:
    """Whether an entry belongs to the run that `training` describes, and its weight file is complete."""
    recorded = {key: value for key, value in entry.training.items() if key != "recipe"}
    same_run = json.dumps(recorded, sort_keys=True) == json.dumps(training, sort_keys=True)
    return same_run and weights.is_complete(entry)


def _check_same(key: str, value: str, published: str, tag: str) -> None:
    """Raise WeightsError if a text differs from that of the entry published under `tag`; an empty text is ignored."""
    if value and value != published:
        raise WeightsError(f"{tag}: published already with {key} {published!r}, not {value!r}; choose another tag")


def _checked(run: RunFolder, dataset: Dataset, tag: str) -> tuple[Experiment, Results]:
    """Return the experiment and results of a run, after checking that it may be published under a tag."""
    try:
        results = run.results()
    except DataError as failure:
        raise WeightsError(str(failure)) from None
    experiment = run.experiment()
    if experiment.train_split != "train" or experiment.dataset_name != dataset.name:
        raise WeightsError(
            f"{run}: published weights are trained on all of {dataset.name}, not on {experiment.dataset_name}'s "
            f"{experiment.train_split}"
        )
    for key in ("labels", "drop"):
        if getattr(experiment, key) is not None:
            raise WeightsError(
                f"{run}: trained with `{key}`; published weights are trained on all of {dataset.name} as it is"
            )
    if not isinstance(experiment.dataset, str):
        raise WeightsError(f"{run}: trained on images of your own, {dataset.name}, which nobody else can measure it on")
    if experiment.in_memory:
        raise WeightsError(f"{run}: trained a model or data set passed from Python, which nobody else can build")
    if experiment.module:
        raise WeightsError(f"{run}: trained a network of the module {experiment.module}, not one of the zoo's")
    try:
        check_tag(tag)
    except ValueError as failure:
        raise WeightsError(f"{quoted(tag)}: not a name for weights: {failure}") from None
    if not run.log_path.is_file():
        raise WeightsError(f"{run}: log.tsv is missing, which is published with the weights")
    if results.steps < Plan(experiment, results.training_images or len(dataset.train)).total or experiment.init_weights:
        raise WeightsError(f"{run}: stopped early or not trained from fresh weights, so its error is not a recipe's")
    return experiment, results


def _smallest(
    file: Path, temporary: Path, loaded: LoadedModel, dataset: Dataset, progress: Progress
) -> tuple[Path, dict]:
    """Return the file to publish and its metrics: a copy in half precision if its error is the same, else `file`."""
    half = temporary / "half.weights.h5"
    metrics = _measure(
        loaded,
        file,
        dataset,
        lambda done: progress(f"measure {loaded.source}", LOADED + (MEASURED - LOADED) * done / 2),
    )
    try:
        halve(file, half)
    except OverflowError:
        return file, metrics
    half_metrics = _measure(
        loaded,
        half,
        dataset,
        lambda done: progress("measure it in half precision", LOADED + (MEASURED - LOADED) * (1 + done) / 2),
    )
    same = errors_agree(metrics["error"], half_metrics["error"], metrics["n"])
    return (half, half_metrics) if same else (file, metrics)


def _measure(loaded: LoadedModel, file: Path, dataset: Dataset, progress: Callable[[float], None]) -> dict[str, Any]:
    progress(0)
    load_file(loaded.model, file)
    metrics, _ = evaluate(loaded, dataset, progress=progress)
    metrics.pop("images_per_second")
    return metrics


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment without the folders of the machine that it ran on."""
    parameters = {key: value for key, value in config["train_parameters"].items() if key != "logdir"}
    return {key: value for key, value in config.items() if key != "data_dir"} | {"train_parameters": parameters}
