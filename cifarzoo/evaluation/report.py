"""Write one self-contained HTML page about a run.

Pictures are data URIs; the page has no scripts and fetches nothing.
"""

import base64
import html
from pathlib import Path

import numpy as np
import yaml

from cifarzoo.data import load
from cifarzoo.errors import DataError
from cifarzoo.evaluation import figures
from cifarzoo.evaluation.evaluate import predict_splits
from cifarzoo.evaluation.load_model import load_run
from cifarzoo.evaluation.loss_slices import Slice, loss_slice, random_direction
from cifarzoo.evaluation.text import as_rows, temperature_note
from cifarzoo.metrics import calibration_bins, log_softmax
from cifarzoo.pretrained.files import find
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table

# Coordinates of the loss slices along each direction.
LINE, PLANE = np.linspace(-1, 1, 21), np.linspace(-1, 1, 9)

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: 0.15rem 0.8rem 0.15rem 0; text-align: left; }
td { border-top: 1px solid #ddd; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; } pre { background: #f5f5f5; padding: 1rem; overflow-x: auto; font-size: 13px; }
p.note { color: #555; max-width: 46rem; }
"""


def write_report(run: Path, out: Path | None = None, data_dir: str | None = None, images: int = 500) -> Path:
    """Write the page of a finished run.

    Numbers and pictures show the split that the run was validated on: "test", or "validation" while hyper-parameters
    are chosen. Learning curves include all finished seeds of the experiment in the same parent folder.

    Args:
        run: The run's folder, logdir/run_name/seed0.
        out: The HTML file to write. Default: report.html in the run's folder.
        data_dir: Folder of the archives.
        images: Images of each split in the loss slices; 0 leaves the slices out.

    Returns:
        The path of the HTML file.

    Raises:
        CifarzooError: the run is not finished, its data or Matplotlib is missing, or the file cannot be written.
    """
    figures.check()
    folder = RunFolder(run)
    results, loaded = folder.results(), load_run(folder)
    dataset = load(loaded.dataset, data_dir)
    predictions = predict_splits(loaded, dataset, sorted({results.split, "validation"}))
    metrics = predictions.describe(results.split)
    page = [
        *_summary(results, metrics),
        *_learning_curves(results, _logs_of_all_seeds(folder, results)),
        *_calibration(predictions, metrics),
        *_classes(metrics),
    ]
    if results.split == "test" and results.dataset in ("cifar10", "cifar100"):  # others are not in the zoo
        page += _comparison(results, metrics)
    if images:
        page += _slices(loaded.model, dataset, [results.train_split, results.split], images)
    page += ["<h2>Experiment</h2>", f"<pre>{_text(folder.config_text())}</pre>", *_environment(results)]
    title = f"{results.name} seed {results.seed}"
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(page) + "\n</body></html>\n"
    )
    out = out or folder.report_path
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as failure:
        raise DataError(f"{out}: cannot be written ({failure.strerror or failure})") from None
    return out


def _logs_of_all_seeds(folder, results):
    """Read the logs of all finished seeds of the run's experiment."""
    logs = []
    for other in folder.finished_seeds():
        is_same = other.path == folder.path.resolve()
        try:
            if is_same or other.results().fingerprint == results.fingerprint:
                logs.append(read_table(other.log_path))
        except DataError:
            if is_same:  # damage to another seed does not matter here
                raise
    return logs


# ------------------------------------------------------------------------------------------------ sections


def _summary(results, metrics):
    about = f"{results.model} on {results.dataset}, {results.steps:,} steps, {results.seconds / 60:.1f} minutes"
    return [
        f"<h1>{_text(results.name)}, seed {results.seed}</h1>",
        f"<p>{_text(about)} on {_text(results.device)}; weights: {_text(results.weights)}.</p>",
        f"<h2>Metrics on the {results.split} images</h2>",
        _table(as_rows(metrics)),
        _note(temperature_note(metrics)),
    ]


def _learning_curves(results, logs):
    section = ["<h2>Learning curves</h2>", _image(figures.learning_curves({results.name: logs}), "learning curves")]
    if len(logs) > 1:
        section.append(_note(f"Mean of {len(logs)} seeds; the band is one standard deviation on either side."))
    return section


def _calibration(predictions, metrics):
    split, temperature = metrics["split"], metrics["temperature"]["value"]
    logits, labels = predictions.logits[split], predictions.labels[split]
    scaled = {"as measured": logits, f"temperature {temperature:.2f}": logits / temperature}
    bins = {label: calibration_bins(np.exp(log_softmax(values)), labels) for label, values in scaled.items()}
    return ["<h2>Calibration</h2>", _image(figures.reliability_diagram(bins), "reliability diagram")]


def _classes(metrics):
    errors = sorted(metrics["class_error"].items(), key=lambda item: -(item[1] or 0))
    return [
        "<h2>Classes</h2>",
        _image(figures.confusion_matrix(metrics["confusion"], list(metrics["class_error"])), "confusion matrix"),
        _table([(name, "" if error is None else f"{error:.2f} %") for name, error in errors]),
    ]


def _comparison(results, metrics):
    path = find("anchors.yaml")
    anchors = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {"rows": []}
    this_run = "this run", results.parameters, metrics["error"]
    figure = figures.error_against_parameters(manifest(), anchors, results.dataset, this_run)
    return [
        "<h2>Compared with the zoo and with papers</h2>",
        _image(figure, "error against parameters"),
        _note(
            "Quoted numbers are mostly those of the best epoch on the test images; measured ones are those of the last "
            "epoch."
        ),
    ]


def _slices(model, dataset, splits, images):
    directions = [random_direction(model, seed) for seed in (0, 1)]
    lines: dict[str, Slice] = {}
    planes: list[Slice] = []
    for name in splits:
        split = dataset.split(name)
        split = split.take(np.random.RandomState(0).permutation(len(split))[:images])
        label = f"{name}, {len(split):,} images"
        lines[label] = loss_slice(model, split.images, split.labels, directions[:1], [LINE])
        if not planes:
            planes.append(loss_slice(model, split.images, split.labels, directions, [PLANE, PLANE]))
    return [
        "<h2>Loss slices</h2>",
        _image(figures.loss_line(lines), "loss along a random direction"),
        _image(figures.loss_plane(planes[0]), "loss on a random plane"),
        _note(
            "Filter-normalised random directions (Li et al., 2018); BatchNormalization keeps its moving statistics. "
            f"The plane shows {next(iter(lines))}."
        ),
    ]


def _environment(results):
    keys = ("revision", "backend", "versions", "device")
    return ["<h2>Environment</h2>", _table([(key, str(getattr(results, key))) for key in keys])]


# ------------------------------------------------------------------------------------------------ HTML


def _text(value):
    return html.escape(str(value))


def _note(text):
    return f'<p class="note">{_text(text)}</p>'


def _table(rows):
    cells = [f'<tr><td>{_text(name)}</td><td class="number">{_text(value)}</td></tr>' for name, value in rows]
    return "<table>" + "".join(cells) + "</table>"


def _image(figure, description):
    data = base64.b64encode(figures.png(figure)).decode()
    return f'<p><img alt="{_text(description)}" src="data:image/png;base64,{data}"></p>'
