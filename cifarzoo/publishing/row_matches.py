"""What a wanted row may be compared with: published weights of its recipe, times of its network on these devices."""

import json
from typing import Any

from pydantic import ValidationError

from cifarzoo.experiment.schema import Experiment
from cifarzoo.hardware import device_name
from cifarzoo.pretrained.manifest import Published
from cifarzoo.publishing.wanted import Row
from cifarzoo.training.job import Job


def is_from_here(saved: dict[str, Any], job: Job) -> bool:
    """Whether all the steps of a checkpoint were timed on the devices of this machine."""
    return saved["provenance"].get("device") == device_name(job.replicas)


def was_trained_as(entry: Published, row: Row) -> bool:
    """Whether an entry was trained by the row's recipe, except for precision (the device's) and intervals."""
    try:
        earlier = Experiment.model_validate(entry.training["experiment"])
    except ValidationError:
        return False
    return _recipe_fingerprint(earlier) == _recipe_fingerprint(row.experiment)


def _recipe_fingerprint(experiment: Experiment) -> str:
    """Return the fingerprint without name, precision, and log and validation intervals."""
    length = {"steps": 1}
    parameters = experiment.train_parameters.model_dump(exclude_unset=True) | {
        "run_name": "any",
        "log_interval": length,
        "val_interval": length,
    }
    document = experiment.model_dump(exclude_unset=True) | {"train_parameters": parameters, "precision": "auto"}
    return Experiment.model_validate(document).fingerprint()


def pace_key(experiment: Experiment) -> str:
    """Return everything that the time of a step depends on, as a key."""
    document, parameters = experiment.model_dump(mode="json"), experiment.train_parameters
    keys = ("module", "model", "model_parameters", "dataset", "augmentation", "precision", "distribution", "xla")
    teacher = experiment.teacher and (experiment.teacher.names, bool(experiment.teacher.views))
    costly = [
        parameters.batch_size,
        parameters.accumulate,
        document["train_parameters"]["optimizer"],
        bool(parameters.sam_rho),
        bool(parameters.averages),
        bool(parameters.pruning),
    ]
    return json.dumps([[document[key] for key in keys], teacher, costly], sort_keys=True)
