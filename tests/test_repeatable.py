"""Same seed, same backend: the same log to the last digit and the same state, also of a run that died in between."""

import csv
import json

import numpy as np
import pytest
from model_cases import run_python

from cifarzoo.data import load
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.job import prepare
from cifarzoo.training.trainer import run

pytest.importorskip("tensorflow")

POLICIES = [[["Rotate", 0.9, 0.9], ["Cutout", 0.5, 0.9]], [["Equalize", 0.8, 0.5], ["Sharpness", 0.9, 0.2]]]

EVERYTHING = [
    {"policies": {"policies": POLICIES}},
    {"crop": {"mode": "reflect"}},
    {"flip": {"alternating": True}},
    "cutout",
    {"jitter": {"brightness": 0.2, "hue": 0.1}},
    {"mixup": {"per": "image", "probability": 0.7}},
    "cutmix",
]


class Death(Exception):
    """What stands for the end of the process."""


def experiment(folder, augmentation, **parameters):
    schedule = {"kind": "cosine", "peak": 0.1, "warmup": 3, "duration": 14}
    return Experiment.model_validate(
        {
            "module": "tiny_models",
            "model": "tiny_cnn",
            "model_parameters": {"dropout": 0.3},
            "dataset": "synthetic",
            "augmentation": augmentation,
            "train_parameters": {
                "logdir": str(folder),
                "batch_size": 32,
                "ema_decay": 0.9,
                "schedule": schedule,
                "log_interval": 2,
                "val_interval": 7,
                "checkpoint_interval": 4,
                "steps_per_call": 3,
            }
            | parameters,
        }
    )


def outcome(one, callbacks=()):
    """The rows of the log without the speed, and all state at the end."""
    run(prepare(one, load("synthetic")), 5, callbacks)
    folder = RunFolder.of(one, 5)
    with open(folder.log_path, newline="") as file:
        rows = [row | {"images_per_second": ""} for row in csv.DictReader(file, delimiter="\t")]
    return rows, folder.load_checkpoint()[0]


def assert_repeatable(folder, augmentation, **parameters):
    import keras

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 9:
                raise Death

    whole = outcome(experiment(folder / "whole", augmentation, **parameters))
    broken = experiment(folder / "broken", augmentation, **parameters)
    with pytest.raises(Death):
        outcome(broken, [Dies()])
    resumed = outcome(broken)
    assert len(whole[0]) == 8  # a row every two steps, one more at the validation at step 7
    assert resumed[0] == whole[0]
    for name, value in whole[1].items():
        np.testing.assert_array_equal(resumed[1][name], value, err_msg=name)


ON_JAX = """
import json, pathlib, sys
from test_repeatable import assert_repeatable
assert_repeatable(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), **json.loads(sys.argv[3]))
"""


def assert_repeatable_on(backend, folder, augmentation, **parameters):
    if backend == "tensorflow":
        assert_repeatable(folder, augmentation, **parameters)
    else:
        run_python(ON_JAX, str(folder), json.dumps(augmentation), json.dumps(parameters), backend=backend)


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_with_everything_at_once(tmp_path, backend, monkeypatch):
    """On JAX every run compiles its own program."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    parameters = {
        "accumulate": 2,
        "sam_rho": 0.05,
        "ema_decay": 0,
        "lookahead": {"interval": 3, "start": 4},
        "progressive_resizing": [{"size": 24, "until": 5}],
    }
    assert_repeatable_on(backend, tmp_path, EVERYTHING, **parameters)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", "randaugment", "trivialaugment", "cutmix", "jitter"])
def test_with_other_augmentations(tmp_path, name):
    assert_repeatable(tmp_path, [{"jitter": {"hue": 0.2}}] if name == "jitter" else name)


@pytest.mark.slow
def test_with_random_operations_on_jax(tmp_path):
    """The other draws are among everything at once."""
    assert_repeatable_on("jax", tmp_path, "randaugment")


@pytest.mark.slow
def test_curves_of_a_run_that_began_anew_are_drawn_once(tmp_path):
    """It died before its second checkpoint: what TensorBoard has of it goes, as the same steps come again."""
    import keras
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 5:
                raise Death

    one = experiment(tmp_path, "none", checkpoint_interval=100, ema_decay=0)
    with pytest.raises(Death):
        outcome(one, [Dies()])
    outcome(one)
    events = EventAccumulator(str(RunFolder.of(one, 5)))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [2, 4, 6, 7, 8, 10, 12, 14]
    assert events.Graph().node
