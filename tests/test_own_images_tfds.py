"""Image sets that TFDS prepared, as `dataset: {tfds: NAME}`; built here without a network."""

import sys

import numpy as np
import pytest
from picture_folders import CLASSES, pixels

from cifarzoo.data import load
from cifarzoo.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets")
SIZES = {"train": 6, "test": 3}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of TFDS with the set `small_photos`, as its writer for sets without code makes it."""
    folder = tmp_path_factory.mktemp("tfds")
    version = folder / "small_photos" / "1.0.0"
    version.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=list(CLASSES)),
        }
    )
    writer = tfds.core.SequentialWriter(
        tfds.core.DatasetInfo(
            builder=tfds.core.DatasetIdentity(
                name="small_photos", version=tfds.core.Version("1.0.0"), data_dir=str(version), module_name="own"
            ),
            features=features,
        ),
        max_examples_per_shard=10,
    )
    writer.initialize_splits(list(SIZES))
    for split, count in SIZES.items():
        images = [{"image": pixels(number % 3, number, 24, 30), "label": number % 3} for number in range(count)]
        writer.add_examples({split: images})
    writer.close_all()
    return folder


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path, prepared):
    monkeypatch.setenv("CIFARZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_prepared_set_is_read_in_the_order_of_its_files(tmp_path):
    dataset = load({"tfds": "small_photos", "size": 24, "name": "small"})
    assert (dataset.name, dataset.class_names, dataset.inputs.size) == ("small", CLASSES, 24)
    assert dataset.train.labels.tolist() == [0, 1, 2, 0, 1, 2] and len(dataset.test) == 3
    for number, image in enumerate(dataset.train.images):
        np.testing.assert_array_equal(image, pixels(number % 3, number, 24, 30)[:, 3:27])
    (kept,) = (tmp_path / "cache" / "datasets").iterdir()
    assert kept.name.startswith("small-")
    assert load({"tfds": "small_photos", "size": 24, "name": "small"}).digest == dataset.digest


def test_parts_of_one_split_train_and_test():
    dataset = load({"tfds": "small_photos", "train": "train[:50%]", "test": "train[50%:]"})
    assert (len(dataset.train), len(dataset.test)) == (3, 3)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"tfds": "no_such_set"}, "dataset.tfds: no_such_set: .*"),
        ({"tfds": "small_photos", "test": "validation"}, "no split 'validation'; the splits are train, test"),
        (
            {"tfds": "small_photos", "test": "train"},
            "train: train and test: train: expected separate images, .* 'train'",
        ),
        (
            {"tfds": "small_photos", "train": "train[:50%]", "test": "train[2:]"},
            "expected separate images, got images of 'train' twice",
        ),
        ({"tfds": "small_photos", "train": "train+all", "test": "test"}, "train: train.all: expected separate images"),
        ({"tfds": "svhn_cropped"}, "svhn_cropped: not prepared in TFDS's folder .*googleapis.com cannot be reached"),
    ],
)
def test_what_tfds_cannot_provide_is_one_line(source, message):
    with pytest.raises(DataError, match=message) as failure:
        load(source)
    assert "\n" not in str(failure.value)


def test_without_tfds_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # as if it were not installed
    with pytest.raises(DataError, match='x: needs TensorFlow Datasets: pip install "tensorflow-datasets>=4.9.10" imp'):
        load({"tfds": "x"})
