"""The tables of docs/studies.md are those of the measured results."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from run_results import RESULTS
from scipy import stats
from test_tables import LOG

from cifarzoo.experiment.files import read_experiments
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.results import Results

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


def test_uniform_lists_are_one_row_and_a_winner_is_below_their_prediction_interval(tables):
    random = np.random.default_rng(0)
    errors = random.normal(30, 0.5, 9)
    row = {"split": "validation", "n": 1, "error_std": None, "nll_mean": 1.0, "train_error_mean": None}
    row |= {"augmented_error_mean": 25.0}
    rows = {
        f"reduced-uniform{number}": row
        | {"error_mean": error, "augmented_error_mean": 20.0 + number, "nll_mean": 0.5 + number / 10}
        for number, error in enumerate(errors, start=1)
    }
    interval = stats.t(8, errors.mean(), errors.std(ddof=1) * (1 + 1 / 9) ** 0.5)
    for chance, verdict in ((0.008, "beats"), (0.009, "is not shown to beat")):
        searched = row | {"n": 3, "error_mean": interval.ppf(chance), "error_std": 0.2}
        lines = tables.table({"policies": rows | {"reduced-band": searched}}, "policies").splitlines()
        assert (
            f"| uniform (9 lists) | validation | 9 | {errors.mean():.2f} ± {errors.std(ddof=1):.2f} | 1.000 | 25.0 |"
            in lines
        )
        assert lines[-1].startswith(f"* `band` {verdict} uniform lists: ") and len(lines) == 6


def test_a_timed_row_has_its_minutes_and_its_share_of_the_processors_peak(tables):
    row = {"split": "validation", "n": 1, "error_mean": 8.0, "error_std": None, "nll_mean": 0.25, "train_error_mean": 3}
    row |= {"minutes_mean": 50.0, "operations": 3e14, "device": "EPYC, bfloat16"}  # 1e11 operations per second
    results = {"hour": {"hour-sgd": row}, "peak": {"EPYC, float32": 1e11, "EPYC, bfloat16": 2.5e11}}
    lines = tables.table(results, "hour").splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2] == "| sgd | validation | 1 | 8.00 | 0.250 | 3.00 | 50.0 | 40 |"


def test_arms_of_an_hour_take_the_time_of_40_epochs_and_their_teacher_has_a_file():
    """In epochs of SGD on full-size images."""
    hour, (teacher,) = (read_experiments(ROOT / f"benchmarks/studies/{name}.yaml") for name in ("hour", "teacher"))
    for one in hour:
        parameters = one.train_parameters
        epochs, begin = parameters.schedule.duration.epochs, 0
        time = 10 if one.teacher else 0
        for stage in parameters.progressive_resizing:
            time += (stage.until.epochs - begin) * (stage.size / 32) ** 2
            begin = stage.until.epochs
        time += epochs - begin
        if parameters.optimizer.name == "Muon":
            time += 0.11 * epochs * 128 / parameters.batch_size
        assert time == pytest.approx(40, abs=0.4), one.name
    (taught,) = (one for one in hour if one.teacher)
    assert taught.teacher.names == [str(RunFolder.of(teacher, 0).path)]


def test_arithmetic_of_a_run_is_that_of_the_papers_network(tables, tmp_path):
    experiment = Experiment.model_validate(
        {
            "model": "cifar_resnet20",
            "model_parameters": {"block_type": "original", "shortcut_type": "A"},
            "dataset": "synthetic",
            "precision": "bfloat16",
            "train_parameters": {
                "logdir": str(tmp_path),
                "progressive_resizing": [{"size": 16, "until": {"steps": 30}}],
                "schedule": {"kind": "constant", "learning_rate": 0.1, "duration": {"steps": 50}},
            },
        }
    )
    run = RunFolder.of(experiment, 0)
    run.path.mkdir(parents=True)
    run.write_config(experiment)
    run.write_results(Results.model_validate(RESULTS | {"device": "EPYC, 1 core"}))
    stem, convolution, classifier = 27 * 16 * 32**2, 9 * 16 * 16 * 32**2, 640
    macs = stem + 6 * convolution + 2 * (convolution / 2 + 5 * convolution) + classifier  # the first of a stage halves
    measured = tables.arithmetic(run)
    assert measured["device"] == "EPYC, 1 core, bfloat16"
    images = 128 * (20 + 30 / 4)  # thirty steps on a quarter of the pixels
    assert measured["operations"] == pytest.approx(6 * macs * images, rel=1e-9)


def write_runs(folder, name, devices):
    """Write finished seeds of one experiment, each with its device and a log; return the experiment's folder."""
    train_parameters = {"logdir": str(folder), "run_name": name, "lr_values": [0.1], "lr_boundaries": [20]}
    experiment = Experiment.model_validate(
        {"model": "cifar_resnet20", "dataset": "synthetic", "train_parameters": train_parameters}
    )
    for seed, device in enumerate(devices):
        run = RunFolder.of(experiment, seed)
        run.path.mkdir(parents=True)
        run.write_config(experiment)
        changed = {"name": name, "seed": seed, "device": device, "fingerprint": experiment.fingerprint()}
        run.write_results(Results.model_validate(RESULTS | changed))
        run.log_path.write_text(LOG.format(error=50 + 2 * seed))
    return run.path.parent


def test_rows_are_means_of_finished_runs_on_one_device(tables, tmp_path):
    write_runs(tmp_path / "policies", "cutout", ["EPYC"] * 2)
    row = tables.measure(tmp_path / "policies")["cutout"]
    assert (row["n"], row["augmented_error_mean"], "device" in row) == (2, 60.0, False)
    write_runs(tmp_path / "hour", "sgd", ["EPYC, 1 core"] * 2)
    row = tables.measure(tmp_path / "hour")["sgd"]
    assert (row["device"], row["minutes_mean"]) == ("EPYC, 1 core, float32", pytest.approx(60.5 / 60))
    mixed = write_runs(tmp_path / "mixed" / "hour", "sgd", ["EPYC, 1 core", "EPYC, 2 cores"])
    with pytest.raises(SystemExit, match=f"{mixed}: seeds trained on EPYC, 1 core, float32 and on EPYC, 2 cores"):
        tables.measure(mixed.parent)
    write_runs(tmp_path / "hour" / "earlier", "sgd", ["EPYC, 1 core"])
    with pytest.raises(SystemExit, match="hour: two folders hold experiments of one name"):
        tables.measure(tmp_path / "hour")


def test_recipes_have_the_list_of_the_objective_with_the_smallest_error(tables):
    rows = json.loads(tables.RESULTS.read_text(encoding="utf-8"))["policies"]
    best = min(tables.OBJECTIVES, key=lambda name: rows[name]["error_mean"])
    list_path = ROOT / f"benchmarks/studies/lists/{best.removeprefix('reduced-')}.yaml"
    assert (ROOT / "recipes/policies/searched_cifar10.yaml").read_bytes() == list_path.read_bytes()


def test_every_row_is_an_experiment_of_the_shipped_files(tables):
    names = {
        file: {one.name for one in read_experiments(ROOT / f"benchmarks/studies/{file}.yaml")} for file in tables.FILES
    }
    results = json.loads(tables.RESULTS.read_text(encoding="utf-8"))
    assert all(set(results[file]) <= names[file] for file in names)
    assert set(results["chosen"]) <= names["rates"]
    assert all(
        part == "chosen" or any(name.startswith(prefix) for name in names[part])
        for rows in tables.TABLES.values()
        for part, prefix in rows
    )


def test_settings_are_chosen_on_validation_and_factors_measured_on_test():
    rates, hour, teacher, factors = (
        read_experiments(ROOT / f"benchmarks/studies/{kind}.yaml") for kind in ("rates", "hour", "teacher", "factors")
    )
    assert {(one.train_split, one.val_split) for one in (*rates, *hour, *teacher)} == {("train45k", "validation")}
    assert {(one.train_split, one.val_split) for one in factors} == {("train45k", "test")}


def test_the_best_rates_are_measured_on_test_and_the_factors_have_that_of_sgd(tables):
    results = json.loads(tables.RESULTS.read_text(encoding="utf-8"))
    if not results["factors"]:
        pytest.skip("no factor has been measured yet")
    rates, factors = (read_experiments(ROOT / f"benchmarks/studies/{kind}.yaml") for kind in ("rates", "factors"))
    assert set(results["rates"]) == {one.name for one in rates}
    best = {}
    for optimizer in ("sgd", "adamw", "muon"):
        candidates = [one for one in rates if one.name.startswith(optimizer)]
        best[optimizer] = min(candidates, key=lambda one: results["rates"][one.name]["error_mean"])
    assert {one.name for one in best.values()} == set(results["chosen"])
    assert {row["split"] for row in results["chosen"].values()} == {"test"}
    peak = best["sgd"].train_parameters.schedule.peak
    assert {one.train_parameters.schedule.peak for one in factors} == {peak}
