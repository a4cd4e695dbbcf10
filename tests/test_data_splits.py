import hashlib
import subprocess
import sys

import numpy as np
import pytest
from cifar_archives import needs_data, write_folder

from cifarzoo.data import Dataset, Split, load
from cifarzoo.data.classes import CIFAR100_CLASSES, CIFAR100_COARSE_CLASSES, CIFAR100_SUPERCLASSES
from cifarzoo.data.splits import published_split
from cifarzoo.data.statistics import patch_covariance
from cifarzoo.errors import DataError


def by_hand(labels):
    """Apply the rule image by image: the last tenth of each class."""
    train, validation = [], []
    for index, label in enumerate(labels):
        rank = sum(labels[:index] == label)
        size = sum(labels == label)
        (validation if rank >= size - size // 10 else train).append(index)
    return train, validation


@pytest.mark.parametrize("count", [1, 40, 1000])
def test_the_last_tenth_of_every_class_in_order(count):
    labels = np.random.RandomState(count).randint(0, 4, count).astype(np.int32)
    train, validation = published_split(labels)
    assert (train.tolist(), validation.tolist()) == by_hand(labels)


def test_unbalanced_classes_and_one_that_is_too_small():
    labels = np.array([0] * 30 + [1] * 9 + [0] * 10 + [2] * 19)
    train, validation = published_split(labels)
    assert validation.tolist() == [45, 46, 47, 48, 67]
    assert len(train) == 63


def small():
    labels = np.arange(200, dtype=np.int32) % 20
    images = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None, None], (200, 32, 32, 3))
    test = Split(images[:40], labels[:40], labels[:40] // 5)
    return Dataset("small", tuple("abcdefghijklmnopqrst"), tuple("wxyz"), Split(images, labels, labels // 5), test)


def test_a_split_keeps_images_and_both_labels_together():
    dataset = small()
    assert dataset.classes == 20
    assert dataset.split("train") is dataset.train and dataset.split("test") is dataset.test
    validation, train45k = dataset.split("validation"), dataset.split("train45k")
    assert validation.images[:, 5, 5, 1].tolist() == list(range(180, 200))
    assert train45k.images[:, 0, 0, 0].tolist() == list(range(180))
    for part in (validation, train45k):
        assert part.labels.tolist() == (part.images[:, 0, 0, 0] % 20).tolist()
        assert part.coarse_labels.tolist() == (part.labels // 5).tolist()
        assert part.labels.dtype == part.coarse_labels.dtype == np.int32 and part.images.dtype == np.uint8


def test_a_wrong_name_lists_the_right_ones():
    with pytest.raises(DataError, match="'val' of small does not exist; .* train, test, train45k, validation"):
        small().split("val")
    with pytest.raises(DataError, match="'mnist' does not exist; .* cifar10, cifar100, synthetic"):
        load("mnist")


def test_importing_costs_neither_tensorflow_nor_keras():
    code = "import cifarzoo.data, sys; print({'tensorflow', 'keras', 'tensorflow_datasets', 'jax'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@needs_data
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "per_class", "digest"),
    [
        ("cifar10", 500, "7b2ab338daed1f24a65a12e6c5b9a91a7ac91060b89d0a37900733cf36eab217"),
        ("cifar100", 50, "227e02c919ad6a96a0b12169194cdf13fbbd678c9537f56d335b60ec341d3d0a"),
    ],
)
def test_the_published_split_never_changes(name, per_class, digest):
    dataset = load(name)
    train, validation = published_split(dataset.train.labels)
    assert len(train) == 45_000 and len(validation) == 5_000
    assert np.bincount(dataset.split("validation").labels).tolist() == [per_class] * dataset.classes
    assert sorted([*train, *validation]) == list(range(50_000))
    assert hashlib.sha256(validation.astype("<i4").tobytes()).hexdigest() == digest


def test_superclasses_are_those_of_the_archive_and_share_the_parts(tmp_path):
    write_folder(tmp_path, "cifar-100-binary")
    fine, coarse = load("cifar100", tmp_path), load("cifar100_coarse", tmp_path)
    assert coarse.classes == 20 and coarse.class_names == fine.coarse_class_names and coarse.coarse_class_names is None
    assert coarse.test.labels.tolist() == fine.test.coarse_labels.tolist()
    for part in ("train45k", "validation"):
        assert coarse.size(part) == fine.size(part)
        assert coarse.split(part).labels.tolist() == fine.split(part).coarse_labels.tolist()
    assert coarse.mean_color == fine.mean_color
    assert (patch_covariance("cifar100_coarse") == patch_covariance("cifar100")).all()


def test_every_superclass_has_five_classes():
    members = {coarse: set() for coarse in CIFAR100_COARSE_CLASSES}
    for name, number in zip(CIFAR100_CLASSES, CIFAR100_SUPERCLASSES, strict=True):
        members[CIFAR100_COARSE_CLASSES[number]].add(name)
    assert {len(names) for names in members.values()} == {5}
    # As https://www.cs.toronto.edu/~kriz/cifar.html lists them.
    assert members["aquatic_mammals"] == {"beaver", "dolphin", "otter", "seal", "whale"}
    assert members["household_furniture"] == {"bed", "chair", "couch", "table", "wardrobe"}
    assert members["vehicles_2"] == {"lawn_mower", "rocket", "streetcar", "tank", "tractor"}


@needs_data
@pytest.mark.data
def test_the_superclass_of_every_image_follows_from_its_class():
    train = load("cifar100").train
    assert (np.array(CIFAR100_SUPERCLASSES)[train.labels] == train.coarse_labels).all()


def test_soft_and_clean_labels_stay_with_their_images():
    train = small().train
    soft = np.eye(20, dtype=np.float32)[(train.labels + 1) % 20]
    changed = Split(train.images, (train.labels + 1) % 20, train.coarse_labels, soft, train.labels)
    part = changed.take(slice(5, 9))
    assert part.targets is part.soft_labels and part.targets.argmax(1).tolist() == part.labels.tolist()
    cleaned = part.cleaned()
    assert cleaned.targets.tolist() == cleaned.labels.tolist() == train.labels[5:9].tolist()
    assert cleaned.soft_labels is None and cleaned.clean_labels is None
