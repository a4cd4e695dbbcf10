"""What Windows and macOS lack or forbid, as far as a Linux machine can tell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest
from small_zoo import ROOT, ROWS, TAG
from test_fingerprints import shipped_fingerprints

from cifarzoo.publishing.wanted import read_rows
from cifarzoo.runs.folder import NOT_ON_WINDOWS

# As on Windows, where nothing can import fcntl.
WITHOUT_FCNTL = """
import sys
sys.modules["fcntl"] = None
from cifarzoo.cli import main
main()
"""

EXPERIMENT = """
module: tiny_models
model: tiny_linear
dataset: synthetic
augmentation: none
description: Größe
train_parameters:
  schedule: {kind: constant, learning_rate: 0.1, duration: 4}
"""


def run_without_fcntl(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", WITHOUT_FCNTL, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, env=environment)


def test_only_filelock_knows_how_a_system_locks():
    for path in (ROOT / "cifarzoo").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (fcntl|msvcrt|resource|pwd|grp)\b", text, re.MULTILINE), path


@pytest.mark.slow
def test_trains_without_fcntl(tmp_path):
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT, encoding="utf-8")
    done = run_without_fcntl(tmp_path, "train", "experiment.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "runs/tiny_linear/seed0/results.json").read_text(encoding="utf-8"))
    assert results["steps"] == 4


@pytest.mark.slow
def test_publishes_without_fcntl(tmp_path):
    (tmp_path / "rows.yaml").write_text(ROWS.replace("duration: 24", "duration: 4"), encoding="utf-8")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/manifest.json").write_text("[]", encoding="utf-8")
    done = run_without_fcntl(tmp_path, "fill-zoo", "--rows", "rows.yaml", "--budget", "1h")
    assert done.returncode == 0 and f"{TAG}: published" in done.stdout, done.stderr[-3000:]


def test_names_of_runs_and_published_files_are_valid_on_windows():
    rows = read_rows(ROOT / "recipes/zoo.yaml", "runs")
    names = {row.tag for row in rows} | {row.experiment.name for row in rows}
    for fingerprints in shipped_fingerprints().values():
        names |= set(fingerprints)
    names |= {path.name for path in (ROOT / "weights").iterdir()}
    for name in names:
        assert PureWindowsPath(name).name == name and not re.search(r'[<>:"/\\|?*]', name), name
        assert not NOT_ON_WINDOWS.fullmatch(name), name
    # Neither Windows nor macOS tells such names apart.
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("name", ["aux", "NUL", "com1.tiny", "net."])
def test_names_that_windows_reserves_are_one_line(monkeypatch, name):
    from cifarzoo.errors import ExperimentError
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.runs import folder

    experiment = Experiment(model="net", train_parameters={"run_name": name})
    assert folder.RunFolder.of(experiment, 0).path == Path("runs") / name / "seed0"
    monkeypatch.setattr(folder, "os", type("Windows", (), {"name": "nt"}))
    with pytest.raises(ExperimentError, match=f"{re.escape(name)}: not a folder's name on Windows"):
        folder.RunFolder.of(experiment, 0)
    assert folder.RunFolder.of(Experiment(model="auxiliary"), 0).path.name == "seed0"
