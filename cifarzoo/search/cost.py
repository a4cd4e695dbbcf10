"""What a list cost, and which versions decided it, for its header."""

from collections.abc import Sequence
from typing import Any

import keras

from cifarzoo.errors import CifarzooError
from cifarzoo.runs.provenance import versions_of
from cifarzoo.runs.results import Results
from cifarzoo.search.table import Table
from cifarzoo.training.estimate import Cost
from cifarzoo.training.job import Job

# Packages that sample policies.
SAMPLERS = "optuna", "numpy"


def cost(
    macs: int, jobs: Sequence[Job], runs: Sequence[Results], tables: Sequence[Table], seconds: float
) -> dict[str, Any]:
    """Return the multiply-accumulates of training and of the tables, and the seconds of each stage.

    The multiply-accumulates are None if a teacher is not there any more, or works on images of any size.

    Args:
        macs: Multiply-accumulates of a network per image.
        jobs: The trainings of the networks; none if no network was needed.
        runs: Their results.
        tables: The tables.
        seconds: Time of the selection.
    """
    try:
        teachers = [job.parts.teacher.macs if job.parts.teacher else 0 for job in jobs]
        # Two floating-point operations per multiply-accumulate.
        costs = [Cost(macs, 0, 1.0, teacher) for teacher in teachers]
        trained = sum(sum(cost.operations(job)) for cost, job in zip(costs, jobs, strict=True)) / 2
        operations = int(trained + macs * sum(table.correct.size for table in tables))
    except (CifarzooError, TypeError):
        operations = None
    stages = {
        "train": sum(run.seconds for run in runs),
        "measure": sum(table.seconds for table in tables),
        "select": seconds,
    }
    return {
        "multiply_accumulates": operations,
        "seconds": {stage: round(spent, 1) for stage, spent in stages.items() if stage == "select" or jobs},
    }


def versions() -> dict[str, str]:
    """Return the versions of cifarzoo, Keras, its backend, and the packages that sample policies."""
    return versions_of(("keras", keras.backend.backend(), *SAMPLERS))
