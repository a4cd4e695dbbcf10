"""Comparisons of runs, with results written by hand."""

import json
import math
import sys

import numpy as np
import pytest
from evaluation_cases import run_cli
from test_tables import LOG, RESULTS

from cifarzoo.errors import DataError
from cifarzoo.evaluation.compare import compare, mcnemar_test, paired_t_test
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.results import Results
from cifarzoo.runs.tables import summarize


def write_runs(logdir, name, errors, **parameters):
    """Finished seeds of an experiment, without weights."""
    document = {
        "model": "cifar_resnet20",
        "seeds": list(errors),
        "train_parameters": {"logdir": str(logdir), "run_name": name} | parameters,
    }
    experiment = Experiment.model_validate(document)
    for seed, error in errors.items():
        folder = RunFolder.of(experiment, seed)
        folder.path.mkdir(parents=True)
        folder.write_config(experiment)
        test = {"error": error, "nll": 1.0, "n": 10000}
        changed = {"name": name, "seed": seed, "fingerprint": experiment.fingerprint(), "test": test}
        folder.write_results(Results.model_validate(RESULTS | changed))
        folder.log_path.write_text(LOG.format(error=error))
    return folder.path.parent


@pytest.fixture
def runs(tmp_path):
    return (
        write_runs(tmp_path, "a", {0: 9.0, 1: 8.0, 2: 8.5}, weight_decay=1e-4),
        write_runs(tmp_path, "b", {0: 8.4, 1: 7.7, 2: 7.9, 5: 1.0}, weight_decay=5e-4, nesterov=True),
    )


def test_experiments_are_compared_over_the_seeds_that_both_have(runs):
    found = compare(list(map(str, runs)))
    assert [(group.name, len(group.subjects)) for group in found.groups] == [("a", 3), ("b", 4)]
    assert found.groups[0].as_row()["error_mean"] == 8.5 and found.groups[0].as_row()["error_std"] == 0.5
    decay = ("train_parameters.weight_decay", [1e-4, 5e-4])
    assert decay in found.settings and {key for key, _ in found.settings} <= {decay[0], "train_parameters.nesterov"}
    (test,) = found.tests
    differences = np.array([-0.6, -0.3, -0.6])
    error = differences.std(ddof=1) / math.sqrt(3)
    assert (test.n, test.difference) == (3, pytest.approx(-0.5))
    # Of Student's t with two degrees of freedom: P(|T| > t) = 1 - t / sqrt(t^2 + 2), and 4.3027 is its 97.5 % quantile.
    t = 0.5 / error
    assert test.p == pytest.approx(1 - t / math.sqrt(t * t + 2), rel=1e-9)
    assert (test.low, test.high) == pytest.approx((-0.5 - 4.3027 * error, -0.5 + 4.3027 * error), abs=1e-4)


def test_equal_differences_need_no_test():
    test = paired_t_test("a", "b", [9.0, 8.0], [8.5, 7.5])
    assert (test.difference, test.p) == (-0.5, None) and "same difference" in test.remark


def test_two_networks_are_compared_on_their_images():
    wrong, other = np.zeros(1000, bool), np.zeros(1000, bool)
    wrong[:30] = other[20:40] = True  # 20 only the first, 10 only the second
    test = mcnemar_test("a", "b", wrong, other)
    tail = sum(math.comb(30, k) for k in range(11)) / 2**30
    assert test.p == pytest.approx(2 * tail) and test.difference == -1.0
    error = 100 * math.sqrt(30 - 10**2 / 1000) / 1000
    assert (test.low, test.high) == pytest.approx((-1 - 1.96 * error, -1 + 1.96 * error))
    assert mcnemar_test("a", "b", wrong, wrong).p == 1


def test_what_cannot_be_compared_says_why(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARZOO_DATA", str(tmp_path / "no data"))
    (test,) = compare([str(runs[0] / "seed0"), str(runs[1] / "seed5")]).tests
    assert test.kind == "none" and test.difference == -8 and "predictions cannot be compared: " in test.remark
    file = runs[1] / "seed0" / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"dataset": "cifar100"}))
    (test,) = compare([str(runs[0]), str(runs[1] / "seed0")]).tests
    assert test.remark == "measured on different images: test of cifar10, test of cifar100"
    with pytest.raises(DataError, match="two or more"):
        compare([str(runs[0])])
    with pytest.raises(DataError, match="neither a finished run nor the folder of an experiment"):
        compare([str(runs[0]), str(tmp_path)])


def test_seeds_of_different_experiments_are_told_apart_by_what_differs(runs, tmp_path):
    """For example after `precision: auto` on two machines, only one of which has bfloat16."""
    mixed = write_runs(tmp_path, "mixed", {0: 9.0})
    other = RunFolder(write_runs(tmp_path / "elsewhere", "mixed", {1: 8.0}) / "seed1")
    experiment = other.experiment().model_copy(update={"precision": "bfloat16"})
    other.write_config(experiment)
    other.write_results(other.results().model_copy(update={"fingerprint": experiment.fingerprint()}))
    other.path.rename(mixed / "seed1")
    assert [(row["experiment"], row["errors"]) for row in summarize([tmp_path / "mixed"])] == [
        ("mixed (precision: float32)", {"0": 9.0}),
        ("mixed (precision: bfloat16)", {"1": 8.0}),
    ]
    line = r"mixed: its seeds are runs of different experiments \(precision: float32 / bfloat16\); name one run"
    with pytest.raises(DataError, match=line):
        compare([str(mixed), str(runs[0])])
    (mixed / "seed1" / "config.yaml").unlink()
    assert [row["experiment"] for row in summarize([mixed])] == ["mixed (seeds: 0)", "mixed (seeds: 1)"]
    with pytest.raises(DataError, match="mixed: its seeds are runs of different experiments; name one run"):
        compare([str(mixed), str(runs[0])])


def test_of_one_seed_in_common_the_two_networks_are_compared(tmp_path, monkeypatch):
    first, second = (write_runs(tmp_path, *run) for run in (("a", {0: 9.0, 1: 8.0}), ("b", {1: 7.0, 2: 6.0})))
    other = write_runs(tmp_path, "c", {3: 5.0})
    compared = []

    def test_on_images(first, second, a, b, data_dir):
        compared.append((a.seed, b.seed))
        return mcnemar_test(first, second, np.array([True, False]), np.array([False, False]))

    monkeypatch.setattr("cifarzoo.evaluation.compare._test_on_images", test_on_images)
    tests = compare([str(first), str(second), str(other), str(second / "seed2")]).tests
    assert compared == [(1, 1), (0, 3), (0, 2)]
    assert tests[0].remark.startswith("seed 1 and seed 1: only the first network misclassifies 1")
    assert tests[1].remark.startswith("seed 0 and seed 3: ")
    (test,) = compare([str(first / "seed1"), str(other)]).tests
    assert test.remark.startswith("only the first network")


@pytest.mark.parametrize(
    "missing, options, message",
    [
        ("scipy", [], 'paired tests need scipy: pip install "matplotlib>='),
        ("jinja2", ["--curves", "c.svg"], "pictures need jinja2"),
        ("matplotlib", [], None),
    ],
)
def test_a_comparison_demands_only_the_packages_that_it_uses(runs, monkeypatch, capsys, missing, options, message):
    monkeypatch.setitem(sys.modules, missing, None)
    status, out, errors = run_cli(monkeypatch, capsys, "compare", *runs, *options)
    assert (status, bool(out)) == ((1, False) if message else (0, True))
    assert len(errors) == bool(message) and (message or "") in "".join(errors)


def test_the_command_prints_tables_and_draws_the_curves(runs, tmp_path, monkeypatch, capsys):
    status, out, errors = run_cli(monkeypatch, capsys, "compare", *runs, "--curves", tmp_path / "c.svg")
    assert (status, errors) == (0, []) and (tmp_path / "c.svg").read_bytes().startswith(b"<?xml")
    assert "| a | cifar10 | test | 3 | 8.50 | 0.50 |" in out
    assert "| train_parameters.weight_decay | 0.0001 | 0.0005 |" in out
    assert "| b | -0.50 |" in out and "paired t-test over seeds" in out
    status, out, _ = run_cli(monkeypatch, capsys, "compare", *runs, "--format", "json")
    assert json.loads(out)["groups"][1]["errors"] == {"0": 8.4, "1": 7.7, "2": 7.9, "5": 1.0}
