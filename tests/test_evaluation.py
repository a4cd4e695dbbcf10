"""Evaluation of models, saved files, published weights and files of logits; what is wrong is one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_models import tiny_cnn

from cifarzoo import cli
from cifarzoo.data import Dataset
from cifarzoo.data.dataset import CLASS_NAMES, Split
from cifarzoo.errors import DataError, WeightsError
from cifarzoo.evaluation.evaluate import (
    Subject,
    as_markdown,
    as_rows,
    differences,
    evaluate,
    find_subject,
    predict,
    predict_splits,
)
from cifarzoo.evaluation.predictions import Predictions, load_predictions
from cifarzoo.metrics import classification_metrics

ROOT = Path(__file__).parent.parent
TEST_IMAGES = 103


def small_dataset(name="cifar10"):
    """200 training and 103 test images of noise under CIFAR-10's name, or another."""
    random = np.random.RandomState(0)

    def split(count):
        images = random.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        return Split(images, np.arange(count, dtype=np.int32) % 10)

    return Dataset(name, *CLASS_NAMES[name], split(200), split(TEST_IMAGES))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_cnn()


def run_cli(monkeypatch, capsys, *arguments):
    """Exit status, standard output and the error lines of a command, run by the real entry point."""
    monkeypatch.setattr(sys, "argv", ["cifarzoo", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code, captured.out, [line for line in captured.err.splitlines() if "error: " in line]


# ------------------------------------------------------------------------------------------------ logits


@pytest.mark.parametrize("batch_size", [1, 50, 103, 500])
def test_every_image_counts_in_order(model, batch_size):
    images = small_dataset().test.images
    one_by_one = np.concatenate([np.asarray(model(image[None].astype(np.float32))) for image in images])
    np.testing.assert_allclose(predict(model, images, batch_size), one_by_one, atol=1e-5)


def test_two_replicas_count_every_image(tmp_path):
    """101 images in batches of 50: the last has one image for two replicas."""
    script = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from cifarzoo.evaluation.evaluate import predict
from cifarzoo.training.engines.tensorflow import get_strategy
from tiny_models import tiny_cnn
strategy = get_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    keras.utils.set_random_seed(0)
    model = tiny_cnn()
images = np.random.RandomState(0).randint(0, 256, (101, 32, 32, 3)).astype(np.uint8)
here = predict(model, images, 50)
one = np.concatenate([np.asarray(model(image[None].astype("float32"))) for image in images])
np.testing.assert_allclose(here, one, atol=1e-5)
print(here.shape)
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=600, env=environment
    )
    assert result.stdout.strip() == "(101, 10)", result.stderr[-3000:]


def test_metrics_are_those_of_the_logits(model):
    dataset = small_dataset()
    metrics, logits = evaluate(Subject(model, "cifar10", "tiny"), dataset, batch_size=40)
    assert metrics["n"] == TEST_IMAGES and metrics["images_per_second"] > 0
    assert metrics["error"] == pytest.approx(100 * np.mean(logits.argmax(1) != dataset.test.labels))


def test_validation_is_taken_out_of_train(model):
    dataset, subject = small_dataset(), Subject(model, "cifar10", "tiny", "train45k")
    both = predict_splits(subject, dataset, ["train", "validation"])
    alone = predict_splits(subject, dataset, ["validation"])
    np.testing.assert_array_equal(both.labels["validation"], alone.labels["validation"])
    np.testing.assert_allclose(both.logits["validation"], alone.logits["validation"], atol=1e-5)


# ------------------------------------------------------------------------------------------------ all metrics


def test_description_against_direct_formulas(model):
    predictions = predict_splits(Subject(model, "cifar10", "tiny", "train45k"), small_dataset(), ["test", "validation"])
    found = predictions.describe()
    logits, labels = predictions.logits["test"], predictions.labels["test"]
    for k, (name, error) in enumerate(found["class_error"].items()):
        assert name == CLASS_NAMES["cifar10"][0][k]
        assert error == pytest.approx(100 * np.mean(logits[labels == k].argmax(1) != k))
    assert np.sum(found["confusion"]) == TEST_IMAGES
    assert np.trace(found["confusion"]) == round(TEST_IMAGES * (1 - found["error"] / 100))
    temperature = found["temperature"]
    after = classification_metrics(logits / temperature["value"], labels)
    assert (temperature["nll"], temperature["ece"]) == (after["nll"], after["ece"])
    assert temperature["trained_on_them"] is False and "20 images" in temperature["fitted_on"]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("train_split", "words"),
    [("train", "was trained on these images"), ("train45k", "held out from training"), ("", "is not known")],
)
def test_the_page_says_whose_images_fitted_the_temperature(train_split, words):
    logits, labels = np.eye(10, dtype=np.float32), np.arange(10)
    arrays = {"test": logits, "validation": logits}, {"test": labels, "validation": labels}
    text = as_markdown(Predictions("tiny", "cifar10", train_split, *arrays).describe())
    assert words in text and "| error % | 0.00 |" in text and "| airplane | 0.00 |" in text


def test_a_class_without_images_has_no_error():
    found = Predictions("x", logits={"test": np.eye(3)[:2]}, labels={"test": np.arange(2)}).describe()
    assert found["class_error"] == {"0": 0.0, "1": 0.0, "2": None} and found["temperature"] is None


# ------------------------------------------------------------------------------------------------ files of logits


def test_a_file_of_logits_gives_the_same_numbers(model, tmp_path, monkeypatch, capsys):
    predictions = predict_splits(
        Subject(model, "synthetic", "tiny", "train"), small_dataset("synthetic"), ["train", "validation", "test"]
    )
    predictions.save(tmp_path / "out.npz")
    direct = predictions.describe()
    direct.pop("images_per_second")
    assert load_predictions(tmp_path / "out.npz").describe() == direct
    options = ["--confusion", tmp_path / "confusion.png", "--json"]
    status, out, _ = run_cli(monkeypatch, capsys, "evaluate", "--from-logits", tmp_path / "out.npz", *options)
    assert status == 0 and json.loads(out) == direct
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["train_logits"].shape == (200, 10) and archive["validation_labels"].shape == (20,)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_logits": np.zeros((5, 10)), "test_labels": np.zeros(4, int)}, r"got \[5, 10\] and \[4\]"),
        ({"test_logits": np.zeros(5), "test_labels": np.zeros(5, int)}, r"\[images, classes\].*got \[5\]"),
        ({"test_logits": np.zeros((5, 10))}, r"got \[5, 10\] and \[0\]"),
        ({"test_logits": np.zeros((0, 10)), "test_labels": np.zeros(0, int)}, r"got \[0, 10\]"),
        (
            {"test_logits": np.zeros((5, 100)), "test_labels": np.zeros(5, int), "dataset": "cifar10"},
            r"\[images, 10\].*got \[5, 100\]",
        ),
        (
            {"test_logits": np.zeros((9984, 10)), "test_labels": np.zeros(9984, int), "dataset": "cifar10"},
            "test of cifar10 has 10,000 images, the file 9,984",
        ),
        ({"test_logits": np.zeros((5, 10)), "test_labels": np.zeros(5)}, "integers, got float64, float64"),
        ({"test_logits": np.zeros((5, 10)), "test_labels": np.zeros(5, int), "dataset": "mnist"}, "'mnist'"),
        ({"other": np.zeros(3)}, "no test_logits and test_labels, but other"),
        ({"test_logits": np.full((5, 10), 0.1), "test_labels": np.zeros(5, int)}, "test_logits are probabilities"),
    ],
)
def test_wrong_files_of_logits_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_predictions(tmp_path / "x.npz")


def test_values_in_a_file_of_logits_are_checked(tmp_path):
    np.savez(tmp_path / "x.npz", test_logits=np.full((3, 10), np.nan), test_labels=np.zeros(3, int))
    with pytest.raises(DataError, match="not finite"):
        load_predictions(tmp_path / "x.npz").describe()
    with pytest.raises(DataError, match="no logits of 'train', only of test"):
        load_predictions(tmp_path / "x.npz").describe("train")
    pair = {"test_logits": np.zeros((3, 10)), "test_labels": np.zeros(3, int)}
    wrong = {"validation_logits": np.zeros((3, 10)), "validation_labels": np.full(3, 10)}
    np.savez(tmp_path / "x.npz", **pair, **wrong)
    with pytest.raises(DataError, match="labels reach 10"):
        load_predictions(tmp_path / "x.npz").describe()


@pytest.mark.parametrize("content", [None, b"", b"not a zip file", b"PK\x03\x04broken"])
def test_damaged_files_of_logits(tmp_path, content):
    if content is not None:
        (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz: cannot be read"):
        load_predictions(tmp_path / "x.npz")


def test_a_single_array_is_no_file_of_logits(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 10)))
    with pytest.raises(DataError, match=r"x\.npy: cannot be read"):
        load_predictions(tmp_path / "x.npy")


# ------------------------------------------------------------------------------------------------ what does not fit


@pytest.mark.parametrize(
    ("content", "message"),
    [("model: [", r"config\.yaml: cannot be read \(while parsing"), ("", r"config\.yaml: the configuration of a run")],
)
def test_a_damaged_configuration_of_a_run(tmp_path, content, message):
    (tmp_path / "config.yaml").write_text(content)
    (tmp_path / "final.weights.h5").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        find_subject(str(tmp_path))


def test_models_that_know_no_shapes_are_measured_too():
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(10)

        def call(self, images):
            return self.dense(keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2)))

    open_sized = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    )
    for model in (Mine(), open_sized):
        metrics, _ = evaluate(Subject(model, "cifar10", "mine"), small_dataset())
        assert metrics["n"] == TEST_IMAGES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--all", "--flip"], "--flip: has no meaning with --all"),
        (
            ["evaluate", "--from-logits", "x.npz", "--dataset", "cifar10"],
            "--dataset: has no meaning with --from-logits",
        ),
        (["sharpness", "x", "--compat", "cifar_jax", "--loss", "squared"], "--loss: has no meaning with --compat"),
        (["sharpness", "x", "--on", "test", "--batch-size", "9"], "--batch-size: has no meaning with --on test"),
        (["sharpness", "x", "--measure", "ntk_trace", "--epsilon", "1"], "--epsilon: has no meaning with --measure"),
        (["evaluate", "--from-logits", "x.npz", "--data-dir", "."], "--data-dir: has no meaning with --from-logits"),
        (["sharpness", "x", "--devices", "4"], "--devices: has no meaning with the measures of this package"),
        (["factory", "--plan", "--budget", "1h"], "--budget: has no meaning with --plan"),
        (["train", "mine.yaml", "--quickstart"], "mine.yaml: has no meaning with --quickstart"),
        (["train", "--dry-run", "--eval"], "--eval: has no meaning with --dry-run"),
        (["evaluate", str(ROOT), "--weights", "my.weights.h5"], "has its own weights and arguments"),
        (["evaluate", "x.keras", "--argument", "depth=10"], "x.keras: has its own weights and arguments"),
        (["evaluate", "resnet20_v2_cifar10_brief_s0", "--weights", "x"], "has its own weights and arguments"),
    ],
)
def test_options_that_would_be_overruled_are_refused(monkeypatch, capsys, arguments, message):
    status, _, errors = run_cli(monkeypatch, capsys, *arguments)
    assert status == 1 and len(errors) == 1 and message in errors[0]


def with_weight(value):
    model = tiny_cnn()
    model.layers[-1].kernel.assign(np.full(model.layers[-1].kernel.shape, value))
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tiny_cnn(classes=100), "x: the model has 100 outputs, cifar10 has 10 classes"),
        (lambda: with_weight(np.nan), "x: its logits are not finite"),
        (lambda: with_weight(np.inf), "x: its logits are not finite"),
        (lambda: keras.Sequential([tiny_cnn(), keras.layers.Softmax()]), "x: gives probabilities"),
        (lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(10, 3)]), r"the model gives \(None"),
        (lambda: keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()]), r"takes \(None, 28, 28, 1\)"),
    ],
)
def test_models_that_do_not_fit_are_named(build, message):
    with pytest.raises(DataError, match=message):
        evaluate(Subject(build(), "cifar10", "x"), small_dataset())


def test_a_saved_model_is_evaluated(model, tmp_path):
    model.save(tmp_path / "tiny.keras")
    subject = find_subject(str(tmp_path / "tiny.keras"))
    assert subject.dataset == "cifar10" and subject.train_split == ""
    dataset = small_dataset()
    expected = evaluate(Subject(model, "cifar10", "x"), dataset)[1]
    np.testing.assert_allclose(evaluate(subject, dataset)[1], expected, atol=1e-5)


def test_gates_are_reported_beside_the_error():
    """Five gates that are open at first, and the block that always runs: all of six."""
    from tiny_models import tiny_skipnet

    subject, dataset = Subject(tiny_skipnet(), "cifar10", "x"), small_dataset()
    found = predict_splits(subject, dataset, ["test"]).describe("test")
    assert (found["computation_percent"], found["macs_saved_percent"]) == (100, 0)
    subject.model.get_layer("gate_probability").bias.assign([-1000.0])
    found = predict_splits(subject, dataset, ["test"]).describe("test")
    assert found["computation_percent"] == pytest.approx(100 / 6) and found["macs_saved_percent"] > 50
    assert ("computation %", "16.7") in as_rows(found)


def test_bad_saved_models(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a saved Keras model"):
        find_subject(str(tmp_path / "broken.keras"))
    with pytest.raises(WeightsError, match="no such saved model"):
        find_subject(str(tmp_path / "none.keras"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "name one of a model, --all and --from-logits"),
        (["evaluate", "cifar_resnet20", "--all"], "name one of"),
        (["evaluate", "cifar_resnet20", "--argument", "classes"], "--argument classes: expected KEY=VALUE"),
        (["evaluate", "cifar_resnet20", "--argument", "load_weights=x"], "weights are given by --weights"),
        (["evaluate", "cifar_resnet20", "--format", "xml"], "it is markdown or json"),
        (["evaluate", "cifar_resnet20", "--logits", "nowhere/x.npz"], "nowhere/x.npz: there is no folder nowhere"),
        (["evaluate", "EMPTY"], "not a finished run: config.yaml and final.weights.h5 are expected"),
        (["report", "EMPTY"], "not a finished run: results.json"),
        (["report", "nowhere"], "nowhere: not a finished run"),
        (["log", "EMPTY"], "log.tsv: cannot be read"),
        (["evaluate", "--all", "--dataset", "mnist"], "no published weights of the data set 'mnist'"),
        (["evaluate", "gone/resnet20_v2_cifar10_brief_s0"], "unknown model 'gone/resnet20_v2_cifar10_brief_s0'"),
    ],
)
def test_wrong_commands_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    arguments = [str(tmp_path) if word == "EMPTY" else word for word in arguments]
    status, _, errors = run_cli(monkeypatch, capsys, *arguments)
    assert status == 1 and len(errors) == 1 and message in errors[0]


# ------------------------------------------------------------------------------------------------ published files


def test_differences_beyond_rounding_are_listed():
    published = {"n": 10000, "error": 8.35, "top5_error": 0.31, "nll": 0.317, "brier": 0.131, "ece": 0.045}
    rounded = published | {"error": 8.36, "nll": 0.31701}
    assert differences(published, published) == differences(rounded, published) == ""
    assert differences(published | {"error": 8.37}, published) == "error % 8.37 instead of 8.35"
    assert "9984 images instead of 10000" in differences(published | {"n": 9984}, published)
    assert "NLL nan" in differences(published | {"nll": float("nan")}, published)


def test_all_published_files_are_compared_with_the_manifest(tmp_path, monkeypatch, capsys):
    """A weights folder with one file of fresh weights: with other numbers in the manifest, lost, and as published."""
    from cifarzoo import cifar_resnet20
    from cifarzoo.pretrained.loading import sha256

    cifar_resnet20().save_weights(tmp_path / "fresh.weights.h5")
    (entry,) = json.loads((ROOT / "weights" / "manifest.json").read_text())[:1]
    entry |= {"tag": "fresh", "dataset": "synthetic", "sha256": sha256(tmp_path / "fresh.weights.h5")}
    entry["metrics"] |= {"n": 2000, "error": 0.5}
    monkeypatch.setenv("CIFARZOO_WEIGHTS", str(tmp_path))

    (tmp_path / "manifest.json").write_text(json.dumps([entry, entry | {"tag": "lost"}]))
    status, out, errors = run_cli(monkeypatch, capsys, "evaluate", "--all", "--format", "json")
    found, lost = (row["metrics"] for row in json.loads(out))
    assert status == 1 and len(errors) == 1 and lost is None
    assert f"fresh: error % {found['error']:.6g} instead of 0.5" in errors[0]
    assert "lost: lost: lost.weights.h5 is in none of" in errors[0] or "lost: lost.weights.h5" in errors[0]

    entry["metrics"] = {key: found[key] for key in entry["metrics"]}
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    status, out, errors = run_cli(monkeypatch, capsys, "evaluate", "--all")
    assert (status, errors) == (0, []) and f"| fresh | synthetic | {found['error']:.2f} |" in out


PATHS = {
    "tensorflow": ("tensorflow", "cifar_resnet20"),
    "jax": ("jax", "cifar_resnet20"),
    "torch": ("torch", "cifar_resnet20"),
    "saved": ("tensorflow", "resnet20.keras"),
}
TWO_REPLICAS = """
import dataclasses, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cifarzoo.data import load
from cifarzoo.pretrained.loading import manifest, weight_file
from cifarzoo.training.engines.tensorflow import TensorFlowEngine
from cifarzoo.experiment.schema import Experiment
entry = next(e for e in manifest() if e.model == "cifar_resnet20" and e.default)
experiment = Experiment(model=entry.model, model_parameters=entry.architecture, distribution="mirrored",
                        init_weights=str(weight_file(entry)))
dataset = load("cifar10")
engine = TensorFlowEngine(experiment, dataset, 0)
assert engine.replicas == 2
logits = engine.predict("test")
assert len(logits) == 10000
np.savez("two.npz", test_logits=logits, test_labels=dataset.test.labels, dataset="cifar10")
"""


@pytest.mark.slow
@pytest.mark.data
def test_published_resnet20_has_the_same_error_on_every_path(tmp_path):
    """TensorFlow with one replica and with two, JAX, PyTorch, and a saved model: 8.35 %, to the image."""
    if not os.environ.get("CIFARZOO_DATA"):
        pytest.skip("CIFARZOO_DATA is not set")
    from cifarzoo import cifar_resnet20
    from cifarzoo.pretrained.loading import manifest

    published = next(e for e in manifest() if e.model == "cifar_resnet20" and e.default).metrics
    cifar_resnet20(load_weights=True).save(tmp_path / "resnet20.keras")
    base = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(*command, backend="tensorflow"):
        environment = base | {"KERAS_BACKEND": backend}
        result = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=1800, env=environment
        )
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    found = {}
    for name, (backend, what) in PATHS.items():
        if backend == "torch" and not has_torch():
            continue
        arguments = ["-m", "cifarzoo", "evaluate", what, "--dataset", "cifar10", "--json"]
        found[name] = json.loads(start(*arguments, backend=backend))
        print(name, {key: found[name][key] for key in ("error", "nll", "ece", "images_per_second")})
    start("-c", TWO_REPLICAS)
    found["two replicas"] = json.loads(start("-m", "cifarzoo", "evaluate", "--from-logits", "two.npz", "--json"))
    print("two replicas", {key: found["two replicas"][key] for key in ("error", "nll", "ece")})
    for name, metrics in found.items():
        assert metrics["n"] == 10000 and metrics["error"] == pytest.approx(published["error"], abs=1e-9), name
        assert metrics["nll"] == pytest.approx(published["nll"], rel=1e-4), name
        assert metrics["ece"] == pytest.approx(published["ece"], abs=2e-4), name


def has_torch():
    import importlib.util

    return importlib.util.find_spec("torch") is not None
