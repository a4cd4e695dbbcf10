"""Averages of weights, their BatchNormalization statistics, and the measurements of weights kept along the way."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from evaluation_cases import run_cli, small_dataset
from keras import layers
from model_cases import run_python

import cifarzoo
from cifarzoo.errors import CifarzooError
from cifarzoo.evaluation import average, figures, trajectory
from cifarzoo.evaluation.batch_norm import recompute_statistics
from cifarzoo.layers import GhostBatchNormalization
from cifarzoo.pretrained.description import description_of, save_weights


def two_norms():
    """BatchNormalization twice, once by groups, with dropout that must stay off, and one frozen layer."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 64)(inputs))
    x = layers.BatchNormalization(name="first")(layers.Dense(5, use_bias=False, name="a")(x))
    x = layers.Dense(4, use_bias=False, name="b")(layers.Dropout(0.9)(layers.ReLU()(x)))
    x = GhostBatchNormalization(group_size=8, name="second")(x)
    x = layers.BatchNormalization(name="frozen", trainable=False)(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def statistics_in_numpy(model, images, batch_size):
    """What `recompute_statistics` computes for `two_norms`: means over batches, by the batch's own statistics."""
    kernels = [np.asarray(model.get_layer(name).kernel, np.float64) for name in ("a", "b")]
    sums = [np.zeros(width) for width in (5, 5, 4, 4)]
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        x = (batch / 64.0).mean(axis=(1, 2)) @ kernels[0]
        hidden = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), 0) @ kernels[1]
        values = x.mean(0), x.var(0), hidden.mean(0), hidden.var(0)
        sums = [total + len(batch) * value for total, value in zip(sums, values, strict=True)]
    return [total / len(images) for total in sums]


def assert_statistics_are_means_over_batches():
    model, split = two_norms(), small_dataset().train
    before = model.get_layer("frozen").moving_variance.numpy()
    outputs = model(split.images[:8].astype("float32"), training=False)
    assert recompute_statistics(model, split, batch_size=64) == 2
    moving = [
        getattr(model.get_layer(name), f"moving_{kind}")
        for name in ("first", "second")
        for kind in ("mean", "variance")
    ]
    for variable, expected in zip(moving, statistics_in_numpy(model, split.images, 64), strict=True):
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-4, atol=1e-5)
    assert model.get_layer("first").momentum == 0.99
    np.testing.assert_array_equal(model.get_layer("frozen").moving_variance.numpy(), before)
    assert not np.allclose(model(split.images[:8].astype("float32"), training=False), outputs)
    plain = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    assert recompute_statistics(plain, split) == 0


def test_statistics_are_means_over_batches():
    assert_statistics_are_means_over_batches()


@pytest.mark.slow
def test_statistics_are_the_same_on_jax():
    run_python("from test_average import *; assert_statistics_are_means_over_batches()", backend="jax")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three networks with random weights, one of them another."""
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"{name}.weights.h5" for name in ("one", "two", "other")]
    for number, path in enumerate(paths):
        keras.utils.set_random_seed(number)
        factory = cifarzoo.cifar_resnet20 if path.name.startswith("other") else cifarzoo.cifar_resnet8
        save_weights(factory(), path)
    return paths


@pytest.fixture
def data(monkeypatch):
    dataset = small_dataset()
    for module in (average, trajectory):
        monkeypatch.setattr(module, "measured_data", lambda loaded, choice, data_dir: dataset)


def test_an_average_is_a_file_that_loads(files, data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "average.weights.h5"
    words = ["average", files[0], files[1], "-o", out, "--weights", "3,1", "--format", "json"]
    status, printed, errors = run_cli(monkeypatch, capsys, *words)
    assert status == 0 and not errors
    result = json.loads(printed)
    assert [row["share"] for row in result["members"]] == [0.75, 0.25]
    assert result["statistics"] == "of 7 BatchNormalization layers, computed over 200 training images, not augmented"
    one, two, mean = (cifarzoo.load(path) for path in (files[0], files[1], out))
    for a, b, c in zip(one.trainable_variables, two.trainable_variables, mean.trainable_variables, strict=True):
        expected = 0.75 * a.numpy().astype(np.float64) + 0.25 * b.numpy().astype(np.float64)
        np.testing.assert_array_equal(c.numpy(), expected.astype(np.float32))
    assert not np.allclose(mean.get_layer("stem_bn").moving_mean, 0)
    images, labels = small_dataset().test.images, small_dataset().test.labels
    wrong = np.argmax(mean.predict(images, verbose=0), axis=1) != labels
    assert result["average"]["error"] == pytest.approx(100 * wrong.mean())


def test_averaged_statistics_need_no_data(files, tmp_path):
    result = cifarzoo.average_weights(files[:2], tmp_path / "a.weights.h5", split=None, recompute=False)
    assert result["statistics"] == "averaged" and result["average"] == {"weights": result["out"], "share": 1.0}


@pytest.mark.parametrize(
    "words, message",
    [
        ([0], "average: expected at least two files, got 1"),
        (
            [0, 2],
            "other.weights.h5: contains cifar_resnet20.*one.* contains cifar_resnet8.*an average needs one",
        ),
        ([0, 1, "--weights", "1"], "weights: expected 2 numbers, one per file, got 1"),
        ([0, 1, "--weights", "1,x"], "--weights 1,x: expected numbers with commas between them, such as 1,2,1"),
        ([0, 1, "--weights", "1,-1"], r"weights: expected numbers of at least 0, .* got \[1.0, -1.0\]"),
        ([0, 1, "--weights", "0,0"], "weights: expected numbers of at least 0, one of them positive"),
        ([0, 1, "--statistics", "new"], "--statistics new: expected computed or averaged"),
        ([0, 1, "--augmentation", "fog"], "augmentation: expected a list or one of none, .* got 'fog'"),
        ([0, 1, "--split", "dev"], "split 'dev' of cifar10 does not exist"),
        ([0, 1, "-o", "mean.h5"], "mean.h5: the name of a weight file ends in .weights.h5"),
        ([0, 1, "-o", "no/mean.weights.h5"], "no/mean.weights.h5: there is no folder no"),
        ([0, "nothing.weights.h5"], "nothing.weights.h5: no such weight file"),
    ],
)
def test_what_cannot_be_averaged_is_one_line(words, message, files, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [files[word] if isinstance(word, int) else word for word in words]
    out = [] if "-o" in words else ["-o", tmp_path / "mean.weights.h5"]
    status, _, errors = run_cli(monkeypatch, capsys, "average", *arguments, *out)
    assert status == 1 and len(errors) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(errors[0])


def test_a_file_is_not_replaced_by_its_average(files):
    with pytest.raises(CifarzooError, match="is one of the files to average; write to another"):
        cifarzoo.average_weights(files[:2], files[1], split=None, recompute=False)


def test_another_head_is_another_architecture(files, tmp_path):
    model = cifarzoo.load(files[0])
    description = dataclasses.replace(description_of(model), statistics="cifar100")
    save_weights(model, tmp_path / "b.weights.h5", description)
    with pytest.raises(CifarzooError, match="with input normalized by cifar100.*an average needs one architecture"):
        cifarzoo.average_weights([files[0], tmp_path / "b.weights.h5"], tmp_path / "c.weights.h5", split=None)


def test_rows_of_the_log_stand_for_kept_weights():
    log = {"step": [2, 4, 6], "epoch": [1, 2, 3], "val_error": [9, np.nan, 7], "val_loss": [0.9, np.nan, 0.7]}
    rows = trajectory.from_log({key: np.array(values, float) for key, values in log.items()}, [4, 6])
    assert rows == [{"step": 6, "epoch": 3, "error": 7, "nll": 0.7}]
    assert len(figures.trajectory({"test": rows}).axes) == 2
