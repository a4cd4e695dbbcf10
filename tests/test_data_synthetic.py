import hashlib

import numpy as np
import pytest

from cifarzoo.data import load, synthetic


@pytest.fixture(scope="module")
def dataset():
    return load("synthetic")


def test_every_byte_is_pinned(dataset):
    """A change here changes every user's first run: do not update the hash, find what rounds differently."""
    digests = {
        "train": "20af1d8fa35fe3fefc88d683e59078eed81c7c2b9bb4c274f3c6b2a3412e0e17",
        "test": "e8c70ca7f93f1a5fbbfe8823794fc463357edc97c599734a1d1950156452bee7",
    }
    for name, digest in digests.items():
        split = dataset.split(name)
        contents = split.images.tobytes() + split.labels.astype("<i4").tobytes()
        assert hashlib.sha256(contents).hexdigest() == digest, name


def test_cifar10s_shapes_and_balanced_classes(dataset):
    assert dataset.classes == 10 and dataset.coarse_class_names is None
    for name, count in (("train", 10_000), ("test", 2_000), ("train45k", 9_000), ("validation", 1_000)):
        split = dataset.split(name)
        assert split.images.shape == (count, 32, 32, 3) and split.images.dtype == np.uint8
        assert split.labels.shape == (count,) and split.labels.dtype == np.int32 and split.coarse_labels is None
        assert np.bincount(split.labels).tolist() == [count // 10] * 10


def test_no_test_image_is_a_training_image(dataset):
    seen = {image.tobytes() for image in dataset.train.images}
    assert len(seen) == 10_000
    assert not any(image.tobytes() in seen for image in dataset.test.images)


def accuracy_of_least_squares(train_features, dataset, test_features):
    """Fit a linear classifier to one-hot targets, with a small ridge."""
    mean = train_features.mean(0)
    x = train_features - mean
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ (np.eye(10)[dataset.train.labels] - 0.1))
    return np.mean(((test_features - mean) @ weights).argmax(1) == dataset.test.labels)


def test_neither_colors_nor_a_linear_classifier_give_the_class_away(dataset):
    train, test = dataset.train.images, dataset.test.images
    colors = [np.concatenate([x.mean((1, 2)), x.std((1, 2))], 1) / 64 for x in (train, test)]
    assert accuracy_of_least_squares(colors[0], dataset, colors[1]) < 0.25
    small = [x.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)).reshape(len(x), -1) / 64 for x in (train, test)]
    assert accuracy_of_least_squares(small[0], dataset, small[1]) < 0.25


def shows(label, size=64):
    """Return one upright, centered figure of radius `size` without noise, bool [2 * size, 2 * size]."""
    u, v = np.meshgrid(np.arange(-size, size), np.arange(-size, size))
    return synthetic.FIGURES[label](u.astype(np.int32), v.astype(np.int32), np.int32(size)) > 0


def test_the_figures_have_the_areas_of_what_they_are_called():
    """Areas in units of the squared radius, from geometry."""
    r = 512
    area = {label: shows(label, r).sum() / r**2 for label in synthetic.CLASSES}
    expected = {
        "disk": np.pi,
        "ring": np.pi * (1 - (9 / 16) ** 2),
        "square": 4 * (7 / 8) ** 2,
        "frame": 4 * ((7 / 8) ** 2 - (1 / 2) ** 2),
        "triangle": 3 * np.sqrt(3) * (9 / 16) ** 2,  # by the radius of the inscribed circle
        "cross": 4 / 3 * 2 - 4 / 9,
        "pair": 2 * np.pi * (7 / 16) ** 2,
        "stripes": np.pi / 2,
    }
    for label, value in expected.items():
        assert area[label] == pytest.approx(value, rel=0.06), label
    assert 0.3 * np.pi < area["crescent"] < 0.6 * np.pi
    assert 0.4 * np.pi < area["checkers"] < 0.6 * np.pi  # the disk's edge cuts the fields as it likes


def test_a_mirrored_figure_is_still_of_its_class():
    """A mirrored figure is the same figure rotated by some angle, so random flips are a fair augmentation."""
    for label in synthetic.CLASSES:
        figure = shows(label)
        turned = [figure, figure[::-1], figure[:, ::-1], figure[::-1, ::-1], figure.T, figure.T[::-1]]
        assert (
            max(np.mean(figure[:, ::-1] == other) for other in [turned[0], turned[1], turned[3], turned[5]]) > 0.95
        ), label
