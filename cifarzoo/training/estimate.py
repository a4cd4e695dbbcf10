"""Estimate what training costs on this machine: arithmetic, and time from short probes."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cifarzoo.data import Dataset, load
from cifarzoo.data.dataset import Split
from cifarzoo.data.info import info
from cifarzoo.experiment.files import quickstart_experiment
from cifarzoo.experiment.resizing import FULL_SIZE
from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
from cifarzoo.models.macs import macs
from cifarzoo.training import engines
from cifarzoo.training.build import build_model
from cifarzoo.training.engines.cluster import is_described
from cifarzoo.training.job import Job, prepare
from cifarzoo.training.kept_size import weight_file_size
from cifarzoo.training.resolve_auto import on_accelerator
from cifarzoo.training.teacher_files import is_yet_to_be_trained

# Steps of a probe's calls, each timed without compilation, which is in the first; calls that would take too long are
# left out.
PROBE_CALLS = (1, 1, 8, 100)
PROBE_SECONDS = 5.0

# Operations of one timed prediction, and the number of predictions.
CPU_PREDICTION, ACCELERATOR_PREDICTION = 1e10, 1e12
PREDICTIONS = 3


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
    teacher = job.parts.teacher
    if teacher and teacher.views:
        teacher = dataclasses.replace(teacher, views=1)
    parts = dataclasses.replace(
        job.parts,
        teacher=teacher,
        build_model=functools.partial(_fresh_model, job),
        image_size=lambda step: job.plan.full_size,
        max_steps_per_call=max(PROBE_CALLS),
    )
    dataset = _stand_in(job)
    with without_tensorflow():
        started = time.perf_counter()
        engine = engines.current().create_engine(parts, dataset, job.seeds[0])
        images, batch_size = dataset.size(parts.train_split), parts.batch_size
        if teacher and teacher.views and engine.teacher:  # reading logits costs the same whatever they are
            engine.teacher.keep(np.zeros((1, images, dataset.classes), np.float16))
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


def _stand_in(job: Job) -> Dataset:
    """Return synthetic images of the size and with the number of classes of the job's, which are not needed."""
    dataset, size = load("synthetic"), job.dataset.inputs.size
    names = tuple(map(str, range(job.dataset.classes)))
    if size == FULL_SIZE:
        return dataclasses.replace(dataset, class_names=names)
    pixels = np.arange(size) % FULL_SIZE
    train, test = (
        dataclasses.replace(split, images=split.images[:count][:, pixels][:, :, pixels], labels=split.labels[:count])
        for split, count in ((dataset.train, 1000), (dataset.test, 200))
    )
    return Dataset("synthetic", names, None, train, test)


def _fresh_model(job, seed):
    """The model without the weights of an earlier stage, which may not exist yet and do not change the cost."""
    return build_model(
        job.experiment.model_copy(update={"init_weights": None}), job.dataset.classes, seed, job.dataset.inputs
    )


def probe(precision: str, distribution: str = "auto") -> float:
    """Measure the operations per second of training ResNet-20 on 128 images per device, after compilation.

    In a multi-worker run, it is the rate of this worker.
    """
    job = _resnet20(precision, distribution)
    return job.experiment.operations(macs(_fresh_model(job, 0)), job.plan.batch_size) / measure_pace(job).step


def _resnet20(precision: str, distribution: str) -> Job:
    """Return a job of ResNet-20 with 128 images per device."""
    distribution = without_others(distribution)
    replicas = engines.current().replica_count(distribution)
    experiment = quickstart_experiment([f"precision={precision}", f"distribution={distribution}"])
    batch_size = experiment.train_parameters.batch_size * replicas
    parameters = experiment.train_parameters.model_copy(update={"batch_size": batch_size})
    return prepare(experiment.model_copy(update={"train_parameters": parameters}), info("synthetic"))


class Cost(NamedTuple):
    """What a network costs: multiply-accumulates per image, number of weights, operations per second in training.

    And of its teachers: multiply-accumulates per image, and operations per second of their prediction. Last, the size
    of a file of its weights in bytes.
    """

    macs: int
    parameters: int
    rate: float
    teacher_macs: int = 0
    teacher_rate: float = 1.0
    file_size: int = 0

    def hours(self, job: Job) -> float:
        """Return how long a run takes."""
        own, teachers = self.operations(job)
        return (own / self.rate + teachers / self.teacher_rate) / 3600

    def operations(self, job: Job) -> tuple[float, float]:
        """Return the floating-point operations of a run: those of the network, and those of its teachers."""
        experiment, plan = job.experiment, job.plan
        own = experiment.operations(self.macs, plan.full_size_images())
        if experiment.teacher is None:
            return own, 0.0
        return own, experiment.teacher.operations(self.teacher_macs, plan.total, plan.batch_size, plan.images)


class Costs:
    """Measures what networks cost on this machine; equal networks are built once.

    The training step of a large network takes minutes to compile, so the training rate is estimated: the network's
    prediction rate times ResNet-20's ratio of training to prediction rate. On two cores the estimates for ResNet-20,
    WRN-16-4, VGG-11 and ResNet-9 were within 15 % of the measured training rates.
    """

    def __init__(self):
        self._predictions: dict[str, Cost] = {}
        self._ratios: dict[tuple[str, str], float] = {}

    def of(self, job: Job) -> Cost:
        """Return the cost of a job's network.

        Raises:
            CifarzooError: the network cannot be built. A user's own module may raise any exception.
        """
        device = job.experiment.precision, job.experiment.distribution
        cost = self._prediction(job)
        if device not in self._ratios:
            self._ratios[device] = probe(*device) / self._prediction(_resnet20(*device)).rate
        return cost._replace(rate=cost.rate * self._ratios[device])

    def _prediction(self, job: Job) -> Cost:
        """Return the cost of a job's network, with the prediction rate as its rate."""
        experiment = job.experiment
        network = [
            experiment.teacher and experiment.teacher.names,
            experiment.module,
            experiment.model,
            experiment.model_parameters,
            job.dataset.classes,
            job.dataset.inputs.size,
        ]
        key = json.dumps([network, experiment.precision, experiment.distribution], sort_keys=True)
        if key not in self._predictions:
            self._predictions[key] = _measure_prediction(job)
        return self._predictions[key]


def _measure_prediction(job: Job) -> Cost:
    """Measure a network in a few seconds; the rate is that of its prediction, in operations per second."""
    parts = dataclasses.replace(job.parts, build_model=functools.partial(_fresh_model, job))
    dataset = _stand_in(job)
    with without_tensorflow():
        model = _fresh_model(job, 0)
        multiply_accumulates, parameters, file_size = macs(model), model.count_params(), weight_file_size(model)
        if is_yet_to_be_trained(job.experiment):
            parts = dataclasses.replace(parts, teacher=None)
        teacher_macs = parts.teacher.macs if parts.teacher else 0
        del model
        per_call = ACCELERATOR_PREDICTION if on_accelerator(job.experiment) else CPU_PREDICTION

        def take(split: Split, macs_per_image: int) -> Split:
            return split.take(slice(int(np.clip(per_call / (2 * max(macs_per_image, 1)), 16, len(split)))))

        # The network predicts the one split, its teachers the other.
        few = dataclasses.replace(
            dataset, test=take(dataset.test, multiply_accumulates), train=take(dataset.train, teacher_macs)
        )
        engine = engines.current().create_engine(parts, few, 0)
        rate = 2 * multiply_accumulates * len(few.test) / _shortest(lambda: engine.predict("test"))
        teacher_rate = 1.0
        if teacher := engine.teacher:
            teacher_rate = 2 * teacher_macs * len(few.train) / _shortest(lambda: teacher.logits("train"))
    return Cost(multiply_accumulates, parameters, rate, teacher_macs, teacher_rate, file_size)


def _shortest(predict: Callable[[], object]) -> float:
    """Return the shortest time of a prediction, without compilation."""
    predict()
    seconds = []
    for _ in range(PREDICTIONS):
        started = time.perf_counter()
        predict()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def without_others(distribution):
    """Return a distribution without other workers: a probe must not wait for them."""
    return "none" if distribution == "multi_worker" or (distribution == "auto" and is_described()) else distribution
