"""What a list cost, and which versions decided it, for its header."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

from cifarzoo._version import __version__
from cifarzoo.runs.results import Results
from cifarzoo.search.table import Table
from cifarzoo.training.estimate import Cost
from cifarzoo.training.job import Job

# Packages whose versions decide which policies are sampled.
PACKAGES = "optuna", "numpy"


def cost(
    macs: int, jobs: Sequence[Job], runs: Sequence[Results], tables: Sequence[Table], seconds: float
) -> dict[str, Any]:
    """Return the multiply-accumulates of training and of the tables, and the seconds of each stage.

    Args:
        macs: Multiply-accumulates of a network per image.
        jobs: The trainings of the networks; none if no network was needed.
        runs: Their results.
        tables: The tables.
        seconds: Time of the selection.
    """
    trained = 0.0
    for job in jobs:
        teacher = job.parts.teacher
        # Two floating-point operations per multiply-accumulate.
        trained += sum(Cost(macs, 0, 1.0, teacher.macs if teacher else 0).operations(job)) / 2
    scored = macs * sum(table.correct.size for table in tables)
    stages = {
        "train": sum(run.seconds for run in runs),
        "measure": sum(table.seconds for table in tables),
        "select": seconds,
    }
    return {
        "multiply_accumulates": int(trained + scored),
        "seconds": {stage: round(spent, 1) for stage, spent in stages.items() if stage == "select" or jobs},
    }


def versions() -> dict[str, str]:
    """Return the versions of cifarzoo and of the packages that sample policies."""
    return {"cifarzoo": __version__} | {name: importlib.metadata.version(name) for name in PACKAGES}
