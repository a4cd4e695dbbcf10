"""Train a batch of experiments on a Ray cluster: one task per run, in a process of its own on whichever node is free.

Run folders are on a file system that all nodes share. A task does there what `cifarzoo train` does, so a run whose
node died resumes from its checkpoint on another one.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cifarzoo.errors import ExperimentError, InUseError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.on_ray.progress import RunsTable
from cifarzoo.on_ray.tasks import Process, Resources, ended, remote, resolved
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.outcomes import Outcome, Outcomes, outcome_in_folder
from cifarzoo.training.stopping import Interrupted, StopRequest

# For how long a task waits for the lock of a run's folder.
LOCK_SECONDS = 180.0


def train_on(ray: Any, experiments: Sequence[Experiment], resources: Resources, modules: Path | None) -> list[Outcome]:
    """Train every run of a batch on a cluster; Ctrl-C and SIGTERM let running ones save and start no others.

    Args:
        ray: The connected module; see `cluster.connected`.
        experiments: As `read_experiments` returns them. They may name different backends.
        resources: What one run gets.
        modules: The folder where the user's own modules are, if an experiment needs any.

    Returns:
        One outcome per run, in order.

    Raises:
        ExperimentError: an experiment needs several workers, or a model or data set that is only in memory.
        ClusterError: no node has the resources.
    """
    for experiment in experiments:
        if experiment.distribution == "multi_worker":
            raise ExperimentError(
                f"{experiment.location}: distribution: multi_worker needs a process per worker, not a task"
            )
        if experiment.in_memory:
            raise ExperimentError(f"{experiment.location}: its model or data set is only in this process's memory")
    resources = resolved(ray, resources)
    train = remote(ray, _train, resources)
    process = Process(Path.cwd(), modules)
    units = [
        experiment.model_copy(update={"seeds": seeds}) for experiment in experiments for seeds in experiment.seed_groups
    ]
    outcomes: dict[int, list[Outcome]] = {}
    tasks = {}
    for number, unit in enumerate(units):
        known = [outcome_in_folder(unit, seed) for seed in unit.seeds]
        if all(outcome.results or outcome.error for outcome in known):  # finished, or another experiment's
            outcomes[number] = known
        else:
            tasks[train.options(name=_name(unit)).remote(process, unit)] = number
    with StopRequest().on_signals() as stop, RunsTable([(unit, seed) for unit in units for seed in unit.seeds]) as show:
        for known in outcomes.values():
            show.end(known)
        for number, result in ended(ray, tasks, resources, stop, show.refresh):
            outcomes[number] = _outcomes(units[number], result)
            show.end(outcomes[number])
    return Outcomes(outcome for number in range(len(units)) for outcome in outcomes[number])


def _name(unit: Experiment) -> str:
    return f"{unit.name} seed{'+'.join(map(str, unit.seeds))}"


def _train(process: Process, unit: Experiment) -> list[Outcome]:
    """Train the seeds of an experiment on a node."""
    process.begin()
    from cifarzoo.training.runner import run_all

    for seed in unit.seeds:
        _wait_for_lock(RunFolder.of(unit, seed))
    return list(run_all([unit]))


def _wait_for_lock(folder: RunFolder) -> None:
    """Wait a few minutes while the folder is locked, as a file server may keep the lock of a dead node so long."""
    end = time.monotonic() + LOCK_SECONDS
    while folder.path.is_dir() and not folder.is_finished and time.monotonic() < end:
        try:
            with folder.locked():
                return
        except InUseError:
            time.sleep(LOCK_SECONDS / 60)


def _outcomes(unit: Experiment, result: list[Outcome] | Exception) -> list[Outcome]:
    """Return how the runs of a task ended."""
    if isinstance(result, Exception):
        outcomes = [Outcome.of(unit, seed, result) for seed in unit.seeds]
        for outcome in outcomes if isinstance(result, Interrupted) else ():
            outcome.state = "not started"
        return outcomes
    for outcome in result:
        folder = RunFolder.of(unit, outcome.seed)
        if outcome.results and not folder.is_finished:
            outcome.error, outcome.state = f"{folder}: its results are not here; nodes need a shared folder", "failed"
    return result
