"""Batches on a real Ray cluster of several nodes on this machine."""

import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import run_cli

from cifarzoo.errors import ClusterError
from cifarzoo.experiment.files import read_experiments
from cifarzoo.on_ray import batch as on_ray_batch
from cifarzoo.on_ray import cluster as on_ray_cluster
from cifarzoo.on_ray import search as on_ray_search
from cifarzoo.on_ray import tasks
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.stopping import StopRequest

TESTS = Path(__file__).parent

GRID = """
module: tiny_models
model: tiny_linear
dataset: synthetic
seeds: [0, 1]
precision: auto
grid:
  train_parameters.schedule.learning_rate: [0.01, 0.05]
train_parameters:
  run_name: tiny
  logdir: LOGDIR
  batch_size: 64
  schedule: {kind: constant, learning_rate: 0.05, duration: {epochs: 40}}
  log_interval: {epochs: 1}
  val_interval: {epochs: 40}
  checkpoint_interval: {epochs: 2}
  steps_per_call: 50
"""


def write_grid(folder):
    """Write the file of four runs, and their model beside it."""
    (folder / "tiny_models.py").write_text((TESTS / "tiny_models.py").read_text(encoding="utf-8"), encoding="utf-8")
    file = folder / "grid.yaml"
    file.write_text(GRID.replace("LOGDIR", str(folder / "runs")), encoding="utf-8")
    return file


def command(*arguments, **options):
    """Start the command line."""
    path = os.pathsep.join([str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "RAY_AUTH_MODE": "disabled"}
    line = [sys.executable, "-m", "cifarzoo", *map(str, arguments)]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def metrics(folder):
    """The metrics of all finished runs by the names of their folders."""
    paths = folder.glob("runs/*/*/results.json")
    results = {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return {f"{path.parent.name} {path.name}": result["test"] for path, result in results.items()}


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two nodes with a core each."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    path = os.pathsep.join([str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield started
    started.shutdown()


def wait_for(condition, process, seconds=600):
    """Wait until something is true while a process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_grid_on_two_nodes_of_which_one_dies(cluster, tmp_path):
    """All four runs finish with the results that they have without Ray."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    alone = command("train", write_grid(here), cwd=here)
    out, errors = alone.communicate()
    assert alone.returncode == 0, errors
    second = cluster.add_node(num_cpus=1)
    batch = command("train", write_grid(there), "--executor", "ray", "--address", cluster.address, cwd=there)
    checkpoints = "runs/*/*/checkpoint.npz"
    wait_for(lambda: len(list(there.glob(checkpoints))) >= 2, batch)  # each node has one
    cluster.remove_node(second, allow_graceful=False)
    out, errors = batch.communicate()
    assert batch.returncode == 0, errors
    assert len(metrics(here)) == 4
    assert metrics(there) == metrics(here)
    assert out.count("| finished |") == 4


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_done(cluster, tmp_path):
    batch = command("train", write_grid(tmp_path), "--executor", "ray", "--address", cluster.address, cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/*/checkpoint.npz")), batch)
    batch.send_signal(2)
    out, errors = batch.communicate()
    assert batch.returncode == 75
    assert "stopping: running tasks save first" in errors
    assert re.search(r"^tiny\S* seed\d: stopped and saved at step \d+ of \d+; the same", errors, re.MULTILINE)
    assert re.search(r"^tiny\S* seed\d: not started, as it was stopped; the same", errors, re.MULTILINE)
    assert out.count("| stopped |") == 1 and out.count("| not started |") + out.count("| finished |") == 3
    assert len(list(tmp_path.glob("runs/*/*/checkpoint.npz"))) == 1


@pytest.mark.slow
def test_every_task_has_its_error_when_no_node_is_left(cluster, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "WATCH_SECONDS", 1.0)
    monkeypatch.setattr(tasks, "LOST_SECONDS", 5.0)
    large = cluster.add_node(num_cpus=3)
    with on_ray_cluster.connected(cluster.address) as ray:
        resources = tasks.resolved(ray, tasks.Resources(cpus=2))
        assert resources.gpus == 0
        # Three cores have room for one task of two, and the head's single core for none.
        assert tasks.places(ray, resources) == 1 and tasks.places(ray, tasks.Resources(1, 0.0)) == 4
        assert tasks.places(ray, tasks.Resources(1, 1.0)) == 0

        def rest():  # pickled by value, because nodes do not have this module
            time.sleep(600)

        submit = tasks.remote(ray, rest, resources).remote
        waiting = {submit(): "one", submit(): "other"}
        cluster.remove_node(large, allow_graceful=False)
        lost = dict(tasks.ended(ray, waiting, resources, StopRequest()))
    assert set(lost) == {"one", "other"} and all(type(error) is ClusterError for error in lost.values())
    assert str(lost["one"]).startswith("no node with 2 cores and 0 GPUs is left; the same command resumes")
    assert "no node with 2 cores and 0 GPUs is left; waiting for one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "gpus, share, places", [(1, 0.2, 5), (1, 0.1, 10), (4, 0.6, 4), (4, 1, 4), (4, 2, 2), (0, 1, 0), (2, 0.5, 4)]
)
def test_shares_of_a_gpu_do_not_span_two(gpus, share, places):
    assert tasks._places_on_gpus(gpus, share) == places


def test_a_task_waits_for_the_lock_of_a_dead_node(tmp_path, monkeypatch):
    experiment = read_experiments(write_grid(tmp_path))[0]
    folder = RunFolder.of(experiment, 0)
    with contextlib.ExitStack() as dead_node:
        dead_node.enter_context(folder.locked())
        folder.write_config(experiment)
        monkeypatch.setattr(on_ray_batch.time, "sleep", lambda seconds: dead_node.close())
        on_ray_batch._wait_for_lock(folder)
        with folder.locked():
            pass


def test_without_ray_the_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(on_ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r'^--executor ray: needs a package that is not installed: pip install "ray'):
        with on_ray_cluster.connected(None):
            pass


@pytest.mark.slow
def test_mistakes_are_one_line(cluster, tmp_path):
    """An address where nothing answers, and more cores than a node has."""
    file = write_grid(tmp_path)
    for options, message in (
        (["--address", "127.0.0.1:1"], "error: --address 127.0.0.1:1: nothing answers there ("),
        (["--address", "127.0.0.1:ray"], "error: --address 127.0.0.1:ray: expected HOST:PORT or auto"),
        (["--address", "127.0.0.1"], "error: --address 127.0.0.1: expected HOST:PORT or auto"),
        (
            ["--address", cluster.address, "--cpus", "64"],
            "error: no node has 64 cores and 0 GPUs for a task",
        ),
    ):
        batch = command("train", file, "--executor", "ray", *options, cwd=tmp_path)
        out, errors = batch.communicate()
        assert batch.returncode == 1 and out == ""
        assert message in errors and errors.count("\n") == 1, errors


@pytest.mark.slow
def test_an_address_where_something_else_listens_fails_within_minutes(tmp_path):
    pytest.importorskip("ray")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        address = f"127.0.0.1:{server.server_port}"
        batch = command("train", write_grid(tmp_path), "--executor", "ray", "--address", address, cwd=tmp_path)
        try:
            _, errors = batch.communicate(timeout=180)
        finally:
            batch.kill()
    assert batch.returncode == 1
    *_, line = errors.splitlines()  # after lines of Ray's own
    assert line.startswith(f"cifarzoo: error: --address {address}: cannot connect to a Ray cluster (")
    assert line.endswith("; set RAY_AUTH_MODE to the same value on all nodes and here")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--executor", "slurm"], "--executor slurm: expected local or ray"),
        (["--cpus", "2"], "--cpus: has no meaning with --executor local; leave it out"),
    ],
)
def test_options_that_do_not_fit(options, message, tmp_path, monkeypatch, capsys):
    status, _, errors = run_cli(monkeypatch, capsys, "train", write_grid(tmp_path), *options)
    assert status == 1 and errors == [f"cifarzoo: error: {message}"]


SEARCH = """
networks:
  module: tiny_models
  model: tiny_linear
  dataset: synthetic
  augmentation: none
  train_parameters:
    schedule: {kind: constant, learning_rate: 0.05, duration: {epochs: 1}}
    log_interval: {epochs: 1}
    val_interval: {epochs: 1}
of: {of: train45k, images: 400}
folds: 2
images: 20
operations: [Rotate, Invert, Cutout]
levels: 3
"""


@pytest.mark.slow
def test_tables_of_a_search_are_those_of_one_process(cluster, tmp_path):
    cluster.add_node(num_cpus=1)
    pytest.importorskip("optuna")
    for name, options in (("here", []), ("there", ["--executor", "ray", "--address", cluster.address])):
        folder = tmp_path / name
        folder.mkdir()
        write_grid(folder)
        (folder / "search.yaml").write_text(SEARCH, encoding="utf-8")
        batch = command("search", "search.yaml", "--objective", "band", *options, cwd=folder)
        _, errors = batch.communicate()
        assert batch.returncode == 0, errors
    assert "search: 10 parts of tables to measure in 2 tasks\n" in errors
    assert re.search(r"^search: tables measured in \d+\.\d min$", errors, re.MULTILINE)
    shards = sorted(path.relative_to(tmp_path / "here") for path in tmp_path.glob("here/search/tables/*/*.npz"))
    assert len(shards) == 10  # two folds, five transformations each
    for shard in shards:
        ours, theirs = (np.load(tmp_path / name / shard) for name in ("here", "there"))
        for key in set(ours) - {"seconds"}:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=f"{shard} {key}")
    lists = [
        [line for line in (tmp_path / name / "search/lists/band.yaml").read_text().splitlines() if line[:1] == "-"]
        for name in ("here", "there")
    ]
    assert lists[0] == lists[1] and lists[0]


@pytest.mark.parametrize(
    ("shards", "folds", "places", "tasks"),
    [
        (93, 5, 2, 2),  # ten tasks in five rounds; five would leave a place idle in the last of three
        (93, 5, 16, 3),  # fifteen at once; 20 would take two rounds
        (93, 1, 4, 4),
        (93, 5, 1, 1),  # nothing is gained by more
        (93, 2, 1000, 93),
        (2, 5, 0, 1),  # no node has room yet
    ],
)
def test_shards_are_split_so_that_no_place_is_idle_for_long(shards, folds, places, tasks):
    assert on_ray_search.tasks_per_fold(shards, folds, places, start=3) == tasks


@pytest.mark.slow
def test_ctrl_c_keeps_the_shards_of_a_search(cluster, tmp_path):
    pytest.importorskip("optuna")
    write_grid(tmp_path)
    larger = SEARCH.replace("[Rotate, Invert, Cutout]\nlevels: 3\n", "[Rotate, Invert, Cutout, Color, Solarize]\n")
    (tmp_path / "search.yaml").write_text(larger, encoding="utf-8")
    options = ("--objective", "band", "--executor", "ray", "--address", cluster.address)
    batch = command("search", "search.yaml", *options, cwd=tmp_path)

    def shards():
        return list(tmp_path.glob("search/tables/fold?/shard????.npz"))

    wait_for(shards, batch)
    batch.send_signal(2)
    _, errors = batch.communicate()
    assert batch.returncode == 75
    assert errors.splitlines()[-1] == "search: stopped and saved; the same command resumes it"
    assert 0 < len(shards()) < 2 * 37
    again = command("search", "search.yaml", *options, cwd=tmp_path)
    _, errors = again.communicate()
    assert again.returncode == 0 and len(shards()) == 2 * 37, errors
