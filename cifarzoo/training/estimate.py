"""What experiments would cost: the resolved description, and time from short probes of this machine."""

import dataclasses
import time
from typing import NamedTuple

import numpy as np
import yaml

from cifarzoo.data import load
from cifarzoo.experiment.files import quickstart_experiment
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
from cifarzoo.models.macs import macs
from cifarzoo.training import build
from cifarzoo.training.engines import create_engine, replica_count
from cifarzoo.training.engines.cluster import is_described
from cifarzoo.training.resolve_auto import settled

# Steps of a probe's calls, each without what compiling cost the first; those that would take too long are left out.
PROBE_CALLS = (1, 1, 8, 100)
PROBE_SECONDS = 5.0


class Pace(NamedTuple):
    """Seconds until the first training step of an experiment is done, and of a step on images of full size then."""

    startup: float
    step: float


def measure_pace(experiment: Experiment) -> Pace:
    """How fast an experiment trains on this machine.

    Takes the time of compilation and a few steps; a probe never changes anything on disk.

    Raises:
        CifarzooError: the experiment does not fit.
    """
    with without_tensorflow():
        return _measure_pace(experiment)


def _measure_pace(experiment):
    parameters = experiment.train_parameters.for_steps(max(PROBE_CALLS)).model_copy(update={"progressive_resizing": []})
    experiment = experiment.model_copy(update={"train_parameters": parameters, "init_weights": None})
    dataset = load("synthetic")
    if experiment.dataset == "cifar100":
        dataset = dataclasses.replace(dataset, class_names=tuple(map(str, range(100))))
    begun = time.perf_counter()
    engine = create_engine(experiment, dataset, 0)
    images, batch_size = len(dataset.split(experiment.train_split)), parameters.batch_size
    seconds = startup = 0.0
    for number, steps in enumerate(PROBE_CALLS):
        if number > 1 and seconds * steps > PROBE_SECONDS:
            break
        places = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size) % images
        started = time.perf_counter()
        engine.train(0, places, np.full(steps, 1e-3))
        seconds = (time.perf_counter() - started) / steps
        startup = startup or time.perf_counter() - begun
    return Pace(startup, seconds)


def probe(precision: str, distribution: str = "auto") -> float:
    """Operations a second that training ResNet-20 on 128 images a device reaches here, after compilation.

    Of several workers, it is the rate of this one.
    """
    if distribution == "multi_worker" or (distribution == "auto" and is_described()):
        distribution = "none"
    experiment = quickstart_experiment([f"precision={precision}", f"distribution={distribution}"])
    parameters = experiment.train_parameters
    batch_size = parameters.batch_size * replica_count(experiment)
    experiment = experiment.model_copy(
        update={"train_parameters": parameters.model_copy(update={"batch_size": batch_size})}
    )
    operations = experiment.operations(_macs(experiment), experiment.train_parameters.batch_size)
    return operations / measure_pace(experiment).step


def _macs(experiment, classes=10):
    return macs(build.build_model(experiment, classes, 0))


def print_plan(experiments: list[Experiment]) -> None:
    """Print every experiment with all defaults filled in, its steps, arithmetic and estimated time.

    The time is that of the arithmetic at ResNet-20's rate. Networks differ in what they reach of a device: on
    processors by a factor of about two, and narrow ones are far slower than wide ones on accelerators.
    """
    from cifarzoo.experiment.plan import Plan

    rates = {}
    for experiment in (settled(e, e.seeds) for e in experiments):
        dataset = load(experiment.dataset, experiment.data_dir)
        plan = Plan(experiment, len(dataset.split(experiment.train_split)))
        build.build_augmentation(experiment, dataset.classes)
        # The weights of an earlier stage, which may not be there yet, change nothing of the cost.
        fresh = experiment.model_copy(update={"init_weights": None})
        model = build.build_model(fresh, dataset.classes, experiment.seeds[0])
        images = plan.total * plan.batch_size
        operations = experiment.operations(macs(model), plan.full_size_images())
        device = experiment.precision, experiment.distribution
        if device not in rates:
            rates[device] = probe(*device)
        hours = operations / rates[device] / 3600
        print("---\n" + yaml.safe_dump(experiment.resolved(), sort_keys=False), end="")
        print(
            f"# {experiment.name}: {len(experiment.seeds)} run(s) of {plan.total:,} steps = {images:,} images "
            f"({images / plan.images:.1f} epochs), {model.count_params():,} parameters\n"
            f"# {operations / 1e15:.3g} PFLOP a run; about {hours:.2g} h each at the "
            f"{rates[device] / 1e9:,.0f} GFLOP/s that ResNet-20 reaches here in {experiment.precision}"
        )
