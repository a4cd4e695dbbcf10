"""What experiments would cost: the resolved description, and time from a short probe of this machine.

Training takes about three times the arithmetic of inference (forward, and a backward pass of twice that), so a probe of
one network gives the rate for the others: an estimate, good to a factor of about two.
"""

import time

import numpy as np
import yaml

from cifarzoo.data import load
from cifarzoo.models.macs import macs
from cifarzoo.training.experiment import Experiment
from cifarzoo.training.precision import settled
from cifarzoo.training.reading import quickstart_experiment

PROBE_STEPS = 8


def training_operations(multiply_accumulates: int, images: float, sam: bool = False) -> float:
    """Floating-point operations of training: 2 a multiply-accumulate, 3 passes, with SAM 6.

    `images` of another size than the full one count by their area.
    """
    return (12.0 if sam else 6.0) * multiply_accumulates * images


def probe(precision: str) -> float:
    """Operations a second that training ResNet-20 at batch 128 reaches here, after compilation."""
    from cifarzoo.models import registry
    from cifarzoo.training.engines import create_engine

    experiment = quickstart_experiment([f"precision={precision}", f"train_parameters.steps_per_call={PROBE_STEPS}"])
    engine = create_engine(experiment, load("synthetic"), 0)
    places = np.arange(PROBE_STEPS * 128, dtype=np.int32).reshape(PROBE_STEPS, 128)
    engine.train(0, places, np.full(PROBE_STEPS, 1e-3))
    started = time.perf_counter()
    engine.train(0, places, np.full(PROBE_STEPS, 1e-3))
    seconds = time.perf_counter() - started
    return training_operations(macs(registry.create_model("cifar_resnet20")), places.size) / seconds


def print_plan(experiments: list[Experiment]) -> None:
    """Print every experiment with all defaults filled in, its steps, arithmetic and estimated time."""
    from cifarzoo.training.plan import Plan

    rates = {}
    for experiment in (settled(e, e.seeds) for e in experiments):
        dataset = load(experiment.dataset, experiment.data_dir)
        plan = Plan(experiment, len(dataset.split(experiment.train_split)))
        experiment.build_augmentation(dataset.classes)
        # The weights of an earlier stage, which may not be there yet, change nothing of the cost.
        fresh = experiment.model_copy(update={"init_weights": None})
        model = fresh.build_model(dataset.classes, experiment.seeds[0])
        images = plan.total * plan.batch_size
        full_size = plan.full_size_images()
        operations = training_operations(macs(model), full_size, experiment.train_parameters.sam_rho > 0)
        if experiment.precision not in rates:
            rates[experiment.precision] = probe(experiment.precision)
        hours = operations / rates[experiment.precision] / 3600
        print("---\n" + yaml.safe_dump(experiment.resolved(), sort_keys=False), end="")
        print(
            f"# {experiment.name}: {len(experiment.seeds)} run(s) of {plan.total:,} steps = {images:,} images "
            f"({images / plan.images:.1f} epochs), {model.count_params():,} parameters\n"
            f"# {operations / 1e15:.3g} PFLOP a run; about {hours:.2g} h each at the "
            f"{rates[experiment.precision] / 1e9:,.0f} GFLOP/s that ResNet-20 reaches here in {experiment.precision}"
        )
