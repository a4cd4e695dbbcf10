"""One self-contained HTML page on a run: pictures are data URIs, there are no scripts, nothing is fetched."""

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
from cifarzoo.evaluation.loss_slices import loss_slice, random_direction
from cifarzoo.evaluation.text import as_rows, temperature_note
from cifarzoo.metrics import calibration_bins, log_softmax
from cifarzoo.pretrained.files import find
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table

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

    Numbers and pictures are of the split that the run was validated on: the test split or, while hyper-parameters are
    being chosen, "validation". Learning curves have all finished seeds of the experiment that lie beside the run.

    Args:
        run: Its folder, logdir/run_name/seed0.
        out: The HTML file; by default report.html in the run's folder.
        data_dir: Of the archives.
        images: How many images of either split the loss slices take; 0 leaves them out.

    Returns:
        The file.

    Raises:
        CifarzooError: not a finished run, no data, no Matplotlib, or the file cannot be written.
    """
    figures.check()
    folder = RunFolder(run)
    results, loaded = folder.results(), load_run(folder)
    dataset = load(loaded.dataset, data_dir)
    split = results.split
    predictions = predict_splits(loaded, dataset, sorted({split, "validation"}))
    found = predictions.describe(split)
    seeds = _seeds(folder, results)

    page = [f"<h1>{_text(results.name)}, seed {results.seed}</h1>"]
    about = f"{results.model} on {results.dataset}, {results.steps:,} steps, {results.seconds / 60:.1f} minutes"
    page += [f"<p>{_text(about)} on {_text(results.device)}; weights: {_text(results.weights)}.</p>"]
    page += [f"<h2>On the {split} images</h2>", _table(as_rows(found)), _note(temperature_note(found))]
    page += ["<h2>Learning curves</h2>", _image(figures.learning_curves({results.name: seeds}), "learning curves")]
    if len(seeds) > 1:
        page += [_note(f"Mean of {len(seeds)} seeds and a band of one standard deviation on either side.")]
    page += ["<h2>Calibration</h2>", _image(_reliability(predictions, split, found), "reliability diagram")]
    picture = figures.confusion_matrix(found["confusion"], list(found["class_error"]))
    page += ["<h2>Classes</h2>", _image(picture, "confusion matrix")]
    errors = sorted(found["class_error"].items(), key=lambda item: -(item[1] or 0))
    page += [_table([(name, "" if error is None else f"{error:.2f} %") for name, error in errors])]
    if split == "test" and results.dataset != "synthetic":  # of which nobody reports anything
        page += ["<h2>Beside the zoo</h2>", _image(_zoo(results, found), "error against parameters")]
        page += [
            _note("Quoted numbers are mostly the best epoch on the test images; those measured here are the last.")
        ]
    if images:
        page += _slices(loaded.model, dataset, results, split, images)
    page += ["<h2>Experiment</h2>", f"<pre>{_text(folder.config_text())}</pre>"]
    page += [
        "<h2>Made with</h2>",
        _table([(k, str(getattr(results, k))) for k in ("revision", "backend", "versions", "device")]),
    ]

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


def _seeds(folder, results):
    """The logs of all finished seeds of the run's experiment."""
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


def _reliability(predictions, split, found):
    logits, labels = predictions.logits[split], predictions.labels[split]
    temperature = found["temperature"]
    scaled = {"as it is": logits, f"temperature {temperature['value']:.2f}": logits / temperature["value"]}
    return figures.reliability_diagram(
        {name: calibration_bins(np.exp(log_softmax(values)), labels) for name, values in scaled.items()}
    )


def _zoo(results, found):
    path = find("anchors.yaml")
    anchors = yaml.safe_load(path.read_text()) if path else {"rows": []}
    own = "this run", results.parameters, found["error"]
    return figures.error_against_parameters(manifest(), anchors, results.dataset, own)


def _slices(model, dataset, results, split, images):
    directions = [random_direction(model, seed) for seed in (0, 1)]
    lines, plane = {}, None
    for name in (results.train_split, split):
        arrays = dataset.split(name)
        some = np.random.RandomState(0).permutation(len(arrays))[:images]
        arrays = arrays.take(some)
        label = f"{name}, {len(arrays):,} images"
        lines[label] = loss_slice(model, arrays.images, arrays.labels, directions[:1], [LINE])
        plane = plane or loss_slice(model, arrays.images, arrays.labels, directions, [PLANE, PLANE])
    return [
        "<h2>Loss slices</h2>",
        _image(figures.loss_line(lines), "loss along a random direction"),
        _image(figures.loss_plane(plane), "loss on a random plane"),
        _note(
            "Filter-normalised random directions (Li et al., 2018); BatchNormalization keeps its moving statistics. "
            f"The plane is of the {next(iter(lines))}."
        ),
    ]


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
