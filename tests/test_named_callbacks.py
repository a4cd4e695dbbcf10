"""Callbacks that an experiment names: which are created, with which arguments and files, and which are refused."""

import importlib
import json
from pathlib import Path

import keras
import pytest

from cifarzoo.errors import CifarzooError, ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.named_callbacks import build_callbacks
from cifarzoo.training.runner import run_all

VALIDATION = {"train_split": "train45k", "val_split": "validation"}
OWN = """
import json, keras

class Writes(keras.callbacks.Callback):
    def __init__(self, path, seed="", times=1):
        super().__init__()
        self.path, self.seed, self.times = path, seed, times

    def on_epoch_end(self, epoch, logs=None):
        with open(self.path, "a") as file:
            file.write(json.dumps([self.seed, epoch, self.times]) + "\\n")

class Fails(keras.callbacks.Callback):
    def __init__(self):
        raise RuntimeError("no server")

class Leaves(keras.callbacks.Callback):
    def __init__(self):
        raise SystemExit(3)

def function():
    return 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_callbacks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(importlib.sys.modules, "own_callbacks", raising=False)
    return tmp_path / "own_callbacks.py"


def experiment(callbacks, folder="runs", **keys):
    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 6}
    document = {
        "module": "tiny_models",
        "model": "tiny_linear",
        "dataset": "synthetic",
        "augmentation": "none",
        "callbacks": callbacks,
        "train_parameters": {"logdir": str(folder), "batch_size": 32, "schedule": schedule, "val_interval": 3},
    }
    return experiment_from([document, keys], "file")


@pytest.mark.parametrize(
    "entry, message",
    [
        (3, r"callbacks\[0\]: expected a mapping, got 3"),
        ({}, r"callbacks\[0\].name: missing, but required"),
        ("CSVLoger", r"callbacks\[0\]: Keras has no callback 'CSVLoger'; did you mean CSVLogger"),
        ("Mine", r"callbacks\[0\]: Keras has no callback 'Mine'; write `module` if it is your own"),
        ("CSVLogger", "CSVLogger: missing a required argument: 'filename'; it takes filename, separator, append"),
        ({"name": "TerminateOnNaN", "when": 1}, "TerminateOnNaN: got an unexpected keyword argument 'when'; it takes"),
        ({"name": "CSVLogger", "filename": "log.tsv"}, "CSVLogger: filename: log.tsv is a file of the run itself"),
        *(
            ({"name": "CSVLogger", "filename": path}, f"CSVLogger: filename: {path} is a file of the run itself; name")
            for path in (
                "LOG.TSV",
                "x/../final.weights.h5",
                "kept/step_000390.weights.h5",
                "{folder}/results.json",
                "../seed1/log.tsv",
                "events.out.tfevents.1",
            )
        ),
        ({"name": "ModelCheckpoint", "filepath": "a.txt"}, "ModelCheckpoint: .*filepath"),
        ({"name": "ReduceLROnPlateau"}, "ReduceLROnPlateau: the schedule alone sets"),
        (
            {"name": "BackupAndRestore", "backup_dir": "b"},
            "BackupAndRestore: every run resumes from its own",
        ),
        ({"name": "ProgbarLogger"}, "ProgbarLogger: a run shows its own progress"),
        (
            {"name": "EarlyStopping"},
            "EarlyStopping: monitor: val_loss would choose by the test images; set",
        ),
        (
            {"name": "ModelCheckpoint", "filepath": "a.keras", "save_best_only": True},
            "ModelCheckpoint: monitor: val_loss would choose by the test images",
        ),
        (
            {"name": "EarlyStopping", "monitor": "loss", "restore_best_weights": True},
            "restore_best_weights: a run ends with its own last weights; set train_parameters.best_weights",
        ),
        ({"name": "EarlyStopping", "monitor": "train_loss"}, "monitor: 'train_loss' is not measured"),
        ({"name": "Writes", "module": "no_such_module"}, "module: cannot import 'no_such_module'"),
        ({"name": "Nothing", "module": "own_callbacks"}, "own_callbacks has no subclass of .*Callback 'Nothing'"),
        ({"name": "function", "module": "own_callbacks"}, "own_callbacks has no subclass of .*Callback 'function'"),
        ({"name": "Writes", "module": "own_callbacks"}, "own_callbacks.Writes: missing a required argument: 'path'"),
        ({"name": "Fails", "module": "own_callbacks"}, "own_callbacks.Fails: RuntimeError: no server"),
        ({"name": "Leaves", "module": "own_callbacks"}, r"own_callbacks.Leaves: calls sys.exit\(3\)"),
    ],
)
def test_what_cannot_work_is_one_line(entry, message, own_module):
    with pytest.raises(ExperimentError, match=message) as failure:
        build_callbacks(experiment([entry]), 0)
    assert "\n" not in str(failure.value) and str(failure.value).startswith("file")


def test_folder_and_seed_are_filled_in_at_any_depth(tmp_path, own_module):
    entry = {"name": "Writes", "module": "own_callbacks", "path": ["{folder}/a", {"b": "{seed} {epoch}"}], "times": 2}
    one = experiment([entry], tmp_path / "runs")
    (callback,) = build_callbacks(one, 4)
    assert callback.path == [f"{RunFolder.of(one, 4).path.as_posix()}/a", {"b": "4 {epoch}"}] and callback.times == 2


def test_callbacks_follow_one_run():
    with pytest.raises(ExperimentError, match="file: seeds_at_once: callbacks follow one run at a time"):
        experiment(["TerminateOnNaN"], seeds_at_once=2)


def test_relative_files_lie_in_the_folder_of_the_run(tmp_path):
    entries = [
        {"name": "CSVLogger", "filename": "{epoch}.csv", "append": True},
        {"name": "ModelCheckpoint", "filepath": f"{tmp_path}/{{seed}}_{{epoch}}.keras", "save_best_only": True},
        {"name": "EarlyStopping", "monitor": "val_error", "patience": 2},
    ]
    one = experiment(entries, tmp_path / "runs", **VALIDATION)
    log, best, stop = build_callbacks(one, 4)
    assert log.filename == str(tmp_path / "runs/tiny_linear/seed4/{epoch}.csv") and log.append
    assert best.filepath == f"{tmp_path}/4_{{epoch}}.keras" and (best.mode, stop.mode) == ("min", "min")
    assert [type(callback).__name__ for callback in build_callbacks(one, 4, is_chief=False)] == ["EarlyStopping"]


def test_paths_are_of_the_run_also_with_a_relative_logdir_and_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entries = [
        "TensorBoard",
        {"name": "CSVLogger", "filename": "{folder}/keras.csv"},
        {"name": "CSVLogger", "filename": "{seed}.csv"},
        {"name": "CSVLogger", "filename": "of/log.tsv"},
    ]
    board, filled, joined, nested = build_callbacks(experiment(entries), 4)
    folder = Path("runs/tiny_linear/seed4")
    assert Path(board.log_dir) == folder / "logs" and Path(filled.filename) == folder / "keras.csv"
    assert Path(joined.filename) == folder / "4.csv" and Path(nested.filename) == folder / "of" / "log.tsv"
    assert build_callbacks(experiment(entries), 4, is_chief=False) == []


def test_every_run_has_its_own_and_a_change_of_their_source_is_refused(tmp_path, own_module):
    entries = [
        {"name": "Writes", "module": "own_callbacks", "path": "{folder}/own.jsonl", "seed": "{seed}"},
        {"name": "CSVLogger", "filename": "keras.csv"},
    ]
    one = experiment(entries, tmp_path / "runs", seeds=[0, 1])
    assert [outcome.error for outcome in run_all([one])] == [None, None]
    for seed in (0, 1):
        folder = RunFolder.of(one, seed)
        lines = (folder.path / "own.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [[str(seed), 0, 1], [str(seed), 1, 1]]
        assert len((folder.path / "keras.csv").read_text().splitlines()) == 3
        assert "own_callbacks.py" in folder.results().sources
    own_module.write_text(OWN.replace("RuntimeError", "ValueError"))
    outcomes = run_all([one])
    assert all("own_callbacks.py changed since this run began" in outcome.error for outcome in outcomes)


def test_their_names_decide_what_a_run_is():
    plain, named, other = experiment([]), experiment(["TerminateOnNaN"]), experiment([{"name": "CSVLogger"}])
    assert len({one.fingerprint() for one in (plain, named, other)}) == 3
    assert plain.modules == ["tiny_models"] and isinstance(keras.callbacks.CSVLogger, type)
    with pytest.raises(CifarzooError, match="at most 100"):
        experiment(["TerminateOnNaN"] * 101)
