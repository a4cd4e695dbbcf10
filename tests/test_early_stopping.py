"""Early stopping, the weights of the best validation, and that an interruption changes nothing."""

import csv
import hashlib
import pathlib
import sys

import keras
import numpy as np
import pytest
from model_cases import run_python

from cifarzoo.data import load
from cifarzoo.errors import CheckpointError, ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.plan import Plan
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.job import prepare
from cifarzoo.training.run import Run
from cifarzoo.training.trainer import run
from cifarzoo.training.watch import Watch

VALIDATION = {"train_split": "train45k", "val_split": "validation"}


def experiment(folder="runs", splits=VALIDATION, **parameters):
    section = {
        "logdir": str(folder),
        "batch_size": 32,
        "schedule": {"kind": "constant", "learning_rate": 0.5, "duration": 40},
        "log_interval": 4,
        "val_interval": 3,
        "checkpoint_interval": 6,
        "steps_per_call": 2,
    }
    document = {
        "module": "tiny_models",
        "model": "tiny_linear",
        "model_parameters": {"hidden": 4, "dropout": 0.3},
        "dataset": "synthetic",
        "augmentation": "standard",
        "train_parameters": section | parameters,
    }
    return experiment_from([document, splits], "file")


WATCHED = {
    "ema_decay": 0.9,
    "ema_warmup": True,
    "keep": {"every": 5, "at": [0, 4]},
    "early_stopping": {"monitor": "val_loss", "patience": 9, "min_delta": 0.05},
    "best_weights": "val_error",
}


@pytest.mark.parametrize(
    "values, patience, min_delta, stop",
    [([5, 4, 3, 4, 3, 5], 6, 0, 5), ([5, 4, 3, 2, 1], 3, 0, None), ([5, 4.9, 4.8, 4.7], 9, 1, 4), ([1, 2], 3, 0, 2)],
)
def test_it_stops_after_patience_without_improvement(values, patience, min_delta, stop):
    """Validations are three steps apart; `stop` is the number of the one that stops."""
    one = experiment(early_stopping={"patience": patience, "min_delta": min_delta}, best_weights="val_loss")
    watch = Watch(one.train_parameters, Plan(one, 9000))
    stops = []
    for number, value in enumerate(values, 1):
        watch.see(3 * number, {"error": value, "nll": -value}, lambda number=number: [np.full(2, number)])
        stops.append(watch.stops)
    assert stops.index(True) + 1 == stop if stop else not any(stops)
    highest = int(np.argmax(values)) + 1
    assert watch.best == {"value": -max(values), "step": 3 * highest} and watch.best_weights[0][0] == highest
    other = Watch(one.train_parameters, Plan(one, 9000))
    other.restore(watch.meta(), watch.arrays())
    assert other.meta() == watch.meta() and np.array_equal(other.best_weights, watch.best_weights)


def test_it_watches_once_images_have_their_full_size():
    """The last of the smaller images is in step 6, so the validation after it says nothing yet."""
    stages = [{"size": 8, "until": 4}, {"size": 16, "until": 6}]
    one = experiment(progressive_resizing=stages, early_stopping={"patience": 3}, best_weights="val_error")
    watch = Watch(one.train_parameters, Plan(one, 9000))
    for step, value in ((3, 0.5), (6, 0.5), (9, 5)):
        watch.see(step, {"error": value}, lambda: [np.zeros(1)])
        assert not watch.stops and bool(watch.best) == (step == 9)
    watch.see(12, {"error": 6}, lambda: [np.zeros(1)])
    assert watch.stops and watch.best == {"value": 5, "step": 9}


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"early_stopping": {}}, "early_stopping.patience: missing, but required"),
        ({"early_stopping": {"patience": 0}}, "early_stopping.patience: expected 1 to 39 steps, .*, got 0"),
        (
            {"early_stopping": {"patience": 20}, "progressive_resizing": [{"size": 16, "until": 20}]},
            "patience: expected 1 to 19 steps, as training has 40, 20 of them on smaller images, got 20",
        ),
        ({"early_stopping": {"patience": "1 epochs"}}, "expected 1 to 39 steps, as training has 40, got 281"),
        (
            {"early_stopping": {"patience": 3, "monitor": "loss"}},
            "monitor: expected 'val_error' or 'val_loss'",
        ),
        ({"early_stopping": {"patience": 3, "min_delta": -1}}, "early_stopping.min_delta: must be at least 0, got -1"),
        (
            {"early_stopping": {"patience": 3, "mode": "min"}},
            "mode: unknown key; both quantities improve",
        ),
        ({"early_stopping": {"patience": 3, "restore_best_weights": True}}, "write train_parameters.best_weights"),
        ({"best_weights": True}, "best_weights: expected 'val_error' or 'val_loss', got true"),
        ({"ema_warmup": True}, "ema_warmup: starts the moving average of ema_decay, which is not set"),
    ],
)
def test_what_cannot_work_is_one_line(parameters, message):
    with pytest.raises(ExperimentError, match=message) as failure:
        Plan(experiment(**parameters), 9000)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("key, value", [("early_stopping", {"patience": 3}), ("best_weights", "val_loss")])
def test_nothing_is_chosen_by_the_test_images(key, value):
    with pytest.raises(ExperimentError, match=f"{key}: would choose by the test images; set .*val_split: validation"):
        experiment(splits={}, **{key: value})


def train(one, *callbacks):
    """As a new process would, in which layers get the same names."""
    keras.utils.clear_session()
    return run(prepare(one, load("synthetic")), 5, callbacks)


class Death(Exception):
    """What stands for the end of the process."""


class Dies(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 >= self.step:
            raise Death


def outcome(one):
    """What a run leaves: rows without the speed, arrays, files that must have the same bytes, and results."""
    results = train(one)
    folder = RunFolder.of(one, 5)
    with open(folder.log_path, newline="") as file:
        rows = [row | {"images_per_second": ""} for row in csv.DictReader(file, delimiter="\t")]
    paths = [folder.weights_path, *folder.kept.folder.glob("*")]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    arrays, meta = folder.load_checkpoint()
    return rows, arrays, meta["watch"], files, results


def assert_an_interruption_changes_nothing(folder):
    """It dies before its second checkpoint, and while it writes its results."""
    whole = outcome(experiment(folder / "whole", **WATCHED))
    broken = experiment(folder / "broken", **WATCHED)
    with pytest.raises(Death):
        train(broken, Dies(11))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_results", lambda self: (_ for _ in ()).throw(Death))
        with pytest.raises(Death):
            outcome(broken)
    resumed = outcome(broken)
    assert resumed[0] == whole[0] and resumed[2:4] == whole[2:4]
    assert resumed[1].keys() == whole[1].keys()
    for name, value in whole[1].items():
        np.testing.assert_array_equal(resumed[1][name], value, err_msg=name)
    rows, _, watch, files, results = whole
    validated = {int(row["step"]): row for row in rows if row["val_error"]}
    assert results.steps < 40 and results.steps - watch["improved"]["step"] >= 9
    best = min(validated, key=lambda step: float(validated[step]["val_error"]))
    assert results.best_step == best == watch["best"]["step"]
    assert results.metrics["error"] == pytest.approx(float(validated[best]["val_error"]))
    assert results.weights == f"exponential moving average, lowest val_error, step {best}"
    kept = {f"step_{step:06d}.weights.h5" for step in (0, 4, *range(5, results.steps + 1, 5))}
    assert set(files) == kept | {"final.weights.h5"} and results.metrics == resumed[4].metrics


def test_an_interruption_changes_nothing(tmp_path, capsys):
    assert_an_interruption_changes_nothing(tmp_path)
    assert "of 40: val_loss has not improved on " in capsys.readouterr().err


def test_an_interruption_changes_nothing_on_jax(tmp_path):
    code = "from test_early_stopping import *; assert_an_interruption_changes_nothing(pathlib.Path(sys.argv[1]))"
    run_python(code, str(tmp_path), backend="jax")


def test_a_checkpoint_without_the_best_weights_is_refused(tmp_path):
    one = experiment(tmp_path, **WATCHED)
    with pytest.raises(Death):
        train(one, Dies(8))
    folder = RunFolder.of(one, 5)
    arrays, meta = folder.load_checkpoint()
    folder.save_checkpoint({name: array for name, array in arrays.items() if name != "best/0000"}, meta)
    with pytest.raises(CheckpointError, match="made for another model: best/0000 exists here and not there"):
        train(one)


__all__ = ["assert_an_interruption_changes_nothing", "pathlib", "sys"]
