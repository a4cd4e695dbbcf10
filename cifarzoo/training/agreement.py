"""Check that the workers of a multi-worker run agree before they train together: on experiments, data and step.

A single process hashes and exchanges nothing.
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cifarzoo.data import Dataset
from cifarzoo.experiment.differences import flatten
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training import engines
from cifarzoo.training.engines.channel import Channel, WorkerError
from cifarzoo.training.engines.cluster import has_workers
from cifarzoo.training.job import Job

# Keys that may differ between hosts. The logdir may, too; everything else in a document must be the same.
OF_THE_HOST = {"data_dir", "description"}

# Keys that may not differ between workers, and what decides the value of each on a machine if it is `auto`.
AUTO = {"precision": "the processor and the backend's version", "train_parameters.steps_per_call": "the device"}


def agree(workers: Channel, topic: str, facts: dict[str, Any], remedies: Mapping[str, str] | None = None) -> None:
    """Check that all workers have the same facts; wait until every worker has sent its own.

    Args:
        workers: The channel to the workers.
        topic: What the facts are about, in words.
        facts: Nested plain data.
        remedies: What to do about a difference, by dotted key of `facts`; other keys have a general remedy.

    Raises:
        WorkerError: the facts differ (the message names the first difference), or another worker failed.
    """
    chief, *others = (flatten(answer, lists=True) for answer in workers.exchange(topic, facts))
    for worker, other in enumerate(others, 1):
        for key in chief | other:
            if chief.get(key) != other.get(key):
                remedy = (remedies or {}).get(key, "give all workers the same files, options and logdir")
                raise WorkerError(
                    f"the workers do not agree on {topic}: {key}: {_brief(chief.get(key))} on worker 0, "
                    f"{_brief(other.get(key))} on worker {worker}; {remedy}, and start them again"
                )


def any_says(workers: Channel, topic: str, *answers: bool) -> list[bool]:
    """Return for each question whether any worker answers yes."""
    return [any(column) for column in zip(*workers.exchange(topic, list(map(bool, answers))), strict=True)]


def agree_on_experiments(workers: Channel, experiments: Sequence[Experiment]) -> None:
    """Check that all workers were started with the same experiments; see `agree`."""
    if workers.count > 1:
        documents = {experiment.name: _document(experiment) for experiment in experiments}
        agree(workers, "the experiments", {"names": " ".join(documents)} | documents)


@contextlib.contextmanager
def joined(experiments: Sequence[Experiment]) -> Iterator[Channel]:
    """Join the other workers if any experiment uses several, and check that all have the same experiments.

    Call this before anything runs on a device. Inside the block the workers depend on each other; see
    `Channel.working`.

    Raises:
        WorkerError: the experiments differ. ExperimentError: see `EngineModule.join_cluster`.
    """
    distributions = [experiment.distribution for experiment in experiments if has_workers(experiment.distribution)]
    if not distributions:
        yield Channel()
        return
    module = engines.current()
    module.join_cluster(distributions[0])
    workers = module.workers(distributions[0])
    with workers.working():
        agree_on_experiments(workers, experiments)
        yield workers


def agree_on_run(workers: Channel, job: Job, seed: int, what: str = "the run of", **progress: Any) -> None:
    """Check that all workers are about to train, or check, the same run on the same data; see `agree`.

    Args:
        workers: The channel to the workers.
        job: What they are about to train.
        seed: One of the job's seeds.
        what: What they are about to do, for messages; the experiment's name follows.
        progress: The progress of the run, compared as well.
    """
    if workers.count == 1:
        return
    experiment, plan = job.experiment, job.plan
    # `agree` names the first difference, so what a user can change comes first.
    facts = {
        "experiment": _document(experiment),
        "data set": dataset_hash(job.arrays),
        "steps": {"total": plan.total, "log": plan.log, "val": plan.val, "checkpoint": plan.checkpoint},
        **progress,
        "fingerprint": experiment.fingerprint(),
    }
    remedies = {
        f"experiment.{key}": f"`auto` chooses by {basis}, so set `{key}` to one value for all"
        for key, basis in AUTO.items()
    }
    agree(workers, f"{what} {experiment.name}, seed {seed}", facts, remedies)


@functools.lru_cache(maxsize=1)
def dataset_hash(dataset: Dataset) -> str:
    """Hash the images of a data set, and the labels that are trained and measured on."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.test):
        digest.update(np.ascontiguousarray(split.images).data)
        digest.update(np.ascontiguousarray(split.targets).data)
    return digest.hexdigest()[:16]


def _document(experiment):
    document = {key: value for key, value in experiment.resolved().items() if key not in OF_THE_HOST}
    if not isinstance(experiment.dataset, str):  # its folder may lie elsewhere; the arrays are compared, too
        document["dataset"] = experiment.dataset.decisive()
    document["train_parameters"] = {k: v for k, v in document["train_parameters"].items() if k != "logdir"}
    return document


def _brief(value):
    return "nothing" if value is None else f"{json.dumps(value):.80}"
