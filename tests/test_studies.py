"""The tables of docs/studies.md are those of the measured results."""

import importlib.util
import json
from pathlib import Path

import pytest

from cifarzoo.experiment.files import read_experiments

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("studies_tables", ROOT / "benchmarks/studies/tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_measured_tables(tables):
    results = json.loads(tables.RESULTS.read_text(encoding="utf-8"))
    page = tables.PAGE.read_text(encoding="utf-8")
    for study in tables.TABLES:
        begin, end = tables.marks(study)
        assert page.partition(begin)[2].partition(end)[0].strip() == tables.table(results, study)


def test_every_row_is_an_experiment_of_the_shipped_files(tables):
    names = {
        file: {one.name for one in read_experiments(ROOT / f"benchmarks/studies/{file}.yaml")} for file in tables.FILES
    }
    results = json.loads(tables.RESULTS.read_text(encoding="utf-8"))
    assert all(set(results[file]) <= names[file] for file in names)
    assert all(set(rows) <= names[file] for file, rows in tables.TABLES.values() if rows)


def test_rates_are_chosen_on_validation_and_factors_measured_on_test():
    rates, factors = (read_experiments(ROOT / f"benchmarks/studies/{kind}.yaml") for kind in ("rates", "factors"))
    assert {(one.train_split, one.val_split) for one in rates} == {("train45k", "validation")}
    assert {(one.train_split, one.val_split) for one in factors} == {("train", "test")}


def test_the_factors_have_the_rates_with_the_smallest_errors(tables):
    results = json.loads(tables.RESULTS.read_text(encoding="utf-8"))
    if not results["factors"]:
        pytest.skip("no factor has been measured yet")
    errors = results["rates"]
    rates, factors = (read_experiments(ROOT / f"benchmarks/studies/{kind}.yaml") for kind in ("rates", "factors"))
    assert set(errors) == {one.name for one in rates}
    for optimizer in ("sgd", "adamw", "muon"):
        candidates = [one for one in rates if one.name.startswith(optimizer)]
        best = min(candidates, key=lambda one: errors[one.name]["error_mean"])
        users = [one for one in factors if _optimizer(one) == _optimizer(best)]
        assert users and {one.train_parameters.schedule.peak for one in users} == {best.train_parameters.schedule.peak}


def _optimizer(experiment):
    return getattr(experiment.train_parameters.optimizer, "name", "SGD")
