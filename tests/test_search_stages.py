"""A whole search on the embedded data set: its files, what it refuses, and that killing it changes nothing."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from evaluation_cases import run_cli

from cifarzoo.augment.pipeline import build
from cifarzoo.augment.policy_lists import read_policies
from cifarzoo.cli import search as command
from cifarzoo.data import load
from cifarzoo.errors import CheckpointError, DataError, TrainingError
from cifarzoo.runs.folder import RunFolder
from cifarzoo.search.held_out import held_out
from cifarzoo.search.plan import OBJECTIVES, plan_from
from cifarzoo.search.policy_list import read_header
from cifarzoo.search.stages import Search, search
from cifarzoo.training import engines
from cifarzoo.training.job import prepare
from cifarzoo.training.outcomes import Outcome
from cifarzoo.training.stopping import Interrupted

ROOT = Path(__file__).parent.parent
DOCUMENT = {
    "networks": {
        "module": "tiny_models",
        "model": "tiny_cnn",
        "dataset": "synthetic",
        "augmentation": "none",
        "precision": "auto",
        "skip_error_test": True,
        "train_parameters": {
            "batch_size": 20,
            "steps_per_call": 5,
            "checkpoint_interval": 5,
            "schedule": {"kind": "constant", "learning_rate": 0.1, "duration": 30},
        },
    },
    "of": "train45k:images=200",
    "folds": 2,
    "images": 30,
    "operations": ["Rotate", "Invert", "Solarize", "Cutout"],
    "levels": 3,
    "selection": {"samples": 25, "best": 2, "rounds": 1, "size": 15, "fall": 20},
}


def plan_in(folder, **changes):
    return plan_from(DOCUMENT | {"folder": str(folder)} | changes, "plan")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a search that nothing interrupted."""
    folder = tmp_path_factory.mktemp("search") / "undisturbed"
    search(plan_in(folder))
    return folder


@pytest.fixture
def copy(undisturbed, tmp_path):
    """A copy of the search, to damage."""
    return shutil.copytree(undisturbed, tmp_path / "search")


def lists(folder):
    return {name: read_policies(folder / "lists" / f"{name}.yaml") for name in OBJECTIVES}


def test_the_lists_say_where_they_come_from(undisturbed):
    headers = {name: read_header(undisturbed / "lists" / f"{name}.yaml") for name in OBJECTIVES}
    assert {header["objective"] for header in headers.values()} == set(OBJECTIVES)
    band = headers["band"]
    runs = [undisturbed / "networks" / f"fold{fold}" / "seed0" for fold in (1, 2)]
    assert band["networks"] == [hash_of(run / "final.weights.h5") for run in runs]
    dataset = load("synthetic")
    assert band["images"] == [images_of(plan_in(undisturbed), fold, dataset).digest for fold in (1, 2)]
    assert set(band["versions"]) == {"cifarzoo", "keras", keras.backend.backend(), "optuna", "numpy"}
    assert band["search"]["images"] == 30 and band["search"]["folds"] == 2 and "search" not in headers["uniform"]
    assert band["dataset"] == "synthetic" and band["seed"] == 0 and band["selection"] == {"size": 15, "fall": 20}
    # Two 3x3 convolutions and a linear layer, on 2 x 30 steps of 20 images, which count three times, and on 30 images
    # of 7 x 7 sub-policies of both folds: Rotate, Invert, two each of Solarize and Cutout, and nothing.
    operations = 27 * 8 * 16 * 16 + 72 * 16 * 8 * 8 + 160
    assert band["cost"]["multiply_accumulates"] == operations * (3 * 2 * 30 * 20 + 2 * 7 * 7 * 30)
    assert set(band["cost"]["seconds"]) == {"train", "measure", "select"}
    assert headers["uniform"]["cost"]["multiply_accumulates"] == 0
    assert band["expected"]["accuracy"] >= band["unchanged"]["accuracy"] - 20
    for name, header in headers.items():
        policies = read_policies(undisturbed / "lists" / f"{name}.yaml")
        assert header["sub_policies"] == len(policies) and set(header["uniformity"]) > {"operations", "levels"}
        build([{"policies": {"file": str(undisturbed / "lists" / f"{name}.yaml")}}])


def images_of(plan, fold, dataset):
    """The held-out images of a fold."""
    experiment = plan.experiment(fold)
    return held_out(plan, fold, prepare(experiment, dataset, experiment.seeds))


def hash_of(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_networks_never_see_the_images_that_judge_policies():
    plan, dataset = plan_in("unused"), load("synthetic")
    for fold in (1, 2):
        experiment = plan.experiment(fold)
        data = prepare(experiment, dataset, [0]).dataset
        trained, measured = (set(data.positions(name)) for name in (experiment.train_split, experiment.val_split))
        assert not trained & measured and len(trained | measured) == 200 and len(measured) == 80
        assert not (trained | measured) & set(dataset.positions("validation"))
        images = images_of(plan, fold, dataset)
        assert len(images) == 30 and images.draws.max() < 1
        candidates = dataset.train.take(sorted(measured)).images.reshape(80, -1).tolist()
        assert all(image.ravel().tolist() in candidates for image in images.images)


def test_lost_weights_are_noticed_before_another_network_is_trained(copy):
    shutil.rmtree(copy / "networks" / "fold1")
    (copy / "networks" / "fold2" / "seed0" / "final.weights.h5").unlink()
    with pytest.raises(DataError, match="fold2.*final.weights.h5: missing"):
        search(plan_in(copy))
    assert not (copy / "networks" / "fold1").exists()


def test_what_has_a_file_is_not_done_again(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    search(plan_in(copy))
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    assert before == after


def test_what_does_not_fit_is_refused_in_one_line(copy, tmp_path):
    process = Search(plan_in(copy))
    shard = copy / "tables" / "fold2" / "shard0003.npz"
    content = shard.read_bytes()
    shard.write_bytes(content[:300])
    with pytest.raises(DataError, match=r"shard0003.npz: damaged \(.*\); delete it"):
        process.measure()
    shard.unlink()
    with pytest.raises(DataError, match="shard0003.npz: missing"):
        process.tables()
    process.measure()
    assert shard.is_file()
    other = copy / "tables" / "fold1" / "shard0003.npz"
    shutil.copy(other, shard)
    with pytest.raises(DataError, match="shard0003.npz: measured with another network"):
        process.measure()
    shutil.rmtree(copy / "networks" / "fold2")
    with pytest.raises(DataError, match="fold2/seed0: missing: the network of this fold has not been trained"):
        process.measure()
    # Networks of another data set, whose folder was copied here.
    networks = DOCUMENT["networks"] | {"dataset": "cifar10"}
    stranger = plan_in(tmp_path / "stranger", networks=networks)
    shutil.copytree(copy / "networks", tmp_path / "stranger" / "networks")
    with pytest.raises(CheckpointError, match="fold1/seed0: holds a run of another experiment .different: dataset"):
        Search(stranger).train()


@pytest.fixture
def hard_images(tmp_path):
    """A file with the positions of 200 images."""
    path = tmp_path / "hard.npy"
    np.save(path, np.arange(0, 800, 4))
    return path


def test_networks_that_saw_other_images_than_now_are_refused(hard_images, tmp_path):
    """Otherwise the networks would have trained on images that are held out now."""
    plan = plan_in(tmp_path / "search", of={"of": "train45k", "indices": str(hard_images)})
    Search(plan).train()
    Search(plan).measure()
    original = hard_images.read_bytes()
    np.save(hard_images, np.arange(1, 801, 4))
    for step in (Search(plan).train, Search(plan).measure):
        with pytest.raises(CheckpointError, match="fold1/seed0: .*changed since this run began"):
            step()
    hard_images.write_bytes(original)
    parts = RunFolder.of(plan.experiment(1), 0).parts
    content, positions = parts.path.read_bytes(), parts.read()
    parts.write({name: position + 1 for name, position in positions.items()})
    for content_now, message in (
        (None, "fold1/seed0: was trained on other images than its splits have now"),
        (b"damaged", r"parts.npz: .*; delete .*fold1 and .*tables/fold1, and the same command begins this fold again"),
        (b"", "parts.npz: .*; delete "),
    ):
        if content_now is not None:
            parts.path.write_bytes(content_now)
        for step in (Search(plan).train, Search(plan).measure):
            with pytest.raises((CheckpointError, DataError), match=message):
                step()
    parts.path.unlink()
    with pytest.raises(DataError, match="parts.npz: does not say which images train45k.* has; delete "):
        Search(plan).measure()
    parts.path.write_bytes(content)
    Search(plan).train()


def test_networks_of_other_machines_are_measured_whatever_devices_this_one_has(copy, monkeypatch):
    """Six devices could not share a batch of 20 images."""
    monkeypatch.setattr(engines.current(), "replica_count", lambda distribution: 1 if distribution == "none" else 6)
    shutil.rmtree(copy / "tables" / "fold1")
    Search(plan_in(copy)).train()
    Search(plan_in(copy)).measure()
    assert len(list((copy / "tables" / "fold1").iterdir())) == 7


def test_a_stop_is_a_stop_whichever_network_it_reached_first(tmp_path):
    """On a cluster, networks may wait while later ones are saved; or none has begun."""

    class Executor:
        def __init__(self, *states):
            self.states = states

        def train(self, experiments):
            pairs = zip(experiments, self.states, strict=True)
            return [Outcome(experiment, 0, error=state, state=state) for experiment, state in pairs]

    plan = plan_in(tmp_path / "search")
    for states in (("not started", "stopped"), ("not started", "not started"), ("failed", "stopped")):
        with pytest.raises(Interrupted, match="stopped|not started"):
            Search(plan).train(Executor(*states))
    with pytest.raises(TrainingError, match="^fold2: failed"):
        Search(plan).train(Executor(None, "failed"))


def test_ctrl_c_stops_after_the_shard_and_the_same_command_goes_on(copy, tmp_path, monkeypatch, capsys):
    @contextlib.contextmanager
    def interrupting():
        yield lambda step, done: os.kill(os.getpid(), signal.SIGINT) if step.startswith("fold 2") and not done else None

    shutil.rmtree(copy / "tables" / "fold2")
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(DOCUMENT | {"folder": str(copy)}))
    monkeypatch.setattr(command, "progress_bar", interrupting)
    status, _, errors = run_cli(monkeypatch, capsys, "search", tmp_path / "search.yaml")
    assert (status, errors) == (75, [])
    assert [path.name for path in (copy / "tables" / "fold2").iterdir()] == ["shard0000.npz"]
    monkeypatch.undo()
    status, output, _ = run_cli(monkeypatch, capsys, "search", tmp_path / "search.yaml", "--format", "tsv")
    assert status == 0 and len(list((copy / "tables" / "fold2").iterdir())) == 7
    keys, *lines = (line.split("\t") for line in output.splitlines())
    rows = {row["objective"]: row for row in (dict(zip(keys, line, strict=True)) for line in lines)}
    assert set(rows) == set(OBJECTIVES)
    for name, row in rows.items():
        header = read_header(copy / "lists" / f"{name}.yaml")
        assert float(row["p_operations"]) == pytest.approx(header["uniformity"]["operations"]["p"], rel=1e-5)
        # `mean` and `band` fix probabilities, so a test of them says nothing.
        assert bool(row["p_probabilities"]) == bool(row["p_levels"]) == (name in ("official", "uniform"))
        if name != "uniform":
            assert float(row["accuracy"]) == pytest.approx(header["expected"]["accuracy"], rel=1e-5)
            assert float(row["unchanged"]) == pytest.approx(header["unchanged"]["accuracy"], rel=1e-5)


# ------------------------------------------------------------------------------------------------ other processes


def start(folder, **environment):
    """Start the command in a process of its own."""
    plan = folder.parent / f"{folder.name}.yaml"
    plan.write_text(yaml.safe_dump(DOCUMENT | {"folder": str(folder)}))
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-m", "cifarzoo", "search", str(plan)],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_when(process, happened):
    """Kill a process without warning as soon as something has happened."""
    while not happened():
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_search_that_was_killed_twice_writes_the_same_lists(undisturbed, tmp_path):
    folder = tmp_path / "killed"
    kill_when(start(folder), lambda: (folder / "networks" / "fold2" / "seed0" / "checkpoint.npz").is_file())
    assert not (folder / "tables").exists()
    kill_when(start(folder), lambda: (folder / "tables" / "fold1" / "shard0001.npz").is_file())
    assert not (folder / "lists").exists()
    process = start(folder)
    output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    assert lists(folder) == lists(undisturbed)


@pytest.mark.slow
def test_jax_selects_the_same_lists_from_the_same_networks(undisturbed, tmp_path):
    pytest.importorskip("jax")
    folder = tmp_path / "jax"
    shutil.copytree(undisturbed / "networks", folder / "networks")
    process = start(folder, KERAS_BACKEND="jax")
    output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    assert lists(folder) == lists(undisturbed)
