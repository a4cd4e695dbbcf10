"""Run scenarios of two workers on loopback: `python two_workers.py FOLDER` prints what happened in each, as JSON.

The workers are real processes. They are forked from this one, which has imported everything and started no backend, so
that many scenarios cost little more than one.
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cifarzoo.data import load
from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training import runner

TRAIN, TEST = 256, 37
SECONDS = 90  # after which a worker counts as waiting forever


def document(folder, name, rate=0.05, steps=24, **changes):
    parameters = {
        "logdir": str(folder),
        "run_name": name,
        "batch_size": 32,
        "schedule": {"kind": "constant", "learning_rate": rate, "duration": steps},
        "log_interval": 8,
        "val_interval": steps,
        "checkpoint_interval": 8,
        "steps_per_call": 4,
        "eval_batch_size": 64,
    }
    base = {"module": "tiny_models", "model": "tiny_linear", "dataset": "synthetic", "precision": "float32"}
    base |= {"distribution": "multi_worker", "skip_error_test": True}
    return base | changes | {"train_parameters": parameters | changes.get("train_parameters", {})}


def small(flipped=False):
    whole = load("synthetic")
    train = whole.train.take(slice(TRAIN))
    if flipped:
        train = dataclasses.replace(train, images=train.images[:, :, ::-1])
    return dataclasses.replace(whole, train=train, test=whole.test.take(slice(TEST)))


def free_ports(count=2):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def train(documents, dataset, callbacks=()):
    """What `cifarzoo train` does, with a data set that is at hand; returns the exit status."""

    def load_small(name, data_dir):
        if isinstance(dataset, Exception):
            raise dataset
        return dataset

    runner.load = load_small
    try:
        outcomes = runner.run_all([Experiment.model_validate(one) for one in documents], callbacks)
    except CifarzooError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    print(json.dumps([[one.experiment.name, one.seed, one.state, one.error] for one in outcomes]))
    return int(any(one.error for one in outcomes))


class Workers:
    """Two forked processes, each with its documents, data set and callbacks."""

    def __init__(self, folder, name, documents, datasets=None, callbacks=(None, None)):
        addresses = [f"127.0.0.1:{port}" for port in free_ports()]
        self.outputs = [folder / f"{name}.{index}.txt" for index in range(2)]
        self.codes, self.pids, self.started = [None, None], [], time.time()
        self.seconds = [None, None]
        for index in range(2):
            pid = os.fork()
            if not pid:
                cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                os.environ["TF_CONFIG"] = json.dumps(cluster)
                output = os.open(self.outputs[index], os.O_WRONLY | os.O_CREAT)
                os.dup2(output, 1)
                os.dup2(output, 2)
                own = documents[index] if isinstance(documents, tuple) else documents
                extra = [callbacks[index]()] if callbacks[index] else []
                sys.exit(train(own, (datasets or (DATASET, DATASET))[index], extra))
            self.pids.append(pid)

    def send(self, index, number):
        os.kill(self.pids[index], number)

    def end(self, only=None):
        """Wait for both, or for one; what is still there after SECONDS is killed and has no status of its own."""
        since = time.time()
        while (None in self.codes if only is None else self.codes[only] is None) and time.time() < since + SECONDS:
            for index, pid in enumerate(self.pids):
                if self.codes[index] is None and (found := os.waitpid(pid, os.WNOHANG))[0]:
                    self.codes[index] = os.waitstatus_to_exitcode(found[1])
                    self.seconds[index] = round(time.time() - since, 1)
            time.sleep(0.01)
        for index, pid in enumerate(self.pids):
            if self.codes[index] is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.codes[index], self.seconds[index] = -9 if only == 1 - index else None, 0
        texts = [path.read_text() for path in self.outputs]
        outcomes = [[json.loads(line) for line in text.splitlines() if line.startswith("[[")] for text in texts]
        outcomes = [one and one[0] for one in outcomes]
        return {"codes": self.codes, "seconds": self.seconds, "texts": texts, "outcomes": outcomes}


def step_of(folder, name, seed=0):
    meta = RunFolder(folder / name / f"seed{seed}").checkpoint_meta()
    return meta and meta["step"]


def finished(folder):
    return sorted(str(path.parent.relative_to(folder)) for path in folder.glob("**/results.json"))


def locked(folder, checked):
    """Another process holds the second seed's folder; with the check, the first one's of an experiment."""
    documents = [document(folder, "a", seeds=[0, 1]), document(folder, "b", 0.5)]
    seed = 1
    if checked:
        documents, seed = [document(folder, "a", skip_error_test=False), document(folder, "b", 0.5)], 0
    with RunFolder(folder / f"a/seed{seed}").locked():
        found = Workers(folder, "locked", documents).end()
    return found | {"finished": finished(folder)}


def edited(folder):
    """One worker has `--set train_parameters.schedule.learning_rate=0.4`."""
    found = Workers(folder, "edited", ([document(folder, "a")], [document(folder, "a", 0.4)])).end()
    return found | {"step": step_of(folder, "a")}


def missing(folder, checked):
    """The archive is missing on one host."""
    documents = [document(folder, "a", skip_error_test=not checked), document(folder, "b")]
    found = Workers(folder, "missing", documents, (DATASET, DataError("no archive here"))).end()
    return found | {"step": step_of(folder, "a"), "finished": finished(folder)}


def other_data(folder):
    """The data sets differ."""
    found = Workers(folder, "data", [document(folder, "a")], (DATASET, FLIPPED)).end()
    return found | {"step": step_of(folder, "a")}


def stopped(folder):
    """SIGTERM a moment apart; then the folder is not shared; then all is well."""
    changes = {"steps": 4000, "train_parameters": {"val_interval": 4000, "checkpoint_interval": 100000}}
    documents = [document(folder, "a", **changes), document(folder, "b")]
    workers = Workers(folder, "stop", documents)
    log = folder / "a/seed0/log.tsv"
    while workers.started + SECONDS > time.time() and not (log.exists() and log.read_text().count("\n") > 3):
        time.sleep(0.01)
    workers.send(1, signal.SIGTERM)
    time.sleep(0.2)
    workers.send(0, signal.SIGTERM)
    found = {"stop": workers.end() | {"step": step_of(folder, "a")}}
    elsewhere = [document(folder / "other", "a", **changes)]
    found["apart"] = Workers(folder, "apart", (documents[:1], elsewhere)).end() | {"step": step_of(folder, "a")}
    return found


def resumed(folder):
    """A run that one worker's callback ends early with `stop_training`, beside one that the other's ends by failing."""
    import keras

    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch >= 11

    class Refuses(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.stop_training = True

    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 11:
                raise ValueError("my own fault")

    found = {"stops": Workers(folder, "stops", [document(folder, "a")], callbacks=(None, Stops)).end()}
    found["steps"] = [json.loads((folder / "a/seed0/results.json").read_text())["steps"], step_of(folder, "a")]
    found["refuses"] = Workers(folder, "refuses", [document(folder, "d")], callbacks=(None, Refuses)).end()
    found["refused step"] = step_of(folder, "d")
    found["fails"] = Workers(folder, "fails", [document(folder, "b")], callbacks=(None, Fails)).end()
    found["failed step"] = step_of(folder, "b")
    found["again"] = Workers(folder, "again", [document(folder, "b")]).end()
    found["whole"] = Workers(folder, "whole", [document(folder, "c")]).end()
    arrays = [RunFolder(folder / name / "seed0").load_checkpoint()[0] for name in "bc"]
    found["same"] = all(np.array_equal(arrays[0][key], arrays[1][key]) for key in arrays[1])
    return found


def killed(folder, index, number, seconds="60"):
    """One worker dies, or stands still."""
    os.environ["CIFARZOO_WORKER_TIMEOUT"] = seconds
    changes = {"steps": 40000, "train_parameters": {"val_interval": 40000}}
    workers = Workers(folder, "killed", [document(folder, "a", **changes)])
    os.environ.pop("CIFARZOO_WORKER_TIMEOUT")
    log = folder / "a/seed0/log.tsv"
    while workers.started + SECONDS > time.time() and not (log.exists() and log.read_text().count("\n") > 1):
        time.sleep(0.01)
    workers.send(index, number)
    return workers.end(only=1 - index)


SCENARIOS = {
    "locked": lambda folder: locked(folder, False),
    "locked, checked": lambda folder: locked(folder, True),
    "edited": edited,
    "missing": lambda folder: missing(folder, False),
    "missing, checked": lambda folder: missing(folder, True),
    "other data": other_data,
    "stopped": stopped,
    "resumed": resumed,
    "worker killed": lambda folder: killed(folder, 1, signal.SIGKILL),
    "chief killed": lambda folder: killed(folder, 0, signal.SIGKILL),
    "worker stands still": lambda folder: killed(folder, 1, signal.SIGSTOP, "2"),
}


def run_scenarios(folder, backend):
    """Run all scenarios on a backend, in a process of their own; returns what each did, by its name."""
    here = Path(__file__).parent
    environment = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    environment = os.environ | environment | {"PYTHONPATH": f"{here.parent}:{here}"}
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def main():
    results = {}
    for name in sys.argv[2:] or SCENARIOS:
        folder = Path(sys.argv[1]) / name.replace(", ", "_").replace(" ", "_")
        folder.mkdir()
        began = time.time()
        results[name] = SCENARIOS[name](folder)
        print(f"{name}: {time.time() - began:.1f} s", file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    # Before any worker is forked, so that they need not import it again.
    import cifarzoo.training.trainer  # noqa: F401

    DATASET, FLIPPED = small(), small(flipped=True)
    main()
