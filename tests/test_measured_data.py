"""What commands that measure a run take from its document: test labels, and images that it must not see."""

import json

import keras
import numpy as np
import pytest
from evaluation_cases import run_cli

import cifarzoo
from cifarzoo.data import load
from cifarzoo.errors import CifarzooError
from cifarzoo.evaluation.evaluate import evaluate_named
from cifarzoo.evaluation.load_model import load_model, load_run
from cifarzoo.evaluation.measured_data import measured_data
from cifarzoo.evaluation.predictions import load_predictions
from cifarzoo.experiment.files import experiment_from
from cifarzoo.metrics import log_softmax
from cifarzoo.pretrained.description import read_description, save_weights
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.build import build_model
from cifarzoo.training.run_files import describe
from cifarzoo.training.teacher_models import load_teachers

TRAIN, TEST = 60, 30
CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def photos(tmp_path):
    """A file of images of three classes."""
    random = np.random.RandomState(0)
    arrays = {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        arrays[f"x_{split}"] = random.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 3
    np.savez(tmp_path / "photos.npz", **arrays, class_names=np.array(CLASSES))
    return tmp_path / "photos.npz"


def finished(photos, seed=0, **keys):
    """The folder of a run on the images, without training it: its document and weights."""
    parameters = {"logdir": str(photos.parent), "batch_size": 8, "run_name": "net"}
    document = {"model": "cifar_resnet8", "dataset": {"arrays": str(photos)}, "train_parameters": parameters}
    one = experiment_from([document | keys], "file")
    folder = RunFolder.of(one, seed)
    folder.path.mkdir(parents=True)
    folder.write_config(one)
    model = build_model(one, 3, seed)
    save_weights(model, folder.weights_path, describe(one, model, CLASSES))
    return folder


def test_a_run_is_measured_against_its_test_labels(photos, caplog, monkeypatch, tmp_path):
    shares = np.full((TEST, 3), 0.1, np.float32)
    shares[np.arange(TEST), (np.arange(TEST) + 1) % 3] = 0.8
    np.save(tmp_path / "soft.npy", shares)
    folder = finished(photos, labels={"test": str(tmp_path / "soft.npy")}, drop=[0])
    loaded = load_run(folder)
    measured, own = measured_data(loaded, None, None), measured_data(loaded, str(photos), None)
    assert measured.test.labels.tolist() == [(number + 1) % 3 for number in range(TEST)]
    assert own.test.labels.tolist() == [number % 3 for number in range(TEST)] and len(measured.train) == TRAIN

    result = evaluate_named(str(folder.path), logits_path=tmp_path / "logits.npz")
    predictions = load_predictions(tmp_path / "logits.npz")
    logits = predictions.logits["test"]
    nll = -(shares * log_softmax(logits)).sum(axis=1).mean()
    assert result["nll"] == pytest.approx(nll) == predictions.describe("test")["nll"]
    assert result["error"] == pytest.approx(100 * np.mean(logits.argmax(axis=1) != measured.test.labels))
    mine = evaluate_named(str(folder.path), str(photos))
    assert mine["error"] == pytest.approx(100 * np.mean(logits.argmax(axis=1) != own.test.labels))
    assert mine["nll"] != pytest.approx(result["nll"], rel=1e-3) and not caplog.text

    (tmp_path / "soft.npy").unlink()
    assert (measured_data(loaded, None, None).test.labels == own.test.labels).all()
    assert "measured against the data set's own test labels: " in caplog.text
    assert "labels.test" in caplog.text and "does not exist" in caplog.text


def test_statistics_of_an_average_are_those_of_images_that_the_run_saw(photos, tmp_path, monkeypatch, capsys):
    dropped = list(range(5, 15))
    runs = [finished(photos, seed, drop=dropped, labels={"symmetric": 0.5}) for seed in (0, 1)]
    words = ["average", *(run.path for run in runs), "-o", tmp_path / "mean.weights.h5", "--format", "json"]
    status, printed, errors = run_cli(monkeypatch, capsys, *words)
    assert status == 0 and not errors
    assert f"computed over {TRAIN - 10} training images" in json.loads(printed)["statistics"]

    with np.load(photos) as file:
        arrays = dict(file)
    arrays["x_train"][dropped] = 0
    np.savez(tmp_path / "changed.npz", **arrays)
    mean = cifarzoo.load(tmp_path / "mean.weights.h5")
    for run in runs:
        config = run.config_path.read_text(encoding="utf-8")
        run.config_path.write_text(config.replace("photos.npz", "changed.npz"), encoding="utf-8")
    cifarzoo.average_weights([run.path for run in runs], tmp_path / "again.weights.h5", split=None)
    again = cifarzoo.load(tmp_path / "again.weights.h5")
    for one, other in zip(mean.weights, again.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))


def test_a_file_says_which_images_it_was_trained_on(photos, tmp_path):
    runs = [finished(photos, seed, train_split="train45k", val_split="validation") for seed in (0, 1)]
    files = []
    for number, run in enumerate(runs):
        files.append(tmp_path / f"{number}.weights.h5")
        run.weights_path.rename(files[-1])
    assert load_model(str(files[0])).train_split == "train45k"
    out = tmp_path / "mean.weights.h5"
    result = cifarzoo.average_weights(files, out, split=None, dataset_name=str(photos))
    assert "computed over 54 training images" in result["statistics"]
    assert read_description(out).train_split == "train45k"


def test_classes_in_another_order_are_noticed(photos, tmp_path):
    """Of folders, the order is that of the names, so other names of the same things are another order."""
    folder = finished(photos)
    description = read_description(folder.weights_path)
    assert description.class_names == CLASSES
    with np.load(photos) as file:
        arrays = dict(file) | {"class_names": np.array(["cat", "owl", "dog"])}
    np.savez(tmp_path / "other.npz", **arrays)
    for name in (folder.path, folder.weights_path):
        with pytest.raises(CifarzooError, match=": output 1 is 'dog', class 1 of photos is 'owl'$"):
            evaluate_named(str(name), str(tmp_path / "other.npz"))
    teacher = {"model": str(folder.path)}
    dataset = {"arrays": str(tmp_path / "other.npz"), "name": "photos"}
    one = experiment_from([{"model": "cifar_resnet8", "dataset": dataset, "teacher": teacher}], "file")
    with pytest.raises(CifarzooError, match=": output 1 is 'dog', class 1 of photos is 'owl'$"):
        load_teachers(one, load(one.dataset))


def test_numbers_are_no_names_of_classes(photos):
    """A run on arrays without names may be measured on the same classes with names."""
    folder = finished(photos)
    model = load_run(folder).model
    save_weights(model, folder.weights_path, describe(folder.experiment(), model, "012"))
    assert read_description(folder.weights_path).class_names is None
    assert evaluate_named(str(folder.path))["n"] == TEST


def test_an_average_replaces_no_weights_of_a_run(photos, tmp_path):
    one, two, three = (finished(photos, seed) for seed in range(3))
    with pytest.raises(CifarzooError, match="final.weights.h5: is one of the files to average; write to another"):
        cifarzoo.average_weights([one.path, two.path], one.weights_path, split=None)
    with pytest.raises(CifarzooError, match="final.weights.h5: holds the weights of a run; write to another file"):
        cifarzoo.average_weights([one.path, two.path], three.weights_path, split=None)


@pytest.mark.parametrize("weights", [0.5, "1,2", [[1], [2]]])
def test_wrong_shares_are_one_line(photos, tmp_path, weights):
    runs = [finished(photos, seed).path for seed in range(2)]
    with pytest.raises(CifarzooError, match="^weights: expected 2 numbers, one per file, got"):
        cifarzoo.average_weights(runs, tmp_path / "mean.weights.h5", weights, split=None)
