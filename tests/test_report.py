"""The log of a run, and its page: HTML that needs nothing else."""

import base64
import html.parser
import io
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import keras
import numpy as np
import pytest
from PIL import Image

from cifarzoo.data import load
from cifarzoo.errors import DataError
from cifarzoo.evaluation import report
from cifarzoo.evaluation.evaluate import evaluate, evaluate_named
from cifarzoo.evaluation.load_model import load_run
from cifarzoo.evaluation.mistakes import confusions, mistakes
from cifarzoo.evaluation.report import write_report
from cifarzoo.evaluation.subject import find_subject, without_unset
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.manifest import manifest
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
        self.tags, self.images, self.dark, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        assert "href" not in attributes and not any(name.startswith("on") for name in attributes)
        if tag == "img":
            self.images.append(attributes)
        if tag == "source":
            self.dark.append(attributes)

    def handle_data(self, data):
        self.words.append(data)


FIGURES = ["learning curves", "reliability diagram", "confusion matrix"]


def figures_of(page):
    """The descriptions of the drawn figures, after checking that the light and dark pictures can be read."""
    drawn = [image for image in page.images if image["src"].startswith("data:image/svg+xml;base64,")]
    assert [dark["media"] for dark in page.dark] == ["(prefers-color-scheme: dark)"] * len(drawn)
    for light, dark in zip(drawn, page.dark, strict=True):
        texts = [base64.b64decode(uri.partition(",")[2]) for uri in (light["src"], dark["srcset"])]
        assert (
            all(xml.etree.ElementTree.fromstring(text).tag.endswith("svg") for text in texts) and texts[0] != texts[1]
        )
    return [image["alt"] for image in drawn]


@pytest.mark.slow
def test_the_page_with_slices(experiment, tmp_path):
    folder = RunFolder.of(experiment, 0).path
    steps = []
    out = write_report(folder, tmp_path / "pages" / "r.html", images=20, progress=lambda *step: steps.append(step))
    page = Page(out.read_text(encoding="utf-8"))
    assert figures_of(page) == [*FIGURES, "loss along a random direction", "loss on a random plane"]
    assert "Over 20 training images" in " ".join(page.words)
    done = [share for _, share in steps]
    assert done == sorted(done) and 0 <= done[0] < 0.2 < 0.95 < done[-1] < 1


def test_the_page_needs_nothing_but_itself_and_says_what_was_measured(experiment):
    folder = RunFolder.of(experiment, 1).path
    (folder.parent / "seed9").mkdir()  # another seed, whose end was not written whole
    (folder.parent / "seed9" / "results.json").write_text("{")
    out = write_report(folder)
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert out == folder / "report.html" and figures_of(page) == FIGURES
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    words = " ".join(page.words)
    found = evaluate_named(str(folder))
    assert f"{found['error']:.2f}" in page.words and "less < more & <script>" in words
    assert "was trained on these images" in words and "Mean of 2 seeds" in words
    assert {"metric", "value", "class", "error (%)"} <= set(page.words)
    # The experiment is listed as people write it, without folders of the machine.
    assert "model: tiny_cnn" in words and "null" not in words and str(folder.parent.parent) not in text
    # Mistakes are real images of the split, most confident first.
    photos = [image["src"].partition(",")[2] for image in page.images if image["src"].startswith("data:image/png;")]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(photos[0]))))
    assert (load("synthetic").test.images == shown).all(axis=(1, 2, 3)).any()


def test_whatever_the_files_of_a_run_say_is_text_on_the_page(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_picture", lambda *_: {"light": "", "dark": "", "alt": "", "caption": ""})
    shutil.copytree(RunFolder.of(experiment, 0).path, tmp_path / "run")
    file = tmp_path / "run" / "results.json"
    hostile = "<img src=x onerror=alert(1)>"
    changed = json.loads(file.read_text()) | {"device": hostile, "name": hostile, "revision": hostile, "model": hostile}
    file.write_text(json.dumps(changed))
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert hostile not in text and " ".join(Page(text).words).count(hostile) >= 4
    file.write_text(json.dumps(changed | {"seed": "<script>alert(1)</script>"}))
    with pytest.raises(DataError, match="not the results of a run .seed"):
        write_report(tmp_path / "run")


def test_published_weights_have_what_a_page_shows():
    subject = find_subject("resnet20_v1_cifar10_short_s0")
    assert (subject.title, subject.dataset, subject.split) == ("resnet20_v1_cifar10_short_s0", "cifar10", "test")
    assert subject.metrics["error"] == 8.35 and subject.trained["steps"] == 35156
    assert subject.log()["epoch"][-1] == pytest.approx(90, abs=0.01)
    schedule = subject.config["train_parameters"]["schedule"]
    assert schedule == {
        "kind": "cosine",
        "peak": 0.1,
        "warmup": {"steps": 400},
        "duration": {"epochs": 90.0},
        "final": 0.0,
    }
    with pytest.raises(DataError, match="nowhere: not a finished run"):
        find_subject("nowhere")


@pytest.mark.parametrize("entry", manifest(), ids=lambda entry: entry.tag)
def test_a_listed_experiment_is_the_same_without_what_is_not_set(entry):
    experiment = Experiment.model_validate(entry.training["experiment"])
    assert Experiment.model_validate(without_unset(experiment.resolved())).fingerprint() == experiment.fingerprint()


def test_mistakes_by_hand():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    logits, labels = np.log(probabilities + 1e-9), np.array([0, 0, 0, 1, 0])
    wrong = mistakes(logits, labels)
    assert [mistake[:3] for mistake in wrong] == [(2, 0, 2), (4, 0, 1), (1, 0, 1), (3, 1, 0)]
    np.testing.assert_allclose([mistake.confidence for mistake in wrong], [0.9, 0.8, 0.7, 0.6], atol=1e-6)
    first, second = confusions(logits, labels, pairs=2, examples=1)
    assert first[:4] == (0, 1, 2, 50.0) and [mistake.image for mistake in first.examples] == [4]
    assert second[:4] == (0, 2, 1, 25.0)


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
        write_report(RunFolder.of(experiment, 0).path, tmp_path / "file" / "r.html")
