"""An experiment's own module: what it may return, and what it may not do to a batch."""

import random
import sys

import keras
import numpy as np
import pytest

from cifarzoo.data.info import info
from cifarzoo.errors import ModelError
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training.build import build_model
from cifarzoo.training.checks import average_warning, kind_of_probabilities
from cifarzoo.training.runner import run_all
from cifarzoo.user_code import find_modules

MODULE = """
import sys, keras
def leaves(classes):
    sys.exit(0)
def fails_in_a_layer(classes):
    class Leaves(keras.layers.Layer):
        def call(self, x):
            if x.shape[0] is None:
                return x
            sys.exit(0)
    return head(classes, Leaves())
def head(classes, last=keras.layers.Activation("linear")):
    return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(),
                             keras.layers.Dense(classes), last])
def softmax(classes):
    return head(classes, keras.layers.Softmax())
def scaled(classes):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(inputs))
    return keras.Model(inputs, keras.ops.exp(x / 99) / keras.ops.sum(keras.ops.exp(x / 99), axis=-1, keepdims=True))
class Subclassed(keras.Model):
    def __init__(self, classes):
        super().__init__()
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_heads.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "own_exit.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    (tmp_path / "own_error.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def experiment(folder, model, module="own_heads", **parameters):
    schedule = {"kind": "constant", "learning_rate": 1e-6, "duration": 2}
    parameters = {"logdir": str(folder / "runs"), "run_name": f"{module}_{model}", "schedule": schedule} | parameters
    return Experiment(model=model, module=module, dataset="synthetic", train_parameters=parameters)


def test_a_batch_goes_on_after_modules_that_exit_or_return_probabilities(own_module, capsys):
    """Each is one line; what follows is trained, and the caller's generators are as they were."""
    keras.utils.set_random_seed(7)
    expected = drawn()
    keras.utils.set_random_seed(7)
    cases = {
        "leaves": "leaves: calls sys.exit(0); only a script may do that",
        "fails_in_a_layer": "calls sys.exit(0)",
        "softmax": "softmax returns probabilities, like a softmax; it must return logits",
        "scaled": "scaled returns probabilities, like a softmax",
        "Subclassed": "own_heads.Subclassed: Subclassed is a subclassed or unbuilt model",
        "head": None,
    }
    outcomes = run_all([experiment(own_module, model) for model in cases])
    for outcome, message in zip(outcomes, cases.values(), strict=True):
        assert outcome.state == ("failed" if message else "finished"), outcome.error
        assert message is None or (message in outcome.error and "\n" not in outcome.error)
    assert drawn() == expected


def drawn():
    return random.random(), np.random.rand(), float(keras.random.uniform(()))  # noqa: NPY002


@pytest.mark.parametrize(
    "module, message",
    [("own_exit", r"module: own_exit: calls sys.exit\(0\)"), ("own_error", "cannot import .* .ZeroDivisionError: ")],
)
def test_modules_that_cannot_be_imported(own_module, module, message):
    with pytest.raises(ModelError, match=message):
        build_model(experiment(own_module, "net", module), 10, 0)


def test_no_file_beside_an_experiment_runs_instead_of_a_package(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    find_modules(tmp_path)
    assert sys.path == [*before, str(tmp_path)]


def test_kinds_of_probabilities():
    logits = np.random.default_rng(0).normal(size=(10, 10))
    sigmoid = 1 / (1 + np.exp(-logits))
    assert kind_of_probabilities(logits) == "" and kind_of_probabilities(np.zeros((10, 10))) == ""
    assert kind_of_probabilities(sigmoid) == "sigmoid"
    assert kind_of_probabilities(sigmoid / sigmoid.sum(1, keepdims=True)) == "softmax"


@pytest.mark.parametrize(
    "decay, steps, share",
    [(0.999, 120, "89 %"), (0.999, 4, "100 %"), (0.99, 400, "1.8 %"), (0.99, 600, None), (0, 9, None)],
)
def test_a_moving_average_longer_than_the_run(decay, steps, share):
    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": steps}
    one = Experiment(model="cifar_resnet20", train_parameters={"ema_decay": decay, "schedule": schedule})
    warning = average_warning(one, Plan(one, info("cifar10").size("train")))
    assert (warning is None) if share is None else f"leaves {share} of the initial weights" in warning
    assert steps != 120 or "0.962 leaves 1 %" in warning
