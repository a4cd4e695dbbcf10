"""Exact sizes of the models against the papers' code and independent zoos.

test_models_catalogue.py compares what all factories build by default.
"""

import math

import keras
import pytest
from parameter_counts import RESNET_BUILDER, ROWS, is_default

from cifarzoo.models.catalogue import find
from cifarzoo.models.macs import macs
from cifarzoo.models.registry import COMMON_ARGUMENTS, create_model
from cifarzoo.models.resnet import resnet


def smallest_of_each_family():
    """Return the rows that the quick tests build: one per family."""
    by_family = {}
    for row in sorted(ROWS, key=lambda row: row.total_10, reverse=True):
        by_family[find(row.model).family] = row
    return list(by_family.values())


QUICK = smallest_of_each_family()
BUILT = [row for row in ROWS if row in QUICK or not is_default(row)]


def parameters(row):
    return pytest.param(row, id=str(row), marks=[] if row in QUICK else [pytest.mark.slow])


def sizes(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights), model.count_params()


@pytest.mark.parametrize("row", [parameters(row) for row in BUILT])
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
