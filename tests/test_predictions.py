"""Predictions of whole splits: all metrics from logits and labels, and the files that hold them."""

import json

import keras
import numpy as np
import pytest
from evaluation_cases import TEST_IMAGES, run_cli, small_dataset
from tiny_models import tiny_cnn

from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.errors import DataError
from cifarzoo.evaluation.evaluate import predict_splits
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.evaluation.predictions import Predictions, load_predictions
from cifarzoo.metrics import classification_metrics


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_cnn()


def test_description_against_direct_formulas(model):
    predictions = predict_splits(
        LoadedModel(model, "cifar10", "tiny", "train45k"), small_dataset(), ["test", "validation"]
    )
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


def test_a_users_own_data_set_keeps_its_class_names(tmp_path):
    logits, labels = {"test": 2 * np.eye(3, dtype=np.float32)}, {"test": np.arange(3)}
    Predictions("x", "pets", "", logits, labels, class_names=("cat", "dog", "eel")).save(tmp_path / "x.npz")
    metrics = load_predictions(tmp_path / "x.npz").describe()
    assert metrics["dataset"] == "pets" and metrics["class_error"] == {"cat": 0.0, "dog": 0.0, "eel": 0.0}


def test_a_class_without_images_has_no_error():
    found = Predictions("x", logits={"test": np.eye(3)[:2]}, labels={"test": np.arange(2)}).describe()
    assert found["class_error"] == {"0": 0.0, "1": 0.0, "2": None} and found["temperature"] is None


# ------------------------------------------------------------------------------------------------ files of logits


def test_a_file_of_logits_gives_the_same_numbers(model, tmp_path, monkeypatch, capsys):
    predictions = predict_splits(
        LoadedModel(model, "synthetic", "tiny", "train"), small_dataset("synthetic"), ["train", "validation", "test"]
    )
    predictions.save(tmp_path / "out.npz")
    direct = predictions.describe()
    direct.pop("images_per_second")
    assert load_predictions(tmp_path / "out.npz").describe() == direct
    options = ["--confusion", tmp_path / "confusion.png", "--format", "json"]
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
            "test of cifar10 has 10,000 images, the file has 9,984",
        ),
        ({"test_logits": np.zeros((5, 10)), "test_labels": np.zeros(5)}, "integers, got float64, float64"),
        ({"test_logits": np.zeros((5, 10)), "test_labels": np.zeros(5, int), "dataset": "mnist"}, "'mnist'"),
        ({"other": np.zeros(3)}, "expected test_logits and test_labels, got other"),
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
