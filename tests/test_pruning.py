"""Magnitude pruning: the schedule, masks against NumPy, both engines, an interruption, and mistakes."""

import json
import zlib

import keras
import numpy as np
import pytest
from model_cases import run_python

from cifarzoo.data import load
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.pruning import PruningSteps
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.build import build_model
from cifarzoo.training.job import prepare
from cifarzoo.training.pruning import Pruning
from cifarzoo.training.trainer import run

PRUNING = {"sparsity": 0.7, "start": 4, "end": 16, "interval": 4, "exclude": ["dense"]}


LOOKAHEAD = {"ema_decay": 0, "lookahead": {"interval": 3}}


def experiment(folder="runs", pruning=PRUNING, start=None, **parameters):
    section = {
        "logdir": str(folder),
        "batch_size": 32,
        "schedule": {"kind": "constant", "learning_rate": 0.05, "duration": 20},
        "log_interval": 4,
        "val_interval": 20,
        "checkpoint_interval": 6,
        "steps_per_call": 2,
        "ema_decay": 0.9,
        "pruning": pruning,
    }
    document = {
        "module": "tiny_models",
        "model": "tiny_linear",
        "model_parameters": {"hidden": 4},
        "dataset": "synthetic",
        "precision": "float64",
        "init_weights": start,
        "train_parameters": section | parameters,
    }
    return experiment_from([document], "file")


class Masks(keras.callbacks.Callback):
    """Remembers the number of zeros in each kernel after every call, and dies after a step."""

    def __init__(self, last=None):
        super().__init__()
        self.zeros, self.last = {}, last

    def on_train_batch_end(self, batch, logs=None):
        self.zeros[batch + 1] = [int(np.sum(v.numpy() == 0)) for v in self.model.trainable_variables if v.ndim == 2]
        if self.last == batch + 1:
            raise KeyboardInterrupt


def train(one, callback):
    return run(prepare(one, load("synthetic")), one.seeds[0], callbacks=[callback])


def test_the_share_of_zeros_follows_the_cubic_curve():
    shares = Pruning(0.8, 0.2, PruningSteps(10, 50, 15)).shares()
    expected = [0.8 - 0.6 * (1 - (step - 10) / 40) ** 3 for step in (10, 25, 40, 50)]
    np.testing.assert_allclose(shares, expected)
    np.testing.assert_allclose(Pruning(0.8, 0.0, PruningSteps(7, 7, 100)).shares(), [0.8])


def test_masks_change_from_the_first_step_on():
    assert PruningSteps(0, 50, 20).changes() == [1, 21, 41, 50]
    assert PruningSteps(10, 50, 20).changes() == [10, 30, 50]


def test_pruned_weights_have_no_gradient(tmp_path):
    """So they have no share in the norm that clipping limits, and SAM moves none of them."""
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    pruning = Pruning(0.5, 0.0, PruningSteps(1, 1, 1)).bind(model)
    mask = np.random.default_rng(0).random((72, 3)) < 0.5
    gradients = [np.ones((72, 3)), np.ones(3)]
    kernel, bias = pruning.masked(gradients, [mask])
    np.testing.assert_array_equal(np.asarray(kernel), mask)
    np.testing.assert_array_equal(np.asarray(bias), 1)


@pytest.mark.parametrize("changes", [{"sam_rho": 0.05}, {"clip_norm": 0.1}, {"accumulate": 2}, LOOKAHEAD])
def test_the_share_of_zeros_is_reached_with(changes, tmp_path):
    results = train(experiment(tmp_path, **changes), counted := Masks())
    assert counted.zeros[20] == [0, 28] and np.isfinite(results.metrics["nll"])


def test_masks_are_those_of_numpy():
    """One change after another, weights moving between them; what was pruned once stays pruned."""
    from cifarzoo.training.state import State

    random = np.random.default_rng(0)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(5, 3, name="stem")(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3, name="second")(x))
    model = keras.Model(inputs, keras.layers.Dense(7, name="classifier")(keras.layers.Flatten()(x)))
    pruning = Pruning(0.6, 0.0, PruningSteps(2, 6, 2), exclude=("stem",)).bind(model)
    names = [variable.path for variable in model.trainable_variables]
    kernels = [names.index("second/kernel"), names.index("classifier/kernel")]
    assert [mask.shape for mask in pruning.masks] == [(3, 3, 5, 3), (12, 7)]

    values = [random.normal(size=variable.shape) for variable in model.trainable_variables]
    averages = [random.normal(size=variable.shape) for variable in model.weights]
    masks = [mask.copy() for mask in pruning.masks]
    state = State(values, [], [], averages, masks)
    for step in range(8):
        moved = [v + random.normal(size=v.shape) for v in map(np.asarray, state.trainable)]
        state = pruning.update(state._replace(trainable=moved), np.int32(step))
        done = step + 1
        for position, (kernel, mask) in enumerate(zip(kernels, masks, strict=True)):
            if done in (2, 4, 6):
                zeros = int(0.6 * (1 - (1 - (done - 2) / 4) ** 3) * mask.size)
                order = np.argsort(np.where(mask, np.abs(moved[kernel]), -1), axis=None)
                mask[np.unravel_index(order[:zeros], mask.shape)] = False
            np.testing.assert_array_equal(np.asarray(state.masks[position]), mask)
            np.testing.assert_array_equal(np.asarray(state.trainable[kernel]), moved[kernel] * mask)
            index = [variable.path for variable in model.weights].index(names[kernel])
            assert not np.asarray(state.averages[index])[~mask].any()
        for n in set(range(len(moved))) - set(kernels):
            np.testing.assert_array_equal(np.asarray(state.trainable[n]), moved[n])
    assert [int((~mask).sum()) for mask in masks] == [int(0.6 * 135), int(0.6 * 84)]


def assert_an_interruption_changes_nothing(folder, start):
    """It dies between two changes of the masks; the weights are those of a run that did not."""
    whole, broken = (experiment(folder / name, start=str(start)) for name in ("whole", "broken"))
    counted = Masks()
    results = train(whole, counted)
    with pytest.raises(KeyboardInterrupt):
        train(broken, Masks(last=10))
    assert train(broken, Masks()).metrics == results.metrics
    ours, theirs = (RunFolder.of(one, 0).load_checkpoint()[0] for one in (whole, broken))
    assert sorted(name for name in ours if "masks" in name) == ["masks/0000"]
    for name, value in ours.items():
        np.testing.assert_array_equal(theirs[name], value, err_msg=name)

    zeros = int(0.7 * 4 * 10)
    assert counted.zeros[2] == counted.zeros[4] == [0, 0]
    assert counted.zeros[16] == counted.zeros[20] == [0, zeros]  # the hidden layer is excluded
    assert 0 < counted.zeros[8][1] < counted.zeros[12][1] < zeros
    path = RunFolder.of(whole, 0).weights_path
    assert results.pruning == {
        "sparsity": pytest.approx(100 * zeros / results.parameters, abs=1e-3),
        "bytes": path.stat().st_size,
        "compressed_bytes": len(zlib.compress(path.read_bytes(), 9)),
    }
    assert json.loads((path.parent / "results.json").read_text())["pruning"] == results.pruning
    return {name: value for name, value in ours.items() if name.startswith(("weights", "averages", "masks"))}


def test_both_engines_prune_alike_and_an_interruption_changes_nothing(tmp_path):
    start = tmp_path / "start.weights.h5"
    build_model(experiment(), 10, 0).save_weights(start)
    ours = assert_an_interruption_changes_nothing(tmp_path / "tensorflow", start)
    code = (
        "import pathlib, sys\n"
        "import numpy as np\n"
        "from test_pruning import assert_an_interruption_changes_nothing\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "arrays = assert_an_interruption_changes_nothing(folder / 'jax', folder / 'start.weights.h5')\n"
        "np.savez(folder / 'jax.npz', **arrays)"
    )
    run_python(code, str(tmp_path), backend="jax")
    with np.load(tmp_path / "jax.npz") as theirs:
        assert sorted(theirs) == sorted(ours)
        for name, value in ours.items():
            np.testing.assert_allclose(theirs[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pruning": {"end": 9}}, "pruning.sparsity: missing, but required"),
        ({"pruning": {"sparsity": 0.5}}, "pruning.end: missing, but required"),
        ({"pruning": {"sparsity": 80, "end": 9}}, "pruning.sparsity: must be less than 1, got 80"),
        (
            {"pruning": {"sparsity": 0.5, "end": 21}},
            "pruning.start and end: expected start <= end <= 20, .*got 0 and 21",
        ),
        ({"pruning": {"sparsity": 0.5, "start": 9, "end": 8}}, "expected start <= end <= 20, .* got 9 and 8"),
        ({"pruning": {"sparsity": 0.5, "end": 0}}, "pruning.end: expected at least one step, got 0"),
        (
            {"pruning": {"sparsity": 0.5, "end": 8, "initial_sparsity": 0.6}},
            "pruning.initial_sparsity: expected at most sparsity, 0.5, got 0.6",
        ),
        ({"pruning": {"final_sparsity": 0.5, "sparsity": 0.5, "end": 9}}, "write train_parameters.pruning.sparsity"),
        (
            {"best_weights": "val_error"},
            "best_weights: may take weights from before pruning ends; leave out one of them",
        ),
    ],
)
def test_mistakes_are_one_line(changes, message):
    with pytest.raises(ExperimentError, match=message) as caught:
        Plan(experiment(**{"pruning": PRUNING} | changes), 10_000)
    assert "\n" not in str(caught.value)


def test_of_equal_weights_no_more_are_pruned_than_the_schedule_says():
    from cifarzoo.training.state import State

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, kernel_initializer="ones")])
    pruning = Pruning(0.5, 0.0, PruningSteps(1, 1, 1)).bind(model)
    values = [np.asarray(variable.value) for variable in model.trainable_variables]
    state = pruning.update(State(values, [], [], [], [mask.copy() for mask in pruning.masks]), np.int32(0))
    assert np.count_nonzero(np.asarray(state.trainable[0]) == 0) == 10


@pytest.mark.parametrize("changes", [{"exclude": ["*"]}, {"sparsity": 0.0001}])
def test_a_schedule_that_prunes_nothing_is_refused(changes, tmp_path):
    with pytest.raises(ExperimentError, match=r"^train_parameters.pruning: prunes nothing: every kernel is excluded"):
        train(experiment(tmp_path, PRUNING | changes), Masks())


def test_an_unknown_layer_is_refused(tmp_path):
    one = experiment(tmp_path, PRUNING | {"exclude": ["hiden"]})
    with pytest.raises(ExperimentError, match="train_parameters.pruning.exclude: no layer has the name 'hiden'"):
        train(one, Masks())
