"""Evaluate what a person names: a published model, a weight file, a saved model, or the folder of a run."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarzoo.data import Dataset, load
from cifarzoo.data.splits import published_split
from cifarzoo.errors import CifarzooError, DataError, ModelError, WeightsError
from cifarzoo.evaluation.predictions import Predictions
from cifarzoo.evaluation.products import whole_products
from cifarzoo.metrics import are_probabilities, classification_metrics

COMPARED = {"error": "error %", "top5_error": "top-5 error %", "nll": "NLL", "brier": "Brier", "ece": "ECE"}
# Of networks with gates.
GATES = {"computation_percent": "computation %", "macs_mean": "MACs, mean", "macs_saved_percent": "MACs saved %"}
# What float32 on another device may change: likelihoods a little, and the order of two nearly equal logits of an image.
ROUNDING = 2e-4


@dataclass
class Subject:
    """A model to evaluate and where it comes from.

    Attributes:
        model: A Keras model, raw pixels [n, 32, 32, 3] in, logits [n, classes] out.
        dataset: What it was trained on, or what its number of outputs suggests.
        source: Where its weights come from, for people.
        train_split: The part of the training images that it was trained on, "" if unknown.
    """

    model: object
    dataset: str
    source: str
    train_split: str = ""


def predict(model, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """Logits of all images, float32 [n, classes].

    The last odd batch counts too; it is filled up with its last image, so that nothing is compiled twice and every
    replica of a model under a `tf.distribute` strategy has something to do.
    """
    count = len(images)
    if short := -count % min(batch_size, count):
        images = np.concatenate([images, np.repeat(images[-1:], short, axis=0)])
    with whole_products():
        return np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)[:count]


def find_subject(name: str, tag: str | None = None, arguments: dict | None = None) -> Subject:
    """The model that a name stands for.

    Args:
        name: A factory's name (its published weights are loaded), a published file's path or tag, a `.keras` file, or
            a run's folder.
        tag: Which published weights of the factory; by default the default ones.
        arguments: Of the factory.

    Raises:
        CifarzooError: nothing of that name, its weights do not exist, or `tag` or `arguments` are given where the name
            is not a factory's.
    """
    path = Path(name)
    if path.is_dir():
        _needs_no(path, tag, arguments)
        return _run(path)
    if name.endswith(".keras"):
        _needs_no(path, tag, arguments)
        return _saved(path)
    from cifarzoo.models import registry
    from cifarzoo.pretrained import loading as pretrained

    by_tag = {entry.tag: entry for entry in pretrained.manifest()}
    entry = by_tag.get(path.name.removesuffix(".weights.h5") if path.is_file() else name.removesuffix(".weights.h5"))
    if name.endswith(".h5") and (not path.is_file() or entry is None):
        if not path.is_file():
            raise WeightsError(f"{path}: no such weight file")
        raise WeightsError(
            f"{path}: not in the manifest, so its architecture is unknown; name the model and pass "
            f"load_weights, as in `cifarzoo evaluate MODEL --weights {path}`"
        )
    if entry is not None:
        _needs_no(name, tag, arguments)
        if path.is_file() and pretrained.sha256(path) != entry.sha256:
            raise WeightsError(f"{path}: has the name of published weights, but not their sha256")
        weights = name if path.is_file() else entry.tag
        model = registry.create_model(entry.model, classes=entry.classes, load_weights=weights, **entry.architecture)
        return _published(model, entry)
    factory = registry.get(name)
    arguments = dict(arguments or {})
    if tag and tag in by_tag:
        arguments = by_tag[tag].architecture | {"classes": by_tag[tag].classes} | arguments
    model = factory.factory(load_weights=tag or True, **arguments)
    if tag and tag.endswith((".h5", ".keras")):
        return Subject(model, _likely_dataset(model), tag)
    architecture = factory.architecture(arguments)
    entry = pretrained.select(factory.name, architecture, arguments.get("classes", 10), tag or True)
    return _published(model, entry)


def _needs_no(name, tag, arguments):
    if tag or arguments:
        raise ModelError(
            f"{name}: has its own weights and arguments; others can be given only with a model's name such as "
            "cifar_resnet20"
        )


def _published(model, entry):
    return Subject(model, entry.dataset, entry.tag, entry.training["experiment"]["train_split"])


def _likely_dataset(model):
    return "cifar100" if model.output_shape[-1] == 100 else "cifar10"


def _saved(path):
    import keras

    import cifarzoo.layers  # noqa: F401  registers the layers that a file may hold

    if not path.is_file():
        raise WeightsError(f"{path}: no such saved model")
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as failure:  # Keras raises whatever the file's content led to
        reason = next((line.strip() for line in str(failure).splitlines() if line.strip()), type(failure).__name__)
        raise WeightsError(f"{path}: not a saved Keras model that opens here ({reason:.200})") from None
    return Subject(model, _likely_dataset(model), str(path))


def _run(folder):
    from cifarzoo.experiment.files import not_finished, run_experiment
    from cifarzoo.pretrained.loading import load_file
    from cifarzoo.training.build import build_model

    experiment = run_experiment(folder)
    if not (folder / "final.weights.h5").is_file():
        raise not_finished(folder)
    experiment = experiment.model_copy(update={"precision": "float32", "init_weights": None})
    classes = 100 if experiment.dataset == "cifar100" else 10
    model = build_model(experiment, classes, seed=0)
    load_file(model, folder / "final.weights.h5")
    return Subject(model, experiment.dataset, str(folder), experiment.train_split)


def evaluate(
    subject: Subject, dataset: Dataset, split: str = "test", batch_size: int = 500, flip: bool = False
) -> tuple[dict, np.ndarray]:
    """Metrics of a subject on a split, and its logits.

    Args:
        subject: The model.
        dataset: The arrays.
        split: Which of them.
        batch_size: Of the prediction.
        flip: Average the logits of every image and of its mirror image (test-time augmentation).

    Returns:
        What `classification_metrics` returns plus `images_per_second`, and logits float32 [n, classes]. Of a model with
        gates also `computation_percent`, `macs_mean` and `macs_saved_percent`, while `images_per_second` is that of the
        whole network: `cifarzoo.models.skipping.SkippingInference` is what leaves the skipped blocks out.

    Raises:
        DataError: the model's outputs are not the data set's classes, or its weights are not finite.
    """
    check_shapes(subject.model, dataset, subject.source)
    arrays = dataset.split(split)
    first = predict(subject.model, arrays.images[:batch_size], batch_size)  # compiles, so that the time below is honest
    _check_outputs(subject, first)
    started = time.perf_counter()
    logits = predict(subject.model, arrays.images, batch_size)
    if flip:
        logits = (logits + predict(subject.model, arrays.images[:, :, ::-1], batch_size)) / 2
    seconds = time.perf_counter() - started
    metrics = classification_metrics(logits, arrays.labels)
    from cifarzoo.models.skipping import computation_metrics, has_gates

    if has_gates(subject.model):
        with whole_products():
            metrics |= computation_metrics(subject.model, arrays.images, batch_size)
    return metrics | {"images_per_second": round(len(logits) / seconds, 1)}, logits


def check_shapes(model, dataset: Dataset, source: str) -> None:
    """Raise a DataError that names `source` unless the model takes the data set's images and has an output a class."""
    images = (None, *dataset.train.images.shape[1:])
    try:
        taken, given = model.input_shape, model.output_shape
    except AttributeError:  # not functional: Keras learns of shapes by a call only
        taken, given = images, tuple(model(dataset.train.images[:1]).shape)
    if len(taken) != len(images) or any(size not in (None, wanted) for size, wanted in zip(taken, images, strict=True)):
        raise DataError(f"{source}: the model takes {taken}, images are {images}")
    if len(given) != 2:
        raise DataError(f"{source}: the model gives {given}, logits (None, {dataset.classes}) are expected")
    if given[-1] != dataset.classes:
        raise DataError(f"{source}: the model has {given[-1]} outputs, {dataset.name} has {dataset.classes} classes")


def _check_outputs(subject, outputs):
    if not np.isfinite(outputs).all():
        raise DataError(
            f"{subject.source}: its logits are not finite, so its weights hold NaN, infinity or huge values"
        )
    if are_probabilities(outputs):
        raise DataError(
            f"{subject.source}: gives probabilities; logits are expected: build it without softmax at its end"
        )


def predict_splits(
    subject: Subject, dataset: Dataset, splits: list[str], batch_size: int = 500, flip: bool = False
) -> Predictions:
    """Logits and labels of several splits; those of "validation" are taken out of "train" where both are wanted.

    Raises:
        DataError: as `evaluate`.
    """
    own = dataset.name == subject.dataset
    found = Predictions(subject.source, dataset.name, subject.train_split if own else "")
    for split in sorted(splits, key=lambda name: name != "train"):
        if split == "validation" and "train" in found.logits:
            _, places = published_split(dataset.train.labels)
            found.logits[split], found.labels[split] = found.logits["train"][places], found.labels["train"][places]
            continue
        metrics, found.logits[split] = evaluate(subject, dataset, split, batch_size, flip)
        found.labels[split] = dataset.split(split).labels
        found.measured[split] = {key: metrics[key] for key in ("images_per_second", *GATES) if key in metrics}
    return found


def evaluate_named(
    name: str,
    dataset_name: str | None = None,
    data_dir: str | None = None,
    split: str = "test",
    logits_path: Path | None = None,
    flip: bool = False,
    **options,
) -> dict:
    """All metrics of what a person names.

    Args:
        name: As `find_subject` takes it.
        dataset_name: By default what it was trained on.
        data_dir: Of the archives.
        split: What to measure.
        logits_path: Where to write logits and labels of "train", "validation" and "test" too.
        flip: See `evaluate`.
        options: `tag` and `arguments` of `find_subject`.

    Returns:
        `model` and what `Predictions.describe` returns.

    Raises:
        CifarzooError: as `find_subject`, `load` and `evaluate`.
    """
    if logits_path and not logits_path.parent.is_dir():
        raise DataError(f"{logits_path}: there is no folder {logits_path.parent}")
    subject = find_subject(name, **options)
    dataset = load(dataset_name or subject.dataset, data_dir)
    splits = {split, "validation"} | ({"train", "test"} if logits_path else set())
    found = predict_splits(subject, dataset, sorted(splits), flip=flip)
    if logits_path:
        found.save(logits_path)
    return {"model": name} | ({"test_time_augmentation": "flip"} if flip else {}) | found.describe(split)


def evaluate_runs(experiments) -> list[dict]:
    """Measure the finished runs of experiments (`cifarzoo.experiment.schema.Experiment`) on what they trained on too.

    Returns:
        A row a run: `experiment`, `seed`, `dataset`, and `error` and `nll` on the split that was trained on (without
        augmentation) and on the one that was validated on, as `train_error` and so on.

    Raises:
        DataError: a run is not finished. CifarzooError: as `find_subject`, `load` and `evaluate`.
    """
    from cifarzoo.experiment.files import run_folder

    runs = [(experiment, seed) for experiment in experiments for seed in experiment.seeds]
    subjects = [_run(run_folder(*run)) for run in runs]  # all, before any is measured
    rows = []
    for (experiment, seed), subject in zip(runs, subjects, strict=True):
        dataset = load(experiment.dataset, experiment.data_dir)
        row = {"experiment": experiment.name, "seed": seed, "dataset": experiment.dataset}
        for split in (experiment.train_split, experiment.val_split):
            metrics, _ = evaluate(subject, dataset, split)
            row |= {f"{split}_{key}": metrics[key] for key in ("error", "nll")}
        rows.append(row)
    return rows


def evaluate_published(dataset_name: str | None = None, data_dir: str | None = None):
    """Measure every published file on the test images again.

    Args:
        dataset_name: Only files of this data set; by default all.
        data_dir: Of the archives.

    Yields:
        For each its manifest entry, its metrics (None if it cannot be evaluated), and one line on what is wrong, "" if
        all are those of the manifest: errors to one image, the others to ROUNDING.

    Raises:
        DataError: no file of such a data set, or no archive of it.
    """
    from cifarzoo.pretrained import loading as pretrained

    entries = [entry for entry in pretrained.manifest() if dataset_name in (None, entry.dataset)]
    if not entries:
        raise DataError(f"no published weights of the data set {dataset_name!r}")
    datasets = {name: load(name, data_dir) for name in {entry.dataset for entry in entries}}
    for entry in entries:
        try:
            metrics, _ = evaluate(find_subject(entry.tag), datasets[entry.dataset])
        except CifarzooError as failure:
            yield entry, None, str(failure)
            continue
        yield entry, metrics, differences(metrics, entry.metrics)


def differences(metrics: dict, published: dict) -> str:
    """What differs by more than rounding from a manifest's metrics, "" if nothing does."""
    found = [f"{metrics['n']} images instead of {published['n']}"] if metrics["n"] != published["n"] else []
    for key, name in COMPARED.items():
        allowed = 100 / published["n"] if key.endswith("error") else ROUNDING
        if not abs(metrics[key] - published[key]) <= allowed * (1 + 1e-6):
            found.append(f"{name} {metrics[key]:.6g} instead of {published[key]:.6g}")
    return ", ".join(found)


def as_rows(found: dict) -> list[tuple[str, str]]:
    """Names and formatted values of the metrics that `Predictions.describe` returns, for a table."""
    rows = [("images", f"{found['n']:,}")]
    rows += [(name, f"{found[key]:.2f}" if "%" in name else f"{found[key]:.4f}") for key, name in COMPARED.items()]
    if "images_per_second" in found:
        rows.append(("images/s", f"{found['images_per_second']:,.0f}"))
    rows += [(name, f"{found[key]:,.{1 if '%' in name else 0}f}") for key, name in GATES.items() if key in found]
    if temperature := found["temperature"]:
        rows.append(("temperature", f"{temperature['value']:.4f}"))
        rows += [(f"{key.upper()} after temperature", f"{temperature[key]:.4f}") for key in ("nll", "ece")]
    return rows


def temperature_note(found: dict) -> str:
    """What is to be known of the temperature that `Predictions.describe` returns: whose images it was fitted on."""
    if not found["temperature"]:
        return "No temperature: there are no logits of the validation images."
    trained = {
        True: "the network was trained on these images and is usually surer of them than of new ones, so expect "
        "the temperature to be too low",
        False: "they were held out from training",
        None: "whether the network was trained on them is not known",
    }[found["temperature"]["trained_on_them"]]
    measured = "; they are the images measured here, too" if found["split"] == "validation" else ""
    return f"Temperature fitted on {found['temperature']['fitted_on']}: {trained}{measured}."


def as_markdown(found: dict) -> str:
    """What `Predictions.describe` returns as Markdown; the confusion matrix is for JSON and the picture."""
    of = f" of {found['dataset']}" if found["dataset"] else ""
    table = ["| metric | value |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in as_rows(found))]
    classes = ["| class | error % |", "| --- | ---: |"]
    classes += [
        f"| {name} | {'' if error is None else f'{error:.2f}'} |" for name, error in found["class_error"].items()
    ]
    head = f"{found['weights']} on the {found['split']} images{of}"
    return "\n".join([head, "", *table, "", temperature_note(found), "", *classes])
