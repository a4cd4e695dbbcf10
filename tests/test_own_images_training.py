"""Train on images of the user's own at another size than CIFAR's: resume, measure, report, load."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from model_cases import run_python
from picture_folders import CLASSES, fill, pixels, save

import cifarzoo
from cifarzoo.data import load
from cifarzoo.errors import CheckpointError, CifarzooError, DataError, ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.metrics import classification_metrics
from cifarzoo.pretrained.description import read_description
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table, summarize
from cifarzoo.training.job import prepare
from cifarzoo.training.trainer import run

STEPS = 6


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("CIFARZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


def experiment(folder, **keys):
    """ResNet-8 on the pictures in `folder`/photos at 24 x 24 pixels."""
    parameters = {
        "logdir": str(folder / "runs"),
        "run_name": "own",
        "batch_size": 8,
        "schedule": {"kind": "cosine", "peak": 0.05, "duration": STEPS},
        "log_interval": 1,
        "val_interval": 3,
        "checkpoint_interval": 2,
        "steps_per_call": 2,
        **keys.pop("train_parameters", {}),
    }
    document = {"model": "cifar_resnet8", "dataset": {"folder": str(folder / "photos"), "size": 24}, **keys}
    return experiment_from([document, {"train_parameters": parameters}], "e.yaml, document 1")


def photos(folder):
    fill(folder / "photos" / "train", 12)
    fill(folder / "photos" / "test", 4)
    return folder


def assert_resumes(folder, **network):
    """A run that died after two calls ends with the bits of an undisturbed one."""
    import keras

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 3:
                raise KeyError

    photos(folder)
    data = load({"folder": str(folder / "photos"), "size": 24})
    whole = prepare(experiment(folder, **network, train_parameters={"run_name": "whole"}), data)
    run(whole, 0)
    broken = prepare(experiment(folder, **network), data)
    with pytest.raises(KeyError):
        run(broken, 0, [Dies()])
    again = prepare(experiment(folder, **network), load({"folder": str(folder / "photos"), "size": 24}))
    results = run(again, 0)
    assert results.dataset == "photos" and "images of photos" in results.sources
    one, other = (job.folder(0).load_checkpoint()[0] for job in (whole, again))
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


def losses(folder, weights, name):
    """Losses of a few steps in float64 from the weights in a file."""
    one = experiment(
        folder, precision="float64", init_weights=str(weights), train_parameters={"run_name": name, "ema_decay": 0.5}
    )
    run(job := prepare(one, load(one.dataset)), 0)
    return read_table(job.folder(0).log_path)["loss"].tolist()


ON_JAX = """
import json, pathlib, sys
from test_own_images_training import assert_resumes, losses
folder = pathlib.Path(sys.argv[1])
assert_resumes(folder, model="sized_cnn", module="tiny_models")
print(json.dumps(losses(folder, sys.argv[2], "jax")))
"""


@pytest.mark.slow
def test_a_run_on_jax_resumes_with_the_same_bits_and_agrees_with_tensorflow(tmp_path):
    weights = tmp_path / "start.weights.h5"
    cifarzoo.save_weights(cifarzoo.create_model("cifar_resnet8", classes=3, image_size=24), weights)
    on_jax = json.loads(run_python(ON_JAX, str(tmp_path), str(weights), backend="jax").splitlines()[-1])
    np.testing.assert_allclose(losses(tmp_path, weights, "tensorflow"), on_jax, rtol=1e-7)


def test_a_run_resumes_and_everything_that_reads_runs_works_on_it(tmp_path, monkeypatch):
    from cifarzoo.evaluation.report import write_report

    assert_resumes(tmp_path)
    folder = tmp_path / "runs" / "own" / "seed0"
    monkeypatch.chdir(tmp_path)
    stored = json.loads((folder / "results.json").read_text(encoding="utf-8"))["test"]
    own = {"folder": str(tmp_path / "photos"), "size": 24}

    measured = cifarzoo.evaluate(str(folder))
    assert measured["error"] == stored["error"] and set(measured["class_error"]) == set(CLASSES)
    assert measured["temperature"]["fitted_on"] == "validation, 3 images"  # one of twelve images per class
    file = str(folder / "final.weights.h5")
    assert cifarzoo.evaluate(file)["error"] == stored["error"]
    file = shutil.copy(file, tmp_path)
    for data in (str(tmp_path / "photos"), json.dumps(own)):  # the size is that of the network's input
        assert cifarzoo.evaluate(file, data)["error"] == stored["error"]
    with pytest.raises(DataError, match="data set 'photos' does not exist; .*name the folder or .npz file"):
        cifarzoo.evaluate(file)

    for model in (str(folder), file):
        answers = cifarzoo.predict(tmp_path / "photos" / "test", model)
        assert set(answers.class_names) == set(CLASSES)
        wrong = [answer.label != Path(answer.image).parent.name for answer in answers]
        assert 100 * sum(wrong) / len(wrong) == pytest.approx(stored["error"])

    network = cifarzoo.load(file)
    description = network.cifarzoo_description
    assert network.input_shape == (None, 24, 24, 3) and description.arguments["image_size"] == 24
    assert description.statistics == load(own).inputs.statistics and read_description(file).dataset == "photos"

    assert "owl" in write_report(folder).read_text(encoding="utf-8")
    assert [row["dataset"] for row in summarize([tmp_path / "runs"])] == ["photos", "photos"]

    # The folder may move. Other images under the same name are another data set.
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="photos: no such folder"):
        cifarzoo.evaluate(str(folder))
    assert cifarzoo.evaluate(str(folder), "moved")["error"] == stored["error"]
    moved = experiment(tmp_path, dataset={"folder": str(tmp_path / "moved"), "size": 24, "name": "photos"})
    assert run(prepare(moved, load(moved.dataset)), 0).test == stored
    save(tmp_path / "moved" / "train" / "cat" / "000.png", pixels(2, 0))
    os.utime(tmp_path / "moved" / "train" / "cat" / "000.png", ns=(1, 1))
    with pytest.raises(CheckpointError, match="images of photos changed since this run began"):
        run(prepare(moved, load(moved.dataset)), 0)


def test_python_trains_on_a_mapping_and_on_arrays_of_any_size(tmp_path):
    photos(tmp_path)
    settings = {"logdir": tmp_path, "batch_size": 8, "check": False, "augmentation": "none"}
    schedule = {"kind": "constant", "learning_rate": 0.01, "duration": 2}
    own = {"folder": str(tmp_path / "photos"), "size": 16}
    trained = cifarzoo.train("cifar_resnet8", own, run_name="a", schedule=schedule, **settings)
    assert cifarzoo.predict(tmp_path / "photos" / "test", trained.model).class_names == CLASSES
    assert trained.model.input_shape == (None, 16, 16, 3) and trained.results.dataset == "photos"
    assert RunFolder(tmp_path / "a" / "seed0").experiment().dataset.size == 16
    # The statistics of eight images are not those of all, and the model has to normalize with the former.
    trained = cifarzoo.train("cifar_resnet8", own, run_name="fewer", schedule=schedule, drop=[*range(28)], **settings)
    test = load(own).test
    measured = classification_metrics(trained.model.predict(test.images.astype("float32"), verbose=0), test.labels)
    assert measured["nll"] == pytest.approx(trained.results.test["nll"], rel=1e-5)
    with pytest.raises(ExperimentError, match="dataset.size: must be at least 8, got 2"):
        cifarzoo.train("cifar_resnet8", own | {"size": 2}, schedule=schedule, **settings)
    with pytest.raises(DataError, match="expected a name, a mapping such as {'folder': PATH} or a cifarzoo.Dataset"):
        cifarzoo.train("cifar_resnet8", 3, schedule=schedule, **settings)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"val_split": "validation", "train_split": "train45k", "dataset": {"folder": "few"}},
            "validation of few is e",
        ),
        ({"augmentation": ["cutout"], "dataset": {"folder": "few", "size": 12}}, "cutout: size: must be at most 12"),
        (
            {"augmentation": [{"crop": {"padding": 9, "mode": "reflect"}}], "dataset": {"folder": "few", "size": 9}},
            "crop: padding: must be less than 9",
        ),
        ({"train_parameters": {"batch_size": 99}, "dataset": {"folder": "few"}}, "99 is more than the 12 training"),
        (
            {
                "train_parameters": {"progressive_resizing": [{"size": 28, "until": 2}]},
                "dataset": {"arrays": "small.npz"},
            },
            "size 28 must be less than 28, the size of the data set's images",
        ),
    ],
)
def test_what_does_not_fit_the_images_is_one_line(tmp_path, monkeypatch, keys, message):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "few", 5)
    images, labels = np.zeros((12, 28, 28), np.uint8) + 9, np.arange(12) % 3
    np.savez("small.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    one = experiment(tmp_path, **keys)
    with pytest.raises(CifarzooError, match=message) as failure:
        prepare(one, load(one.dataset))
    assert "\n" not in str(failure.value)


def test_an_own_module_takes_the_size_or_says_what_it_takes(tmp_path):
    photos(tmp_path)
    message = r"model: tiny_cnn takes images of the shape \(32, 32, 3\), those of photos have \(24, 24, 3\)"
    for model, error in (("sized_cnn", None), ("tiny_cnn", message)):
        one = experiment(tmp_path, model=model, module="tiny_models")
        job = prepare(one, load(one.dataset))
        if error is None:
            assert job.parts.build_model(0).input_shape == (None, 24, 24, 3)
            continue
        with pytest.raises(ExperimentError, match=error):
            job.parts.build_model(0)
