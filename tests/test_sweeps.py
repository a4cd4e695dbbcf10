"""A grid from its file to the table: one row per grid point, averaged over its seeds."""

import json
import statistics

import pytest

from cifarzoo.cli.output import columns_of, format_rows
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import only_matching, read_experiments
from cifarzoo.runs.tables import summarize
from cifarzoo.training.runner import run_all

SWEEP = """
module: tiny_models
model: tiny_linear
dataset: synthetic
augmentation: none
skip_error_test: true
seeds: [0, 1, 2]
train_parameters:
  logdir: {folder}
  run_name: sweep
  schedule: {{kind: constant, learning_rate: 0.1, duration: 4}}
grid:
  train_parameters.weight_decay: [0, 0.01]
"""


def test_a_stop_in_the_last_step_of_a_run_starts_no_other(tmp_path, capsys):
    """That run is finished; the same command continues with the next one."""
    import os
    import signal

    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                os.kill(os.getpid(), signal.SIGINT)

    pytest.importorskip("tensorflow")
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(folder=tmp_path / "runs"))
    experiments = read_experiments(tmp_path / "sweep.yaml")
    first, *others = run_all(experiments, [Stop()])
    assert first.results.steps == 4 and first.error is None
    assert [(outcome.seed, outcome.state) for outcome in others] == [(seed, "not started") for seed in (1, 2, 0, 1, 2)]
    assert "the same command resumes it" in others[0].error and "not started" in capsys.readouterr().err
    assert [outcome.error for outcome in run_all(experiments)] == [None] * 6


def test_callbacks_do_not_follow_several_seeds_at_once(tmp_path):
    import keras

    (tmp_path / "sweep.yaml").write_text(SWEEP.format(folder=tmp_path / "runs") + "seeds_at_once: 3\n")
    with pytest.raises(ExperimentError, match="sweep.yaml, document 1 .*: seeds_at_once: callbacks follow one run"):
        run_all(read_experiments(tmp_path / "sweep.yaml"), [keras.callbacks.History()])
    assert not (tmp_path / "runs").exists()


def test_only_takes_every_experiment_of_a_name(tmp_path):
    same = (f"model: cifar_resnet20\ntrain_parameters: {{logdir: {folder}}}\n" for folder in "ab")
    (tmp_path / "two.yaml").write_text("---\n".join([*same, "model: cifar_resnet32\n"]))
    experiments = read_experiments(tmp_path / "two.yaml")
    selected = only_matching(experiments, ["cifar_resnet20", "cifar_resnet20"], tmp_path / "two.yaml")
    assert [experiment.train_parameters.logdir for experiment in selected] == ["a", "b"]


def test_a_grid_becomes_rows_of_the_table(tmp_path):
    pytest.importorskip("tensorflow")
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(folder=tmp_path / "runs"))
    outcomes = run_all(read_experiments(tmp_path / "sweep.yaml"))
    assert [outcome.error for outcome in outcomes] == [None] * 6
    rows = summarize([tmp_path / "runs"])
    assert [(row["experiment"], row["n"]) for row in rows] == [
        ("sweep-weight_decay_0", 3),
        ("sweep-weight_decay_0.01", 3),
    ]
    for row, runs in zip(rows, (outcomes[:3], outcomes[3:]), strict=True):
        errors = [outcome.results.test["error"] for outcome in runs]
        assert row["error_mean"] == pytest.approx(statistics.mean(errors))
        assert row["error_std"] == pytest.approx(statistics.stdev(errors))
    columns = columns_of(rows, without=["errors"])
    assert json.loads(format_rows(rows, columns, "json"))[1]["errors"].keys() == {"0", "1", "2"}
    assert [line.split("\t")[0] for line in format_rows(rows, columns, "tsv").splitlines()] == [
        "experiment", "sweep-weight_decay_0", "sweep-weight_decay_0.01"
    ]  # fmt: skip
    assert "| sweep-weight_decay_0.01 | synthetic | test | 3 |" in format_rows(rows, columns, "markdown")


def test_a_backend_other_than_the_active_one_is_refused(tmp_path):
    import keras

    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(folder=tmp_path / "runs") + f"backend: {other}\n")
    with pytest.raises(ExperimentError, match=f"the experiment needs {other}, but Keras already runs on"):
        run_all(read_experiments(tmp_path / "sweep.yaml"))
    assert not (tmp_path / "runs").exists()
