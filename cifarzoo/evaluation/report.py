"""Write one self-contained HTML page about a finished run or published weights.

Pictures are data URIs; the page has no scripts and fetches nothing. The template report.html escapes all values,
because names and descriptions come from untrusted files.
"""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from cifarzoo.data import Dataset
from cifarzoo.errors import DataError
from cifarzoo.evaluation import figures, slice_figures, style
from cifarzoo.evaluation.evaluate import Progress, predict_splits
from cifarzoo.evaluation.loss_slices import Slice, loss_slice, random_direction
from cifarzoo.evaluation.measured_data import measured_data
from cifarzoo.evaluation.mistakes import Mistake, confusions, mistakes
from cifarzoo.evaluation.predictions import Predictions
from cifarzoo.evaluation.subject import Subject, find_subject, seeds_of
from cifarzoo.evaluation.text import as_rows, temperature_note
from cifarzoo.evaluation.trajectory import logged_or_measured
from cifarzoo.metrics import calibration_bins, log_softmax
from cifarzoo.pretrained.files import find
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.runs.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Coordinates of the loss slices along each direction.
LINE, PLANE = np.linspace(-1, 1, 21), np.linspace(-1, 1, 9)
CONFIDENT, PAIRS, EXAMPLES = 16, 4, 8  # confident mistakes, confused pairs of classes, examples per pair
# The splits as the page names them.
SPLIT_NAMES = {"train": "training", "train45k": "training", "validation": "validation", "test": "test"}
# Fractions of the time without slices at which predictions and pictures begin.
LOADED, DRAWN = 0.05, 0.8


def write_report(
    name: Path | str | Subject,
    out: Path | None = None,
    data_dir: str | None = None,
    images: int = 0,
    progress: Progress = lambda step, done: None,
) -> Path:
    """Write the page of a finished run or of published weights.

    Numbers and pictures show the split that the network was measured on: "test", or "validation" while
    hyper-parameters are chosen. Learning curves of a run include all finished seeds of the experiment in the same
    parent folder.

    Args:
        name: The run's folder, logdir/run_name/seed0, or the tag or description of published weights.
        out: The HTML file to write. Default: report.html in the run's folder, or TAG.html in the working directory.
        data_dir: Folder of the archives.
        images: Also draw loss slices over this many images of the training split and of the measured split. They take
            longest, so the page is first written without them.
        progress: Called with the name of the next step and the fraction done, from 0 to 1.

    Returns:
        The path of the HTML file.

    Raises:
        CifarzooError: the run is not finished, its data or a package for pictures is missing, or the file cannot be
            written.
    """
    style.check()
    progress("load the network", 0)
    subject = name if isinstance(name, Subject) else find_subject(str(name))
    run = None if isinstance(name, Subject) or subject.tag else RunFolder(name)
    history = seeds_of(run) if run else [subject]
    loaded = subject.load()
    dataset = measured_data(loaded, None, data_dir)
    share = 0.2 if images else 1.0  # fraction of the time that everything except slices takes
    predictions = predict_splits(
        loaded,
        dataset,
        sorted({subject.split, *(["validation"] if dataset.size("validation") else [])}),
        progress=lambda step, done: progress(step, (LOADED + (DRAWN - LOADED) * done) * share),
    )
    progress("draw the pictures", DRAWN * share)
    content = _content(subject, history, predictions, dataset)
    if run and run.kept.files():
        content["trajectory"] = _trajectory(subject, run, dataset)
    out = out or (run.report_path if run else Path(f"{subject.tag}.html"))
    _write(out, content)
    if images:
        splits = [subject.train_split, subject.split]
        content["slices"] = _slices(
            loaded.model, dataset, splits, images, lambda step, done: progress(step, share + (1 - share) * done)
        )
        _write(out, content)
    return out


def _write(path: Path, content: dict[str, Any]) -> None:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cifarzoo", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template("report.html").render(content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as failure:
        raise DataError(f"{path}: cannot be written ({failure.strerror or failure})") from None


# ------------------------------------------------------------------------------------------------ content


def _content(subject: Subject, history: list[Subject], predictions: Predictions, dataset: Dataset) -> dict[str, Any]:
    """Return the values for the template."""
    metrics = predictions.describe(subject.split)
    if subject.tag:  # the page of published weights says nothing of the machine that writes it
        metrics.pop("images_per_second", None)
    logits, labels = predictions.logits[subject.split], predictions.labels[subject.split]
    names, arrays = dataset.class_names, dataset.split(subject.split).images
    errors = sorted(metrics["class_error"].items(), key=lambda item: -(item[1] or 0))
    trained = subject.trained
    data = figures.DATASETS.get(subject.dataset, subject.dataset)
    return {
        "title": subject.title,
        "lead": f"{subject.model} on {data}, trained for {trained['steps']:,} steps "
        f"in {_duration(trained['seconds'])} on {trained['device']}",
        "description": subject.config.get("description", ""),
        "split": SPLIT_NAMES.get(subject.split, subject.split),
        "cards": [
            ("error", f"{metrics['error']:.2f} %"),
            ("top-5 error", f"{metrics['top5_error']:.2f} %"),
            ("negative log-likelihood", f"{metrics['nll']:.4f}"),
            ("calibration error (ECE)", f"{metrics['ece']:.4f}"),
            ("parameters", f"{subject.parameters:,}"),
        ],
        "metrics": as_rows(metrics),
        "temperature_note": temperature_note(metrics),
        "curves": _learning_curves(subject, history),
        "reliability": _reliability(logits, labels, metrics),
        "confusion": _picture(
            lambda: figures.confusion_matrix(metrics["confusion"], list(metrics["class_error"])), "confusion matrix"
        ),
        "classes": [(name, "" if error is None else f"{error:.2f}") for name, error in errors],
        "confident": [_example(mistake, names, arrays) for mistake in mistakes(logits, labels)[:CONFIDENT]],
        "confused": [
            {
                "title": f"{names[pair.label]} predicted as {names[pair.prediction]}: {pair.images} images, "
                f"{pair.share:.1f} % of the class",
                "examples": [_example(mistake, names, arrays) for mistake in pair.examples],
            }
            for pair in confusions(logits, labels, PAIRS, EXAMPLES)
        ],
        "zoo": _comparison(subject, metrics),
        "training": [
            ("images seen", f"{trained['images']:,}"),
            ("trained on", f"{subject.train_split} of {data}"),
            *_changed_labels(trained),
            ("measured weights", trained["weights"]),
            ("engine", trained["backend"]),
            ("packages", ", ".join(f"{package} {version}" for package, version in trained["versions"].items())),
            ("revision", trained["revision"] or "unknown"),
            *([("weights and model card", f"{subject.tag}.weights.h5, {subject.tag}.md")] if subject.tag else []),
        ],
        "config": yaml.safe_dump(subject.config, sort_keys=False, allow_unicode=True),
        "trajectory": None,
        "slices": None,
    }


def _changed_labels(trained: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the row about the labels of a run that did not train on all images with the data set's own."""
    if trained.get("training_images") is None:
        return []
    labels, images = trained["changed_labels"], trained["training_images"]
    return [("labels", f"{labels:,} of {images:,} ({100 * labels / images:.1f} %) differ from the data set's own")]


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"


def _learning_curves(subject: Subject, history: list[Subject]) -> dict[str, str]:
    logs = []
    for seed in history:
        try:
            logs.append(seed.log())
        except DataError:
            if seed.seed == subject.seed:  # ignore damage to another seed
                raise
    caption = "Training: means over augmented batches."
    if len(logs) > 1:
        caption += f" Mean of {len(logs)} seeds; the band is one standard deviation on either side."
    return _picture(lambda: figures.learning_curves({subject.name: logs}), "learning curves", caption)


def _trajectory(subject: Subject, folder: RunFolder, dataset: Dataset) -> dict[str, str]:
    rows = logged_or_measured(folder, subject.log(), subject.split, dataset)
    name = f"{SPLIT_NAMES.get(subject.split, subject.split)} images"
    return _picture(lambda: figures.trajectory({name: rows}), "error and loss of the weights kept along the way")


def _reliability(logits: np.ndarray, labels: np.ndarray, metrics: dict[str, Any]) -> dict[str, str]:
    temperature = metrics["temperature"]["value"]
    scaled = {"as measured": logits, f"divided by the temperature {temperature:.2f}": logits / temperature}
    bins = {label: calibration_bins(np.exp(log_softmax(values)), labels) for label, values in scaled.items()}
    caption = "Above the dotted line the network is more often correct than it is confident; below, less often."
    return _picture(lambda: figures.reliability_diagram(bins), "reliability diagram", caption)


def _comparison(subject: Subject, metrics: dict[str, Any]) -> dict[str, str] | None:
    """Return the picture of error against parameters; None for a data set or split without published results."""
    if subject.split != "test" or subject.dataset not in ("cifar10", "cifar100"):
        return None
    path = find("anchors.yaml")
    anchors = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {"rows": []}
    marked = subject.tag or "this run", subject.parameters, metrics["error"]
    return _picture(
        lambda: figures.error_against_parameters(manifest(), anchors, subject.dataset, marked),
        "error against parameters",
        "Most quoted numbers are from the epoch with the best test error, measured ones from the last epoch.",
    )


def _slices(
    model: Any, dataset: Dataset, splits: list[str], images: int, progress: Progress
) -> dict[str, dict[str, str]]:
    directions = [random_direction(model, seed) for seed in (0, 1)]
    lines: dict[str, Slice] = {}
    planes: list[Slice] = []
    points, done = len(splits) * len(LINE) + len(PLANE) ** 2, 0

    def measure(split: Any, directions: Any, axes: list[np.ndarray]) -> Slice:
        nonlocal done

        def count(_: float) -> None:
            nonlocal done
            progress(f"measure the loss at {points} points around the network", done / points)
            done += 1

        return loss_slice(model, split.images, split.labels, directions, axes, progress=count)

    for name in splits:
        split = dataset.split(name)
        split = split.take(np.random.RandomState(0).permutation(len(split))[:images])
        label = f"{len(split):,} {SPLIT_NAMES.get(name, name)} images"
        lines[label] = measure(split, directions[:1], [LINE])
        if not planes:
            planes.append(measure(split, directions, [PLANE, PLANE]))
    return {
        "line": _picture(
            lambda: slice_figures.loss_line(lines),
            "loss along a random direction",
            "Directions are random and filter-normalized (Li et al., 2018): at distance 1 each filter has moved by its "
            "own norm. BatchNormalization keeps its moving statistics.",
        ),
        "plane": _picture(
            lambda: slice_figures.loss_plane(planes[0]),
            "loss on a random plane",
            f"Over {next(iter(lines))}, interpolated between the {PLANE.size} × {PLANE.size} measured points (dots).",
        ),
    }


# ------------------------------------------------------------------------------------------------ pictures


def _picture(draw: "Callable[[], Figure]", alt: str, caption: str = "") -> dict[str, str]:
    """Return a figure's pictures for light and dark pages as data URIs, with its alternative text and caption."""
    uris = {}
    for name, parameters in (("light", style.LIGHT), ("dark", style.DARK)):
        with style.theme(parameters):
            uris[name] = _uri("image/svg+xml", style.svg(draw()))
    return uris | {"alt": alt, "caption": caption}


def _example(mistake: Mistake, names: tuple[str, ...], images: np.ndarray) -> dict[str, str]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(images[mistake.image]).save(buffer, format="PNG")
    return {
        "png": _uri("image/png", buffer.getvalue()),
        "alt": f"image {mistake.image}",
        "classes": f"{names[mistake.label]} → {names[mistake.prediction]}",
        "confidence": f"{100 * mistake.confidence:.1f} %",
    }


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
