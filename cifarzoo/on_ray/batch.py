"""Train a batch of experiments on a Ray cluster: one task per run, in a process of its own on whichever node is free.

Run folders are on a file system that all nodes share. A task does there what `cifarzoo train` does, so a run whose
node died resumes from its checkpoint on another one.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarzoo.errors import ClusterError, ExperimentError, summarize
from cifarzoo.experiment.schema import Experiment
from cifarzoo.notebook import say
from cifarzoo.on_ray.progress import Progress
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.outcomes import Outcome, Outcomes, outcome_in_folder
from cifarzoo.training.stopping import StopRequest

# How often a run starts again after its process or node died. A process that dies each time has too little memory.
RETRIES = 3
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Resources:
    """What one run gets.

    Attributes:
        cpus: Processor cores, and threads of the engine.
        gpus: GPUs; None stands for one where the cluster has any.
    """

    cpus: int = 1
    gpus: float | None = None


def run_on(ray: Any, experiments: Sequence[Experiment], resources: Resources, modules: Path | None) -> list[Outcome]:
    """Train every run of a batch on a cluster; Ctrl-C and SIGTERM let running ones save and start no others.

    Args:
        ray: The connected module; see `cluster.connected`.
        experiments: As `read_experiments` returns them. They may name different backends.
        resources: What one run gets.
        modules: The folder where the user's own modules are, if any experiment has one.

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
    options = _options(ray, resources)
    # One call per process: Keras, TensorFlow and JAX are set up once.
    train = ray.remote(max_calls=1, max_retries=RETRIES, **options)(_train)
    units = [unit for experiment in experiments for unit in _units(experiment)]
    outcomes: dict[int, list[Outcome]] = {}
    pending = {}
    for number, unit in enumerate(units):
        known = [outcome_in_folder(unit, seed) for seed in unit.seeds]
        if all(outcome.results or outcome.error for outcome in known):  # finished, or of another experiment
            outcomes[number] = known
        else:
            task = train.options(name=_name(unit)).remote(unit, os.getcwd(), str(modules or ""), resources.cpus)
            pending[task] = number
    with StopRequest().on_signals() as stop, Progress([(unit, seed) for unit in units for seed in unit.seeds]) as show:
        for done in outcomes.values():
            show.end(done)
        cancelled = False
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECONDS)
            for task in ready:
                number = pending.pop(task)
                outcomes[number] = _outcomes(ray, task, units[number], cancelled)
                show.end(outcomes[number])
            show.refresh()
            if stop.signal and not cancelled:
                cancelled = True
                say("stopping: running runs save first; the same command resumes the batch")
                for task in pending:
                    ray.cancel(task, force=False)
    return Outcomes(outcome for number in range(len(units)) for outcome in outcomes[number])


def _units(experiment: Experiment) -> list[Experiment]:
    """Return the experiment once for every set of seeds that train together."""
    size = experiment.seeds_at_once
    return [
        experiment.model_copy(update={"seeds": experiment.seeds[first : first + size]})
        for first in range(0, len(experiment.seeds), size)
    ]


def _name(unit: Experiment) -> str:
    return f"{unit.name} seed{'+'.join(map(str, unit.seeds))}"


def _options(ray: Any, resources: Resources) -> dict[str, float]:
    """Return the resources of a task for Ray, after checking that a node has them: Ray would wait for one forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = resources.gpus
    if gpus is None:
        gpus = float(any(node.get("GPU", 0) for node in nodes))
    if not any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= gpus for node in nodes):
        sizes = ", ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ClusterError(f"no node has {resources.cpus} cores and {gpus:g} GPUs for a run; the nodes have {sizes}")
    return {"num_cpus": resources.cpus, "num_gpus": gpus}


def _train(unit: Experiment, folder: str, modules: str, cpus: int) -> list[Outcome]:
    """Train the seeds of an experiment on a node, in this process."""
    # Before TensorFlow or JAX starts: as many threads as the task has cores. XLA's reads NPROC.
    os.environ |= {name: str(cpus) for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")}
    try:
        os.chdir(folder)
    except OSError as failure:
        raise ClusterError(f"{folder}: is not on node {os.uname().nodename} ({failure.strerror})") from None
    if modules:
        from cifarzoo.cli.options import find_modules

        find_modules(Path(modules))
    from cifarzoo.training.runner import run_all

    return list(run_all([unit]))


def _outcomes(ray: Any, task: Any, unit: Experiment, cancelled: bool) -> list[Outcome]:
    """Return how the runs of a task ended."""
    try:
        outcomes = ray.get(task)
    except ray.exceptions.TaskCancelledError:
        reason = "not started, as the batch was stopped; the same command resumes it"
        return [Outcome(unit, seed, error=reason, state="not started") for seed in unit.seeds]
    except ray.exceptions.RayTaskError as failure:
        line = summarize(failure.cause if isinstance(failure.cause, Exception) else failure)
        return [Outcome(unit, seed, error=line, state="failed") for seed in unit.seeds]
    except Exception as failure:  # the process or its node died too often, or the cluster did
        line = f"its process or node died {RETRIES + 1} times ({summarize(failure)})"
        return [Outcome(unit, seed, error=line, state="failed") for seed in unit.seeds]
    for outcome in outcomes:
        folder = RunFolder.of(unit, outcome.seed)
        if outcome.results and not folder.is_finished:
            outcome.error, outcome.state = f"{folder}: its results are not here; nodes need a shared folder", "failed"
    return outcomes
