"""The JSON schema of experiments files: up to date, valid, complete, and in agreement with the reader."""

import json
from pathlib import Path

import pytest

from cifarzoo.experiment.json_schema import SCHEMA, text
from cifarzoo.experiment.schema import Experiment
from cifarzoo.experiment.train_parameters import TrainParameters
from cifarzoo.strict_yaml import parse, parse_all

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def schema():
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_that_of_the_models_and_the_docs():
    """Otherwise run `python -m cifarzoo.experiment.json_schema`."""
    assert SCHEMA.read_text(encoding="utf-8") == text()


def test_every_key_is_described(schema):
    keys = set(Experiment.model_fields) - {"in_memory"} | {"recipe", "grid", "seed"}
    assert set(schema["properties"]) == keys
    parameters = schema["$defs"]["TrainParameters"]["properties"]
    assert set(parameters) == set(TrainParameters.model_fields)
    described = {key for key, value in (schema["properties"] | parameters).items() if value.get("description")}
    assert described == (keys | set(parameters)) - {"train_parameters", "seed"}


def test_shipped_files_fit(validator):
    for path in (
        ROOT / "experiments.yaml",
        *sorted(set((ROOT / "recipes").glob("*.yaml")) - {ROOT / "recipes/zoo.yaml"}),
    ):
        for document in parse_all(path.read_text(encoding="utf-8"), str(path)):
            assert not list(validator.iter_errors(document)), path
    first = (ROOT / "experiments.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA.relative_to(ROOT).as_posix()}"


@pytest.mark.parametrize(
    ("document", "fits"),
    [
        ("recipe: he2016", True),
        ("recipe: a\ntrain_parameters: {schedule: {peak: 2}, val_interval: 5 epochs}", True),
        ("model: a\naugmentation: [crop, {crop: null}, {policies: {file: x.yaml}}, {cutout: {size: 8.0}}]", True),
        (
            "model: a\ntrain_parameters: {schedule: {kind: stepped, learning_rate: 1, factors: [1], boundaries: [5]}}",
            True,
        ),
        ("grid: {model: {a: b}, train_parameters.momentum: [0.1]}", True),
        ("dataset: cifar10", False),
        ("model: a\nlr: 1", False),
        ("model: a\ntrain_parameters: {momentum: 1}", False),
        ("model: a\ntrain_parameters: {batch_size: yes}", False),
        ("model: a\ntrain_parameters: {schedule: {kind: cosin}}", False),
        ("model: a\naugmentation: [crop, {crop: {size: 3}}]", False),
        ("model: a\nseeds: [-1]", False),
        ("model: a\ngrid: {xla: []}", False),
    ],
)
def test_what_fits(validator, document, fits):
    assert validator.is_valid(parse(document, "")) is fits
