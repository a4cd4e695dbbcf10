"""Measuring models on splits, and published files against the manifest."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from evaluation_cases import TEST_IMAGES, run_cli, small_dataset
from tiny_models import tiny_cnn

from cifarzoo.data import Split, load
from cifarzoo.errors import DataError
from cifarzoo.evaluation.evaluate import evaluate, predict, predict_splits
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.evaluation.published import differences
from cifarzoo.evaluation.text import as_rows

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_cnn()


# ------------------------------------------------------------------------------------------------ logits


@pytest.mark.parametrize("batch_size", [1, 50, 103, 500])
def test_every_image_counts_in_order(model, batch_size):
    images = small_dataset().test.images
    one_by_one = np.concatenate([np.asarray(model(image[None].astype(np.float32))) for image in images])
    np.testing.assert_allclose(predict(model, images, batch_size), one_by_one, atol=1e-5)


@pytest.mark.slow
def test_two_replicas_count_every_image(tmp_path):
    """101 images in batches of 50: the last has one image for two replicas."""
    script = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from cifarzoo.evaluation.evaluate import predict
from cifarzoo.training.engines.strategies import get_strategy
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
    metrics, logits = evaluate(LoadedModel(model, "cifar10", "tiny"), dataset, batch_size=40)
    assert metrics["n"] == TEST_IMAGES and metrics["images_per_second"] > 0
    assert metrics["error"] == pytest.approx(100 * np.mean(logits.argmax(1) != dataset.test.labels))


def test_progress_follows_the_images(model):
    steps = []
    loaded = LoadedModel(model, "cifar10", "tiny")
    splits = ["test", "train"]
    predict_splits(loaded, small_dataset(), splits, batch_size=100, progress=lambda *step: steps.append(step))
    shares = [share * (200 + TEST_IMAGES) for _, share in steps]
    assert shares == pytest.approx([0, 100, 200, 200, 200 + TEST_IMAGES / 2, 200 + TEST_IMAGES])
    assert steps[0][0] == "train images, tiny" and steps[-1][0] == "test images, tiny"


def test_scaled_images_are_warned_about(model, caplog):
    dataset = small_dataset()
    scaled = dataclasses.replace(dataset, test=Split(dataset.test.images / 255, dataset.test.labels))
    evaluate(LoadedModel(model, "cifar10", "tiny"), dataset)
    assert not caplog.records
    evaluate(LoadedModel(model, "cifar10", "tiny"), scaled)
    (record,) = caplog.records
    assert "test of cifar10: images with values from 0 to 1 look as if they were divided by 255" in record.getMessage()


def test_validation_is_taken_out_of_train(model):
    dataset, loaded = small_dataset(), LoadedModel(model, "cifar10", "tiny", "train45k")
    both = predict_splits(loaded, dataset, ["train", "validation"])
    alone = predict_splits(loaded, dataset, ["validation"])
    np.testing.assert_array_equal(both.labels["validation"], alone.labels["validation"])
    np.testing.assert_allclose(both.logits["validation"], alone.logits["validation"], atol=1e-5)


def test_flip_averages_the_logits_of_both_views_and_is_optional():
    keras.utils.set_random_seed(0)
    dataset, model = load("synthetic"), tiny_cnn()
    loaded = LoadedModel(model, "synthetic", "fresh")
    images = dataset.test.images.astype("float32")
    one, mirrored = (np.asarray(model(x, training=False)) for x in (images, images[:, :, ::-1]))
    assert np.abs(one - mirrored).max() > 1e-3
    plain, logits = evaluate(loaded, dataset)
    np.testing.assert_allclose(logits, one, atol=1e-5)
    flipped, logits = evaluate(loaded, dataset, flip=True)
    np.testing.assert_allclose(logits, (one + mirrored) / 2, atol=1e-5)
    assert flipped["nll"] != pytest.approx(plain["nll"], abs=1e-6)


@pytest.mark.slow
def test_gates_are_reported_beside_the_error():
    """Five gates that are open at first, and the block that always runs: all of six."""
    from tiny_models import tiny_skipnet

    loaded, dataset = LoadedModel(tiny_skipnet(), "cifar10", "x"), small_dataset()
    found = predict_splits(loaded, dataset, ["test"]).describe("test")
    assert (found["computation_percent"], found["macs_saved_percent"]) == (100, 0)
    loaded.model.get_layer("gate_probability").bias.assign([-1000.0])
    found = predict_splits(loaded, dataset, ["test"]).describe("test")
    assert found["computation_percent"] == pytest.approx(100 / 6) and found["macs_saved_percent"] > 50
    assert ("computation %", "16.7") in as_rows(found)


# ------------------------------------------------------------------------------------------ models that do not fit


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
        metrics, _ = evaluate(LoadedModel(model, "cifar10", "mine"), small_dataset())
        assert metrics["n"] == TEST_IMAGES


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
        (lambda: keras.Sequential([tiny_cnn(), keras.layers.Softmax()]), "x: returns probabilities"),
        (lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(10, 3)]), r"the model returns \(None"),
        (lambda: keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()]), r"takes \(None, 28, 28, 1\)"),
    ],
)
def test_models_that_do_not_fit_are_named(build, message):
    with pytest.raises(DataError, match=message):
        evaluate(LoadedModel(build(), "cifar10", "x"), small_dataset())


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
    from cifarzoo.checksum import sha256

    cifar_resnet20().save_weights(tmp_path / "fresh.weights.h5")
    entries = json.loads((ROOT / "weights" / "manifest.json").read_text())
    entry = next(one for one in entries if one["model"] == "cifar_resnet20")
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
    "tensorflow": ("tensorflow", "cifar_resnet8"),
    "jax": ("jax", "cifar_resnet8"),
    "torch": ("torch", "cifar_resnet8"),
    "saved": ("tensorflow", "resnet8.keras"),
}
TWO_REPLICAS = """
import dataclasses, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cifarzoo.data import Split, load
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.pretrained.selection import weight_file
from cifarzoo.training.job import prepare
from cifarzoo.experiment.schema import Experiment
entry = next(e for e in manifest() if e.model == "cifar_resnet8" and e.default)
experiment = Experiment(model=entry.model, model_parameters=entry.architecture, distribution="mirrored",
                        init_weights=str(weight_file(entry)))
dataset = load("cifar10")
engine = prepare(experiment, dataset).create_engine(0)
assert engine.replicas == 2
logits = engine.predict("test")
assert len(logits) == 10000
np.savez("two.npz", test_logits=logits, test_labels=dataset.test.labels, dataset="cifar10")
"""


@pytest.mark.slow
@pytest.mark.data
def test_published_resnet8_has_the_same_error_on_every_path(tmp_path):
    """TensorFlow with one replica and with two, JAX, PyTorch, and a saved model: the published error, to the image."""
    if not os.environ.get("CIFARZOO_DATA"):
        pytest.skip("CIFARZOO_DATA is not set")
    from cifarzoo import cifar_resnet8
    from cifarzoo.pretrained.manifest import manifest

    published = next(e for e in manifest() if e.model == "cifar_resnet8" and e.default).metrics
    cifar_resnet8(load_weights=True).save(tmp_path / "resnet8.keras")
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
        arguments = ["-m", "cifarzoo", "evaluate", what, "--dataset", "cifar10", "--format", "json"]
        found[name] = json.loads(start(*arguments, backend=backend))
        print(name, {key: found[name][key] for key in ("error", "nll", "ece", "images_per_second")})
    start("-c", TWO_REPLICAS)
    found["two replicas"] = json.loads(
        start("-m", "cifarzoo", "evaluate", "--from-logits", "two.npz", "--format", "json")
    )
    print("two replicas", {key: found["two replicas"][key] for key in ("error", "nll", "ece")})
    for name, metrics in found.items():
        assert metrics["n"] == 10000 and metrics["error"] == pytest.approx(published["error"], abs=1e-9), name
        assert metrics["nll"] == pytest.approx(published["nll"], rel=1e-4), name
        assert metrics["ece"] == pytest.approx(published["ece"], abs=2e-4), name


def has_torch():
    import importlib.util

    return importlib.util.find_spec("torch") is not None
