"""Measure a model, or an ensemble, on the splits of a data set; measure finished runs again."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from cifarzoo.data import Dataset, load
from cifarzoo.data.pixels import scaling_problem
from cifarzoo.errors import DataError
from cifarzoo.evaluation.ensemble import ensemble
from cifarzoo.evaluation.fit import check_fits
from cifarzoo.evaluation.load_model import LoadedModel, load_model, load_run
from cifarzoo.evaluation.measured_data import as_in_run, data_of, measured_data, name_of
from cifarzoo.evaluation.predictions import Predictions
from cifarzoo.evaluation.text import GATE_LABELS
from cifarzoo.experiment.schema import Experiment
from cifarzoo.hardware import bfloat16_fault, full_float32
from cifarzoo.inference.network import CompiledNetwork, pays_off
from cifarzoo.keras_internals.model_graph import computes_in
from cifarzoo.metrics import are_probabilities, classification_metrics
from cifarzoo.models.skipping import computation_metrics, has_gates
from cifarzoo.runs.folder import RunFolder

logger = logging.getLogger("cifarzoo")

# Called with the name of the next step and the fraction done, from 0 to 1.
Progress = Callable[[str, float], None]


def predict(
    model: keras.Model | CompiledNetwork,
    images: np.ndarray,
    batch_size: int = 500,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Return the logits of all images, float32 [n, classes].

    An incomplete last batch is padded with its last image. So nothing compiles twice, and every replica of a model
    under a `tf.distribute` strategy gets work.

    Args:
        model: A model that takes these images, or a compiled copy.
        images: [n, height, width, 3].
        batch_size: Images per prediction call.
        progress: Called after each batch with the fraction done.
    """
    count = len(images)
    if missing := -count % min(batch_size, count):
        images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    batches = -(-len(images) // batch_size)
    if isinstance(model, CompiledNetwork):
        parts = []
        with full_float32():
            for number, first in enumerate(range(0, len(images), batch_size), start=1):
                parts.append(model(images[first : first + batch_size]))
                if progress:
                    progress(number / batches)
        return np.concatenate(parts).astype(np.float32)[:count]
    callbacks = []
    if progress:
        callbacks = [
            keras.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: progress((batch + 1) / batches))
        ]
    with full_float32():
        logits = model.predict(images, batch_size=batch_size, verbose=0, callbacks=callbacks)
    return np.asarray(logits, np.float32)[:count]


def evaluate(
    loaded: LoadedModel,
    dataset: Dataset,
    split: str = "test",
    batch_size: int = 500,
    flip: bool = False,
    progress: Callable[[float], None] | None = None,
) -> tuple[dict, np.ndarray]:
    """Measure a model on a split. Log a warning if the images look scaled already.

    Args:
        loaded: The model.
        dataset: The data set.
        split: Name of the split.
        batch_size: Images per prediction call.
        flip: Average the logits of each image and its mirror image (test-time augmentation).
        progress: Called after each batch with the fraction done; with `flip`, that of the first of two passes.

    Returns:
        The metrics of `classification_metrics` plus `images_per_second`, and logits float32 [n, classes]. For a model
        with gates also `computation_percent`, `macs_mean` and `macs_saved_percent`; its `images_per_second` is that of
        the whole network, since only `cifarzoo.models.skipping.SkippingInference` skips the blocks.

    Raises:
        DataError: the model does not fit the data set, has other classes or another order of them, does not return
            logits, its weights are not finite, or its arithmetic gives wrong results here.
    """
    if computes_in(loaded.model, "bfloat16") and (fault := bfloat16_fault()):
        raise DataError(f"{loaded.name}: is in bfloat16, and {fault}: use another version")
    check_fits(loaded, dataset)
    arrays = dataset.split(split)
    if problem := scaling_problem(arrays.images):
        logger.warning("%s of %s: %s", split, dataset.name, problem)
    model = loaded.network() if pays_off(loaded.model, len(arrays.images)) else loaded.model
    first = predict(model, arrays.images[:batch_size], batch_size)  # compile before the clock starts
    _check_logits(loaded, first)
    started = time.perf_counter()
    logits = predict(model, arrays.images, batch_size, progress)
    if flip:
        logits = (logits + predict(model, arrays.images[:, :, ::-1], batch_size)) / 2
    seconds = time.perf_counter() - started
    metrics = classification_metrics(logits, arrays.labels, arrays.soft_labels)
    if has_gates(loaded.model):
        with full_float32():
            metrics |= computation_metrics(loaded.model, arrays.images, batch_size)
    return metrics | {"images_per_second": round(len(logits) / seconds, 1)}, logits


def _check_logits(loaded: LoadedModel, logits: np.ndarray) -> None:
    if not np.isfinite(logits).all():
        raise DataError(f"{loaded.name}: its logits are not finite: the weights hold NaN, infinity or huge values")
    if are_probabilities(logits):
        raise DataError(f"{loaded.name}: returns probabilities, expected logits: build it without a final softmax")


def predict_splits(
    loaded: LoadedModel,
    dataset: Dataset,
    splits: Iterable[str],
    batch_size: int = 500,
    flip: bool = False,
    progress: Progress = lambda step, done: None,
) -> Predictions:
    """Compute logits and labels of several splits; "validation" is taken from "train" if both are requested.

    Args:
        loaded: The model.
        dataset: The data set.
        splits: Names of the splits.
        batch_size: Images per prediction call.
        flip: See `evaluate`.
        progress: Called with the split being predicted and the fraction of all images done.

    Raises:
        DataError: as `evaluate`.
    """
    train_split = loaded.train_split if dataset.name == loaded.dataset else ""
    predictions = Predictions(loaded.name, dataset.name, train_split, class_names=tuple(dataset.class_names))
    logits, labels = predictions.logits, predictions.labels
    splits = sorted(splits, key=lambda name: name != "train")
    sizes = [dataset.size(split) for split in splits]
    for number, split in enumerate(splits):
        before, size = sum(sizes[:number]), sizes[number]

        def show(done: float, split: str = split, before: int = before, size: int = size) -> None:
            progress(f"{split} images, {loaded.name}", (before + done * size) / sum(sizes))

        show(0)
        if split == "validation" and "train" in logits:
            indices = dataset.positions("validation")
            logits[split], labels[split] = logits["train"][indices], labels["train"][indices]
            continue
        metrics, logits[split] = evaluate(loaded, dataset, split, batch_size, flip, show)
        arrays = dataset.split(split)
        labels[split] = arrays.labels
        if arrays.soft_labels is not None:
            predictions.soft_labels[split] = arrays.soft_labels
        predictions.measured[split] = {
            key: metrics[key] for key in ("images_per_second", *GATE_LABELS) if key in metrics
        }
    return predictions


def evaluate_named(
    name: str | Sequence[str],
    dataset_name: str | None = None,
    data_dir: str | None = None,
    split: str = "test",
    logits_path: Path | None = None,
    flip: bool = False,
    weights: str | None = None,
    arguments: dict | None = None,
    progress: Progress = lambda step, done: None,
) -> dict:
    """Measure the model that a name, tag, file or folder refers to, or the ensemble of several.

    Args:
        name: See `load_model`. Several names are measured as an ensemble, by the mean of their probabilities.
        dataset_name: Default: the data set it was trained on; see `measured_data.data_of`.
        data_dir: Folder of the archives.
        split: Name of the split.
        logits_path: Also write the logits and labels of "train", "validation" and "test" to this file.
        flip: See `evaluate`.
        weights: See `load_model`. For a single name only.
        arguments: See `load_model`. For a single name only.
        progress: Called with the name of the next step and the fraction done, from 0 to 1.

    Returns:
        `model`, with `flip` also `test_time_augmentation`, and what `Predictions.describe` returns. For several names
        also `members`: per name, what `classification_metrics` returns.

    Raises:
        CifarzooError: as `load_model`, `load` and `evaluate`, or the members were trained on different data sets.
    """
    if logits_path and not logits_path.parent.is_dir():
        raise DataError(f"{logits_path}: there is no folder {logits_path.parent}")
    names = [name] if isinstance(name, str) else list(name)
    members: list[Predictions] = []
    dataset: Dataset | None = None
    for number, member_name in enumerate(names):
        progress(f"load {member_name}", number / len(names))
        loaded = load_model(member_name, weights, arguments)
        data = data_of(loaded, dataset_name)
        if dataset is None:
            dataset = load(data, data_dir)
        elif dataset.name != name_of(data):
            raise DataError(
                f"{member_name}: trained on {name_of(data)}, {names[0]} on {dataset.name}; the members of an ensemble "
                "need the same data set"
            )
        splits = {split} | ({"train", "test"} if logits_path else set())
        if dataset.size("validation"):  # classes of fewer than ten images give none
            splits |= {"validation"}
        begun = number / len(names)
        members.append(
            predict_splits(
                loaded,
                dataset if dataset_name else as_in_run(loaded, dataset),
                sorted(splits),
                flip=flip,
                progress=lambda step, done, begun=begun: progress(step, begun + done / len(names)),  # type: ignore[misc]
            )
        )
    predictions = members[0] if len(members) == 1 else ensemble(members)
    if logits_path:
        predictions.save(logits_path)
    result: dict = {"model": ", ".join(names)}
    if flip:
        result["test_time_augmentation"] = "flip"
    result |= predictions.describe(split)
    if len(members) > 1:
        result["members"] = {
            member_name: classification_metrics(
                member.logits[split], member.labels[split], member.soft_labels.get(split)
            )
            for member_name, member in zip(names, members, strict=True)
        }
    return result


def evaluate_runs(experiments: Iterable[Experiment]) -> list[dict]:
    """Measure finished runs again, both on the split they were trained on and on the one they were validated on.

    Returns:
        One row per run: `experiment`, `seed`, `dataset`, and `error` and `nll` of both splits, named after the split:
        `train_error` and so on. Training images are not augmented, and have the data set's own labels.

    Raises:
        DataError: a run is not finished. CifarzooError: as `load_run`, `load` and `evaluate`.
    """
    runs = [(experiment, seed) for experiment in experiments for seed in experiment.seeds]
    models = [load_run(RunFolder.of(*run)) for run in runs]  # an unfinished run is an error before any is measured
    rows = []
    for (experiment, seed), loaded in zip(runs, models, strict=True):
        dataset = measured_data(loaded, None, experiment.data_dir)
        row = {"experiment": experiment.name, "seed": seed, "dataset": experiment.dataset_name}
        for split in (experiment.train_split, experiment.val_split):
            metrics, _ = evaluate(loaded, dataset, split)
            row |= {f"{split}_{key}": metrics[key] for key in ("error", "nll")}
        rows.append(row)
    return rows
