"""Estimate what experiments cost: resolved description, arithmetic, and time from short probes of this machine."""

import dataclasses
import functools
import time
from typing import NamedTuple

import numpy as np
import yaml

from cifarzoo.data import load
from cifarzoo.data.dataset import info
from cifarzoo.experiment.files import quickstart_experiment
from cifarzoo.experiment.resizing import FULL_SIZE
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
from cifarzoo.models.macs import macs
from cifarzoo.training import engines
from cifarzoo.training.build import build_model
from cifarzoo.training.engines.cluster import is_described
from cifarzoo.training.job import Job, prepare

# Steps of a probe's calls, each timed without compilation, which is in the first; calls that would take too long are
# left out.
PROBE_CALLS = (1, 1, 8, 100)
PROBE_SECONDS = 5.0


class Pace(NamedTuple):
    """Seconds until the first training step of a job is done, and per step on images of full size after that."""

    startup: float
    step: float


def measure_pace(job: Job) -> Pace:
    """Measure how fast a job trains on this machine.

    Takes the time of compilation and a few steps; a probe never changes anything on disk.

    Raises:
        CifarzooError: the experiment does not fit.
    """
    parts = dataclasses.replace(
        job.parts,
        build_model=functools.partial(_fresh_model, job),
        image_size=lambda step: FULL_SIZE,
        max_steps_per_call=max(PROBE_CALLS),
    )
    dataset = load("synthetic")
    dataset = dataclasses.replace(dataset, class_names=tuple(map(str, range(job.dataset.classes))))
    with without_tensorflow():
        started = time.perf_counter()
        engine = engines.current().create_engine(parts, dataset, job.seeds[0])
        images, batch_size = dataset.size(parts.train_split), parts.batch_size
        seconds = startup = 0.0
        for number, steps in enumerate(PROBE_CALLS):
            if number > 1 and seconds * steps > PROBE_SECONDS:
                break
            indices = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size) % images
            call_started = time.perf_counter()
            engine.train(0, indices, np.full(steps, 1e-3))
            seconds = (time.perf_counter() - call_started) / steps
            startup = startup or time.perf_counter() - started
    return Pace(startup, seconds)


def _fresh_model(job, seed):
    """The model without the weights of an earlier stage, which may not exist yet and do not change the cost."""
    return build_model(job.experiment.model_copy(update={"init_weights": None}), job.dataset.classes, seed)


def probe(precision: str, distribution: str = "auto") -> float:
    """Measure the operations per second of training ResNet-20 on 128 images per device, after compilation.

    In a multi-worker run, it is the rate of this worker.
    """
    distribution = _without_others(distribution)
    replicas = engines.current().replica_count(distribution)
    experiment = quickstart_experiment([f"precision={precision}", f"distribution={distribution}"])
    batch_size = experiment.train_parameters.batch_size * replicas
    parameters = experiment.train_parameters.model_copy(update={"batch_size": batch_size})
    job = prepare(experiment.model_copy(update={"train_parameters": parameters}), info("synthetic"))
    return experiment.operations(macs(_fresh_model(job, 0)), batch_size) / measure_pace(job).step


def _without_others(distribution):
    """Leave other workers out: a probe must not wait for them."""
    return "none" if distribution == "multi_worker" or (distribution == "auto" and is_described()) else distribution


def print_plan(experiments: list[Experiment]) -> None:
    """Print every experiment with all defaults filled in, its steps, arithmetic and estimated time.

    The time is that of the arithmetic at ResNet-20's rate. Networks differ in what they reach of a device: on
    processors by a factor of about two, and narrow ones are far slower than wide ones on accelerators.
    """
    rates = {}
    for experiment in experiments:
        distribution = _without_others(experiment.distribution)
        job = prepare(experiment.model_copy(update={"distribution": distribution}), info(experiment.dataset))
        plan, precision = job.plan, job.experiment.precision
        model = _fresh_model(job, experiment.seeds[0])
        images = plan.total * plan.batch_size
        operations = experiment.operations(macs(model), plan.full_size_images())
        device = precision, distribution
        if device not in rates:
            rates[device] = probe(*device)
        hours = operations / rates[device] / 3600
        resolved = job.experiment.model_copy(update={"distribution": experiment.distribution}).resolved()
        print("---\n" + yaml.safe_dump(resolved, sort_keys=False), end="")
        print(
            f"# {experiment.name}: {len(experiment.seeds)} run(s) of {plan.total:,} steps = {images:,} images "
            f"({images / plan.images:.1f} epochs), {model.count_params():,} parameters\n"
            f"# {operations / 1e15:.3g} PFLOP per run; about {hours:.2g} h each at the "
            f"{rates[device] / 1e9:,.0f} GFLOP/s that ResNet-20 reaches here in {precision}"
        )
