"""The parts of a file that the jobs of an array train, their common table, and grids in TensorBoard's HParams tab."""

import itertools
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from evaluation_cases import run_cli
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.grids import varied_keys
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.sharding import Shard, describe_shard, parse_shard, runs_of
from cifarzoo.training.hparams import hyperparameters
from cifarzoo.training.outcomes import Outcome, exit_status

GRID = """
module: tiny_models
model: tiny_linear
dataset: synthetic
augmentation: none
skip_error_test: true
seeds: [0, 1]
train_parameters:
  logdir: {folder}
  schedule: {{kind: constant, learning_rate: 0.1, duration: 4}}
grid:
  train_parameters.weight_decay: [0, 0.01]
"""


def experiments(*seeds, at_once=1):
    documents = [{"model": f"cifar_resnet{20 + n}", "seeds": own} for n, own in enumerate(seeds)]
    return [experiment_from([document, {"seeds_at_once": at_once}], "file") for document in documents]


def runs(parts):
    return [(experiment.name, seed) for experiment in parts for seed in experiment.seeds]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("at_once", [1, 2])
def test_every_run_is_in_exactly_one_part(count, at_once):
    whole = experiments([0, 1, 2], [5], [7, 8, 9], at_once=at_once)
    parts = [runs_of(whole, Shard(number, count)) for number in range(1, count + 1)]
    assert sorted(itertools.chain.from_iterable(map(runs, parts))) == sorted(runs(whole))
    programs = [sum(-(-len(one.seeds) // at_once) for one in part) for part in parts]
    assert max(programs) - min(programs) <= 1
    assert [runs(part) for part in parts] == [runs(runs_of(whole, Shard(n, count))) for n in range(1, count + 1)]
    if at_once == 2:  # these two train in one program
        assert any({("cifar_resnet20", 0), ("cifar_resnet20", 1)} <= set(runs(part)) for part in parts)


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "3/8/9", "-1/2", "a/b", "1/0", ""])
def test_another_part_is_one_line(text):
    with pytest.raises(ExperimentError, match=f"^--shard {text}: expected NUMBER/COUNT .*, such as 3/8$"):
        parse_shard(text)


def test_a_part_is_described_in_one_line():
    whole = experiments(list(range(20)))
    part = parse_shard("1/2")
    line = describe_shard(part, runs_of(whole, part), whole, max_names=3)
    assert line == "shard 1/2: 10 of 20 runs: cifar_resnet20 seed0, cifar_resnet20 seed2, and 8 more"
    assert describe_shard(Shard(8, 8), [], whole) == "shard 8/8: 0 of 20 runs"


def test_the_exit_status_says_whether_to_try_again():
    (one,) = experiments([0])

    def status(*states):
        errors = {"finished": None}
        return exit_status([Outcome(one, 0, error=errors.get(state, "why"), state=state) for state in states])

    assert status("finished", "finished") == status() == 0
    assert status("finished", "failed") == 1
    assert status("stopped", "not started") == status("failed", "stopped") == 75
    assert status("finished", "not started") == status("failed", "not started") == 75  # stopped before it began


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    "status, restarts, requeued", [(0, "", False), (75, "", True), (143, "", True), (75, "10", False), (1, "", False)]
)
def test_the_slurm_script_queues_a_part_that_was_stopped(tmp_path, status, restarts, requeued):
    """With stand-ins for Slurm's commands that note their arguments."""
    script = slurm_script("--shard")
    for name, end in (("srun", status), ("scontrol", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls\nexit {end}\n')
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "4"}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script], env=job | path | ({"SLURM_RESTART_COUNT": restarts} if restarts else {}))
    calls = (tmp_path / "calls").read_text().splitlines()
    wanted = ["srun --cpus-per-task=4 cifarzoo train sweep.yaml --shard 3/8", "scontrol requeue 77"]
    assert calls == wanted[: 1 + requeued]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_slurm_script_of_a_ray_cluster_saves_before_its_time_is_up(tmp_path):
    """With stand-ins for all commands; that for cifarzoo saves when it is told to, as the real one does."""
    stand_ins = {
        "scontrol": 'case "$1" in show) echo node1; echo node2;; esac',
        "srun": "",
        "sleep": "",
        "cifarzoo": f"trap 'exit 75' TERM; touch {tmp_path}/started; while :; do {shutil.which('sleep')} 0.05; done",
    }
    for name, commands in stand_ins.items():
        (tmp_path / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {tmp_path}/calls\n{commands}\n')
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "16"}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen(["bash", "-c", slurm_script("--executor ray")], env=job | path)
    end = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.terminate()
    process.wait(60)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-1] == "scontrol requeue 77"
    assert "cifarzoo train sweep.yaml --executor ray --address node1:10077 --cpus 4 --gpus 1" in calls
    size = "--num-cpus 16 --num-gpus 4 --block"
    assert any(call.endswith(f"ray start --head --port=10077 {size}") for call in calls)
    assert any(call.endswith(f"ray start --address=node1:10077 {size}") for call in calls)


def slurm_script(what):
    """Return the script of docs/sweeps.md that contains `what`."""
    page = (Path(__file__).parent.parent / "docs" / "sweeps.md").read_text(encoding="utf-8")
    scripts = re.findall(r"^```bash\n(#!.*?)^```", page, re.DOTALL | re.MULTILINE)
    (script,) = (text for text in scripts if what in text)
    return script


def session_groups(folder):
    """The hyper-parameters, metrics and sessions of every group, as TensorBoard's plugin computes them."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    backend = backend_context.Context(TBContext(logdir=str(folder), data_provider=provider))
    request = context.RequestContext()
    shown = get_experiment.Handler(request, backend, "", api_pb2.GetExperimentRequest()).run()
    statuses = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING, api_pb2.STATUS_FAILURE]
    metrics = list(shown.metric_infos)
    columns = [api_pb2.ColParams(metric=info.name) for info in metrics]
    asked = api_pb2.ListSessionGroupsRequest(slice_size=100, allowed_statuses=statuses, col_params=columns)
    asked.aggregation_type = api_pb2.AGGREGATION_AVG
    return shown, list_session_groups.Handler(request, backend, "", asked).run().session_groups


def test_jobs_of_an_array_share_a_grid(tmp_path, monkeypatch, capsys):
    """Each trains its part; the last one's table has all runs, and so has the HParams tab, with the seeds in groups."""
    (tmp_path / "grid.yaml").write_text(GRID.format(folder=tmp_path / "runs"))
    tables = []
    for number in (1, 2):
        words = ["train", tmp_path / "grid.yaml", "--shard", f"{number}/2", "--format", "json"]
        status, printed, errors = run_cli(monkeypatch, capsys, *words)
        assert status == 0 and not errors
        tables.append(json.loads(printed))
    assert [row["state"] for row in tables[0]] == ["finished", "other shard"] * 2
    assert [(row["seed"], row["state"]) for row in tables[1]] == [(0, "finished"), (1, "finished")] * 2
    shown, groups = session_groups(tmp_path / "runs")
    assert {"model", "batch_size", "weight_decay", "learning_rate", "steps"} <= {
        info.name for info in shown.hparam_infos
    }
    assert {"final/error", "final/loss", "val/error"} <= {info.name.tag for info in shown.metric_infos}
    assert {group.hparams["weight_decay"].number_value for group in groups} == {0, 0.01}
    for group in groups:
        own = [row for row in tables[1] if row["experiment"] == group.name]
        assert len(group.sessions) == 2 and {session.status for session in group.sessions} == {api_pb2.STATUS_SUCCESS}
        (error,) = [value.value for value in group.metric_values if value.name.tag == "final/error"]
        assert error == pytest.approx(sum(row["error"] for row in own) / 2, rel=1e-5)


def test_hyperparameters_are_those_of_the_grid():
    grid = {
        "train_parameters.schedule.peak": [1],
        "variant": {"a": {"precision": "float64", "model_parameters": {"x": 1}}},
    }
    assert varied_keys(grid) == ["train_parameters.schedule.peak", "model_parameters.x", "precision"]
    assert varied_keys(None) == [] == varied_keys({})
    parameters = {"schedule": {"kind": "cosine", "peak": 0.2, "warmup": 2, "duration": 10}, "nesterov": True}
    document = {"model": "cifar_resnet20", "augmentation": ["flip"], "train_parameters": parameters}
    keys = ["train_parameters.schedule.peak", "augmentation", "train_parameters.nesterov", "nothing.here"]
    one = experiment_from([document], "file", varied=keys)
    values = hyperparameters(one, Plan(one, 50_000))
    assert values["schedule.peak"] == values["learning_rate"] == 0.2 and values["nesterov"] is True
    assert json.loads(values["augmentation"]) and values["nothing.here"] == "null" and values["steps"] == 10


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"weight_decay": 0.02}, ("SGD", 0.02)),
        ({"optimizer": {"name": "SGD", "weight_decay": 0.03}}, ("SGD", 0.03)),
        ({"optimizer": "Muon"}, ("Muon", 0.004)),
        ({"optimizer": {"name": "AdamW", "weight_decay": 0.05}}, ("AdamW", 0.05)),
        ({"optimizer": "AdamW"}, ("AdamW", None)),
    ],
)
def test_hyperparameters_name_the_optimizer_with_its_own_decay(keys, expected):
    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 10}
    one = experiment_from([{"model": "cifar_resnet20", "train_parameters": keys | {"schedule": schedule}}], "file")
    values = hyperparameters(one, Plan(one, 50_000))
    assert (values["optimizer"], values.get("weight_decay")) == expected
