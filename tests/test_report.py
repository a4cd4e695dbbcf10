"""Pictures and the page of a run: what is drawn, read back from the figures; HTML that needs nothing else."""

import base64
import html.parser
import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from cifarzoo.data import load
from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.evaluation import figures
from cifarzoo.evaluation.evaluate import evaluate, evaluate_named
from cifarzoo.evaluation.load_model import load_run
from cifarzoo.evaluation.loss_slices import Slice
from cifarzoo.evaluation.report import write_report
from cifarzoo.experiment.schema import Experiment
from cifarzoo.metrics import calibration_bins
from cifarzoo.pretrained.manifest import manifest, manifest_path
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table
from cifarzoo.training.trainer import run


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A finished experiment with two seeds."""
    document = {
        "model": "tiny_cnn",
        "module": "tiny_models",
        "description": "less < more & <script>",
        "dataset": "synthetic",
        "seeds": [0, 1],
        "train_parameters": {
            "logdir": str(tmp_path_factory.mktemp("runs")),
            "batch_size": 32,
            "log_interval": 5,
            "val_interval": 10,
            "train_metrics": True,
            "schedule": {"kind": "constant", "learning_rate": 0.05, "duration": 20},
        },
    }
    experiment = Experiment.model_validate(document)
    for seed in experiment.seeds:
        run(experiment, seed, load("synthetic"))
    return experiment


# ------------------------------------------------------------------------------------------------ the log


def test_norm_and_training_metrics_in_the_log_are_those_of_the_final_weights(experiment):
    folder = RunFolder.of(experiment, 0)
    log, loaded = read_table(folder.log_path), load_run(folder)
    squares = sum(float((v.numpy().astype(np.float64) ** 2).sum()) for v in loaded.model.trainable_variables)
    assert log["weight_norm"][-1] == pytest.approx(np.sqrt(squares), rel=1e-6)
    metrics, _ = evaluate(loaded, load("synthetic"), "train")
    assert log["train_error"][-1] == pytest.approx(metrics["error"], abs=0.021)  # two of 10,000 images
    assert log["train_loss"][-1] == pytest.approx(metrics["nll"], rel=1e-4)
    assert list(np.isfinite(log["weight_norm"])) == [False, True, False, True]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is the JAX run")
def test_the_log_on_jax():
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", __file__, "-k", "norm_and_training"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout[-3000:] + result.stderr[-1000:]


def test_a_finished_run_is_evaluated(experiment):
    folder = RunFolder.of(experiment, 0).path
    found, results = evaluate_named(str(folder)), json.loads((folder / "results.json").read_text())
    assert found["error"] == pytest.approx(results["test"]["error"], abs=0.051)  # one of 2,000 images
    assert found["temperature"]["trained_on_them"] is True


def test_measuring_the_training_images_does_not_make_it_another_run(experiment):
    parameters = experiment.train_parameters.model_copy(update={"train_metrics": False})
    assert experiment.model_copy(update={"train_parameters": parameters}).fingerprint() == experiment.fingerprint()


# ------------------------------------------------------------------------------------------------ pictures


def pixels(figure):
    """The rendered picture, uint8 [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def test_learning_curves_are_the_mean_with_a_band_of_one_deviation():
    epochs = np.array([1.0, 2.0, 3.0])
    seeds = [
        {"epoch": epochs, "loss": np.array([3, 2, value]), "val_loss": np.array([np.nan, 2.5, np.nan])}
        for value in (1.0, 1.5, 2.0)
    ]
    (axes,) = figures.learning_curves({"net": seeds}, columns=("loss",)).axes
    training, validation = axes.lines
    np.testing.assert_allclose(training.get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    np.testing.assert_allclose(validation.get_xydata(), [[2, 2.5]])
    band = axes.collections[0].get_paths()[0].vertices
    at_three = band[band[:, 0] == 3][:, 1]
    assert (at_three.min(), at_three.max()) == pytest.approx((1.0, 2.0))  # the deviation of 1, 1.5, 2 is 0.5


def test_reliability_diagram_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    bins = calibration_bins(probabilities, np.array([0, 1, 0, 1]), 10)
    upper, lower = figures.reliability_diagram({"x": bins}).axes
    np.testing.assert_allclose(upper.lines[1].get_xydata(), [[0.6, 1], [0.9, 0.5]])
    heights = lower.patches[0].get_data().values
    assert heights.sum() == 100 and sorted(heights)[-2:] == [50, 50]


@pytest.mark.parametrize("classes", [10, 100])
def test_confusion_matrix_shows_its_counts(classes):
    matrix = np.arange(classes**2).reshape(classes, classes)
    figure = figures.confusion_matrix(matrix, [f"class {k}" for k in range(classes)])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][3] == "class 3"
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown[2] ** 2, matrix[2] / matrix[2].sum())
    assert len(axes.texts) == (100 if classes == 10 else 0)
    assert pixels(figure).std() > 10


def test_published_errors_are_in_the_zoo_picture():
    anchors = yaml.safe_load((manifest_path().parent / "anchors.yaml").read_text())
    entries = manifest()
    figure = figures.error_against_parameters(entries, anchors, "cifar10", ("mine", 1000, 50.0))
    points = np.concatenate([np.asarray(found.get_offsets()) for found in figure.axes[0].collections])
    for entry in entries:
        if entry.dataset == "cifar10":
            assert [entry.parameters, entry.metrics["error"]] in points.tolist()
    assert [1000, 50.0] in points.tolist() and 8.75 in points[:, 1]  # and what the paper says of ResNet-20
    empty = figures.error_against_parameters([], anchors | {"rows": []}, "synthetic")
    assert pixels(empty).std() > 0


def test_slices_are_drawn_even_where_the_loss_is_infinite():
    places = np.linspace(-1, 1, 5)
    line = Slice((places,), np.array([3, 2, 1, 2, np.inf]), np.full(5, 50.0))
    figure = figures.loss_line({"train": line})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), line.loss)
    assert pixels(figure).std() > 10
    loss = 1 + places[:, None] ** 2 + 3 * places[None] ** 2
    loss[0, 0] = np.inf
    assert pixels(figures.loss_plane(Slice((places, places), loss, loss))).std() > 10
    with pytest.raises(DataError, match="infinite everywhere"):
        figures.loss_plane(Slice((places, places), np.full((5, 5), np.inf), loss))


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    figure = figures.loss_line({"x": Slice((np.arange(2.0),), np.ones(2), np.ones(2))})
    with pytest.raises(DataError, match="cannot be written"):
        figures.save(figure, tmp_path / "file" / "picture.png")


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CifarzooError, match=r"pip install matplotlib"):
        figures.check()


# ------------------------------------------------------------------------------------------------ the page


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        assert "href" not in attributes and not any(name.startswith("on") for name in attributes)
        if tag == "img":
            self.images.append(attributes)

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_nothing_but_itself(experiment, tmp_path):
    folder = RunFolder.of(experiment, 0).path
    page = Page(write_report(folder, tmp_path / "pages" / "r.html", images=20).read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    names = [image["alt"] for image in page.images]
    assert names == [
        "learning curves",
        "reliability diagram",
        "confusion matrix",
        "loss along a random direction",
        "loss on a random plane",
    ]
    for image in page.images:
        head, _, data = image["src"].partition(",")
        assert head == "data:image/png;base64"
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).std() > 0
    text = " ".join(page.words)
    found = evaluate_named(str(folder))
    assert f"{found['error']:.2f}" in page.words and "less < more & <script>" in text
    assert "was trained on these images" in text and "Mean of 2 seeds" in text


def test_the_page_without_slices_lies_in_the_run(experiment):
    folder = RunFolder.of(experiment, 1).path
    (folder.parent / "seed9").mkdir()  # another seed, whose end was not written whole
    (folder.parent / "seed9" / "results.json").write_text("{")
    out = write_report(folder, images=0)
    assert out == folder / "report.html" and len(Page(out.read_text(encoding="utf-8")).images) == 3


def test_reports_that_cannot_be_made(experiment, tmp_path):
    with pytest.raises(DataError, match="not a finished run"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(DataError, match="not the results of a run"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError, match="not the results of a run .name is missing"):
        write_report(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(RunFolder.of(experiment, 0).path, tmp_path / "file" / "r.html", images=0)
