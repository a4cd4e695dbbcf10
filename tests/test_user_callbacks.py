"""Keras callbacks under this loop: which run, which are refused, what they see, and what they cannot disturb."""

import functools
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from model_cases import run_python

import cifarzoo
from cifarzoo.errors import ExperimentError, TrainingError
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training.runner import run_all
from cifarzoo.training.side_effects import leaves_no_trace
from cifarzoo.training.try_callbacks import try_callbacks
from cifarzoo.training.user_callbacks import check_callbacks

callbacks = keras.callbacks
RANDOM = np.random.default_rng(0)
ARRAYS = RANDOM.integers(0, 256, (40, 32, 32, 3), "uint8"), RANDOM.integers(0, 3, 40)
SHORT = {
    "batch_size": 8,
    "schedule": {"kind": "cosine", "peak": 0.1, "duration": 8},
    "steps_per_call": 2,
    "val_interval": 4,
}
VALIDATION = {"train_split": "train45k", "val_split": "validation"}
outside = []


def small_model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def train(folder, *own, **changes):
    dataset = cifarzoo.Dataset.from_arrays("threes", ARRAYS, ARRAYS)
    return cifarzoo.train(small_model(), dataset, logdir=folder, callbacks=own, **SHORT | {"check": False} | changes)


def test_keras_callbacks_run(tmp_path):
    """The idioms of every tutorial, at once; a check before changes none of them and writes nothing."""
    own = [
        callbacks.EarlyStopping("val_accuracy"),
        callbacks.EarlyStopping("val_error", patience=9),
        callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}_{{val_loss:.1f}}.keras"),
        callbacks.ModelCheckpoint(f"{tmp_path}/a.weights.h5", "val_accuracy", 0, True, save_weights_only=True),
        callbacks.TensorBoard(f"{tmp_path}/events", histogram_freq=1, update_freq="batch"),
        callbacks.CSVLogger(f"{tmp_path}/log.csv"),
        callbacks.TerminateOnNaN(),
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: outside.append(logs["learning_rate"])),
    ]
    run = train(tmp_path / "runs", *own, check=True, **VALIDATION)
    assert own[0].mode == "max" and own[1].mode == "min"
    assert len(outside) == 2 and run.results.steps == 8
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert len(list(tmp_path.glob("*.keras"))) == 2 and list((tmp_path / "events").rglob("*tfevents*"))
    keras.models.load_model(next(tmp_path.glob("2_*.keras")))
    model = small_model()
    model.load_weights(tmp_path / "a.weights.h5")


@pytest.mark.parametrize(
    "callback, message",
    [
        (callbacks.ReduceLROnPlateau(), "ReduceLROnPlateau: the schedule alone sets the learning rate"),
        (callbacks.LearningRateScheduler(lambda epoch: 1.0), "LearningRateScheduler: the schedule alone sets"),
        (callbacks.BackupAndRestore("backup"), "BackupAndRestore: every run resumes from its own checkpoint"),
        (callbacks.SwapEMAWeights(), "SwapEMAWeights: set train_parameters.ema_decay"),
        (callbacks.ProgbarLogger(), "ProgbarLogger: a run shows its own progress"),
        (callbacks.EarlyStopping("val_acc"), "EarlyStopping: monitor: 'val_acc' is not measured; .*val_accuracy"),
        (callbacks.EarlyStopping("train_loss"), "'train_loss' is not measured"),
        (3, "expected Keras callbacks, got 3"),
    ],
)
def test_what_cannot_work_is_refused_by_name_and_reason(callback, message):
    with pytest.raises(ExperimentError, match=message):
        check_callbacks([callback])


@pytest.mark.parametrize("value", [3, "names", None, [3]])
def test_values_that_are_no_callbacks_are_refused(value):
    for call in (check_callbacks, functools.partial(run_all, [])):
        with pytest.raises(ExperimentError, match="callbacks: expected Keras callbacks, got (3|'names'|None)$"):
            call(value)


def test_one_callback_is_treated_as_a_list_of_one():
    stop = callbacks.EarlyStopping()
    assert check_callbacks(stop) == check_callbacks([stop]) == check_callbacks(iter([stop])) == [stop]
    assert check_callbacks(()) == [] and run_all([], callbacks=stop) == []


def test_a_callback_may_add_what_another_monitors():
    measured = Experiment(model="cifar_resnet20", train_parameters={"train_metrics": True})
    check_callbacks([callbacks.EarlyStopping("train_loss")], measured)
    check_callbacks([Fails(), callbacks.EarlyStopping("my_score", mode="max")])


@pytest.mark.parametrize(
    "callback, reason",
    [
        (callbacks.EarlyStopping("val_error"), "EarlyStopping: monitor: val_error would choose by the test images"),
        (
            callbacks.ModelCheckpoint("a.keras", save_best_only=True),
            "ModelCheckpoint: monitor: val_loss would choose by the test images",
        ),
        (
            callbacks.EarlyStopping("loss", restore_best_weights=True),
            "EarlyStopping: restore_best_weights: a run ends with its own last weights",
        ),
    ],
)
def test_nothing_is_chosen_by_the_test_images(tmp_path, callback, reason):
    """Neither by a call of `train` nor by a batch of which one experiment validates on them."""
    with pytest.raises(ExperimentError, match=reason):
        train(tmp_path, callback)
    chosen = Experiment(model="cifar_resnet20", **VALIDATION)
    with pytest.raises(ExperimentError, match=reason):
        run_all([chosen, Experiment(model="cifar_resnet20")], callbacks=callback)
    if not getattr(callback, "restore_best_weights", False):
        assert check_callbacks(callback, chosen) == [callback]
    assert not list(tmp_path.iterdir())


class Fails(callbacks.Callback):
    def __init__(self, reason=""):
        super().__init__()
        self.reason, self.calls = reason, 0

    def on_epoch_end(self, epoch, logs=None):
        self.calls += 1
        if self.reason == "key":
            logs["val_acc"]
        if self.reason == "rate":
            self.model.optimizer.learning_rate = 0.5
        if self.reason == "exit":
            raise SystemExit(0)
        if self.reason == "file":
            raise FileNotFoundError("labels.csv")


@pytest.mark.parametrize(
    "reason, message",
    [
        ("key", r"callbacks: KeyError: 'val_acc' \(in the callback Fails.on_epoch_end\)"),
        ("rate", "TypeError: model.optimizer.learning_rate cannot be assigned: the schedule"),
        ("exit", r"Fails.on_epoch_end: called sys.exit\(0\)"),
    ],
)
def test_the_check_calls_copies_of_callbacks(tmp_path, reason, message):
    own = Fails(reason)
    with pytest.raises(ExperimentError, match=message):
        train(tmp_path, own, check=True)
    assert own.calls == 0 and own._model is None
    assert not (tmp_path / "own_model" / "seed0" / "checkpoint.npz").exists()


def test_an_exception_of_a_callback_ends_the_run_as_it_is(tmp_path):
    """FileNotFoundError is none of the run's own files'."""
    with pytest.raises(FileNotFoundError, match="labels.csv") as failure:
        train(tmp_path, Fails("file"))
    assert failure.value.__notes__ == ["in the callback Fails.on_epoch_end"]
    with pytest.raises(TrainingError, match=re.escape("Fails.on_epoch_end: called sys.exit(0)")):
        train(tmp_path, Fails("exit"))


class Reaches(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        outside.append(epoch)


class Counts(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(json.dumps({"epoch": epoch} | logs))


def test_copies_that_would_leave_a_trace_are_not_called():
    inner = []
    keeps = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: inner.append(epoch))
    assert not any(map(leaves_no_trace, (Reaches(), keeps, callbacks.RemoteMonitor())))
    assert all(map(leaves_no_trace, (Counts(), Fails(), callbacks.EarlyStopping(), callbacks.CSVLogger("log.csv"))))


def record(logs):
    outside.append(logs)


def count(logs):
    count.calls += 1


def count_inside():
    calls = 0

    def increase(*args):
        nonlocal calls
        calls += 1

    return increase


class Tells(callbacks.Callback):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch, logs=None):
        self.function(logs)


class CallsFunction(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        record(logs)


class CallsInside(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        [call(logs) for call in (lambda logs: record(logs),)]


class CountsInClass(callbacks.Callback):
    calls = 0

    def on_epoch_end(self, epoch, logs=None):
        type(self).calls += 1


class CountsByName(callbacks.Callback):
    calls = 0

    def on_epoch_end(self, epoch, logs=None):
        CountsByName.calls += 1


class KeepsInClass(callbacks.Callback):
    seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(epoch)


class KeepsInDefault(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None, seen=[]):  # noqa: B006
        seen.append(epoch)


class SavesHome(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.save_weights(Path.home() / "best.weights.h5")


class SavesAbsolute(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.save_weights("/results/best.weights.h5")


class SavesAbove(callbacks.Callback):
    def __init__(self, path="../best.weights.h5"):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        self.model.save_weights(self.path)


class Posts(callbacks.Callback):
    url = "https://example.org/hook"


class Recorder:
    def __call__(self, logs):
        record(logs)

    def write(self, epoch, logs):
        self(logs)


class Harmless(callbacks.ModelCheckpoint):
    """What must still be tried."""

    names = ("loss", "val_loss")

    def __init__(self, path):
        super().__init__(path, save_weights_only=True)
        self.metric, self.best_step, self.rows, self.half = keras.metrics.Mean(), 0, {"a": [1.0]}, np.float32(0.5)
        self.function = functools.partial(np.mean, axis=0)

    @property
    def mean(self):
        return np.mean(self.rows["a"])

    def on_epoch_end(self, epoch, logs=None):
        total = sum((lambda name: logs[name] * total_of(logs))(name) for name in self.names)
        self.rows["a"].append(total)
        self.best_step += 1
        super().on_epoch_end(epoch, logs)


def total_of(logs):
    return sum(value for value in logs.values())


@pytest.mark.parametrize(
    "callback",
    [
        Tells(record),
        Tells(count),
        Tells(count_inside()),
        Tells(functools.partial(record)),
        Tells(outside.append),
        Tells(Recorder()),
        Tells(Recorder().write),
        Tells({"calls": [record]}),
        Tells([outside, lambda logs: outside.append(logs)]),
        CallsFunction(),
        CallsInside(),
        CountsInClass(),
        CountsByName(),
        KeepsInClass(),
        KeepsInDefault(),
        SavesHome(),
        SavesAbsolute(),
        SavesAbove(),
        SavesAbove(Path("/results/best.weights.h5")),
        Posts(),
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: record(logs)),
        callbacks.LambdaCallback(on_epoch_end=Recorder().write),
        callbacks.LambdaCallback(on_epoch_end=CallsFunction().on_epoch_end),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_effects_through_other_code_and_paths_are_seen(callback):
    assert not leaves_no_trace(callback)


def test_functions_that_only_compute_may_be_tried():
    by_attribute = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: total_of(logs))
    assert all(map(leaves_no_trace, (Tells(total_of), Tells(functools.partial(total_of)), by_attribute)))


def check(*own):
    plan = Plan(Experiment(model="cifar_resnet20"), 40)
    try_callbacks(own, small_model(), plan, {"loss": 1.0, "val_loss": 1.0})


def test_the_check_leaves_files_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    paths = [tmp_path / "best.weights.h5", Path("..", "above.weights.h5"), Path("here.weights.h5")]
    for path in paths:
        path.write_bytes(b"best")
    own = [Harmless(str(path)) for path in paths] + [SavesAbove(str(paths[0])), callbacks.CSVLogger("../log.csv")]
    assert [leaves_no_trace(callback) for callback in own] == [True, True, True, False, True]
    check(*own)
    assert all(path.read_bytes() == b"best" for path in paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["above.weights.h5", "best.weights.h5", "run"]
    assert [callback.best_step for callback in own[:3]] == [0, 0, 0]
    with pytest.raises(ExperimentError, match="KeyError: 'val_acc'"):  # a missing folder ends no check
        check(callbacks.ModelCheckpoint("new/best.weights.h5", save_weights_only=True), Fails("key"))


class ReadsNames(callbacks.Callback):
    def __init__(self, stem="names"):
        super().__init__()
        self.stem = stem

    def on_train_begin(self, logs=None):
        self.names = Path(f"{self.stem}.txt").read_text(encoding="utf-8").split()

    def on_epoch_end(self, epoch, logs=None):
        return self.names[0], logs["loss"]


def test_the_check_takes_no_file_of_the_working_directory_for_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("cat dog", encoding="utf-8")
    check(ReadsNames())
    assert not leaves_no_trace(SavesAbove("names.txt"))


# On both backends: what callbacks see under averages, and what they do not disturb.
AVERAGES = """
import json, tempfile, keras, numpy as np, cifarzoo
from test_user_callbacks import ARRAYS, SHORT, small_model, train

class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logits = np.asarray(self.model(ARRAYS[0].astype("float32")), "float64")
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(40), ARRAYS[1]]
        seen.append([losses.mean(), logs["val_loss"], self.model.optimizer.learning_rate.numpy().item(),
                     logs["learning_rate"], int(self.model.optimizer.iterations.numpy())])
        self.at_end = self.model.get_weights()
    def on_train_end(self, logs=None):
        assert all(np.array_equal(a, b) for a, b in zip(self.at_end, self.model.get_weights()))

class Assign(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.model.layers[-1].set_weights([np.zeros((3, 3)), np.ones(3)])
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 4:
            assigned.append([w.tolist() for w in self.model.get_weights()])

folder, seen, assigned = tempfile.mkdtemp(), [], []
for n, changes in enumerate([{"ema_decay": 0.7}, {"lookahead": {"interval": 2}}]):
    plain = train(folder, run_name=f"plain{n}", **changes).model.get_weights()
    watched = train(folder, Watch(), run_name=f"watched{n}", **changes).model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(plain, watched, strict=True))
    train(folder, Assign(), run_name=f"assigned{n}", **changes)
print(json.dumps({"seen": seen, "assigned": assigned}))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_callbacks_see_the_measured_weights_and_disturb_nothing(backend):
    """With a moving average and with Lookahead; what they assign is trained on."""
    result = json.loads(run_python(AVERAGES, backend=backend))
    for nll, logged, rate, logged_rate, _ in result["seen"]:
        assert nll == pytest.approx(logged, abs=1e-5) and rate == pytest.approx(logged_rate)
    assert [row[-1] for row in result["seen"]] == [4, 8] * 2
    assert result["assigned"] == [[np.zeros((3, 3)).tolist(), np.ones(3).tolist()]] * 2
