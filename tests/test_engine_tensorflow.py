"""The TensorFlow engine on real components: one and two devices, two processes, XLA, stop and resume."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_damaged_files import META
from train_tiny import TEST_IMAGES

HERE = Path(__file__).parent


def document(folder, **changes):
    base = {
        "module": "tiny_models",
        "model": "tiny_cnn",
        "dataset": "synthetic",
        "precision": "float64",
        "train_parameters": {
            "logdir": str(folder),
            "batch_size": 32,
            "nesterov": True,
            "weight_decay": 1e-3,
            "ema_decay": 0.9,
            "schedule": {"kind": "cosine", "peak": 0.1, "warmup": 4, "duration": 24},
            "log_interval": 8,
            "val_interval": 24,
            "checkpoint_interval": 8,
            "steps_per_call": 1,
            "eval_batch_size": 500,
        },
    }
    parameters = changes.pop("train_parameters", {})
    return base | changes | {"train_parameters": base["train_parameters"] | parameters}


def start(description, *options, environment=None):
    command = [sys.executable, str(HERE / "train_tiny.py"), json.dumps(description), *options]
    environment = (
        os.environ | {"PYTHONPATH": f"{HERE.parent}:{HERE}", "TF_CPP_MIN_LOG_LEVEL": "3"} | (environment or {})
    )
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process, timeout=900):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.strip().splitlines()[-1])


def first_weights(folder, **changes):
    """The file of an experiment's initial weights, with which runs on every backend can begin."""
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.build import build_model

    file = folder / "first.weights.h5"
    experiment = Experiment.model_validate(document(folder, **changes) | {"precision": "float32"})
    build_model(experiment, 10, 0).save_weights(file)
    return str(file)


def read_log(run):
    """The rows of log.tsv of a run's seed 0, by column."""
    with open(run / "seed0/log.tsv", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    return finish(start(document(tmp_path_factory.mktemp("one_tensorflow_device"))))


def test_it_learns(one_device):
    assert len(one_device["losses"]) == 24
    assert one_device["losses"][-1] < one_device["losses"][0]


def test_speed_in_the_log_is_that_of_the_whole_interval(one_device, tmp_path_factory):
    """Three rows of eight calls each; the first call traces the step, which must slow its row as it slows the run."""
    rows = read_log(next(tmp_path_factory.getbasetemp().glob("one_tensorflow_device*")) / "tiny_cnn")
    seconds = sum(8 * 32 / float(row["images_per_second"]) for row in rows)
    assert 24 * 32 / seconds == pytest.approx(one_device["results"]["images_per_second"], abs=0.051)  # one decimal


@pytest.mark.slow
def test_two_replicas_give_the_losses_of_one(one_device, tmp_path):
    two = finish(start(document(tmp_path, distribution="mirrored"), "--cpus", "2"))
    np.testing.assert_allclose(two["losses"], one_device["losses"], rtol=1e-9)
    assert two["results"]["test"]["error"] == one_device["results"]["test"]["error"]
    assert two["results"]["test"]["n"] == TEST_IMAGES


def two_workers():
    """The environments of two workers on loopback."""
    ports = []
    for _ in range(2):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            ports.append(s.getsockname()[1])
    workers = [f"127.0.0.1:{port}" for port in ports]
    tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [{"TF_CONFIG": json.dumps(task), "JAX_ENABLE_COMPILATION_CACHE": "false"} for task in tasks]


@pytest.mark.slow
def test_two_workers_give_the_losses_of_one_device(one_device, tmp_path):
    processes = [start(document(tmp_path, distribution="auto"), environment=worker) for worker in two_workers()]
    chief = finish(processes[0])
    processes[1].communicate(timeout=60)
    assert processes[1].returncode == 0
    np.testing.assert_allclose(chief["losses"], one_device["losses"], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_workers_run_one_file(tmp_path, backend):
    """run_experiments.py itself: two experiments, each checked and trained by both processes; only the chief writes."""
    experiments = [document("runs", distribution="multi_worker", seeds=[0]) for _ in range(2)]
    for number, experiment in enumerate(experiments):
        experiment["train_parameters"]["run_name"] = f"run{number}"
    (tmp_path / "two.yaml").write_text("\n---\n".join(json.dumps(experiment) for experiment in experiments))
    command = [sys.executable, str(HERE.parent / "run_experiments.py"), "two.yaml"]
    common = os.environ | {
        "PYTHONPATH": f"{HERE.parent}:{HERE}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, cwd=tmp_path, env=common | worker, **pipes) for worker in two_workers()]
    for process in processes:
        out = process.communicate(timeout=900)[0]
        assert process.returncode == 0, out[-3000:]
    for number in range(2):
        results = json.loads((tmp_path / f"runs/run{number}/seed0/results.json").read_text())
        assert results["steps"] == 24 and results["test"]["n"] == 2000 and results["backend"] == backend


@pytest.mark.slow
def test_xla_gives_the_same_losses(one_device, tmp_path):
    compiled = finish(start(document(tmp_path, xla=True)))
    np.testing.assert_allclose(compiled["losses"], one_device["losses"], rtol=1e-7)


@pytest.mark.slow
def test_steps_per_call_does_not_change_the_result(one_device, tmp_path):
    long_calls = finish(start(document(tmp_path, train_parameters={"steps_per_call": 7})))
    assert long_calls["sha256"] == one_device["sha256"]


@pytest.mark.slow
def test_killed_run_goes_on_to_the_same_bits(tmp_path):
    """Float32, dropout, EMA, kill -9 at an arbitrary moment."""
    changes = {
        "precision": "float32",
        "model_parameters": {"dropout": 0.3},
        "train_parameters": {"schedule": {"kind": "cosine", "peak": 0.1, "duration": 400}, "val_interval": 200,
                             "log_interval": 50, "checkpoint_interval": 20, "steps_per_call": 10},
    }  # fmt: skip
    whole = finish(start(document(tmp_path / "whole", **changes)))
    broken = document(tmp_path / "broken", **changes)
    log = tmp_path / "broken" / "tiny_cnn" / "seed0" / "log.tsv"
    process = start(broken)
    deadline = time.time() + 200
    while time.time() < deadline and process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) > 3:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    resumed = finish(start(broken))
    assert resumed["sha256"] == whole["sha256"]
    without_speed = [
        [{k: v for k, v in row.items() if k != "images_per_second"} for row in read_log(tmp_path / kind / "tiny_cnn")]
        for kind in ("whole", "broken")
    ]
    assert without_speed[0] == without_speed[1]


@pytest.mark.slow
def test_interrupted_run_saves_and_says_how_to_go_on(tmp_path):
    description = document(
        tmp_path,
        train_parameters={"schedule": {"kind": "constant", "learning_rate": 0.1, "duration": 100000},
                          "val_interval": 100000, "checkpoint_interval": 100000},
    )  # fmt: skip
    process = start(description)
    try:
        log = tmp_path / "tiny_cnn" / "seed0" / "log.tsv"
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 2):
            time.sleep(0.05)
        second = finish(start(description))
        assert second["type"] == "InUseError" and "another process" in second["error"]
        process.send_signal(signal.SIGINT)
        stopped = finish(process)
    finally:
        process.kill()
    assert stopped["type"] == "Interrupted"
    assert "stopped and saved at step" in stopped["error"] and "same command" in stopped["error"]


@pytest.mark.slow
def test_loss_that_is_not_finite_stops_with_the_checkpoint_kept(tmp_path):
    description = document(
        tmp_path, model="exploding", precision="float32", train_parameters={"ema_decay": 0, "checkpoint_interval": 1}
    )
    found = finish(start(description))
    assert (
        found["type"] == "TrainingError"
        and "is not finite between" in found["error"]
        and "checkpoint before it" in found["error"]
    )
    with np.load(tmp_path / "exploding/seed0/checkpoint.npz") as archive:
        assert all(np.isfinite(archive[name]).all() for name in archive.files if name != "__meta__")


@pytest.mark.slow
def test_folder_of_another_experiment_is_refused(tmp_path):
    finish(start(document(tmp_path)))
    other = finish(start(document(tmp_path, train_parameters={"momentum": 0.5})))
    assert other["type"] == "CheckpointError" and "train_parameters.momentum" in other["error"]


def test_full_disk_leaves_the_earlier_checkpoint(tmp_path):
    import resource

    from cifarzoo.errors import CheckpointError
    from cifarzoo.runs.folder import RunFolder

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    RunFolder(tmp_path).save_checkpoint({"weights": np.arange(10.0)}, META | {"step": 1})
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, kept[1]))
    try:
        with pytest.raises(CheckpointError, match="the earlier checkpoint is intact"):
            RunFolder(tmp_path).save_checkpoint({"weights": np.zeros(1_000_000)}, META | {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    arrays, meta = RunFolder(tmp_path).load_checkpoint()
    assert meta["step"] == 1 and arrays["weights"].tolist() == list(range(10))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_file_system_without_locks_is_not_another_process(tmp_path, monkeypatch):
    import errno

    from cifarzoo.errors import CheckpointError, InUseError
    from cifarzoo.runs.folder import RunFolder

    with RunFolder(tmp_path).locked(), pytest.raises(InUseError, match=f"another process .number {os.getpid()}."):
        with RunFolder(tmp_path).locked():
            pass

    def without_locks(lock):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", without_locks)
    with pytest.raises(CheckpointError, match="its file system has no locks .No locks available"):
        with RunFolder(tmp_path).locked():
            pass


def test_damaged_checkpoint_is_named(tmp_path):
    from cifarzoo.errors import CheckpointError
    from cifarzoo.runs.folder import RunFolder

    RunFolder(tmp_path).save_checkpoint({"weights": np.arange(1000.0)}, META | {"step": 1})
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="checkpoint.npz: damaged"):
        RunFolder(tmp_path).load_checkpoint()


def test_tensorboard_reads_scalars_text_and_graph(one_device, tmp_path_factory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next(tmp_path_factory.getbasetemp().glob("one_tensorflow_device*")) / "tiny_cnn" / "seed0"
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [8, 16, 24]
    assert events.Scalars("val/error")[-1].value == pytest.approx(one_device["results"]["test"]["error"], rel=1e-6)
    assert b"tiny_cnn" in events.Tensors("experiment/text_summary")[0].tensor_proto.string_val[0]
    assert "Conv2D" in {node.op for node in events.Graph().node}
