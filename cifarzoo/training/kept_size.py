"""Estimate and check the size of the weights that a run keeps while it trains."""

import math

import keras

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.keeping import size_text
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment

# What HDF5 and Keras add to the numbers, measured: per file, and per array for its groups, names and attributes.
PER_FILE, PER_ARRAY = 16_384, 2_560


def check_kept_size(experiment: Experiment, plan: Plan, model: keras.Model) -> None:
    """Check that the weights that a run will keep do not take more than `at_most` of its `keep`.

    Raises:
        ExperimentError: they take more; the message has the numbers.
    """
    if problem := kept_size_problem(experiment, plan, weight_file_size(model)):
        raise ExperimentError(f"{experiment.location}: {problem}")


def kept_size_problem(experiment: Experiment, plan: Plan, file_size: int) -> str | None:
    """Return a line if the weights that a run will keep take more than `at_most` of its `keep`, else None.

    Args:
        experiment: The experiment.
        plan: Its plan.
        file_size: Bytes of each file, see `weight_file_size`.
    """
    keep, total = experiment.train_parameters.keep, len(plan.kept) * file_size
    if not keep or total <= keep.at_most:
        return None
    return (
        f"train_parameters.keep: {len(plan.kept)} files of {size_text(file_size)} are {size_text(total)} per run, more "
        f"than at_most, {size_text(keep.at_most)}; keep fewer or raise at_most"
    )


def weight_file_size(model: keras.Model) -> int:
    """Estimate the size of a model's `.weights.h5` file in bytes, from above."""
    return PER_FILE + sum(math.prod(v.shape) * _itemsize(v.dtype) + PER_ARRAY for v in model.weights)


def _itemsize(dtype: str) -> int:
    return {"float64": 8, "int64": 8, "bfloat16": 2, "float16": 2}.get(str(dtype), 4)
