"""Tables over seeds against numbers worked by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from run_results import RESULTS

from cifarzoo.cli.output import columns_of, format_rows
from cifarzoo.errors import DataError
from cifarzoo.runs.tables import read_table, sorted_rows, summarize, summarize_file

LOG = (
    "step\tepoch\tloss\terror\tgradient_norm\tval_loss\tval_error\tweight_norm\ttrain_loss\ttrain_error\n"
    "10\t0.5\t2\t80\t3\t\t\t\t\t\n"
    "20\t1\t1.5\t60\t2\t1.25\t{error}\t4\t1\t40\n"
)

RUN = RESULTS | {
    "test": {"error": 50.0, "nll": 1.0, "n": 10000},
    "seconds": 60.0,
    "images_per_second": 42.7,
    "versions": {},
}


@pytest.fixture
def runs(tmp_path):
    """Four seeds of an experiment with final errors 50, 52, 54, 56, each with a log."""
    for seed in range(4):
        folder = tmp_path / "runs" / "net" / f"seed{seed}"
        folder.mkdir(parents=True)
        results = RUN | {"seed": seed}
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "log.tsv").write_text(LOG.format(error=50 + 2 * seed))
    return tmp_path / "runs"


def test_mean_and_deviation_of_every_column_over_seeds(runs):
    (row,) = summarize_file([runs], "log.tsv")
    assert (row["experiment"], row["dataset"], row["n"]) == ("net", "cifar10", 4)
    assert row["val_error_mean"] == 53 and row["val_error_std"] == pytest.approx(np.sqrt(20 / 3))
    assert row["loss_mean"] == 1.5 and row["loss_std"] == 0 and row["weight_norm_mean"] == 4
    lines = format_rows([row], columns_of([row]), "tsv").splitlines()
    assert dict(zip(*(line.split("\t") for line in lines), strict=True))["val_error_mean"] == "53.000"


def test_a_run_that_is_below_several_folders_counts_once(runs, monkeypatch):
    monkeypatch.chdir(runs.parent)
    (expected,) = summarize([runs])
    assert expected["n"] == 4
    folders = [Path("runs/net/seed0"), Path("runs/net/seed1/.."), runs, Path("runs"), runs / "net"]
    assert summarize(folders) == [expected]


def test_columns_that_some_seed_lacks_are_left_out(runs):
    (runs / "net" / "seed1" / "log.tsv").write_text("step\tloss\tval_error\n20\t1\t\n")
    (row,) = summarize_file([runs], "log.tsv")
    assert "val_error_mean" not in row and "weight_norm_mean" not in row and row["loss_mean"] == (3 * 1.5 + 1) / 4


def test_empty_cells_are_nan(runs):
    assert np.isnan(read_table(runs / "net" / "seed0" / "log.tsv")["val_loss"][0])


def test_rows_are_sorted_by_a_column():
    rows = [{"experiment": name, "error_mean": error} for name, error in (("a", 9.0), ("b", None), ("c", 7.0))]
    names = lambda key: [row["experiment"] for row in sorted_rows(rows, key)]  # noqa: E731
    assert names("error") == names("error_mean") == ["c", "a", "b"]
    assert names("-error") == ["a", "c", "b"] and names("-experiment") == ["c", "b", "a"]
    with pytest.raises(DataError, match="--sort speed: no such column; the columns are experiment, error_mean"):
        sorted_rows(rows, "speed")
