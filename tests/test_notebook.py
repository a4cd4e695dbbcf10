"""What a notebook shows: a bar, short representations, tables, and nothing on stderr."""

import logging
import sys

import nbclient
import nbformat
import pytest
from model_cases import ROOT

import cifarzoo
from cifarzoo import notebook
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.results import Results
from cifarzoo.training.outcomes import Outcome, Outcomes

CELLS = [
    "import cifarzoo",
    'dataset = cifarzoo.load_data("synthetic")\ndataset',
    'cifarzoo.create_model("resnet20_v1_cifar10_short_s0", classes=7).output_shape',
    """
from cifarzoo import read_experiments, run_all
open("e.yaml", "w").write('''
model: tiny_cnn
module: tiny_models
dataset: synthetic
seeds: [0]
train_parameters:
  batch_size: 32
  log_interval: 20
  schedule: {kind: cosine, peak: 0.1, duration: {steps: 40}}
''')
experiments = read_experiments("e.yaml")
experiments
""",
    "experiments[0]",
    "outcomes = run_all(experiments)\noutcomes",
    "run_all(experiments)[0]",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of every cell."""
    folder = tmp_path_factory.mktemp("notebook")
    setup = nbformat.v4.new_code_cell(f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    document = nbformat.v4.new_notebook(cells=[setup, *cells])
    nbclient.NotebookClient(document, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in cells]


@pytest.mark.filterwarnings("default")  # the notebook client's own
def test_a_notebook_shows_tables_and_bars_and_nothing_red(outputs):
    imported, dataset, model, experiments, experiment, trained, again = outputs
    everything = [output for cell in outputs for output in cell]
    assert not [output for output in everything if output.get("name") == "stderr"], everything
    assert imported == []
    (shown,) = dataset
    assert shown.data["text/plain"] == "<Dataset synthetic: 10,000 training and 2,000 test images, 10 classes>"
    assert "<td" in shown.data["text/html"] and "checkers" in shown.data["text/html"]
    log, _ = model
    assert log.name == "stdout" and "fresh classifier for 7 classes" in log.text
    (shown,) = experiments
    assert shown.data["text/plain"] == "[<Experiment tiny_cnn: tiny_models.tiny_cnn on synthetic, seed 0>]"
    (shown,) = experiment
    assert "duration: {steps: 40}" in shown.data["text/html"] and "momentum" not in shown.data["text/html"]
    log, *bars, table = trained
    assert "check passed" in log.text
    (bar,) = bars
    assert "tiny_cnn seed0" in bar.data["text/html"] and '<progress value="40" max="40">' in bar.data["text/html"]
    assert bar.data["text/plain"] == "tiny_cnn seed0: step 40/40"
    assert table.data["text/html"].count("<tr>") == 2 and table.data["text/html"].count("finished") == 1
    assert again[0].name == "stdout" and again[-1].data["text/plain"].startswith(
        "<tiny_cnn seed0: finished, test error"
    )


def test_representations_are_short_and_escaped():
    experiment = Experiment(model="net", module="mine", description="<b>", seeds=[3])
    assert repr(experiment) == str(experiment) == "<Experiment net: mine.net on cifar10, seed 3>"
    assert "&lt;b&gt;" in experiment._repr_html_() and "<b>net</b>" in experiment._repr_html_()
    failed = Outcome(experiment, 3, error="no <module>", state="failed")
    assert repr(failed) == "<net seed3: no <module>>"
    known = {"name": "net", "seed": 3, "model": "net", "dataset": "cifar10", "train_split": "train", "steps": 10}
    known |= {"images": 1280, "weights": "last step", "parameters": 1, "seconds": 90.0, "images_per_second": 14.2}
    known |= {"fingerprint": "", "revision": None, "versions": {}, "backend": "jax", "device": ""}
    results = Results(**known, test={"error": 12.34, "nll": 0.5})
    finished = Outcome(experiment, 3, results)
    assert repr(finished) == "<net seed3: finished, test error 12.34 %>"
    table = Outcomes([failed, finished])._repr_html_()
    assert "no &lt;module&gt;" in table and ">1.5<" in table and ">0.500<" in table and "None" not in table
    assert repr(cifarzoo.load_data("synthetic").test) == "<Split: 2,000 images>"


def test_lines_go_to_stderr_except_in_a_notebook(monkeypatch, capsys):
    notebook.say("one")
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    notebook.say("two")
    assert capsys.readouterr() == ("two\n", "one\n")


def test_warnings_appear_once(monkeypatch, capsys):
    logger, root = logging.getLogger("cifarzoo"), logging.getLogger()
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    for _ in range(2):
        notebook.log_on_stdout()
    assert len(logger.handlers) == 1
    monkeypatch.setattr(root, "handlers", [])
    logger.warning("a backbone")
    assert capsys.readouterr().out == "a backbone\n"
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(sys.stderr)])
    logger.warning("a backbone")
    assert capsys.readouterr() == ("", "a backbone\n")
