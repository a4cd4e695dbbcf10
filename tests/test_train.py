"""`cifarzoo.train`: models and arrays of the user's own, recipes by name, resuming, and what is refused."""

import dataclasses
import errno
import functools
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import cifarzoo
from cifarzoo.errors import CheckpointError, DataError, ExperimentError, ModelError, TrainingError
from cifarzoo.experiment.recipe_files import recipe_files
from cifarzoo.experiment.recipes import training_settings
from cifarzoo.pretrained.description import Description
from cifarzoo.training import callbacks as default_callbacks
from cifarzoo.training import run_callbacks
from cifarzoo.training.own_model import own_model_of

ROOT = Path(__file__).parent.parent

# What a new user writes; the last argument is how many validations to survive.
SCRIPT = """
import os, signal, sys, keras, numpy as np, cifarzoo
random = np.random.default_rng(0)
images, labels = random.integers(0, 256, (700, 32, 32, 3), "uint8"), random.integers(0, 7, 700)
dataset = cifarzoo.Dataset.from_arrays("sevens", (images[:600], labels[:600]), (images[600:], labels[600:]))
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255),
                          keras.layers.Conv2D(8, 3, strides=2, activation="relu"), keras.layers.Dropout(0.2),
                          keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(7)])

class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

schedule = {"kind": "cosine", "peak": 0.1, "duration": {"epochs": 5}}
run = cifarzoo.train(model, dataset, recipe="resnet9", logdir=sys.argv[1], callbacks=[Kill()], check=False,
                     batch_size=60, schedule=schedule, val_interval={"epochs": 1})
assert run.model is model and run.results.dataset == "sevens" and run.results.steps == 50
np.savez(sys.argv[3], *run.model.get_weights())
print(f"{run.results.test['error']:.2f} {run.folder}")
"""


def user(folder, survive, weights, backend):
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(survive), str(weights)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_own_model_and_arrays_killed_and_resumed(tmp_path, backend):
    """Killed after two of five epochs; the same script then ends with the bits of an uninterrupted run."""
    whole = user(tmp_path / "whole", 99, tmp_path / "whole.npz", backend)
    assert whole.returncode == 0, whole.stderr[-3000:]
    killed = user(tmp_path / "killed", 2, tmp_path / "killed.npz", backend)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "killed.npz").exists()
    resumed = user(tmp_path / "killed", 99, tmp_path / "killed.npz", backend)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "resumes from step" in resumed.stderr
    with np.load(tmp_path / "whole.npz") as one, np.load(tmp_path / "killed.npz") as other:
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])
    assert resumed.stdout.split()[0] == whole.stdout.split()[0]


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (40, 32, 32, 3), "uint8"), random.integers(0, 3, 40)


SHORT = {
    "batch_size": 8,
    "schedule": {"kind": "constant", "learning_rate": 0.1, "duration": 4},
    "check": False,
    "steps_per_call": 2,
}


def small_model(classes=3, activation=None, layers=()):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(classes, activation=activation)(x))


def softmax_model(function=keras.ops.softmax):
    logits = small_model()
    return keras.Model(logits.inputs[0], function(0.01 * logits.outputs[0]))


class Subclassed(keras.Model):
    def build(self, shape):
        self.dense = keras.layers.Dense(3)

    def call(self, images):
        return self.dense(images[:, 0, 0])


HUGE = {"kind": "stepped", "values": [1e-9, 1e38], "boundaries": [3, 4]}


def own_dataset(arrays, name="threes"):
    return cifarzoo.Dataset.from_arrays(name, arrays, arrays)


def test_a_finished_run_is_returned_and_another_model_or_data_set_is_refused(tmp_path, arrays):
    first = cifarzoo.train(small_model(), own_dataset(arrays), logdir=tmp_path, run_name="r", **SHORT)
    again = cifarzoo.train(small_model(), own_dataset(arrays), logdir=tmp_path, run_name="r", **SHORT)
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    changed = arrays[0].copy(), arrays[1]
    changed[0][0, 0, 0, 0] ^= 1
    with pytest.raises(CheckpointError, match="another experiment .*in_memory.dataset"):
        cifarzoo.train(small_model(), own_dataset(changed), logdir=tmp_path, run_name="r", **SHORT)
    inputs = keras.Input((32, 32, 3))
    wider = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(inputs)))
    with pytest.raises(CheckpointError, match="another experiment .*in_memory.model"):
        cifarzoo.train(wider, own_dataset(arrays), logdir=tmp_path, run_name="r", **SHORT)


def test_a_name_and_a_function_are_trained_too(tmp_path, arrays):
    run = cifarzoo.train("cifar_resnet20", own_dataset(arrays), logdir=tmp_path, **SHORT)
    assert run.model.output_shape == (None, 3) and run.results.model == "cifar_resnet20"
    loaded = cifarzoo.load(run.folder.weights_path)  # the file says what it contains
    pixels = arrays[0][:4]
    np.testing.assert_allclose(loaded(pixels), run.model(pixels), rtol=1e-5)
    run = cifarzoo.train(lambda classes: small_model(classes), own_dataset(arrays), logdir=tmp_path, **SHORT)
    assert run.model.output_shape == (None, 3)


def test_a_function_starts_from_init_weights(tmp_path, arrays, caplog):
    def named(classes):
        layers = [keras.layers.Conv2D(4, 3, name="conv"), keras.layers.GlobalAveragePooling2D()]
        return keras.Sequential([keras.Input((32, 32, 3)), *layers, keras.layers.Dense(classes, name="out")])

    trained, start = named(10), tmp_path / "ten.weights.h5"
    cifarzoo.save_weights(trained, start, Description(module="nets", function="named", classes=10))
    slow = SHORT | {"schedule": {"kind": "constant", "learning_rate": 1e-9, "duration": 4}}
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        run = cifarzoo.train(named, own_dataset(arrays), logdir=tmp_path, init_weights=str(start), **slow)
    assert caplog.text.count("fresh classifier for 3 classes") == 1
    kernels = [model.get_layer("conv").get_weights()[0] for model in (trained, run.model)]
    np.testing.assert_allclose(*kernels, atol=1e-4)


def test_an_error_inside_a_function_is_its_own(tmp_path, arrays):
    with pytest.raises(TypeError, match="can only concatenate str"):
        cifarzoo.train(lambda classes: "3" + classes, own_dataset(arrays), logdir=tmp_path, **SHORT)


def test_a_wrapper_may_take_fewer_arguments_than_its_function(arrays):
    def network(classes, activation):
        return small_model(classes=classes, activation=activation)

    @functools.wraps(network)
    def wrapper(classes):
        return network(classes, None)

    assert own_model_of(wrapper, own_dataset(arrays), 0, {}).output_shape == (None, 3)


@pytest.mark.parametrize(
    "model, changes, error, message",
    [
        (small_model(activation="softmax"), {}, ModelError, "returns probabilities; it must return logits"),
        (small_model(classes=4), {}, ModelError, r"\(None, 3\), as threes has 3 classes"),
        (3, {}, ModelError, "expected a name, a function or a Keras model, got int"),
        ("cifar_resnet2", {}, ModelError, "did you mean"),
        (small_model(), {"batchsize": 3}, ExperimentError, "batchsize: unknown key; did you mean batch_size"),
        (small_model(), {"recipe": "resnet99"}, ExperimentError, "recipe 'resnet99' does not exist; the recipes are"),
        (small_model(), {"recipe": "vgg"}, ExperimentError, "choose one of vgg/vgg11"),
        (small_model(), {"seeds": [1, 2]}, ExperimentError, "one call trains one seed; pass `seed`"),
        (
            small_model(),
            {"grid": {"batch_size": [4, 8]}},
            ExperimentError,
            "grid: one call trains one experiment",
        ),
        (small_model(), {"precision": "bfloat16"}, ExperimentError, "your own model's layers decide it"),
        (small_model(), {"callbacks": [3]}, ExperimentError, "expected Keras callbacks, got 3"),
        (
            small_model(),
            {"data_dir": Path("data"), "callbacks": [3]},
            ExperimentError,
            "expected Keras callbacks, got 3",
        ),
        (
            lambda classes: None,
            {"seed": -1},
            ExperimentError,
            "seed: expected a whole number from 0 to 2147483647, got -1",
        ),
        (lambda classes: None, {}, ModelError, "the function returns NoneType, not a Keras model"),
        (lambda: None, {}, ModelError, "the function takes other arguments"),
        (softmax_model(), {}, ModelError, "returns probabilities, like a softmax; it must return logits"),
        (
            softmax_model(keras.ops.sigmoid),
            {},
            ModelError,
            "returns probabilities, like a sigmoid; it",
        ),
        (
            Subclassed(),
            {},
            ModelError,
            "Subclassed is a subclassed or unbuilt model; expected a functional",
        ),
        (lambda classes: sys.exit(2), {}, ModelError, r"calls sys.exit\(2\); only a script may do that"),
        (small_model(), {"batch_size": 41}, ExperimentError, "batch_size: 41 is more than the 40 training images"),
        (small_model(), {"schedule": HUGE}, TrainingError, "the outputs are not finite after 4 steps"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arrays, model, changes, error, message):
    with pytest.raises(error, match=message) as failure:
        cifarzoo.train(model, own_dataset(arrays), logdir=tmp_path, **SHORT | changes)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y: (x.astype("float32"), y), "uint8 .n, 32, 32, 3., got float32"),
        (lambda x, y: (x[:, :16], y), r"got uint8 \[40, 16, 32, 3\]"),
        (lambda x, y: (x, y[:-1]), r"labels are integers \[40\], got int64 \[39\]"),
        (lambda x, y: (x, y.astype("float32")), "got float32"),
        (lambda x, y: (x, y - 1), "integers from 0 to 1, got -1 to 1"),
        (lambda x, y: (x[:0], y[:0]), r"got uint8 \[0, 32, 32, 3\]"),
    ],
)
def test_arrays_are_checked(arrays, change, message):
    with pytest.raises(DataError, match=message):
        cifarzoo.Dataset.from_arrays("threes", change(*arrays), arrays)
    with pytest.raises(DataError, match="the name of a built-in data set"):
        cifarzoo.Dataset.from_arrays("cifar10", arrays, arrays)


def test_callbacks_see_current_weights_and_what_they_assign_is_trained_on(tmp_path, arrays):
    seen = []

    class Halve(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([w.copy() for w in self.model.get_weights()])
            if batch == 1:
                self.model.set_weights([np.zeros_like(w) for w in self.model.get_weights()])

    changes = SHORT | {"schedule": {"kind": "constant", "learning_rate": 1e-30, "duration": 4}, "weight_decay": 0}
    before = small_model()
    start = before.get_weights()
    run = cifarzoo.train(before, own_dataset(arrays), logdir=tmp_path, callbacks=[Halve()], **changes)
    for one, other in zip(seen[0], start, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-20)
    assert all(np.abs(w).max() < 1e-6 for w in [*seen[1], *run.model.get_weights()])


@pytest.mark.parametrize("stops_early", [False, True])
def test_results_are_those_of_the_final_weights(tmp_path, arrays, stops_early):
    """A callback assigns weights after the validation whose numbers would otherwise be reused."""

    class Assign(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == (1 if stops_early else 3):
                self.model.set_weights([np.zeros_like(w) for w in self.model.get_weights()])
                self.model.stop_training = True

    run = cifarzoo.train(small_model(), own_dataset(arrays), logdir=tmp_path, callbacks=Assign(), **SHORT)
    assert run.results.test["nll"] == pytest.approx(np.log(3))
    assert not any(w.any() for w in run.model.get_weights())


def test_training_ends_before_it_begins_if_any_worker_says_so_in_on_train_begin(tmp_path, arrays, monkeypatch):
    def say(workers, topic, *answers):
        return [topic.endswith("on_train_begin")] * len(answers)

    monkeypatch.setattr(run_callbacks, "any_says", say)  # as if another worker's callback had set stop_training
    run = cifarzoo.train(small_model(), own_dataset(arrays), logdir=tmp_path, **SHORT)
    assert run.results.steps == 0


def test_on_a_full_disk_the_progress_bar_and_the_users_callbacks_end(tmp_path, arrays, monkeypatch):
    ended = []

    class Own(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            ended.append("own")

    def fail(self, logs=None):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(default_callbacks.TensorBoard, "on_train_end", fail)
    monkeypatch.setattr(default_callbacks.Progress, "on_train_end", lambda self, logs=None: ended.append("bar"))
    with pytest.raises(CheckpointError, match="seed0: No space left on device; what the last checkpoint"):
        cifarzoo.train(small_model(), own_dataset(arrays), logdir=tmp_path, callbacks=Own(), **SHORT)
    assert ended == ["bar", "own"]


def test_callbacks_cannot_change_which_layers_train(tmp_path, arrays):
    class Freeze(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.layers[-1].trainable = False

    with pytest.raises(TrainingError, match="a callback changed which layers are trainable"):
        cifarzoo.train(small_model(), own_dataset(arrays), logdir=tmp_path, callbacks=[Freeze()], **SHORT)


def test_arguments_replace_the_recipes_and_nothing_of_these_remains(tmp_path, arrays):
    schedule = {"kind": "cosine", "peak": 0.1, "duration": 4}
    parameters = {"momentum": 0.5, "ema_decay": 0.0}
    run = cifarzoo.train(
        small_model(),
        own_dataset(arrays),
        recipe="resnet20_90ep",  # its cosine has a warm-up longer than this
        logdir=tmp_path,
        train_parameters=parameters,
        **SHORT | {"schedule": schedule, "check": True},
        seed=np.int64(0),
    )
    settings = run.folder.experiment().train_parameters
    assert settings.momentum == 0.5 and settings.batch_size == 8 and settings.resolved_schedule().duration.steps == 4
    assert settings.resolved_schedule().warmup.steps == 0


def test_few_images_of_many_classes_pass_the_check(tmp_path):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (6, 32, 32, 3), "uint8"), np.array([0, 1, 2, 3, 4, 5])
    run = cifarzoo.train(
        small_model(6), own_dataset((images, labels)), logdir=tmp_path, **SHORT | {"check": True, "batch_size": 4}
    )
    assert run.results.steps == 4


def test_part_of_a_built_in_data_set_needs_its_own_name(tmp_path):
    whole = cifarzoo.load_data("synthetic")
    part = dataclasses.replace(whole, train=whole.train.take(slice(100)))
    with pytest.raises(DataError, match="has 100 train images instead of 10000; give it a name of its own"):
        cifarzoo.train(small_model(10), part, logdir=tmp_path, **SHORT)


def test_files_beside_a_recipe_are_found(tmp_path, arrays):
    """A position that the data set lacks shows that the list was read."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "hard.txt").write_text("99")
    (tmp_path / "mine" / "my.yaml").write_text("model: a\ndrop: hard.txt")
    with pytest.raises(ExperimentError, match="drop: positions are from 0 to 39, got 99"):
        cifarzoo.train(
            small_model(), own_dataset(arrays), recipe=str(tmp_path / "mine" / "my.yaml"), logdir=tmp_path, **SHORT
        )


@pytest.mark.parametrize("ending", [".yaml", ".yml"])
def test_a_recipe_of_ones_own_is_a_file_or_one_of_its_experiments(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    file = Path(f"my{ending}")
    file.write_text("model: a\ntrain_parameters: {momentum: 0.5}")
    settings, folders = training_settings(str(file))
    assert settings["train_parameters"]["momentum"] == 0.5 and folders == [Path()]
    file.write_text("model: a\n---\nmodel: b\ntrain_parameters: {momentum: 0.7}")
    for name in (str(file), f"{file}/c"):
        with pytest.raises(ExperimentError, match=f"recipe '{name}': choose one of {file}/a, {file}/b$"):
            training_settings(name)
    assert training_settings(f"{file}/b")[0]["train_parameters"]["momentum"] == 0.7


def test_every_recipe_is_found_by_name():
    for name in recipe_files():
        try:
            settings, _ = training_settings(name)
        except ExperimentError as choices:
            first = str(choices).split("choose one of ")[1].split(", ")[0]
            settings, _ = training_settings(first)
        assert "model" not in settings and "schedule" in settings["train_parameters"]
