"""Publishing and the factory, end to end on a small run of the embedded data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from cifarzoo.errors import ExperimentError
from cifarzoo.factory import Factory, parse_budget, read_rows

ROOT = Path(__file__).parent.parent

ROWS = """
recipes:
  brief:
    train_parameters:
      schedule: {kind: cosine, peak: 0.05, duration: 6}
common:
  train_parameters: {batch_size: 32, log_interval: 3, val_interval: 6, checkpoint_interval: 2, steps_per_call: 2}
rows:
  - {name: resnet20_v1, model: cifar_resnet20, dataset: synthetic, recipes: [brief], seeds: [0]}
"""


def test_half_precision_copy_is_half_as_large_and_loads(tmp_path):
    import cifarzoo
    from cifarzoo.publishing import halve

    model = cifarzoo.cifar_resnet32()
    model.save_weights(tmp_path / "full.weights.h5")
    halve(tmp_path / "full.weights.h5", tmp_path / "half.weights.h5")
    sizes = [(tmp_path / f"{name}.weights.h5").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    other = cifarzoo.cifar_resnet32(load_weights=str(tmp_path / "half.weights.h5"))
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_array_equal(b, a.astype(np.float16).astype(np.float32))
    with h5py.File(tmp_path / "half.weights.h5") as file:
        types = set()
        file.visititems(lambda _, node: types.add(node.dtype) if hasattr(node, "dtype") else None)
    assert np.dtype(np.float16) in types and np.dtype(np.float32) not in types


@pytest.mark.parametrize(("text", "seconds"), [("20m", 1200), ("1.5h", 5400), ("90s", 90)])
def test_budget(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["20", "m", "-3m", "20 minutes"])
def test_bad_budget(text):
    with pytest.raises(ExperimentError, match="for example 20m"):
        parse_budget(text)


def test_wanted_rows_are_valid_and_differ():
    rows = read_rows(ROOT / "recipes" / "zoo.yaml", "runs")
    assert len({row.tag for row in rows}) == len(rows) >= 20
    first = next(row for row in rows if row.tag == "resnet20_v2_cifar10_he2015_s0")
    assert first.experiment.model_parameters == {"block_type": "preactivated"}
    assert first.experiment.train_parameters.resolved_schedule().total(first.experiment.lengths(50_000)) == 64_000


def test_unknown_recipe_is_named(tmp_path):
    (tmp_path / "rows.yaml").write_text(ROWS.replace("recipes: [brief]", "recipes: [long]"))
    with pytest.raises(ExperimentError, match="row 1: unknown recipe 'long'; the file has brief"):
        read_rows(tmp_path / "rows.yaml", "runs")


def test_recipe_in_a_file_of_its_own(tmp_path):
    (tmp_path / "quick.yaml").write_text("model: other\ntrain_parameters: {batch_size: 64, weight_decay: 0.5}\n")
    (tmp_path / "rows.yaml").write_text(
        ROWS.replace("common:", "  quick: quick.yaml\ncommon:").replace("[brief]", "[quick]")
    )
    (row,) = read_rows(tmp_path / "rows.yaml", "runs")
    parameters = row.experiment.train_parameters
    assert (row.tag, row.experiment.model) == ("resnet20_v1_synthetic_quick_s0", "cifar_resnet20")
    assert (parameters.batch_size, parameters.weight_decay, parameters.log_interval.steps) == (64, 0.5, 3)
    (tmp_path / "quick.yaml").write_text("- 3")
    with pytest.raises(ExperimentError, match="quick.yaml: expected a mapping with keys of an experiment"):
        read_rows(tmp_path / "rows.yaml", "runs")
    (tmp_path / "quick.yaml").unlink()
    with pytest.raises(ExperimentError, match="quick.yaml: cannot be read"):
        read_rows(tmp_path / "rows.yaml", "runs")


def test_rows_are_trained_in_a_precision_that_is_fast_here(tmp_path, monkeypatch):
    text = ROWS.replace("common:\n", "common:\n  precision: bfloat16\n")
    (tmp_path / "rows.yaml").write_text(text)
    rows = read_rows(tmp_path / "rows.yaml", str(tmp_path / "runs"))

    def precision(fast):
        monkeypatch.setattr("cifarzoo.factory.slow_precision", lambda experiment: None if fast else "slow")
        return Factory(rows, tmp_path)._rows[0].experiment.precision

    assert (precision(True), precision(False)) == ("bfloat16", "float32")
    begun = tmp_path / "runs/resnet20_v1_synthetic_brief/seed0"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text("model: cifar_resnet20\nprecision: bfloat16\n")
    assert precision(False) == "bfloat16"
    (begun / "config.yaml").write_text("model: cifar_resnet20\nprecision: bflo")
    assert precision(False) == "float32"


@pytest.mark.parametrize(
    "text, message",
    [
        ("recipes: 3\nrows: []", "expected mappings `recipes` and `common` and a list `rows`"),
        ("- 3", "rows.yaml: expected a mapping with recipes, common and rows"),
        ("recipes: {a: [3]}\nrows: []", "recipe a: expected keys of an experiment or a file's name, got .3."),
    ],
)
def test_bad_rows_are_one_line(tmp_path, text, message):
    (tmp_path / "rows.yaml").write_text(text)
    with pytest.raises(ExperimentError, match=message):
        read_rows(tmp_path / "rows.yaml", "runs")


def factory(folder, *options):
    command = [sys.executable, "-m", "cifarzoo", "factory", "--rows", "rows.yaml", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CIFARZOO_WEIGHTS": "weights"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200, env=environment)


def test_factory_trains_publishes_and_then_has_nothing_left(tmp_path):
    (tmp_path / "rows.yaml").write_text(ROWS)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "manifest.json").write_text("[]")
    first = factory(tmp_path, "--budget", "1h")
    assert first.returncode == 0, first.stderr[-3000:]
    assert "resnet20_v1_synthetic_brief_s0: published, error" in first.stdout
    (entry,) = json.loads((tmp_path / "weights/manifest.json").read_text())
    assert entry["metrics"]["n"] == 2000 and entry["training"]["recipe"] == "brief" and entry["default"]
    for suffix in ("weights.h5", "golden.npz", "md", "log.tsv"):
        assert (tmp_path / f"weights/resnet20_v1_synthetic_brief_s0.{suffix}").is_file()
    evaluated = subprocess.run(
        [sys.executable, "-m", "cifarzoo", "evaluate", "cifar_resnet20", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CIFARZOO_WEIGHTS": "weights"},
    )
    assert json.loads(evaluated.stdout)["error"] == entry["metrics"]["error"]
    again = factory(tmp_path, "--budget", "1h")
    assert again.returncode == 0 and again.stdout == ""
