"""The files to mutate: files of the repository, and those of a small run trained for this purpose."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Records per file of the archives; the readers are patched to expect as few.
RECORDS = 4

EXPERIMENTS = """\
model: linear
module: tiny_network
dataset: synthetic
description: Everything that one run can have.
model_parameters: {hidden: 6}
augmentation: [{crop: {mode: reflect}}, flip, {cutout: {size: 8}}, {mixup: {alpha: 0.2}}]
seeds: [0]
skip_error_test: true
train_parameters:
  run_name: tiny
  batch_size: 16
  ema_decay: 0.9
  weight_decay: 1e-4
  schedule: {kind: cosine, peak: 0.05, warmup: {steps: 2}, duration: {steps: 8}}
  log_interval: 2
  val_interval: 4
  checkpoint_interval: 4
"""

MORE_EXPERIMENTS = """\
recipe: resnet20_90ep
model: cifar_resnet20
grid:
  train_parameters.batch_size: [64, 128]
  variant: {wide: {model: cifar_resnet32}, plain: {model: cifar_resnet20}}
---
model: cifar_wide_resnet
model_parameters: {depth: 16, width: 2, dropout: 0.1}
dataset: cifar100
data_dir: data
train_split: train45k
val_split: validation
augmentation: [{policies: {policies: [[[Rotate, 0.9, 0.9], [Cutout, 0.5, 0.9]]]}}, {policies: {file: policies.yaml}}]
precision: bfloat16
distribution: mirrored
backend: jax
seeds_at_once: 2
seeds: [1, 2]
init_weights: run/seed0/final.weights.h5
train_parameters:
  lr_values: [0.1, 0.01]
  lr_boundaries: [100, 200]
  lookahead: {interval: 5, start: {epochs: 1}}
  progressive_resizing: [{size: 16, until: {epochs: 2}}]
  accumulate: 2
  clip_norm: 1.0
"""

ROWS = """\
recipes:
  brief:
    augmentation: standard
    train_parameters: {nesterov: true, schedule: {kind: cosine, peak: 0.05, duration: 24}}
  long: resnet20_90ep.yaml
stopgaps: [brief]
common: {precision: auto, train_parameters: {batch_size: 32}}
rows:
  - {name: resnet20_v1, model: cifar_resnet20, dataset: cifar10, recipes: [long, brief], seeds: [0, 1], remark: Short.}
  - {name: resnet32_v1, model: cifar_resnet32, dataset: cifar100, recipes: [brief], train_parameters: {batch_size: 64}}
"""

HOSTILE_MODULE = """\
open("executed", "w").close()
class Evil: pass
def evil(*arguments, **options): open("executed", "w").close()
"""


@dataclass
class Originals:
    """The locations of the originals.

    Attributes:
        folder: Parent folder of all originals.
        run: Folder of the finished run.
    """

    folder: Path
    run: Path

    def text(self, name: str) -> str:
        """Return the text of an original, by its name in `folder`."""
        return (self.folder / name).read_text(encoding="utf-8")


def make(folder: Path, with_run: bool = True) -> Originals:
    """Write the originals into a folder; train a small run for them in another process, unless nothing needs it."""
    for name, text in (("tiny.yaml", EXPERIMENTS), ("more.yaml", MORE_EXPERIMENTS), ("rows.yaml", ROWS)):
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "recipes" / "policies" / "autoaugment_cifar10.yaml", folder / "policies.yaml")
    shutil.copy(ROOT / "recipes" / "resnet20_90ep.yaml", folder)
    shutil.copy(HERE / "tiny_network.py", folder)
    _write_manifest(folder)
    originals = Originals(folder, folder / "runs" / "tiny" / "seed0")
    if not with_run:
        return originals
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(Path(__file__).resolve()), str(folder)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if ended.returncode:
        sys.exit(f"the originals cannot be made: {ended.stderr[-2000:]}")
    return originals


def _write_manifest(folder):
    """Write a weights folder with two entries of the manifest and their files."""
    weights = folder / "weights"
    weights.mkdir()
    entries = json.loads((ROOT / "weights" / "manifest.json").read_text(encoding="utf-8"))
    smallest = sorted(entries, key=lambda entry: entry["bytes"])[:2]
    (weights / "manifest.json").write_text(json.dumps(smallest, indent=2) + "\n", encoding="utf-8")
    for entry in smallest:
        for ending in (".weights.h5", ".golden.npz"):
            shutil.copy(ROOT / "weights" / f"{entry['tag']}{ending}", weights)


def _train_and_save():
    """Train the run, and write the other files of the package; called in another process, in the folder."""
    from cifarzoo.evaluation.predictions import Predictions
    from cifarzoo.experiment.files import read_experiments
    from cifarzoo.training import runner

    (outcome,) = runner.run_all(read_experiments(Path("tiny.yaml")))
    if outcome.error:
        sys.exit(outcome.error)
    draw = np.random.default_rng(0)
    labels = np.arange(20, dtype=np.int32) % 10
    predictions = Predictions("tiny", "synthetic", "train")
    for split in ("test", "validation"):
        predictions.logits[split] = draw.normal(size=(20, 10)).astype(np.float32)
        predictions.labels[split] = labels
    predictions.save(Path("logits.npz"))

    from cifarzoo.pretrained.description import describe_entry, write_description
    from cifarzoo.pretrained.manifest import read_manifest

    for entry in read_manifest(Path("weights/manifest.json")):
        write_description(Path("weights") / entry.file, describe_entry(entry))

    import tiny_network

    tiny_network.linear(hidden=6).save("tiny.keras")


# ----------------------------------------------------------------------------------------------------- archives


def archive_members(form) -> dict[str, bytes]:
    """Return the files of a small archive in one of the official forms, by name."""
    from cifarzoo.data.archives import CLASSES

    members = {}
    for number, name in enumerate(form.train | form.test):
        draw = np.random.default_rng(number)
        rows = draw.integers(0, 256, (RECORDS, 3072), np.uint8)
        labels = [np.arange(RECORDS, dtype=np.uint8) % classes for classes in CLASSES[form.dataset].values()]
        if form.binary:
            content = np.concatenate([*(column[:, None] for column in labels), rows], 1).tobytes()
        else:
            content = _pickle(form, rows, labels)
        members[f"{form.folder}/{name}"] = content
    return members


def _pickle(form, rows, labels):
    import pickle

    from cifarzoo.data.archives import CLASSES, LABEL_KEYS

    batch = {b"batch_label": b"made up", b"data": rows}
    names = [LABEL_KEYS[kind].encode() for kind in CLASSES[form.dataset]]
    batch |= {name: column.tolist() for name, column in zip(names, labels, strict=True)}
    file = io.BytesIO()
    pickle.Pickler(file, protocol=2).dump(batch)
    return file.getvalue()


def small_forms():
    """Return the official forms with few records."""
    import dataclasses

    from cifarzoo.data.archives import FORMS

    return [
        dataclasses.replace(form, train=dict.fromkeys(form.train, RECORDS), test=dict.fromkeys(form.test, RECORDS))
        for form in FORMS
    ]


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    _train_and_save()
