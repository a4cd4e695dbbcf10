"""Which rows the factory takes, and what it makes of being stopped; test_publishing.py has its usual way."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from small_zoo import ROOT, ROWS, TAG, factory

from cifarzoo.publishing.wanted import read_rows
from cifarzoo.runs.folder import RunFolder

FOUR = """
recipes:
  long: {train_parameters: {schedule: {kind: cosine, peak: 0.1, duration: 64000}}}
  seed: {train_parameters: {schedule: {kind: cosine, peak: 0.1, duration: 48000}}}
  brief: {train_parameters: {schedule: {kind: cosine, peak: 0.1, duration: 600}}}
stopgaps: [brief]
rows:
  - {name: a, model: cifar_resnet20, dataset: cifar10, recipes: [long, brief]}
  - {name: b, model: cifar_resnet20, dataset: cifar10, recipes: [brief, seed]}
"""


STARTUP = 20.0  # seconds that compiling takes


def plant(folder, text, monkeypatch, step_seconds=0.1, rough=0.1):
    """A factory over rows whose steps take so long, of which the probe of ResNet-20 says `rough`; it has no images."""
    from cifarzoo.publishing.queue import Factory
    from cifarzoo.training.estimate import Pace

    monkeypatch.setattr("cifarzoo.publishing.queue.probe", lambda *device: 128 * 6 * 40_551_040 / rough)
    monkeypatch.setattr("cifarzoo.publishing.queue.measure_pace", lambda experiment: Pace(STARTUP, step_seconds))
    monkeypatch.setattr("cifarzoo.publishing.queue.load", lambda name, data_dir: name)
    (folder / "rows.yaml").write_text(text)
    (folder / "weights").mkdir(exist_ok=True)
    if not (folder / "weights/manifest.json").exists():
        (folder / "weights/manifest.json").write_text("[]")
    return Factory(read_rows(folder / "rows.yaml", str(folder / "runs")), folder / "weights")


# Seconds beside the training: an evaluated image takes a third of a trained one.
BESIDE = 60 + 30_000 / 128 * 0.1 / 3


def tags(rows):
    return [row.tag.removesuffix("_s0").replace("_cifar10", "") for row in rows]


def test_stopgaps_come_last_and_only_without_something_better(tmp_path, monkeypatch):
    made = plant(tmp_path, FOUR, monkeypatch)
    assert tags(made.open_rows()) == ["a_long", "b_seed", "a_brief", "b_brief"]
    entry = json.loads((ROOT / "weights/manifest.json").read_text())[0]
    for published, left in (("a_long", ["b_seed", "b_brief"]), ("b_seed", ["a_long", "a_brief", "b_brief"])):
        renamed = entry | {"tag": f"{published.replace('_', '_cifar10_')}_s0"}
        (tmp_path / "weights/manifest.json").write_text(json.dumps([renamed]))
        assert tags(made.open_rows()) == left  # b's stopgap is better than its other recipe


def test_the_first_row_that_fits_is_taken(tmp_path, monkeypatch):
    """64,000, 48,000 and 600 steps of 0.1 s, and some 100 s beside."""
    made = plant(tmp_path, FOUR, monkeypatch)

    from cifarzoo.training.stopping import StopRequest

    def chosen(minutes):
        row, seconds = made._choose(made.open_rows(), time.monotonic() + 60 * minutes, [], StopRequest())
        return tags([row])[0], seconds

    beside = BESIDE + STARTUP
    assert chosen(120) == ("a_long", pytest.approx(6400 + beside, abs=1))
    assert chosen(85) == ("b_seed", pytest.approx(4800 + beside, abs=1))
    assert chosen(10) == ("a_brief", pytest.approx(60 + beside, abs=1))
    assert chosen(1) == ("a_long", pytest.approx(6400 + BESIDE, abs=1))  # none fits: the first is begun, unprobed


def test_a_half_done_row_goes_first_and_takes_what_is_left(tmp_path, monkeypatch):
    from cifarzoo.hardware import device_name

    made = plant(tmp_path, FOUR, monkeypatch)
    run = tmp_path / "runs/b_cifar10_brief/seed0"
    run.mkdir(parents=True)
    # 0.5 s a step but for the first call, which compiled: they count only where they were measured.
    steady = {"images": 180 * 128, "seconds": 90.0}
    evaluations = 30_000 / 128 * 0.5 / 3
    probed = BESIDE + STARTUP + 400 * 0.1
    for device, seconds in ((device_name(), 60 + evaluations + 400 * 0.5), ("another", probed)):
        meta = {"step": 200, "seconds": 150.0, "steady": steady, "provenance": {"device": device}}
        RunFolder(run).save_checkpoint({"x": np.zeros(1)}, meta)
        row = made.open_rows()[0]
        assert tags([row]) == ["b_brief"]
        assert made.seconds(row) == pytest.approx(seconds, abs=1)


def test_a_row_is_trained_until_there_is_just_time_to_publish_it(tmp_path, monkeypatch):
    """What fits ends in time for its publication, what does not is only saved; checkpoints are a minute apart."""
    from cifarzoo.experiment.schedules import Duration
    from cifarzoo.training.stopping import Interrupted

    calls = []

    def stopped(experiment, seed, dataset, deadline, stop):
        calls.append((experiment, deadline - time.monotonic()))
        raise Interrupted("stopped")

    monkeypatch.setattr("cifarzoo.publishing.queue.run", stopped)
    monkeypatch.setattr("cifarzoo.publishing.queue.write_pages", lambda weights: None)
    text = FOUR.replace("rows:\n", "common: {train_parameters: {checkpoint_interval: {epochs: 1}}}\nrows:\n")
    for minutes, left in ((120, 120 * 60 - BESIDE), (2, 2 * 60 - 30)):
        assert plant(tmp_path, text, monkeypatch).work(60 * minutes) == ([], [])
        experiment, found = calls.pop()
        assert experiment.name == "a_cifar10_long" and found == pytest.approx(left, abs=2)
        # An epoch of 391 steps takes 39 s.
        assert experiment.train_parameters.checkpoint_interval == Duration(steps=2 * 391)


def test_few_rows_are_tried_out_before_one_is_begun(tmp_path, monkeypatch):
    """Each takes three seconds of a minute, and none fits; the rough estimate says that all might."""
    from cifarzoo.training.estimate import Pace
    from cifarzoo.training.stopping import StopRequest

    made = plant(tmp_path, FOUR, monkeypatch, rough=0.0001)
    clock, tried = [1000.0], []

    def slow(experiment):
        clock[0] += 3
        tried.append(experiment.name)
        return Pace(2.0, 10.0)

    monkeypatch.setattr("cifarzoo.publishing.queue.measure_pace", slow)
    monkeypatch.setattr("cifarzoo.publishing.queue.time.monotonic", lambda: clock[0])
    rows = [row for row in made.open_rows() if row.recipe != "brief"]
    row, _ = made._choose(rows, clock[0] + 90, [], StopRequest())
    # Both recipes are of one network: a step of the one takes the time of the other's.
    assert tags([row]) == ["a_long"] and tried == ["a_cifar10_long"]


def test_rows_without_their_images_fail_at_once(tmp_path, monkeypatch, capsys):
    from cifarzoo.errors import DataError
    from cifarzoo.training.stopping import StopRequest

    def load(name, data_dir):
        if name == "cifar100":
            raise DataError("cifar100: no archive")
        return name

    text = FOUR.replace(
        "name: a, model: cifar_resnet20, dataset: cifar10", "name: a, model: cifar_resnet20, dataset: cifar100"
    )
    made = plant(tmp_path, text, monkeypatch)
    monkeypatch.setattr("cifarzoo.publishing.queue.load", load)
    row, _ = made._choose(made.open_rows(), time.monotonic() + 3 * 3600, failed := [], StopRequest())
    assert tags([row]) == ["b_seed"] and [row.tag for row in failed] == ["a_cifar100_long_s0"]
    made._choose(made.open_rows(), time.monotonic() + 60, failed := [], StopRequest())
    assert len(failed) == 2
    assert capsys.readouterr().out.count("no archive") == 2  # once a choice


def test_a_run_that_has_moved_is_of_all_its_devices_and_versions(tmp_path):
    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.hardware import device_name
    from cifarzoo.training.job import prepare
    from cifarzoo.training.stopping import Interrupted
    from cifarzoo.training.trainer import run

    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 8}
    parameters = {"logdir": str(tmp_path), "schedule": schedule, "checkpoint_interval": 2}
    experiment = Experiment(module="tiny_models", model="tiny_linear", dataset="synthetic", train_parameters=parameters)
    folder = tmp_path / "tiny_linear/seed0"
    here = device_name()
    both = f"another and {here}"
    for before, after in ((None, here), (None, here), ("another", both), (None, both)):
        if before:
            arrays, meta = RunFolder(folder).load_checkpoint()
            versions = meta["provenance"]["versions"] | {"keras": "3.0"}
            moved = meta["provenance"] | {"device": before, "revision": "0abc+changes", "versions": versions}
            RunFolder(folder).save_checkpoint(arrays, meta | {"provenance": moved})
        with contextlib.suppress(Interrupted):
            results = run(prepare(experiment, load("synthetic")), 0, deadline=time.monotonic()).as_dict()
        assert RunFolder(folder).checkpoint_meta()["provenance"]["device"] == after
    assert results["steps"] == 8 and results["device"] == both
    assert results["versions"]["keras"] == f"3.0 and {keras.__version__}" and len(results["versions"]["numpy"]) < 9
    assert results["revision"].startswith("0abc+changes and ")


def test_a_row_published_from_another_version_of_its_recipe_is_named(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copy(ROOT / "weights/manifest.json", tmp_path)
    text = (ROOT / "recipes/zoo.yaml").read_text()
    published = {entry["tag"] for entry in json.loads((tmp_path / "manifest.json").read_text())}

    def changed(text):
        from cifarzoo.publishing.queue import Factory

        (tmp_path / "recipes/zoo.yaml").write_text(text)
        made = Factory(read_rows(tmp_path / "recipes/zoo.yaml", str(tmp_path / "runs")), tmp_path)
        assert not published & {row.tag for row in made.open_rows()}
        return {row.tag for row in made.changed_rows()}

    assert changed(text) == set()
    # How often it is written down, and the device's precision, make no other version.
    assert changed(text.replace("log_interval: {epochs: 1}", "log_interval: {epochs: 2}")) == set()
    assert changed(text.replace("precision: auto", "precision: bfloat16")) == set()
    assert changed(text.replace("ema_decay: 0.998", "ema_decay: 0.997")) == {
        tag for tag in published if "_brief_" in tag or "_brisk_" in tag
    }


def test_failed_rows_are_the_exit_status(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/manifest.json").write_text("[]")
    (tmp_path / "rows.yaml").write_text(ROWS.replace("cifar_resnet20", "cifar_nothing"))
    done = factory(tmp_path, "--budget", "1h")
    assert done.returncode == 1 and "unknown model 'cifar_nothing'" in done.stdout and "next:" not in done.stdout
    planned = factory(tmp_path, "--plan")
    assert planned.returncode == 0 and f"{TAG} " in planned.stdout and "cifar_nothing" in planned.stdout
    missing = factory(tmp_path)
    assert missing.returncode == 1 and "--budget: missing" in missing.stderr


@pytest.mark.slow
def test_killed_and_stopped_it_publishes_what_it_would_have(filled, tmp_path):
    """SIGKILL in the midst of training, then SIGTERM, then to the end: the same weights and the same error."""
    shutil.copy(filled[0] / "rows.yaml", tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/manifest.json").write_text("[]")
    command = [sys.executable, "-m", "cifarzoo", "factory", "--rows", "rows.yaml", "--budget", "1h"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = tmp_path / "runs/factory" / TAG.removesuffix("_s0") / "seed0"

    def step():
        return (RunFolder(run).checkpoint_meta() or {"step": 0})["step"]

    reached = 0
    for sent, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        while process.poll() is None and step() <= reached:
            time.sleep(0.02)
        process.send_signal(sent)
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == status and reached < step() < 24
        assert json.loads((tmp_path / "weights/manifest.json").read_text()) == []
        reached = step()
    assert "stopped and saved at step" in printed and f"next: {TAG}; 1 rows are open" in printed
    assert factory(tmp_path, "--budget", "1h").returncode == 0
    (entry,), (whole,) = (
        json.loads((folder / "weights/manifest.json").read_text()) for folder in (tmp_path, filled[0])
    )
    assert entry["metrics"] == whole["metrics"]
    golden = [np.load(folder / f"weights/{TAG}.golden.npz")["logits"] for folder in (tmp_path, filled[0])]
    np.testing.assert_array_equal(*golden)


@pytest.mark.slow
def test_a_stop_in_the_last_moments_ends_the_factory_after_the_publication(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/manifest.json").write_text("[]")
    (tmp_path / "rows.yaml").write_text(ROWS.replace("[brief]", "[brief], seeds: [0, 1]"))
    command = [sys.executable, "-m", "cifarzoo", "factory", "--rows", "rows.yaml", "--budget", "1h"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    results = tmp_path / "runs/factory" / TAG.removesuffix("_s0") / "seed0/results.json"
    while process.poll() is None and not results.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0 and f"{TAG}: published" in printed and "next: " in printed
    (entry,) = json.loads((tmp_path / "weights/manifest.json").read_text())
    assert entry["tag"] == TAG
