"""The log of a run, and its page: HTML that needs nothing else."""

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
from PIL import Image

from cifarzoo.data import load
from cifarzoo.errors import DataError
from cifarzoo.evaluation.evaluate import evaluate, evaluate_named
from cifarzoo.evaluation.load_model import load_run
from cifarzoo.evaluation.report import write_report
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table
from cifarzoo.training.job import prepare
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
        run(prepare(experiment, load("synthetic")), seed)
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


@pytest.mark.slow
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
