"""From a finished run to a published weight file: the file, its manifest entry, golden logits and card.

The error that is published is measured here, once, on all test images, from the very file that is published.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import yaml

from cifarzoo.data import Dataset
from cifarzoo.data.statistics import channel_statistics
from cifarzoo.errors import DataError, WeightsError
from cifarzoo.evaluation.evaluate import evaluate, predict
from cifarzoo.evaluation.load_model import load_run
from cifarzoo.experiment.plan import Plan
from cifarzoo.models import registry
from cifarzoo.models.macs import macs
from cifarzoo.pretrained.files import sha256
from cifarzoo.pretrained.loading import load_file
from cifarzoo.pretrained.manifest import Published, read_manifest
from cifarzoo.publishing.pages import duration, results_page
from cifarzoo.publishing.wanted import TAG
from cifarzoo.runs import atomic, locks
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.provenance import AND

GOLDEN_IMAGES = 8
WHEEL_LIMIT = 10_000_000
LOCK = ".lock"
HALF_PRECISION_TOLERANCE = 0.01  # points of error
# Of a run's results.json, what the manifest keeps under `training`.
FROM_RESULTS = (
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
README_MARKS = ("<!-- weights:begin -->", "<!-- weights:end -->")


def publish(
    run: RunFolder,
    tag: str,
    dataset: Dataset,
    weights: Path,
    golden_images: np.ndarray,
    recipe: str = "",
    default: bool = False,
    preference: Sequence[str] = (),
    remark: str = "",
) -> Published:
    """Publish a finished run.

    Args:
        run: Its folder.
        tag: Unique name of the weights, for example "cifar_resnet20_v1_c10".
        dataset: What it was trained on; the test split is evaluated.
        weights: The weights folder with the manifest.
        golden_images: uint8 [n, 32, 32, 3]; their logits are kept beside the file.
        recipe: What the way of training is called in the table.
        default: Make it what `load_weights=True` loads; the first file of an architecture and data set is that anyway.
            Never decided by the test error, which would make the best of several runs look like one.
        preference: Recipes, the best first; it becomes the default, too, if the default so far was trained by one that
            comes later or is not among them.
        remark: What a reader of the error must know, if anything.

    Returns:
        The new manifest entry.

    Raises:
        WeightsError: the run is not finished or was stopped early, was trained on part of the training images or from
            other weights, or the tag is taken or no name; or the weights folder cannot be written.
        DataError, ExperimentError: its configuration is damaged.
    """
    try:
        results = run.results()
    except DataError as failure:
        raise WeightsError(str(failure)) from None
    experiment = run.experiment()
    if experiment.train_split != "train" or experiment.dataset != dataset.name:
        raise WeightsError(
            f"{run}: published weights are trained on all of {dataset.name}, not {experiment.train_split}"
        )
    if experiment.module:
        raise WeightsError(f"{run}: trained a network of the module {experiment.module}, which is none of the zoo's")
    if not re.fullmatch(TAG, tag):
        raise WeightsError(f"{tag}: not a name for weights; letters, digits and . _ + - fit")
    if not run.log_path.is_file():
        raise WeightsError(f"{run}: log.tsv is missing, which is published with the weights")
    planned = Plan(experiment, len(dataset.train)).total
    if results.steps < planned or experiment.init_weights:
        raise WeightsError(f"{run}: stopped early or not trained from fresh weights, so its error is not a recipe's")
    with _alone(weights):
        path = weights / "manifest.json"
        entries = read_manifest(path)
        if any(entry.tag == tag for entry in entries):
            raise WeightsError(f"{tag}: published already; choose another tag")
        subject = load_run(run)
        source, metrics = _smallest(run.final_weights(), subject, dataset)
        folder = weights if source.stat().st_size < WHEEL_LIMIT else weights / "large"
        folder.mkdir(exist_ok=True)
        file = folder / f"{tag}.weights.h5"
        shutil.copyfile(source, file)

        load_file(subject.model, file)
        golden = predict(subject.model, golden_images)
        np.savez_compressed(weights / f"{tag}.golden.npz", images=golden_images, logits=golden)

        entry = _entry(tag, file, subject, experiment, dataset, metrics, results, recipe, remark)
        shutil.copyfile(run.log_path, weights / f"{tag}.log.tsv")
        entries = _with_default([*entries, entry], entry, default, preference)
        _record(path, entries)
        return next(e for e in entries if e.tag == tag)


def prefer(tag: str, weights: Path) -> None:
    """Make published weights what `load_weights=True` loads for their model and data set, and write the pages anew.

    To be decided on the 45,000/5,000 split, or by a rule that was there before; never by the test error.

    Raises:
        WeightsError: no such weights, or no weights folder.
    """
    with _alone(weights):
        path = weights / "manifest.json"
        entries = read_manifest(path)
        wanted = next((entry for entry in entries if entry.tag == tag), None)
        if wanted is None:
            raise WeightsError(f"{tag}: not published in {weights}; there are {', '.join(e.tag for e in entries)}")
        _record(path, _with_default(entries, wanted, True, ()))


def _record(path, entries):
    """Write the manifest, and then what is generated from it."""
    pages = _pages(path.parent, entries)
    atomic.write_text(path, json.dumps([asdict(e) for e in entries], indent=2) + "\n")
    _write(pages)


def _entry(tag, file, subject, experiment, dataset, metrics, results, recipe, remark):
    """The manifest entry of a file that lies in its place."""
    registered = registry.get(experiment.model)
    mean, std = channel_statistics(dataset.name)
    return Published(
        tag=tag,
        model=registered.name,
        architecture=registered.architecture(experiment.model_parameters),
        classes=dataset.classes,
        dataset=dataset.name,
        default=False,
        sha256=sha256(file),
        bytes=file.stat().st_size,
        parameters=int(subject.model.count_params()),
        macs=macs(subject.model),
        preprocessing={"mean": mean, "std": std},
        metrics=metrics,
        training={
            "recipe": recipe,
            "experiment": _without_places(experiment.resolved()),
            **{key: getattr(results, key) for key in FROM_RESULTS},
        },
        remark=remark,
    )


@contextlib.contextmanager
def _alone(weights):
    """Hold the weights folder; another process that publishes there waits, so that neither loses the other's entry."""
    if not weights.is_dir():
        raise WeightsError(f"{weights}: not a weights folder (no such folder)")
    try:
        with locks.locked(weights / LOCK, wait=True):
            yield
    except OSError as failure:
        raise WeightsError(f"{failure.filename or weights}: {failure.strerror or failure}") from None


def write_pages(weights: Path) -> None:
    """Write what is generated from the manifest: cards, and in the folder above README's table and RESULTS.md.

    Raises:
        WeightsError: there is no manifest, or the README has no place for the table; nothing is written then.
    """
    with _alone(weights):
        _write(_pages(weights, read_manifest(weights / "manifest.json")))


def _pages(weights, entries):
    pages = {weights / f"{entry.tag}.md": card(entry) for entry in entries}
    above = weights.resolve().parent
    if (anchors := weights / "anchors.yaml").is_file():
        pages[above / "RESULTS.md"] = results_page(entries, anchors)
        if (readme := above / "README.md").is_file():
            pages[readme] = _with_table(readme, entries)
    return pages


def _write(pages):
    for path, text in pages.items():
        if not path.is_file() or path.read_text() != text:
            atomic.write_text(path, text)


def _without_places(config):
    """An experiment without the folders of the machine that it ran on."""
    parameters = {key: value for key, value in config["train_parameters"].items() if key != "logdir"}
    return {key: value for key, value in config.items() if key != "data_dir"} | {"train_parameters": parameters}


def _measure(subject, file, dataset):
    load_file(subject.model, file)
    metrics, _ = evaluate(subject, dataset)
    metrics.pop("images_per_second")
    return metrics


def _smallest(file, subject, dataset):
    """The file to publish and its metrics: a copy in half precision if its error is that of the file itself.

    To HALF_PRECISION_TOLERANCE points; else the file itself.
    """
    half = file.with_name("half.weights.h5")
    whole = _measure(subject, file, dataset)
    try:
        halve(file, half)
    except OverflowError:
        return file, whole
    halved = _measure(subject, half, dataset)
    return (half, halved) if errors_agree(whole["error"], halved["error"], whole["n"]) else (file, whole)


def errors_agree(first: float, second: float, images: int) -> bool:
    """Whether two errors in percent, of so many images, differ by HALF_PRECISION_TOLERANCE points at most.

    Compared as numbers of images, since one of 10,000 is just 0.01 points, and that has no exact binary form.
    """
    return round(abs(first - second) * images / 100) <= round(HALF_PRECISION_TOLERANCE * images / 100)


def halve(source: Path, target: Path) -> None:
    """Copy a weight file with its float32 arrays as float16; Keras loads it like any other, into float32 variables.

    Raises:
        OverflowError: a weight is beyond the range of half precision.
    """
    shutil.copyfile(source, target)
    with h5py.File(target, "r+") as file:
        names = []
        file.visititems(lambda name, node: names.append(name) if getattr(node, "dtype", None) == np.float32 else None)
        for name in names:
            values = file[name][()]
            if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise OverflowError(f"{source}: {name} has a weight beyond the range of half precision")
            del file[name]
            file[name] = values.astype(np.float16)
    # Deleted arrays keep their place in the file: only a copy of what is left is small.
    with h5py.File(target) as file, h5py.File(target.with_suffix(".part"), "w") as compact:
        for name in file:
            file.copy(name, compact)
        for key, value in file.attrs.items():
            compact.attrs[key] = value
    target.with_suffix(".part").replace(target)


def _with_default(entries, new, wanted, preference):
    """The entries, sorted; the new one is the default of its model and data set if wanted, preferred or alone."""

    def rank(entry):
        recipe = entry.training["recipe"]
        return preference.index(recipe) if recipe in preference else len(preference)

    rivals = [e for e in entries if e.tag != new.tag and (e.identity, e.dataset) == (new.identity, new.dataset)]
    earlier = next((e for e in rivals if e.default), None)
    default = wanted or earlier is None or (rank(new) < rank(earlier) and not earlier.chosen)
    tags = {e.tag for e in rivals}

    def settled(entry):
        if entry.tag == new.tag:
            return replace(entry, default=default, chosen=wanted)
        if default and entry.tag in tags:
            return replace(entry, default=False, chosen=False)
        return entry

    return sorted(map(settled, entries), key=lambda e: (e.dataset, e.parameters, e.tag))


def weights_table(entries: list[Published]) -> str:
    """The README's table of published weights, in Markdown."""
    lines = [
        "| weights | model | data | error % | NLL | ECE | parameters | MB | trained on |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for entry in entries:
        arguments = ", ".join(f"{key}={value!r}" for key, value in entry.architecture.items())
        metrics, training = entry.metrics, entry.training
        lines.append(
            f"| [{entry.tag}](weights/{entry.tag}.md){'' if entry.default else ' (not the default)'} "
            f"| `{entry.model}({arguments})` | {entry.dataset} | {metrics['error']:.2f} | {metrics['nll']:.3f} "
            f"| {metrics['ece']:.3f} | {entry.parameters:,} | {entry.bytes / 1e6:.1f} "
            f"| {training['device']}, {duration(training['seconds'])} |"
        )
    return "\n".join(lines)


def _with_table(readme, entries):
    """The README's text with the table of published weights between its marks."""
    before, begin, rest = readme.read_text().partition(README_MARKS[0])
    _, end, after = rest.partition(README_MARKS[1])
    if not begin or not end:
        raise WeightsError(f"{readme}: the marks {README_MARKS[0]} and {README_MARKS[1]} are missing")
    return f"{before}{begin}\n{weights_table(entries)}\n{end}{after}"


def card(entry: Published) -> str:
    """A Markdown card of one weight file, made from its manifest entry."""
    arguments = "".join(f"{key}={value!r}, " for key, value in entry.architecture.items())
    arguments += f"classes={entry.classes}, load_weights={True if entry.default else entry.tag!r}"
    training, metrics = entry.training, entry.metrics
    config = yaml.safe_dump(training["experiment"], sort_keys=False)
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    registered = registry.get(entry.model)
    remark = f". {entry.remark}" if entry.remark else "; no choice was made by the test images."
    revision = AND.join(
        f"`{one.removesuffix('+changes')}`" + " with changes that are in no commit" * one.endswith("+changes")
        for one in (training["revision"] or "unknown").split(AND)
    )
    return f"""# {entry.tag}

    from cifarzoo import {entry.model}
    model = {entry.model}({arguments})

{registered.paper} ({registered.year}). Raw pixels in (uint8 or 0-255), logits out.

| measured from this file on {metrics["n"]:,} test images of {entry.dataset} | |
| --- | ---: |
| error | {metrics["error"]:.2f} % |
| top-5 error | {metrics["top5_error"]:.2f} % |
| negative log-likelihood | {metrics["nll"]:.4f} nats |
| Brier score | {metrics["brier"]:.4f} |
| expected calibration error, 15 bins | {metrics["ece"]:.4f} |
| parameters | {entry.parameters:,} |
| file | {entry.bytes:,} bytes, sha256 `{entry.sha256}` |

The error is that of the {training["weights"]} of one training with seed {training["seed"]}{remark}

Input is normalised inside the model with mean {entry.preprocessing["mean"]} and standard deviation
{entry.preprocessing["std"]}.

Trained for {training["steps"]:,} steps ({training["images"]:,} images) in {duration(training["seconds"])} on
{training["device"]} with the {training["backend"]} engine ({versions}), revision {revision}:

```yaml
{config}```

License of the weights: {entry.license}.
"""
