"""Which rows the training queue takes, and how it stops; test_publishing.py tests its usual way."""

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
from small_zoo import ROOT, ROWS, TAG, fill_zoo
from test_damaged_files import META

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


# The command line with checkpoints at every chance, instead of one per minute.
CHECKPOINTS_OFTEN = """
from cifarzoo.cli import main
from cifarzoo.publishing import queue
queue.CHECKPOINT_SECONDS = 0.01
main()
"""

STARTUP = 20.0  # seconds that compiling takes


def queue_of(folder, text, monkeypatch, step_seconds=0.1, rough=0.1):
    """A queue of rows whose steps take `step_seconds`, `rough` by the probe of ResNet-20; it loads no images."""
    from cifarzoo.data.info import info
    from cifarzoo.publishing.queue import TrainingQueue
    from cifarzoo.publishing.weights_folder import WeightsFolder
    from cifarzoo.training.estimate import Pace

    monkeypatch.setattr("cifarzoo.publishing.queue.probe", lambda *device: 128 * 6 * 40_551_040 / rough)
    monkeypatch.setattr("cifarzoo.publishing.queue.measure_pace", lambda experiment: Pace(STARTUP, step_seconds))
    monkeypatch.setattr("cifarzoo.publishing.queue.load", lambda name, data_dir: info(name))
    (folder / "rows.yaml").write_text(text)
    (folder / "weights").mkdir(exist_ok=True)
    if not (folder / "weights/manifest.json").exists():
        (folder / "weights/manifest.json").write_text("[]")
    return TrainingQueue(read_rows(folder / "rows.yaml", str(folder / "runs")), WeightsFolder(folder / "weights"))


# Seconds apart from training: evaluating an image takes a third of training on it.
OVERHEAD = 60 + 45_000 / 128 * 0.1 / 3


def tags(rows):
    return [row.tag.removesuffix("_s0").replace("_cifar10", "") for row in rows]


def entry_of(row, **changes):
    """The manifest entry of a row's weights, as far as the queue reads it."""
    entry = {
        "tag": row.tag,
        "model": row.experiment.model,
        "architecture": {},
        "classes": 10,
        "dataset": row.experiment.dataset,
        "default": True,
        "sha256": "",
        "bytes": 0,
        "parameters": 0,
        "macs": 0,
        "preprocessing": {},
        "metrics": {"error": 8.0},
        "training": {"recipe": row.recipe, "experiment": row.experiment.resolved()},
    }
    return entry | changes


def test_stopgaps_come_last_and_only_without_something_better(tmp_path, monkeypatch):
    queue = queue_of(tmp_path, FOUR, monkeypatch)
    assert tags(queue.open_rows()) == ["a_long", "b_seed", "a_brief", "b_brief"]
    (a_long,) = (row for row in queue.open_rows() if row.tag == "a_cifar10_long_s0")
    for published, left in (("a_long", ["b_seed", "b_brief"]), ("b_seed", ["a_long", "a_brief", "b_brief"])):
        tag = f"{published.replace('_', '_cifar10_')}_s0"
        for entry in (entry_of(a_long, tag=tag), entry_of(a_long, tag="first_name", aliases=["other", tag])):
            (tmp_path / "weights/manifest.json").write_text(json.dumps([entry]))
            assert tags(queue.open_rows()) == left  # b's stopgap is better than its other recipe


def test_the_first_row_that_fits_is_taken(tmp_path, monkeypatch):
    """64,000, 48,000 and 600 steps of 0.1 s, and some 100 s beside."""
    queue = queue_of(tmp_path, FOUR, monkeypatch)

    from cifarzoo.training.stopping import StopRequest

    def chosen(minutes):
        row, seconds = queue.choose_row(queue.open_rows(), time.monotonic() + 60 * minutes, [], StopRequest())
        return tags([row])[0], seconds

    overhead = OVERHEAD + STARTUP
    assert chosen(120) == ("a_long", pytest.approx(6400 + overhead, abs=1))
    assert chosen(85) == ("b_seed", pytest.approx(4800 + overhead, abs=1))
    assert chosen(10) == ("a_brief", pytest.approx(60 + overhead, abs=1))
    assert chosen(1) == ("a_long", pytest.approx(6400 + OVERHEAD, abs=1))  # none fits: the first is begun, unprobed


def test_a_half_done_row_goes_first_and_takes_what_is_left(tmp_path, monkeypatch):
    from cifarzoo.hardware import device_name

    queue = queue_of(tmp_path, FOUR, monkeypatch)
    run = tmp_path / "runs/b_cifar10_brief/seed0"
    run.mkdir(parents=True)
    # 0.5 s a step but for the first call, which compiled: they count only where they were measured.
    steady = {"images": 180 * 128, "seconds": 90.0}
    evaluations = 45_000 / 128 * 0.5 / 3
    probed = OVERHEAD + STARTUP + 400 * 0.1
    for device, seconds in ((device_name(), 60 + evaluations + 400 * 0.5), ("another", probed)):
        meta = META | {"step": 200, "seconds": 150.0, "steady": steady, "provenance": {"device": device}}
        RunFolder(run).save_checkpoint({"x": np.zeros(1)}, meta)
        row = queue.open_rows()[0]
        assert tags([row]) == ["b_brief"]
        assert queue.seconds(row) == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize("meta", ["3", '"x"', "[]", '{"step": "many"}', '{"step": 3, "steady": 1}', "{}"])
def test_a_bad_checkpoint_does_not_end_the_queue(tmp_path, monkeypatch, meta):
    queue = queue_of(tmp_path, FOUR, monkeypatch)
    run = tmp_path / "runs/b_cifar10_brief/seed0"
    run.mkdir(parents=True)
    np.savez(run / "checkpoint.npz", __meta__=np.array(meta))
    assert tags(queue.open_rows()) == ["a_long", "b_seed", "a_brief", "b_brief"]
    assert all(queue.rough_seconds(row) > 60 for row in queue.open_rows())


def test_a_row_is_trained_until_there_is_just_time_to_publish_it(tmp_path, monkeypatch):
    """What fits ends in time for its publication, what does not is only saved; checkpoints are a minute apart."""
    from cifarzoo.experiment.schedules import Duration
    from cifarzoo.training.stopping import Interrupted

    calls = []

    def stopped(job, seed, stop, deadline):
        calls.append((job.experiment, deadline - time.monotonic()))
        raise Interrupted("stopped")

    monkeypatch.setattr("cifarzoo.publishing.queue.run", stopped)
    monkeypatch.setattr("cifarzoo.publishing.weights_folder.WeightsFolder.write_pages", lambda weights: None)
    text = FOUR.replace("rows:\n", "common: {train_parameters: {checkpoint_interval: {epochs: 1}}}\nrows:\n")
    for minutes, left in ((120, 120 * 60 - OVERHEAD), (2, 2 * 60 - 30)):
        assert queue_of(tmp_path, text, monkeypatch).work(60 * minutes) == ([], [], False)
        experiment, found = calls.pop()
        assert experiment.name == "a_cifar10_long" and found == pytest.approx(left, abs=2)
        # An epoch of 391 steps takes 39 s.
        assert experiment.train_parameters.checkpoint_interval == Duration(steps=2 * 391)


def test_a_queue_that_was_asked_to_stop_says_so(tmp_path, monkeypatch):
    from cifarzoo.training.stopping import Interrupted

    def stopped(job, seed, stop, deadline):
        os.kill(os.getpid(), signal.SIGTERM)
        raise Interrupted("stopped")

    monkeypatch.setattr("cifarzoo.publishing.queue.run", stopped)
    monkeypatch.setattr("cifarzoo.publishing.weights_folder.WeightsFolder.write_pages", lambda weights: None)
    assert queue_of(tmp_path, FOUR, monkeypatch).work(7200).is_stopped


def test_few_rows_are_tried_out_before_one_is_begun(tmp_path, monkeypatch):
    """Each takes three seconds of a minute, and none fits; the rough estimate says that all might."""
    from cifarzoo.training.estimate import Pace
    from cifarzoo.training.stopping import StopRequest

    queue = queue_of(tmp_path, FOUR, monkeypatch, rough=0.0001)
    clock, tried = [1000.0], []

    def slow(job):
        clock[0] += 3
        tried.append(job.experiment.name)
        return Pace(2.0, 10.0)

    monkeypatch.setattr("cifarzoo.publishing.queue.measure_pace", slow)
    monkeypatch.setattr("cifarzoo.publishing.queue.time.monotonic", lambda: clock[0])
    rows = [row for row in queue.open_rows() if row.recipe != "brief"]
    row, _ = queue.choose_row(rows, clock[0] + 90, [], StopRequest())
    # Both recipes are of one network: a step of the one takes the time of the other's.
    assert tags([row]) == ["a_long"] and tried == ["a_cifar10_long"]


MUON = {"optimizer": "Muon", "schedule": {"kind": "cosine", "peak": 0.1, "duration": 64000}}
PRUNED = {"pruning": {"sparsity": 0.5, "end": 100}}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"train_parameters": MUON}, False),
        ({}, {"train_parameters": PRUNED}, False),
        ({}, {"teacher": "cifar_resnet56"}, False),
        ({"teacher": "cifar_resnet20"}, {"teacher": "cifar_resnet56"}, False),
        ({"teacher": "cifar_resnet56"}, {"teacher": {"model": "cifar_resnet56", "views": 3}}, False),
        ({}, {"module": "my_networks"}, False),
        (
            {},
            {"train_parameters": {"momentum": 0.5, "weight_decay": 0.1}, "seeds": [3], "train_split": "train45k"},
            True,
        ),
        ({"teacher": "cifar_resnet56"}, {"teacher": {"model": "cifar_resnet56", "temperature": 2}}, True),
    ],
)
def test_rows_share_a_measured_pace_only_if_their_steps_cost_the_same(one, other, same):
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.publishing.row_matches import pace_key

    keys = {pace_key(Experiment(model="cifar_resnet20", **keys)) for keys in (one, other)}
    assert len(keys) == (1 if same else 2)


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
    queue = queue_of(tmp_path, text, monkeypatch)
    monkeypatch.setattr("cifarzoo.publishing.queue.load", load)
    row, _ = queue.choose_row(queue.open_rows(), time.monotonic() + 3 * 3600, failed := [], StopRequest())
    assert tags([row]) == ["b_seed"] and [row.tag for row in failed] == ["a_cifar100_long_s0"]
    queue.choose_row(queue.open_rows(), time.monotonic() + 60, failed := [], StopRequest())
    assert len(failed) == 2
    assert capsys.readouterr().out.count("no archive") == 2  # once a choice


@pytest.mark.slow
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


@pytest.mark.parametrize("optimizer", ["null", "AdamW"])
def test_a_row_published_from_another_version_of_its_recipe_is_named(tmp_path, monkeypatch, optimizer):
    common = f"common: {{precision: float32, train_parameters: {{log_interval: 50, optimizer: {optimizer}}}}}"
    text = FOUR.replace("rows:\n", f"{common}\nrows:\n")
    a_long, a_brief, b_brief, b_seed = read_rows_of(tmp_path, text)
    assert (a_long.recipe, b_brief.recipe, b_seed.recipe) == ("long", "brief", "seed")
    entries = [entry_of(a_long), entry_of(a_brief, tag="another", aliases=[a_brief.tag]), entry_of(b_brief)]

    def changed(text):
        queue = queue_of(tmp_path, text, monkeypatch)
        (tmp_path / "weights/manifest.json").write_text(json.dumps(entries))
        assert [row.tag for row in queue.open_rows()] == [b_seed.tag]
        return tags(queue.changed_rows())

    assert changed(text) == []
    # How often it is logged, and the device's precision, make no other version.
    assert changed(text.replace("log_interval: 50", "log_interval: 60")) == []
    assert changed(text.replace("precision: float32", "precision: bfloat16")) == []
    assert changed(text.replace("duration: 600", "duration: 601")) == ["a_brief", "b_brief"]
    assert changed(text.replace("duration: 64000", "duration: 64001")) == ["a_long"]


def read_rows_of(folder, text):
    (folder / "rows.yaml").write_text(text)
    return read_rows(folder / "rows.yaml", "runs")


def test_published_weights_were_trained_with_the_recipes_of_their_rows(tmp_path):
    from cifarzoo.publishing.queue import TrainingQueue
    from cifarzoo.publishing.weights_folder import WeightsFolder

    rows = read_rows(ROOT / "recipes/zoo.yaml", str(tmp_path))
    assert TrainingQueue(rows, WeightsFolder(ROOT / "weights")).changed_rows() == []


def test_failed_rows_are_the_exit_status(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/manifest.json").write_text("[]")
    (tmp_path / "rows.yaml").write_text(ROWS.replace("cifar_resnet20", "cifar_nothing"))
    done = fill_zoo(tmp_path, "--budget", "1h")
    assert done.returncode == 1 and "unknown model 'cifar_nothing'" in done.stdout and "next:" not in done.stdout
    planned = fill_zoo(tmp_path, "--plan")
    assert planned.returncode == 0 and f"{TAG} " in planned.stdout and "cifar_nothing" in planned.stdout
    missing = fill_zoo(tmp_path)
    assert missing.returncode == 1 and "--budget: missing" in missing.stderr


@pytest.mark.slow
def test_killed_and_stopped_it_publishes_what_it_would_have(filled, tmp_path):
    """SIGKILL in the midst of training, then SIGTERM, then to the end: the same weights and the same error."""
    shutil.copy(filled[0] / "rows.yaml", tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/manifest.json").write_text("[]")
    command = [sys.executable, "-c", CHECKPOINTS_OFTEN, "fill-zoo", "--rows", "rows.yaml", "--budget", "1h"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = tmp_path / "runs/zoo" / TAG.removesuffix("_s0") / "seed0"

    def step():
        return (RunFolder(run).checkpoint_meta() or {"step": 0})["step"]

    reached = 0
    for sent, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 75)):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        while process.poll() is None and step() <= reached:
            time.sleep(0.02)
        process.send_signal(sent)
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == status and reached < step() < 24
        assert json.loads((tmp_path / "weights/manifest.json").read_text()) == []
        reached = step()
    assert "stopped and saved at step" in printed and f"next: {TAG}; open rows: 1" in printed
    assert fill_zoo(tmp_path, "--budget", "1h").returncode == 0
    (entry,), (whole,) = (
        json.loads((folder / "weights/manifest.json").read_text()) for folder in (tmp_path, filled[0])
    )
    assert entry["metrics"] == whole["metrics"]
    golden = [np.load(folder / f"weights/{TAG}.golden.npz")["logits"] for folder in (tmp_path, filled[0])]
    np.testing.assert_array_equal(*golden)


@pytest.mark.slow
def test_a_stop_in_the_last_moments_ends_the_queue_after_the_publication(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/manifest.json").write_text("[]")
    (tmp_path / "rows.yaml").write_text(ROWS.replace("[brief]", "[brief], seeds: [0, 1]"))
    command = [sys.executable, "-m", "cifarzoo", "fill-zoo", "--rows", "rows.yaml", "--budget", "1h"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    results = tmp_path / "runs/zoo" / TAG.removesuffix("_s0") / "seed0/results.json"
    while process.poll() is None and not results.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 75 and f"{TAG}: published" in printed and "next: " in printed
    (entry,) = json.loads((tmp_path / "weights/manifest.json").read_text())
    assert entry["tag"] == TAG
