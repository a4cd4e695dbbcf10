"""What `cifarzoo train --dry-run` prints: needs no data, continues after errors, builds equal networks once."""

import pytest
import yaml
from evaluation_cases import run_cli

from cifarzoo.experiment.files import read_experiments
from cifarzoo.search.plan import read_plan
from cifarzoo.training import dry_run, estimate
from cifarzoo.training.estimate import Cost

GRID = """
model: cifar_resnet20
data_dir: /no/such/folder
grid:
  train_parameters.weight_decay: [1.0e-4, 2.0e-4, 3.0e-4, 4.0e-4, 5.0e-4]
  train_parameters.batch_size: [32, 64, 128, 256]
  train_parameters.momentum: [0.5, 0.8, 0.9, 0.95, 0.99]
"""


@pytest.fixture
def built(monkeypatch):
    """The networks whose cost is measured, each in 10 GFLOP per image at 1 TFLOP/s."""
    seen = []

    def measure(job):
        seen.append(job.experiment.model)
        model = estimate._fresh_model(job, 0)
        return Cost(10**10 // 6, 271_098, 1e12, file_size=estimate.weight_file_size(model))

    monkeypatch.setattr(estimate, "_measure_prediction", measure)
    monkeypatch.setattr(estimate, "probe", lambda *device: 1e12)
    return seen


def plan(tmp_path, capsys, text):
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    failures = dry_run.print_plan(read_experiments(tmp_path / "e.yaml"))
    out, err = capsys.readouterr()
    return failures, out, err


def test_a_grid_shows_shared_settings_once_and_builds_its_network_once(tmp_path, capsys, built):
    failures, out, err = plan(tmp_path, capsys, GRID)
    assert not failures and not err
    assert built == ["cifar_resnet20"]
    assert len(out.splitlines()) < 600
    first, *others = yaml.safe_load_all(out)
    assert first["train_parameters"]["schedule"]["boundaries"][0] == {"steps": 400}
    assert len(others) == 100
    assert "model" not in others[7]
    assert {"weight_decay", "batch_size", "momentum", "run_name"} <= set(others[7]["train_parameters"])
    # 64,000 steps of 120 images on average, 1e10 operations each
    assert out.splitlines()[-1] == "# total: 100 runs, about 2,133 h (89 days) one after another"


def test_long_lists_are_printed_in_part(tmp_path, capsys, built):
    boundaries = list(range(100, 3400, 100))
    schedule = {"kind": "stepped", "values": [0.1] * 33, "boundaries": boundaries}
    text = yaml.safe_dump({"model": "cifar_resnet20", "train_parameters": {"schedule": schedule}})
    failures, out, err = plan(tmp_path, capsys, text)
    assert not failures and not err
    schedule = yaml.safe_load(out)["train_parameters"]["schedule"]
    assert schedule["values"] == [0.1, 0.1, 0.1, "and 30 more"]
    assert schedule["boundaries"] == [{"steps": 100}, {"steps": 200}, {"steps": 300}, "and 30 more"]


def test_errors_name_the_document_and_the_others_follow(tmp_path, capsys, built):
    text = (
        "model: cifar_resnet32\nmodel_parameters: {depth: 3}\n---\nmodel: net\nmodule: no_such_module\n---\n"
        "model: cifar_resnet20\nseeds: [0, 1]\ntrain_parameters: {ema_decay: 0.99999}\n"
    )
    failures, out, err = plan(tmp_path, capsys, text)
    assert failures == 2 and len(err.splitlines()) == 2
    assert "e.yaml, document 1 (cifar_resnet32): " in err and "depth" in err
    assert "e.yaml, document 2 (net): module: cannot import 'no_such_module'" in err
    assert "# cifar_resnet20: 2 runs of 64,000 steps = 8,192,000 images (163.8 epochs), 271,098 parameters\n" in out
    assert "about 23 h each at 1,000 GFLOP/s" in out
    assert "warning: train_parameters.ema_decay: 0.99999 over 64000 steps leaves 53 % of the initial weights" in out
    assert "0.999928 leaves 1 %" in out
    assert out.splitlines()[-1] == "# total: 2 runs, about 46 h one after another"


def test_kept_files_have_the_size_that_the_check_before_training_counts(tmp_path, capsys, built):
    text = "model: cifar_resnet20\ntrain_parameters: {schedule: {kind: constant, learning_rate: 0.1, duration: %d}, "
    _, out, _ = plan(tmp_path, capsys, text % 760 + "keep: {every: 1}}\n")
    assert "# keeps 760 files of about 1.35 MB, 1.03 GB per run\n# warning: will not be trained: train_param" in out
    assert "760 files of 1.35 MB are 1.03 GB per run, more than at_most, 1 GB; keep fewer" in out
    _, out, _ = plan(tmp_path, capsys, text % 690 + "keep: {every: 1}}\n")
    assert "# keeps 690 files" in out and "will not be trained" not in out


@pytest.mark.parametrize(
    "hours, text", [(0.01, "0.6 min"), (0.25, "0.25 h"), (9.94, "9.9 h"), (13, "13 h"), (1344, "1,344 h (56 days)")]
)
def test_durations(hours, text):
    assert dry_run.duration_text(hours) == text


def test_a_search_shows_its_plan_and_the_cost_of_networks_and_table(tmp_path, monkeypatch, capsys, built):
    networks = {
        "model": "cifar_resnet20",
        "data_dir": "/no/such/folder",
        "train_parameters": {"lr_boundaries": [9, 75]},
    }
    networks["train_parameters"]["lr_values"] = [0.1, 0.01]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"networks": networks, "folds": 3, "folder": str(tmp_path / "s")}))
    status, out, errors = run_cli(monkeypatch, capsys, "search", str(tmp_path / "s.yaml"), "--dry-run")
    assert (status, errors) == (0, []) and built == ["cifar_resnet20"] and not (tmp_path / "s").exists()
    shown = yaml.safe_load(out)
    assert shown["levels"] == 11 and shown["networks"]["train_parameters"]["schedule"]["boundaries"][1] == {"steps": 75}
    # The printed plan is a plan.
    (tmp_path / "again.yaml").write_text(out)
    assert read_plan(tmp_path / "again.yaml").fingerprint() == read_plan(tmp_path / "s.yaml").fingerprint()
    # 75 x 128 images of 1e10 operations; a prediction has a third of a training image's.
    assert "# fold1: 1 run of 75 steps = 9,600 images (4.0 epochs), 271,098 parameters\n" in out
    assert "# table: 3 networks x 93 x 93 sub-policies x 400 images = 10,378,800 predictions, 34.6 PFLOP" in out
    assert out.splitlines()[-1] == "# total: about 9.7 h one after another"
    status, out, errors = run_cli(
        monkeypatch, capsys, "search", "--dry-run", "--objective", "uniform", str(tmp_path / "s.yaml")
    )
    assert (status, errors) == (0, []) and "# lists: uniform; no networks and no table" in out
