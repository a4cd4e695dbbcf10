"""The search of docs/sweeps.md runs as it stands, on a few images and with few trials."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

import cifarzoo
from cifarzoo.runs.tables import summarize

optuna = pytest.importorskip("optuna")
PAGE = (Path(__file__).parent.parent / "docs" / "sweeps.md").read_text(encoding="utf-8")


def network(classes=10):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


def test_the_search_runs_and_continues(tmp_path, monkeypatch, capsys):
    """A second process finds the study complete but for its last trial; pruning ends a run and nothing else."""
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    random = np.random.default_rng(0)
    arrays = random.integers(0, 256, (60, 32, 32, 3), "uint8"), np.arange(60) % 3
    dataset = cifarzoo.Dataset.from_arrays("threes", arrays, arrays)
    settings = 'MODEL, DATASET, EPOCHS, TRIALS = "cifar_resnet20", "cifar10", 20, 40\n'
    assert settings in code and "n_startup_trials=5, n_warmup_steps=3" in code
    code = code.replace("n_startup_trials=5, n_warmup_steps=3", "n_startup_trials=1, n_warmup_steps=1")
    code = code.replace("callbacks=Report", "batch_size=16, check=False, callbacks=Report")
    for trials in (2, 3):
        namespace = {"MODEL": network, "DATASET": dataset, "EPOCHS": 3, "TRIALS": trials}
        exec(compile(code.replace(settings, ""), "docs/sweeps.md", "exec"), namespace)
        study = namespace["study"]
        assert len(study.trials) == trials
        assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
        assert set(study.best_params) == {"peak", "weight_decay", "label_smoothing"}
    optuna.storages.RetryHeartbeatStaleTrialCallback()(study, study.trials[0])
    assert study.trials[-1].user_attrs["run"] == "trial0" and study.trials[-1].state.name == "WAITING"
    completed = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    errors = {row["experiment"]: row["error_mean"] for row in summarize([tmp_path / "runs"])}
    assert errors == {f"trial{trial.number}": trial.value for trial in completed}
    assert str(study.best_value) in capsys.readouterr().out
