"""Ensembles: the mean of probabilities, by hand and from the command line."""

import numpy as np
import pytest
from evaluation_cases import run_cli

from cifarzoo.data.pixels import scaling_problem
from cifarzoo.errors import DataError
from cifarzoo.evaluation.ensemble import ensemble
from cifarzoo.evaluation.predictions import Predictions


def member(name, probabilities, labels=(0, 1), **options):
    logits = np.log(np.array(probabilities)) + 3.0  # a constant changes no probability
    labels = np.array(labels, np.int32)
    return Predictions(name, logits={"test": logits.astype(np.float32)}, labels={"test": labels}, **options)


def test_probabilities_are_averaged():
    first = member("a", [[0.9, 0.1], [0.6, 0.4]], train_split="train", measured={"test": {"images_per_second": 300.0}})
    second = member("b", [[0.5, 0.5], [0.1, 0.9]], train_split="train", measured={"test": {"images_per_second": 600.0}})
    both = ensemble([first, second])
    np.testing.assert_allclose(np.exp(both.logits["test"]), [[0.7, 0.3], [0.35, 0.65]], atol=1e-6)
    metrics = both.describe()
    assert metrics["error"] == 0 and metrics["images_per_second"] == 200
    assert metrics["nll"] == pytest.approx(-np.log([0.7, 0.65]).mean(), abs=1e-6)
    assert (both.weights, both.train_split) == ("mean probabilities of a, b", "train")
    assert ensemble([first, member("c", [[0.5, 0.5], [0.1, 0.9]])]).train_split == ""


def test_members_measured_on_other_images_are_refused():
    first = member("a", [[0.9, 0.1], [0.6, 0.4]], dataset="cifar10")
    with pytest.raises(DataError, match="b: measured on cifar100, a on cifar10"):
        ensemble([first, member("b", [[0.9, 0.1], [0.6, 0.4]], dataset="cifar100")])
    with pytest.raises(DataError, match="b: measured on other test images than a"):
        ensemble([first, member("b", [[0.9, 0.1], [0.6, 0.4]], labels=(1, 1), dataset="cifar10")])


@pytest.mark.slow
@pytest.mark.data
def test_two_published_networks_are_better_together(monkeypatch, capsys):
    tags = "resnet20_v1_cifar10_short_s0", "resnet32_v1_cifar10_brief_s0"
    status, out, errors = run_cli(monkeypatch, capsys, "evaluate", *tags)
    assert (status, errors) == (0, []) and "| error % | 6.65 |" in out
    assert f"| {tags[0]} | 8.35 |" in out and f"| {tags[1]} | 7.79 |" in out


@pytest.mark.parametrize(
    ("values", "words"),
    [((0, 255), ""), ((0.0, 255.0), ""), ((0, 0), ""), ((0.0, 1.0), "divided by 255"), ((-2.1, 2.4), "standardized")],
)
def test_scaled_images_are_recognized(values, words):
    images = np.array(values).reshape(2, 1, 1, 1) * np.ones((1, 4, 4, 3))
    problem = scaling_problem(images)
    assert words in problem if words else problem == ""
