"""A zoo of one small row, which the training queue fills in seconds, for the tests of publishing and of the queue."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cifarzoo.publishing.weights_folder import WeightsFolder
from cifarzoo.runs.folder import RunFolder

ROOT = Path(__file__).parent.parent

ROWS = """
recipes:
  brief:
    train_parameters:
      schedule: {kind: cosine, peak: 0.05, duration: 24}
common:
  precision: auto
  train_parameters: {batch_size: 32, log_interval: 3, val_interval: 24, checkpoint_interval: 2, steps_per_call: 2}
rows:
  - {name: resnet20_v1, model: cifar_resnet20, dataset: synthetic, recipes: [brief], remark: A few steps only.}
"""

TAG = "resnet20_v1_synthetic_brief_s0"


def fill_zoo(folder, *options, **environment):
    command = [sys.executable, "-m", "cifarzoo", "fill-zoo", "--rows", "rows.yaml", *options]
    usual = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CIFARZOO_WEIGHTS": "weights"}
    environment = os.environ | usual | environment
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200, env=environment)


def copy_of(filled, tmp_path):
    """A copy of the small zoo's weights folder, with a README in its parent, and the finished run."""
    folder, _ = filled
    shutil.copytree(folder / "weights", tmp_path / "weights")
    shutil.copy(ROOT / "weights" / "anchors.yaml", tmp_path / "weights")
    (tmp_path / "README.md").write_text(
        "Before\n<!-- weights:begin -->\n<!-- weights:end -->\nAfter\n", encoding="utf-8"
    )
    return WeightsFolder(tmp_path / "weights"), RunFolder(folder / "runs/zoo/resnet20_v1_synthetic_brief/seed0")


def few_images():
    """The embedded data set with a tenth of its test images: enough to publish weights."""
    from cifarzoo.data import load

    dataset = load("synthetic")
    return dataclasses.replace(dataset, test=dataset.test.take(slice(200)))
