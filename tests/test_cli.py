"""The command line as a user runs it, each command in a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from without_tensorflow import WITHOUT_TENSORFLOW

ROOT = Path(__file__).parent.parent
TINY = """
module: tiny_models
model: tiny_cnn
dataset: synthetic
seeds: [0, 1]
train_parameters:
  {logdir: runs, batch_size: 32, log_interval: 10, val_interval: 20,
   schedule: {kind: constant, learning_rate: 0.05, duration: 20}}
"""


def run(*arguments, cwd, script=False, **environment):
    start = [str(ROOT / "run_experiments.py")] if script else ["-m", "cifarzoo"]
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
    )


def error_line(result):
    """The one line of an error, after checking that there is no traceback."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if "error: " in line or "failed: " in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """A finished batch of a good experiment with two seeds and one that cannot be built."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "experiments.yaml").write_text(
        TINY + "---\nmodel: cifar_resnet20\ndataset: synthetic\nmodel_parameters: {block_type: x}\n"
    )
    return folder, run(cwd=folder, script=True)


def test_one_failing_experiment_is_reported_and_the_rest_run(batch):
    folder, result = batch
    line = error_line(result)
    assert "experiments.yaml, document 2" in line and "block_type must be 'original' or 'preactivated', got 'x'" in line
    for seed in (0, 1):
        results = json.loads((folder / f"runs/tiny_cnn/seed{seed}/results.json").read_text())
        assert results["test"]["n"] == 2000 and results["steps"] == 20
        assert f"{results['test']['error']:.2f}" in result.stdout


def test_a_run_explains_itself(batch):
    folder, _ = batch
    run_folder = folder / "runs/tiny_cnn/seed0"
    names = {path.name.split(".")[0] for path in run_folder.iterdir()}
    assert {"config", "log", "results", "checkpoint", "final", "events"} <= names
    rows = [line.split("\t") for line in (run_folder / "log.tsv").read_text().splitlines()]
    assert rows[0][:2] == ["step", "epoch"] and [row[0] for row in rows[1:]] == ["10", "20"]
    results = json.loads((run_folder / "results.json").read_text())
    assert results["versions"]["keras"] and results["device"]
    weights = (run_folder / "final.weights.h5").read_bytes()
    assert results["weights_sha256"] == hashlib.sha256(weights).hexdigest()


@pytest.mark.slow
def test_finished_runs_are_not_trained_again(batch):
    folder, _ = batch
    before = (folder / "runs/tiny_cnn/seed0/results.json").stat().st_mtime_ns
    again = run("experiments.yaml", "--only", "tiny_cnn", cwd=folder, script=True)
    assert again.returncode == 0, again.stderr
    assert (folder / "runs/tiny_cnn/seed0/results.json").stat().st_mtime_ns == before


def test_table_over_seeds(batch):
    folder, _ = batch
    errors = [json.loads((folder / f"runs/tiny_cnn/seed{s}/results.json").read_text())["test"]["error"] for s in (0, 1)]
    (row,) = json.loads(run("table", "runs", "--format", "json", cwd=folder).stdout)
    assert row["n"] == 2 and row["error_mean"] == pytest.approx(sum(errors) / 2)
    assert row["error_std"] == pytest.approx(abs(errors[0] - errors[1]) / 2**0.5)
    assert run("table", "runs", cwd=folder).stdout.startswith("| experiment |")
    assert "no such folder of runs" in error_line(run("table", "nowhere", cwd=folder))


@pytest.mark.slow
def test_eval_measures_finished_runs_again(batch, tmp_path):
    folder, _ = batch
    result = run("experiments.yaml", "--only", "tiny_cnn", "--eval", cwd=folder, script=True)
    assert result.returncode == 0, result.stderr
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines())
    assert header == ["experiment", "seed", "dataset", "train_error", "train_nll", "test_error", "test_nll"]
    for seed, row in enumerate(rows):
        found = json.loads((folder / f"runs/tiny_cnn/seed{seed}/results.json").read_text())["test"]
        assert row[:3] == ["tiny_cnn", str(seed), "synthetic"]
        assert float(row[5]) == pytest.approx(found["error"], abs=1e-3)
        assert float(row[6]) == pytest.approx(found["nll"], abs=1e-3)
    (tmp_path / "e.yaml").write_text(TINY)
    assert "not a finished run" in error_line(run("e.yaml", "--eval", cwd=tmp_path, script=True))


def test_unknown_name_after_only(batch):
    folder, _ = batch
    assert "--only nothing: not in experiments.yaml, which has tiny_cnn" in error_line(
        run("experiments.yaml", "--only", "nothing", cwd=folder, script=True)
    )


@pytest.mark.slow
def test_where_tensorflow_is_not_installed(tmp_path):
    """Keras runs on JAX without a word; TensorFlow asked for by name is missing in one line."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
    (tmp_path / "e.yaml").write_text(TINY + "backend: tensorflow\n")
    path = f"{tmp_path}:{ROOT}:{ROOT / 'tests'}"
    code = "import cifarzoo, keras; print(keras.backend.backend())"
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | {"PYTHONPATH": path}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert found.stdout == "jax\n", found.stderr
    assert "tensorflow is not installed" in error_line(run("train", "e.yaml", cwd=tmp_path, PYTHONPATH=path))


@pytest.mark.slow
def test_unwritable_logdir(tmp_path):
    (tmp_path / "e.yaml").write_text(TINY.replace("logdir: runs", "logdir: /proc/nowhere"))
    result = run("e.yaml", cwd=tmp_path, script=True)
    assert "cannot be written" in error_line_of_first_seed(result)


def error_line_of_first_seed(result):
    assert result.returncode == 1 and "Traceback" not in result.stderr
    return next(line for line in result.stderr.splitlines() if "failed: " in line)


@pytest.mark.slow
def test_a_crash_in_a_users_module_stops_its_own_experiment_only(tmp_path):
    (tmp_path / "mine.py").write_text("def broken(classes):\n    raise RuntimeError('a mistake\\nin two lines')\n")
    (tmp_path / "e.yaml").write_text("module: mine\nmodel: broken\ndataset: synthetic\n---" + TINY)
    path = f"{ROOT}:{ROOT / 'tests'}:{tmp_path}"
    result = run("e.yaml", "--set", "seeds=[0]", cwd=tmp_path, script=True, PYTHONPATH=path)
    assert "document 1 (broken): check failed: RuntimeError: a mistake (--debug shows where)" in error_line(result)
    assert (tmp_path / "runs/tiny_cnn/seed0/results.json").is_file()


def test_missing_data_set(tmp_path):
    (tmp_path / "e.yaml").write_text(f"model: cifar_resnet20\ndata_dir: {tmp_path / 'nothing'}")
    line = error_line(run("e.yaml", cwd=tmp_path, script=True))
    assert "no cifar10 archive in" in line and "synthetic" in line


def test_dry_run_prints_everything_and_trains_nothing(tmp_path):
    text = "model: cifar_resnet20\ndataset: synthetic\nprecision: auto\n"
    # What a later stage begins with need not be there yet.
    (tmp_path / "e.yaml").write_text(text + "init_weights: runs/first/seed0/final.weights.h5")
    result = run("e.yaml", "--dry-run", cwd=tmp_path, script=True)
    assert result.returncode == 0, result.stderr
    assert "precision: auto" not in result.stdout
    assert "weight_decay: 0.0001" in result.stdout and "64,000 steps = 8,192,000 images" in result.stdout
    assert not (tmp_path / "runs").exists()
    (tmp_path / "e.yaml").write_text(text + "augmentation: [{crop: {padding: 999}}]")
    line = error_line(run("e.yaml", "--dry-run", cwd=tmp_path, script=True))
    assert "e.yaml, document 1: augmentation[0].crop.padding" in line


def test_version_list_and_show(tmp_path):
    import cifarzoo
    from cifarzoo.pretrained.manifest import manifest

    assert run("--version", cwd=tmp_path).stdout.strip() == f"cifarzoo {cifarzoo.__version__}"
    listing = run("list", "*resnet20*", cwd=tmp_path)
    assert "cifar_resnet20" in listing.stdout and "271,098" in listing.stdout
    shown = run("show", "cifar_resnet20", cwd=tmp_path)
    assert "Deep Residual Learning" in shown.stdout and "block_type" in shown.stdout
    assert "did you mean" in error_line(run("show", "cifar_resnet2", cwd=tmp_path))
    for entry in manifest()[:1]:
        weights = run("show", entry.tag, cwd=tmp_path)
        assert weights.stdout.startswith(f"{entry.model}(") and f"trained on: {entry.dataset}" in weights.stdout
