"""Exact sizes of the models against the papers' code and independent zoos."""

import math

import keras
import pytest
from parameter_counts import RESNET_BUILDER, ROWS

from cifarzoo.models.macs import macs
from cifarzoo.models.registry import COMMON_ARGUMENTS, create_model
from cifarzoo.models.resnet import resnet

# Building costs milliseconds a layer, of which gated networks have thousands, and, for the wide ones, the drawing of
# their weights.
LARGE = 5_000_000
DEEP = {"cifar_skipnet74", "cifar_skipnet110"}


def parameters(row):
    slow = row.total_10 > LARGE or row.model in DEEP
    return pytest.param(row, id=str(row), marks=[pytest.mark.slow] if slow else [])


def sizes(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights), model.count_params()


@pytest.mark.parametrize("row", [parameters(row) for row in ROWS])
def test_parameters(row):
    ten = create_model(row.model, **row.arguments)
    assert sizes(ten) == (row.trainable_10, row.total_10)
    if row.millions_of_macs:
        assert macs(ten) / 1e6 == pytest.approx(row.millions_of_macs, rel=1e-3)
    keras.utils.clear_session()
    hundred = create_model(row.model, **row.arguments, classes=100)
    assert sizes(hundred) == (row.trainable_100, row.total_100)


@pytest.mark.parametrize(
    "depth, shortcut_type, trainable_10, total_10, trainable_100, total_100, millions", RESNET_BUILDER
)
def test_parameters_of_other_depths(depth, shortcut_type, trainable_10, total_10, trainable_100, total_100, millions):
    options = COMMON_ARGUMENTS | {"name": "resnet", "statistics": "cifar10"}
    model = resnet(depth, "original", shortcut_type, **options)
    assert sizes(model) == (trainable_10, total_10)
    assert macs(model) / 1e6 == pytest.approx(millions, rel=1e-3)
    options["classes"] = 100
    assert sizes(resnet(depth, "original", shortcut_type, **options)) == (trainable_100, total_100)
